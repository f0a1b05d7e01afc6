"""The outline of a mask: its triangles, and the few convex parts that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from .images import convex_hull, dilated, distance_inside, eroded, outlines, polygon_area, resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats, Ints

MAX_RIM = 110  # corners of the outline before edges are divided: with the interior, 500 to 1,200 triangles a body
INTERIOR = 60  # points inside, were they as far apart everywhere as in the middle
NEAR_RIM = (
    0.3,
    0.6,
)  # spacing near the rim over that in the middle, and inset over radius from which it is the middle's
CANDIDATES = 5  # places a spacing, along each axis, at which a point may lie
MOST_BALLS = 2000  # of which a body's height is made
BAND = 4  # pixels along the soft edge: each of them lies in a triangle that is kept
MARGIN = 1.0  # pixels between the soft edge and the rim, beyond what simplifying the outline may cut off
PART_SIDE = 96  # pixels of the longer side at which parts are searched
MAX_PARTS = 8
WASTE = 0.06  # share of a body's area that its convex parts may cover beyond it before one more cut is made
CUT_ANGLES, CUT_OFFSETS = 12, 13  # cuts tried: directions over 180 degrees, offsets over a part's width


@dataclass(frozen=True, eq=False)
class Outline:
    """Triangles of a mask: points [N, 2] in pixels (x, y), faces [F, 3] counter-clockwise as the viewer sees them.

    rim [N]: on the boundary, just outside the soft edge. height [N]: pixels by which the body rises there over the
    outline's sheet: that of all balls whose discs fit into the mask; 0 outside. radius: of the largest such ball.
    Every pixel of the mask lies in a triangle.
    """

    points: Floats
    faces: Ints
    rim: Bools
    height: Floats
    radius: float


def outline(alpha: Floats) -> Outline:
    """Triangulate a soft mask [H, W] that is above zero somewhere."""
    from scipy.spatial import Delaunay

    (top, left), support = _cropped(alpha)
    inside = distance_inside(support >= min(0.5, support.max()))
    seen = support > 0
    rims = _rims(seen)
    step = max(2.0, float(np.sqrt(seen.sum() / INTERIOR)))
    rim = np.concatenate([_divided(polygon, step) for polygon in rims])
    h, w = seen.shape
    core = np.array(np.unravel_index(int(inside.argmax()), inside.shape))[::-1] + 0.5
    points = _distinct(np.concatenate((rim, _spaced(inside, step), core[None])))
    mesh = Delaunay(points, qhull_options="QJ")
    triangles = cast("Ints", mesh.simplices)
    middle = np.clip(points[triangles].mean(1).astype(int), 0, (w - 1, h - 1))
    keep = seen[middle[:, 1], middle[:, 0]]
    rows, columns = np.nonzero(seen & ~eroded(seen, BAND))
    keep[~keep] = _holding(points[triangles[~keep]], np.stack((columns, rows), -1) + 0.5)
    faces = triangles[keep]
    a, b, c = (points[faces[:, i]] for i in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    faces = np.where((turn > 0)[:, None], faces[:, ::-1], faces)[turn != 0]  # y runs down
    used, flat = np.unique(faces, return_inverse=True)
    points, faces = points[used], flat.reshape(-1, 3)
    height = _height(inside, points)
    return Outline(points + (left, top), faces, _on_boundary(faces, len(points)), height, float(inside.max()))


def _holding(triangles: Floats, points: Floats) -> Bools:
    """Which of the triangles [N, 3, 2] have a point [M, 2] inside or on their edges."""
    # scipy's find_simplex solves a small system for each triangle, which takes 0.3 to 1.2 s beside a busy process.
    a, b = triangles, np.roll(triangles, -1, axis=1)
    edge = b - a
    offset = edge[..., 0] * a[..., 1] - edge[..., 1] * a[..., 0]
    normal = np.stack((-edge[..., 1], edge[..., 0]), -1)
    side: Floats = np.einsum("nkc,mc->nkm", normal, points) - offset[..., None]
    inside: Bools = np.logical_or((side >= 0).all(1), (side <= 0).all(1))
    return np.any(inside, axis=1)


def _spaced(inside: Floats, step: float) -> Floats:
    """Points [K, 2] in a mask with distances `inside` from its edge: `step` apart, closer near the rim, where a round
    body turns away; the middle line of a narrow place comes first.
    """
    closest, middle = NEAR_RIM
    radius = max(float(inside.max()), 1e-6)
    fine = max(1.0, step * closest * 2 / CANDIDATES)
    h, w = inside.shape
    x, y = np.meshgrid(np.arange(fine / 2, w, fine), np.arange(fine / 2, h, fine))
    deep = inside[y.astype(int), x.astype(int)]
    spacing = np.maximum(step * (closest + (1 - closest) * np.clip(deep / (middle * radius), 0, 1)), 2.0)
    free = deep > np.minimum(0.45 * spacing, 0.8 * radius)
    points: list[tuple[float, float]] = []
    order = np.argsort(-deep, axis=None, kind="stable")
    for i in order[free.ravel()[order]].tolist():
        if free.ravel()[i]:
            px, py, reach = x.ravel()[i], y.ravel()[i], spacing.ravel()[i]
            points.append((float(px), float(py)))
            k = int(reach / fine) + 1
            r, c = divmod(i, x.shape[1])
            box = slice(max(r - k, 0), r + k + 1), slice(max(c - k, 0), c + k + 1)
            free[box] &= np.hypot(x[box] - px, y[box] - py) >= reach
    return np.array(points).reshape(-1, 2)


def _height(inside: Floats, points: Floats) -> Floats:
    """Height [N] at points of the union of balls, one about each pixel of the mask, as large as fits into the mask."""
    rows, columns = np.nonzero(inside > 0)
    some = slice(None, None, max(1, len(rows) // MOST_BALLS))
    centre = np.stack((columns, rows), -1)[some] + 0.5
    radius = inside[rows, columns][some].astype(np.float64)
    # (r^2 - |c|^2) - |p|^2 + 2 p.c, whose maximum over the balls is the squared height.
    squared = (radius**2 - (centre**2).sum(1) + 2 * points @ np.transpose(centre)).max(1) - (points**2).sum(1)
    return np.sqrt(np.maximum(squared, 0))


def convex_parts(mask: Bools) -> list[Floats]:
    """Convex polygons [K, 2] (x, y in pixels), at most MAX_PARTS, that together cover a mask closely.

    The part that covers most beyond the mask is cut by the straight line that saves most, until little is wasted.
    """
    (top, left), crop = _cropped(mask.astype(np.float32))
    scale = min(1.0, PART_SIDE / max(crop.shape))
    small = resized(crop, max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale))) > 0.4
    if small.sum() < 4:
        small = np.ones_like(small)
    rows, columns = np.nonzero(small)
    factor = np.array([crop.shape[1] / small.shape[1], crop.shape[0] / small.shape[0]])
    parts: list[Ints] = [np.stack((columns, rows), -1)]
    total = float(small.sum())
    while len(parts) < MAX_PARTS:
        waste = [_hull_area(part) - len(part) for part in parts]
        if sum(waste) < WASTE * total:
            break
        worst = int(np.argmax(waste))
        cut = _best_cut(parts[worst])
        if cut is None:
            break
        parts[worst : worst + 1] = cut
    hulls = [_hull(part) * factor + (left, top) for part in parts if len(part) >= 0.01 * total]
    return [_simple(hull) for hull in hulls]


def _cropped(alpha: Floats) -> tuple[tuple[int, int], Floats]:
    """A mask's surroundings, with room for the rim, and where they begin."""
    rows, columns = np.nonzero(alpha > 0)
    pad = 14
    top, left = int(rows.min()), int(columns.min())
    crop = alpha[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
    return (top - pad, left - pad), np.pad(crop, pad)


def _rims(seen: Bools) -> list[Floats]:
    """Polygons around a mask and its holes, just outside, with few corners."""
    tolerance = 0.75
    while True:
        found = outlines(dilated(seen, int(np.ceil(MARGIN + tolerance))), tolerance)
        found = [polygon for polygon in found if len(polygon) >= 3]
        if sum(map(len, found)) <= MAX_RIM or tolerance > 8:
            return found
        tolerance *= 1.4


def _divided(polygon: Floats, longest: float) -> Floats:
    """The corners of a polygon, and points between them where an edge is longer than `longest`."""
    following = np.roll(polygon, -1, axis=0)
    counts = np.maximum(1, np.ceil(np.linalg.norm(following - polygon, axis=1) / longest).astype(int))
    divided: list[Floats] = [
        polygon[i] + (following[i] - polygon[i]) * np.arange(counts[i])[:, None] / counts[i] for i in range(len(counts))
    ]
    return np.concatenate(divided)


def _distinct(points: Floats) -> Floats:
    """Points [N, 2] without those that come twice."""
    rounded: Floats = np.round(points, 3)
    return np.unique(rounded, axis=0)


def _on_boundary(faces: Ints, count: int) -> Bools:
    """Which points lie on an edge that only one triangle has."""
    edges = np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, ::2])), axis=1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(count, bool)
    rim[unique[times == 1].ravel()] = True
    return rim


def _hull(pixels: Ints) -> Floats:
    """Convex hull of whole pixels [N, 2], corners at their edges."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return convex_hull((pixels[:, None] + corners).reshape(-1, 2).astype(np.float64))


def _hull_area(pixels: Ints) -> float:
    return polygon_area(_hull(pixels))


def _boundary(pixels: Ints) -> Ints:
    """The first and last of each row and of each column of pixels [N, 2]: they have the same convex hull."""
    ends: list[Ints] = []
    for axis in (0, 1):
        order = pixels[np.lexsort((pixels[:, 1 - axis], pixels[:, axis]))]
        new = np.flatnonzero(np.diff(order[:, axis]))
        ends += [order[np.concatenate(([0], new + 1))], order[np.concatenate((new, [len(order) - 1]))]]
    return np.unique(np.concatenate(ends), axis=0)


def _best_cut(pixels: Ints) -> list[Ints] | None:
    """Two sides of the straight line for which the sum of the sides' hulls is smallest; None: no line helps."""
    rim = _boundary(pixels)
    best, cut = 0.98 * _hull_area(pixels), cast("list[Ints] | None", None)
    for angle in np.arange(CUT_ANGLES) * np.pi / CUT_ANGLES:
        direction = np.array([np.cos(angle), np.sin(angle)])
        along, rim_along = pixels @ direction, rim @ direction
        low, high = float(along.min()), float(along.max())
        for i in range(1, CUT_OFFSETS + 1):
            at = low + (high - low) * i / (CUT_OFFSETS + 1)
            near = rim_along < at
            if 2 <= near.sum() <= len(near) - 2:
                area = _hull_area(rim[near]) + _hull_area(rim[~near])
                side: Bools = along < at
                if area < best and 4 <= side.sum() <= len(side) - 4:
                    best, cut = area, [pixels[side], pixels[~side]]
    return cut


def _simple(hull: Floats) -> Floats:
    """A convex polygon with at most about 16 corners."""
    while len(hull) > 16:
        before, after = np.roll(hull, 1, axis=0), np.roll(hull, -1, axis=0)
        edges = np.cross(np.pad(hull - before, ((0, 0), (0, 1))), np.pad(after - hull, ((0, 0), (0, 1))))[:, 2]
        hull = np.delete(hull, int(np.abs(edges).argmin()), axis=0)
    return hull
