"""Simulations that would compute for too long are refused before they start, with the estimate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .scene import SceneError

if TYPE_CHECKING:
    from .scene import Scene

LONGEST_S = 600.0  # of computing, by the estimate
STEP_COST_S = 120e-6  # of computing for one step with nothing in it (bench/simulation.py)
BODY_COST_S = 25e-6  # more for each body, in contact with its neighbours
MOST_FRAMES = 20_000


def frames_of(scene: Scene, seconds: float, fps: float, step_s: float) -> int:
    """The number of frames. Raises SceneError, with the estimated computing time, for more than 10 minutes of it."""
    if not (math.isfinite(seconds) and seconds > 0 and math.isfinite(fps) and 0.1 <= fps <= 1000):
        raise SceneError(f"{seconds} s at {fps} frames a second; expected more than 0 s, and 0.1 to 1000")
    if seconds * fps > MOST_FRAMES:
        raise SceneError(f"{seconds:g} s at {fps:g} fps are {seconds * fps:,.0f} frames; at most {MOST_FRAMES:,}")
    estimate = seconds / step_s * (STEP_COST_S + BODY_COST_S * len(scene.bodies))
    if estimate > LONGEST_S:
        raise SceneError(
            f"{seconds:g} s of {len(scene.bodies)} bodies in steps of {1000 * step_s:.2g} ms would compute for about "
            f"{estimate:.0f} s; up to {LONGEST_S:.0f} s are allowed: simulate a shorter time or fewer bodies"
        )
    return round(seconds * fps) or 1
