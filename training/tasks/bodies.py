"""Trains the perception of bodies: `vdit train perception`."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from ...model.perception import BodyPerception, PerceptionConfig
from ...model.precision import has_bfloat16
from ..data.body_batches import BodyBatches
from ..finished_runs import trained_perception
from ..learning_rate import cosine
from ..recipes import PerceptionRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer
from .body_losses import losses, total
from .body_scores import scores

CONFIG = PerceptionConfig()  # what is trained by the command
HELD_OUT = 256  # starts that are validated
AVERAGED = 0.999  # decay of the moving average of the weights, in a step


class _PerceptionTask(Task):
    """The perception's training, as the trainer sees it."""

    name = "perception"

    def __init__(self, recipe: PerceptionRecipe, config: PerceptionConfig):
        self.recipe, self.device = recipe, torch.device(recipe.device)
        photographs = recipe.photographs if recipe.photographs.is_dir() else None
        self.starts = BodyBatches(recipe.bodies, photographs)
        self.held_out = BodyBatches(recipe.held_out, None).held_out(HELD_OUT)
        torch.manual_seed(recipe.seed)
        begun = None if recipe.start_from is None else trained_perception(recipe.start_from)[0]
        self.model = (begun or BodyPerception(config)).to(self.device).train().requires_grad_(True)
        params = dict(self.model.named_parameters())
        optimizer = torch.optim.AdamW(params.values(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.02)
        self.trained = TrainedWeights.averaging(params, [optimizer], AVERAGED)
        self.narrow = self.device.type != "cpu" or has_bfloat16()

    def learning_rate(self, now: Progress) -> float:
        return cosine(round(1e4 * now.share), 10000, self.recipe.peak, warmup=100, floor=0.02)

    def loss(self, now: Progress) -> Loss:
        """Of a batch of starts, with products in bfloat16 where the device has them."""
        if now.step % 50 == 0:
            self.starts.bodies.refresh()
        batch = self.starts.draw(self.recipe.batch, np.random.default_rng([self.recipe.seed, now.step]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.narrow):
            parts = losses(self.model, batch.on(self.device))
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
