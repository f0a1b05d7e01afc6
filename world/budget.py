"""Simulations that would compute for too long are refused before they start, with the estimate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .fracture import SHARDS, Blow
from .scene import SceneError

if TYPE_CHECKING:
    from .actions import Actions
    from .scene import Body, Scene

LONGEST_S = 600.0  # of computing, by the estimate
# Fitted: bench/simulation.py prints estimates beside what was measured.
STEP_COST_S = 150e-6  # of computing for one step with nothing in it
BODY_COST_S = 7e-6  # more for each body that moves
SHAPE_COST_S = 4e-6  # more for each further shape of a body
SHARD_COST_S = 17e-6  # more for each shard until it rests and is held: it is a hull, and tumbles
CROWD_COST_S = 0.165e-6  # more for each two of the bodies that pile up: they touch, and steps end where they do
CROWDED = 1.5  # of two bodies' reach: what is nearer piles up
MOST_FRAMES = 20_000


def estimate(scene: Scene, actions: Actions, seconds: float, step_s: float) -> float:
    """Seconds of computing that a simulation takes, within about a factor of two on one core."""
    free = [b for b in scene.bodies if not b.fixed]
    radius = np.array([_radius(b) for b in free])
    at = np.array([b.position for b in free]).reshape(-1, 3)
    pieces = np.array([_pieces(b, r, scene, actions) for b, r in zip(free, radius, strict=True)])
    apart = np.linalg.norm(at[:, None] - at, axis=2) + np.where(np.eye(len(free)), np.inf, 0.0)
    near = (apart < CROWDED * (radius[:, None] + radius)).any(1) | (pieces > 1)
    further = sum(len(b.shapes) - 1 for b in free)
    step = STEP_COST_S + BODY_COST_S * float(pieces.sum()) + SHAPE_COST_S * further
    step += SHARD_COST_S * float(pieces[pieces > 1].sum())
    return seconds / step_s * (step + CROWD_COST_S * float(pieces[near].sum()) ** 2)


def _radius(body: Body) -> float:
    """A length in metres that the body does not reach beyond, from its origin."""
    reach = [
        float(np.linalg.norm(s.vertices, axis=1).max()) if s.vertices is not None else math.hypot(*s.size)
        for s in body.shapes
    ]
    return max((r + math.hypot(*s.position) for r, s in zip(reach, body.shapes, strict=True)), default=0.0)


def _pieces(body: Body, radius: float, scene: Scene, actions: Actions) -> int:
    """How many bodies it is likely to be: shards where it is said to break, or where it is brittle and acted on, or
    falls so far.
    """
    named = {type(a).__name__ for a in actions if getattr(a, "body", "") == body.name}
    toughness, height = body.material.toughness, 0.0
    if scene.ground is not None:
        height = float(np.asarray(scene.ground.normal) @ body.position) - scene.ground.offset - radius
    energy = float(np.linalg.norm(scene.gravity)) * max(height, 0.0) + float(np.square(body.velocity).sum()) / 2
    if toughness and energy > toughness:
        return Blow(energy=energy, toughness=toughness).shards
    return SHARDS if "Break" in named or (toughness is not None and named) else 1


def frames_of(scene: Scene, actions: Actions, seconds: float, fps: float, step_s: float) -> int:
    """The number of frames. Raises SceneError, with the estimated computing time, for more than 10 minutes of it."""
    if not (math.isfinite(seconds) and seconds > 0 and math.isfinite(fps) and 0.1 <= fps <= 1000):
        raise SceneError(f"{seconds} s at {fps} frames a second; expected more than 0 s, and 0.1 to 1000")
    if seconds * fps > MOST_FRAMES:
        raise SceneError(f"{seconds:g} s at {fps:g} fps are {seconds * fps:,.0f} frames; at most {MOST_FRAMES:,}")
    expected = estimate(scene, actions, seconds, step_s)
    if expected > LONGEST_S:
        raise SceneError(
            f"{seconds:g} s of {len(scene.bodies)} bodies in steps of {1000 * step_s:.2g} ms would compute for about "
            f"{expected:.0f} s; up to {LONGEST_S:.0f} s are allowed: simulate a shorter time or fewer bodies"
        )
    return round(seconds * fps) or 1
