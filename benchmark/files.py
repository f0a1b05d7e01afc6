"""Files of a run: whole or absent, and never of two runs in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..machine.writing import written
from ..world.arrays import Floats
from ..world.video import write_h264

CRF = 16  # H.264 quality of the videos that a run keeps: no difference is visible


class OtherRunError(ValueError):
    """The folder holds results of other settings."""


def claim(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note in `folder`/run.json what the run is; raises OtherRunError when the folder holds another run's."""
    path, facts = folder / "run.json", json.loads(json.dumps(facts))
    old = read_json(path)
    if old is not None and old != facts:
        before, now = _flat(old), _flat(facts)
        differs = sorted(k for k in {**before, **now} if before.get(k) != now.get(k))
        raise OtherRunError(
            f"{folder} holds the results of another run (it differs in {', '.join(differs)}): name another folder, or "
            "delete this one"
        )
    write_json(path, facts)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of facts as one, with dotted names."""
    flat = {name: value for name, value in facts.items() if not isinstance(value, dict)}
    groups: dict[str, dict[str, Any]] = {name: value for name, value in facts.items() if name not in flat}
    return flat | {f"{name}.{key}": value for name, group in groups.items() for key, value in group.items()}


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON of any shape
    """The parsed content of a JSON file, or None if the file does not exist."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    """Write JSON."""
    write_bytes(path, json.dumps(value, indent=indent).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write beside, then rename: an interrupted run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as beside:
        beside.write_bytes(data)


def write_video(path: Path, frames: Tensor | Floats, fps: float) -> None:
    """Write frames [T, H, W, 3] in 0..1 as H.264, unless the file is there; sides must be even."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.minimum(np.maximum(np.asarray(frames, np.float32), 0), 1) * 255
    with written(path) as beside:
        write_h264(beside, np.round(pixels).astype(np.uint8), max(1, round(fps)), CRF)
