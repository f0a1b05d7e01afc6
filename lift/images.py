"""OpenCV's operations on masks and pictures, with types: sizes, edges, distances, pieces, outlines."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np

from ..world.arrays import Bools, Bytes, Floats, Ints


class Pieces(NamedTuple):
    """Connected pieces of a mask: labels [H, W] (0: outside), areas [N + 1] in pixels with areas[0] = 0."""

    labels: Ints
    areas: Ints


def resized(image: Floats, width: int, height: int) -> Floats:
    """An image [h, w] or [h, w, C] at another size: area average when it shrinks, bilinear when it grows."""
    import cv2

    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    how = cv2.INTER_AREA if width * height < w * h else cv2.INTER_LINEAR
    return cast(Floats, cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how))


def resized_bytes(image: Bytes, width: int, height: int) -> Bytes:
    """The same for uint8."""
    return cast(Bytes, resized(cast(Floats, image), width, height))


def dilated(mask: Bools, radius: int) -> Bools:
    """A mask [H, W] grown by a disc of `radius` pixels."""
    import cv2

    if radius < 1:
        return mask
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0


def eroded(mask: Bools, radius: int) -> Bools:
    """A mask [H, W] shrunk by a disc of `radius` pixels; beyond the picture counts as inside."""
    import cv2

    if radius < 1:
        return mask
    return cv2.erode(mask.astype(np.uint8), _disc(radius)) > 0


def box_mean(image: Floats, radius: int) -> Floats:
    """Mean over windows of (2 radius + 1)^2 pixels; channels apart; reflected at the border."""
    import cv2

    return cast(Floats, cv2.blur(np.ascontiguousarray(image), (2 * radius + 1, 2 * radius + 1)))


def filtered(image: Floats, kernel: Floats) -> Floats:
    """An image [H, W, C] with each pixel the sum of its neighbours, weighted by a kernel; border pixels repeat."""
    import cv2

    done = cv2.filter2D(np.ascontiguousarray(image), -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return cast(Floats, done).reshape(image.shape)


def between(image: Floats, at: Floats, *, zero_outside: bool = False) -> Floats:
    """Bilinear values [..., C], or [...], of an image [H, W, C] or [H, W] at points [..., 2] (x, y) in pixels from its
    corner. Outside the image the border's values go on, or are zero."""
    import cv2

    rows = np.asarray(at - 0.5, np.float32).reshape(math.prod(at.shape[:-2]), at.shape[-2], 2)
    x, y = (np.ascontiguousarray(rows[..., k]) for k in (0, 1))
    border = cv2.BORDER_CONSTANT if zero_outside else cv2.BORDER_REPLICATE
    values = cv2.remap(image.astype(np.float32, copy=False), x, y, cv2.INTER_LINEAR, borderMode=border)
    return cast(Floats, values).reshape(*at.shape[:-1], *image.shape[2:])


def product(a: Floats, b: Floats) -> Floats:
    """Matrix product of float32 [N, K] and [M, K]: [N, M], by one thread.

    numpy's BLAS wakes threads for it, which takes 20 ms beside a busy process.
    """
    import cv2

    # OpenCV multiplies up to seven times slower where the first matrix has under a hundred rows.
    short = len(a) < len(b)
    first, second = np.ascontiguousarray(b if short else a), np.ascontiguousarray(a if short else b)
    values = cast(Floats, cv2.gemm(first, second, 1.0, np.empty(0, np.float32), 0.0, flags=cv2.GEMM_2_T))
    return np.transpose(values) if short else values


def blurred(image: Floats, sigma: float) -> Floats:
    """Gaussian blur with a standard deviation in pixels."""
    import cv2

    return cast(Floats, cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma))


def distance_inside(mask: Bools) -> Floats:
    """Distance in pixels from each pixel of a mask to the nearest pixel outside; beyond the picture is outside."""
    import cv2

    padded = np.pad(mask, 1).astype(np.uint8)
    return cast(Floats, cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1]


def nearest_outside(mask: Bools) -> tuple[Ints, Ints]:
    """Rows and columns [H, W] of the pixel outside the mask that is nearest to each pixel; some pixel is outside."""
    import cv2

    kind = cv2.DIST_LABEL_PIXEL
    _, labels = cv2.distanceTransformWithLabels(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=kind)
    numbers = cast(Ints, labels)
    flat = np.zeros(int(numbers.max()) + 1, np.int64)
    flat[numbers[~mask]] = np.flatnonzero(~mask)
    rows, columns = np.divmod(flat[numbers], mask.shape[1])
    return rows, columns


def pieces(mask: Bools, diagonal: bool = True) -> Pieces:
    """The connected pieces of a mask [H, W]."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8 if diagonal else 4)
    areas = np.array(cast(Ints, stats)[:, cv2.CC_STAT_AREA], np.int64)
    areas[0] = 0
    return Pieces(cast(Ints, labels), areas)


def outlines(mask: Bools, tolerance: float) -> list[Floats]:
    """Polygons [K, 2] (x, y, in pixels with centres at +0.5) around a mask and its holes, simplified to a tolerance."""
    import cv2

    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(contour, tolerance, True) for contour in found]
    return [cast(Floats, contour[:, 0].astype(np.float64) + 0.5) for contour in simple]


def convex_hull(points: Floats) -> Floats:
    """The corners [K, 2] of the convex hull of points [N, 2], in order."""
    import cv2

    return cast(Floats, cv2.convexHull(points.astype(np.float32))[:, 0]).astype(np.float64)


def polygon_area(corners: Floats) -> float:
    """Area of a polygon [K, 2]."""
    import cv2

    return float(cv2.contourArea(corners.astype(np.float32)))


def foot(mask: Bools) -> Floats:
    """Where a mask [H, W] stands, pixels (x, y): the middle of its lowest row, at that row's lower edge."""
    rows, columns = np.nonzero(mask)
    return np.array([columns[rows == rows.max()].mean() + 0.5, rows.max() + 1.0])


def painted(polygon: Floats, width: int, height: int) -> Bools:
    """The pixels of a picture that a polygon [K, 2] covers, its rim included."""
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.round((polygon - 0.5) * 16).astype(np.int32)], (1.0,), shift=4)
    return canvas > 0


def _disc(radius: int) -> Bytes:
    import cv2

    return cast(Bytes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
