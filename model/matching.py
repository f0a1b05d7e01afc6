"""Where bodies were in earlier pictures: looked for again where optical flow is denied by the pictures themselves.

Flow is worked out coarse to fine, and at coarse sizes what is small, plain and fast is lost in what stands behind it.
A mask knows what to look for: its pixels, as a template, are compared with the earlier picture around the place that
flow names (Lucas and Kanade, 1981, without the gradients: the search is wide and the templates are small).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .cells import MASK_CELL, cell_places

POINTS = 128  # cells of a mask that make the template
MOST_DIFFERENT = 0.4  # of colours in -1..1: what differs by more was hidden, say, and counts no more
WRONG = 0.03  # mean difference from which on flow is doubted,
BETTER = 0.7  # and the share of it that another place must have to be believed
LEAST = 0.006  # picture heights by which that must be elsewhere: flow is finer than the search
REACH, LEAST_REACH, MOST_REACH = 0.35, 0.015, 0.09  # how far is searched: share of the motion, picture heights
STEPS = 7  # to each side
ALIKE = 0.004  # mean difference by which a place is as good as another one


@torch.no_grad()
def mended(pictures: Tensor, picture: Tensor, masks: Tensor, came: Tensor) -> Tensor:
    """How far bodies came [K, n, 2] since each picture before, in picture heights, mended where pictures deny it.

    pictures [B, 3 (1 + n), H, W] in -1..1: the last, and how those before it, the earliest first, differ from it;
    picture [K]: of each body; masks [K, H/2, W/2]; came [K, n, 2]: as flow tells it, the latest first.
    """
    count, n = came.shape[:2]
    if not count:
        return came
    height, width = pictures.shape[2:]
    weight, cell = masks.float().flatten(1).topk(min(POINTS, masks.shape[1:].numel()))  # [K, P]
    place = cell_places(height, width, MASK_CELL, masks.device).flatten(0, 1)[cell]  # [K, P, 2]
    last = pictures[:, :3].float()
    before = (pictures[:, 3:].float().unflatten(1, (n, 3)) + last[:, None]).flip(1)  # [B, n, 3, H, W], latest first
    scale = torch.tensor([2 * height / width, 2.0], device=place.device)

    def seen(images: Tensor, at: Tensor) -> Tensor:
        """Colours [N, 3, M, P] of images [N, 3, H, W] at places [N, M, P, 2]."""
        return F.grid_sample(images, at * scale, padding_mode="border", align_corners=False)

    own = seen(last[picture], place[:, None])  # [K, 3, 1, P]
    every = torch.arange(count * n, device=came.device)  # pairs of a body and a picture before
    body, frame = every // n, every % n

    def different(pair: Tensor, ways: Tensor) -> Tensor:
        """How the template of pairs [N] of a body and a picture differs from what is seen there [N, M], of ways
        [N, M, 2]; a lot where most of it is beyond the picture."""
        k = body[pair]
        at = place[k, None] - ways[:, :, None]
        off = (seen(before[picture[k], frame[pair]], at) - own[k]).abs().mean(1).clamp_max(MOST_DIFFERENT)
        share = weight[k, None] * ((at * scale).abs() <= 1).all(-1)
        whole = weight[k].sum(1, keepdim=True).clamp_min(1e-6)
        return (off * share).sum(-1) / share.sum(-1).clamp_min(1e-6) + 9 * (share.sum(-1) < whole / 2)

    flow = came.flatten(0, 1)  # [K n, 2]
    told = different(every, flow[:, None])[:, 0]
    pair = torch.nonzero((told > WRONG) & (told < 9)).flatten()
    if not len(pair):
        return came
    grid = torch.linspace(-1, 1, 2 * STEPS + 1, device=flow.device)
    around = torch.cartesian_prod(grid, grid)
    reach = (REACH * flow[pair].norm(dim=1)).clamp(LEAST_REACH, MOST_REACH)[:, None]
    best = flow[pair]
    for share in (1, 2 / STEPS):  # of the reach: all of it, then two steps
        ways = best[:, None] + share * reach[:, None] * around
        off = different(pair, ways)
        good = ((off.min(1, keepdim=True).values - off) / ALIKE).softmax(1)[..., None]
        best = (good * ways).sum(1)  # the middle of what is nearly as good: within a plain body all places are alike
    off = different(pair, best[:, None])[:, 0]
    found = (off < BETTER * told[pair]) & ((best - flow[pair]).norm(dim=1) > LEAST)
    out = flow.clone()
    out[pair[found]] = best[found]
    return out.view_as(came)
