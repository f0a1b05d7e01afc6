"""OpenCV on whole videos, with types: frames [T, H, W, 3] or [T, H, W], masks [T, H, W], flow [T-1, H, W, 2]."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# OpenCV's stubs say of no array what it holds.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..world.arrays import Bools, Bytes, Floats

AREA, CUBIC, LINEAR, NEAREST = cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST


def resized(frames: NDArray[Any], width: int, height: int, interpolation: int) -> NDArray[Any]:
    """Frames of another size."""
    return np.stack([cv2.resize(f, (width, height), interpolation=interpolation) for f in frames])


def grey(frames: NDArray[Any]) -> NDArray[Any]:
    """Brightness [T, H, W] of RGB frames, of their dtype."""
    return np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])


def blurred(frames: Floats, sigma_px: float) -> Floats:
    """Gaussian blur."""
    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma_px) for f in frames])


def _morphology(masks: Bools, apply: Callable[[Bytes], NDArray[Any]]) -> Bools:
    return np.stack([apply(m.astype(np.uint8)) for m in masks]).astype(bool)


def eroded(masks: Bools, size_px: int) -> Bools:
    """Masks without a border: erosion by a square."""
    return _morphology(masks, lambda m: cv2.erode(m, np.ones((size_px, size_px), np.uint8)))


def dilated(masks: Bools, size_px: int) -> Bools:
    """Masks with a border: dilation by a square."""
    return _morphology(masks, lambda m: cv2.dilate(m, np.ones((size_px, size_px), np.uint8)))


def opened(masks: Bools, size_px: int) -> Bools:
    """Masks without thin lines and specks: opening by a disc."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    return _morphology(masks, lambda m: cv2.morphologyEx(m, cv2.MORPH_OPEN, disc))


def connected_parts(mask: Bools) -> tuple[NDArray[np.int_], NDArray[np.int_], Floats]:
    """8-connected parts of a mask [H, W]: each pixel's part (0: none) [H, W], areas [n] px and centroids [n, 2] px."""
    _, part_of, stats, centroids = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return (
        np.asarray(part_of, int),
        np.asarray(stats[1:, cv2.CC_STAT_AREA], int),
        np.asarray(centroids[1:] + 0.5, float),
    )


def gradient_energy(brightness: Floats, window_px: int) -> Floats:
    """Squared Sobel gradient [T, H, W], mean over a window."""
    squares: list[Any] = [cv2.Sobel(b, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(b, cv2.CV_32F, 0, 1) ** 2 for b in brightness]
    return np.stack([cv2.boxFilter(s, -1, (window_px, window_px)) for s in squares])


def dis_flow(brightness: Sequence[Bytes] | Bytes, start: Floats | None = None) -> Floats:
    """Flow [T-1, H, W, 2] in px/frame by dense inverse search; start: a flow from which the search begins.

    The preset "fast" errs least on plain surfaces: mean error .2 to .9 px where there is texture; "medium" .2 to 1.8.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    first: Any = [None] * (len(brightness) - 1) if start is None else start
    pairs = zip(brightness[:-1], brightness[1:], first, strict=True)
    return np.stack([np.asarray(dis.calc(a, b, f), np.float32) for a, b, f in pairs])


def carried_back(forward: Floats, backward: Floats) -> Floats:
    """The backward flow [T-1, H, W, 2] at each pixel's next position; minus the forward one where both are right."""
    v, u = np.mgrid[0 : forward.shape[1], 0 : forward.shape[2]].astype(np.float32)
    pairs = zip(forward, backward, strict=True)
    return np.stack([cv2.remap(b, u + f[..., 0], v + f[..., 1], cv2.INTER_LINEAR) for f, b in pairs])


def rotation(axis_angle: Floats) -> Floats:
    """Rotation matrix [3, 3] of a vector [3] along its axis, of a length in radians (Rodrigues)."""
    return np.asarray(cv2.Rodrigues(axis_angle)[0], float)
