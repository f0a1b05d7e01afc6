"""Trains the picture gate: `vdit train gate`. Is a picture of the simulated world, or of anything else?

Half of a batch are pictures of the world, half are photographs, procedural pictures and collages. What happens to
pictures on their way (mirroring, zoom, JPEG, softness) happens to both alike, so that it says nothing.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.picture_gate import GateConfig, PictureGate
from ...model.precision import mixed
from ..batches import Batches, Turn
from ..data.other_pictures import OtherPictures
from ..data.starts import softened
from ..data.world_pictures import WorldPictures, through_jpeg
from ..finished_runs import trained_gate
from ..launch import ALONE
from ..learning_rate import cosine
from ..recipes import GateRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer

CONFIG = GateConfig()  # what ships
ZOOM = (0.7, 1.0)  # share of a side that is left of a picture
ZOOMED, JPEG, SOFT = 0.5, 0.25, 0.25  # shares of pictures that this happens to
SOFT_PIXELS = (1.5, 6.0)  # detail finer than so many pixels is taken out
OWN_WEIGHT = 2.0  # of a picture of the world in the loss: to refuse one takes a prediction away
HELD_OUT, VALIDATED = 1024, 32  # pictures of each kind that are validated, and how many together


def pictures_of(world: WorldPictures, other: OtherPictures, count: int, rng: np.random.Generator) -> Tensor:
    """Pictures [2 count, SIDE, SIDE, 3] in 0..1: the first half of the world, the rest of anything else."""
    own, mixed_in = world.draw(count, rng), world.draw(count, rng)
    others = np.stack([other.draw(rng, picture.numpy()) for picture in mixed_in])
    return changed(torch.cat((own, torch.from_numpy(others).float())), rng)


def changed(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures [B, H, W, 3] mirrored, zoomed, compressed or softened at random."""
    count = len(pictures)
    scale = torch.from_numpy(np.where(rng.random((count, 1)) < ZOOMED, rng.uniform(*ZOOM, (count, 2)), 1.0)).float()
    shift = torch.from_numpy(rng.uniform(-0.5, 0.5, (count, 2))).float() * (1 - scale)
    mirror = torch.from_numpy(rng.choice((-1.0, 1.0), count)).float()
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = scale[:, 0] * mirror, scale[:, 1], shift
    grid = F.affine_grid(matrix, [count, 3, *pictures.shape[1:3]], align_corners=False)
    x = F.grid_sample(pictures.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
    x = x.permute(0, 2, 3, 1).clamp(0, 1).contiguous()
    for i in np.flatnonzero(rng.random(count) < JPEG):
        x[i] = through_jpeg(x[i : i + 1], int(rng.integers(30, 96)))[0]
    for i in np.flatnonzero(rng.random(count) < SOFT):
        x[i] = softened(x[i : i + 1, None], rng.uniform(*SOFT_PIXELS))[0, 0]
    return x


class PictureSource:
    """Pictures of the world and others, as many of both."""

    def __init__(self, recipe: GateRecipe):
        self.recipe = recipe
        self.world, self.other = WorldPictures.load(recipe.pictures), OtherPictures(recipe.photographs)
        self.refresh = self.world.refresh

    def __call__(self, turn: Turn) -> Tensor:
        """See pictures_of."""
        rng = np.random.default_rng([self.recipe.seed, turn.step])
        return pictures_of(self.world, self.other, self.recipe.batch // 2, rng)


class _GateTask(Task):
    """The gate's training, as the trainer sees it."""

    name = "gate"

    def __init__(self, recipe: GateRecipe, config: GateConfig):
        self.recipe, self.device = recipe, ALONE.computes_on(recipe.device)
        self.batches = Batches(PictureSource(recipe), self.device, ALONE)
        rng = np.random.default_rng(1)
        held_out = WorldPictures.load(recipe.held_out), OtherPictures(recipe.held_out_photographs)
        parts = [pictures_of(*held_out, VALIDATED, rng).chunk(2) for _ in range(HELD_OUT // VALIDATED)]
        self.held_out = [torch.cat(kind) for kind in zip(*parts, strict=True)]  # of the world, and others
        torch.manual_seed(recipe.seed)
        begun = None if recipe.start_from is None else trained_gate(recipe.start_from)[0]
        self.model = (begun or PictureGate(config)).to(self.device).train().requires_grad_(True)
        params = dict(self.model.named_parameters())
        optimizer = torch.optim.AdamW(params.values(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.02)
        self.trained = TrainedWeights.averaging(params, [optimizer], 0.995)

    def learning_rate(self, now: Progress) -> float:
        return cosine(round(1e4 * now.share), 10000, self.recipe.peak, warmup=100, floor=0.01)

    def loss(self, now: Progress) -> Loss:
        """Cross-entropy of a batch, half of it pictures of the world."""
        count = self.recipe.batch // 2
        with mixed(self.device):
            odds = self.model(self.batches.of(now.turn)).float()
        own, others = F.softplus(-odds[:count]).mean(), F.softplus(odds[count:]).mean()
        wrong = torch.cat((odds[:count] <= 0, odds[count:] > 0))
        return Loss((OWN_WEIGHT * own + others) / (OWN_WEIGHT + 1), 2 * count, {"wrong": wrong.float().mean()})

    def validate(self) -> dict[str, float]:
        """On held-out pictures: shares of the world's that are refused, and of others that are accepted; the odds of
        the least likely per cent of the first and of the likeliest of the others."""
        own, others = (
            torch.cat([self.model(part.to(self.device)) for part in kind.split(VALIDATED)]) for kind in self.held_out
        )
        return {
            "refused": round(float((own <= 0).float().mean()), 4),
            "accepted": round(float((others > 0).float().mean()), 4),
            "own_odds": round(float(own.quantile(0.01)), 2),
            "other_odds": round(float(others.quantile(0.99)), 2),
        }

    def state(self, now: Progress) -> dict[str, object]:
        return {**self.trained.state(), "config": asdict(self.model.config)}

    def load_state(self, state: dict) -> None:
        self.trained.load(state["weights"], state["average"], state["optimizers"])


def train(recipe: GateRecipe, config: GateConfig = CONFIG, validate_every: int = 500) -> None:
    """Carry out a recipe, resuming where its folder holds a state. Raises FileNotFoundError without pictures."""
    schedule = Schedule(seconds=recipe.hours * 3600, validate_every=validate_every)
    Trainer(_GateTask(recipe, config), recipe, Run(recipe.out), schedule).fit()
