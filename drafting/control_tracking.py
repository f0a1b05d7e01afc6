"""Where depth and optical flow say that balls go: each follows what is told of the place where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..control.camera_motion import still_scene_flow
from ..geometry.pose import fit_scale
from .layers import HIDDEN

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.depth import DepthMaps
    from ..control.flow import FlowField
    from .camera_views import Views

SPOTS = 0.5  # radii around a ball's centre over which its flow is averaged
FRONT = 0.89  # radii by which they are nearer than it, on the whole
MOVES, WHOLLY = (
    0.5,
    0.99,
)  # pixels a frame from which what is told to move does; share of what is around a place that must
BESIDE = 2.5, 4.0  # radii, and pixels more, around a ball that are told to move with it
STANDS_OUT = 0.02  # inverse depth (0..1) by which a ball is nearer than what was ever seen behind it
NEARER = 0.05  # share by which it is nearer than the ground, where a camera moves
MOST_OUT = 0.25  # share of a picture from which on it is the ground that moves
SEARCH = (0.25, 1.5, 4.0)  # pixels between places at which a silhouette is looked for, four each way: last the widest
FITS = 0.35  # share of its disc that must be there, less what is not
SHOWS = (
    0.5,
    0.9,
)  # share of a disc that nothing hides from which on a silhouette tells where it is, and surely so: else a
# ball that comes to a box is sent off by what is left of it
FARTHER = 0.005  # of that share, for a pixel's distance
STEADY = (
    0.8  # how much less a silhouette counts where flow tells a ball: read to a quarter of a pixel, it would shake it
)


class Discs(NamedTuple):
    """Balls as a camera sees them, in pixels and metres."""

    place: Tensor  # [N,2]
    radius: Tensor  # [N,1]
    depth: Tensor  # [N,1]


class Steering:
    """flow, depth: fitted to the video, or None; near [h,w]: 1 / metres of what is no ball in the last known picture, number
    `last`."""

    def __init__(
        self, flow: FlowField | None, depth: DepthMaps | None, near: Tensor, views: Views, last: int, size: tuple[int, int]
    ):  # fmt: skip
        self.flow, self.views, self.last, self.size = flow, views, last, size
        self.nears = views.nears(
            near
        )  # [frames behind the last known one, h, w], or one for all where the camera rests
        self.whole = flow is not None and bool(flow.valid.min() > 0.5)  # else it is drawn: of the ball as one sees it
        self.moves = None if flow is None else flow.flow.norm(dim=-1) > MOVES  # [T-1,H,W]
        self.rested = False  # [N,1] whether balls were told to, in the frame before
        self.silhouettes = None  # [frames behind the last known one, H, W] what is no ground
        if depth is not None:
            self.silhouettes = self._nearer(depth.inverse)
        elif self.whole:
            self.silhouettes = self._moving(flow.flow)

    def _nearer(self, told: Tensor) -> Tensor:
        """What is nearer in maps [T,H,W] than the ground."""
        from torch.nn import functional as F

        later = told[self.last + 1 :]
        if self.views.camera is None:
            return (later > told.amin(0) + STANDS_OUT).float()
        every = F.interpolate(self.nears[:, None], size=told.shape[1:], mode="bilinear")[:, 0]
        a, b = fit_scale(told[self.last].flatten(), every[0].flatten())
        ground = F.max_pool2d(every[1:], 5, 1, 2)  # an edge a little aside is no ball
        return ((later - b) / a > ground * (1 + NEARER)).float()

    def _moving(self, flow: Tensor) -> Tensor:
        """What a flow [T-1,H,W,2] moves otherwise than the camera does."""
        flow = flow[self.last :]
        if self.views.camera is not None:
            flow = flow - still_scene_flow(self.views.camera, 1 / self.nears).resized(*self.size).flow
        return (flow[1:].norm(dim=-1) > MOVES).float()

    def step(self, frame: int, before: Tensor, after: Tensor, radius: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Places `after` [N,2] in a frame, told where balls were in the one before; and how far they are told, 0..1 [N,1].

        All in the camera of the last known picture, in pixels; radius, depth [N,1].
        """
        told, since = after.new_zeros(len(after), 1), frame - 1 - self.last
        if self.flow is not None:
            after, told = self._follow(since, before, after, radius, depth)
            self.rested = (told > 0) & ((after - before).norm(dim=-1, keepdim=True) < 3 * MOVES)
        if self.silhouettes is not None and since < len(self.silhouettes):
            now, z = self.views.seen(after, depth, since + 1)
            size = radius * depth / z * self.views.zoom(since + 1)
            then = self.views.seen(before, depth, since + 1)[0]
            found, sure = self._fit(self.silhouettes[since][None], self._near(since + 1), Discs(now, size, z), then)
            after, told = self.views.back(now.lerp(found, sure * (1 - STEADY * told)), z, since + 1), told.maximum(sure)
        return after, told

    def _near(self, since: int) -> Tensor:
        return self.nears[since if len(self.nears) > 1 else 0]

    def _look(self, maps: Tensor, at: Tensor) -> Tensor:
        """Maps [C,h,w] of the whole picture at places [...,2] in pixels: [...,C]; 0 outside."""
        import torch

        flat = (2 * at / torch.tensor(self.size) - 1).view(1, 1, -1, 2)
        found = torch.nn.functional.grid_sample(maps[None], flat, align_corners=False)
        return found[0, :, 0].T.view(*at.shape[:-1], -1)

    def _hidden(self, near: Tensor, at: Tensor, balls: Discs) -> Tensor:
        """Which of places at [N,...,2] of each ball the ground, near, or another one hides."""
        place, radius, depth = balls
        rows = (-1, *[1] * (at.ndim - 2))
        ground = self._look(near[None], at)[..., 0] * depth.view(rows) > HIDDEN
        nearer = depth.T + radius.T * depth.T / self.views.focal[0] < depth  # [N, others]: wholly
        covers = (at[..., None, :] - place).norm(dim=-1) < radius[:, 0]
        return ground | (covers & nearer.view(*rows, len(place))).any(-1)

    def _follow(
        self, since: int, before: Tensor, after: Tensor, radius: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        import torch

        frame = self.last + 1 + since
        (then, far), (now, z) = (self.views.seen(p, depth, since + i) for i, p in enumerate((before, after)))
        spots = torch.tensor([(0.0, 0.0), (SPOTS, 0.0), (-SPOTS, 0.0), (0.0, SPOTS), (0.0, -SPOTS)])
        at = then[:, None] + spots * radius[:, None]
        share = self._look(self.flow.valid[frame - 1][None], at)  # [N,5,1]
        share = share * ~self._hidden(self._near(since), at, Discs(then, radius, far))[..., None]
        flow = self._look(self.flow.flow[frame - 1].permute(2, 0, 1), at)
        # What rests where a ball moves is what hides it, and at its edge the flow is neither's.
        moves = share * (self._look(self.moves[frame - 1][None].float(), at) > WHOLLY)
        rests = ((after - before).norm(dim=-1, keepdim=True) < 2 * MOVES) | self.rested
        share = torch.where((moves.sum(1, keepdim=True) > 0) | ~rests[:, None], moves, share)
        way = (flow * share).sum(1) / share.sum(1).clamp_min(1e-3)
        if self.whole:  # it is of a ball's front, which is nearer than its centre and moves farther in the picture
            front = 1 - FRONT * radius * depth / (self.views.focal[0] * far.clamp_min(0.1))
            horizon = torch.full_like(z, 1e4)  # moves as the camera turns, at any distance
            turned = self.views.seen(self.views.back(then, horizon, since), horizon, since + 1)[0] - then
            way = front * way + (1 - front) * turned
        told = (share.sum(1) / 2).clamp_max(1)
        return self.views.back(now.lerp(then + way, told), z, since + 1), told

    def _fit(self, mask: Tensor, near: Tensor, balls: Discs, then: Tensor) -> tuple[Tensor, Tensor]:
        """The places near by, or near where they were then [N,2], where balls lie best on a silhouette [1,H,W], and how surely
        one does [N,1]."""
        import torch

        place, radius, _ = balls
        steps = torch.stack(torch.meshgrid(*[torch.arange(-4.0, 5.0)] * 2, indexing="xy"), -1).flatten(0, 1)
        row = torch.linspace(-1, 1, 13)
        disc = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).flatten(0, 1) * 1.3  # in radii, with a rim
        within = disc.norm(dim=-1) < 1
        inside = torch.where(within, 1.0, -0.5)

        def best(around: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor]:
            centres = around[:, None] + steps * width  # [N,81,2]
            at = centres[:, :, None] + disc * radius[:, None, None]
            there = self._look(mask, at)[..., 0]
            shows = ~self._hidden(near, at, balls)
            worth = inside * shows * torch.where(within, 2 * there - 1, there)
            score = worth.sum(-1) / within.sum() - FARTHER * (centres - place[:, None]).norm(dim=-1)
            score, which = score.max(1, keepdim=True)
            seen = (shows & within).sum(-1).gather(1, which) / within.sum()
            return centres.gather(1, which[..., None].expand(-1, -1, 2))[:, 0], score, seen

        found, score, _ = best(place, SEARCH[1])
        for around in (place, then):
            if (score > FITS).all():
                break
            far, other, _ = best(around, SEARCH[2])
            better = (score <= FITS) & (other >= FITS)
            found, score = torch.where(better, far, found), torch.where(better, other, score)
        found, _, seen = best(found, SEARCH[0])
        sure = ((seen - SHOWS[0]) / (SHOWS[1] - SHOWS[0])).clamp(0, 1)
        return found, (score > FITS) * sure

    def only_balls_move(self, tracks: Tensor) -> bool:
        """Whether what is told to move is balls that go along tracks [T,N,4], or is near them."""
        import torch

        if self.silhouettes is not None and self.silhouettes.mean() > MOST_OUT:
            return False
        if self.flow is None or self.views.camera is not None:
            return True
        width, height = self.size
        moves = (self.moves & (self.flow.valid > 0.5))[self.last :]
        v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        x, y, radius, _ = tracks[self.last : -1, :, :, None, None].unbind(2)
        near = ((u - x).square() + (v - y).square()).sqrt() < BESIDE[0] * radius + BESIDE[1]
        return bool((moves & near.any(1)).sum() >= 0.5 * moves.sum())
