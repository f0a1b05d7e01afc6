"""The parts of one frame, rasterised and laid over each other from near to far, with smooth edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .raster import Hits, Samples, Triangles, chosen, keep, lines_near, nearest, select, spans, triangles
from .shading import meet_within, shade
from .stage import Stage, coordinates, set_stage

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints

LAYERS = 3  # surfaces with soft edges that are seen behind each other in one pixel
THROUGH = 0.004  # share of light let through below which a pixel is opaque: one level of 255
BEHIND = 1e-4  # relative step of depth from which a surface is another one, behind
# Four samples a pixel on a rotated grid: each row and each column of a 4x4 grid holds one.
CENTRE = (0.0, 0.0)
SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
HIDING = 0.01  # relative depth over which what the picture shows goes from not hiding a part to hiding it
FAINT = 0.05  # opacity up to which a part may end at once: at a soft outline its cut-out fades out before its mesh
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
CREASE = 0.05  # step of brightness within a lit part that is smoothed as an edge


class Layers(NamedTuple):
    """What n samples see of the parts, in front of the background.

    rgb [n, 3] premultiplied; through [n]: light let through from the background, by parts that are seen through too;
    mask [n]: share of movable parts; part [n]: that which covers at least half, -1 where none; depth [n]: its depth in
    metres. front [n]: the nearest part, -1 where none, and how much it covers [n].
    """

    rgb: Floats
    through: Floats
    mask: Floats
    part: Ints
    depth: Floats
    front: Ints
    cover: Floats


def draw_parts(stage: Stage, hides: Floats | None) -> tuple[Layers, Ints]:
    """What each pixel of the frame sees of the parts: layers of the hit pixels, and their flat numbers [n].

    hides [H, W]: depth from which on parts are hidden by the background; None: by nothing.
    """
    camera = stage.camera
    front, back = _set_up(stage)
    hits = spans(front, camera.width, camera.height)
    seen = np.zeros((camera.height, camera.width), bool)
    seen.ravel()[hits.sample] = True
    at = chosen(seen)
    grid = Grid(at, (CENTRE,))
    layers = _over(stage, Hits(at.before[hits.sample], hits.depth, hits.face), back, grid, hides)
    edges = _edges(stage, layers, at.pixel, seen.shape)
    if not edges.any():
        return layers, at.pixel
    return _refine(stage, layers, at.pixel, Grid(chosen(edges), SUBPIXELS), front, back, hides)


class Grid(NamedTuple):
    """Samples of some pixels: sample i n + k lies in pixel k of n, at offset i from its centre."""

    pixels: Samples
    offsets: tuple[tuple[float, float], ...]

    def mask(self, shape: tuple[int, int], samples: Ints) -> Bools:
        """The pixels [H, W] in which some of the samples lie."""
        mask = np.zeros(shape, bool)
        mask.ravel()[self.pixels.pixel[samples % len(self.pixels.pixel)]] = True
        return mask

    def cast(self, stage: Stage, of: Triangles, mask: Bools) -> Hits:
        """What triangles cover of the samples, of those triangles that come near the pixels of mask [H, W]."""
        camera, count = stage.camera, len(self.pixels.pixel)
        near = select(of, _touching(of, mask))
        size = camera.width, camera.height
        lines = lines_near(near, *size, self.pixels)
        each = [spans(near, *size, offset, self.pixels, lines) for offset in self.offsets]
        sample = np.concatenate([h.sample + i * count for i, h in enumerate(each)])
        depth, face = np.concatenate([h.depth for h in each]), np.concatenate([h.face for h in each])
        if len(each) > 1:
            order = np.argsort(face, kind="stable")
            sample, depth, face = sample[order], depth[order], face[order]
        return Hits(sample, depth, face)


def _set_up(stage: Stage) -> tuple[Triangles, Triangles]:
    """Triangles of the present parts that face the camera, and those of closed soft parts that face away."""
    surfaces, camera = stage.surfaces, stage.camera
    there, soft = np.zeros(len(surfaces.parts), bool), np.zeros(len(surfaces.parts), bool)
    for p in stage.present:
        cut = surfaces.parts[p].cutout
        there[p], soft[p] = True, cut is not None and not cut.hard
    facing = (stage.toward > 0) | surfaces.two_sided
    front = np.flatnonzero(facing & there[surfaces.part])
    back = np.flatnonzero(~facing & soft[surfaces.part])
    ready = [triangles(stage.points, surfaces.faces[f], f, camera.width, camera.height) for f in (front, back)]
    return ready[0], ready[1]


def _over(stage: Stage, hits: Hits, back: Triangles, grid: Grid, hides: Floats | None) -> Layers:
    """Lay the hits of a grid's samples over each other."""
    shift = np.array(grid.offsets, np.float32)[:, :, None] + np.float32(0.5)
    column, row = coordinates(grid.pixels.pixel, stage.camera.width)
    x, y = (column + shift[:, 0]).ravel(), (row + shift[:, 1]).ravel()
    hidden_from = None if hides is None else np.tile(hides.ravel()[grid.pixels.pixel], len(grid.offsets))
    n = len(x)
    rgb, mask = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
    through, part, depth = np.ones(n, np.float32), np.full(n, -1, np.int16), np.full(n, np.inf, np.float32)
    front, cover = np.full(n, -1, np.int16), np.zeros(n, np.float32)
    movable = np.array([s.part.movable for s in stage.surfaces.parts], np.float32)
    # What is not covered yet says whose pixel it is; what light is let through, how much is seen of what is behind.
    bare = np.ones(n, np.float32)
    for layer in range(LAYERS):
        top, z = nearest(hits, n)
        s = top.sample
        colors, alpha, opacity = shade(stage, top, x[s], y[s])
        soft = np.flatnonzero(alpha < 1)
        if len(soft) and len(back.face):
            leaves = _exits(stage, top, soft, back, grid)
            ask = np.flatnonzero(leaves > top.depth)
            if len(ask):
                met, at = keep(top, ask), s[ask]
                colors[ask], alpha[ask] = meet_within(stage, met, x[at], y[at], leaves[ask], colors[ask], alpha[ask])
        if hidden_from is not None:
            behind = top.depth / hidden_from[s] - 1
            alpha *= np.clip(1 - behind / HIDING, 0, 1)
        before, light = bare[s], through[s]
        share, lit = before * alpha, light * alpha * opacity
        colors *= lit[:, None]
        if layer == 0:
            rgb[s], cover[s] = colors, alpha
            front[s] = stage.surfaces.part[top.face]
        else:
            rgb[s] += colors
        which = stage.surfaces.part[top.face]
        mask[s] += share * movable[which]
        through[s], left = light - lit, before - share
        bare[s] = left
        first = (before > 0.5) & (left <= 0.5)
        part[s[first]], depth[s[first]] = which[first], top.depth[first]
        if layer == LAYERS - 1:
            break
        hits = keep(hits, (through[hits.sample] > THROUGH) & (hits.depth > z[hits.sample] * (1 + BEHIND)))
        if not len(hits.sample):
            break
    return Layers(rgb, through, mask, part, depth, front, cover)


def _exits(stage: Stage, top: Hits, soft: Ints, back: Triangles, grid: Grid) -> Floats:
    """Depth [n] where the rays of the soft hits leave their part again; 0 for the others and where unknown."""
    shape, parts = (stage.camera.height, stage.camera.width), len(stage.surfaces.parts)
    hits = grid.cast(stage, back, grid.mask(shape, top.sample[soft]))
    number = np.full(len(grid.pixels.pixel) * len(grid.offsets), -1)
    number[top.sample[soft]] = np.arange(len(soft))
    hits = keep(hits, number[hits.sample] >= 0)
    leaves = np.zeros(len(soft) * parts, np.float32)
    np.maximum.at(leaves, number[hits.sample] * parts + stage.surfaces.part[hits.face], hits.depth)
    out = np.zeros(len(top.sample), np.float32)
    out[soft] = leaves[np.arange(len(soft)) * parts + stage.surfaces.part[top.face[soft]]]
    return out


def _touching(of: Triangles, mask: Bools) -> Bools:
    """Whether the box around each triangle [F], a pixel wider, holds a true pixel of the mask [H, W]."""
    import cv2

    height, width = mask.shape
    table = np.asarray(cv2.integral(mask.view(np.uint8)))
    x0, x1 = (
        np.clip(of.columns[0] - 1, 0, width).astype(np.int64),
        np.clip(of.columns[1] + 2, 0, width).astype(np.int64),
    )
    y0, y1 = np.clip(of.rows[0] - 1, 0, height).astype(np.int64), np.clip(of.rows[1] + 2, 0, height).astype(np.int64)
    return table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > 0


def _edges(stage: Stage, layers: Layers, at: Ints, shape: tuple[int, int]) -> Bools:
    """Pixels [H, W] where what is seen changes: between parts, at their outlines, at the creases of lit ones."""
    columns, rows = coordinates(at, shape[1])
    edges = np.zeros(shape, bool)
    if not len(at):
        return edges
    top, left = max(int(rows.min()) - 1, 0), max(int(columns.min()) - 1, 0)
    box = slice(top, int(rows.max()) + 2), slice(left, int(columns.max()) + 2)
    wide = edges[box].shape[1]
    inside = ((rows - top) * wide + columns - left).astype(np.int64)
    label = np.full(edges[box].size, -1, np.int16)
    label[inside] = layers.front
    cover = np.zeros(label.size, np.float32)
    cover[inside] = layers.cover
    light = np.zeros(label.size, np.float32)
    lit = np.array([s.cutout is None for s in stage.surfaces.parts] + [False])
    light[inside] = np.where(lit[layers.front], layers.rgb @ LUMA, 0)
    label, cover, light = (a.reshape(-1, wide) for a in (label, cover, light))
    region = edges[box]
    for axis in (0, 1):
        a, b = (slice(None, -1), slice(1, None))
        one, two = ((a, slice(None)), (b, slice(None))) if axis == 0 else ((slice(None), a), (slice(None), b))
        differs = (label[one] != label[two]) & (np.maximum(cover[one], cover[two]) > FAINT)
        differs |= np.abs(light[one] - light[two]) > CREASE
        region[one] |= differs
        region[two] |= differs
    return edges


def _refine(
    stage: Stage, layers: Layers, at: Ints, grid: Grid, front: Triangles, back: Triangles, hides: Floats | None
) -> tuple[Layers, Ints]:
    """Layers in which the pixels of `grid` are means of its samples; part and depth stay those of the centres."""
    camera, edge = stage.camera, grid.pixels.pixel
    hits = grid.cast(stage, front, grid.mask((camera.height, camera.width), np.arange(len(edge))))
    fine = _over(stage, hits, back, grid, hides)
    rgb, through, mask = (a.reshape(len(grid.offsets), len(edge), *a.shape[1:]).mean(0) for a in fine[:3])
    pixels = camera.width * camera.height
    full = np.zeros(pixels, bool)
    full[at] = True
    full[edge] = True
    union = np.flatnonzero(full)
    number = np.cumsum(full) - 1
    out = Layers(
        np.zeros((len(union), 3), np.float32),
        np.ones(len(union), np.float32),
        np.zeros(len(union), np.float32),
        np.full(len(union), -1, np.int16),
        np.full(len(union), np.inf, np.float32),
        np.full(len(union), -1, np.int16),
        np.zeros(len(union), np.float32),
    )
    for new, old in zip(out, layers, strict=True):
        new[number[at]] = old
    for new, old in zip(out[:3], (rgb, through, mask), strict=True):
        new[number[edge]] = old
    return out, union


def faces_at(stage: Stage, poses: Floats, parts: tuple[int, ...]) -> Ints:
    """The nearest face of some parts at other poses in each pixel [H, W], -1 where none."""
    camera = stage.camera
    front, _ = _set_up(set_stage(stage.surfaces, stage.light, camera, poses, parts))
    top, _ = nearest(spans(front, camera.width, camera.height), camera.width * camera.height)
    face = np.full(camera.width * camera.height, -1, np.int64)
    face[top.sample] = top.face
    return face.reshape(camera.height, camera.width)
