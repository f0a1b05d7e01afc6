"""Object dynamics: detects the balls in a video's first frames and predicts where each goes, visible or hidden.

Motion hangs on velocities to a tenth of a pixel, which a transformer of few wide tokens does not resolve. Here every
ball is an object with a position and a velocity of its own. A recurrent network advances it frame by frame, from
features of the scene around it and from the other balls; undisturbed, a ball moves under gravity and perspective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ground import Ground, Residual, block, upsample

KNOWN = 5  # frames that the networks read
CELL = 4  # pixels a side of a cell of the map of detections
UNITS = 8.0  # positions, radii and velocities are in picture heights divided by this
MAX_BALLS = 8  # balls that are followed
DETECTED, CLEARLY_DETECTED = 0.5, 0.95  # probabilities of a ball in a cell; rendered balls have 0.98 and more
GRAVITY_SCALE = (1.0, 1.0, 0.1)  # units of gravity and of changes of velocity: across, down, away from the camera
INPUT_SCALE = (0.25, 0.25, 2.0, 2.0, 20.0, 1.0)  # of position, velocity and radius in the input of the networks
SECOND_DERIVATIVE = (2 / 7, -1 / 7, -2 / 7, -1 / 7, 2 / 7)  # 5-point second-derivative filter (Savitzky-Golay)
MIN_DEVIATION = 0.004  # of a velocity: 0.06 pixels a frame in a picture 128 pixels high
HEIGHT, MIN_WIDTH = 128, 96  # pixels: the height and the least width of the pictures of training
MOTION_CELLS = 8  # cells a side whose change says whether the camera moves: a ball changes few, a moving camera most
# The camera is still where this share of STILL_CELLS x STILL_CELLS cells changes by less than STILL_CHANGE (of 1).
STILL_CELLS, STILL_SHARE, STILL_CHANGE = 16, 0.7, 6e-5


@dataclass(frozen=True)
class DynamicsConfig:
    """Sizes of the networks, as model files name them."""

    frame: int = 32  # features of each frame at 1/4 of the size
    fine: int = 64  # features of all frames together at 1/4
    coarse: int = 128  # and at 1/8 and 1/16
    scene: int = 64  # features of the scene around a ball
    memory: int = 128  # recurrent state of each ball
    words: int = 92  # size of the vocabulary
    modes: int = 6  # components of the mixture of velocities of a ball in a single picture
    ground: tuple[int, int, int] = (48, 96, 128)  # features of the depth network at 1/4, 1/8 and 1/16


class Balls(NamedTuple):
    """Balls [B, N] of a batch of videos, in UNITS from the picture's centre.

    A ball at p with velocity (u, w) is at (p + u) / (1 + w) in the next frame, at 1 + w times its depth.
    """

    position: Tensor  # [B, N, 2]
    velocity: Tensor  # [B, N, 3] a frame: along the picture at the ball's depth, and away from the camera, relative
    gravity: Tensor  # [B, N, 3] change of the velocity in a frame of free flight, in radii
    radius: Tensor  # [B, N, 1]; 0 where there is no ball
    memory: Tensor  # [B, N, memory] state of the recurrent network


class Perception(NamedTuple):
    """What the networks read off pictures [B]; H and W are the size at which they read them, see resize."""

    frame_features: Tensor  # [B, KNOWN, frame, H/4, W/4]
    features: Tensor  # [B, fine + 2 coarse, H/4, W/4] of all frames together
    scene_features: Tensor  # [B, scene, H/8, W/8] which a ball reads where it goes
    ball_logits: Tensor  # [B, H/4, W/4] log-odds of a ball's centre in the last frame
    camera_moves: Tensor  # [B] log-odds
    global_features: Tensor  # [B, coarse]
    inverse_depth: Tensor  # [B, h/4, w/4] 1 / metres of all but the balls in the last frame; h, w of the frames given
    light: Tensor  # [B, 3] see Ground.forward
    pixels_per_unit: Tensor  # [2] across and down, in the frames given


class Start(NamedTuple):
    """State of balls [B, N] in the known frames."""

    coarse_positions: Tensor  # [B, N, KNOWN, 2] before they are refined
    positions: Tensor  # [B, N, KNOWN, 2] in each known frame's own camera
    log_depth: Tensor  # [B, N, 1] of metres, in the last known frame
    balls: Balls  # in the last known frame


class Velocities(NamedTuple):
    """A mixture of normal distributions over each ball's velocity along the picture."""

    log_weights: Tensor  # [B, N, modes]
    mean: Tensor  # [B, N, modes, 2]
    deviation: Tensor  # [B, N, modes, 2]

    def log_density(self, velocity: Tensor) -> Tensor:
        """Log-density [B, N] at velocities [B, N, 2]."""
        off = (velocity[:, :, None] - self.mean) / self.deviation
        each = -0.5 * off.square().sum(-1) - self.deviation.log().sum(-1) - math.log(2 * math.pi)
        return (self.log_weights + each).logsumexp(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """The velocities [B, N, 2] that standard normal noise [B, N, 3] selects: first the mode, then the deviation.

        Noise [K, N, 3] draws K samples [K, N, 2] for the balls of one video.
        """
        below = torch.special.ndtr(noise[..., :1])
        modes = self.log_weights.shape[-1]
        mode = (self.log_weights.exp().cumsum(-1) < below).sum(-1, keepdim=True).clamp_max(modes - 1)
        rows = mode[..., None].expand(-1, -1, -1, 2)
        mean, deviation = (
            x.expand(len(rows), -1, -1, -1).gather(2, rows)[:, :, 0] for x in (self.mean, self.deviation)
        )
        return mean + deviation * noise[..., 1:]


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class ObjectDynamics(nn.Module):
    """Perceives pictures, detects balls in them, estimates their state and advances it frame by frame."""

    known = KNOWN
    gravity_scale: Tensor  # [3]
    input_scale: Tensor  # [6]
    second_derivative: Tensor  # [KNOWN]

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
        self.around = nn.Conv2d(2 * c.coarse, c.scene, 1)  # features of the scene around a ball
        self.found = nn.Sequential(nn.Conv2d(c.fine + 2 * c.coarse, c.fine, 1), nn.SiLU(), nn.Conv2d(c.fine, 1, 1))
        nn.init.constant_(cast(Tensor, self.found[2].bias), -4.0)  # few cells hold a ball
        self.ground = Ground(3 * CELL**2 + 3, c.ground)
        self.guess = _mlp(c.fine + 3 * c.coarse, 2 * c.memory, 2 * KNOWN + c.memory)  # coarse positions
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
        self.register_buffer("gravity_scale", torch.tensor(GRAVITY_SCALE), persistent=False)
        self.register_buffer("input_scale", torch.tensor(INPUT_SCALE), persistent=False)
        self.register_buffer("second_derivative", torch.tensor(SECOND_DERIVATIVE), persistent=False)
        cast(Any, self).to(memory_format=torch.channels_last)  # a tenth faster on a CPU

    def perceive(self, frames: Tensor) -> Perception:
        """Read frames [B, KNOWN, H, W, 3] in 0..1, or one [B, 1, H, W, 3] that stands for all of them.

        H and W are multiples of 16.
        """
        size, (frames, share) = frames.shape[2:4], resize(frames)
        b, count, height, width, _ = frames.shape
        rows, columns = height // CELL, width // CELL
        x = frames.reshape(b * count, rows, CELL, columns, CELL, 3).permute(0, 2, 4, 5, 1, 3).flatten(1, 3)
        each = self.frame(x).unflatten(0, (b, count)).expand(-1, KNOWN, -1, -1, -1)
        centres = cell_centres(height, width, x.device)
        quarter = self.quarter(each.flatten(1, 2)) + self.where(centres).permute(2, 0, 1)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        up = upsample(sixteenth)
        scene_features = self.around(torch.cat((eighth, up), 1))
        features = torch.cat((quarter, upsample(torch.cat((eighth, up), 1))), 1)
        whole = sixteenth.mean((2, 3))
        camera_moves = self._camera_moves(frames, each)
        ball_logits = self.found(features)[:, 0]
        last = x.unflatten(0, (b, count))[:, -1]
        centres = centres.permute(2, 0, 1).expand(b, -1, -1, -1) / UNITS
        inverse_depth, light = self.ground(torch.cat((last, centres, ball_logits.detach().sigmoid()[:, None]), 1))
        inverse_depth = crop_width(inverse_depth, share, (size[0] // CELL, size[1] // CELL))
        pixels = torch.ones(2, device=x.device)  # filled, not copied from the host
        pixels[0], pixels[1] = size[1] / share / width, size[0] / height
        pixels = pixels * height / UNITS
        return Perception(
            each, features, scene_features, ball_logits, camera_moves, whole, inverse_depth, light, pixels
        )

    def _camera_moves(self, frames: Tensor, features: Tensor) -> Tensor:
        """Log-odds [B] that the camera moves in frames [B, K, H, W, 3] with features [B, KNOWN, ., H/4, W/4]."""
        change = (features[:, -1] - features[:, 0]).abs().mean(1)
        change = F.adaptive_avg_pool2d(change, MOTION_CELLS).flatten(1)
        logit = self.moves((change.float() + 1e-4).log().sort(1).values)[:, 0]
        change = F.adaptive_avg_pool2d((frames[:, -1] - frames[:, 0]).abs().amax(-1)[:, None], STILL_CELLS).flatten(1)
        return logit.masked_fill(change.float().quantile(STILL_SHARE, 1) < STILL_CHANGE, -9.0)

    @staticmethod
    def detect(perception: Perception, clear: bool = False) -> tuple[Tensor, Tensor]:
        """Cells [B, MAX_BALLS] of the likeliest balls, as start() takes them, and which hold one, or `clear`ly do."""
        return local_maxima(perception.ball_logits, CLEARLY_DETECTED if clear else DETECTED)

    def start(self, perception: Perception, cells: Tensor, present: Tensor, single: bool = False) -> Start:
        """State of the balls at cells [B, N] (row * columns + column of ball_logits), present [B, N] where they exist.

        single: there is one picture, which stands for all frames and says nothing of velocities.
        """
        p, count = perception, cells.shape[1]
        height, width = (CELL * n for n in p.ball_logits.shape[1:])
        features = p.features.flatten(2)
        rows = features.gather(2, cells[:, None].expand(-1, features.shape[1], -1)).transpose(1, 2)
        state = self.guess(torch.cat((rows, p.global_features[:, None].expand(-1, count, -1)), -1))
        coarse, memory = state.split((2 * KNOWN, self.config.memory), -1)
        centre = cell_centres(height, width, cells.device).flatten(0, 1)[cells]  # [B, N, 2]
        coarse = coarse.unflatten(-1, (KNOWN, 2)) + centre[:, :, None]
        local, off = self._refine(p.frame_features, coarse.detach(), memory)
        positions = coarse.detach() + off
        path = positions - positions[:, :, -1:]
        acceleration = torch.einsum("k,bnkc->bnc", self.second_derivative.to(positions.dtype), positions)
        memory = memory + self.single if single else memory
        state = self.begin(torch.cat((memory, local.flatten(2), 2 * path.flatten(2), 4 * acceleration), -1))
        moved, away, gravity, radius, depth, memory = state.split((2, 1, 3, 1, 1, self.config.memory), -1)
        mean = (positions[:, :, -1] - positions[:, :, 0]) / (KNOWN - 1)
        velocity = _velocity(positions[:, :, -1], mean + moved, 0.1 * away)
        radius = F.softplus(radius) * present[..., None]
        balls = Balls(positions[:, :, -1], velocity, gravity * self.gravity_scale, radius, memory.tanh())
        return Start(coarse, positions, depth + 1.9, balls)

    def _refine(self, frames: Tensor, positions: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Local features [B, N, KNOWN, frame] at positions [B, N, KNOWN, 2] of each frame, and corrections of these."""
        height, width = frames.shape[3:]
        step = torch.arange(-1.0, 2.0, device=positions.device) * UNITS / height
        offsets = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1).flatten(0, 1)  # [9, 2]
        at = positions.transpose(1, 2).flatten(0, 1)[:, :, None] + offsets  # [B*KNOWN, N, 9, 2]
        at = torch.stack((at[..., 0] * (2 / UNITS * height / width), at[..., 1] * (2 / UNITS)), -1)
        local = F.grid_sample(frames.flatten(0, 1), at, padding_mode="border", align_corners=False)
        local = local.permute(0, 2, 3, 1).flatten(2).unflatten(0, (len(positions), KNOWN)).transpose(1, 2)
        found = self.glance(torch.cat((local, memory[:, :, None].expand(-1, -1, KNOWN, -1)), -1))
        return found[..., 2:], found[..., :2]

    @staticmethod
    def with_velocity(balls: Balls, velocity: Tensor) -> Balls:
        """The balls with a velocity [..., 2] along the picture, and the same one away from the camera."""
        return balls._replace(velocity=_velocity(balls.position, velocity, balls.velocity[..., 2:]))

    def advance(self, balls: Balls, scene_features: Tensor) -> Balls:
        """The balls one frame later; scene_features [B, scene, H/8, W/8]."""
        position, velocity, gravity, radius, memory = balls
        h, w = scene_features.shape[2:]
        across, down = next_position(balls).unbind(-1)
        at = torch.stack((across * (2 * h / w / UNITS), down * (2 / UNITS)), -1)  # -1..1
        local = F.grid_sample(scene_features, at[:, :, None], padding_mode="border", align_corners=False)
        local = local[..., 0].transpose(1, 2)
        others = self._interactions(balls)
        inputs = torch.cat((local, others, torch.cat((position, velocity, radius), -1) * self.input_scale), -1)
        memory = self.step(inputs.flatten(0, 1), memory.flatten(0, 1)).unflatten(0, memory.shape[:2])
        impulse, slide, touched, flies = self.push(torch.cat((memory, inputs), -1)).split((3, 2, 1, 1), -1)
        velocity = torch.addcmul(velocity, touched.sigmoid() * self.gravity_scale, impulse)
        moved, away = velocity.split((2, 1), -1)
        farther = (1 + away).clamp_min(0.5)
        position = torch.add(position + moved, slide, alpha=0.1) / farther
        radius = radius / farther
        velocity = torch.addcmul(velocity / farther, flies.sigmoid() * radius, gravity)
        return Balls(position, velocity, gravity, radius, memory)

    def _interactions(self, balls: Balls) -> Tensor:
        """Features [B, N, 32] of the other balls, relative to each."""
        position, velocity, _, radius, _ = balls
        count = position.shape[1]
        if count < 2:
            return position.new_zeros(*position.shape[:2], cast(nn.Linear, self.meet[2]).out_features)
        pairs = torch.cat((position, velocity[..., :2]), -1)
        pairs = pairs[:, None] - pairs[:, :, None]  # [B, N, N, 4] relative positions and velocities
        sizes = radius[:, None] + radius[:, :, None]
        gap = pairs[..., :2].square().sum(-1, keepdim=True).add(1e-6).sqrt() - sizes
        others = (radius > 0)[:, None] & ~torch.eye(count, dtype=torch.bool, device=position.device)[..., None]
        return (self.meet(torch.cat((pairs, sizes, gap, (-2 * gap.abs()).exp()), -1)) * others).sum(2)

    def velocities(self, start: Start, ids: Tensor) -> Velocities:
        """Velocities that balls in a single picture may have; ids [B, L] of the prompt's words, -1 for none."""
        present = (ids >= 0)[..., None]
        words = self.words(ids.clamp_min(0)) * present
        words = (words + self.neighbours(words.transpose(1, 2)).transpose(1, 2)) * present
        memory = start.balls.memory
        attention = (self.ask(memory) @ words.transpose(1, 2)).masked_fill(~present.transpose(1, 2), -1e4).softmax(-1)
        attended, whole = attention @ words, words.sum(1, keepdim=True).expand(-1, memory.shape[1], -1)
        mixture = self.speeds(torch.cat((memory, attended, whole), -1))
        weights, mean, deviation = mixture.unflatten(-1, (self.config.modes, 5)).split((1, 2, 2), -1)
        return Velocities(weights[..., 0].log_softmax(-1), 0.5 * mean, (deviation - 3).exp() + MIN_DEVIATION)

    def forward(self, balls: Balls, scene_features: Tensor, frames: int) -> Tensor:
        """Positions [B, N, frames, 2] in the next frames."""
        path: list[Tensor] = []
        for _ in range(frames):
            balls = self.advance(balls, scene_features)
            path.append(balls.position)
        return torch.stack(path, 2)


def resize(frames: Tensor) -> tuple[Tensor, float]:
    """Frames [B, K, H, W, 3] in 0..1 at the size at which the networks read them, and the share of its width they fill.

    They become HEIGHT high, or as much higher as makes them MIN_WIDTH wide; the width is padded to a multiple of 16 by
    repeating the edges. H and W are multiples of 16. At other sizes balls and cells would differ from those of
    training: unresized pictures 96 high sent balls off a wall six pixels aside, and of pictures 256 high it followed
    none.
    """
    height, width = frames.shape[2:4]
    rows = max(HEIGHT, -(-MIN_WIDTH * height // (16 * width)) * 16)
    if height == rows:
        return frames, 1.0
    columns = -(-width * rows // (16 * height)) * 16
    padding = round((columns * height / rows - width) / 2)
    x = F.pad(frames.flatten(0, 1).permute(0, 3, 1, 2), (padding, padding, 0, 0), mode="replicate")
    x = F.interpolate(x, (rows, columns), mode="bicubic", antialias=height > rows).clamp(0, 1)
    return x.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2]), width / (width + 2 * padding)


def crop_width(maps: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    """The middle `share` of the width of maps [B, ., .], resampled to [B, *size]; above 1 the edges are repeated."""
    if share == 1 and maps.shape[1:] == size:
        return maps
    scale = torch.eye(2, 3, device=maps.device)
    scale[0, 0] = share
    scale = scale.expand(len(maps), -1, -1)
    grid = F.affine_grid(scale, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def next_position(balls: Balls) -> Tensor:
    """Positions [..., 2] in the next frame of balls that nothing disturbs."""
    return (balls.position + balls.velocity[..., :2]) / (1 + balls.velocity[..., 2:])


def _velocity(position: Tensor, moved: Tensor, away: Tensor) -> Tensor:
    """The velocity [..., 3] that moves a ball by `moved` [..., 2] in a frame, to 1 + away [..., 1] times its depth."""
    return torch.cat((moved + away * (position + moved), away), -1)


def cell_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres [H/4, W/4, 2] (x, y) of the cells of a map of detections, in UNITS from the picture's centre."""
    v, u = (((torch.arange(n // CELL, device=device) + 0.5) * CELL - n / 2) * UNITS / height for n in (height, width))
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)


def local_maxima(logits: Tensor, threshold: float = DETECTED) -> tuple[Tensor, Tensor]:
    """The MAX_BALLS largest of logits [B, h, w] that are the maximum of 5x5 cells.

    Returns cells [B, MAX_BALLS], and which have a probability above the threshold.
    """
    largest = F.max_pool2d(logits[:, None], 5, 1, 2)[:, 0]
    peaks = logits.where(logits == largest, -torch.inf).flatten(1)
    value, cells = peaks.topk(MAX_BALLS)
    return cells, value.sigmoid() > threshold
