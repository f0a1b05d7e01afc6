"""Pictures that are looked up at points between pixels, at the resolution that is drawn; cut-outs with soft edges."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...geometry.camera_numpy import focal_length
from .camera import Camera, inverse

if TYPE_CHECKING:
    from ..arrays import Bools, Bytes, Floats, Ints
    from ..scene import Projected

ROW = 1024  # points in a row, at most, of the maps that OpenCV reads: its maps are two-dimensional
BEYOND_BLUR, BEYOND_FADE = 0.04, 0.12  # beyond a picture: width of the blur, and way to it, shares of the height
SHARP = 1.25  # pixels of a picture in one that is drawn, up to which a cubic alone does not flicker
COARSE = 8  # pixels between those at which a view is asked how much it shrinks a picture
ONE, NEXT = slice(None, -1, COARSE), slice(1, None, COARSE)
RIM_INSET = 3.0  # pixels of the outline whose colours may hold some of what was behind; sides take none of them
RIM_BLUR = 0.012  # width of the blur from which sides take their colour, as a share of the picture's height


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture uint8 [h, w, C] at the resolution that is drawn; scale (x, y): its pixels per pixel of the original."""

    image: Bytes
    scale: tuple[float, float]

    def at(self, u: Floats, v: Floats) -> Bytes:
        """Colours [n, C] at pixel positions u, v [n] of the original, by cubic interpolation; beyond, its border."""
        import cv2

        x, y = in_rows(u * self.scale[0] - 0.5, v * self.scale[1] - 0.5)
        out = cv2.remap(self.image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.uint8).reshape(x.size, -1)[: len(u)]


def pyramid(picture: Picture) -> tuple[Picture, ...]:
    """The picture, and it at half the size again and again, until one side is a pixel."""
    import cv2

    levels = [picture]
    while min(levels[-1].image.shape[:2]) > 1:
        height, width = levels[-1].image.shape[:2]
        size = max(width // 2, 1), max(height // 2, 1)
        small = np.asarray(cv2.resize(levels[-1].image, size, interpolation=cv2.INTER_AREA), np.uint8)
        scale = picture.scale[0] * size[0], picture.scale[1] * size[1]
        whole = picture.image.shape
        levels.append(Picture(small.reshape(*size[::-1], -1), (scale[0] / whole[1], scale[1] / whole[0])))
    return tuple(levels)


def filtered(levels: tuple[Picture, ...], u: Floats, v: Floats, footprint: Floats) -> Floats:
    """Colours float32 [n, C] in 0..255 at u, v [n] of a pyramid, where a pixel that is drawn covers footprint [n] of
    its first level's: trilinear between levels (Williams, "Pyramidal Parametrics", 1983), cubic within them.
    """
    out = levels[0].at(u, v).astype(np.float32)
    if not (footprint > SHARP).any():
        return out
    level = np.log2(np.maximum(footprint / SHARP, 1)).clip(0, len(levels) - 1)
    for k, (fine, coarse) in enumerate(itertools.pairwise(levels)):
        at = np.flatnonzero((level > k) & (level <= k + 1))
        if len(at):
            share = (level[at] - k).astype(np.float32)[:, None]
            out[at] = fine.at(u[at], v[at]) * (1 - share) + coarse.at(u[at], v[at]) * share
    return out


@dataclass(frozen=True, eq=False)
class Cutout:
    """A body's picture: sharp, as a pyramid; with the colours along its outline taken from within, for what turns away;
    and these blurred along the rim, for its sides. to_picture [3, 4]: world to its pixels. opacity: of a body that is
    seen through, as a pyramid of one channel, and its mean; empty and 1 of others. lit: see Projected.
    """

    levels: tuple[Picture, ...]
    within: Picture
    rim: Picture
    to_picture: Floats
    eye: Floats  # [3]
    hard: bool  # no pixel of it is transparent
    focal: float  # length in pixels of `sharp`
    opacity: tuple[Picture, ...] = ()
    mean_opacity: float = 1.0
    lit: float = 0.0

    @property
    def sharp(self) -> Picture:
        """The picture at the resolution that is drawn."""
        return self.levels[0]

    @cached_property
    def cover(self) -> Picture:
        """How opaque the sharp picture is, as one channel."""
        return Picture(np.ascontiguousarray(self.sharp.image[..., 3:]), self.sharp.scale)


def lookup(image: Floats, u: Floats, v: Floats) -> Floats:
    """Bilinear values [n] of image float32 [h, w] at pixel positions u, v [n]; beyond, its border."""
    import cv2

    x, y = in_rows(u - np.float32(0.5), v - np.float32(0.5))
    out = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32).ravel()[: len(u)]


def in_rows(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Positions [n] as OpenCV's maps [rows, columns] of at least n, filled up with zeros."""
    count = len(u)
    columns = min(max(count, 1), ROW)
    maps = np.zeros((2, -(-count // columns) or 1, columns), np.float32)
    flat = maps.reshape(2, -1)
    flat[0, :count], flat[1, :count] = u, v
    return maps[0], maps[1]


class Extended:
    """A picture uint8 [h, w, 3] that goes on beyond its border: mirrored, and the farther the more blurred.

    scale (x, y): its pixels per pixel of the original.
    """

    def __init__(self, image: Bytes, scale: tuple[float, float]):
        import cv2

        self.image, self.scale = image, scale
        self.levels = pyramid(Picture(image, scale))
        self.blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), BEYOND_BLUR * len(image)), np.uint8)

    def at(self, u: Floats, v: Floats) -> Floats:
        """Colours float32 [H, W, 3] in 0..1 at pixel positions u, v [H, W], by cubic interpolation."""
        import cv2

        height, width = self.image.shape[:2]
        limit = 4 * max(width, height)
        x, y = ((c - 0.5).clip(-limit, limit).astype(np.float32) for c in (u, v))
        found = cv2.remap(self.image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        rgb = np.asarray(found).astype(np.float32) / 255
        out = np.maximum(np.maximum(-x, x - (width - 1)), np.maximum(-y, y - (height - 1)))
        if (out > 0).any():
            share = np.clip(out / (BEYOND_FADE * height), 0, 1)[..., None]
            soft = cv2.remap(self.blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
            rgb += share * (np.asarray(soft).astype(np.float32) / 255 - rgb)
        return rgb

    def seen(self, u: Floats, v: Floats) -> Floats:
        """As `at`, for neighbouring pixels of a view; averaged where it shrinks the picture in both directions."""
        import cv2

        rgb = self.at(u, v)
        height, width = u.shape
        if min(height, width) <= COARSE:
            return rgb
        here, right, below = (
            np.stack((u[rows, columns] * self.scale[0], v[rows, columns] * self.scale[1]))
            for rows, columns in ((ONE, ONE), (ONE, NEXT), (NEXT, ONE))
        )
        across, down = (np.linalg.norm(there - here, axis=0).astype(np.float32) for there in (right, below))
        # A median leaves out the steps across edges of what is nearer.
        shrunk = np.asarray(cv2.medianBlur(np.minimum(across, down), 3), np.float32)
        if shrunk.max() > SHARP:
            footprint = np.asarray(cv2.resize(shrunk, (width, height)), np.float32)
            inside = (u >= 0) & (v >= 0) & (u < self.image.shape[1] / self.scale[0])
            inside &= v < self.image.shape[0] / self.scale[1]
            at = np.flatnonzero(inside & (footprint > SHARP))
            found = filtered(self.levels, u.ravel()[at], v.ravel()[at], footprint.ravel()[at])
            rgb.reshape(-1, 3)[at] = found * np.float32(1 / 255)
        return rgb


def at_resolution(image: Bytes, scale: float) -> Picture:
    """The picture shrunk to be seen at `scale` of its pixels; never enlarged."""
    import cv2

    height, width = image.shape[:2]
    if scale > 0.99:
        return Picture(np.ascontiguousarray(image), (1.0, 1.0))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(small.reshape(size[1], size[0], -1), (size[0] / width, size[1] / height))


def framed(image: Bytes, width: int, height: int) -> Bytes:
    """A picture uint8 [h, w, 3] scaled to cover width x height; of what is too wide or too tall the middle is taken."""
    picture = at_resolution(image, max(width / image.shape[1], height / image.shape[0]))
    if picture.image.shape[:2] == (height, width):
        return picture.image
    u, v = framed_positions(image.shape[1], image.shape[0], width, height)
    rows = [picture.at(u, np.full(width, y)) for y in v.tolist()]
    return np.stack(rows)


def framed_positions(from_width: int, from_height: int, width: int, height: int) -> tuple[Floats, Floats]:
    """Pixel positions u [width] and v [height] in a picture of what `framed` shows of it."""
    scale = max(width / from_width, height / from_height)
    u = (np.arange(width) + 0.5 - width / 2) / scale + from_width / 2
    return u, (np.arange(height) + 0.5 - height / 2) / scale + from_height / 2


def nearest_known(known: Bools) -> Ints:
    """Flat number [H, W] of the true pixel of known [H, W] that is nearest to each pixel; there must be one."""
    import cv2

    unknown = (~known).astype(np.uint8)
    labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    label = np.asarray(labels, np.int64)
    of = np.zeros(int(label.max()) + 1, np.int64)
    of[label[known]] = np.flatnonzero(known)
    return of[label]


def cutout(look: Projected, camera: Camera) -> Cutout:
    """Prepare a projected picture to be drawn at the resolution of `camera`."""
    import cv2

    height = look.image.shape[0]
    focal = float(focal_length(look.view.fov_deg, height))
    view = Camera(np.asarray(look.view.c2w, np.float64), focal, look.image.shape[1], height)
    sharp = at_resolution(look.image, camera.focal / focal)
    within, core = _within(sharp.image)
    # Colours of the sides are means over the neighbourhood, weighted by what is inside.
    inside = core[..., None].astype(np.float32)
    sigma = max(RIM_BLUR * sharp.image.shape[0], 1.0)
    blurred = np.asarray(cv2.GaussianBlur(np.concatenate((within * inside, inside), -1), (0, 0), sigma))
    color = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)
    rim = np.where(blurred[..., 3:] < 1e-3, within, color).clip(0, 255).astype(np.uint8)
    to_picture = view.to_pixels @ inverse(view.c2w)[:3]
    opacity, mean_opacity = (), 1.0
    if look.opacity is not None:
        opacity = pyramid(at_resolution(look.opacity[..., None], camera.focal / focal))
        there = look.image[..., 3].astype(np.float64)
        mean_opacity = float((look.opacity * there).sum() / max(there.sum(), 1.0) / 255)
    return Cutout(
        pyramid(sharp),
        Picture(within, sharp.scale),
        Picture(rim, sharp.scale),
        to_picture,
        view.c2w[:3, 3],
        bool((look.image[..., 3] == 255).all()),
        focal * sharp.scale[0],
        opacity,
        mean_opacity,
        look.lit,
    )


def _within(image: Bytes) -> tuple[Bytes, Bools]:
    """Colours [h, w, 3] of a cut-out [h, w, 4], those near its outline and beyond taken from within; and the inside.

    Narrow places lend the colours of their middle line.
    """
    import cv2

    solid = image[..., 3] >= min(250, int(image[..., 3].max()))
    if solid.all():
        return np.ascontiguousarray(image[..., :3]), solid
    padded = np.pad(solid, 1, mode="edge").astype(np.uint8)
    deep = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5))[1:-1, 1:-1]
    core = solid & (deep >= np.minimum(RIM_INSET, np.asarray(cv2.dilate(deep, np.ones((5, 5), np.uint8)))))
    source = nearest_known(core)
    spread = np.asarray(cv2.GaussianBlur(image.reshape(-1, image.shape[2])[source][..., :3], (0, 0), 1.0))
    return np.where(core[..., None], image[..., :3], spread), core
