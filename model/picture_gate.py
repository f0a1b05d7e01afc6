"""A small classifier of single pictures: does one show the simulated world that a model was trained on?

Object dynamics find a ball in any picture, because they were trained where there are balls. The gate says where they
may be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ground import block

SIDE = 128  # pixels a side at which pictures are read, whatever their shape


@dataclass(frozen=True)
class GateConfig:
    """Sizes of the network, as its file names them."""

    widths: tuple[int, ...] = (16, 32, 48, 64)  # features at 1/2, 1/4, 1/8 and 1/16 of the size


class PictureGate(nn.Module):
    """Strided convolutions, then the mean and the maximum over all places: textures and the largest odd thing."""

    def __init__(self, config: GateConfig = GateConfig()):
        super().__init__()
        self.config = config
        inputs = (3, *config.widths[:-1])
        self.features = nn.Sequential(*(block(i, o, 2) for i, o in zip(inputs, config.widths, strict=True)))
        last = config.widths[-1]
        self.verdict = nn.Sequential(nn.Linear(2 * last, last), nn.SiLU(), nn.Linear(last, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Log-odds [B] that pictures [B, H, W, 3] in 0..1 of any size show the simulated world."""
        x = self.features(2 * resized(pictures).permute(0, 3, 1, 2) - 1)
        return self.verdict(torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1))[:, 0]

    @torch.no_grad()
    def accepts(self, pictures: Tensor) -> bool:
        """Whether all of the pictures [k, H, W, 3] show the simulated world."""
        return bool((self(pictures.to(next(self.parameters()).device)) > 0).all())


def resized(pictures: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] at SIDE x SIDE, whatever their shape; antialiased."""
    height, width = pictures.shape[1:3]
    if (height, width) == (SIDE, SIDE):
        return pictures
    x = F.interpolate(pictures.permute(0, 3, 1, 2), (SIDE, SIDE), mode="bilinear", antialias=True)
    return x.permute(0, 2, 3, 1)
