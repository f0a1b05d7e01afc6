"""What a picture shows beside its balls: how far everything is, and where the light comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(8, b), nn.SiLU())


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))


class Ground(nn.Module):
    """A U-net (arXiv 1505.04597) from 1/4 of a picture's size down to 1/16: a plane wants the whole view, an edge its place."""

    def __init__(self, channels: int, widths: tuple[int, int, int]):
        super().__init__()
        fine, middle, coarse = widths
        self.quarter = nn.Sequential(nn.Conv2d(channels, fine, 1), nn.SiLU(), Residual(fine))
        self.eighth = nn.Sequential(block(fine, middle, 2), Residual(middle))
        self.sixteenth = nn.Sequential(block(middle, coarse, 2), Residual(coarse))
        self.everywhere = nn.Linear(coarse, coarse)
        self.bottom = Residual(coarse)
        self.to_eighth, self.up_eighth = nn.Conv2d(coarse, middle, 1), Residual(middle)
        self.to_quarter, self.up_quarter = nn.Conv2d(middle, fine, 1), Residual(fine)
        self.near = nn.Conv2d(fine, 1, 3, padding=1)
        self.light = nn.Sequential(nn.Linear(2 * coarse, coarse), nn.SiLU(), nn.Linear(coarse, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of x [B, channels, H/4, W/4], H and W multiples of 16: 1 / metres along the optical axis [B, H/4, W/4]; and the
        way to the light [B, 3] in OpenCV axes, whose length says how much more of it than of all other light there is."""
        up = lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear")  # noqa: E731
        quarter = self.quarter(x)
        eighth = self.eighth(quarter)
        low = self.sixteenth(eighth)
        low = self.bottom(low + self.everywhere(low.mean((2, 3)))[:, :, None, None])
        eighth = self.up_eighth(eighth + up(self.to_eighth(low)))
        quarter = self.up_quarter(quarter + up(self.to_quarter(eighth)))
        near = (self.near(quarter)[:, 0] - 2).exp()
        return near, self.light(torch.cat((low.mean((2, 3)), low.amax((2, 3))), 1))
