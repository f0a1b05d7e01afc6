"""A plate with depth in other views: each pixel looks for the nearest surface that the plate shows there.

What the plate hides behind its nearer things is a second layer, made once: its depth and colours are those of the
farther side, so what comes into sight is the same in each frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .camera import inverse
from .pictures import Extended, lookup, nearest_known
from .stage import coordinates, transform

if TYPE_CHECKING:
    from ..arrays import Bytes, Floats
    from .camera import Camera

EDGE = 0.06  # relative step of depth that is an edge of something nearer
REACH = 0.08  # width from an edge over which what is nearer hides a second layer, as a share of the picture's height
CELL = 2  # pixels along a side of the cells into which points are splatted: no surface has cracks of this width
SAME_SURFACE = 0.1  # relative step of depth up to which a search stays on the surface that it started on
FOUND = 0.02  # relative step of depth up to which a surface is met
STEPS = 3  # fixed-point steps of a search


class DepthPlate:
    """A plate as its own camera sees it, at depth [h, w] in metres, to be seen by others."""

    def __init__(self, depth: Floats, plate: Extended, source: Camera):
        import cv2

        self.source, self.scale = source, plate.scale
        h, w = plate.image.shape[:2]
        whole = np.asarray(depth, np.float32)
        # Depth is never averaged: between a thing and what is behind it there is nothing.
        self.depth: Floats = np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_NEAREST), np.float32)
        behind, depth_behind = _second_layer(plate.image, self.depth)
        self.image, self.behind = plate, Extended(behind, plate.scale)
        self.inverse, self.inverse_behind = 1 / self.depth, 1 / depth_behind

    def seen_by(self, camera: Camera) -> tuple[Floats, Floats]:
        """Colours float32 [H, W, 3] and depth float32 [H, W] in a camera."""
        import cv2

        height, width = camera.height, camera.width
        source_pixels = np.diag((self.scale[0], self.scale[1], 1.0)) @ self.source.to_pixels
        forth = _between(source_pixels, self.source.c2w, camera.to_pixels, camera.c2w)
        back = _between(camera.to_pixels, camera.c2w, source_pixels, self.source.c2w)
        nearest, farthest = self._splat(forth, camera)
        column, row = coordinates(np.arange(height * width), width)
        x, y = column + np.float32(0.5), row + np.float32(0.5)
        z, u, v, met = _search(forth, back, x, y, nearest.ravel(), self.inverse)
        # Beside a nearer thing the nearest point of a cell is that thing's; the farthest is what the pixel shows.
        open_ = np.flatnonzero(~met)
        z[open_], u[open_], v[open_], again = _search(
            forth, back, x[open_], y[open_], farthest.ravel()[open_], self.inverse
        )
        hidden = open_[~again]
        start = np.maximum(z[hidden], farthest.ravel()[hidden])
        z[hidden], u[hidden], v[hidden], _ = _search(forth, back, x[hidden], y[hidden], start, self.inverse_behind)
        rgb = self.image.seen(u.reshape(height, width), v.reshape(height, width))
        if len(hidden):
            rows = -(-len(hidden) // width)  # maps are two-dimensional
            maps = np.zeros((2, rows * width), np.float32)
            maps[0, : len(hidden)], maps[1, : len(hidden)] = u[hidden], v[hidden]
            at = maps.reshape(2, rows, width)
            rgb.reshape(-1, 3)[hidden] = self.behind.at(at[0], at[1]).reshape(-1, 3)[: len(hidden)]
        depth = z.reshape(height, width)
        # Outlines of nearer things are cut from pixels: a narrow blur across them smooths their steps.
        step = np.asarray(cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.float32)
        edge = np.flatnonzero(step > EDGE * depth)
        smooth = np.asarray(cv2.GaussianBlur(rgb, (3, 3), 0.7), np.float32)
        rgb.reshape(-1, 3)[edge] = smooth.reshape(-1, 3)[edge]
        return rgb, depth

    def _splat(self, forth: Floats, camera: Camera) -> tuple[Floats, Floats]:
        """Least and greatest depth [H, W] of the plate's points in each cell of a camera's picture."""
        import cv2

        w = self.depth.shape[1]
        column, row = coordinates(np.arange(self.depth.size), w)
        half = np.float32(0.5)
        u, v, z = transform(forth[None], np.array([self.depth.size]), column + half, row + half, self.depth.ravel())
        rows, columns = -(-camera.height // CELL), -(-camera.width // CELL)
        good = z > 1e-3
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = u / z / CELL, v / z / CELL
        good &= (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        at = y[good].astype(np.int64) * columns + x[good].astype(np.int64)
        near, far = np.full(rows * columns, np.inf, np.float32), np.zeros(rows * columns, np.float32)
        np.minimum.at(near, at, z[good])
        np.maximum.at(far, at, z[good])
        far: Floats = far.reshape(rows, columns)
        near: Floats = np.where(np.isinf(near), 0, near).reshape(rows, columns)
        while not far.all() and far.any():  # what no point falls on takes the farthest depth around it
            far = np.where(far == 0, np.asarray(cv2.dilate(far, np.ones((5, 5), np.uint8)), np.float32), far)
        near = np.where(near == 0, far, near)
        if not far.any():  # the camera looks away from all that the picture shows
            near = far = np.full_like(far, float(self.depth.max()))
        size = slice(camera.height), slice(camera.width)
        whole = [np.repeat(np.repeat(a, CELL, 0), CELL, 1)[size] for a in (near, far)]
        return np.ascontiguousarray(whole[0]), np.ascontiguousarray(whole[1])


def _search(forth: Floats, back: Floats, x: Floats, y: Floats, z: Floats, inverse_depth: Floats):
    """Depth, plate positions u and v, and whether a surface is met, [n] each, along rays through x, y from depth z."""
    count = np.array([len(x)])
    z = np.array(z)
    met = np.zeros(len(x), bool)
    u = v = z
    if not len(x):
        return z, u, v, met
    a, b, c, d = (float(value) for value in forth[2])
    for _ in range(STEPS):
        u, v, depth = transform(back[None], count, x, y, z)
        depth = np.maximum(depth, np.float32(1e-3))
        u, v = u / depth, v / depth
        surface = 1 / lookup(inverse_depth, u, v)
        # Depth in this view of the plate's point at (u, v): the third row of the way forth.
        there = (a * u + b * v + c) * surface + d
        step = np.abs(there / z - 1)
        met = step < FOUND
        z = np.where(step < SAME_SURFACE, there, z).astype(np.float32)
    return z, u, v, met


def _between(from_pixels: Floats, from_c2w: Floats, to_pixels: Floats, to_c2w: Floats) -> Floats:
    """[3, 4]: homogeneous pixel positions times depth, and 1, of one camera to homogeneous pixels of another."""
    local = inverse(to_c2w) @ from_c2w
    return to_pixels @ np.concatenate((local[:3, :3] @ np.linalg.inv(from_pixels), local[:3, 3:]), 1)


def _second_layer(image: Bytes, depth: Floats) -> tuple[Bytes, Floats]:
    """Colours and depth in which what is nearer than its surroundings is replaced by the nearest of what is farther."""
    import cv2

    reach = max(int(REACH * len(depth)), 2)
    farthest = np.asarray(cv2.dilate(depth, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
    nearer = (depth < farthest * (1 - EDGE)).astype(np.uint8)
    nearer = np.asarray(cv2.dilate(nearer, np.ones((5, 5), np.uint8)), np.uint8) > 0
    if not nearer.any() or nearer.all():
        return image, depth
    of = nearest_known(~nearer)
    colors: Bytes = image.reshape(-1, 3)[of]
    smooth = np.asarray(cv2.GaussianBlur(colors, (0, 0), 3.0), np.uint8)
    flat = np.asarray(cv2.GaussianBlur(depth.ravel()[of], (0, 0), 3.0), np.float32)
    return np.where(nearer[..., None], smooth, image), np.where(nearer, flat, depth)
