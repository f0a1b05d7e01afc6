"""Colour and opacity of points on parts: a projected picture with soft edges, or a lit colour or texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..scene import Colored, Textured
from .camera import inverse
from .pictures import filtered
from .raster import Hits
from .stage import parts_hit, transform

if TYPE_CHECKING:
    from ..arrays import Floats, Ints
    from ..scene import Light
    from .stage import Stage
    from .surfaces import Surfaces

TURNED = (1.15, 1.5)  # magnification of a picture from which, and by which, its outline takes its colours from within
STRETCH = (2.0, 5.0)  # magnification of a picture from which, and by which, sides take the rim's colour instead
SLANT = 0.2  # cosine of view and normal from which a slant filters a texture: earlier it blurs, later it flickers
GLOSS, SHININESS = 0.12, 30.0  # height and exponent of the highlight of a lit body
CHORD_STEPS = 3  # points between entry and exit of a ray at which a soft edge looks for the body
RIM_GAIN = 4.0  # a rim seen from the side that is 1/4 more opaque than the cut-out has all its colour from within


def shade(stage: Stage, hits: Hits, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Colours [n, 3] in 0..1 of hits at pixel positions x, y [n], how much of the pixel their part covers [n], and its
    opacity there [n], below 1 of what is seen through.
    """
    rgb, alpha = np.empty((len(x), 3), np.float32), np.ones(len(x), np.float32)
    opacity = np.ones(len(x), np.float32)
    for parts, counts, s in _runs(stage.surfaces, hits):
        some = Hits(hits.sample[s], hits.depth[s], hits.face[s])
        if stage.surfaces.parts[parts[0]].cutout is None:
            rgb[s] = _lit(stage, parts[0], some, x[s], y[s])
        else:
            _projected(stage, parts, counts, some, x[s], y[s], rgb[s], alpha[s], opacity[s])
    return rgb, alpha, opacity


def meet_within(
    stage: Stage, hits: Hits, x: Floats, y: Floats, leaves: Floats, rgb: Floats, alpha: Floats
) -> tuple[Floats, Floats]:
    """Colours [n, 3] and opacities [n] of hits with rgb, alpha, whose rays leave their part again at depth leaves [n].

    A ray that enters at the soft rim of a body seen from the side still meets the body within: the greatest opacity on
    its way counts, and what it has more than the rim has the colour of the rim's surroundings within the outline.
    """
    rgb, alpha = np.array(rgb), np.array(alpha)
    steps = np.linspace(0, 1, CHORD_STEPS + 2, dtype=np.float32)[:, None]
    for parts, counts, s in _runs(stage.surfaces, hits):
        cut = stage.surfaces.parts[parts[0]].cutout
        if cut is not None:
            z = hits.depth[s] + (leaves[s] - hits.depth[s]) * steps
            a, b, c = transform(stage.to_picture[parts], counts, x[s], y[s], z)
            u, v = a / c, b / c
            found = cut.cover.at(u.ravel(), v.ravel()).reshape(z.shape).max(0) * np.float32(1 / 255)
            more = np.clip(RIM_GAIN * (1 - alpha[s] / np.maximum(found, 1e-3)), 0, 1)
            gain = np.flatnonzero(more > 0)
            rim = cut.rim.at(u[0, gain], v[0, gain]) * np.float32(1 / 255)
            if cut.lit > 0:
                some = Hits(hits.sample[s], hits.depth[s], hits.face[s])
                rim *= _light_on(stage, parts, counts, some, x[s], y[s])[gain, None]
            rgb[s][gain] += more[gain, None] * (rim - rgb[s][gain])
            alpha[s] = np.maximum(alpha[s], found)
    return rgb, alpha


def _runs(surfaces: Surfaces, hits: Hits) -> list[tuple[list[int], Ints, slice]]:
    """What is coloured together: parts in a row with one picture, or one lit part; counts of hits, their slice."""
    parts, counts = parts_hit(surfaces, hits)
    runs: list[tuple[list[int], Ints, slice]] = []
    start = first = 0
    numbers: list[int] = parts.tolist()
    for i, p in enumerate(numbers):
        cut = surfaces.parts[p].cutout
        if cut is None or i + 1 == len(parts) or surfaces.parts[numbers[i + 1]].cutout is not cut:
            end = start + int(counts[first : i + 1].sum())
            runs.append((numbers[first : i + 1], counts[first : i + 1], slice(start, end)))
            start, first = end, i + 1
    return runs


def _projected(
    stage: Stage,
    parts: list[int],
    counts: Ints,
    hits: Hits,
    x: Floats,
    y: Floats,
    rgb: Floats,
    alpha: Floats,
    opacity: Floats,
) -> None:
    """Write colours, cover and opacities of a projected picture."""
    cut = stage.surfaces.parts[parts[0]].cutout
    assert cut is not None
    a, b, c = transform(stage.to_picture[parts], counts, x, y, hits.depth)
    u, v = a / c, b / c
    nearer = c / hits.depth
    footprint = cut.focal / stage.camera.focal / nearer
    found = filtered(cut.levels, u, v, footprint)
    np.multiply(found[:, :3], np.float32(1 / 255), out=rgb)
    if cut.opacity:
        np.multiply(filtered(cut.opacity, u, v, footprint)[:, 0], np.float32(1 / 255), out=opacity)
    if not cut.hard:
        np.multiply(found[:, 3], np.float32(1 / 255), out=alpha)
    # How much wider a face appears now than from where the picture saw it.
    stretch = np.abs(stage.toward[hits.face] / stage.surfaces.from_picture[hits.face]) * nearer
    # What the picture did not see goes on as its mirror image.
    stretch = np.maximum(stretch, np.where(stage.surfaces.from_picture[hits.face] > 0, 0, TURNED[1]))
    for picture, (low, high), covered in ((cut.within, TURNED, STRETCH[1]), (cut.rim, STRETCH, np.inf)):
        side = np.flatnonzero((stretch > low) & (stretch < covered))
        if len(side):
            share = np.clip((stretch[side] - low) / (high - low), 0, 1)[:, None].astype(np.float32)
            rgb[side] += share * (picture.at(u[side], v[side]) * np.float32(1 / 255) - rgb[side])
    if cut.lit > 0:
        rgb *= _light_on(stage, parts, counts, hits, x, y)[:, None]


def _light_on(stage: Stage, parts: list[int], counts: Ints, hits: Hits, x: Floats, y: Floats) -> Floats:
    """The light [n] on parts with one picture where they are hit; counts: how often each."""
    cut = stage.surfaces.parts[parts[0]].cutout
    assert cut is not None
    out, first = np.empty(len(x), np.float32), 0
    for p, count in zip(parts, counts.tolist(), strict=True):
        s = slice(first, first + count)
        _, normal, _ = _at(stage, p, Hits(hits.sample[s], hits.depth[s], hits.face[s]), x[s], y[s])
        out[s] = 1 - cut.lit + cut.lit * _diffuse(stage.light, inverse(stage.poses[p])[:3, :3], normal)
        first += count
    return out


def _at(stage: Stage, p: int, hits: Hits, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Points and unit normals of hits of a part, in its axes, and weights of the corners of their faces [3, n]."""
    surface = stage.surfaces.parts[p]
    at = np.stack(transform(stage.to_part[p : p + 1], np.ones(1, np.int64), x, y, hits.depth))
    assert surface.corner_normals is not None
    corners = surface.corner_normals[hits.face - surface.faces.start]
    weights = _barycentric(stage.surfaces, hits.face, at)
    normal = np.einsum("in,nij->jn", weights, corners)
    return at, normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-9), weights


def _diffuse(light: Light, turn: Floats, normal: Floats) -> Floats:
    """Brightness [n] of a white surface with these normals [3, n]; turn [3, 3]: the world's axes to theirs.

    A hemisphere of ambient light, brighter from above, lets faces that the light misses be told apart.
    """
    toward = turn @ (np.asarray(light.direction) / np.linalg.norm(light.direction))
    ambient = light.ambient * (0.85 + 0.15 * (turn[:, 2] @ normal))
    return ambient + (1 - light.ambient) * 1.2 * np.maximum(toward @ normal, 0)


def _lit(stage: Stage, p: int, hits: Hits, x: Floats, y: Floats) -> Floats:
    """Lambert and a soft highlight of a coloured or textured part."""
    surface, face = stage.surfaces.parts[p], hits.face
    look = surface.part.appearance
    at, normal, weights = _at(stage, p, hits, x, y)
    turn = inverse(stage.poses[p])[:3, :3]
    to_light = np.asarray(stage.light.direction) / np.linalg.norm(stage.light.direction)
    to_eye = (inverse(stage.poses[p]) @ stage.camera.c2w[:, 3])[:3, None] - at
    to_eye /= np.maximum(np.linalg.norm(to_eye, axis=0), 1e-9)
    toward = turn @ to_light
    half = to_eye + toward[:, None]
    half /= np.maximum(np.linalg.norm(half, axis=0), 1e-9)
    facing = toward @ normal
    shade = _diffuse(stage.light, turn, normal)
    highlight = GLOSS * np.maximum((half * normal).sum(0), 0) ** SHININESS * (facing > 0)
    if isinstance(look, Textured):
        uv = surface.part.surface.uv
        assert uv is not None
        corner_uv = np.asarray(uv)[surface.part.surface.faces[face - surface.faces.start]]
        u, v = np.einsum("in,nij->jn", weights, corner_uv)
        height, width = look.image.shape[:2]
        slant = np.maximum(np.abs((to_eye * np.transpose(stage.surfaces.normals[face])).sum(0)), 1e-3)
        metres = hits.depth / stage.camera.focal * np.maximum(1, SLANT / slant)
        footprint = surface.density[face - surface.faces.start] * metres
        albedo = filtered(surface.texture, u * width, v * height, footprint) / 255
    else:
        albedo = np.asarray(look.rgb if isinstance(look, Colored) else (0.6, 0.6, 0.6), np.float32)[None]
    return np.clip(albedo * shade[:, None] + highlight[:, None], 0, 1).astype(np.float32)


def _barycentric(surfaces: Surfaces, face: Ints, at: Floats) -> Floats:
    """Weights [3, n] of the corners of each point at [3, n] in its face."""
    matrices = surfaces.to_weights[face]
    v, w = (np.einsum("nij,jn->in", matrices[..., :3], at) + np.transpose(matrices[..., 3])).clip(0, 1)
    return np.stack((np.maximum(1 - v - w, 0), v, w))
