"""How alike are two videos of one shot, pixel by pixel and motion by motion? For previews against their renders.

Videos are [T,H,W,3] in 0..1, arrays or tensors, of one size and length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BEST_PSNR = 99.0  # dB, said of equal videos
GRID = 24  # points followed across the longer side
MOVES = 0.02  # of the width: a point that goes less far in a second rests
FLOW_SIDE = 256  # pixels: OpenCV's DIS has too few pyramid levels on smaller pictures


@dataclass(frozen=True)
class Agreement:
    psnr: float  # dB
    ssim: float  # 0..1
    paths: float | None  # RMS distance between the ways things go, share of the width; None: OpenCV is missing


def agreement(preview: Any, render: Any, fps: float) -> Agreement:
    """Measure a preview against its render. Raises ValueError when they differ in shape."""
    a, b = as_tensor(preview), as_tensor(render)
    if a.shape != b.shape:
        raise ValueError(f"the preview is {list(a.shape)}, the render {list(b.shape)}; expected the same shape")
    try:
        paths = path_difference(a, b, fps)
    except ImportError:
        paths = None
    return Agreement(psnr(a, b), ssim(a, b), paths)


def as_tensor(frames: Any) -> Tensor:
    import torch

    return torch.as_tensor(frames)[..., :3].float().cpu()


def psnr(a: Any, b: Any) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and frames."""
    error = float((as_tensor(a) - as_tensor(b)).square().mean())
    return min(BEST_PSNR, -10 * math.log10(error)) if error > 0 else BEST_PSNR


def ssim(a: Any, b: Any) -> float:
    """Structural similarity of brightness, mean over frames (Wang et al., 2004: Gaussian of sigma 1.5, 11 pixels)."""
    import torch

    x, y = (as_tensor(v) @ torch.tensor([0.299, 0.587, 0.114]) for v in (a, b))
    size = min(11, *x.shape[1:])
    window = [math.exp(-((i - (size - 1) / 2) ** 2) / (2 * 1.5**2)) for i in range(size)]

    def blur(v: Tensor) -> Tensor:
        for axis in (1, 2):
            left = v.shape[axis] - size + 1
            v = sum(w / sum(window) * v.narrow(axis, i, left) for i, w in enumerate(window))
        return v

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def path_difference(a: Any, b: Any, fps: float) -> float:
    """RMS distance between the ways that points go in two videos, as a share of the width. Needs OpenCV.

    A grid of points is followed through both from each whole second to the next; only points count that move in one
    of the videos and that both can follow (flow forth and back agree, Sundaram et al., 2010). 0: nothing moves.
    """
    second = max(2, round(fps))
    flows = [_flows(as_tensor(v)) for v in (a, b)]
    width = flows[0][0][0].shape[1]
    total = count = 0.0
    for start in range(0, len(flows[0]), second):
        pairs = [_follow(f[start : start + second]) for f in flows]
        (one, sure), (two, sure2) = pairs
        moves = np.maximum(*(np.linalg.norm(p - p[0], axis=-1).max(0) for p in (one, two))) > MOVES * width
        judged = (sure & sure2)[1:] & moves
        total += float((((one - two)[1:] ** 2).sum(-1) * judged).sum())
        count += float(judged.sum())
    return math.sqrt(total / count) / width if count else 0.0


def _flows(frames: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Flow forth [H,W,2] from each frame to the next, and where it can be trusted [H,W]."""
    import cv2

    height, width = frames.shape[1:3]
    scale = FLOW_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    grey = [cv2.cvtColor(cv2.resize(f, size), cv2.COLOR_RGB2GRAY) for f in (frames * 255).round().byte().numpy()]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    found = []
    for now, then in zip(grey, grey[1:]):
        forth, back = dis.calc(now, then, None), dis.calc(then, now, None)
        x, y = columns + forth[..., 0], rows + forth[..., 1]
        returned = cv2.remap(back, x, y, cv2.INTER_LINEAR)
        error = ((forth + returned) ** 2).sum(-1)
        inside = (x >= 0) & (y >= 0) & (x <= size[0] - 1) & (y <= size[1] - 1)
        found.append((forth, (error < 0.01 * ((forth**2).sum(-1) + (returned**2).sum(-1)) + 0.5 * scale**2) & inside))
    return found


def _follow(flows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n+1, P, 2] of a grid of points carried along, and whether each is still trusted [n+1, P]."""
    height, width = flows[0][0].shape[:2]
    step = max(height, width) / GRID
    y, x = np.meshgrid(np.arange(step / 2, height, step), np.arange(step / 2, width, step), indexing="ij")
    points, sure = [np.stack([x, y], -1).reshape(-1, 2)], [np.ones(x.size, bool)]
    for flow, trusted in flows:
        at = points[-1].round().astype(int).clip(0, [width - 1, height - 1])
        points.append(points[-1] + flow[at[:, 1], at[:, 0]])
        sure.append(sure[-1] & trusted[at[:, 1], at[:, 0]])
    return np.stack(points), np.stack(sure)
