"""Damaged workflows that people reported, and the values of promoted widgets as different editors wrote them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

FOUND = Path(__file__).parent / "fixtures" / "found"


def found() -> Iterator[tuple[str, dict]]:
    """Files that people reported, and values of promoted widgets (PROMOTED) put into one of them."""
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOUND.glob("*.json"))}
    yield from files.items()
    for name, (proxies, values) in PROMOTED.items():
        workflow = copy.deepcopy(files["swap"])
        instance = next(node for node in workflow["nodes"] if node["id"] == 40)
        instance["properties"]["proxyWidgets"], instance["widgets_values"] = proxies, values
        yield f"promoted {name}", workflow
    without_version = copy.deepcopy(files["muted"])
    del without_version["version"]
    yield "version missing", without_version


SEED, STEPS, SOLVER = ["-1", "seed"], ["-1", "steps"], ["-1", "solver"]
PREVIEW, INNER_SEED, GUIDANCE = ["6", "$$canvas-image-preview"], ["5", "seed"], ["5", "guidance"]
PROMOTED: dict[str, tuple[list | None, list | dict]] = {
    "by inputs alone": (None, [4, 7, "euler"]),
    "empty": ([], [4, 7, "euler"]),
    "one": ([SEED], [7]),
    "two in another order": ([SOLVER, STEPS], ["euler", 4]),
    "a preview with null": ([PREVIEW, SEED, STEPS, SOLVER], [None, 7, 4, "euler"]),
    "a preview without a value": ([PREVIEW, SEED, STEPS, SOLVER], [7, 4, "euler"]),
    "a preview in the middle": ([SEED, PREVIEW, STEPS, SOLVER], [7, 4, "euler"]),
    "an inner widget": ([GUIDANCE, SEED, STEPS, SOLVER], [3.5, 7, 4, "euler"]),
    "inner names of inputs": ([INNER_SEED, ["5", "steps"]], [7, 4]),
    "inner names of inputs among others": ([INNER_SEED, GUIDANCE, ["5", "steps"]], [7, 3.5, 4]),
    "too few values": ([SEED, STEPS, SOLVER], [7]),
    "no values": ([SEED, STEPS, SOLVER], []),
    "an editor's own widget": ([INNER_SEED, ["5", "control_after_generate"], ["5", "steps"]], [7, "fixed", 4]),
    "numbers as ids": ([[5, "guidance"], [-1, "seed"], STEPS], [3.5, 7, 4]),
    "unknown widgets": ([["5", "nosuch"], SEED, ["99", "seed"], STEPS], [1, 7, 2, 4]),
    "values by name": ([SEED, STEPS, SOLVER], {"seed": 7, "steps": 4}),
    "an id before the name": ([["5", "5: guidance"], SEED], [3.5, 7]),
    "a third text": ([["5", "guidance", "5"], SEED], [3.5, 7]),
}
