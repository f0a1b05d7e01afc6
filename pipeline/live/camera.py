"""A camera led by keys: WASD and QE move it, arrows turn it around what it looks at, + and - zoom.

Poses are relative to the scene's own view, whose axes they have (x right, y down, z forward): so the path that was
flown is one for every node that takes a camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...world.drawing.camera import Camera, scene_camera
from ...world.extent import center_of_mass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...world.arrays import Floats
    from ...world.scene import Scene

WAYS = {  # of a key: right, down, forward, as shares of the speed
    **{"w": (0.0, 0.0, 1.0), "s": (0.0, 0.0, -1.0), "a": (-1.0, 0.0, 0.0), "d": (1.0, 0.0, 0.0)},
    **{"e": (0.0, -1.0, 0.0), "q": (0.0, 1.0, 0.0)},
}
SPEED = 0.5  # of the distance to what is looked at, a second
TURN = math.radians(45.0)  # a second
ZOOM = 1.6  # by which the focal length grows in a second
ZOOMS = (0.5, 4.0)  # of the scene's focal length
STEEPEST = 0.98  # sine of how far the camera may look up or down: beyond, left and right would turn over
FALLBACK_M = 3.0  # to what is looked at, where no body is in front of the camera


@dataclass(frozen=True, eq=False)
class Rig:
    """relative [4, 4]: the camera's axes to those of the scene's view. zoom: of its focal length."""

    relative: Floats
    zoom: float = 1.0


@dataclass(frozen=True, eq=False)
class Around:
    """What a camera is led around: depth in metres of the bodies' middle before the scene's view, its up [3]."""

    depth: float
    up: Floats


def start() -> Rig:
    """The scene's own view."""
    return Rig(np.eye(4))


def around(scene: Scene) -> Around:
    """What the keys move around in a scene."""
    view = np.asarray(scene.view.c2w, float)
    depths = [float((center_of_mass(b) - view[:3, 3]) @ view[:3, 2]) for b in scene.bodies if not b.fixed]
    ahead = [d for d in depths if d > 0]
    up: Floats = np.array(view[2, :3])  # the world's z axis in the camera's
    return Around(float(np.mean(ahead)) if ahead else FALLBACK_M, up)


def led(rig: Rig, held: Iterable[str], seconds: float, about: Around) -> Rig:
    """The camera after keys were held for some time."""
    keys = frozenset(held)
    if not keys:
        return rig
    pose = np.array(rig.relative)
    way = sum((np.asarray(WAYS[key]) for key in WAYS if key in keys), np.zeros(3))
    pose[:3, 3] += SPEED * about.depth * seconds * (pose[:3, :3] @ way)
    sideways = ("right" in keys) - ("left" in keys)
    if sideways:
        pose = _turned(pose, about, about.up, sideways * TURN * seconds)
    upwards = ("up" in keys) - ("down" in keys)
    if upwards:
        tilted = _turned(pose, about, pose[:3, 0], -upwards * TURN * seconds)
        if abs(float(tilted[:3, 2] @ about.up)) < STEEPEST:
            pose = tilted
    power = (("+" in keys) - ("-" in keys)) * seconds
    return Rig(pose, float(np.clip(rig.zoom * ZOOM**power, *ZOOMS)))


def _turned(pose: Floats, about: Around, axis: Floats, angle: float) -> Floats:
    """A pose turned around the middle of the bodies, to the right about an upward axis."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    middle = np.array([0.0, 0.0, about.depth])
    out = np.eye(4)
    out[:3, :3] = turn @ pose[:3, :3]
    out[:3, 3] = middle + turn @ (pose[:3, 3] - middle)
    return out


def seen_from(scene: Scene, rig: Rig, width: int, height: int) -> Camera:
    """The camera at a size; unmoved it is the scene's own still view, to the bit."""
    still = scene_camera(scene, width, height)[0]
    if rig.zoom == 1.0 and np.array_equal(rig.relative, np.eye(4)):
        return still
    return replace(still, c2w=still.c2w @ rig.relative, focal=still.focal * rig.zoom)
