"""How bodies went through five pictures, by the optical flow under their masks, and by these."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry.linalg import least_squares
from .cells import cell_places
from .tracked import Tracked

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
# Masks that came with a constant acceleration to so many picture heights are believed; if they then differ by so many
# from what flow tells, that has lost the body.
EVEN, LOST = 0.005, 0.008
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
    came: Tensor  # [K, KNOWN - 1, 2]: how far since each frame before, the latest first


@torch.no_grad()
def ways_of(speeds: Tensor, picture: Tensor, masks: Tensor, side: Tensor, tracked: Tracked | None = None) -> Ways:
    """Ways of bodies with masks [K, h, w] in pictures [K].

    speeds [B, MOTION, h, w]: mean_speeds in SPEED_UNIT; side [K]: of squares as large as the masks, in picture heights.
    tracked: how far their masks came. Of what came evenly both count, the masks the more the longer ago, and alone
    where flow has lost it.
    """
    weight, pixel = masks.float().flatten(1).topk(min(SAMPLES, masks.shape[1:].numel()))  # [K, P]
    mean = speeds.float().flatten(2)[picture].gather(2, pixel[:, None].expand(-1, MOTION, -1))
    mean = mean.unflatten(1, (KNOWN - 1, 2))  # [K, frames before, 2, P]
    frames = torch.arange(1.0, KNOWN, device=mean.device)[:, None]  # [frames before, 1]
    of_way = torch.cat((frames, -(frames**2) / 2), 1)  # ways since: frames * speed - frames^2 / 2 * acceleration
    evenly: Tensor | None = None
    if tracked is not None:
        came = frames * _median(mean, weight) * SPEED_UNIT
        seen = tracked.came.isfinite().all(2).all(1)
        by_masks = torch.where(seen[:, None, None], tracked.came, came)
        fit = of_way @ least_squares(of_way.expand(len(came), -1, -1), by_masks)
        lost = (by_masks - came).norm(dim=2).amax(1) > LOST * (1 + tracked.guessed**2)
        evenly = seen & ((by_masks - fit).norm(dim=2).amax(1) < EVEN) & (lost | (tracked.guessed < 2))
        share = torch.where(lost[:, None], 1.0, frames[:, 0] / (frames[:, 0] + 2)) * evenly[:, None]
        aside = share[..., None] * (by_masks - came) / (frames * SPEED_UNIT)
        mean = mean + aside[..., None]
    unit = SPEED_UNIT / side[:, None]
    aside = (frames[..., None] * (mean - _median(mean, weight)[..., None])).norm(dim=2).amax(1)
    found = _median(mean, weight * (-(aside * unit / STRAY).square()).exp())
    steady = (frames**2 * found).sum(1) / (frames**2).sum()
    off = (frames * (found - steady[:, None])).norm(dim=2).amax(1)
    keeps = off * SPEED_UNIT < STEADY + STEADY_SHARE * side
    one, two, three = LATEST_SPEED
    quadratic = one * found[:, 0] + two * found[:, 1] + three * found[:, 2]
    speed, acceleration = least_squares(of_way.expand(len(found), -1, -1), frames * found).unbind(1)
    fit = of_way @ torch.stack((speed, acceleration), 1)
    error = (frames * found - fit).norm(dim=2).amax(1, keepdim=True)
    latest = torch.where(keeps[:, None], steady, quadratic)
    if evenly is not None:  # with masks the constant acceleration is the better fit, with flow alone it is not
        latest = torch.where(evenly[:, None], speed, latest)
    return Ways(latest, acceleration, error, frames * found)


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
