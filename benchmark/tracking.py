"""Finds a ball of known colours before a known background, in every frame of any video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..world.arrays import Bools, Floats
from . import opencv
from .body_labels import BodiesLabels
from .labels import Labels

BACKGROUND_DISTANCE = 0.08  # RGB distance to the background, in light or shadow, below which a pixel belongs to it
BALL_DISTANCE = 0.40  # RGB distance to the ball's nearest shade above which a pixel belongs to something else
LIGHT_FACTORS = (0.40, 1.05)  # of the background's colour, from the darkest shadow to full sun with some noise
MIN_AREA_SHARE, MIN_AREA_PX = 0.12, 4.0  # of the ball's disc, and in pixels: smaller connected parts are noise
MAX_ASPECT_ERROR = 0.02  # by which a video's aspect may differ from the clip's, relative
Video = Floats | NDArray[np.integer[Any]] | torch.Tensor


class FramesError(ValueError):
    """Frames that cannot be scored, with the numbers."""


@dataclass(frozen=True)
class Track:
    """The ball in each of T frames, as a video shows it; NaN where no ball was found."""

    center: Floats  # [T, 2] px of the largest part
    area: Floats  # [T] px of all parts that are no noise
    parts: NDArray[np.int_]  # [T] their number
    color: Floats  # [T, 3] mean colour of the largest part


def validated_frames(frames: Video, labels: Labels | BodiesLabels) -> Floats:
    """Check frames [T, H, W, 3 or 4] in 0..1 and resize them to the clip's size: float32 [T, H, W, 3].

    Raises FramesError for another count, aspect or shape, NaN, or values that are not 0..1.
    """
    if isinstance(frames, torch.Tensor):
        frames = frames.detach().cpu().float().numpy()
    x = np.asarray(frames, np.float32)
    if x.ndim != 4 or x.shape[-1] not in (3, 4) or 0 in x.shape:
        raise FramesError(f"the frames have shape {list(x.shape)}; expected [frames, height, width, 3]")
    count, height, width = labels.truth.shape[:3]
    if len(x) != count:
        raise FramesError(
            f"{len(x)} frames were given, the clip has {count}: make the video {count} frames long, "
            f"or the clip {len(x)}"
        )
    if not np.isfinite(x).all():
        bad = sorted({int(t) for t in np.nonzero(~np.isfinite(x))[0]})
        raise FramesError(
            f"NaN or infinity in {len(bad)} frames, first frame {bad[0]}; the node that made them has failed"
        )
    low, high = float(x.min()), float(x.max())
    if low < -0.5 or high > 1.5:
        raise FramesError(f"the frames have values {low:.3g} to {high:.3g}; expected 0 to 1")
    if abs(x.shape[2] / x.shape[1] / (width / height) - 1) > MAX_ASPECT_ERROR:
        raise FramesError(
            f"the frames are {x.shape[2]}x{x.shape[1]} pixels, the clip is {width}x{height}: crop them to its aspect, "
            f"{width / height:.3g} to 1"
        )
    x = x[..., :3].clip(0.0, 1.0)
    if x.shape[1:3] == (height, width):
        return x
    how = opencv.AREA if x.shape[1] > height else opencv.CUBIC
    return opencv.resized(x, width, height, how).clip(0.0, 1.0)


def ball_mask(
    frames: Floats,
    labels: Labels,
    shades: Floats | None = None,
    *,
    rivals: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Bools:
    """[T, H, W]: pixels nearer to the ball's colours than to the background, in light or shadow, without thin lines.

    shades: of another ball than the first. rivals: pixels nearer to another ball's colours are left to that ball.
    check: called for each frame, may raise to cancel.
    """
    shades = labels.shades if shades is None else shades
    background = np.broadcast_to(labels.background, frames.shape)
    mask = np.zeros(frames.shape[:3], bool)
    changed = np.zeros(frames.shape[:3], bool)
    for t, frame in enumerate(frames):
        check()
        changed[t] = np.abs(frame - background[t]).max(-1) > BACKGROUND_DISTANCE / 2
    pixels = frames[changed]
    to_background = background_distance(pixels, background[changed])
    check()
    to_ball = _shade_distance(pixels, shades)
    found = (to_background > BACKGROUND_DISTANCE) & (to_ball < np.minimum(to_background, BALL_DISTANCE))
    if rivals and len(labels.other_shades):
        found &= to_ball <= _shade_distance(pixels, labels.other_shades)
    mask[changed] = found
    return opencv.opened(mask, 3)


def background_distance(pixels: Floats, background: Floats) -> Floats:
    """RGB distance [n] of colours [n, 3] to the background's, in whatever light between shadow and sun fits best."""
    factor = (pixels * background).sum(-1) / np.maximum((background * background).sum(-1), 1e-6)
    return np.linalg.norm(pixels - factor.clip(*LIGHT_FACTORS)[:, None] * background, axis=-1)


def _shade_distance(pixels: Floats, shades: Floats) -> Floats:
    """RGB distance [n] of colours [n, 3] to the polyline through the shades, sampled at thirds of its segments."""
    if not len(shades):
        return np.full(len(pixels), np.inf, np.float32)
    steps = [shades[:-1] + (shades[1:] - shades[:-1]) * s for s in (0.0, 1 / 3, 2 / 3)]
    line = np.concatenate([*steps, shades[-1:]]).astype(np.float32)
    to_points: Floats = (line * line).sum(-1) - np.matmul(2 * pixels, np.transpose(line))
    square: Floats = (pixels * pixels).sum(-1) + np.min(to_points, -1)
    return np.sqrt(np.maximum(square, 0.0))


def track_ball(frames: Floats, labels: Labels, check: Callable[[], None] = lambda: None) -> Track:
    """Find the first ball in every frame of a validated video. check: called for each, may raise to cancel."""
    count = len(frames)
    center, color = np.full((count, 2), np.nan), np.full((count, 3), np.nan)
    area, parts = np.zeros(count), np.zeros(count, int)
    for t, mask in enumerate(ball_mask(frames, labels, check=check)):
        check()
        min_area = max(MIN_AREA_PX, MIN_AREA_SHARE * np.pi * labels.radius[t] ** 2)
        part_of, sizes, centroids = opencv.connected_parts(mask)
        real = np.nonzero(sizes >= min_area)[0]
        if not len(real):
            continue
        largest = int(real[np.argmax(sizes[real])])
        center[t] = centroids[largest]
        color[t] = frames[t][part_of == 1 + largest].mean(0)
        area[t], parts[t] = sizes[real].sum(), len(real)
    return Track(center, area, parts, color)
