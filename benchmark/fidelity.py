"""How similar are two videos of one shot, pixel by pixel and motion by motion? For previews against their renders.

Videos are [T, H, W, 3] in 0..1, arrays or tensors, of one size and length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..world.arrays import Bools, Floats

Video = Tensor | Floats
BEST_PSNR_DB = 99.0  # reported for equal videos
GRID = 24  # points followed across the longer side
MIN_MOTION = 0.02  # of the width: a point that moves less within a second counts as at rest
FLOW_SIDE_PX = 256  # shorter side at which flow is estimated: DIS has too few pyramid levels on smaller pictures
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SSIM_SIGMA_PX, SSIM_WINDOW_PX, SSIM_C1, SSIM_C2 = 1.5, 11, 0.01**2, 0.03**2  # Wang et al., IEEE TIP 13 (2004)
FLOW_TOLERANCE = (0.01, 0.5)  # relative, and px: forward and backward flow that differ more are wrong (Sundaram 2010)


@dataclass(frozen=True)
class Agreement:
    """How well a preview predicts its render."""

    psnr: float  # dB
    ssim: float  # 0..1
    paths: float | None  # RMS distance between point tracks, share of the width; None: OpenCV is missing


def agreement(preview: Video, render: Video, fps: float) -> Agreement:
    """Measure a preview against its render. Raises ValueError when they differ in shape."""
    a, b = _tensor(preview), _tensor(render)
    if a.shape != b.shape:
        raise ValueError(f"the preview is {list(a.shape)}, the render {list(b.shape)}; expected the same shape")
    try:
        paths = path_difference(a, b, fps)
    except ImportError:
        paths = None
    return Agreement(psnr(a, b), ssim(a, b), paths)


def _tensor(frames: Video) -> Tensor:
    return torch.as_tensor(frames)[..., :3].float().cpu()


def psnr(a: Video, b: Video) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and frames."""
    error = float((_tensor(a) - _tensor(b)).square().mean())
    return min(BEST_PSNR_DB, -10 * math.log10(error)) if error > 0 else BEST_PSNR_DB


def ssim(a: Video, b: Video) -> float:
    """Structural similarity of brightness, mean over frames."""
    x, y = (_tensor(v) @ torch.tensor(LUMA) for v in (a, b))
    size = min(SSIM_WINDOW_PX, *x.shape[1:])
    window = [math.exp(-((i - (size - 1) / 2) ** 2) / (2 * SSIM_SIGMA_PX**2)) for i in range(size)]

    def blur(v: Tensor) -> Tensor:
        for axis in (1, 2):
            left = v.shape[axis] - size + 1
            parts = [w / sum(window) * v.narrow(axis, i, left) for i, w in enumerate(window)]
            v = sum(parts[1:], parts[0])
        return v

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    similarity = (2 * mx * my + SSIM_C1) * (2 * vxy + SSIM_C2) / ((mx**2 + my**2 + SSIM_C1) * (vx + vy + SSIM_C2))
    return float(similarity.mean())


def path_difference(a: Video, b: Video, fps: float) -> float:
    """RMS distance between point tracks through two videos, as a share of the width. Needs OpenCV.

    A grid of points is followed through both from each whole second to the next; only points count that move in one
    of the videos and that both can follow. 0: nothing moves.
    """
    second = max(2, round(fps))
    flows = [_flows(_tensor(v)) for v in (a, b)]
    width = flows[0][0][0].shape[1]
    total = count = 0.0
    for start in range(0, len(flows[0]), second):
        (one, sure_one), (two, sure_two) = (_follow(f[start : start + second]) for f in flows)
        moves = np.maximum(*(np.linalg.norm(p - p[0], axis=-1).max(0) for p in (one, two))) > MIN_MOTION * width
        judged = (sure_one & sure_two)[1:] & moves
        total += float((((one - two)[1:] ** 2).sum(-1) * judged).sum())
        count += float(judged.sum())
    return math.sqrt(total / count) / width if count else 0.0


def _flows(frames: Tensor) -> list[tuple[Floats, Bools]]:
    """Flow [H, W, 2] from each frame to the next, and where it can be trusted [H, W]."""
    from . import opencv

    height, width = frames.shape[1:3]
    scale = FLOW_SIDE_PX / min(height, width)
    w, h = round(width * scale), round(height * scale)
    grey = opencv.grey(opencv.resized((frames * 255).round().byte().numpy(), w, h, opencv.LINEAR))
    forward, backward = opencv.dis_flow(grey), opencv.dis_flow(grey[::-1])[::-1]
    returned = opencv.carried_back(forward, backward)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    x, y = x + forward[..., 0], y + forward[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
    lengths: Floats = (forward**2).sum(-1) + (returned**2).sum(-1)
    error: Floats = ((forward + returned) ** 2).sum(-1)
    trusted = (error < FLOW_TOLERANCE[0] * lengths + FLOW_TOLERANCE[1] * scale**2) & inside
    return list(zip(forward, trusted, strict=True))


def _follow(flows: Sequence[tuple[Floats, Bools]]) -> tuple[Floats, Bools]:
    """Positions [n+1, P, 2] of a grid of points carried along, and whether each is still trusted [n+1, P]."""
    height, width = flows[0][0].shape[:2]
    step: float = max(height, width) / GRID
    y, x = (np.arange(step / 2, float(side), step) for side in (height, width))
    grid = np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], -1)
    points: list[Floats] = [grid]
    sure: list[Bools] = [np.ones(len(grid), bool)]
    for flow, trusted in flows:
        column, row = np.round(np.transpose(points[-1])).astype(int)
        at = row.clip(0, height - 1), column.clip(0, width - 1)
        points.append(points[-1] + flow[at])
        sure.append(sure[-1] & trusted[at])
    return np.stack(points), np.stack(sure)
