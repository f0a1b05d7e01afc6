"""Named camera moves and easings: one table, web/camera_moves.json, for Python and for the camera widget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_TABLE = json.loads((Path(__file__).parent.parent / "web" / "camera_moves.json").read_text("utf-8"))


class Preset(NamedTuple):
    """A move of the VDiT Camera Path node: the meaning of amount 1 (degrees, metres, times), also as a sentence."""

    amount: float
    does: str


PRESETS = {
    name: Preset(float(row["amount"]), row["does"].format(amount=row["amount"]))
    for name, row in _TABLE["presets"].items()
}

# The largest moves of random scenes: degrees, metres, or the factor of the field of view. Order and numbers decide what
# a seed draws.
TRAINING_MOVES: dict[str, dict[str, float]] = {
    name: {axis: float(most) for axis, most in row.items()} for name, row in _TABLE["training"].items()
}

# Progress of a move at time s, both 0..1; s is a float, an array or a tensor.
EASINGS: dict[str, Callable[[Any], Any]] = {
    "smooth": lambda s: s * s * (3 - 2 * s),
    "linear": lambda s: s,
    "in": lambda s: s * s,
    "out": lambda s: s * (2 - s),
}
