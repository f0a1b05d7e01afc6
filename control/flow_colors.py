"""Optical flow as colours and back: hue is direction, saturation is speed, white is no motion.

The colour wheel of Baker et al., "A Database and Evaluation Methodology for Optical Flow" (Middlebury), as RAFT draws
it and as VACE's flow control was trained on: 55 steps of hue of unequal width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..geometry.linalg import norm
from .flow import FlowField
from .span import ControlError

STEPS = 55
# Steps at which the wheel reaches red, yellow, green, cyan, blue, magenta and red again.
CORNERS = torch.tensor([0.0, 15.0, 21.0, 25.0, 36.0, 49.0, 55.0])
RGB = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=torch.float32)


def max_speed(field: FlowField) -> float:
    """The largest valid motion in pixels a frame."""
    return max(_fastest(flow, valid) for flow, valid in zip(field.flow, field.valid, strict=True))


def _fastest(flow: Tensor, valid: Tensor) -> float:
    return float((norm(flow) * (valid > 0)).max())


def to_colors(field: FlowField, full: float | None = None, check: Callable[[], None] = lambda: None) -> Tensor:
    """IMAGE [T-1,H,W,3] in 0..1; full: the motion in full colour (None: the largest). Free: white.

    check: called for each frame, may raise to cancel.
    """
    steps = list(zip(field.flow, field.valid, strict=True))
    if full is None:
        full = 1e-6
        for flow, valid in steps:
            check()
            full = max(full, _fastest(flow, valid))
    colors = torch.empty(*field.valid.shape, 3)
    for t, (flow, valid) in enumerate(steps):
        check()
        colors[t] = _colors(flow, valid, full)
    return colors


def _colors(flow: Tensor, valid: Tensor, full: float) -> Tensor:
    """Colours [H,W,3] of one step's flow [H,W,2]."""
    u, v = (flow * valid[..., None] / full).unbind(-1)
    radius = (u * u + v * v).sqrt()[..., None]
    step = (torch.atan2(-v, -u) / math.pi + 1) / 2 * (STEPS - 1)
    corner = (torch.searchsorted(CORNERS, step.contiguous(), right=True) - 1).clamp(0, 5)
    share = ((step - CORNERS[corner]) / (CORNERS[corner + 1] - CORNERS[corner]))[..., None]
    color = torch.lerp(RGB[corner], RGB[corner + 1], share)
    return torch.where(radius <= 1, 1 - radius * (1 - color), 0.75 * color)


def over_picture(field: FlowField, picture: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
    """IMAGE [T-1,H,W,3]: the flow in colours over a picture [1,H,W,3]; its opacity is 3/4 times its validity.

    check: called for each frame, may raise to cancel.
    """
    shown = to_colors(field, check=check)
    for color, valid in zip(shown, field.valid, strict=True):
        check()
        color.copy_(torch.lerp(picture[0], color, 0.75 * valid[..., None]))
    return shown


def from_colors(images: Tensor, full: float) -> FlowField:
    """Flow of colour-wheel pictures [T-1,H,W,3] in 0..1, when `full` pixels a frame are full colour.

    Raises ControlError for other shapes, NaN, and pictures that are not drawn with the wheel (darker than it is).
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[-1] < 3:
        found = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ControlError(f"flow colours are {found}; expected an IMAGE [frames - 1, height, width, 3]")
    if not full > 0 or not math.isfinite(full):
        raise ControlError(f"flow colours: full colour is {full} pixels a frame; expected more than 0")
    rgb = images[..., :3].detach().cpu().float()
    if not torch.isfinite(rgb).all():
        raise ControlError("flow colours hold NaN or infinity; the node that made them has failed")
    dark = (rgb.amax(-1) < 0.7).float().mean().item()
    if dark > 0.05:
        raise ControlError(
            f"flow colours: {dark:.0%} of the pixels are darker than the colour wheel ever is; give flow drawn on "
            "white, as RAFT and VACE draw it"
        )
    radius = (1 - rgb.amin(-1)).clamp(0, 1)
    color = 1 - (1 - rgb) / radius[..., None].clamp_min(1e-3)
    # Between two corners of the wheel one channel rises from 0 to 1 or falls back: its value is the share of the way.
    low, high = color.argmin(-1), color.argmax(-1)
    middle = (3 - low - high).clamp(0, 2)
    share = color.gather(-1, middle[..., None])[..., 0].clamp(0, 1)
    sextant = torch.zeros_like(share)
    for number, (top, mid, rising) in enumerate(((0, 1, 1), (1, 0, 0), (1, 2, 1), (2, 1, 0), (2, 0, 1), (0, 2, 0))):
        matches = (high == top) & (middle == mid)
        sextant = torch.where(matches, number + (share if rising else 1 - share), sextant)
    sextant = torch.where(low == high, 0.0, sextant)  # grey: no hue
    corner = sextant.floor().long().clamp(0, 5)
    step = CORNERS[corner] + (sextant - corner) * (CORNERS[corner + 1] - CORNERS[corner])
    angle = (step.clamp(0, STEPS - 1) / (STEPS - 1) * 2 - 1) * math.pi
    flow = -torch.stack((angle.cos(), angle.sin()), -1) * (radius * full)[..., None]
    return FlowField(flow)
