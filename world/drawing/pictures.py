"""Pictures that are looked up at points between pixels, at the resolution that is drawn; cut-outs with soft edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...geometry.camera_numpy import focal_length
from .camera import Camera, inverse

if TYPE_CHECKING:
    from ..arrays import Bools, Bytes, Floats, Ints
    from ..scene import Projected

ROW = 1024  # points in a row of the maps that OpenCV reads: its maps are two-dimensional
RIM_BLUR = 0.012  # width of the blur from which sides take their colour, as a share of the picture's height


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture uint8 [h, w, C] at the resolution that is drawn; scale (x, y): its pixels per pixel of the original."""

    image: Bytes
    scale: tuple[float, float]

    def at(self, u: Floats, v: Floats) -> Bytes:
        """Colours [n, C] at pixel positions u, v [n] of the original, by cubic interpolation; beyond, its border."""
        import cv2

        count = len(u)
        rows = -(-count // ROW)
        maps = np.zeros((2, rows * ROW), np.float32)
        maps[0, :count] = u * self.scale[0] - 0.5
        maps[1, :count] = v * self.scale[1] - 0.5
        x, y = maps.reshape(2, rows, ROW)
        out = cv2.remap(self.image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.uint8).reshape(rows * ROW, -1)[:count]


@dataclass(frozen=True, eq=False)
class Cutout:
    """A body's picture: sharp, and blurred along its rim for its sides; to_picture [3, 4]: world to its pixels."""

    sharp: Picture
    rim: Picture
    to_picture: Floats
    eye: Floats  # [3]
    hard: bool  # no pixel of it is transparent


def at_resolution(image: Bytes, scale: float) -> Picture:
    """The picture shrunk to be seen at `scale` of its pixels; never enlarged."""
    import cv2

    height, width = image.shape[:2]
    if scale > 0.99:
        return Picture(np.ascontiguousarray(image), (1.0, 1.0))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(small.reshape(size[1], size[0], -1), (size[0] / width, size[1] / height))


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
    # Colours of the sides come from within the outline, mean over the neighbourhood, weighted by what is inside.
    inside = sharp.image[..., 3:].astype(np.float32) / 255
    sigma = max(RIM_BLUR * sharp.image.shape[0], 1.0)
    weighted = np.concatenate((sharp.image[..., :3] * inside, inside), -1)
    blurred = np.asarray(cv2.GaussianBlur(weighted, (0, 0), sigma))
    color = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)
    outside = blurred[..., 3:] < 1e-3
    rim = np.where(outside, sharp.image[..., :3], color).clip(0, 255).astype(np.uint8)
    to_picture = view.to_pixels @ inverse(view.c2w)[:3]
    return Cutout(
        sharp, Picture(rim, sharp.scale), to_picture, view.c2w[:3, 3], bool((look.image[..., 3] == 255).all())
    )
