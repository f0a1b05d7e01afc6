"""Which triangle covers which pixel, at which depth: exact spans of triangles in homogeneous coordinates.

Edge functions are rows of the inverse of a triangle's homogeneous vertices (Olano and Greer, "Triangle Scan
Conversion using 2D Homogeneous Coordinates", 1997): they need no clipping, and their sum is the inverse depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints

NEAR = 1e-3  # metres: what is nearer to the camera is not drawn
INCLUSIVE = 1e-5  # pixels by which a span is widened, so that no pixel between two triangles is missed by both
PARALLEL = 1e-12  # ratio of an edge's coefficients below which it is taken for parallel to the rows


class Triangles(NamedTuple):
    """F triangles, ready for their spans. Axis of 4: two edges on the left, two on the right; one may stand twice."""

    start: Floats  # [4, F] x where an edge meets row y = 0
    slope: Floats  # [4, F] pixels of x a row
    inverse_depth: Floats  # [3, F]: its coefficients of x, y, 1
    rows: Floats  # [2, F] least and greatest y, within the picture
    columns: Floats  # [2, F] least and greatest x
    face: Ints  # [F] number of each


class Hits(NamedTuple):
    """Samples that triangles cover, in order of the triangles: sample [n], depth in metres [n], face [n]."""

    sample: Ints
    depth: Floats
    face: Ints


class Samples(NamedTuple):
    """Pixels that are rasterised: pixel [n], flat and ascending; before [H W + 1]: how many come before each."""

    pixel: Ints
    before: Ints


def chosen(mask: Bools) -> Samples:
    """The samples at the true pixels of mask [H, W]."""
    flat = mask.ravel()
    before = np.zeros(flat.size + 1, np.int32)
    np.cumsum(flat, out=before[1:])
    return Samples(np.flatnonzero(flat), before)


def triangles(points: Floats, faces: Ints, numbers: Ints, width: int, height: int) -> Triangles:
    """Set up triangles faces [F, 3], numbered numbers [F], of homogeneous pixel positions [3, N] (u z, v z, z)."""
    corners = np.ascontiguousarray(np.transpose(faces))
    x, y, z = points[0][corners], points[1][corners], points[2][corners]  # [3, F] each
    columns, rows = _bounds(x, y, z)
    wanted = (columns[1] > 0) & (columns[0] < width) & (rows[1] > 0) & (rows[0] < height)
    if not wanted.all():
        x, y, z, numbers = x[:, wanted], y[:, wanted], z[:, wanted], numbers[wanted]
        columns, rows = columns[:, wanted], rows[:, wanted]
    nx, ny, nz = x[[1, 2, 0]], y[[1, 2, 0]], z[[1, 2, 0]]  # next vertex
    px, py, pz = x[[2, 0, 1]], y[[2, 0, 1]], z[[2, 0, 1]]  # the one after it
    edges: Floats = np.stack((ny * pz - nz * py, nz * px - nx * pz, nx * py - ny * px))
    determinant = x[0] * edges[0, 0] + y[0] * edges[1, 0] + z[0] * edges[2, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(determinant == 0, 0.0, 1 / determinant)
        edges *= scale
        inverse_depth = edges.sum(1)
        least = np.abs(edges[1]) * PARALLEL + np.finfo(np.float64).tiny
        across = np.copysign(np.maximum(np.abs(edges[0]), least), edges[0])
        start, slope = edges[2] / (0 - across), edges[1] / (0 - across)
    left = across > 0
    sides = np.stack((left.argmax(0), 2 - left[::-1].argmax(0), left.argmin(0), 2 - left[::-1].argmin(0)))
    start, slope = np.take_along_axis(start, sides, 0), np.take_along_axis(slope, sides, 0)
    return Triangles(start, slope, inverse_depth, np.clip(rows, 0, height), columns, numbers)


def select(of: Triangles, which: Bools) -> Triangles:
    """Some of the triangles: which [F]."""
    return Triangles(
        of.start[:, which],
        of.slope[:, which],
        of.inverse_depth[:, which],
        of.rows[:, which],
        of.columns[:, which],
        of.face[which],
    )


def lines_near(of: Triangles, width: int, height: int, samples: Samples) -> tuple[Ints, Ints]:
    """Triangles [L] and rows [L] that can cover samples: of the rows of each one's box, those that hold some."""
    top, bottom = np.maximum(np.floor(of.rows[0] - 1), 0), np.minimum(np.ceil(of.rows[1]), height - 1)
    t, row = _lines(top.astype(np.int64), bottom.astype(np.int64))
    left, right = (np.clip(of.columns[i] + (2 * i - 1), 0, width).astype(np.int64) for i in (0, 1))
    start = row * width
    some = np.flatnonzero(samples.before[start + right[t]] > samples.before[start + left[t]])
    return t[some], row[some]


def spans(
    of: Triangles,
    width: int,
    height: int,
    offset: tuple[float, float] = (0.0, 0.0),
    samples: Samples | None = None,
    lines: tuple[Ints, Ints] | None = None,
) -> Hits:
    """What the triangles cover of all pixels, or of `samples`, sampled at the pixels' centres plus offset (x, y).

    lines: of lines_near, where more than one offset is asked for.
    """
    top = np.ceil(of.rows[0] - (0.5 + offset[1] + INCLUSIVE)).astype(np.int64)
    bottom = np.floor(of.rows[1] - (0.5 + offset[1] - INCLUSIVE)).astype(np.int64)
    top, bottom = np.maximum(top, 0), np.minimum(bottom, height - 1)
    if lines is None:
        t, row = _lines(top, bottom)
    else:
        t, row = lines
        some = np.flatnonzero((row >= top[t]) & (row <= bottom[t]))
        t, row = t[some], row[some]
    y = row + (0.5 + offset[1])
    crossing = of.slope[:, t]
    crossing *= y
    crossing += of.start[:, t]
    shift = 0.5 + offset[0]
    low = np.maximum(crossing[0], crossing[1]) - (shift + INCLUSIVE)
    high = np.minimum(crossing[2], crossing[3]) - (shift - INCLUSIVE)
    first = np.ceil(np.minimum(np.maximum(low, 0), width)).astype(np.int64)
    end = np.floor(np.minimum(np.maximum(high, -1), width - 1)).astype(np.int64) + 1
    some = end > first
    t, row, y, first, end = t[some], row[some], y[some], first[some], end[some]
    first, end = first + row * width, end + row * width
    if samples is not None:
        first, end = samples.before[first], samples.before[end]
    counts = np.maximum(end - first, 0)
    line = np.repeat(np.arange(len(counts)), counts)
    sample = np.arange(len(line)) + (first - np.cumsum(counts) + counts)[line]
    pixel = sample if samples is None else samples.pixel[sample]
    ax, ay, a1 = of.inverse_depth[:, t]
    inverse = ax[line] * (pixel + (shift - row * width)[line]) + (ay * y + a1)[line]
    face = of.face[t][line]
    with np.errstate(divide="ignore"):
        depth = 1 / inverse
    good = (inverse > 0) & (depth > NEAR)
    if not good.all():
        sample, depth, face = sample[good], depth[good], face[good]
    return Hits(sample, depth.astype(np.float32), face)


def _lines(top: Ints, bottom: Ints) -> tuple[Ints, Ints]:
    """Number of the triangle and row of each line from top [F] to bottom [F], both included."""
    rows = np.maximum(bottom - top + 1, 0)
    t = np.repeat(np.arange(len(rows)), rows)
    return t, np.arange(len(t)) + np.repeat(top - np.cumsum(rows) + rows, rows)


def nearest(hits: Hits, samples: int) -> tuple[Hits, Floats]:
    """The nearest hit of each sample, in order of the faces, and its depth [samples] (infinite where none)."""
    depth = np.full(samples, np.inf, np.float32)
    np.minimum.at(depth, hits.sample, hits.depth)
    best = hits.depth == depth[hits.sample]
    tied = keep(hits, best)
    winner = np.empty(samples, np.int64)
    winner[tied.sample] = tied.face  # two triangles may meet a sample on their edge at one depth: the later one is kept
    return keep(tied, winner[tied.sample] == tied.face), depth


def keep(hits: Hits, which: Bools | Ints) -> Hits:
    """Some of the hits: a mask, or their numbers in ascending order."""
    return Hits(hits.sample[which], hits.depth[which], hits.face[which])


def _bounds(x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Extents in x and in y, [2, F] each, of triangles [3, F], of what lies in front of the camera."""
    front = z > NEAR
    if front.all():
        u, v = x / z, y / z
        low_u, low_v = (np.minimum(np.minimum(c[0], c[1]), c[2]) for c in (u, v))
        high_u, high_v = (np.maximum(np.maximum(c[0], c[1]), c[2]) for c in (u, v))
        return np.stack((low_u, high_u)), np.stack((low_v, high_v))
    safe = np.where(front, z, 1.0)
    u: Floats = x / safe
    v: Floats = y / safe
    u, v = np.concatenate((u, u)), np.concatenate((v, v))
    for i in range(3):
        j = (i + 1) % 3
        # The edge from vertex i to j meets the near plane at share s; one that does not adds no new point.
        step = z[j] - z[i]
        s = np.clip((NEAR - z[i]) / np.where(step == 0, 1.0, step), 0.0, 1.0)
        meets: Bools = front[i] != front[j]
        u[3 + i] = np.where(meets, (x[i] + s * (x[j] - x[i])) / NEAR, u[i])
        v[3 + i] = np.where(meets, (y[i] + s * (y[j] - y[i])) / NEAR, v[i])
    front = np.concatenate((front, front | (front != front[[1, 2, 0]])))
    low_u, high_u = np.where(front, u, np.inf).min(0), np.where(front, u, -np.inf).max(0)
    low_v, high_v = np.where(front, v, np.inf).min(0), np.where(front, v, -np.inf).max(0)
    return np.stack((low_u, high_u)), np.stack((low_v, high_v))
