"""The parts of one frame, rasterised and laid over each other from near to far, with smooth edges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .raster import Hits, Triangles, chosen, keep, nearest, select, spans, triangles
from .shading import Stage, shade

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints

LAYERS = 4  # surfaces with soft edges that are seen behind each other in one pixel
THROUGH = 0.004  # share of light let through below which a pixel is opaque: one level of 255
BEHIND = 1e-4  # relative step of depth from which a surface is another one, behind
# Four samples a pixel on a rotated grid: each row and each column of a 4x4 grid holds one.
SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
HIDING = 0.01  # relative depth over which what the picture shows goes from not hiding a part to hiding it
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
CREASE = 0.05  # step of brightness within a lit part that is smoothed as an edge


class Layers(NamedTuple):
    """What n samples see of the parts, in front of the background.

    rgb [n, 3] premultiplied; through [n]: light let through from the background; mask [n]: share of movable parts;
    part [n]: that which covers at least half, -1 where none; depth [n]: its depth in metres.
    """

    rgb: Floats
    through: Floats
    mask: Floats
    part: Ints
    depth: Floats


def draw_parts(stage: Stage, hides: Floats | None) -> tuple[Layers, Ints]:
    """What each pixel of the frame sees of the parts: layers of the hit pixels, and their flat numbers [n].

    hides [H, W]: depth from which on parts are hidden by the background; None: by nothing.
    """
    camera = stage.camera
    pixels = camera.width * camera.height
    front, back = _set_up(stage)
    hits = spans(front, camera.width, camera.height)
    seen = np.zeros(pixels, bool)
    seen[hits.sample] = True
    at = np.flatnonzero(seen)
    number = np.cumsum(seen) - 1
    x, y = at % camera.width + 0.5, at // camera.width + 0.5
    hits = Hits(number[hits.sample], hits.depth, hits.face)
    hidden_from = None if hides is None else hides.ravel()[at]
    layers = _over(stage, hits, back, x, y, at, hidden_from)
    edges = _edges(stage, layers, at, (camera.height, camera.width))
    if edges.any():
        layers, at = _refine(stage, layers, at, edges, front, hides)
    return layers, at


def _set_up(stage: Stage) -> tuple[Triangles, Triangles]:
    """Triangles of the present parts that face the camera, and those of closed soft parts that face away."""
    surfaces, camera = stage.surfaces, stage.camera
    points = np.empty((3, len(surfaces.vertices)))
    front: list[Ints] = []
    back: list[Ints] = []
    ends = [(s.first_face, s.first_vertex) for s in surfaces.parts[1:]]
    ends.append((len(surfaces.faces), len(surfaces.vertices)))
    for p in stage.present:
        surface, (face_end, vertex_end) = surfaces.parts[p], ends[p]
        faces, vertices = slice(surface.first_face, face_end), slice(surface.first_vertex, vertex_end)
        matrix = camera.to_pixels @ (camera.w2c @ stage.poses[p])[:3]
        points[:, vertices] = matrix[:, :3] @ np.transpose(surfaces.vertices[vertices]) + matrix[:, 3:]
        facing = surfaces.normals[faces] @ stage.eye(p) > surfaces.offsets[faces]
        front.append(np.flatnonzero(facing | surfaces.two_sided[faces]) + surface.first_face)
        if surface.cutout is not None and not surface.cutout.hard:
            back.append(np.flatnonzero(~(facing | surfaces.two_sided[faces])) + surface.first_face)
    none = np.zeros(0, np.int64)
    chosen_faces = [np.concatenate(f) if f else none for f in (front, back)]
    ready = [triangles(points, surfaces.faces[f], f, camera.width, camera.height) for f in chosen_faces]
    return ready[0], ready[1]


def _over(
    stage: Stage, hits: Hits, back: Triangles, x: Floats, y: Floats, pixel: Ints, hidden_from: Floats | None
) -> Layers:
    """Lay the hits of n samples at pixel positions x, y [n], in pixels [n], over each other."""
    n = len(x)
    rgb, mask = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
    through, part, depth = np.ones(n, np.float32), np.full(n, -1, np.int16), np.full(n, np.inf, np.float32)
    movable = np.array([s.part.movable for s in stage.surfaces.parts], np.float32)
    for layer in range(LAYERS):
        top, z = nearest(hits, n)
        s = top.sample
        colors, alpha = shade(stage, top, x[s], y[s], None)
        soft = np.flatnonzero(alpha < 1)
        if len(soft) and len(back.face):
            leaves = _exits(stage, top, soft, back, pixel)
            again = keep(top, leaves > 0)
            if len(again.sample):
                at = again.sample
                colors[leaves > 0], alpha[leaves > 0] = shade(stage, again, x[at], y[at], leaves[leaves > 0])
        if hidden_from is not None:
            behind = top.depth / hidden_from[s] - 1
            alpha *= np.clip(1 - behind / HIDING, 0, 1)
        share = through[s] * alpha
        rgb[s] += colors * share[:, None]
        which = stage.surfaces.part[top.face]
        mask[s] += share * movable[which]
        before = through[s]
        through[s] = before - share
        first = (before > 0.5) & (through[s] <= 0.5)
        part[s[first]], depth[s[first]] = which[first], top.depth[first]
        if layer == LAYERS - 1:
            break
        hits = keep(hits, (through[hits.sample] > THROUGH) & (hits.depth > z[hits.sample] * (1 + BEHIND)))
        if not len(hits.sample):
            break
    return Layers(rgb, through, mask, part, depth)


def _exits(stage: Stage, top: Hits, soft: Ints, back: Triangles, pixel: Ints) -> Floats:
    """Depth [n] where the rays of the soft hits leave their part again; 0 for the others and where unknown.

    Taken at the pixel's centre, also for samples off it: it only says how far a soft edge looks for the body.
    """
    camera = stage.camera
    mask = np.zeros((camera.height, camera.width), bool)
    mask.ravel()[pixel[top.sample[soft]]] = True
    samples = chosen(mask)
    hits = spans(select(back, _touching(back, mask)), camera.width, camera.height, samples=samples)
    parts = len(stage.surfaces.parts)
    key = hits.sample * parts + stage.surfaces.part[hits.face]
    leaves = np.zeros(len(samples.pixel) * parts, np.float32)
    np.maximum.at(leaves, key, hits.depth)
    out = np.zeros(len(top.sample), np.float32)
    ask = samples.before[pixel[top.sample[soft]]] * parts + stage.surfaces.part[top.face[soft]]
    out[soft] = leaves[ask]
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
    width = shape[1]
    rows, columns = at // width, at % width
    edges = np.zeros(shape, bool)
    if not len(at):
        return edges
    top, left = max(int(rows.min()) - 1, 0), max(int(columns.min()) - 1, 0)
    box = slice(top, int(rows.max()) + 2), slice(left, int(columns.max()) + 2)
    wide = edges[box].shape[1]
    inside = (rows - top) * wide + columns - left
    label = np.full(edges[box].size, -1, np.int16)
    label[inside] = layers.part
    cover = np.zeros(label.size, np.float32)
    cover[inside] = 1 - layers.through
    light = np.zeros(label.size, np.float32)
    lit = np.array([s.cutout is None for s in stage.surfaces.parts] + [False])
    light[inside] = np.where(lit[layers.part], layers.rgb @ LUMA, 0)
    label, cover, light = (a.reshape(-1, wide) for a in (label, cover, light))
    region = edges[box]
    for axis in (0, 1):
        a, b = (slice(None, -1), slice(1, None))
        one, two = ((a, slice(None)), (b, slice(None))) if axis == 0 else ((slice(None), a), (slice(None), b))
        differs = (label[one] != label[two]) & (np.maximum(cover[one], cover[two]) > 0.55)
        differs |= np.abs(light[one] - light[two]) > CREASE
        region[one] |= differs
        region[two] |= differs
    return edges


def _refine(
    stage: Stage, layers: Layers, at: Ints, edges: Bools, front: Triangles, hides: Floats | None
) -> tuple[Layers, Ints]:
    """Layers in which the edge pixels are means of four samples; part and depth stay those of the centres."""
    camera = stage.camera
    samples = chosen(edges)
    count = len(samples.pixel)
    near = select(front, _touching(front, edges))
    each = [spans(near, camera.width, camera.height, offset, samples) for offset in SUBPIXELS]
    sample = np.concatenate([h.sample + i * count for i, h in enumerate(each)])
    depth, face = np.concatenate([h.depth for h in each]), np.concatenate([h.face for h in each])
    order = np.argsort(face, kind="stable")
    pixel = np.tile(samples.pixel, 4)
    shift = np.repeat(np.array(SUBPIXELS), count, 0)
    x, y = pixel % camera.width + 0.5 + shift[:, 0], pixel // camera.width + 0.5 + shift[:, 1]
    hidden_from = None if hides is None else hides.ravel()[pixel]
    # Supersampled edges are the mesh's own outline, so soft rims need no exits of rays here.
    fine = _over(stage, Hits(sample[order], depth[order], face[order]), _NO_TRIANGLES, x, y, pixel, hidden_from)
    rgb, through, mask = (a.reshape(4, count, *a.shape[1:]).mean(0) for a in fine[:3])
    pixels = camera.width * camera.height
    full = np.zeros(pixels, bool)
    full[at] = True
    full[samples.pixel] = True
    union = np.flatnonzero(full)
    number = np.cumsum(full) - 1
    out = Layers(
        np.zeros((len(union), 3), np.float32),
        np.ones(len(union), np.float32),
        np.zeros(len(union), np.float32),
        np.full(len(union), -1, np.int16),
        np.full(len(union), np.inf, np.float32),
    )
    for new, old in zip(out, layers, strict=True):
        new[number[at]] = old
    for new, old in zip(out[:3], (rgb, through, mask), strict=True):
        new[number[samples.pixel]] = old
    return out, union


_NO_TRIANGLES = triangles(np.zeros((3, 0)), np.zeros((0, 3), np.int64), np.zeros(0, np.int64), 1, 1)


def faces_at(stage: Stage, poses: Floats, parts: tuple[int, ...]) -> Ints:
    """The nearest face of some parts at other poses in each pixel [H, W], -1 where none."""
    camera = stage.camera
    front, _ = _set_up(replace(stage, poses=poses, present=parts))
    top, _ = nearest(spans(front, camera.width, camera.height), camera.width * camera.height)
    face = np.full(camera.width * camera.height, -1, np.int64)
    face[top.sample] = top.face
    return face.reshape(camera.height, camera.width)
