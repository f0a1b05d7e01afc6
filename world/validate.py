"""What cannot be simulated is refused with its numbers: scenes and budgets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .meshes import body_mass, body_volume, rotation_matrix
from .scene import SceneError

if TYPE_CHECKING:
    from .scene import Body, Scene

MOST_BODIES = 200
LONGEST_S = 600.0  # of computing, by the estimate
STEP_COST_S = 90e-6  # of computing for one step, with nothing in contact (bench/scene.py)
BODY_COST_S = 30e-6  # more for each body in contact


def check_scene(scene: Scene) -> None:
    """Raises SceneError for bodies that cannot be: same names, not finite, no volume, no mass, bad materials."""
    names = [b.name for b in scene.bodies]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SceneError(f"two bodies are named {twice[0]!r}; expected a name of its own for each")
    if len(names) > MOST_BODIES:
        raise SceneError(f"the scene has {len(names)} bodies; up to {MOST_BODIES} can be simulated")
    if not np.isfinite(scene.gravity).all():
        raise SceneError(f"gravity is {scene.gravity}; expected finite numbers in m/s^2")
    for plane in (scene.ground, scene.backdrop):
        if plane is not None and not (np.isfinite(plane.offset) and np.linalg.norm(plane.normal) > 1e-6):
            raise SceneError(f"a plane has normal {plane.normal} and offset {plane.offset}; expected a finite one")
    for body in scene.bodies:
        _check_body(body)


def _check_body(body: Body) -> None:
    if not body.name:
        raise SceneError("a body has no name")
    for what, value in (("position", body.position), ("velocity", body.velocity), ("spin", body.spin)):
        if not np.isfinite(value).all():
            raise SceneError(f"the {what} of {body.name!r} is {value}; expected finite numbers")
    rotation_matrix(body.rotation)
    if not body.shapes:
        raise SceneError(f"{body.name!r} has no shapes; expected at least one")
    for shape in body.shapes:
        count = {"sphere": 1, "cylinder": 2, "capsule": 2, "box": 3, "ellipsoid": 3, "hull": 0}[shape.kind]
        values = np.concatenate((shape.size, shape.position, shape.rotation))
        finite = np.isfinite(values).all() and (shape.vertices is None or np.isfinite(shape.vertices).all())
        if len(shape.size) != count or not finite or not all(s > 0 for s in shape.size):
            raise SceneError(
                f"a {shape.kind} of {body.name!r} has size {shape.size} at {shape.position}; "
                f"expected {count} positive numbers and finite places"
            )
    volume, mass = body_volume(body), body.mass
    if not volume > 1e-12:
        raise SceneError(f"{body.name!r} has a volume of {volume:.3g} m^3; expected more than 1e-12")
    if mass is not None and not (math.isfinite(mass) and mass > 0):
        raise SceneError(f"{body.name!r} has a mass of {mass} kg; expected more than 0")
    m = body.material
    if not (
        m.density > 0 and m.friction >= 0 and 0 <= m.restitution <= 1 and (m.toughness is None or m.toughness >= 0)
    ):
        raise SceneError(
            f"the material of {body.name!r} is {m}; expected density > 0, friction >= 0, restitution 0 to 1"
        )
    if not body_mass(body) > 1e-9:
        raise SceneError(f"{body.name!r} has a mass of {body_mass(body):.3g} kg; expected more than 1e-9")


def check_budget(scene: Scene, seconds: float, fps: float, step_s: float) -> int:
    """The number of frames. Raises SceneError, with the estimated computing time, for more than 10 minutes of it."""
    if not (math.isfinite(seconds) and seconds > 0 and math.isfinite(fps) and 0.1 <= fps <= 1000):
        raise SceneError(
            f"{seconds} s at {fps} frames a second; expected a time above 0 and 0.1 to 1000 frames a second"
        )
    estimate = seconds / step_s * (STEP_COST_S + BODY_COST_S * len(scene.bodies))
    if estimate > LONGEST_S:
        raise SceneError(
            f"{seconds:g} s of {len(scene.bodies)} bodies at steps of {1000 * step_s:.2g} ms would compute for about "
            f"{estimate:.0f} s; up to {LONGEST_S:.0f} s are allowed: simulate a shorter time or fewer bodies"
        )
    return round(seconds * fps) or 1
