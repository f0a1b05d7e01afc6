"""Closed meshes cut by planes: what is left is closed again, with flat caps, holes in them included."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# NumPy's annotations leave products of arrays of any float type without a type.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Bools, Floats, Ints
from .scene import Mesh

SAME_PLACE = 1e-9  # of a cut's width: ends of its segments nearer than this are one
SAME_AREA = 1e-9  # of a cut's area: a fan that covers so much more reaches beyond the outline


@dataclass(frozen=True, eq=False)
class Solid:
    """A cut solid: triangles [F, 3, D] of its skin, and its caps: normal [3] and outline as segments [S, 2, D].

    D is 3, or 5 with uv. Caps stay outlines until the last cut, so that cuts do not multiply triangles.
    """

    skin: Floats
    caps: tuple[tuple[Floats, Floats], ...] = ()

    @property
    def points(self) -> Floats:
        """All corners [N, 3]."""
        parts = (self.skin, *(segments for _, segments in self.caps))
        return np.concatenate([p[..., :3].reshape(-1, 3) for p in parts])


def solid_of(mesh: Mesh) -> Solid:
    """A closed mesh, not yet cut."""
    values = mesh.vertices if mesh.uv is None else np.hstack((mesh.vertices, mesh.uv))
    return Solid(values[mesh.faces])


def clip(solid: Solid, normal: Floats, offset: float) -> Solid:
    """The part of a solid where x . normal <= offset; without triangles and caps if nothing is left."""
    beyond = solid.skin[..., :3] @ normal - offset  # [F, 3]
    outside = beyond > 0
    count = outside.sum(1)
    mixed = (count == 1) | (count == 2)
    # The corner that is alone on its side comes first; the winding stays.
    lone = np.where(count == 1, outside.argmax(1), (~outside).argmax(1))[mixed]
    turn = (lone[:, None] + np.arange(3)) % 3
    corners = np.take_along_axis(solid.skin[mixed], turn[..., None], 1)
    depth = np.take_along_axis(beyond[mixed], turn, 1)
    ab = _crossing(corners[:, [0, 1]], depth[:, [0, 1]])
    ac = _crossing(corners[:, [0, 2]], depth[:, [0, 2]])
    b, c, one_left = corners[:, 1], corners[:, 2], count[mixed] == 2
    skin = (
        solid.skin[count == 0],
        np.stack((corners[:, 0], ab, ac), 1)[one_left],
        np.stack((ab, b, c), 1)[~one_left],
        np.stack((ab, c, ac), 1)[~one_left],
    )
    rim, caps = [np.stack((ab, ac), 1)], list[tuple[Floats, Floats]]()
    for facing, outline in solid.caps:
        kept, closing = _clip_outline(outline, np.cross(facing, normal), outline[..., :3] @ normal - offset)
        rim.append(closing)
        if len(kept):
            caps.append((facing, kept))
    edge = np.concatenate(rim)
    if len(edge):
        caps.append((normal, edge))
    return Solid(np.concatenate(skin), tuple(caps))


def mesh_of(solid: Solid) -> Mesh | None:
    """The closed mesh of a cut solid; None if nothing is left."""
    corners = np.concatenate([solid.skin, *(_fill(outline, normal) for normal, outline in solid.caps)])
    a, b, c = corners[:, 0, :3], corners[:, 1, :3], corners[:, 2, :3]
    corners = corners[(a != b).any(1) & (b != c).any(1) & (c != a).any(1)]
    if not len(corners):
        return None
    flat = np.ascontiguousarray(corners.reshape(-1, corners.shape[-1]))
    rows = flat.view([("", flat.dtype)] * flat.shape[1]).ravel()
    _, first, number = np.unique(rows, return_index=True, return_inverse=True)
    vertices = flat[first]
    return Mesh(vertices[:, :3], number.reshape(-1, 3), vertices[:, 3:] if flat.shape[1] > 3 else None)


def _crossing(ends: Floats, depth: Floats) -> Floats:
    """Where segments [N, 2, D] cross depth 0: from the end inside, so that a shared edge gives the same bits twice."""
    swap = depth[:, 0] > 0
    ends = np.where(swap[:, None, None], ends[:, ::-1], ends)
    depth = np.where(swap[:, None], depth[:, ::-1], depth)
    return ends[:, 0] + (depth[:, :1] / (depth[:, :1] - depth[:, 1:])) * (ends[:, 1] - ends[:, 0])


def _clip_outline(outline: Floats, along: Floats, depth: Floats) -> tuple[Floats, Floats]:
    """What of a cap's outline is inside, closed along the cut; and the closing segments alone."""
    outside = depth > 0
    split: Bools = outside[:, 0] != outside[:, 1]
    if not split.any():
        return outline[~outside[:, 0]], outline[:0]
    crossing = _crossing(outline[split], depth[split])
    inner = np.where(outside[split, :1, None], outline[split, 1:], outline[split, :1])
    order = np.argsort(crossing[:, :3] @ along)
    ends = crossing[order[: len(order) // 2 * 2]]
    closing = np.stack((ends[::2], ends[1::2]), 1)
    return np.concatenate((outline[~outside.any(1)], np.concatenate((inner, crossing[:, None]), 1), closing)), closing


def _fill(segments: Floats, normal: Floats) -> Floats:
    """Triangles [K, 3, D] that fill the outline made of segments [S, 2, D], facing along the normal.

    A fan about the middle where that covers the same area: half as many, corner to corner with the skin.
    """
    slabs = _slabs(segments, normal)
    middle = np.broadcast_to(segments.mean((0, 1)), segments[:, 0].shape)
    fan = np.stack((middle, segments[:, 0], segments[:, 1]), 1)
    area = _areas(fan, normal)
    if np.abs(area).sum() > _areas(slabs, normal).sum() * (1 + SAME_AREA):
        return slabs
    return np.where((area < 0)[:, None, None], fan[:, ::-1], fan)


def _areas(corners: Floats, normal: Floats) -> Floats:
    """Twice the areas [K] of triangles [K, 3, D]: positive where they face along the normal."""
    a, b, c = (corners[:, i, :3] for i in range(3))
    return np.cross(b - a, c - a) @ normal


def _slabs(segments: Floats, normal: Floats) -> Floats:
    """As _fill, by the even-odd rule between parallel lines through all ends: trapezoids, whatever loops and holes."""
    across = np.linalg.svd(normal[None])[2][1]
    up = np.cross(normal, across)
    u, w = segments[..., :3] @ across, segments[..., :3] @ up
    swap = u[:, 0] > u[:, 1]
    segments = np.where(swap[:, None, None], segments[:, ::-1], segments)
    u, w = np.where(swap[:, None], u[:, ::-1], u), np.where(swap[:, None], w[:, ::-1], w)
    lines = np.unique(u)
    lines = lines[np.append(True, np.diff(lines) > SAME_PLACE * (lines[-1] - lines[0]))]
    middle = (lines[1:] + lines[:-1]) / 2
    slab, which = np.nonzero((u[:, 0] < middle[:, None]) & (u[:, 1] > middle[:, None]))
    share = (middle[slab] - u[which, 0]) / (u[which, 1] - u[which, 0])
    order = np.lexsort((w[which, 0] + share * (w[which, 1] - w[which, 0]), slab))
    slab, which = slab[order], which[order]
    # Rank within the slab; even ones open a trapezoid that the next one closes.
    rank = np.arange(len(slab)) - np.searchsorted(slab, slab)
    opens = np.flatnonzero((rank[:-1] % 2 == 0) & (slab[1:] == slab[:-1]))
    below, above = which[opens], which[opens + 1]
    left, right = lines[slab[opens]], lines[slab[opens] + 1]

    def at(k: Ints, line: Floats) -> Floats:
        part = ((line - u[k, 0]) / (u[k, 1] - u[k, 0])).clip(0, 1)[:, None]
        return segments[k, 0] + part * (segments[k, 1] - segments[k, 0])

    p, q, r, s = at(below, left), at(below, right), at(above, right), at(above, left)
    return np.concatenate((np.stack((p, q, r), 1), np.stack((p, r, s), 1)))
