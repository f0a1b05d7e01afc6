"""How balls come to where an end picture shows them: of the speeds that words and noise allow, or near those that were seen,
the ones that lead there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .layers import HIDDEN

if TYPE_CHECKING:
    from torch import Tensor

    from .perception import Look
    from .camera_views import Views

DRAWS, TRIES = 64, 32  # speeds that are tried first, and in each round behind that
ROUNDS = (
    0.04,
    0.01,
    0.003,
)  # deviations of speeds around the best so far, in UNITS a frame (.64 pixels in a picture 128 high, ...)
SEEN = 0.01  # the largest of them where speeds were seen
CLOSE = 1.5  # radii from where the end picture shows a ball, within which it has come there
LOST = 6.0  # radii that a ball costs which only one of end picture and future shows
COLOURS = 8.0  # radii that a colour costs which is another one through and through
MOVED = 0.01  # mean change of a sixteenth of a picture, each way, from which on something else is there
STANDS = 0.75  # share of them in which nothing is, where the camera stands: of moving ones 19 in 20 change more


class Ends(NamedTuple):
    """Where balls are at the end [M, .]: their places and radii in UNITS, and their colours; and what else is seen there."""

    place: Tensor
    radius: Tensor
    colour: Tensor
    ground: Tensor  # see Seen


def rests(first: Tensor, last: Tensor) -> bool:
    """Whether two pictures [H,W,3] are of one place from one camera."""
    from torch.nn import functional as F

    change = F.adaptive_avg_pool2d((first - last).abs().mean(-1)[None, None], 16)
    return bool((change < MOVED).float().mean() > STANDS)


def ends_of(picture: Tensor, look: Look) -> Ends:
    """What balls an end picture [H,W,3] shows, at a look."""
    balls = look.start.balls
    there = balls.radius[0, :, 0] > 0
    place, radius = balls.place[0, there], balls.radius[0, there]
    return Ends(place, radius, colours(picture, place, radius, look.seen.scale), look.seen.ground)


def colours(picture: Tensor, place: Tensor, radius: Tensor, scale: Tensor) -> Tensor:
    """The mean colours [N,3] of the middles of balls in a picture [H,W,3]."""
    import torch
    from torch.nn import functional as F

    half = torch.tensor([picture.shape[1], picture.shape[0]]) / 2
    row = torch.linspace(-0.5, 0.5, 5)
    spots = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).flatten(0, 1)  # in radii
    at = (place[:, None] + radius[:, None] * spots) * scale / half
    found = F.grid_sample(picture.permute(2, 0, 1)[None], at[None], padding_mode="border", align_corners=False)
    return found[0].mean(-1).T


class Misses(NamedTuple):
    """How far from their ends balls of futures [K] are, in radii."""

    total: Tensor  # [K]
    apart: Tensor  # [K, N, M] from every end
    end: Tensor  # [K, N] number of a ball's end, -1 where it has none
    way: Tensor  # [K, N, 2] from a ball to its end in UNITS, 0 where it has none
    unmet: Tensor  # [K] balls that only one of future and end picture shows


class Way:
    """The way of the object dynamics' Balls from a first picture, Seen, through so many frames to an end picture."""

    def __init__(
        self, dynamics: Any, seen: Any, frames: int, first: Tensor, balls: Any, far: Tensor, ends: Ends, views: Views
    ):  # fmt: skip
        """first: picture [H,W,3] that shows balls [1,N] so many metres far [N,1]; views: of the cameras from it to the end."""
        import torch

        self.dynamics, self.seen, self.frames, self.far, self.ends, self.views = (
            dynamics,
            seen,
            frames,
            far,
            ends,
            views,
        )
        self.half = torch.tensor([first.shape[1], first.shape[0]]) / 2 / seen.scale  # UNITS
        mine = colours(first, balls.place[0], balls.radius[0], seen.scale)
        self.differ = COLOURS * (mine[:, None] - ends.colour).norm(dim=-1)  # [N, M] radii

    def last(self, balls: Any) -> Any:
        """Balls [K,N] so many frames later."""
        around = self.seen.around.expand(len(balls.place), -1, -1, -1)
        for _ in range(self.frames):
            balls = self.dynamics.move(balls, around)
        return balls

    def misses(self, begun: Any) -> Misses:
        """How balls that begin so [K,N] come to their ends: pairs are made from the closest on."""
        import torch
        from torch.nn import functional as F

        (place, _, _, radius, _), ends, (count, balls) = self.last(begun), self.ends, begun.place.shape[:2]
        here, away, size = self._at_the_end(place, self.far * begun.radius / radius.clamp_min(1e-3), radius)
        inside = ((here.abs() < self.half + size) & (away > 0)).all(-1)
        ground = (self.seen if self.views.camera is None else ends).ground[None].expand(count, -1, -1, -1)
        near = F.grid_sample(ground, (here / self.half)[:, None], padding_mode="border", align_corners=False)[:, 0, 0]
        shown = inside & (near * away[..., 0] < HIDDEN)
        off = ends.place - here[:, :, None]  # [K, N, M, 2]
        apart = off.norm(dim=-1) / ends.radius[:, 0] + self.differ
        apart = torch.where(shown[..., None], apart, torch.inf)
        free, future, total, way = apart.clone(), torch.arange(count), torch.zeros(count), torch.zeros_like(place)
        unmet, to = shown.sum(1) + len(ends.place), torch.full((count, balls), -1)
        for _ in range(min(balls, len(ends.place))):
            best, pair = free.flatten(1).min(1)
            met = best < LOST
            k, ball, end = (x[met] for x in (future, pair // len(ends.place), pair % len(ends.place)))
            aim = self._back(ends.place[end], away[k, ball])
            way[k, ball], to[k, ball], total[k], unmet[k] = (
                aim - place[k, ball],
                end,
                total[k] + best[met],
                unmet[k] - 2,
            )
            free[k, ball] = torch.inf
            free[k, :, end] = torch.inf
        return Misses(total + LOST * unmet, apart, to, way, unmet)

    def _at_the_end(self, place: Tensor, far: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places [K,N,2] and radii [K,N,1] in UNITS and metres [K,N,1] of the first camera as that of the end has them."""
        views, scale = self.views, self.seen.scale
        at, away = views.seen((place * scale + views.centre).flatten(0, 1), far.flatten(0, 1), self.frames)
        away = away.view_as(far)
        size = radius * far / away.clamp_min(0.1) * views.zoom(self.frames)
        return (at.view_as(place) - views.centre) / scale, away, size

    def _back(self, place: Tensor, away: Tensor) -> Tensor:
        """Places [n,2] in UNITS of what the camera of the end sees so many metres [n,1] away, in the first."""
        at = place * self.seen.scale + self.views.centre
        return (self.views.back(at, away, self.frames) - self.views.centre) / self.seen.scale


def arriving(way: Way, balls: Any, drawn: Tensor | None, noise: Tensor) -> tuple[Any, Tensor] | None:
    """Balls [1,N] with speeds that lead to their ends, and what is then still missing of it [N,2] in UNITS; None where none do.

    drawn: speeds [K,N,2] that they may have, or None where those of `balls` were seen; noise: the clip's.
    """
    import torch

    count = balls.place.shape[1]
    if not count:
        return None if len(way.ends.place) else (balls, torch.zeros(0, 2))
    seen = drawn is None
    tried = balls if seen else way.dynamics.aimed(_many(balls, len(drawn)), drawn)
    for i, spread in enumerate((r for r in ROUNDS if not seen or r <= SEEN), start=1):
        best = _best(tried, way.misses(tried))
        turn = spread * chances(noise, TRIES, count, 2, skip=i * TRIES * count)
        around = _many(best, TRIES)
        speed = around.speed + torch.nn.functional.pad(turn, (0, 1))
        tried = around._replace(speed=torch.cat((best.speed, speed[len(best.speed) :])))
    tried = _best(tried, way.misses(tried))
    misses = way.misses(tried)
    k = int(misses.total.argmin())
    found, missing = tried._make(x[k : k + 1] for x in tried), misses.way[k]
    if misses.unmet[k] or bool((missing.norm(dim=-1) > CLOSE * found.radius[0, :, 0]).any()):
        return None
    return found, missing


def chances(noise: Tensor, *shape: int, skip: int = 0) -> Tensor:
    """So many of a clip's noise [1,C,T',h,w], on the CPU, behind some; of the smallest videos', again from the first on."""
    import math

    import torch

    every = noise[0].flatten()
    at = (torch.arange(math.prod(shape), device=every.device) + skip) % len(every)
    return every[at].view(shape).float().cpu()


def _many(balls: Any, count: int) -> Any:
    """Balls [count,N] of the first of some."""
    return balls._make(x[:1].expand(count, *x.shape[1:]) for x in balls)


def _best(tried: Any, misses: Misses) -> Any:
    """Of balls [K,N] two futures [2,N]: in one each ball comes as near as in any to the end that it has in the nearest, which is
    the other. Balls meet rarely, so that the first is mostly as it seems."""
    import torch

    k, which = misses.total.argmin(), torch.arange(tried.place.shape[1])
    to = misses.end[k]
    closest = misses.apart[:, which, to.clamp_min(0)].argmin(0) if misses.apart.shape[2] else k
    each = torch.stack((closest.where(to >= 0, k), k.expand(len(which))))
    return tried._make(x[each, which] for x in tried)
