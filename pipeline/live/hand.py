"""From a place on the frame to the world: the body that is seen there, and where a hand is that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...world.drawing.camera import inverse
from ...world.meshes import transformed

if TYPE_CHECKING:
    from ...world.arrays import Floats, Ints
    from ...world.drawing.camera import Camera
    from ...world.motion import Moment
    from ...world.scene import Plane
    from .events import Point

NEAR = 0.03  # of the frame's width: so far beside a body a hand may reach for it
NEAREST = 0.1  # of its depth: a hand is never led nearer to the camera than this by the ground


@dataclass(frozen=True, eq=False)
class Looked:
    """What a frame shows: part int [H, W] of each pixel (-1: none), depth [H, W] in metres, of a moment."""

    moment: Moment
    camera: Camera
    part: Ints
    depth: Floats


@dataclass(frozen=True, eq=False)
class Grip:
    """What a hand holds: the part's name and point [3] in its axes, the depth of the plane in which the hand moves.

    body: whose part it is. lift: metres of the point above the lowest one of the part, so that what stands is not led
    into the ground.
    """

    name: str
    body: str
    local: Floats
    point: Floats  # [3] in the world, when it was taken
    depth: float
    lift: float


def grip_at(looked: Looked, at: Point, ground: Plane | None) -> Grip | None:
    """What is seen at a place, or near it, and can move; None: nothing is."""
    found = _pixel(looked, at)
    if found is None:
        return None
    row, column = found
    part = int(looked.part[row, column])
    depth = float(looked.depth[row, column])
    camera = looked.camera
    ray = _ray(camera, ((column + 0.5) / camera.width, (row + 0.5) / camera.height))
    point = camera.c2w[:3, 3] + depth * ray
    pose = np.asarray(looked.moment.poses[part], float)
    lift = 0.0
    if ground is not None:
        normal = np.asarray(ground.normal, float)
        vertices = looked.moment.parts[part].surface.vertices
        lift = float(point @ normal) - float(np.dot(transformed(vertices, pose), normal).min())
    name, body = looked.moment.parts[part].name, looked.moment.parts[part].body
    return Grip(name, body, transformed(point[None], inverse(pose))[0], point, depth, max(lift, 0.0))


def hand_at(camera: Camera, at: Point, grip: Grip, ground: Plane | None) -> Floats:
    """Where the hand is in the world [3]: in the plane of the picture that it took the body in.

    It is not led into the ground: below, it comes nearer on the level at which the body stands.
    """
    ray, eye = _ray(camera, at), np.asarray(camera.c2w[:3, 3], float)
    point = eye + grip.depth * ray
    if ground is None:
        return point
    normal = np.asarray(ground.normal, float)
    level = ground.offset + grip.lift
    if point @ normal >= level:
        return point
    falls = float(ray @ normal)
    depth = (level - float(eye @ normal)) / falls if falls < 0 else 0.0
    if NEAREST * grip.depth < depth <= grip.depth:
        return eye + depth * ray
    return point + (level - float(point @ normal)) * normal


def _ray(camera: Camera, at: Point) -> Floats:
    """World direction [3] of depth 1 through a place on the frame."""
    pixel = np.array([at[0] * camera.width, at[1] * camera.height, 1.0])
    return np.asarray(camera.c2w[:3, :3] @ (np.linalg.inv(camera.to_pixels) @ pixel), float)


def _pixel(looked: Looked, at: Point) -> tuple[int, int] | None:
    """The pixel (row, column) nearest to a place that shows what can move."""
    height, width = looked.part.shape
    x, y = at[0] * width, at[1] * height
    reach = max(1, round(NEAR * width))
    column, row = int(np.floor(x)), int(np.floor(y))
    left, top = max(column - reach, 0), max(row - reach, 0)
    window = looked.part[top : max(row + reach + 1, 0), left : max(column + reach + 1, 0)]
    movable = np.array([p.movable for p in looked.moment.parts] + [False], bool)  # -1 is the last one
    rows, columns = np.nonzero(movable[window])
    if not len(rows):
        return None
    distance = (rows + top + 0.5 - y) ** 2 + (columns + left + 0.5 - x) ** 2
    best = int(distance.argmin())
    if distance[best] > (reach + 1) ** 2:
        return None
    return int(rows[best]) + top, int(columns[best]) + left
