"""How balls are lit, and the shadows that they cast: where the light comes from, where it is hidden from what a picture shows,
and how dark that is. What the object dynamics tell of the light is a guess, which the shadows in the picture make exact.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Callable

from ..geometry.camera import pixel_rays
from ..geometry.pixels import pixel_grid
from .camera_views import balls_of

if TYPE_CHECKING:
    from torch import Tensor

SOFT = 0.7  # pixels over which a shadow's edge fades, to each side
TURNS = (0.3, 0.1)  # radians by which the light is looked for to each side, the second time around what was found
TRIES = 7  # in each of two directions
BESIDE = 3  # pixels around a shadow with which it is compared, of a picture half as large
DARKER = 0.3  # logarithm of brightness by which a shadow must be darker than that
LEAST = 6  # pixels of a picture half as large that a shadow must have
BELOW = 0.5  # how much less of all other light comes from a floor than from above, as a share
USUAL = 0.3  # of that, for a radian away from the guess


class Sunlight:
    """What a camera sees at 1 / metres near [H,W] along its optical axis, and even [H,W] where that is noisy at edges, in the
    light that comes from a way [3], which is so many times as strong as its length says as all other light is (OpenCV axes;
    focal length in pixels)."""

    def __init__(self, near: Tensor, even: Tensor, light: Tensor, focal: Tensor):
        ray = pixel_rays(near.shape[1], near.shape[0], focal)
        self.way, self.points = light / light.norm().clamp_min(1e-6), ray / near[..., None]
        self.soft = SOFT / near / focal  # metres
        normals = _normals(even, ray, focal)
        self.lit = brightness(lambda way: normals @ way, light, None)  # [H,W] times as bright as in a shadow

    def hidden(self, centres: Tensor, radii: Tensor, way: Tensor | None = None) -> Tensor:
        """How far balls [F,N] (centres [F,N,3], radii [F,N], metres; 0: none) hide the light, or what comes from other ways
        [F,3], from each pixel: [F,H,W], 0..1."""
        import torch

        dark = torch.zeros(len(centres), *self.soft.shape)
        for centre, radius in zip(centres.unbind(1), radii[..., None].unbind(1)):
            box = box_of(self._near_shadows(centre, radius.max(), way))
            each = self.way.expand(len(centre), 3) if way is None else way
            points, soft = self.points[box].flatten(0, 1), self.soft[box].flatten()
            ahead = (centre * each).sum(-1, keepdim=True) - each @ points.T
            off = torch.addmm(points.square().sum(-1), centre, points.T, alpha=-2)
            off = off.add_(centre.square().sum(-1, keepdim=True)).addcmul_(ahead, ahead, value=-1).clamp_(min=0).sqrt_()
            off = off.sub_(radius.masked_fill(radius <= 0, -torch.inf))  # metres outside of a shadow
            share = off.mul_(-0.5 / soft).add_(0.5).clamp_(0, 1).masked_fill_(ahead <= 0, 0)
            part = dark[:, box[0], box[1]]
            torch.maximum(part, share.unflatten(1, part.shape[1:]), out=part)
        return dark

    def _near_shadows(self, centre: Tensor, radius: Tensor, way: Tensor | None) -> Tensor:
        """Where a ball may hide the light, or what comes from ways [F,3], while it is at centres [F,3]: [H,W], and perhaps
        elsewhere."""
        mean, aside = self.way, 0.0
        across, at, along = self._along_way if way is None else self._along(mean := way.mean(0))
        if way is not None:
            middle = centre.mean(0)
            spread, wander = (way - mean).norm(dim=-1).max(), (centre - middle).norm(dim=-1).max()
            aside = (
                (self.points - middle).norm(dim=-1) + wander
            ) * spread  # how far a way's shadow is from the mean's, at most
        reach, there = (radius + self.soft + aside)[..., None], centre @ across.T
        within = (at > there.amin(0) - reach) & (at < there.amax(0) + reach)
        return within.all(-1) & (along < (centre @ mean).max() + aside)

    @cached_property
    def _along_way(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._along(self.way)

    def _along(self, way: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two directions [2,3] across a way, and where points are along these [H,W,2] and the way [H,W]."""
        across = _across(way)
        return across, self.points @ across.T, self.points @ way

    def shade(self, video: Tensor, dark: Tensor) -> None:
        """Put shadows into a video [F,H,W,3] without them, where so much of the light is hidden [F,H,W]."""
        box = box_of(dark.amax(0) > 0)
        video[:, box[0], box[1]] *= self._left(dark, box)

    def cleared(self, picture: Tensor, dark: Tensor) -> Tensor:
        """A picture [H,W,3] with such shadows [H,W], without them."""
        return (picture / self._left(dark)).clamp_max(1)

    def _left(self, dark: Tensor, box: tuple[slice, slice] = (slice(None),) * 2) -> Tensor:
        """The share [...,h,w,1] of its brightness that a pixel of a box keeps."""
        lit = self.lit[box]
        return (1 - dark[..., box[0], box[1]] * ((lit - 1) / lit))[..., None]


def light_of(picture: Tensor, near: Tensor, guess: Tensor, focal: Tensor, track: Tensor) -> Tensor | None:
    """The light [3] whose shadows of balls at track [N,4] are darkest in a picture [H,W,3], see Sunlight; None where it shows
    no shadows. near [H,W], focal: of the picture."""
    import torch
    from torch.nn import functional as F

    half = lambda x: F.avg_pool2d(x[None, None], 2)[0, 0]  # noqa: E731
    near, bright = half(near), half(picture.mean(-1)).clamp_min(0.02).log()
    height, width = near.shape
    track = torch.cat((track[:, :3] / 2, track[:, 3:]), -1)
    away = (pixel_grid(width, height) - track[:, None, None, :2]).norm(dim=-1)
    free = (away > track[:, 2, None, None] + 1).all(0)  # no ball is there
    centres, radii = balls_of(track, torch.tensor([width / 2, height / 2]), focal / 2)
    sun, first = Sunlight(near, near, guess, focal / 2), guess / guess.norm().clamp_min(1e-6)
    way, best = first, -torch.inf
    for turn in TURNS:
        across = _across(way)
        step = torch.linspace(-turn, turn, TRIES)
        ways = (way + step[:, None, None] * across[0] + step[:, None] * across[1]).flatten(0, 1)
        ways = ways / ways.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        dark = sun.hidden(centres.expand(len(ways), -1, -1), radii.expand(len(ways), -1), ways)
        box = box_of(dark.amax(0) > 0, BESIDE)
        dark, clear, light = dark[:, box[0], box[1]], free[box], bright[box].flatten()
        inside, beside = (dark * clear).flatten(1), ((grown(dark, BESIDE) - dark) * clear).flatten(1)
        mean = lambda share: (share @ light) / share.sum(1).clamp_min(1e-3)  # noqa: E731
        darker = torch.where(inside.sum(1) > LEAST, mean(beside) - mean(inside), -torch.inf)
        value, which = (darker - USUAL * (ways - first).square().sum(-1)).max(0)
        way, best = ways[which], darker[which]
    return way * guess.norm() if best > DARKER else None


def brightness(facing: Callable[[Tensor], Tensor], light: Tensor, floor: Tensor | None) -> Tensor:
    """How bright something is, against what faces up and lies in a shadow, in a light [3] (see Sunlight) above a floor's plane
    [3]; facing: its unit normals' products with a way [3]."""
    sky = 1.0 if floor is None else 1 - BELOW / 2 * (1 + facing(floor / floor.norm()))
    return sky + facing(light).clamp_min(0)


def grown(x: Tensor, by: int) -> Tensor:
    """The largest of what is up to so many pixels away, each way, in maps [N,H,W]."""
    from torch.nn import functional as F

    rows = F.max_pool2d(x[:, None], (2 * by + 1, 1), 1, (by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), 1, (0, by))[:, 0]


def box_of(there: Tensor, beyond: int = 0) -> tuple[slice, slice]:
    """The rows and columns of [H,W] that hold all that is there, and so many beyond; one pixel where nothing is."""
    sides = []
    for size, lines in zip(there.shape, (there.any(1), there.any(0))):
        at = lines.nonzero()
        first, last = (int(at[0]), int(at[-1])) if len(at) else (0, 0)
        sides.append(slice(max(0, first - beyond), min(size, last + 1 + beyond)))
    return sides[0], sides[1]


def _across(way: Tensor) -> Tensor:
    """Two directions [2,3] at right angles to a way [3] and to each other."""
    import torch

    one = torch.linalg.cross(way, torch.tensor([0.0, 0.0, 1.0]))
    one = one / one.norm().clamp_min(1e-6)
    return torch.stack((one, torch.linalg.cross(way, one)))


def planes_of(near: Tensor, ray: Tensor, focal: Tensor) -> Tensor:
    """The plane [H,W,3] of each pixel of 1 / metres near [H,W], seen along rays [H,W,3]: the product with its points is 1, and
    1 / metres its product with the rays, which is linear in the picture (focal length in pixels)."""
    import torch

    down, right = torch.gradient(near * focal)
    return torch.stack((right, down, near - right * ray[..., 0] - down * ray[..., 1]), -1)


def _normals(near: Tensor, ray: Tensor, focal: Tensor) -> Tensor:
    """Unit normals [H,W,3] towards the camera."""
    plane = planes_of(near, ray, focal)
    return -plane / plane.norm(dim=-1, keepdim=True).clamp_min(1e-6)
