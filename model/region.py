"""A second look at each body: its own part of the pictures, in which all bodies are alike large (regions of interest,
arXiv 1703.06870). Where edges lie to a tenth of a pixel, in each of the frames, is told here; features of the whole
picture, averaged under a mask, have lost it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ground import block

SIDE = 40  # cells of a region
REACH = 3.0  # radii of a body from its middle to a side of its region: some frames ago it was still in it
SMALLEST = 3.0  # pixels of a radius
SHIFTED, RESIZED = 0.15, 0.12  # of a radius: how far a region is off in training, and its logarithm of size, usually
WIDTHS = (32, 48, 64, 96)  # features at a half, a half, a quarter and an eighth of SIDE


class Regions(NamedTuple):
    """Where K bodies are in their pictures, in picture heights from the middle."""

    middle: Tensor  # [K, 2]
    radius: Tensor  # [K, 1]: that of the mask, if it is a disc; else twice its larger standard deviation


def regions_of(masks: Tensor, places: Tensor, pixel: float) -> Regions:
    """Of masks [K, h, w] in 0..1, whose cells lie at places [h, w, 2]; pixel: a picture's, in picture heights."""
    weight = masks.float().square().flatten(1)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-3)
    at = places.flatten(0, 1)
    middle = (weight[..., None] * at).sum(1)
    spread = (weight[..., None] * (at - middle[:, None]).square()).sum(1)
    radius = 2 * spread.amax(1, keepdim=True).sqrt()
    return Regions(middle, radius.clamp_min(SMALLEST * pixel))


def jittered(regions: Regions) -> Regions:
    """Regions moved and resized at random, so that what is learned from them is not where they happen to lie."""
    middle, radius = regions
    aside = torch.randn_like(middle) * (SHIFTED * radius)
    return Regions(middle + aside, radius * (torch.randn_like(radius) * RESIZED).exp())


def cut(maps: Tensor, picture: Tensor, regions: Regions) -> Tensor:
    """Regions [K, C, SIDE, SIDE] of maps [B, C, h, w] of whole pictures [K]; zero outside of them."""
    height, width = maps.shape[2:]
    step = ((torch.arange(SIDE, device=maps.device) + 0.5) / SIDE * 2 - 1) * REACH
    offset = torch.stack((step.expand(SIDE, -1), step[:, None].expand(-1, SIDE)), -1)
    at = regions.middle[:, None, None] + regions.radius[:, None, None] * offset
    at = torch.stack((at[..., 0] * (2 * height / width), at[..., 1] * 2), -1)
    return F.grid_sample(maps.float()[picture], at, align_corners=False)


class RegionHead(nn.Module):
    """What a region adds to the numbers of its body, in radii where these are lengths; at first nothing."""

    def __init__(self, channels: int, known: int, hidden: int, numbers: int):
        super().__init__()
        a, b, c, d = WIDTHS
        self.look = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, a, 5, 2, 2), nn.SiLU()), block(a, b), block(b, c, 2), block(c, c)
        )
        self.lowest = block(c, d, 2)
        self.from_look, self.from_known = nn.Linear(d * (SIDE // 8) ** 2, hidden), nn.Linear(known, hidden)
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, numbers))
        nn.init.zeros_(self.last[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last[-1].bias)  # type: ignore[arg-type]

    def forward(self, regions: Tensor, known: Tensor) -> Tensor:
        """[K, numbers] of regions [K, channels, SIDE, SIDE] and what is known of their bodies [K, known]."""
        x = self.lowest(self.look(regions.contiguous(memory_format=torch.channels_last)))
        return self.last(self.from_look(x.flatten(1)) + self.from_known(known))
