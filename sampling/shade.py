"""The shadows that balls cast: where the light comes from, where it is hidden from what a picture shows, and how dark that
is. What the object dynamics tell of the light is a guess, which the shadows in the picture make exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..control.flow import grid
from ..control.reproject import directions
from .views import balls_of

if TYPE_CHECKING:
    from torch import Tensor

SOFT = 0.7  # pixels over which a shadow's edge fades, to each side
TURNS = (0.3, 0.1)  # radians by which the light is looked for to each side, the second time around what was found
TRIES = 7  # in each of two directions
BESIDE = 3  # pixels around a shadow with which it is compared, of a picture half as large
DARKER = 0.3  # logarithm of brightness by which a shadow must be darker than that
LEAST = 6  # pixels of a picture half as large that a shadow must have
USUAL = 0.3  # of that, for a radian away from the guess


class Sunlight:
    """What a camera sees at 1 / metres near [H,W] along its optical axis, and even [H,W] where that is noisy at edges, in the
    light that comes from a way [3], which is so many times as strong as its length says as all other light is (OpenCV axes;
    focal length in pixels)."""

    def __init__(self, near: Tensor, even: Tensor, light: Tensor, focal: Tensor):
        ray = directions(near.shape[1], near.shape[0], focal[None])[0]
        self.way, self.points = light / light.norm().clamp_min(1e-6), ray / near[..., None]
        self.soft = SOFT / near / focal  # metres
        self.lit = 1 + (_normals(even, ray, focal) @ light).clamp_min(0)  # [H,W] times as bright as in a shadow

    def hidden(self, centres: Tensor, radii: Tensor, way: Tensor | None = None) -> Tensor:
        """How far balls [F,N] (centres [F,N,3], radii [F,N], metres; 0: none) hide the light, or what comes from other ways
        [F,3], from each pixel: [F,H,W], 0..1."""
        import torch

        way = self.way.expand(len(centres), 3) if way is None else way
        points = self.points.flatten(0, 1)
        square, along, soft = points.square().sum(-1), way @ points.T, self.soft.flatten()
        dark = torch.zeros(len(centres), len(points))
        for centre, radius in zip(centres.unbind(1), radii[..., None].unbind(1)):
            ahead = (centre * way).sum(-1, keepdim=True) - along
            away = centre.square().sum(-1, keepdim=True) + square - 2 * centre @ points.T - ahead.square()
            share = ((radius - away.clamp_min(0).sqrt()) / soft / 2 + 0.5).clamp(0, 1)
            dark = dark.maximum(share * (ahead > 0) * (radius > 0))
        return dark.unflatten(1, self.soft.shape)

    def shaded(self, picture: Tensor, dark: Tensor) -> Tensor:
        """A picture [...,H,W,3] without shadows, where so much of the light is hidden [...,H,W]."""
        return picture * self._left(dark)

    def cleared(self, picture: Tensor, dark: Tensor) -> Tensor:
        """A picture [...,H,W,3] with such shadows [...,H,W], without them."""
        return (picture / self._left(dark)).clamp_max(1)

    def _left(self, dark: Tensor) -> Tensor:
        """The share [...,H,W,1] of its brightness that a pixel keeps."""
        return ((1 + (1 - dark) * (self.lit - 1)) / self.lit)[..., None]


def light_of(picture: Tensor, near: Tensor, guess: Tensor, focal: Tensor, track: Tensor) -> Tensor | None:
    """The light [3] whose shadows of balls at track [N,4] are darkest in a picture [H,W,3], see Sunlight; None where it shows
    no shadows. near [H,W], focal: of the picture."""
    import torch
    from torch.nn import functional as F

    half = lambda x: F.avg_pool2d(x[None, None], 2)[0, 0]  # noqa: E731
    near, bright = half(near), half(picture.mean(-1)).clamp_min(0.02).log().flatten()
    height, width = near.shape
    track = torch.cat((track[:, :3] / 2, track[:, 3:]), -1)
    away = (grid(width, height) - track[:, None, None, :2]).norm(dim=-1)
    free = (away > track[:, 2, None, None] + 1).all(0)  # no ball is there
    centres, radii = balls_of(track, torch.tensor([width / 2, height / 2]), focal / 2)
    sun, first = Sunlight(near, near, guess, focal / 2), guess / guess.norm().clamp_min(1e-6)
    way, best = first, -torch.inf
    for turn in TURNS:
        across = torch.linalg.cross(way, torch.tensor([0.0, 0.0, 1.0]))
        across = across / across.norm().clamp_min(1e-6)
        other = torch.linalg.cross(way, across)
        step = torch.linspace(-turn, turn, TRIES)
        ways = (way + step[:, None, None] * across + step[:, None] * other).flatten(0, 1)
        ways = ways / ways.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        dark = sun.hidden(centres.expand(len(ways), -1, -1), radii.expand(len(ways), -1), ways)
        grown = F.max_pool2d(F.max_pool2d(dark[:, None], (2 * BESIDE + 1, 1), 1, (BESIDE, 0)), (1, 2 * BESIDE + 1), 1, (0, BESIDE))
        inside, beside = (dark * free).flatten(1), ((grown[:, 0] - dark) * free).flatten(1)
        mean = lambda share: (share @ bright) / share.sum(1).clamp_min(1e-3)  # noqa: E731
        darker = torch.where(inside.sum(1) > LEAST, mean(beside) - mean(inside), -torch.inf)
        value, which = (darker - USUAL * (ways - first).square().sum(-1)).max(0)
        way, best = ways[which], darker[which]
    return way * guess.norm() if best > DARKER else None


def _normals(near: Tensor, ray: Tensor, focal: Tensor) -> Tensor:
    """Unit normals [H,W,3] towards the camera: of a plane, 1 / metres is linear in the picture."""
    import torch

    down, right = torch.gradient(near * focal)
    into = near - right * ray[..., 0] - down * ray[..., 1]
    normal = -torch.stack((right, down, into), -1)
    return normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-6)
