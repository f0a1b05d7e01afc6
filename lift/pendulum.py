"""How a body swings on a rod that is seen: about where, how fast, and how far away it must be to swing so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from ..geometry.camera_numpy import focal_length
from ..world.extent import surface_points
from ..world.meshes import body_volume, rotation_matrix
from ..world.scene import Body, Joint, Scene, Shape, Vector, vector
from .body import scaled_shape
from .camera import Camera
from .perceived import quaternion, turn_onto

if TYPE_CHECKING:
    from ..world.arrays import Floats
    from .rod import Rod

FACING = 0.2  # cosine between the axis and the view, from which on angles are seen
ANGLE_ERROR = 0.003  # radians, of a rod in a picture of 128 rows
PULL_ERROR = 0.2  # of the logarithm of gravity over length, as they are perceived without the swing
MOST_OFF = 0.6  # Of that logarithm: a larger correction means that something other than gravity drives the body.
SUBSTEPS = 4  # of a frame
INSIDE = 0.7  # A rod begins at this share of the distance from which it is seen: bodies may be perceived too small.
GAP = 0.02  # Smallest distance between a swinging body and the ground, as a share of the pendulum's length.
NEAREST = 0.8  # A body that would hit the ground is moved towards the camera, to this share of its distance at most.
GYRATION = 0.64  # square of a body's radius of gyration, in squares of half its extent: .62 of a ball, .67 of a cube


@dataclass(frozen=True, eq=False)
class Swing:
    """End of the rod [3] and centre of the body [3], from the eye; spin about the axis in radians a frame."""

    end: Floats
    center: Floats
    spin: float


def hung(scene: Scene, rods: Mapping[int, Rod], fps: float) -> Scene:
    """The scene with bodies on the rods that its pictures show, by number of the body; those without a hinge stay.

    A body swings about the end of its rod as fast as the pictures show, and carries the rod.
    """
    camera = Camera(scene.view, scene.width, scene.height)
    bodies = list(scene.bodies)
    for i, rod in rods.items():
        joint = bodies[i].joint
        if joint is not None and joint.kind == "hinge":
            bodies[i] = _on_rod(bodies[i], joint, rod, camera, -scene.gravity[2] / fps**2, fps)
    return replace(scene, bodies=tuple(bodies))


def _on_rod(body: Body, joint: Joint, rod: Rod, camera: Camera, gravity: float, fps: float) -> Body:
    """A body in metres on its rod. gravity: in metres a squared frame."""
    center, axis, eye = np.array(body.position), np.array(joint.axis), camera.eye
    rays = camera.rays(np.concatenate((rod.end[None], rod.bodies)))
    swing = swing_of(rays, axis, center - eye, gravity, GYRATION * _half_of(body) ** 2)
    if swing is None:  # what is seen of the end still tells in which direction it is
        anchor = eye + rays[0] * (_length(np.array(joint.anchor) - eye) / _length(rays[0]))
        larger, velocity, spin = 1.0, np.array(body.velocity), np.array(body.spin)
    else:
        larger = _length(swing.center) / _length(center - eye)
        anchor, center, spin = eye + swing.end, eye + swing.center, axis * swing.spin * fps
        velocity = _cross(spin, center - anchor)
    way: Floats = anchor - center
    length = _length(way)
    pixel = float((center - eye) @ camera.view.c2w[:3, 2] / focal_length(camera.view.fov_deg, camera.height))
    begin = min(INSIDE * rod.begin * pixel, 0.9 * length)
    local = cast("Floats", rotation_matrix(body.rotation).T @ way) / length
    line = Shape(
        kind="capsule",
        size=(rod.width * pixel / 2, (length - begin) / 2),
        position=vector(0.5 * (length + begin) * local),
        rotation=quaternion(turn_onto(np.array([0.0, 0.0, 1.0]), local if local[2] > 0 else -local)),  # either end up
    )
    made = replace(
        body,
        shapes=(*(scaled_shape(shape, np.zeros(3), larger) for shape in body.shapes), line),
        position=vector(center),
        velocity=vector(velocity),
        spin=vector(spin),
        joint=replace(joint, anchor=vector(anchor)),
    )
    arms = surface_points(made) - anchor
    reach = float(np.linalg.norm(arms - np.outer(arms @ axis, axis), axis=1).max())
    low = float(anchor[2]) - reach * math.sqrt(1 - float(axis[2]) ** 2)
    high = float(eye[2])
    return _nearer(made, eye, max((high - GAP * reach) / (high - low), NEAREST)) if low < GAP * reach < high else made


def _nearer(body: Body, eye: Floats, share: float) -> Body:
    """A body on a joint at this share of its distance from the eye [3], as large as before in the picture."""

    def moved(point: Vector) -> Vector:
        return vector(eye + share * (np.array(point) - eye))

    return replace(
        body,
        shapes=tuple(scaled_shape(shape, np.zeros(3), share) for shape in body.shapes),
        position=moved(body.position),
        velocity=vector(share * np.array(body.velocity)),
        joint=body.joint and replace(body.joint, anchor=moved(body.joint.anchor)),
    )


def swing_of(rays: Floats, axis: Floats, center: Floats, gravity: float, gyration: float) -> Swing | None:
    """How a body swings about `axis` [3], a unit vector; None where its angles are not seen, or something drives it.

    rays [1 + K, 3]: directions from the eye to the end of the rod, and to the body in each picture, the last one first;
    center [3]: where the body is taken to be, from the eye; gravity: along -z, a squared frame; gyration: square of its
    radius of gyration. Places are where rays meet the plane through the body across the axis. How fast the body falls
    back tells gravity over length, and so, gravity being known, how far away all of it is.
    """
    from scipy.optimize import least_squares  # pyright: ignore[reportUnknownVariableType]

    facing = rays @ axis / np.linalg.norm(rays, axis=1)
    down = np.array([0.0, 0.0, -1.0]) + axis * axis[2]  # across the axis
    steep = _length(down)
    if np.abs(facing).min() < FACING or facing.min() * facing.max() < 0 or steep < FACING:
        return None
    places = rays * (float(center @ axis) / (rays @ axis))[:, None]
    arms, down = places[1:] - places[0], down / steep
    level = _cross(axis, down)
    angle = np.unwrap(np.arctan2(arms @ level, arms @ down))
    length = _length(arms[0])
    usual = gravity * steep * length / (length**2 + gyration)

    def missed(found: Floats) -> Floats:
        way = _way(float(found[0]), float(found[1]), usual * math.exp(float(found[2])), len(angle))
        return np.append((way - angle) / ANGLE_ERROR, found[2] / PULL_ERROR)

    first = np.array([angle[0], angle[0] - angle[1], 0.0])
    now, spin, stronger = (float(x) for x in cast("Floats", least_squares(missed, first).x))
    if abs(stronger) > MOST_OFF:
        return None
    nearer = math.exp(-stronger)
    arm = (down * math.cos(now) + level * math.sin(now)) * length
    return Swing(places[0] * nearer, (places[0] + arm) * nearer, spin)


def _way(angle: float, spin: float, pull: float, count: int) -> Floats:
    """Angles [count] of a pendulum that has this angle and spin in the last frame, that first: midpoint steps."""
    out = [angle]
    step = -1.0 / SUBSTEPS
    for _ in range(count - 1):
        for _ in range(SUBSTEPS):
            middle = angle + spin * step / 2
            halfway = spin - pull * math.sin(angle) * step / 2
            angle, spin = angle + halfway * step, spin - pull * math.sin(middle) * step
        out.append(angle)
    return np.array(out)


def _cross(a: Floats, b: Floats) -> Floats:
    return cast("Floats", np.cross(a, b))


def _length(v: Floats) -> float:
    return float(np.linalg.norm(v))


def _half_of(body: Body) -> float:
    """Half the extent of a body, in metres: of a cube of its volume."""
    return 0.5 * body_volume(body) ** (1 / 3)
