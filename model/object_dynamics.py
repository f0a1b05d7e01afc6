"""Object dynamics: detects the balls of a video's first frames and predicts where each goes, visible or hidden.

A transformer with few wide tokens resolves positions coarsely, and outcomes depend on speeds to a tenth of a pixel.
Here each ball is an object with its own position and velocity, advanced frame by frame by one recurrent network that
reads the scene features around the ball and the relative motion of the other balls. Without interaction it moves on a
ballistic path under perspective. The transformer is then conditioned on a draft that shows the balls there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ground import Ground, Residual, block

# Lengths and speeds on the picture are in units of picture height / UNITS, from the picture's centre (x right, y down).
UNITS = 8.0
KNOWN = 5  # frames of input
CELL = 4  # pixels a side of a cell of the detection map
HEIGHT, MIN_WIDTH = (
    128,
    96,
)  # pixels: pictures are resized to the height of most training clips, and at least this width
MAX_BALLS = 8  # followed at a time
LIKELY, CLEAR = 0.5, 0.95  # probability thresholds of a detection; in blurred pictures the higher one is used

# A camera rests if a share of STILL_SHARE of STILL_CELLS^2 cells changes by at most STILL_CHANGE (RGB in 0..1).
STILL_CELLS, STILL_SHARE, STILL_CHANGE = 16, 0.7, 6e-5
MOTION_CELLS = 8  # a side, of the map of changes from which a network tells whether the camera moves

MIN_SPREAD = 0.004  # standard deviation of a predicted speed: 0.06 pixels a frame in a picture 128 high
PULL_SCALE = (1.0, 1.0, 0.1)  # units of the network's accelerations along x, y and depth
STATE_SCALE = (0.25, 0.25, 2.0, 2.0, 20.0, 1.0)  # of position, speed and radius as inputs of the network
# 5-point second-derivative filter (Savitzky-Golay), per frame squared.
SECOND_DERIVATIVE = (2 / 7, -1 / 7, -2 / 7, -1 / 7, 2 / 7)


@dataclass(frozen=True)
class DynamicsConfig:
    """Sizes in feature channels; the field names are those of the files' headers."""

    frame: int = 32  # features of each frame at 1/4 of the size
    fine: int = 64  # of all frames together at 1/4
    coarse: int = 128  # of all frames together at 1/8 and at 1/16
    scene: int = 64  # features of the scene around a ball
    memory: int = 128  # recurrent state of each ball
    words: int = 92  # in the vocabulary, not a channel count
    modes: int = 6  # components of the mixture of speeds for a single picture
    ground: tuple[int, int, int] = (48, 96, 128)  # of the ground network at 1/4, 1/8 and 1/16


class Balls(NamedTuple):
    """State of balls [B, N].

    A ball at p with speed (u, w) is at (p + u) / (1 + w) in the next frame, at 1 + w times its depth.
    """

    place: Tensor  # [B, N, 2] position of the centre
    speed: Tensor  # [B, N, 3] per frame: (u along the picture, w relative change of depth)
    pull: Tensor  # [B, N, 3] change of speed by gravity per frame, in radii
    radius: Tensor  # [B, N, 1]; 0: no ball
    memory: Tensor  # [B, N, memory] recurrent state


class Seen(NamedTuple):
    """Features of the input frames; H and W are the sizes after framed(), h and w the given ones."""

    frames: Tensor  # [B, KNOWN, ., H/4, W/4] of each frame
    features: Tensor  # [B, ., H/4, W/4] of all frames together
    around: Tensor  # [B, scene, H/8, W/8] of the scene, sampled at a ball's position
    ball: Tensor  # [B, H/4, W/4] log-odds of a ball's centre in the last frame
    camera_moves: Tensor  # [B] log-odds
    whole: Tensor  # [B, .] pooled over the picture
    ground: Tensor  # [B, h/4, w/4] inverse depth (1 / metres) of the last frame without its balls
    light: Tensor  # [B, 3] direction and strength of the light, see Ground.forward
    scale: Tensor  # [2] given pixels in a unit, across and down


class Start(NamedTuple):
    """Estimates for balls [B, N] from the input frames."""

    guess: Tensor  # [B, N, KNOWN, 2] coarse positions, around which each frame is sampled again
    past: Tensor  # [B, N, KNOWN, 2] refined positions, each in its frame's camera
    depth: Tensor  # [B, N, 1] log metres
    balls: Balls  # state in the last frame


def _mlp(a: int, hidden: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, hidden), nn.SiLU(), nn.Linear(hidden, b))


class Speeds(NamedTuple):
    """A mixture of normal distributions for each ball's speed."""

    likely: Tensor  # [B, N, modes] logarithms of their shares
    mean: Tensor  # [B, N, modes, 2]
    spread: Tensor  # [B, N, modes, 2]

    def log_density(self, speed: Tensor) -> Tensor:
        """Log density [B, N] of speeds [B, N, 2]."""
        off = (speed[:, :, None] - self.mean) / self.spread
        each = -0.5 * off.square().sum(-1) - self.spread.log().sum(-1) - math.log(2 * math.pi)
        return (self.likely + each).logsumexp(-1)

    def draw(self, noise: Tensor) -> Tensor:
        """Samples [K, N, 2] from standard normal noise [K, N, 3], K = B, or any K for one video: B = 1."""
        below = torch.special.ndtr(noise[..., :1])
        mode = (self.likely.exp().cumsum(-1) < below).sum(-1, keepdim=True).clamp_max(self.likely.shape[-1] - 1)
        rows = mode[..., None].expand(-1, -1, -1, 2)
        mean, spread = (x.expand(len(rows), -1, -1, -1).gather(2, rows)[:, :, 0] for x in (self.mean, self.spread))
        return mean + spread * noise[..., 1:]


class ObjectDynamics(nn.Module):
    """look() encodes frames, find() detects balls, start() estimates their state, move() advances it by one frame."""

    known = KNOWN
    counted_in: Tensor
    told_in: Tensor

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
        self.around = nn.Conv2d(2 * c.coarse, c.scene, 1)
        self.found = nn.Sequential(nn.Conv2d(c.fine + 2 * c.coarse, c.fine, 1), nn.SiLU(), nn.Conv2d(c.fine, 1, 1))
        nn.init.constant_(cast(Tensor, self.found[2].bias), -4.0)  # few cells hold a ball
        self.ground = Ground(3 * CELL**2 + 3, c.ground)
        self.guess = _mlp(c.fine + 3 * c.coarse, 2 * c.memory, 2 * KNOWN + c.memory)
        self.glance = nn.Sequential(nn.Linear(9 * c.frame + c.memory, 128), nn.SiLU(), nn.Linear(128, c.frame + 2))
        self.begin = _mlp(c.memory + KNOWN * (c.frame + 2) + 2, 2 * c.memory, 3 + 3 + 1 + 1 + c.memory)
        self.moves = _mlp(MOTION_CELLS**2, 64, 1)  # log-odds that the camera moves
        self.single = nn.Parameter(torch.zeros(c.memory))  # added to the state of a ball in a single picture
        self.words = nn.Embedding(c.words + 1, 64)
        self.neighbours = nn.Conv1d(64, 64, 5, padding=2)
        self.ask = nn.Linear(c.memory, 64)
        self.speeds = _mlp(c.memory + 128, 128, 5 * c.modes)
        self.meet = _mlp(7, 64, 32)
        self.step = nn.GRUCell(c.scene + 32 + 6, c.memory)
        self.push = _mlp(c.memory + c.scene + 32 + 6, 2 * c.memory, 3 + 2 + 1 + 1)
        for parameter in self.push[2].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("counted_in", torch.tensor(PULL_SCALE), persistent=False)
        self.register_buffer("told_in", torch.tensor(STATE_SCALE), persistent=False)
        cast(Any, self).to(memory_format=torch.channels_last)  # a tenth faster on a CPU

    def look(self, frames: Tensor) -> Seen:
        """Encode frames [B, KNOWN, H, W, 3] in 0..1, or one frame [B, 1, H, W, 3] for all; H, W multiples of 16."""
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
        changes = F.adaptive_avg_pool2d((each[:, -1] - each[:, 0]).abs().mean(1), MOTION_CELLS).flatten(1)
        moves = self.moves((changes.float() + 1e-4).log().sort(1).values)[:, 0]
        same = F.adaptive_avg_pool2d((frames[:, -1] - frames[:, 0]).abs().amax(-1)[:, None], STILL_CELLS).flatten(1)
        moves = moves.masked_fill(same.float().quantile(STILL_SHARE, 1) < STILL_CHANGE, -9.0)
        ball = self.found(wide)[:, 0]
        last = x.unflatten(0, (b, count))[:, -1]
        where = where.permute(2, 0, 1).expand(b, -1, -1, -1) / UNITS
        inverse_depth, light = self.ground(torch.cat((last, where, ball.detach().sigmoid()[:, None]), 1))
        inverse_depth = middle(inverse_depth, share, (size[0] // CELL, size[1] // CELL))
        scale = torch.tensor((size[1] / share / width, size[0] / height), device=x.device) * height / UNITS
        return Seen(each, wide, around, ball, moves, whole, inverse_depth, light, scale)

    @staticmethod
    def find(seen: Seen, clear: bool = False) -> tuple[Tensor, Tensor]:
        """Cells [B, MAX_BALLS] of the likeliest balls, and a mask of those above the threshold (CLEAR if `clear`)."""
        return peaks(seen.ball, CLEAR if clear else LIKELY)

    def start(self, seen: Seen, at: Tensor, there: Tensor, single: bool = False) -> Start:
        """State of the balls at cells `at` [B, N] (row * columns + column of Seen.ball); there [B, N]: their mask.

        single: the input is one picture, from which no speed can be estimated.
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
        bend = torch.einsum("k,bnkc->bnc", past.new_tensor(SECOND_DERIVATIVE), past)  # acceleration
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
        """Features [B, N, KNOWN, frame] sampled around coarse positions [B, N, KNOWN, 2], and corrections of these."""
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
        """The balls with a displacement of `moved` [..., 2] in the next frame and an unchanged relative depth speed."""
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
        """Summed features [B, N, .] of the relative position and motion of all other balls."""
        place, speed, _, radius, _ = balls
        count = place.shape[1]
        if count < 2:
            return place.new_zeros(*place.shape[:2], cast(nn.Linear, self.meet[2]).out_features)
        both = torch.cat((place, speed[..., :2]), -1)
        both = (
            both[:, None] - both[:, :, None]
        )  # [B, N, N, 4]: how far apart the others are from each, and how fast they close in
        sizes = radius[:, None] + radius[:, :, None]
        gap = both[..., :2].square().sum(-1, keepdim=True).add(1e-6).sqrt() - sizes
        others = (radius > 0)[:, None] & ~torch.eye(count, dtype=torch.bool, device=place.device)[..., None]
        return (self.meet(torch.cat((both, sizes, gap, (-2 * gap.abs()).exp()), -1)) * others).sum(2)

    def imagine(self, start: Start, ids: Tensor) -> Speeds:
        """Distribution of speeds for balls in a single picture, given word ids [B, L] of the prompt (-1: padding)."""
        there = (ids >= 0)[..., None]
        words = self.words(ids.clamp_min(0)) * there
        words = (words + self.neighbours(words.transpose(1, 2)).transpose(1, 2)) * there
        memory = start.balls.memory
        heed = (self.ask(memory) @ words.transpose(1, 2)).masked_fill(~there.transpose(1, 2), -1e4).softmax(-1)
        told = self.speeds(
            torch.cat((memory, heed @ words, words.sum(1, keepdim=True).expand(-1, memory.shape[1], -1)), -1)
        )
        likely, mean, spread = told.unflatten(-1, (self.config.modes, 5)).split((1, 2, 2), -1)
        return Speeds(likely[..., 0].log_softmax(-1), 0.5 * mean, (spread - 3).exp() + MIN_SPREAD)

    def forward(self, balls: Balls, around: Tensor, frames: int) -> Tensor:
        """Positions [B, N, frames, 2] in the frames that follow the input."""
        path = []
        for _ in range(frames):
            balls = self.move(balls, around)
            path.append(balls.place)
        return torch.stack(path, 2)


def framed(frames: Tensor) -> tuple[Tensor, float]:
    """Frames [B, K, H, W, 3] in 0..1 at the network's size, and the share of the new width that the frames fill.

    H and W are multiples of 16. The new height is HEIGHT, or more if the width would be below MIN_WIDTH; edges are
    replicated up to a width that is a multiple of 16. At other heights the network fails: with 96 rows the points where
    balls bounce off a wall were 6 pixels off, with 256 it detected no ball.
    """
    height, width = frames.shape[2:4]
    rows = max(HEIGHT, -(-MIN_WIDTH * height // (16 * width)) * 16)
    if height == rows:
        return frames, 1.0
    columns = -(-width * rows // (16 * height)) * 16
    beyond = round((columns * height / rows - width) / 2)
    x = F.pad(frames.flatten(0, 1).permute(0, 3, 1, 2), (beyond, beyond, 0, 0), mode="replicate")
    x = F.interpolate(x, (rows, columns), mode="bicubic", antialias=height > rows).clamp(0, 1)
    return x.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2]), width / (width + 2 * beyond)


def middle(maps: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    """Undoes framed() on maps [B, ., .]: the middle share of the width, resampled to [B, *size]."""
    if share == 1 and maps.shape[1:] == size:
        return maps
    turn = torch.tensor([[share, 0.0, 0.0], [0.0, 1.0, 0.0]], device=maps.device).expand(len(maps), -1, -1)
    grid = F.affine_grid(turn, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def ahead_of(balls: Balls) -> Tensor:
    """Positions [..., 2] in the next frame without interaction."""
    return (balls.place + balls.speed[..., :2]) / (1 + balls.speed[..., 2:])


def _towards(place: Tensor, moved: Tensor, away: Tensor) -> Tensor:
    """The speed [..., 3] for a displacement `moved` [..., 2] and a depth of 1 + away [..., 1] in the next frame."""
    return torch.cat((moved + away * (place + moved), away), -1)


def cells(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres [H/4, W/4, 2] (x, y) of the cells of the detection map, in units from the picture's centre."""
    v, u = (((torch.arange(n // CELL, device=device) + 0.5) * CELL - n / 2) * UNITS / height for n in (height, width))
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)


def peaks(odds: Tensor, least: float = LIKELY) -> tuple[Tensor, Tensor]:
    """The MAX_BALLS highest local maxima (5x5) of log-odds [B, h, w]: cells [B, MAX_BALLS], and a mask of those above
    the probability `least`."""
    best = F.max_pool2d(odds[:, None], 5, 1, 2)[:, 0]
    likely = odds.where(odds == best, -torch.inf).flatten(1)
    value, at = likely.topk(MAX_BALLS)
    return at, value.sigmoid() > least
