"""How bodies went through five pictures, by the optical flow under their masks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry.linalg import least_squares
from .cells import cell_places
from .matching import mended

KNOWN = 5  # frames
MOTION = 2 * (KNOWN - 1)  # numbers of motion_before
# The speed at the last of four frames of what has a constant acceleration (a quadratic fit), of its mean speeds since
# each of those before, the latest first. The speed between the last two would be that of half a frame ago.
LATEST_SPEED = (0.65, 1.7, -1.35)
# Mean speeds that agree with one speed to so many picture heights, and such a share of the body's size, are of a body
# that keeps its speed: the fit of one number is three times as sure as that of LATEST_SPEED.
STEADY, STEADY_SHARE = 2e-4, 0.01
SAMPLES = 256  # cells of a mask, the surest, whose motion tells its body's speed
STRAY = 0.25  # of a body's size: pixels that seem to have come from so far aside were hidden, or lie beside it
SPEED_UNIT = 0.05  # picture heights a frame, and shares of the depth: what a one of the network's answer means


def mean_speeds(motion: Tensor) -> Tensor:
    """Of ways since each frame before [B, MOTION, h, w], the latest first: the mean speed on each, a frame."""
    frames = torch.arange(1, KNOWN, device=motion.device).repeat_interleave(2)
    return motion / frames[:, None, None]


class Ways(NamedTuple):
    """How K bodies went through the picture, in SPEED_UNIT."""

    speed: Tensor  # [K, 2] at the last frame
    acceleration: Tensor  # [K, 2] a frame, the best constant one
    error: Tensor  # [K, 1]: by how much, at most, the way with that acceleration misses where they were


@torch.no_grad()
def ways_of(speeds: Tensor, picture: Tensor, masks: Tensor, side: Tensor, pictures: Tensor | None = None) -> Ways:
    """Ways of bodies with masks [K, h, w] in pictures [K].

    speeds [B, MOTION, h, w]: mean_speeds in SPEED_UNIT; side [K]: of squares as large as the masks, in picture heights.
    pictures: as `mended` takes them, to mend what optical flow tells.
    """
    weight, pixel = masks.float().flatten(1).topk(min(SAMPLES, masks.shape[1:].numel()))  # [K, P]
    mean = speeds.float().flatten(2)[picture].gather(2, pixel[:, None].expand(-1, MOTION, -1))
    mean = mean.unflatten(1, (KNOWN - 1, 2))  # [K, frames before, 2, P]
    frames = torch.arange(1.0, KNOWN, device=mean.device)[:, None]  # [frames before, 1]
    if pictures is not None:
        came = frames * _median(mean, weight) * SPEED_UNIT
        mean = mean + ((mended(pictures, picture, masks, came) - came) / (frames * SPEED_UNIT))[..., None]
    unit = SPEED_UNIT / side[:, None]
    aside = (frames[..., None] * (mean - _median(mean, weight)[..., None])).norm(dim=2).amax(1)
    found = _median(mean, weight * (-(aside * unit / STRAY).square()).exp())
    steady = (frames**2 * found).sum(1) / (frames**2).sum()
    off = (frames * (found - steady[:, None])).norm(dim=2).amax(1)
    keeps = off * SPEED_UNIT < STEADY + STEADY_SHARE * side
    one, two, three = LATEST_SPEED
    quadratic = one * found[:, 0] + two * found[:, 1] + three * found[:, 2]
    # Least squares of the ways since each frame before: frames * speed - frames^2 / 2 * acceleration.
    of_way = torch.cat((frames, -(frames**2) / 2), 1)
    speed, acceleration = least_squares(of_way.expand(len(found), -1, -1), frames * found).unbind(1)
    fit = of_way @ torch.stack((speed, acceleration), 1)
    error = (frames * found - fit).norm(dim=2).amax(1, keepdim=True)
    return Ways(torch.where(keeps[:, None], steady, quadratic), acceleration, error)


def _median(values: Tensor, weight: Tensor) -> Tensor:
    """Medians [K, ...] of values [K, ..., P], weighted by [K, P]."""
    order = values.sort(-1)
    shape = (len(weight), *(1 for _ in values.shape[1:-1]), weight.shape[1])
    total = weight.view(shape).expand_as(order.indices).gather(-1, order.indices).cumsum(-1)
    place = (total < total[..., -1:] / 2).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return order.values.gather(-1, place)[..., 0]


def slopes_of(motion: Tensor, picture: Tensor, masks: Tensor) -> Tensor:
    """How motion [B, 2, h, w] changes across masks [K, h, w] of pictures [K]: du/dx, du/dy, dv/dx, dv/dy [K, 4] a
    picture height, by least squares; small masks tell less."""
    height, width = masks.shape[1:]
    x, y = cell_places(height, width, 1, masks.device).flatten(0, 1).unbind(1)  # [P]
    weight = masks.float().flatten(1)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-3)

    def mean(values: Tensor) -> Tensor:  # sums of products, not matrix products: these would be in bfloat16
        return (weight * values).sum(1, keepdim=True)

    x, y = x - mean(x), y - mean(y)  # [K, P]
    own = 1 / height**2  # of a cell: what is smaller has no slope that can be measured
    xx, yy, xy = mean(x * x) + own, mean(y * y) + own, mean(x * y)
    out: list[Tensor] = []
    for moved in motion.float().flatten(2)[picture].unbind(1):  # u, v [K, P]
        with_x, with_y = mean(moved * x), mean(moved * y)
        out += [with_x * yy - with_y * xy, with_y * xx - with_x * xy]
    return torch.cat(out, 1) / (xx * yy - xy * xy)
