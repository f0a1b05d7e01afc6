"""How far away what is over a level ground is, where the picture shows which point of the ground lies beneath it."""

from __future__ import annotations

import torch
from torch import Tensor

from .linalg import norm

HORIZON = 0.02  # slope of the way to the ground from which on a distance follows from it
FARTHEST = 60.0  # heights of the eye
ASIDE = 0.01  # heights of the eye: what is nearer to the eye's plumb line has no direction over the ground


def foot_of(center: Tensor, up: Tensor) -> Tensor:
    """Ways [N, 3], at depth one, to the points of the ground beneath centres [N, 3]; otherwise as farther_over."""
    beneath = center - up * ((center @ up)[:, None] + 1)
    return beneath / beneath[:, 2:].clamp_min(1e-3)


def farther_over(center: Tensor, foot: Tensor, up: Tensor) -> Tensor:
    """By how much farther from the eye bodies with centres [N, 3] are, if they are over the points of the ground to
    which there are ways foot [N, 3]: factors [N], NaN where the ways do not tell it.

    All in heights of the eye over the ground and in the axes of its camera; up [3]: the ground's unit normal.
    """

    def level(x: Tensor) -> Tensor:
        return x - (x @ up)[:, None] * up

    down = -(foot @ up)
    at = level(foot) / down.clamp_min(1e-3)[:, None]
    aside = level(center)
    along = aside.square().sum(1)
    factor = (aside * at).sum(1) / along.clamp_min(1e-9)
    known = (down > HORIZON * norm(foot)) & (norm(at) < FARTHEST) & (along > ASIDE**2) & (factor > 0)
    return torch.where(known, factor, torch.nan)
