"""Points on the parts that are followed through the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .camera import inverse

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints
    from .flow import Seen
    from .surfaces import Surfaces

ON_BACKGROUND = 24  # points
ON_PARTS = 240  # points on all movable parts together, at most MOST on each and at least one
MOST = 24
DRAWS = 400  # pixels among which the points of a part are spread
SAME_DEPTH = 0.01  # relative depth by which a point may lie behind what is seen there, and still be seen


@dataclass(frozen=True, eq=False)
class Points:
    """N points: where they were in the world at rest [N, 3]; part [N] that each lies on, -1: the background."""

    at_rest: Floats
    part: Ints


def spread(seen: Seen) -> Points:
    """Points spread over the visible surface of each movable part, and some over the background, in the first frame."""
    stage = seen.stage
    parts = stage.surfaces.parts
    generator = np.random.default_rng(0)  # any points do; the same for each run
    movable = [p for p in stage.present if parts[p].part.movable]
    each = min(MOST, max(ON_PARTS // max(len(movable), 1), 1))
    places: list[Floats] = []
    numbers: list[int] = []
    for p, count in [(p, each) for p in movable] + [(-1, ON_BACKGROUND)]:
        pixels = np.flatnonzero(seen.part.ravel() == p)
        if not len(pixels):
            continue
        drawn = generator.choice(pixels, min(DRAWS, len(pixels)), replace=False)
        xy = np.stack((drawn % stage.camera.width, drawn // stage.camera.width), 1) + 0.5
        some = _apart(xy, count)
        z = seen.depth.ravel()[drawn[some]]
        local = np.concatenate((xy[some], np.ones((len(some), 1))), 1)
        local = local @ np.transpose(np.linalg.inv(stage.camera.to_pixels)) * z[:, None]
        to_rest = stage.camera.c2w
        if p >= 0:
            to_rest = np.asarray(parts[p].part.rest, np.float64) @ inverse(stage.poses[p]) @ to_rest
        places.append(local @ np.transpose(to_rest[:3, :3]) + to_rest[:3, 3])
        numbers += [p] * len(some)
    if not places:
        return Points(np.zeros((0, 3)), np.zeros(0, np.int64))
    return Points(np.concatenate(places), np.array(numbers, np.int64))


def follow(points: Points, carrier: Ints, seen: Seen) -> tuple[Floats, Bools]:
    """Pixel positions [N, 2] of the points, on carriers [N], in a frame, and whether each is seen [N]."""
    stage = seen.stage
    moved = np.tile(np.eye(4), (len(stage.surfaces.parts) + 1, 1, 1))  # the last one is the background's
    for p in stage.present:
        moved[p] = stage.poses[p] @ inverse(np.asarray(stage.surfaces.parts[p].part.rest, np.float64))
    matrix = stage.camera.to_pixels @ (stage.camera.w2c @ moved[np.maximum(carrier, -1)])[:, :3]
    q = (matrix[:, :, :3] @ points.at_rest[:, :, None])[..., 0] + matrix[:, :, 3]
    z = np.maximum(q[:, 2], 1e-3)
    at = q[:, :2] / z[:, None]
    width, height = stage.camera.width, stage.camera.height
    inside = (q[:, 2] > 1e-3) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height) & (carrier >= -1)
    x, y = (np.where(inside, at[:, i], 0).astype(np.int64) for i in (0, 1))
    visible = inside & (seen.part[y, x] == carrier) & (seen.depth[y, x] > z * (1 - SAME_DEPTH))
    return at, visible


def carriers(points: Points, surfaces: Surfaces, present: tuple[int, ...]) -> Ints:
    """The part [N] that carries each point now: its own, or the shard of its body that holds it; -2: none is there."""
    carrier = np.array(points.part)
    for p in np.unique(points.part):
        if p < 0 or p in present:
            continue
        mine = points.part == p
        shards = [s for s in present if surfaces.parts[s].part.body == surfaces.parts[p].part.body]
        carrier[mine] = -2
        if shards:
            outside = np.stack([_outside(surfaces, s, points.at_rest[mine]) for s in shards])
            carrier[mine] = np.array(shards)[outside.argmin(0)]
    return carrier


def _outside(surfaces: Surfaces, part: int, at_rest: Floats) -> Floats:
    """How far points [N, 3] of the world at rest lie outside of a convex part, metres; negative within."""
    of = np.flatnonzero(surfaces.part == part)
    to_part = inverse(np.asarray(surfaces.parts[part].part.rest, np.float64))
    local = at_rest @ np.transpose(to_part[:3, :3]) + to_part[:3, 3]
    return (local @ np.transpose(surfaces.normals[of]) - surfaces.offsets[of]).max(1)


def _apart(xy: Floats, count: int) -> Ints:
    """Numbers of up to `count` of the points [n, 2], each as far from the earlier ones as can be."""
    some = [int(np.linalg.norm(xy - xy.mean(0), axis=1).argmin())]
    far = np.linalg.norm(xy - xy[some[0]], axis=1)
    while len(some) < min(count, len(xy)):
        some.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(xy - xy[some[-1]], axis=1))
    return np.array(some)
