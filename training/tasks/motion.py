"""Trains the motion of the object dynamics alone: `vdit train motion`.

Perception stays as it is, so each start is perceived once, ahead, and a step costs a tenth: in the same time, many
times as many rollouts, all of them as long as clips are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...model.object_dynamics import KNOWN, Balls, ObjectDynamics
from ..batches import moved
from ..data.starts import Scenes, Starts, cell_of
from ..data.tracks import VISIBLE_SHARE
from ..finished_runs import load_dynamics
from ..recipes import MotionRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Trainer
from .dynamics_losses import Rollout, prediction_losses, weighted_sum
from .perception import ObjectDynamicsTask

SINGLE = 0.25  # share of starts of which one picture is known; chosen by hand
ROWS = 32  # starts that are perceived together
ROLLOUT = Rollout(76)  # to the end of a clip of ten seconds
BALL_AXIS = {"place": 2, "valid": 2, "grows": 2, "radius": 1, "shows": 1}  # fields of Starts that losses read


class Perceived(NamedTuple):
    """Starts of one picture size and number of balls, as perceived, without their pictures."""

    balls: Balls
    around: Tensor  # [B, scene, H/8, W/8] features of the scene
    truth: Starts

    def rows(self, rows: Tensor) -> Perceived:
        """Some of them."""
        truth = {name: getattr(self.truth, name)[rows] for name in BALL_AXIS}
        return Perceived(Balls(*(x[rows] for x in self.balls)), self.around[rows], replace(self.truth, **truth))


def perceive(model: ObjectDynamics, data: Scenes, seed: int = 0) -> list[Perceived]:
    """Each start, or its mirror image, as a model perceives it; one entry for each size and number of balls."""
    from tqdm import tqdm

    rng, device = np.random.default_rng(seed), model.single.device
    found: dict[tuple, list[Perceived]] = {}
    shards = [(s, rows) for s in data.shards.values() for rows in torch.arange(len(s["rgb"])).split(ROWS)]
    for shard, rows in tqdm(shards, desc="perceiving", unit="batch"):
        mirror = torch.from_numpy(rng.random(len(rows)) < 0.5)
        batch = moved(data.batch([(shard, rows)], mirror, bool(rng.random() < SINGLE), rng), device)
        with torch.no_grad():
            seen, known = model.perceive(batch.frames), batch.shows > VISIBLE_SHARE
            start = model.start(seen, cell_of(batch.place[:, KNOWN - 1], batch.size), known, batch.single)
            balls = start.balls
            if batch.single:
                balls = model.with_velocity(balls, batch.place[:, KNOWN] - batch.place[:, KNOWN - 1])
        count = known.sum(1)
        for n in count.unique().tolist():
            if n:
                some = _with_visible(Perceived(balls, seen.scene_features, batch), count == n, n)
                found.setdefault((batch.size, n), []).append(some)
    return [_joined(parts) for parts in found.values()]


def _with_visible(perceived: Perceived, chosen: Tensor, n: int) -> Perceived:
    """The chosen starts [B], which all show n balls, and of their balls only those that show."""
    shows = perceived.truth.shows > VISIBLE_SHARE
    order = shows.float().argsort(dim=1, descending=True, stable=True)[chosen, :n]  # [b, n]

    def take(x: Tensor, axis: int) -> Tensor:
        shape = [1] * x.ndim
        shape[0], shape[axis] = order.shape
        return x[chosen].take_along_dim(order.view(shape), axis)

    balls = Balls(*(take(x, 1) for x in perceived.balls))
    truth = {name: take(getattr(perceived.truth, name), axis) for name, axis in BALL_AXIS.items()}
    unused = dict.fromkeys(("frames", "words", "ground", "light", "moves", "depth", "pull"))
    return Perceived(balls, perceived.around[chosen], replace(perceived.truth, **truth, **unused))


def _joined(parts: list[Perceived]) -> Perceived:
    truth = {name: torch.cat([getattr(part.truth, name) for part in parts]) for name in BALL_AXIS}
    balls = Balls(*map(torch.cat, zip(*(part.balls for part in parts), strict=True)))
    return Perceived(balls, torch.cat([part.around for part in parts]), replace(parts[0].truth, **truth))


class _MotionTask(ObjectDynamicsTask):
    """The networks that move balls on."""

    def __init__(self, recipe: MotionRecipe):
        data = Scenes.load(recipe.scenes)
        super().__init__(recipe, *load_dynamics(recipe.start_from))
        self.perceived = perceive(self.model, data, recipe.seed)
        self.counts = np.array([len(some.around) for some in self.perceived], float)
        moving = (self.model.step, self.model.push, self.model.meet)
        params: list[Tensor] = [p.requires_grad_(True) for part in moving for p in part.parameters()]
        self.trained = self.trained_weights(params, [params])

    def loss(self, now: Progress) -> Loss:
        """Of the predictions from a batch of perceived starts."""
        rng = np.random.default_rng([self.recipe.seed, now.step])
        some = self.perceived[rng.choice(len(self.perceived), p=self.counts / self.counts.sum())]
        rows = torch.from_numpy(rng.integers(len(some.around), size=self.recipe.batch))
        losses = prediction_losses(self.model, *some.rows(rows.to(self.device)), ROLLOUT, torch.Generator())
        return Loss(weighted_sum(losses), self.recipe.batch, {k: v.detach() for k, v in losses.items()})

    def start_row(self) -> dict[str, object]:
        return {"starts": int(self.counts.sum())}


def train(recipe: MotionRecipe, validate_every: int = 500) -> None:
    """Carry out a recipe, after perceiving every start once, resuming where its folder holds a state. Raises
    FileNotFoundError without scenes or a run to begin with."""
    task = _MotionTask(recipe)
    schedule = Schedule(seconds=recipe.hours * 3600, validate_every=validate_every)
    Trainer(task, recipe, Run(recipe.out), schedule).fit()
