"""Object dynamics: finds the balls of a video's first frames and foretells where each goes, seen or hidden.

A transformer of few wide tokens sees places roughly, and what follows hangs on speeds to a tenth of a pixel. Here every
ball is an object with a place and a speed of its own, moved on frame by frame by one recurrent network that looks at
the scene around it and at the other balls. Nothing else happening, it flies on as gravity and perspective have it. A draft of the
video that shows the balls there is what the transformer is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ground import Ground, Residual, block

KNOWN = 5  # frames it looks at
CELL = 4  # pixels a side of a cell of the map on which balls are found
PLACES = 8  # a side, at which it is seen whether a picture changes: a ball changes few, a camera that moves most
BLOCKS, RESTING, SAME = 16, 0.7, 6e-5  # a side; where such a share of them changes no more than that, the camera rests
MOST = 8  # balls that are followed
LIKELY, CLEAR = 0.5, 0.95  # probabilities of a ball, and of one in a soft picture; rendered ones have .98 and more
PULLS = (1.0, 1.0, 0.1)  # what pulls, and turns of a speed, are counted in
BEND = (
    2 / 7,
    -1 / 7,
    -2 / 7,
    -1 / 7,
    2 / 7,
)  # of five places: twice what a parabola through them has of the square of time
LEAST_SPREAD = 0.004  # of a speed: .06 pixels a frame in a picture 128 high
UNITS = 8.0  # places, radii and speeds are counted in picture heights divided by this
HEIGHT, NARROWEST = (
    128,
    96,
)  # pixels: pictures are seen as high as most that it was trained on, and no narrower than any


@dataclass(frozen=True)
class DynamicsConfig:
    frame: int = 32  # features of each frame at 1/4 of the size
    fine: int = 64  # of all at 1/4
    coarse: int = 128  # of all at 1/8 and at 1/16
    scene: int = 64  # features of the scene around a ball
    memory: int = 128  # of each ball
    words: int = 92  # of the vocabulary
    modes: int = 6  # of the speeds that a ball in a single picture may have
    ground: tuple[int, int, int] = (48, 96, 128)  # features of what is no ball at 1/4, 1/8 and 1/16


class Balls(NamedTuple):
    """Balls [B, N] of a batch of videos, in UNITS from the picture's centre.

    A ball of place p that moves by speed (u, w) is at (p + u) / (1 + w) in the next frame, and 1 + w times as far.
    """

    place: Tensor  # [B, N, 2]
    speed: Tensor  # [B, N, 3] along the picture and away from the camera, a frame, in a picture at the ball's distance
    pull: Tensor  # [B, N, 3] what gravity adds to that in a frame, in radii
    radius: Tensor  # [B, N, 1]; 0: no ball
    memory: Tensor  # [B, N, memory]


class Seen(NamedTuple):
    """What pictures [B] look like."""

    frames: Tensor  # [B, KNOWN, ., H/4, W/4] features of each, H and W those of frames as framed() has them
    features: Tensor  # [B, ., H/4, W/4] of all
    around: Tensor  # [B, scene, H/8, W/8], what a ball meets on its way
    ball: Tensor  # [B, H/4, W/4] log-odds of a ball's centre in the last one
    camera_moves: Tensor  # [B] log-odds
    whole: Tensor  # [B, .] of the whole scene
    ground: Tensor  # 1 / metres along the optical axis of the last one, of what is no ball: [B, h/4, w/4] of the frames given
    light: Tensor  # [B, 3] see Ground.forward
    scale: Tensor  # [2] pixels of the frames given, across and down, that one of UNITS is


class Start(NamedTuple):
    """What the known frames tell of balls [B, N]."""

    guess: Tensor  # [B, N, KNOWN, 2] where it looked for them
    past: Tensor  # [B, N, KNOWN, 2] places in the known frames, each in its own camera
    depth: Tensor  # [B, N, 1] log metres
    balls: Balls  # in the last of them


def _mlp(a: int, hidden: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, hidden), nn.SiLU(), nn.Linear(hidden, b))


class Speeds(NamedTuple):
    """A mixture of normal distributions for each ball's speed."""

    likely: Tensor  # [B, N, modes] logarithms of their shares
    mean: Tensor  # [B, N, modes, 2]
    spread: Tensor  # [B, N, modes, 2]

    def log_density(self, speed: Tensor) -> Tensor:
        """[B, N] at speeds [B, N, 2]."""
        off = (speed[:, :, None] - self.mean) / self.spread
        each = -0.5 * off.square().sum(-1) - self.spread.log().sum(-1) - math.log(2 * math.pi)
        return (self.likely + each).logsumexp(-1)

    def draw(self, noise: Tensor) -> Tensor:
        """The speeds [B, N, 2] that normal noise [B, N, 3] stands for; or [K, N, 2], so many of one video's, that [K, N, 3] does."""
        below = torch.special.ndtr(noise[..., :1])
        mode = (self.likely.exp().cumsum(-1) < below).sum(-1, keepdim=True).clamp_max(self.likely.shape[-1] - 1)
        rows = mode[..., None].expand(-1, -1, -1, 2)
        mean, spread = (x.expand(len(rows), -1, -1, -1).gather(2, rows)[:, :, 0] for x in (self.mean, self.spread))
        return mean + spread * noise[..., 1:]


class ObjectDynamics(nn.Module):
    known = KNOWN

    def __init__(self, config: DynamicsConfig = DynamicsConfig()):
        super().__init__()
        c = self.config = config
        self.frame = nn.Sequential(
            nn.Conv2d(3 * CELL**2, c.frame, 1),
            nn.SiLU(),
            block(c.frame, c.frame),
            nn.Conv2d(c.frame, c.frame, 3, padding=1),
        )
        self.where = nn.Linear(2, c.fine, bias=False)
        self.quarter = nn.Sequential(nn.SiLU(), nn.Conv2d(KNOWN * c.frame, c.fine, 1), nn.SiLU(), Residual(c.fine))
        self.eighth = nn.Sequential(block(c.fine, c.coarse, 2), Residual(c.coarse))
        self.sixteenth = nn.Sequential(block(c.coarse, c.coarse, 2), Residual(c.coarse), Residual(c.coarse))
        self.around = nn.Conv2d(2 * c.coarse, c.scene, 1)  # what a ball meets on its way
        self.found = nn.Sequential(nn.Conv2d(c.fine + 2 * c.coarse, c.fine, 1), nn.SiLU(), nn.Conv2d(c.fine, 1, 1))
        nn.init.constant_(self.found[2].bias, -4.0)
        self.ground = Ground(3 * CELL**2 + 3, c.ground)
        self.guess = _mlp(c.fine + 3 * c.coarse, 2 * c.memory, 2 * KNOWN + c.memory)
        self.glance = nn.Sequential(nn.Linear(9 * c.frame + c.memory, 128), nn.SiLU(), nn.Linear(128, c.frame + 2))
        self.begin = _mlp(c.memory + KNOWN * (c.frame + 2) + 2, 2 * c.memory, 3 + 3 + 1 + 1 + c.memory)
        self.moves = _mlp(PLACES**2, 64, 1)  # whether the camera moves: log-odds
        self.single = nn.Parameter(torch.zeros(c.memory))  # told of a ball in a single picture
        self.words = nn.Embedding(c.words + 1, 64)
        self.neighbours = nn.Conv1d(64, 64, 5, padding=2)
        self.ask = nn.Linear(c.memory, 64)
        self.speeds = _mlp(c.memory + 128, 128, 5 * c.modes)
        self.meet = _mlp(7, 64, 32)
        self.step = nn.GRUCell(c.scene + 32 + 6, c.memory)
        self.push = _mlp(c.memory + c.scene + 32 + 6, 2 * c.memory, 3 + 2 + 1 + 1)
        nn.init.zeros_(self.push[2].weight)
        nn.init.zeros_(self.push[2].bias)
        self.register_buffer("counted_in", torch.tensor(PULLS), persistent=False)
        self.register_buffer(
            "told_in", torch.tensor((0.25, 0.25, 2.0, 2.0, 20.0, 1.0)), persistent=False
        )  # place, speed, radius
        self.to(memory_format=torch.channels_last)  # a tenth faster

    def look(self, frames: Tensor) -> Seen:
        """At frames [B, KNOWN, H, W, 3] in 0..1, or at one [B, 1, H, W, 3] that stands for all; H and W are multiples of 16.

        What it sees is of the frames as framed() has them, but for the ground.
        """
        size, (frames, share) = frames.shape[2:4], framed(frames)
        b, count, height, width, _ = frames.shape
        rows, columns = height // CELL, width // CELL
        x = frames.reshape(b * count, rows, CELL, columns, CELL, 3).permute(0, 2, 4, 5, 1, 3).flatten(1, 3)
        each = self.frame(x).unflatten(0, (b, count)).expand(-1, KNOWN, -1, -1, -1)
        where = cells(height, width, x.device)
        quarter = self.quarter(each.flatten(1, 2)) + self.where(where).permute(2, 0, 1)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        up = F.interpolate(sixteenth, scale_factor=2.0, mode="bilinear")
        around = self.around(torch.cat((eighth, up), 1))
        wide = torch.cat((quarter, F.interpolate(torch.cat((eighth, up), 1), scale_factor=2.0, mode="bilinear")), 1)
        whole = sixteenth.mean((2, 3))
        changes = F.adaptive_avg_pool2d((each[:, -1] - each[:, 0]).abs().mean(1), PLACES).flatten(1)
        moves = self.moves((changes.float() + 1e-4).log().sort(1).values)[:, 0]
        same = F.adaptive_avg_pool2d((frames[:, -1] - frames[:, 0]).abs().amax(-1)[:, None], BLOCKS).flatten(1)
        moves = moves.masked_fill(same.float().quantile(RESTING, 1) < SAME, -9.0)
        ball = self.found(wide)[:, 0]
        last = x.unflatten(0, (b, count))[:, -1]
        where = where.permute(2, 0, 1).expand(b, -1, -1, -1) / UNITS
        near, light = self.ground(torch.cat((last, where, ball.detach().sigmoid()[:, None]), 1))
        near = middle(near, share, (size[0] // CELL, size[1] // CELL))
        scale = torch.tensor((size[1] / share / width, size[0] / height), device=x.device) * height / UNITS
        return Seen(each, wide, around, ball, moves, whole, near, light, scale)

    @staticmethod
    def find(seen: Seen, clear: bool = False) -> tuple[Tensor, Tensor]:
        """Cells [B, MOST] of the likeliest balls, as start() takes them, and which are any, or clearly are."""
        return peaks(seen.ball, CLEAR if clear else LIKELY)

    def start(self, seen: Seen, at: Tensor, there: Tensor, single: bool = False) -> Start:
        """Balls at cells at [B, N] (row * columns + column of the map of balls), there [B, N]: which are any.

        single: there is but one picture, which stands for all frames and tells no speed.
        """
        height, width = (CELL * n for n in seen.ball.shape[1:])
        features = seen.features.flatten(2)
        rows = features.gather(2, at[:, None].expand(-1, features.shape[1], -1)).transpose(1, 2)
        told = self.guess(torch.cat((rows, seen.whole[:, None].expand(-1, at.shape[1], -1)), -1))
        guess, memory = told.split((2 * KNOWN, self.config.memory), -1)
        centre = cells(height, width, at.device).flatten(0, 1)[at]  # [B, N, 2]
        guess = guess.unflatten(-1, (KNOWN, 2)) + centre[:, :, None]
        looks, off = self._glances(seen.frames, guess.detach(), memory)
        past = guess.detach() + off
        way = past - past[:, :, -1:]
        bend = torch.einsum("k,bnkc->bnc", past.new_tensor(BEND), past)  # its speed's change a frame
        memory = memory + self.single if single else memory
        told = self.begin(torch.cat((memory, looks.flatten(2), 2 * way.flatten(2), 4 * bend), -1))
        moved, away, pull, radius, depth, memory = told.split((2, 1, 3, 1, 1, self.config.memory), -1)
        steady = (past[:, :, -1] - past[:, :, 0]) / (KNOWN - 1)
        radius = F.softplus(radius) * there[..., None]
        speed = _towards(past[:, :, -1], steady + moved, 0.1 * away)
        return Start(
            guess, past, depth + 1.9, Balls(past[:, :, -1], speed, pull * self.counted_in, radius, memory.tanh())
        )

    def _glances(self, frames: Tensor, guess: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What each frame shows near guessed places [B, N, KNOWN, 2], [B, N, KNOWN, frame], and how far off they are."""
        height, width = frames.shape[3:]
        step = torch.tensor([-1.0, 0.0, 1.0], device=guess.device) * UNITS / height
        spots = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1).flatten(0, 1)  # [9, 2]
        scale = 2 / UNITS * torch.tensor((height / width, 1.0), device=guess.device)
        at = (guess.transpose(1, 2).flatten(0, 1)[:, :, None] + spots) * scale  # [B*KNOWN, N, 9, 2]
        found = F.grid_sample(
            frames.flatten(0, 1), at, padding_mode="border", align_corners=False
        )  # [B*KNOWN, ., N, 9]
        found = (
            found.permute(0, 2, 3, 1).flatten(2).unflatten(0, (len(guess), KNOWN)).transpose(1, 2)
        )  # [B, N, KNOWN, 9 .]
        told = self.glance(torch.cat((found, memory[:, :, None].expand(-1, -1, KNOWN, -1)), -1))
        return told[..., 2:], told[..., :2]

    @staticmethod
    def aimed(balls: Balls, moved: Tensor) -> Balls:
        """Balls that move so far [..., 2] along the picture in a frame, and as much away as before."""
        return balls._replace(speed=_towards(balls.place, moved, balls.speed[..., 2:]))

    def move(self, balls: Balls, around: Tensor) -> Balls:
        """The balls one frame later."""
        place, speed, pull, radius, memory = balls
        h, w = around.shape[2:]
        at = ahead_of(balls) * torch.tensor(
            (2 * h / w / UNITS, 2 / UNITS), device=place.device
        )  # -1..1 over the picture
        local = F.grid_sample(around, at[:, :, None], padding_mode="border", align_corners=False)
        local = local[..., 0].transpose(1, 2)
        told = torch.cat((local, self._met(balls), torch.cat((place, speed, radius), -1) * self.told_in), -1)
        memory = self.step(told.flatten(0, 1), memory.flatten(0, 1)).unflatten(0, memory.shape[:2])
        turn, slide, touched, flies = self.push(torch.cat((memory, told), -1)).split((3, 2, 1, 1), -1)
        speed = torch.addcmul(speed, touched.sigmoid() * self.counted_in, turn)
        moved, away = speed.split((2, 1), -1)
        farther = (1 + away).clamp_min(0.5)
        place = torch.add(place + moved, slide, alpha=0.1) / farther
        radius = radius / farther
        return Balls(place, torch.addcmul(speed / farther, flies.sigmoid() * radius, pull), pull, radius, memory)

    def _met(self, balls: Balls) -> Tensor:
        """What the others [B, N, .] are to each ball."""
        place, speed, _, radius, _ = balls
        count = place.shape[1]
        if count < 2:
            return place.new_zeros(*place.shape[:2], self.meet[2].out_features)
        both = torch.cat((place, speed[..., :2]), -1)
        both = (
            both[:, None] - both[:, :, None]
        )  # [B, N, N, 4]: how far apart the others are from each, and how fast they close in
        sizes = radius[:, None] + radius[:, :, None]
        gap = both[..., :2].square().sum(-1, keepdim=True).add(1e-6).sqrt() - sizes
        others = (radius > 0)[:, None] & ~torch.eye(count, dtype=torch.bool, device=place.device)[..., None]
        return (self.meet(torch.cat((both, sizes, gap, (-2 * gap.abs()).exp()), -1)) * others).sum(2)

    def imagine(self, start: Start, ids: Tensor) -> Speeds:
        """The speeds that balls in a single picture may have; ids [B, L] of the words that say what happens, -1: none."""
        there = (ids >= 0)[..., None]
        words = self.words(ids.clamp_min(0)) * there
        words = (words + self.neighbours(words.transpose(1, 2)).transpose(1, 2)) * there
        memory = start.balls.memory
        heed = (self.ask(memory) @ words.transpose(1, 2)).masked_fill(~there.transpose(1, 2), -1e4).softmax(-1)
        told = self.speeds(
            torch.cat((memory, heed @ words, words.sum(1, keepdim=True).expand(-1, memory.shape[1], -1)), -1)
        )
        likely, mean, spread = told.unflatten(-1, (self.config.modes, 5)).split((1, 2, 2), -1)
        return Speeds(likely[..., 0].log_softmax(-1), 0.5 * mean, (spread - 3).exp() + LEAST_SPREAD)

    def forward(self, balls: Balls, around: Tensor, frames: int) -> Tensor:
        """Places [B, N, frames, 2] in so many frames behind the known ones."""
        path = []
        for _ in range(frames):
            balls = self.move(balls, around)
            path.append(balls.place)
        return torch.stack(path, 2)


def framed(frames: Tensor) -> tuple[Tensor, float]:
    """Frames [B, K, H, W, 3] in 0..1, H and W multiples of 16, at the size at which they are seen: HEIGHT high, or as much
    higher as makes them NARROWEST wide, and up to a multiple of 16 wider, as their edges are; and the share of that width
    that is theirs.

    A network whose cells are so many pixels wide sees a small picture coarsely and a large one from too near: of 96 rows as
    they stand it sent balls off a wall six pixels aside, and of 256 it followed none.
    """
    height, width = frames.shape[2:4]
    rows = max(HEIGHT, -(-NARROWEST * height // (16 * width)) * 16)
    if height == rows:
        return frames, 1.0
    columns = -(-width * rows // (16 * height)) * 16
    beyond = round((columns * height / rows - width) / 2)
    x = F.pad(frames.flatten(0, 1).permute(0, 3, 1, 2), (beyond, beyond, 0, 0), mode="replicate")
    x = F.interpolate(x, (rows, columns), mode="bicubic", antialias=height > rows).clamp(0, 1)
    return x.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2]), width / (width + 2 * beyond)


def middle(maps: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    """The middle share of the width of maps [B, ., .], as they go on at their edges where it is more than 1: [B, *size]."""
    if share == 1 and maps.shape[1:] == size:
        return maps
    turn = torch.tensor([[share, 0.0, 0.0], [0.0, 1.0, 0.0]], device=maps.device).expand(len(maps), -1, -1)
    grid = F.affine_grid(turn, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def ahead_of(balls: Balls) -> Tensor:
    """Where [..., 2] balls are in the next frame, when nothing happens to them."""
    return (balls.place + balls.speed[..., :2]) / (1 + balls.speed[..., 2:])


def _towards(place: Tensor, moved: Tensor, away: Tensor) -> Tensor:
    """The speed [..., 3] of a ball at a place that is `moved` [..., 2] from there in the next frame, 1 + away [..., 1] times
    as far."""
    return torch.cat((moved + away * (place + moved), away), -1)


def cells(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres [H/4, W/4, 2] (x, y) of the cells on which balls are found, in UNITS from the picture's centre."""
    v, u = (((torch.arange(n // CELL, device=device) + 0.5) * CELL - n / 2) * UNITS / height for n in (height, width))
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)


def peaks(odds: Tensor, least: float = LIKELY) -> tuple[Tensor, Tensor]:
    """The MOST likely balls of log-odds [B, h, w], none beside a likelier one: cells [B, MOST] and which are any."""
    best = F.max_pool2d(odds[:, None], 5, 1, 2)[:, 0]
    likely = odds.where(odds == best, -torch.inf).flatten(1)
    value, at = likely.topk(MOST)
    return at, value.sigmoid() > least
