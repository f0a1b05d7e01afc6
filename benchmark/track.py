"""Finds a ball of known colour before a known background, in every frame of any video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .labels import Labels

CHANGED = 0.08  # RGB distance to the background, in light or shadow, below which a pixel is background
LIKE = 0.40  # and to the ball's nearest shade, above which it is something else
SHADOW = 0.40  # the darkest a shadow makes the background, as a factor
SPECK = 0.12  # smaller parts, as a share of the ball's disc, are noise
ASPECT = 0.02  # by how much a video's aspect may differ from the clip's


class FramesError(ValueError):
    """Frames that cannot be scored, with the numbers."""


@dataclass(frozen=True)
class Track:
    center: np.ndarray  # [T, 2] px of the largest part; NaN: no ball
    area: np.ndarray  # [T] px of all parts that are no specks
    blobs: np.ndarray  # [T] their number
    color: np.ndarray  # [T, 3] mean colour of the largest part; NaN: no ball


def fitted(frames, labels: Labels) -> np.ndarray:
    """Check frames [T,H,W,3 or 4] (array or tensor, 0..1) and resize them to the clip's: float32 [T,H,W,3].

    Raises FramesError for another count, aspect or shape, NaN, or values that are not 0..1.
    """
    x = np.asarray(frames.detach().cpu().float().numpy() if hasattr(frames, "detach") else frames, np.float32)
    if x.ndim != 4 or x.shape[-1] not in (3, 4) or 0 in x.shape:
        raise FramesError(f"the frames have shape {list(x.shape)}; expected [frames, height, width, 3]")
    count, height, width = labels.truth.shape[:3]
    if len(x) != count:
        raise FramesError(
            f"{len(x)} frames were given, the clip has {count}: make the video {count} frames long, or the clip "
            f"{len(x)}"
        )
    if not np.isfinite(x).all():
        bad = sorted({int(t) for t in np.nonzero(~np.isfinite(x))[0]})
        raise FramesError(
            f"NaN or infinity in {len(bad)} frames, first frame {bad[0]}; the node that made them has failed"
        )
    low, high = float(x.min()), float(x.max())
    if low < -0.5 or high > 1.5:
        raise FramesError(f"the frames have values {low:.3g} to {high:.3g}; expected 0 to 1")
    aspect = x.shape[2] / x.shape[1]
    if abs(aspect / (width / height) - 1) > ASPECT:
        raise FramesError(
            f"the frames are {x.shape[2]}x{x.shape[1]} pixels, the clip is {width}x{height}: crop them to its aspect, "
            f"{width / height:.3g} to 1"
        )
    x = x[..., :3].clip(0.0, 1.0)
    if x.shape[1:3] == (height, width):
        return x
    import cv2

    how = cv2.INTER_AREA if x.shape[1] > height else cv2.INTER_CUBIC
    return np.stack([cv2.resize(f, (width, height), interpolation=how) for f in x]).clip(0.0, 1.0)


def ball_mask(
    frames: np.ndarray, labels: Labels, shades: np.ndarray | None = None, *, rivals: bool = True
) -> np.ndarray:
    """[T,H,W] bool: pixels nearer to the ball's colours than to the background, in light or shadow; no thin lines.

    shades: of another ball than the first. rivals: pixels nearer to another ball's colour are left to that.
    """
    shades = labels.shades if shades is None else shades
    back = np.broadcast_to(labels.background, frames.shape)
    mask = np.zeros(frames.shape[:3], bool)
    where = np.abs(frames - back).max(-1) > CHANGED / 2
    pixel, ground = frames[where], back[where]
    to_ground = off_ground(pixel, ground)
    to_ball = _nearest(pixel, shades)
    found = (to_ground > CHANGED) & (to_ball < np.minimum(to_ground, LIKE))
    if rivals and len(labels.other_shades):
        found &= to_ball <= _nearest(pixel, labels.other_shades)
    mask[where] = found
    import cv2

    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return np.stack([cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_OPEN, disc) for m in mask]).astype(bool)


def off_ground(pixel: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """RGB distance [n] of colours [n,3] to the background's there, in whatever light between shadow and sun."""
    factor = (pixel * ground).sum(-1) / np.maximum((ground * ground).sum(-1), 1e-6)
    return np.linalg.norm(pixel - factor.clip(SHADOW, 1.05)[:, None] * ground, axis=-1)


def _nearest(pixel: np.ndarray, shades: np.ndarray) -> np.ndarray:
    """Distance [n] of colours [n,3] to the polyline through the shades, whose gaps are filled with two points each."""
    if not len(shades):
        return np.full(len(pixel), np.inf, np.float32)
    steps = [shades[:-1] + (shades[1:] - shades[:-1]) * s for s in (0.0, 1 / 3, 2 / 3)]
    line = np.concatenate([*steps, shades[-1:]]).astype(np.float32)
    square = (pixel * pixel).sum(-1) + ((line * line).sum(-1) - 2 * pixel @ line.T).min(-1)
    return np.sqrt(np.maximum(square, 0.0))


def follow(frames: np.ndarray, labels: Labels) -> Track:
    """The ball in every frame of a fitted video."""
    import cv2

    count = len(frames)
    center, color = np.full((count, 2), np.nan), np.full((count, 3), np.nan)
    area, blobs = np.zeros(count), np.zeros(count, int)
    for t, mask in enumerate(ball_mask(frames, labels)):
        least = max(4.0, SPECK * np.pi * labels.radius[t] ** 2)
        number, parts, stats, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        real = np.nonzero(sizes >= least)[0]
        if not len(real):
            continue
        largest = int(real[np.argmax(sizes[real])])
        center[t] = middles[1 + largest] + 0.5
        color[t] = frames[t][parts == 1 + largest].mean(0)
        area[t], blobs[t] = sizes[real].sum(), len(real)
    return Track(center, area, blobs, color)
