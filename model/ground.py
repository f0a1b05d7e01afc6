"""Inverse depth of the ground and direction of the light, from one picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(a: int, b: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution from a to b channels, group norm, SiLU."""
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(8, b), nn.SiLU())


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return F.silu(x + self.body(x))


class Ground(nn.Module):
    """A U-net (arXiv 1505.04597) between 1/4 and 1/16 of a picture's size; `near` is the head for inverse depth."""

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
        """x [B, channels, H/4, W/4], H and W multiples of 16 -> (inverse depth [B, H/4, W/4], light [B, 3]).

        Inverse depth is 1 / metres along the optical axis. light points to the light in OpenCV axes; its length is the
        ratio of direct to ambient light.
        """

        def up(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2.0, mode="bilinear")

        quarter = self.quarter(x)
        eighth = self.eighth(quarter)
        low = self.sixteenth(eighth)
        low = self.bottom(low + self.everywhere(low.mean((2, 3)))[:, :, None, None])
        eighth = self.up_eighth(eighth + up(self.to_eighth(low)))
        quarter = self.up_quarter(quarter + up(self.to_quarter(eighth)))
        inverse_depth = (self.near(quarter)[:, 0] - 2).exp()
        return inverse_depth, self.light(torch.cat((low.mean((2, 3)), low.amax((2, 3))), 1))
