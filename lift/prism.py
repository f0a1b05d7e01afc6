"""Bodies with straight sides: a box, a book, a screen, a building has a flat front, flat sides and a flat back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..world.scene import Mesh
from .images import convex_hull, outlines, painted, polygon_area

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats, Ints
    from .outline import Outline

TOLERANCE = 0.015  # of the outline's size: how far it may be from a straight side; a circle would need 13 sides
MOST_SIDES = 8
SAME = 0.96  # overlap of the mask and the polygon of its sides
CONVEX = 0.85  # share of its convex hull that it fills: a chair is no box
SMALLEST = 16  # pixels of its shorter side: smaller outlines do not tell
INSET = 7.0, 0.4  # pixels, and share of its radius, from the rim to the sides: past the soft edge, in its own colours


class Faces(Protocol):
    """The front of a body, and how deep it is."""

    @property
    def facing(self) -> Floats:
        """Direction [3] away from the viewer."""
        ...

    @property
    def first(self) -> float:
        """Metres along facing at which the front stands."""
        ...

    @property
    def thickness(self) -> float:
        """Metres."""
        ...

    def sheet(self, at: Floats) -> Floats:
        """Metres along facing [N] at which the front is seen at pixels [N, 2]."""
        ...

    def points(self, at: Floats, along: Floats) -> Floats:
        """World points [N, 3] on the rays of pixels [N, 2]."""
        ...


def has_straight_sides(mask: Bools) -> bool:
    """Whether a mask [H, W] is a nearly convex polygon of at most MOST_SIDES sides, without holes."""
    rows, columns = np.nonzero(mask)
    sides = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if min(sides) < SMALLEST:
        return False
    found = outlines(np.pad(mask, 1), TOLERANCE * max(sides))
    if len(found) != 1 or not 3 <= len(found[0]) <= MOST_SIDES:
        return False
    corners = found[0] - 1
    covered = painted(corners, mask.shape[1], mask.shape[0])
    overlap = (covered & mask).sum() / (covered | mask).sum()
    return bool(overlap > SAME and polygon_area(corners) > CONVEX * polygon_area(convex_hull(corners)))


def prism(shape: Outline, frame: Faces) -> Mesh:
    """A closed surface: the outline's front, sides at right angles to it, and a back at the frame's thickness.

    The soft edge lies beyond the sides, as a fin in the front that is seen from both sides.
    """
    start, end = _boundary(shape.faces)
    inner = shape.points + min(INSET[0], INSET[1] * shape.radius) * _inwards(shape.points, start, end)
    along = frame.sheet(inner)
    corner = frame.points(inner, along)
    beyond = np.maximum(frame.first + frame.thickness - along, 1e-3 * frame.thickness)
    back = corner + beyond[:, None] * frame.facing
    count = len(inner)
    ring, far = count + np.arange(count), 2 * count + np.arange(count)
    fin = _strip(start, end, ring[start], ring[end])
    sides = _strip(ring[start], ring[end], far[start], far[end])
    vertices = np.concatenate((frame.points(shape.points, frame.sheet(shape.points)), corner, back))
    used, faces = np.unique(np.concatenate((shape.faces, fin, sides, far[shape.faces][:, ::-1])), return_inverse=True)
    return Mesh(vertices[used], faces.reshape(-1, 3))


def _boundary(faces: Ints) -> tuple[Ints, Ints]:
    """Where the edges [E] begin and end that only one triangle has, in that triangle's direction."""
    edges = np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]]))
    size = int(faces.max()) + 1
    there, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    alone = edges[~np.isin(there, back)]
    return alone[:, 0], alone[:, 1]


def _inwards(points: Floats, start: Ints, end: Ints) -> Floats:
    """Vectors [N, 2] by which points at the boundary move when its edges move inwards by 1; 0 for the others."""
    way = points[end] - points[start]
    way = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    normal = np.stack((way[:, 1], -way[:, 0]), -1)  # to the left of the way, as y runs down
    total = np.zeros_like(points)
    np.add.at(total, start, normal)
    np.add.at(total, end, normal)
    return total / np.maximum((total**2).sum(1, keepdims=True) / 2, 0.5)


def _strip(a: Ints, b: Ints, c: Ints, d: Ints) -> Ints:
    """Two triangles for each edge from a to b, which a face beside them has in this direction, and the edge c to d."""
    return np.concatenate((np.stack((b, a, c), -1), np.stack((b, c, d), -1)))
