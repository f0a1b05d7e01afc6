"""Figures of a soak test, kept as JSON in output/soak/ and printed."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "output" / "soak"
KEPT: dict[str, dict] = {}  # of this session, for output/soak/all.json


def keep(name: str, figures: dict) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    KEPT[name] = figures
    text = json.dumps(figures, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")
    print(f"\n{name}: {text}")
