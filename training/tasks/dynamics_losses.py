"""The losses of the object dynamics: what they perceive in a clip's first frames, and where they predict balls to
go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.object_dynamics import KNOWN, UNITS, Balls, ObjectDynamics, Perception, Start, next_position
from ...model.precision import mixed
from ..data.starts import Starts, cell_of, heat
from ..data.tracks import VISIBLE_SHARE

LAST = KNOWN - 1  # number of the last known frame
PREDICTION_WEIGHTS = {"far": 1.0, "rate": 2.0, "grows": 2.0}  # chosen by hand, so that none is most of the sum
BALL_WEIGHTS = {"found": 2.0, "guess": 4.0, "past": 8.0, "speed": 8.0, "radius": 2.0, "depth": 1.0, "pull": 4.0}
SCENE_WEIGHTS = {"ground": 4.0, "light": 1.0, "moves": 0.3}
WEIGHTS = {**PREDICTION_WEIGHTS, **BALL_WEIGHTS, **SCENE_WEIGHTS}


@dataclass(frozen=True)
class LossSettings:
    """Numbers of the losses, chosen by hand."""

    more_cells: int = 3  # cells of each ball, beside its centre's, from which its start is read
    box_contrast: float = 0.04  # log of inverse depth against its row's median from which a cell belongs to a box
    hiding_weight: float = 5.0  # weight of boxes, which hide balls, and of the ground behind balls
    edge_radii: float = 1.2  # radii outside the picture from which on a ball counts a tenth
    half_weight_frames: int = 36  # frames ahead at which an error weighs half
    lost_radii: float = 2.0  # scale of the logarithm that bounds a lost ball's error: see prediction_losses


SETTINGS = LossSettings()


def weighted_sum(losses: dict[str, Tensor]) -> Tensor:
    """The loss, added up in the order of the losses."""
    return sum((WEIGHTS[name] * value for name, value in losses.items()), torch.zeros(()))


def _huber(error: Tensor, beta: float) -> Tensor:
    """Smooth L1: quadratic up to beta, linear beyond."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="none")


def beyond_edge(place: Tensor, size: tuple[int, int]) -> Tensor:
    """How far places [..., 2] are beyond the picture's edges, across and down, negative inside; size: width, height."""
    across, down = place.abs().unbind(-1)
    return torch.stack((across - size[0] / size[1] * UNITS / 2, down - UNITS / 2), -1)


def perception_losses(
    model: ObjectDynamics, batch: Starts, generator: torch.Generator
) -> tuple[dict[str, Tensor], Balls, Perception]:
    """Errors of what a model perceives in the known frames, see WEIGHTS; the balls that it starts with, and its
    features."""
    device = batch.frames.device
    with mixed(device):
        seen = model.perceive(batch.frames)
    seen = Perception(*(x.float() for x in seen))
    known = batch.shows > VISIBLE_SHARE
    n, r = known.shape[1], batch.radius.clamp_min(0.1)
    jitter = 0.9 * (torch.rand(*known.shape, 2, generator=generator, device=device) - 0.5)
    at = [cell_of(batch.place[:, LAST], batch.size, jitter)]
    for _ in range(SETTINGS.more_cells):  # any cell of a ball must give the same ball
        off = torch.rand(*known.shape, 2, generator=generator, device=device) * 1.4 - 0.7
        at.append(cell_of(batch.place[:, LAST] + off * r[..., None], batch.size))

    def per_cell(x: Tensor) -> Tensor:
        """A target of balls, repeated for each of their cells."""
        return x.repeat_interleave(len(at), 0).unflatten(0, (len(x), -1)).flatten(1, 2)

    whole = model.start(seen, torch.cat(at, 1), per_cell(known), batch.single)
    first = Balls(*(part[:, :n] for part in whole.balls))
    start = Start(whole.coarse_positions[:, :n], whole.positions[:, :n], whole.log_depth[:, :n], first)
    share = per_cell(known).float() / per_cell(known).float().sum().clamp_min(1)
    visible = per_cell(batch.place[:, :KNOWN].transpose(1, 2))
    errors = ((whole.coarse_positions, 0.05), (whole.positions, 0.02))
    guess, past = (_huber(found - visible, beta).mean((2, 3)) for found, beta in errors)
    true = batch.place[:, LAST + 1] - batch.place[:, LAST]
    if batch.single:
        speed = -0.02 * model.velocities(whole, batch.words).log_density(per_cell(true))
        start = start._replace(balls=model.with_velocity(start.balls, true))
    else:
        speed = _huber(next_position(whole.balls) - whole.balls.position - per_cell(true), 0.02).mean(-1)
    pull = _huber((whole.balls.gravity - per_cell(batch.pull)) / model.get_buffer("gravity_scale"), 0.01).mean(-1)
    radius = _huber(whole.balls.radius[..., 0] - per_cell(batch.radius), 0.02)
    depth = _huber(whole.log_depth[..., 0] - per_cell(batch.depth), 0.05)
    each = {"guess": guess, "past": past, "speed": speed, "radius": radius, "depth": depth, "pull": pull}
    losses = {name: (error * share).sum() for name, error in each.items()}
    losses["found"] = F.binary_cross_entropy_with_logits(seen.ball_logits, heat(batch), pos_weight=torch.tensor(20.0))
    inverse = batch.ground.log()
    boxes = (inverse - inverse.median(2, keepdim=True).values).abs() > SETTINGS.box_contrast
    behind = F.max_pool2d(seen.ball_logits.detach().sigmoid()[:, None], 5, 1, 2)[:, 0] > 0.5  # ground that balls hide
    weight = torch.where(boxes | behind, SETTINGS.hiding_weight, 1.0)
    losses["ground"] = (_huber(seen.inverse_depth.log() - inverse, 0.02) * weight).sum() / weight.sum()
    losses["light"] = _huber(seen.light - batch.light, 0.05).mean()
    losses["moves"] = F.binary_cross_entropy_with_logits(seen.camera_moves, batch.moves * (not batch.single))
    return losses, start.balls, seen


@dataclass(frozen=True)
class Rollout:
    """How far balls are predicted in training, with scheduled sampling (arXiv 1506.03099)."""

    frames: int
    truth_chance: float = 0.0  # chance, in each frame and for each ball, that its true place replaces the predicted one


def roll_out(
    model: ObjectDynamics, balls: Balls, around: Tensor, truth: Tensor, chance: float, generator: torch.Generator
) -> Tensor:
    """Places and radii [B, frames, N, 3]; truth [B, frames+1, N, 2], from the last known frame on, replaces a place
    with that chance."""
    path = []
    for t in range(1, truth.shape[1]):
        balls = model.advance(balls, around)
        path.append(torch.cat((balls.position, balls.radius), -1))
        if chance:
            drawn = torch.rand(balls.radius.shape, generator=generator, device=truth.device)
            replaced = (drawn < chance).expand_as(balls.position)
            balls = balls._replace(position=truth[:, t].where(replaced, balls.position))
    return torch.stack(path, 1)


def prediction_losses(
    model: ObjectDynamics, balls: Balls, around: Tensor, batch: Starts, rollout: Rollout, generator: torch.Generator
) -> dict[str, Tensor]:
    """Errors of predicted balls, in radii: `far` of their places, `rate` of the steps between them, `grows` of the
    logarithm of their radii.

    The logarithm bounds the error of a ball that is lost: it teaches nothing about those that are nearly right.
    """
    known, r, frames = batch.shows > VISIBLE_SHARE, batch.radius.clamp_min(0.1), rollout.frames
    truth = batch.place[:, LAST : LAST + frames + 1]
    path, radii = roll_out(model, balls, around, truth, rollout.truth_chance, generator).split((2, 1), -1)
    error = (path - truth[:, 1:]) / r[:, None, :, None]
    beyond = (beyond_edge(truth[:, 1:], batch.size) / r[:, None, :, None]).amax(-1) > SETTINGS.edge_radii
    weight = (batch.valid[:, LAST + 1 : LAST + 1 + frames] & known[:, None]).float() * torch.where(beyond, 0.1, 1.0)
    weight = weight / (1 + torch.arange(frames, device=r.device) / SETTINGS.half_weight_frames)[:, None]
    size, scale = error.square().sum(-1).add(1e-6).sqrt(), SETTINGS.lost_radii
    far = (scale * (_huber(size, 0.1) / scale).log1p() * weight).sum() / weight.sum().clamp_min(1)
    step = _huber((path[:, 1:] - path[:, :-1]) - (truth[:, 2:] - truth[:, 1:-1]), 0.005).mean(-1) / r[:, None]
    rate = (step * weight[:, 1:]).sum() / weight[:, 1:].sum().clamp_min(1)
    grown = (radii[..., 0].clamp_min(1e-3) / balls.radius[:, None, :, 0].clamp_min(1e-3)).log()
    grows = _huber(grown - batch.grows[:, LAST + 1 : LAST + 1 + frames], 0.05)
    return {"far": far, "rate": rate, "grows": (grows * weight).sum() / weight.sum().clamp_min(1)}


def losses(model: ObjectDynamics, batch: Starts, rollout: Rollout, generator: torch.Generator) -> dict[str, Tensor]:
    """Errors of perception and, where frames are predicted, of prediction."""
    found, balls, seen = perception_losses(model, batch, generator)
    if rollout.frames:
        found |= prediction_losses(model, balls, seen.scene_features, batch, rollout, generator)
    return found
