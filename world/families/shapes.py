"""Bodies of the families of objects: boxes, cylinders, capsules, balls, cones and hulls, plain or with a pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import Bytes, Floats
from ..extent import center_of_mass, farthest
from ..meshes import convex_hull
from ..scene import Appearance, Body, Colored, Material, Mesh, Quaternion, Shape, Textured, Vector

UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)
ROUND_SIDES = 40  # corners of a cone's rim: its outline is within 0.3% of a circle
PATTERN_PIXELS = 96
PATTERNS = ("stripes", "dots", "checks", "patches")
STUFF = Material("wood", 700.0, 0.45, 0.4)  # friction and restitution of all objects, so that a few frames tell them


@dataclass(frozen=True, eq=False)
class Look:
    """How an object is drawn: its colour 0..1, and the pattern over it; None: plain."""

    rgb: Vector
    pattern: Bytes | None = None

    def appearance(self) -> Appearance:
        """For Body.appearance; a pattern needs a surface with uv."""
        return Colored(self.rgb) if self.pattern is None else Textured(self.pattern)


def turn(axis: int, degrees: float) -> Quaternion:
    """The rotation by an angle about world axis 0, 1 or 2."""
    half = math.radians(degrees) / 2
    parts = [math.cos(half), 0.0, 0.0, 0.0]
    parts[1 + axis] = math.sin(half)
    return parts[0], parts[1], parts[2], parts[3]


def after(b: Quaternion, a: Quaternion) -> Quaternion:
    """First rotation a, then b."""
    (w, x, y, z), (p, q, r, s) = b, a
    return (
        w * p - x * q - y * r - z * s,
        w * q + x * p + y * s - z * r,
        w * r - x * s + y * p + z * q,
        w * s + x * r - y * q + z * p,
    )


def solid(kind: str, width: float, height: float, rng: np.random.Generator) -> Shape:
    """A shape of about this width and height in metres, its axis along z.

    kind: box, cylinder, capsule, ball, cone, prism, or gem (the hull of random points).
    """
    r, h = width / 2, height / 2
    if kind == "box":
        return Shape(kind="box", size=(r, r * float(rng.uniform(0.8, 1.0)), h))
    if kind == "cylinder":
        return Shape(kind="cylinder", size=(r, h))
    if kind == "capsule":
        return Shape(kind="capsule", size=(r, max(h - r, 0.1 * r)))
    if kind == "ball":
        return Shape(kind="sphere", size=(r,))
    if kind in ("cone", "prism"):
        count = ROUND_SIDES if kind == "cone" else int(rng.integers(3, 7))
        angle = np.arange(count) * (2 * math.pi / count)
        rim = np.stack((r * np.cos(angle), r * np.sin(angle), np.full(count, -h)), 1)
        top = np.array([[0.0, 0.0, h]]) if kind == "cone" else rim * (1, 1, -1)
        return Shape(kind="hull", vertices=np.concatenate((rim, top)))
    directions = rng.normal(size=(int(rng.integers(12, 26)), 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (r, r, h)
    return Shape(kind="hull", vertices=points)


def body(name: str, shape: Shape, look: Look, at: tuple[float, float], rotation: Quaternion = UPRIGHT) -> Body:
    """A body that touches the ground at this x and y."""
    surface = _unwrapped(shape) if shape.vertices is not None and look.pattern is not None else None
    made = Body(
        name=name,
        shapes=(shape,),
        position=(at[0], at[1], 0.0),
        rotation=rotation,
        material=STUFF,
        appearance=look.appearance(),
        surface=surface,
    )
    return lifted(made, -lowest(made))


def critical_tilt_deg(made: Body, axis: int, side: float) -> float:
    """The tilt about a world axis at which an upright body's centre of mass stands over its edge."""
    for degrees in range(1, 90):
        tilted = replace(made, rotation=after(turn(axis, side * degrees), made.rotation))
        edge = farthest(tilted, np.array([[0.0, 0.0, -1.0]]))[0]
        beyond = (center_of_mass(tilted) - edge) @ np.eye(3)[1 - axis]
        if side * (beyond if axis == 1 else -beyond) > 0:
            return float(degrees)
    return 90.0


def lowest(body: Body) -> float:
    """Height of a body's lowest point in metres."""
    return float(farthest(body, np.array([[0.0, 0.0, -1.0]]))[0, 2])


def lifted(body: Body, by: float) -> Body:
    """The body moved up, in metres."""
    x, y, z = body.position
    return replace(body, position=(x, y, z + by))


def pattern(kind: str, rgb: Vector, other: Vector, rng: np.random.Generator) -> Bytes:
    """A texture uint8 [h, w, 3] of two colours: stripes, dots, checks or patches."""
    n = PATTERN_PIXELS
    y, x = (np.mgrid[0:n, 0:n] + 0.5) / n
    count = int(rng.integers(3, 6))
    if kind == "stripes":
        on = (x * count) % 1 < 0.5
    elif kind == "dots":
        on = np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) < 0.3
    elif kind == "checks":
        on = ((x * count).astype(int) + (y * count).astype(int)) % 2 == 0
    else:  # patches: cells around random points, every other one
        seeds = rng.random((3 * count, 2))
        on = np.argmin((x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2, axis=-1) % 2 == 0
    colors: Bytes = np.round(np.array([other, rgb]) * 255).astype(np.uint8)
    return colors[on.astype(np.intp)]


def _unwrapped(shape: Shape) -> Mesh:
    """A hull's surface with uv: each face from the side of the box around it that it looks at most."""
    hull = convex_hull(np.asarray(shape.vertices, float))
    corners: Floats = hull.vertices[hull.faces]  # [F, 3, 3]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    across = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(normal).argmax(1)]  # the two axes of each face's picture
    low, span = hull.vertices.min(0), np.ptp(hull.vertices, axis=0).max()
    uv: Floats = np.take_along_axis((corners - low) / span, across[:, None, :].repeat(3, 1), axis=2)
    return Mesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), uv.reshape(-1, 2))
