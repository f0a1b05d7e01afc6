"""The training loop of every network: resume, step, guard, average, log, validate and save, in one process or several.

A task says what is trained and what the loss is; the trainer does the rest. Runs end after so many seconds of training,
over all sessions, or after so many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .batches import Turn
from .launch import ALONE, Team
from .options import command_line, plain_values
from .parallel import clip_grad_norm, in_shards, like, local_bytes, whole
from .recipes import Recipe
from .run import Run
from .sharded_state import ShardedStates

MAX_SKIPPED_STEPS = 20  # losses that may fail to be finite in one session before it ends with an error
CLIP_NORM = 1.0  # of gradients


class Progress(NamedTuple):
    """How far a run has come."""

    step: int  # steps taken
    samples: int  # clips seen
    seconds: float  # trained
    share: float  # of the run's length, 0 to 1
    part: int = 0  # which part of the batch is asked for, of `parts`
    parts: int = 1

    @property
    def turn(self) -> Turn:
        """Which batch is asked for."""
        return Turn(self.step, self.part, self.parts)


class Loss(NamedTuple):
    """The loss of one batch."""

    value: Tensor  # scalar, differentiated
    samples: int  # clips in the batch
    parts: Mapping[str, Tensor] = {}  # scalars, logged as means over the steps since the last log


@dataclass(frozen=True)
class Schedule:
    """How long a run lasts, in seconds or in steps, and how often (in steps) it logs and validates."""

    seconds: float = 0.0
    steps: int | None = None
    log_every: int = 50
    validate_every: int = 500
    validate_first: bool = False  # before the first step, too
    save_every: int = 0  # steps; 0: as the run's folder has it, in seconds

    def share(self, step: int, seconds: float) -> float:
        """How much of the run has passed; 1 and more: all."""
        done, total = (seconds, self.seconds) if self.steps is None else (step, self.steps)
        return done / total if total else 1.0


@dataclass(frozen=True)
class TrainedWeights:
    """The weights that a run changes, and how it changes them."""

    weights: Mapping[str, Tensor]  # live parameters (and buffers) by name
    optimizers: list[torch.optim.Optimizer]
    clipped: Sequence[Sequence[Tensor]]  # groups of parameters; the gradient of each is clipped by its own norm
    average: dict[str, Tensor] = field(default_factory=dict)  # exponential moving average of the weights; empty: none
    decay: Callable[[int], float] = lambda step: 0.0  # of the average, in a step

    @classmethod
    def averaging(
        cls, params: Mapping[str, Tensor], optimizers: list[torch.optim.Optimizer], decay: float
    ) -> TrainedWeights:
        """Parameters with a common norm of gradients and a moving average that at first forgets faster, as that of
        tf.train.ExponentialMovingAverage."""
        average = {name: p.detach().clone() for name, p in params.items()}
        ramp = lambda step: min(decay, (2 + step) / (11 + step))  # noqa: E731
        return cls(params, optimizers, [list(params.values())], average, ramp)

    def state(self) -> dict[str, object]:
        """As `load` takes it."""
        weights = {name: weight.data for name, weight in self.weights.items()}
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"weights": weights, "average": self.average, "optimizers": optimizers}

    def held_bytes(self) -> int:
        """What this process holds of weights, moving average and optimizer states."""
        states = (
            value for optimizer in self.optimizers for state in optimizer.state.values() for value in state.values()
        )
        tensors = [*self.weights.values(), *self.average.values(), *(v for v in states if isinstance(v, Tensor))]
        return local_bytes(tensors)

    def load(self, weights: dict[str, Tensor], average: dict[str, Tensor], optimizers: list[dict]) -> None:
        """Copy saved values into the live tensors. Raises ValueError where they are another model's."""
        for name, weight in self.weights.items():
            if name not in weights or weights[name].shape != weight.shape:
                raise ValueError(
                    f"the saved state is of another model: it has no {name} of shape {tuple(weight.shape)}"
                )
            weight.data.copy_(like(weights[name], weight))
        for name, value in self.average.items():
            value.copy_(like(average[name], value))
        for optimizer, saved in zip(self.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(in_shards(saved, optimizer))

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Copy another run's or a file's weights; the moving average begins with them."""
        for name, weight in self.weights.items():
            weight.data.copy_(like(weights[name].data, weight))
        for name, value in self.average.items():
            value.copy_(self.weights[name].data)

    def set_learning_rate(self, rate: float) -> None:
        """For all parameter groups of all optimizers."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate

    def forget_gradients(self) -> None:
        """Before a step's first loss."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def clip(self, team: Team) -> list[Tensor]:
        """Make the gradients the team's mean, and none too long; returns the norm of each group before."""
        if team.shards:  # gradients of sharded models are means already
            return [clip_grad_norm(group, CLIP_NORM) for group in self.clipped]
        team.mean_gradients(p for group in self.clipped for p in group)
        return [torch.nn.utils.clip_grad_norm_(group, CLIP_NORM) for group in self.clipped]

    def update(self, step: int, finite: bool) -> None:
        """One step along the gradient, left out where that is not finite; then the moving average."""
        if finite:
            for optimizer in self.optimizers:
                optimizer.step()
        for name, value in self.average.items():
            value.lerp_(self.weights[name].detach(), 1 - self.decay(step))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, for as long as it lasts."""
        live = {name: self.weights[name].data.clone() for name in self.average}
        for name, value in self.average.items():
            self.weights[name].data.copy_(value)
        try:
            yield
        finally:
            for name, value in live.items():
                self.weights[name].data.copy_(value)


class Task(Protocol):
    """One network's training, as the trainer sees it. Classes derive from it, so that what they leave out is empty."""

    name: str
    trained: TrainedWeights
    bundled: bool = True  # whether a finished run has all of its state in one file, which `vdit train bundle` reads

    def begin(self) -> tuple[int, int]:
        """Load what a fresh run begins with; returns the steps and samples that are behind it."""
        return 0, 0

    def learning_rate(self, now: Progress) -> float:
        """Of this step."""
        ...

    def loss(self, now: Progress) -> Loss:
        """Of this step's batch; its random draws follow from the recipe's seed and the step."""
        ...

    def validate(self) -> dict[str, float]:
        """Scores on held-out data, of the averaged weights where there are any."""
        ...

    def start_row(self) -> dict[str, object]:
        """What the log's first row says beside the recipe."""
        return {}

    def log_row(self, now: Progress) -> dict[str, object]:
        """What the log's rows say beside losses."""
        return {}

    def state(self, now: Progress) -> dict[str, object]:
        """All that state.pt holds beside step, samples and seconds."""
        ...

    def load_state(self, state: dict) -> None:
        """Go on from a saved state. Raises ValueError where it is another model's."""
        ...


class Trainer:
    """Trains one task by its recipe; `fit` goes on from the run's state, if it holds one."""

    def __init__(self, task: Task, recipe: Recipe, run: Run, schedule: Schedule, team: Team = ALONE):
        self.task, self.recipe, self.run, self.schedule, self.team = task, recipe, run, schedule, team
        self.step = self.samples = self.skipped = 0
        self.losses: dict[str, list[float]] = {}  # since the last log
        self.shards = ShardedStates(run.folder, team) if team.shards else None

    def fit(self) -> None:
        """Train to the schedule's end; then validate and save. Raises ValueError where another process trains in the
        run's folder."""
        with self.run.alone():
            self._begin()
            self._train()

    def _train(self) -> None:
        from tqdm import tqdm

        timed = self.schedule.steps is None
        total = round(self.schedule.seconds if self.schedule.steps is None else self.schedule.steps)
        done = lambda: min(total, round(self.run.seconds) if timed else self.step)  # noqa: E731
        unit = "s" if timed else "step"
        with tqdm(total=total, initial=done(), desc=self.task.name, unit=unit, disable=not self.team.leads) as bar:
            if self.schedule.validate_first and self.step == 0:
                self._validate()
            while (now := self._now()).share < 1:
                self.task.trained.set_learning_rate(self.task.learning_rate(now))
                if not self.take_step(now):
                    continue
                if self.step % self.schedule.log_every == 0:
                    bar.set_postfix({"step": self.step, **self._log(now)})
                bar.update(done() - bar.n)
                if self.step % self.schedule.validate_every == 0:
                    self._validate()
                self._save(now)
            self._validate(event="end")
            self._save(self._now(), last=True)

    def _now(self) -> Progress:
        """Where the run is, as the leader's clock says."""
        seconds = self.team.agreed(self.run.tick())
        return Progress(self.step, self.samples, seconds, self.schedule.share(self.step, seconds))

    def _begin(self) -> None:
        state = self.run.load()
        if self.shards is not None and (sharded := self.shards.load(self.task.trained, self._state, state)) is not None:
            state, self.run.seconds = sharded, sharded["seconds"]
        if state is None:
            self.step, self.samples = self.task.begin()
            self.run.log(
                event="start",
                command=command_line(self.recipe),
                **{
                    **plain_values(self.recipe),
                    "validate_every": self.schedule.validate_every,
                    **self.task.start_row(),
                },
            )
        else:
            self.task.load_state(state)
            self.step, self.samples = state["step"], state.get("samples", state.get("starts", 0))

    def _save(self, now: Progress, *, last: bool = False) -> None:
        """Save when it is time, or at once at the run's end."""
        if self.shards is None:
            return self.run.save(self._state(), force=last)
        every = self.schedule.save_every
        due = self.step % every == 0 if every else now.seconds - self.shards.seconds > self.run.save_every_s
        if due or last:
            self.shards.save({**self._state(), "seconds": now.seconds})
        if last:
            self.shards.wait()
            if self.task.bundled:
                self.run.save(whole(self._state()), force=True)

    def take_step(self, now: Progress) -> bool:
        """Take one step along the gradients of this member's parts of the batch; False, and logged, where the loss is
        not finite and is left out.

        That was seen once in some hundred steps on one CPU, not repeatable. Raises FloatingPointError when it piles up.
        """
        trained, mine = self.task.trained, self.team.mine
        trained.forget_gradients()
        found: list[Loss] = []
        for part in mine:
            loss = self.task.loss(now._replace(part=part, parts=self.team.parts or self.team.size))
            (loss.value if len(mine) == 1 else loss.value / len(mine)).backward()
            found.append(loss._replace(value=loss.value.detach()))
        self.step += 1
        names, norms = ["loss", *found[0].parts], trained.clip(self.team)
        values = [value for loss in found for value in (loss.value, *(loss.parts[name] for name in names[1:]))]
        # All numbers of a step leave the device at once: it waits for the CPU a single time.
        numbers = torch.stack([value.detach().float() for value in (*values, *norms)]).tolist()
        means = dict(zip(names, np.reshape(numbers[: len(values)], (len(found), -1)).mean(0).tolist(), strict=True))
        mean = means["loss"] = self.team.mean(means["loss"])
        if not math.isfinite(mean):
            self.skipped += 1
            self.run.log(event="not finite", step=self.step - 1, lost=self.skipped)
            if self.skipped > MAX_SKIPPED_STEPS:
                raise FloatingPointError(
                    f"{self.skipped} losses were not finite; the last in step {self.step - 1}: "
                    f"see {self.run.folder / 'log.jsonl'}"
                )
            return False
        trained.update(self.step - 1, all(map(math.isfinite, numbers[len(values) :])))
        self.samples += sum(loss.samples for loss in found) * self.team.size
        for name, value in means.items():
            self.losses.setdefault(name, []).append(value)
        return True

    def _log(self, now: Progress) -> dict[str, float]:
        """Write a row of the log; returns the losses in it."""
        means = {name: round(float(np.mean(values)), 5) for name, values in self.losses.items()}
        self.run.log(step=self.step, samples=self.samples, **means, **self.task.log_row(now))
        self.losses.clear()
        return means

    def _validate(self, **event: str) -> None:
        if self.team.leads or self.team.shards:  # members with parts of the model must call it together
            with torch.no_grad(), self.task.trained.averaged():
                scores = self.task.validate()
            self.run.log(step=self.step, samples=self.samples, **scores, **event)

    def _state(self) -> dict[str, object]:
        now = Progress(self.step, self.samples, self.run.seconds, 0.0)
        return {**self.task.state(now), "step": self.step, "samples": self.samples}
