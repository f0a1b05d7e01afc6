"""Colour and opacity of points on parts: a projected picture with soft edges, or a lit colour or texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..scene import Colored, Textured
from .camera import inverse
from .pictures import Picture

if TYPE_CHECKING:
    from ..arrays import Floats, Ints
    from ..motion import Motion
    from .camera import Camera
    from .pictures import Cutout
    from .raster import Hits
    from .surfaces import Surface, Surfaces

STRETCH = (2.0, 5.0)  # magnification of a picture from which, and by which, sides take the rim's colour instead
GLOSS, SHININESS = 0.12, 30.0  # height and exponent of the highlight of a lit body
CHORD_STEPS = 3  # points between entry and exit of a ray at which a soft edge looks for the body


@dataclass(frozen=True, eq=False)
class Stage:
    """The parts in one frame: poses [P, 4, 4] part to world, present [P], seen by a camera."""

    surfaces: Surfaces
    motion: Motion
    camera: Camera
    poses: Floats
    present: tuple[int, ...]

    def eye(self, part: int) -> Floats:
        """The camera's place in a part's axes [3]."""
        return (inverse(self.poses[part]) @ self.camera.c2w[:, 3])[:3]

    def to_part(self, part: int) -> Floats:
        """[3, 4]: homogeneous pixel positions times depth, and 1, to the part's axes."""
        local = inverse(self.poses[part]) @ self.camera.c2w
        return np.concatenate((local[:3, :3] @ np.linalg.inv(self.camera.to_pixels), local[:3, 3:]), 1)


def slices(surfaces: Surfaces, hits: Hits) -> list[tuple[int, slice]]:
    """The parts that are hit, with their hits, which are in order of the faces."""
    firsts = [s.first_face for s in surfaces.parts] + [len(surfaces.faces)]
    ends = np.searchsorted(hits.face, firsts).tolist()
    return [(p, slice(a, b)) for p, (a, b) in enumerate(zip(ends, ends[1:], strict=False)) if b > a]


def apply(matrix: Floats, x: Floats, y: Floats, depth: Floats) -> Floats:
    """matrix [K, 4] times (x z, y z, z, 1): [K, n]."""
    out = np.outer(matrix[:, 0], x)
    out += np.outer(matrix[:, 1], y)
    out += matrix[:, 2:3]
    out *= depth
    out += matrix[:, 3:]
    return out


def shade(stage: Stage, hits: Hits, x: Floats, y: Floats, exit_depth: Floats | None) -> tuple[Floats, Floats]:
    """Colours [n, 3] in 0..1 and opacities [n] of hits at pixel positions x, y [n].

    exit_depth [n]: where the ray leaves the part again; 0 where unknown.
    """
    rgb, alpha = np.empty((len(x), 3), np.float32), np.ones(len(x), np.float32)
    for p, s in slices(stage.surfaces, hits):
        surface = stage.surfaces.parts[p]
        if surface.cutout is not None:
            leaves = None if exit_depth is None else exit_depth[s]
            rgb[s], alpha[s] = _projected(stage, p, surface.cutout, hits.face[s], x[s], y[s], hits.depth[s], leaves)
        else:
            rgb[s] = _lit(stage, p, surface, hits.face[s], x[s], y[s], hits.depth[s])
    return rgb, alpha


def _projected(
    stage: Stage, p: int, cut: Cutout, face: Ints, x: Floats, y: Floats, depth: Floats, leaves: Floats | None
) -> tuple[Floats, Floats]:
    """Colours and opacities of a projected picture."""
    part = stage.surfaces.parts[p].part
    rest = np.asarray(part.rest, np.float64)
    to_part = stage.to_part(p)
    to_picture = cut.to_picture[:, :3] @ rest[:3, :3] @ to_part
    to_picture[:, 3] += cut.to_picture @ rest[:, 3]
    q = apply(to_picture, x, y, depth)
    u, v = q[0] / q[2], q[1] / q[2]
    found = cut.sharp.at(u, v)
    rgb = found[:, :3].astype(np.float32)
    rgb *= np.float32(1 / 255)
    stretch = _stretch(stage, p, (inverse(rest) @ np.append(cut.eye, 1.0))[:3])[
        face - stage.surfaces.parts[p].first_face
    ]
    stretch *= q[2] / depth
    side = np.flatnonzero(stretch > STRETCH[0])
    if len(side):
        share = np.clip((stretch[side] - STRETCH[0]) / (STRETCH[1] - STRETCH[0]), 0, 1)[:, None].astype(np.float32)
        rgb[side] += share * (cut.rim.at(u[side], v[side]) / np.float32(255) - rgb[side])
    if cut.hard:
        return rgb, np.ones(len(x), np.float32)
    alpha = found[:, 3].astype(np.float32) * np.float32(1 / 255)
    if leaves is not None:
        # A ray that enters at the soft rim of a body seen from the side still meets the body within.
        soft = np.flatnonzero((alpha < 1) & (leaves > depth))
        if len(soft):
            for i in range(1, CHORD_STEPS + 2):
                z = depth[soft] + (leaves[soft] - depth[soft]) * (i / (CHORD_STEPS + 1))
                q = apply(to_picture, x[soft], y[soft], z)
                within = Picture(cut.sharp.image[..., 3:], cut.sharp.scale).at(q[0] / q[2], q[1] / q[2])
                alpha[soft] = np.maximum(alpha[soft], within[:, 0] / np.float32(255))
    return rgb, alpha


def _stretch(stage: Stage, p: int, seen_from: Floats) -> Floats:
    """How much wider each face of a part appears now than from where the picture saw it, [F]; 1 from there."""
    all_of, surface = stage.surfaces, stage.surfaces.parts[p]
    ends = [s.first_face for s in all_of.parts[p + 1 : p + 2]] or [len(all_of.faces)]
    s = slice(surface.first_face, ends[0])
    normal, offset = all_of.normals[s], all_of.offsets[s]
    return np.abs(offset - normal @ stage.eye(p)) / np.maximum(np.abs(offset - normal @ seen_from), 1e-9)


def _lit(stage: Stage, p: int, surface: Surface, face: Ints, x: Floats, y: Floats, depth: Floats) -> Floats:
    """Lambert and a soft highlight of a coloured or textured part."""
    look = surface.part.appearance
    at = apply(stage.to_part(p), x, y, depth)  # [3, n]
    weights = _barycentric(stage.surfaces, face, at)
    assert surface.corner_normals is not None
    corners = surface.corner_normals[face - surface.first_face]
    normal = np.einsum("in,nij->jn", weights, corners)
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-9)
    turn = inverse(stage.poses[p])[:3, :3]
    light = stage.motion.scene.light
    to_light = np.asarray(light.direction) / np.linalg.norm(light.direction)
    to_eye = stage.eye(p)[:, None] - at
    to_eye /= np.maximum(np.linalg.norm(to_eye, axis=0), 1e-9)
    toward = turn @ to_light
    half = to_eye + toward[:, None]
    half /= np.maximum(np.linalg.norm(half, axis=0), 1e-9)
    facing = toward @ normal
    # A hemisphere of ambient light, brighter from above, lets faces that the light misses be told apart.
    above = turn @ np.array([0.0, 0.0, 1.0])
    ambient = light.ambient * (0.85 + 0.15 * (above @ normal))
    shade = ambient + (1 - light.ambient) * 1.2 * np.maximum(facing, 0)
    highlight = GLOSS * np.maximum((half * normal).sum(0), 0) ** SHININESS * (facing > 0)
    if isinstance(look, Textured):
        uv = surface.part.surface.uv
        assert uv is not None
        corner_uv = np.asarray(uv)[surface.part.surface.faces[face - surface.first_face]]
        u, v = np.einsum("in,nij->jn", weights, corner_uv)
        height, width = look.image.shape[:2]
        albedo = Picture(look.image, (1.0, 1.0)).at(u * width, v * height).astype(np.float32) / 255
    else:
        albedo = np.asarray(look.rgb if isinstance(look, Colored) else (0.6, 0.6, 0.6), np.float32)[None]
    return np.clip(albedo * shade[:, None] + highlight[:, None], 0, 1).astype(np.float32)


def _barycentric(surfaces: Surfaces, face: Ints, at: Floats) -> Floats:
    """Weights [3, n] of the corners of each point at [3, n] in its face."""
    a, b, c = (np.transpose(surfaces.vertices[surfaces.faces[face, i]]) for i in range(3))
    e1, e2, d = b - a, c - a, at - a
    d11, d12, d22 = (e1 * e1).sum(0), (e1 * e2).sum(0), (e2 * e2).sum(0)
    d1, d2 = (d * e1).sum(0), (d * e2).sum(0)
    area = np.maximum(d11 * d22 - d12 * d12, 1e-30)
    v, w = np.clip((d22 * d1 - d12 * d2) / area, 0, 1), np.clip((d11 * d2 - d12 * d1) / area, 0, 1)
    return np.stack((np.maximum(1 - v - w, 0), v, w))
