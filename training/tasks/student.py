"""Distils the teacher into a flow map that makes a video in 1 to 32 steps: `vdit train student`.

The recipe: the student learns the average velocity between any two sigmas (as MeanFlow, arXiv 2505.13447, and AnyFlow)
of the teacher's own guided trajectories, over intervals that double from stage to stage (progressive distillation,
arXiv 2202.00512), and the instantaneous velocity beside them. Part of the batches begin where the student's own step
led, and aim at the teacher's trajectory from there. So the same noise leads student and teacher to the same video: a
preview predicts the render.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ...model.config import VDiTConfig
from ...model.precision import mixed
from ...model.student import from_teacher
from ...model.vdit import VDiT
from ...sampling import MAX_FLOW_MAP_STEPS, schedule, shift_sigma
from ..batches import Batches, Turn, moved
from ..data.trajectories import Trajectories, conditions, fill_cache, frame_levels, interpolant
from ..finished_runs import Teacher, hours_of, load_bundle, load_teacher, load_transformer
from ..launch import ALONE, Team
from ..learning_rate import constant_with_cooldown
from ..lowrank import add_ranks, trainable
from ..muon import block_optimizers
from ..parallel import shard
from ..recipes import StudentRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer
from .teacher import SETTINGS as FLOW_MATCHING
from .teacher import loss_weight


@dataclass(frozen=True)
class DistillationSettings:
    """Numbers of the recipe, chosen by hand where nothing else is said."""

    stages: tuple[tuple[int, float], ...] = ((32, 0.06), (16, 0.06), (8, 0.12), (4, 0.24), (2, 0.20), (1, 0.32))
    # fewest steps so far, share of the time
    mix: tuple[float, ...] = (0.30, 0.25, 0.25, 0.10, 0.05, 0.05)  # of a stage's fewest steps, twice as many, ...
    any_steps: float = 0.15  # share of pairs with any number of steps
    shifted: float = 0.15  # share of pairs on a shifted schedule
    instantaneous: float = 0.4  # share of rows with r = t
    self_forced: float = 0.3  # share of batches that begin one step of the student's after the teacher's states
    self_forced_steps: int = 8  # from which stage on
    self_forced_interval: float = 0.1  # least t - r of rows that do
    shortest: float = (
        0.01  # least change of level: over less, float16's rounding of states would be most of the velocity
    )
    warmup_s: float = 30.0
    cooldown: float = 0.3  # share of the time over which the rate falls to zero
    average: float = 0.999  # decay of the moving average


SETTINGS = DistillationSettings()
STEP_COUNTS = (1, 2, 4, 8)  # of the errors in the log
HELD_OUT_FILES = 2


def fewest_at(share: float) -> int:
    """The fewest steps trained so far when `share` 0..1 of the time has passed."""
    for fewest, part in SETTINGS.stages:
        share -= part
        if share < 0:
            return fewest
    return SETTINGS.stages[-1][0]


def draw_times(count: int, fewest: int, rng: np.random.Generator, settings: DistillationSettings = SETTINGS) -> Tensor:
    """Sigmas [3, count]: one step before t (or t), t, and the target r; every row a step of some schedule, or r = t."""
    powers = [fewest * 2**k for k in range(6) if fewest * 2**k <= MAX_FLOW_MAP_STEPS]
    shares = np.array(settings.mix[: len(powers)]) / sum(settings.mix[: len(powers)])
    rows = []
    for _ in range(count):
        if rng.random() < settings.instantaneous:
            t = 1.0 if rng.random() < 0.1 else rng.uniform(0.01, 1.0)
            rows.append((t, t, t))
            continue
        steps = int(rng.choice(powers, p=shares))
        if rng.random() < settings.any_steps:
            steps = int(np.exp(rng.uniform(np.log(fewest), np.log(MAX_FLOW_MAP_STEPS + 1))))
        shift = float(np.exp(rng.uniform(np.log(0.5), np.log(5.0)))) if rng.random() < settings.shifted else 1.0
        i = int(rng.integers(steps))
        rows.append(tuple(shift_sigma(min(k, steps) / steps, shift) for k in (i + 2, i + 1, i)))
    return torch.tensor(rows, dtype=torch.float32).T


def _wide(level: Tensor) -> Tensor:
    """Levels [B, T] as they multiply latents [B, C, T, h, w]."""
    return level[:, None, :, None, None]


def average_velocity(
    student: VDiT, x: Tensor, t: Tensor, r: Tensor, end: Tensor, known: Tensor, controls: dict[str, Tensor]
) -> Tensor:
    """The student's average velocity [B, C, T, h, w] from frame levels t to r [B, T], given `end` where frames are
    known."""
    with mixed(x.device), parametrize.cached():
        return student(end.where(_wide(known), x), t, target=r, **controls).float()


def distillation_loss(student: VDiT, found: dict, times: Tensor, *, self_forced: bool) -> Tensor:
    """Mean squared error of the average velocity from t to r over the frames whose level changes.

    found: trajectories; times as `draw_times` gives them, on the CPU. self_forced: long steps begin where the
    student's step before leads, and aim at the teacher's trajectory from there: so it learns to correct its own errors.
    """
    device, rows = found["states"].device, torch.arange(len(found["known"]), device=found["states"].device)
    late = (times[0] > times[1]) & (times[1] - times[2] > SETTINGS.self_forced_interval)
    own = late.nonzero()[:, 0]  # found on the CPU: no device is waited for
    times, own = times.to(device), own.to(device)
    before, t, r = times
    end, known, controls = found["states"][rows, -1].float(), found["known"][rows], conditions(found, rows)
    levels = [frame_levels(found, rows, time) for time in times]
    x, v = interpolant(found, rows, t)
    if self_forced:
        with torch.no_grad():
            some = own if len(own) else rows[:1]  # members of a team wait for each other in each call of a model
            start, _ = interpolant(found, rows[some], before[some])
            earlier, now = levels[0][some], levels[1][some]
            told = {n: value[some] for n, value in controls.items()}
            u = average_velocity(student, start, earlier, now, end[some], known[some], told)
            if len(own):
                x[own] = start - _wide(earlier - now) * u
    target, _ = interpolant(found, rows, r)
    interval = levels[1] - levels[2]
    average = (x - target) / _wide(interval.clamp_min(SETTINGS.shortest))
    wanted = torch.where(_wide(interval > SETTINGS.shortest), average, v)
    error = (average_velocity(student, x, levels[1], levels[2], end, known, controls) - wanted).square().mean(1)
    constant = (levels[1] == 0) | ((t > r)[:, None] & (interval <= 0))  # finished or known, or waiting all the while
    weight = loss_weight(end, constant, moving=FLOW_MATCHING.moving)
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def relative_error(student: VDiT, held_out: Trajectories, steps: int) -> float:
    """Of the student's videos in `steps` steps against the teacher's from the same noise, both latent."""
    wrong, power, device = 0.0, 0.0, student.patch_embedding.weight.device
    for found in held_out.shards.values():
        found, rows = moved(found, device), torch.arange(len(found["known"]), device=device)
        known, controls = found["known"], conditions(found, rows)
        x, end = found["states"][:, 0].float(), found["states"][:, -1].float()
        levels = [frame_levels(found, rows, torch.full((len(rows),), s, device=device)) for s in schedule(steps)]
        for t, r in zip(levels[:-1], levels[1:], strict=True):
            x = x - _wide(t - r) * average_velocity(student, x, t, r, end, known, controls)
        free = _wide(~known)
        wrong += ((x - end) * free).square().sum().item()
        power += (end * free).square().sum().item()
    return (wrong / power) ** 0.5


def _initial(source: Path) -> tuple[VDiT, float]:
    """The transformer of a student's run or bundle (.safetensors), and the hours it took."""
    if source.suffix == ".safetensors":
        transformer, _, model = load_bundle(source)
        return transformer, model.facts.get("student_hours", 0.0)
    transformer, _, state = load_transformer(source)
    return transformer, hours_of(state)


class TrajectorySource:
    """Trajectories that each part of a step's batch draws for itself."""

    def __init__(self, recipe: StudentRecipe):
        self.recipe, self.data = recipe, Trajectories.load(recipe.cache)
        self.refresh = self.data.refresh

    def __call__(self, turn: Turn) -> dict[str, Tensor]:
        """Of one file."""
        rng = np.random.default_rng([self.recipe.seed, turn.step, turn.part])
        return self.data.draw(turn.portion(self.recipe.batch), rng)


class _StudentTask(Task):
    """A student of a teacher whose trajectories are there."""

    name = "student"

    def __init__(self, recipe: StudentRecipe, teacher: Teacher, team: Team):
        self.recipe, self.teacher, self.device = recipe, teacher, team.computes_on(recipe.device)
        begin, self.hours = teacher.transformer, 0.0  # of runs that this one goes on from
        if recipe.start_from is not None:
            begin, self.hours = _initial(recipe.start_from)
        source, self.held_out = TrajectorySource(recipe), Trajectories.load(recipe.cache / "held-out")
        self.data, self.batches = source.data, Batches(source, self.device, team)
        self.student = from_teacher(begin, recipe.layers)
        if recipe.rank is not None:
            torch.manual_seed(recipe.seed)  # all members begin with the same factors
            add_ranks(self.student, recipe.rank)
        self.student.to(self.device)
        changing = trainable(self.student)
        for n, p in self.student.named_parameters():
            p.requires_grad_(n in changing)
        if team.shards:
            shard(self.student, team)
        params = {f"model.{n}": p for n, p in trainable(self.student).items()}
        self.frozen = {f"model.{n}": p for n, p in self.student.named_parameters() if f"model.{n}" not in params}
        optimizers = block_optimizers(params, recipe.peak, recipe.muon, team)
        self.trained = TrainedWeights.averaging(params, optimizers, SETTINGS.average)

    def learning_rate(self, now: Progress) -> float:
        total = self.recipe.hours * 3600
        cooldown = SETTINGS.cooldown * total
        return constant_with_cooldown(now.seconds, total, self.recipe.peak, cooldown, SETTINGS.warmup_s)

    def loss(self, now: Progress) -> Loss:
        """Of trajectories that each part of the batch draws for itself."""
        rng = np.random.default_rng([self.recipe.seed, now.step, now.part, 1])  # other draws than the trajectories'
        fewest, found = fewest_at(now.share), self.batches.of(now.turn)
        times = draw_times(len(found["known"]), fewest, rng)
        alike = np.random.default_rng([self.recipe.seed, now.step])  # for all members, which wait for each other
        self_forced = fewest <= SETTINGS.self_forced_steps and alike.random() < SETTINGS.self_forced
        return Loss(distillation_loss(self.student, found, times, self_forced=self_forced), len(found["known"]))

    def validate(self) -> dict[str, float]:
        return {f"error_{n}": round(relative_error(self.student, self.held_out, n), 4) for n in STEP_COUNTS}

    def start_row(self) -> dict[str, object]:
        counts = {"trajectories": len(self.data), "held_out": len(self.held_out)}
        whose = {"teacher": self.teacher.name, "guidance": self.teacher.guidance}
        return {"config": asdict(self.student.config), **whose, **counts}

    def log_row(self, now: Progress) -> dict[str, object]:
        return {"rate": round(self.learning_rate(now), 6), "fewest": fewest_at(now.share)}

    def state(self, now: Progress) -> dict[str, object]:
        trained, teacher = self.trained.state(), self.teacher
        words = {f"text.{n}": p for n, p in teacher.text.state_dict().items()}
        return {
            **trained,
            "average": {**self.trained.average, **words},
            "frozen": self.frozen,
            "hours": self.hours,
            "config": asdict(self.student.config),
            "teacher": teacher.fingerprint,
            "guidance": teacher.guidance,
            "rise": teacher.rise,
            "teacher_facts": teacher.facts,
            "trajectories": len(self.data),
            "vocabulary": teacher.text.vocabulary,
            "rank": self.recipe.rank,
        }

    def load_state(self, state: dict) -> None:
        now = asdict(self.student.config), self.teacher.fingerprint, self.recipe.rank
        if now != (asdict(VDiTConfig(**state["config"])), state["teacher"], state.get("rank")):
            raise ValueError(
                f"{self.recipe.out} holds a student of another teacher, size or rank; name another folder with --out"
            )
        self.trained.load(state["weights"], state["average"], state["optimizers"])


def train(recipe: StudentRecipe, team: Team = ALONE, *, validate_every: int = 500) -> None:
    """Fill the cache of trajectories, then distil; both go on where they stopped.

    A fresh student has the weights of the teacher's layers (`layers` of them), or of those of the student `start_from`.
    Trajectories that other processes add meanwhile are used too; a team's members solve a part each. Raises ValueError
    for a teacher that is a student, and for a student in few ranks that begins with another's.
    """
    if recipe.rank is not None and recipe.start_from is not None:
        raise ValueError("a student in few ranks begins as its teacher: leave out --start-from, or --rank")
    teacher, cache = load_teacher(recipe.teacher, recipe.guidance).on(team.computes_on(recipe.device)), recipe.cache
    fill_cache(teacher, recipe, recipe.latents, cache, range(team.rank, recipe.files, team.size))
    held_out = range(team.rank, HELD_OUT_FILES, team.size)
    fill_cache(teacher, recipe, recipe.held_out, cache / "held-out", held_out, seed=1)
    team.wait()  # for what the others solve
    task = _StudentTask(recipe, teacher, team)
    schedule = Schedule(seconds=recipe.hours * 3600, validate_every=validate_every, validate_first=True)
    Trainer(task, recipe, Run(recipe.out, silent=not team.leads), schedule, team).fit()
