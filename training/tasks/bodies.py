"""Trains the perception of bodies: `vdit train perception`."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from ...model.perception import BodyPerception, PerceptionConfig
from ...model.precision import mixed
from ..batches import Batches, Turn
from ..data.body_batches import Batch, BodyBatches
from ..finished_runs import begun_perception
from ..launch import ALONE
from ..learning_rate import cosine
from ..recipes import PerceptionRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer
from .body_losses import losses, total
from .body_scores import scores

CONFIG = PerceptionConfig()  # what is trained by the command
HELD_OUT = 256  # starts that are validated
AVERAGED = 0.999  # decay of the moving average of the weights, in a step


class BodySource:
    """Starts of scenes of bodies, see BodyBatches."""

    def __init__(self, recipe: PerceptionRecipe):
        photographs = recipe.photographs if recipe.photographs.is_dir() else None
        self.recipe, self.starts = recipe, BodyBatches(recipe.bodies, photographs)
        self.refresh = self.starts.bodies.refresh

    def __call__(self, turn: Turn) -> Batch:
        """Of one size."""
        return self.starts.draw(self.recipe.batch, np.random.default_rng([self.recipe.seed, turn.step]))


class _PerceptionTask(Task):
    """The perception's training, as the trainer sees it."""

    name = "perception"

    def __init__(self, recipe: PerceptionRecipe, config: PerceptionConfig):
        self.recipe, self.device = recipe, ALONE.computes_on(recipe.device)
        source = BodySource(recipe)
        self.starts, self.batches = source.starts, Batches(source, self.device, ALONE)
        self.held_out = BodyBatches(recipe.held_out, None).held_out(HELD_OUT)
        torch.manual_seed(recipe.seed)
        begun = None if recipe.start_from is None else begun_perception(recipe.start_from)
        self.model = (begun or BodyPerception(config)).to(self.device).train().requires_grad_(True)
        params = dict(self.model.named_parameters())
        optimizer = torch.optim.AdamW(params.values(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.02)
        self.trained = TrainedWeights.averaging(params, [optimizer], AVERAGED)

    def learning_rate(self, now: Progress) -> float:
        return cosine(round(1e4 * now.share), 10000, self.recipe.peak, warmup=100, floor=0.02)

    def loss(self, now: Progress) -> Loss:
        """Of a batch of starts, with products in bfloat16 where the device has them."""
        batch = self.batches.of(now.turn)
        with mixed(self.device):
            parts = losses(self.model, batch)
        return Loss(total(parts), self.recipe.batch, {name: value.detach() for name, value in parts.items()})

    def validate(self) -> dict[str, float]:
        """See scores."""
        return {name: round(value, 4) for name, value in scores(self.model, self.held_out).items()}

    def start_row(self) -> dict[str, object]:
        return {"starts": len(self.starts.bodies), "parameters": sum(p.numel() for p in self.model.parameters())}

    def log_row(self, now: Progress) -> dict[str, object]:
        return {"starts": len(self.starts.bodies)}

    def state(self, now: Progress) -> dict[str, object]:
        return {**self.trained.state(), "config": asdict(self.model.config)}

    def load_state(self, state: dict) -> None:
        self.trained.load(state["weights"], state["average"], state["optimizers"])


def train(recipe: PerceptionRecipe, config: PerceptionConfig = CONFIG, validate_every: int = 500) -> None:
    """Carry out a recipe, resuming where its folder holds a state. Raises FileNotFoundError without starts."""
    schedule = Schedule(seconds=recipe.minutes * 60, validate_every=validate_every)
    Trainer(_PerceptionTask(recipe, config), recipe, Run(recipe.out), schedule).fit()
