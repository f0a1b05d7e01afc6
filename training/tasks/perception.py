"""Trains the object dynamics on starts of clips and where their balls go: `vdit train dynamics`.

The recipe: perceive balls, ground, light and the camera's rest in the first five frames (or in one), then predict every
ball, frame by frame, ever farther ahead. At first true places replace some predicted ones (scheduled sampling, arXiv
1506.03099). AdamW, a cosine over the time, and a moving average of the weights, which is what ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ...model.object_dynamics import KNOWN, UNITS, ObjectDynamics
from ..batches import Batches, Turn, moved
from ..data.starts import Scenes, Starts
from ..data.tracks import VISIBLE_SHARE
from ..finished_runs import load_dynamics
from ..launch import ALONE
from ..learning_rate import cosine
from ..random_streams import RandomStreams
from ..recipes import DynamicsRecipe, MotionRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer
from .dynamics_losses import Rollout, beyond_edge, losses, weighted_sum


@dataclass(frozen=True)
class DynamicsSettings:
    """Numbers of the recipe, chosen by hand."""

    horizons: tuple[tuple[float, int], ...] = ((0.0, 0), (0.15, 8), (0.25, 18), (0.40, 36), (0.70, 76))
    # frames predicted, from which share of the time on
    single: float = 0.35  # share of batches of which one picture is known
    continued_from: float = 0.7  # share of the time at which a run counts as begun that has another one's weights
    truth_chance: float = 0.08  # of scheduled sampling at first, falling to none after a third of the time
    average: float = 0.998  # decay of the moving average


SETTINGS = DynamicsSettings()
LOOK_AHEAD = (0, 4, 12, 24, 36, 60)  # frames behind the last known one whose errors are validated
BATCH, EVERY = 32, 2  # starts that are validated together, and of which every so many


@torch.no_grad()
def validate(model: ObjectDynamics, data: Scenes) -> dict[str, float]:
    """On held-out starts: share of balls found and of false ones; of those found in still pictures, the median error in
    pixels of a picture 128 high in the last known frame and 4 to 60 frames later, and the share within a radius; the
    median share by which the ground is too far or too near, and degrees by which the light is off."""
    hits = wanted = extra = right = total = 0
    off: dict[int, list[Tensor]] = {t: [] for t in LOOK_AHEAD}
    within: list[Tensor] = []
    ground: list[Tensor] = []
    light: list[Tensor] = []
    longest, device = LOOK_AHEAD[-1], model.single.device
    for shard in data.shards.values():
        for rows in torch.arange(0, len(shard["rgb"]), EVERY).split(BATCH):
            batch = moved(data.batch([(shard, rows)]), device)
            seen = model.perceive(batch.frames)
            at, present = model.detect(seen)
            start = model.start(seen, at, present)
            path = model(start.balls, seen.scene_features, longest)
            place = torch.cat((start.balls.position[:, :, None], path), 2)  # [B, M, longest+1, 2]
            truth = batch.place[:, KNOWN - 1 :].transpose(1, 2)  # [B, N, T, 2]
            apart = (place[:, :, None, 0] - truth[:, None, :, 0]).norm(dim=-1) / batch.radius.clamp_min(0.01)[:, None]
            impossible = ~present[:, :, None] | (batch.radius <= 0)[:, None]
            apart = apart.masked_fill(impossible, torch.inf)  # [B, M, N] in radii
            known = batch.shows > VISIBLE_SHARE
            found = known & (apart.amin(1) < 0.5)
            hits, wanted = hits + int(found.sum()), wanted + int(known.sum())
            extra += int((present & (apart.amin(2) > 0.5)).sum())
            right, total = right + int(((seen.camera_moves > 0) == (batch.moves > 0)).sum()), total + len(at)
            ground.append((seen.inverse_depth / batch.ground).log().abs().flatten())
            light.append(torch.cosine_similarity(seen.light, batch.light, -1).clamp(-1, 1).arccos().rad2deg())
            still = found & (batch.moves == 0)[:, None]
            nearest = apart.argmin(1)[:, :, None, None].expand(-1, -1, longest + 1, 2)
            truth = truth[:, :, : longest + 1]
            error = (place.gather(1, nearest) - truth).norm(dim=-1)  # [B, N, longest+1]
            inside = beyond_edge(truth, batch.size).amax(-1) < 0
            inside &= batch.valid[:, KNOWN - 1 : KNOWN + longest].transpose(1, 2)
            for t in off:
                off[t].append(error[:, :, t][still & inside[:, :, t]] * 128 / UNITS)
            some = (still[..., None] & inside)[:, :, 1:37]
            within.append(((error / batch.radius.clamp_min(0.01)[..., None]) < 1)[:, :, 1:37][some])
    return {
        "found": hits / wanted,
        "false": extra / wanted,
        "camera": right / total,
        **{f"off_{t}": _quantile(v, 0.5) for t, v in off.items()},
        **{f"p90_{t}": _quantile(off[t], 0.9) for t in (12, 36)},
        "within": float(torch.cat(within).float().mean()),
        "ground": float(torch.cat(ground).median()),
        "light": float(torch.cat(light).median()),
    }


def _quantile(parts: list[Tensor], q: float) -> float:
    values = torch.cat(parts)
    return float(values.quantile(q)) if len(values) else float("nan")


class ObjectDynamicsTask(Task):
    """What training the object dynamics, whole or in part, has in common, as the trainer sees it."""

    name: str
    trained: TrainedWeights

    recipe: DynamicsRecipe | MotionRecipe

    def __init__(self, recipe: DynamicsRecipe | MotionRecipe, model: ObjectDynamics, before: dict[str, float]):
        self.recipe, self.device, self.held_out = recipe, ALONE.computes_on(recipe.device), Scenes.load(recipe.held_out)
        self.model = model.to(self.device)
        self.before = before  # how the weights that this run begins with were trained
        self.name = recipe.out.name

    def trained_weights(self, params: Sequence[Tensor], clipped: Sequence[Sequence[Tensor]]) -> TrainedWeights:
        """AdamW over some parameters, and a moving average of all."""
        optimizer = torch.optim.AdamW(params, lr=self.recipe.peak, betas=(0.9, 0.98), weight_decay=0.01)
        average = {n: v.clone() for n, v in self.model.state_dict().items()}
        decay = lambda step: min(SETTINGS.average, 1 - 1 / (step + 1))  # noqa: E731
        return TrainedWeights(self.model.state_dict(keep_vars=True), [optimizer], clipped, average, decay)

    def learning_rate(self, now: Progress) -> float:
        """A cosine over the time."""
        return cosine(round(1e4 * now.share), 10000, self.recipe.peak, warmup=100, floor=0.01)

    def validate(self) -> dict[str, float]:
        """See validate."""
        return {k: round(v, 4) for k, v in validate(self.model, self.held_out).items()}

    def state(self, now: Progress) -> dict[str, object]:
        """As load_dynamics reads it."""
        return {
            "weights": self.model.state_dict(),
            "average": self.trained.average,
            "optimizer": self.trained.optimizers[0].state_dict(),
            "starts": now.samples,
            "before": self.before,
            "config": asdict(self.model.config),
        }

    def load_state(self, state: dict) -> None:
        """Weights, average, optimizer, and how the weights that this run began with were trained."""
        self.trained.load(state["weights"], state["average"], [state["optimizer"]])
        self.before = state["before"]


class StartSource:
    """Random starts, some of which are known by one picture."""

    def __init__(self, recipe: DynamicsRecipe):
        self.recipe, self.scenes = recipe, Scenes.load(recipe.scenes)
        self.refresh = self.scenes.refresh

    def __call__(self, turn: Turn) -> Starts:
        """Of one size."""
        rng = RandomStreams.of(self.recipe.seed, turn.step).rng
        return self.scenes.draw(self.recipe.batch, rng, single=rng.random() < SETTINGS.single)


class _DynamicsTask(ObjectDynamicsTask):
    """All of the object dynamics, or what the recipe leaves of them."""

    def __init__(self, recipe: DynamicsRecipe):
        source = StartSource(recipe)
        torch.manual_seed(recipe.seed)
        model, before = ObjectDynamics(), {}
        if recipe.start_from is not None:
            other, before = load_dynamics(recipe.start_from)
            model.load_state_dict(other.state_dict())
        super().__init__(recipe, model, before)
        self.scenes, self.batches = source.scenes, Batches(source, self.device, ALONE)
        self.ground_only = recipe.ground_only
        self.begins_at = SETTINGS.continued_from if recipe.start_from is not None else 0.0
        for part in (model.frame, model.where, model.quarter):
            part.requires_grad_(not recipe.keep_fine)
        if recipe.ground_only:
            model.requires_grad_(False).ground.requires_grad_(True)
        parts = [list(part.parameters()) for part in model.children()]  # rollouts have large gradients
        self.trained = self.trained_weights(list(model.parameters()), parts)

    def learning_rate(self, now: Progress) -> float:
        return super().learning_rate(now) if now.step > 50 else self.recipe.peak * now.step / 50

    def loss(self, now: Progress) -> Loss:
        """What is perceived in a batch of starts and predicted from it."""
        recipe = self.recipe
        through = self.begins_at + (1 - self.begins_at) * now.share
        frames = 0 if self.ground_only else [n for begin, n in SETTINGS.horizons if through >= begin][-1]
        rollout = Rollout(frames, SETTINGS.truth_chance * max(0.0, 1 - 3 * through))
        batch = self.batches.of(now.turn)
        found = losses(self.model, batch, rollout, RandomStreams.of(recipe.seed, now.step).on(self.device))
        parts = {"likely" if k == "speed" and batch.single else k: v.detach() for k, v in found.items()}
        return Loss(weighted_sum(found), recipe.batch, parts)

    def validate(self) -> dict[str, float]:
        return {"starts": len(self.scenes), **super().validate()}

    def start_row(self) -> dict[str, object]:
        return {"starts": len(self.scenes)}


def train(recipe: DynamicsRecipe, validate_every: int = 500) -> None:
    """Carry out a recipe, resuming where its folder holds a state. Raises FileNotFoundError without scenes."""
    schedule = Schedule(seconds=recipe.hours * 3600, validate_every=validate_every)
    Trainer(_DynamicsTask(recipe), recipe, Run(recipe.out), schedule).fit()
