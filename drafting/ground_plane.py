"""The floor that a picture shows. It hides no ball: balls are above it, however roughly their distances and its own are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry.camera import pixel_rays
from .lighting import planes_of

if TYPE_CHECKING:
    from torch import Tensor

LIES = 0.6  # how much of a plane's normal must point up for it to be a floor
CLOSE = 0.03  # share by which its distances are off
LEAST = 0.05  # share of a picture that shows it
ROUNDS = 8
FLAT = 0.04  # share by which distances of what is taken for it are off


def floor_of(near: Tensor, focal: Tensor) -> Tensor | None:
    """The floor's plane [3] (see planes_of) in 1 / metres near [h,w] of a picture, focal length in its pixels; None without
    one: of planes that lie, that of most of the picture."""
    import torch

    ray = pixel_rays(near.shape[1], near.shape[0], focal)
    planes = planes_of(near, ray, focal)
    lies = planes[..., 1] > LIES * planes.norm(dim=-1)
    if lies.float().mean() < LEAST:
        return None
    rows = (ray[lies] / near[lies][:, None]).double()  # in float32 sums hang on where in memory they begin
    plane = planes[lies].median(0).values.double()
    for _ in range(ROUNDS):
        weighted = rows / (1 + ((rows @ plane - 1) / CLOSE).square()).square()[:, None]
        plane = torch.linalg.solve(weighted.T @ rows, weighted.sum(0))
    plane = plane.float()
    return plane if (((ray @ plane) / near - 1).abs() < CLOSE).float().mean() > LEAST else None


def without(near: Tensor, floor: Tensor) -> Tensor:
    """1 / metres near [F,H,W], but 0 where it is that of a floor [F,H,W]."""
    return near.masked_fill((floor - near).abs() < FLAT * near, 0)


def plane_near(plane: Tensor, focal: Tensor, size: tuple[int, int]) -> Tensor:
    """1 / metres [F,H,W] of planes [F,3], or of one [3], as cameras of focal lengths [F] in pixels see them in pictures of a
    width and height."""
    ray = pixel_rays(*size, focal)
    return (ray * plane.view(-1, 1, 1, 3)).sum(-1)
