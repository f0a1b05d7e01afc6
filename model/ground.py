"""Monocular depth and light: how far everything but the balls is in a picture, and where its light comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution from `channels` to `width` features, normalised over 8 groups and followed by SiLU."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1), nn.GroupNorm(8, width), nn.SiLU())


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w], the same shape as x."""
        return F.silu(x + self.body(x))


class Ground(nn.Module):
    """A U-net (arXiv 1505.04597) from 1/4 of a picture's size down to 1/16.

    The coarse levels see whole planes, the fine ones place edges.
    """

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
        """Inverse depth [B, H/4, W/4] and light [B, 3] of x [B, channels, H/4, W/4]; H and W are multiples of 16.

        Inverse depth is 1 / metres along the optical axis. The light points from the scene towards its source, in
        OpenCV camera axes; its length is the ratio of direct to ambient light.
        """
        quarter = self.quarter(x)
        eighth = self.eighth(quarter)
        low = self.sixteenth(eighth)
        low = self.bottom(low + self.everywhere(low.mean((2, 3)))[:, :, None, None])
        eighth = self.up_eighth(eighth + upsample(self.to_eighth(low)))
        quarter = self.up_quarter(quarter + upsample(self.to_quarter(eighth)))
        inverse_depth = (self.near(quarter)[:, 0] - 2).exp()
        return inverse_depth, self.light(torch.cat((low.mean((2, 3)), low.amax((2, 3))), 1))


def upsample(x: Tensor) -> Tensor:
    """Features [B, C, h, w] at twice the size, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")
