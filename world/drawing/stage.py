"""The parts as one frame's camera sees them: all matrices of the frame, made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .camera import inverse

if TYPE_CHECKING:
    from ..arrays import Floats, Ints
    from ..scene import Light
    from .camera import Camera
    from .raster import Hits
    from .surfaces import Surfaces


@dataclass(frozen=True, eq=False)
class Stage:
    """P parts in one frame, of which the `present` ones are there.

    poses [P, 4, 4] part to world; points [3, N]: homogeneous pixel positions (u z, v z, z) of the vertices; toward [F]:
    how far the camera stands in front of each face's plane, metres, negative behind. [P, 3, 4] matrices of homogeneous
    pixel positions times depth, and 1: to_part, to the part's axes; to_picture, to the pixels of its picture.
    """

    surfaces: Surfaces
    light: Light
    camera: Camera
    poses: Floats
    present: tuple[int, ...]
    points: Floats
    toward: Floats
    to_part: Floats
    to_picture: Floats


def set_stage(surfaces: Surfaces, light: Light, camera: Camera, poses: Floats, present: tuple[int, ...]) -> Stage:
    """The parts at poses [P, 4, 4] before a camera."""
    local = inverse(poses) @ camera.c2w
    to_part = np.concatenate((local[:, :3, :3] @ np.linalg.inv(camera.to_pixels), local[:, :3, 3:]), 2)
    to_picture = surfaces.to_picture[:, :, :3] @ to_part
    to_picture[:, :, 3] += surfaces.to_picture[:, :, 3]
    to_pixels = camera.to_pixels @ (camera.w2c @ poses)[:, :3]
    points, toward = np.zeros((3, len(surfaces.vertices))), np.zeros(len(surfaces.faces))
    for p in present:
        vertices, faces = surfaces.parts[p].vertices, surfaces.parts[p].faces
        points[:, vertices] = to_pixels[p, :, :3] @ np.transpose(surfaces.vertices[vertices]) + to_pixels[p, :, 3:]
        toward[faces] = surfaces.normals[faces] @ local[p, :3, 3] - surfaces.offsets[faces]
    return Stage(surfaces, light, camera, poses, present, points, toward, to_part, to_picture)


def grown(stage: Stage, surfaces: Surfaces) -> Stage:
    """The same stage among more surfaces: those of parts that appear later, which are at rest until then."""
    later = [np.asarray(s.part.rest, np.float64) for s in surfaces.parts[len(stage.poses) :]]
    return set_stage(surfaces, stage.light, stage.camera, np.stack([*stage.poses, *later]), stage.present)


def parts_hit(surfaces: Surfaces, hits: Hits) -> tuple[Ints, Ints]:
    """The parts that are hit [K] and how many times each [K]; hits are in order of the faces, so of the parts."""
    counts = np.diff(np.searchsorted(hits.face, surfaces.first_faces))
    parts = np.flatnonzero(counts)
    return parts, counts[parts]


def coordinates(pixel: Ints, width: int) -> tuple[Floats, Floats]:
    """Columns and rows float32 of flat pixel numbers."""
    row = pixel // width
    return (pixel - row * width).astype(np.float32), row.astype(np.float32)


def transform(matrices: Floats, counts: Ints, x: Floats, y: Floats, depth: Floats) -> tuple[Floats, Floats, Floats]:
    """Matrices [K, 3, 4] times (x z, y z, z, 1): three arrays [n]; counts [K]: how many points each matrix is for."""
    entries: Floats = np.transpose(np.asarray(matrices, np.float32).reshape(-1, 12))
    if len(counts) > 1:
        entries = np.repeat(entries, counts, 1)
    out: list[Floats] = []
    for first in (0, 4, 8):
        value: Floats = entries[first] * x
        value += entries[first + 1] * y
        value += entries[first + 2]
        value = value * depth
        value += entries[first + 3]
        out.append(value)
    return out[0], out[1], out[2]
