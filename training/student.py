"""Distils the teacher into a flow map that makes a video in 1 to 32 steps: `vdit train student`.

The student learns the average velocity between any two sigmas of the teacher's own guided trajectories, over intervals
that double from stage to stage (progressive distillation), and the velocity of the moment beside them. So the same noise
leads it where it leads the teacher: a preview predicts the render.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ..model.config import VDiTConfig
from ..model.files.bundle import load_world_model
from ..model.precision import mixed
from ..model.student import from_teacher
from ..model.vdit import VDiT
from ..sampling import MAX_FLOW_MAP_STEPS, schedule, shift_sigma
from .launch import Team
from .lowrank import add_ranks, trained
from .run import Run, averaged_weights, take_step
from .teacher import DRAFT, MOVING, loss_weight, optimizers, rate_at
from .trajectories import (
    STEPS,
    Teacher,
    Trajectories,
    averaged,
    frame_levels,
    load_teacher,
    on_the_way,
    write_trajectories,
)  # fmt: skip

STAGES = ((32, 0.06), (16, 0.06), (8, 0.12), (4, 0.24), (2, 0.20), (1, 0.32))  # fewest steps so far, share of the time
MIX = (0.30, 0.25, 0.25, 0.10, 0.05, 0.05)  # shares of a stage's fewest steps, twice as many, ...
ANY = 0.15  # share of pairs with any number of steps
SHIFTED = 0.15  # share of pairs on a shifted schedule
INSTANT = 0.4  # share of rows with r = t
OWN = 0.3  # share of batches whose states are the student's own, one step after the teacher's
COOLDOWN = 0.3  # share of the time over which the rate falls to zero
EMA = 0.999
SHORTEST = 0.01  # of a frame's way in a step: over less, float16's rounding of states would be most of the velocity
STEP_COUNTS = (1, 2, 4, 8)  # of the fidelity in the log


def fewest_at(share: float) -> int:
    """The fewest steps trained so far when `share` 0..1 of the time has passed."""
    for fewest, part in STAGES:
        share -= part
        if share < 0:
            return fewest
    return STAGES[-1][0]


def draw_times(count: int, fewest: int, rng: np.random.Generator) -> Tensor:
    """Sigmas [3, count]: one step before t (or t), t, and the target r; every row a step of some schedule, or r = t."""
    powers = [fewest * 2**k for k in range(6) if fewest * 2**k <= MAX_FLOW_MAP_STEPS]
    shares = np.array(MIX[: len(powers)]) / sum(MIX[: len(powers)])
    rows = []
    for _ in range(count):
        if rng.random() < INSTANT:
            t = 1.0 if rng.random() < 0.1 else rng.uniform(0.01, 1.0)
            rows.append((t, t, t))
            continue
        steps = int(rng.choice(powers, p=shares))
        if rng.random() < ANY:
            steps = int(np.exp(rng.uniform(np.log(fewest), np.log(MAX_FLOW_MAP_STEPS + 1))))
        shift = float(np.exp(rng.uniform(np.log(0.5), np.log(5.0)))) if rng.random() < SHIFTED else 1.0
        i = int(rng.integers(steps))
        rows.append(tuple(shift_sigma(min(k, steps) / steps, shift) for k in (i + 2, i + 1, i)))
    return torch.tensor(rows, dtype=torch.float32).T


def conditions(found: dict, rows: Tensor) -> dict[str, Tensor]:
    """The context and the controls of cached trajectories."""
    return {n: found[n][rows].float() for n in ("context", "camera", "vace", "draft") if n in found}


def average_velocity(student: VDiT, x: Tensor, t: Tensor, r: Tensor, end: Tensor, known: Tensor, told: dict) -> Tensor:
    """The student's average velocity [B, C, T, h, w] from frame levels t to r [B, T], seeing `end` where frames are known."""
    seen = end.where(known[:, None, :, None, None], x)
    with mixed(), parametrize.cached():
        return student(seen, t, target=r, **told).float()


def distillation_loss(student: VDiT, found: dict, rows: Tensor, times: Tensor, *, own: bool) -> Tensor:
    """Mean squared error of the average velocity from t to r over the frames that are on their way.

    times as `draw_times` gives them. With `own`, wide steps begin where the student's step before leads, and aim at the
    teacher's trajectory from there: so it learns to make its own errors good.
    """
    before, t, r = times
    end, known, told = found["states"][rows, -1].float(), found["known"][rows], conditions(found, rows)
    levels = [frame_levels(found, rows, time) for time in times]
    wide = lambda v: v[:, None, :, None, None]  # noqa: E731
    x, v = on_the_way(found, rows, t)
    astray = (before > t) & (t - r > 0.1)
    if own and bool(astray.any()):
        with torch.no_grad():
            some = {n: value[astray] for n, value in told.items()}
            start, _ = on_the_way(found, rows[astray], before[astray])
            earlier, now = levels[0][astray], levels[1][astray]
            u = average_velocity(student, start, earlier, now, end[astray], known[astray], some)
            x[astray] = start - wide(earlier - now) * u
    target, _ = on_the_way(found, rows, r)
    way = levels[1] - levels[2]
    aim = torch.where(wide(way > SHORTEST), (x - target) / wide(way.clamp_min(SHORTEST)), v)
    error = (average_velocity(student, x, levels[1], levels[2], end, known, told) - aim).square().mean(1)
    rests = (levels[1] == 0) | ((t > r)[:, None] & (way <= 0))  # finished or known, or waiting throughout the step
    weight = loss_weight(end, rests, moving=MOVING)
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def fidelity(student: VDiT, held_out: Trajectories, steps: int) -> float:
    """Relative error of the student's videos in `steps` steps against the teacher's from the same noise, both latent."""
    wrong = power = 0.0
    for found in held_out.shards.values():
        rows = torch.arange(len(found["known"]))
        known, told = found["known"], conditions(found, rows)
        x, end = found["states"][:, 0].float(), found["states"][:, -1].float()
        way = [frame_levels(found, rows, torch.full((len(rows),), s)) for s in schedule(steps)]
        for t, r in zip(way, way[1:]):
            x = x - (t - r)[:, None, :, None, None] * average_velocity(student, x, t, r, end, known, told)
        free = (~known)[:, None, :, None, None]
        wrong += ((x - end) * free).square().sum().item()
        power += (end * free).square().sum().item()
    return (wrong / power) ** 0.5


@dataclass(frozen=True)
class Recipe:
    hours: float
    batch: int = 8
    peak: float = 3e-4  # highest learning rate; 7e-4 and 1.6e-3 ended 16% and 50% farther away at 4 steps (110 updates)
    muon: bool = False
    seed: int = 0
    rank: int | None = None  # in which matrices may differ from the teacher's; None: any
    validate_every: int = 500


def train(
    teacher: Path, latents: Path, held_out: Path, cache: Path, out: Path, recipe: Recipe, *, files: int = 128,
    cache_gb: float = 4.0, layers: int | None = None, guidance: float | None = None, teacher_steps: int = STEPS,
    drafted: float = DRAFT, start_from: Path | None = None, team: Team = Team(),
) -> None:  # fmt: skip
    """Fill the cache with `files` files of trajectories, then distil; both go on where they stopped.

    A fresh student has the weights of the teacher's layers (`layers` of them), or of those of the student `start_from`.
    drafted: see write_trajectories. Trajectories that other processes add meanwhile are used too; a team's members solve a
    part each. Raises ValueError for a teacher that is a student, and for a student in few ranks that begins with another's.
    """
    if recipe.rank is not None and start_from is not None:
        raise ValueError("a student in few ranks begins as its teacher: leave out --start-from, or --rank")
    source = load_teacher(teacher, guidance)
    solved = dict(steps=teacher_steps, limit_gb=cache_gb, drafted=drafted)
    write_trajectories(source, latents, cache, 0, files, team=team, **solved)
    write_trajectories(source, held_out, Path(cache) / "held-out", 0, 2, team=team, seed=1, **solved)
    team.wait()  # for what the others solve
    begin, before = source.transformer, {"start_from": None, "hours": 0.0}
    if start_from is not None:
        begin, hours = _begun(start_from)
        before = {"start_from": str(start_from), "hours": hours}
    data, check = Trajectories.load(cache), Trajectories.load(Path(cache) / "held-out")
    run = Run(out, silent=not team.leads)
    distil(from_teacher(begin, layers), source, data, check, run, recipe, before, team)


def _begun(source: Path) -> tuple[VDiT, float]:
    """The transformer of a student's run or bundle (.safetensors), and the hours it took."""
    if source.suffix == ".safetensors":
        model = load_world_model(source)
        return model.transformer, model.facts.get("student_hours", 0.0)
    transformer, _, state = averaged(source)
    return transformer, state["hours"] + state["seconds"] / 3600


def distil(
    student: VDiT, teacher: Teacher, data: Trajectories, check: Trajectories, run: Run, recipe: Recipe, before: dict,
    team: Team = Team(),
) -> None:  # fmt: skip
    """The training loop; `before`: the run that it starts from and its hours.

    The state is laid out as a teacher's, the teacher's words among its averaged weights.
    """
    from tqdm import tqdm

    if recipe.rank is not None:
        add_ranks(student, recipe.rank)
    params = trained(student)
    for p in params.values():
        p.requires_grad_(True)
    opts = optimizers(params, recipe.peak, recipe.muon, team)
    average = {n: p.detach().clone() for n, p in params.items()}
    step, samples, total = 0, 0, recipe.hours * 3600
    if state := run.load():
        now = asdict(student.config), teacher.fingerprint, recipe.rank
        if now != (asdict(VDiTConfig(**state["config"])), state["teacher"], state.get("rank")):
            raise ValueError(
                f"{run.folder} holds a student of another teacher, size or rank; name another folder with --out"
            )
        for n, p in params.items():
            p.data.copy_(state["weights"]["model." + n])
            average[n].copy_(state["average"]["model." + n])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        step, samples = state["step"], state["samples"]
    else:
        run.log(
            event="start", config=asdict(student.config), **asdict(recipe), start_from=before["start_from"],
            teacher=teacher.name, guidance=teacher.guidance, trajectories=len(data), held_out=len(check),
        )  # fmt: skip
    words = {"text." + n: p for n, p in teacher.text.state_dict().items()}
    frozen = {n: p for n, p in student.named_parameters() if n not in params}

    def snapshot() -> dict:
        named = lambda values: {"model." + n: v for n, v in values.items()}  # noqa: E731
        return {
            "weights": named({n: p.data for n, p in params.items()}), "average": {**named(average), **words},
            "optimizers": [o.state_dict() for o in opts], "step": step, "samples": samples, "hours": before["hours"],
            "config": asdict(student.config), "teacher": teacher.fingerprint, "guidance": teacher.guidance,
            "rise": teacher.rise, "teacher_facts": teacher.facts, "trajectories": len(data),
            "vocabulary": teacher.text.vocabulary, "rank": recipe.rank, "frozen": named(frozen),
        }  # fmt: skip

    def check_now(**more) -> None:
        with averaged_weights(params, average):
            scores = {f"error_{n}": round(fidelity(student, check, n), 4) for n in STEP_COUNTS}
        run.log(step=step, samples=samples, **scores, **more)

    bar = tqdm(total=round(total), initial=round(min(total, run.seconds)), desc="student", unit="s",
               disable=not team.leads)  # fmt: skip
    losses: list[float] = []
    if step == 0 and team.leads:
        check_now()
    while (seconds := team.agreed(run.tick())) < total:
        rng = np.random.default_rng([recipe.seed, step, team.rank])
        rate = rate_at(seconds, total, recipe.peak, COOLDOWN * total, warmup=30.0)
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = rate
        fewest = fewest_at(seconds / total)
        found, rows = data.draw(team.share(recipe.batch), rng)
        times = draw_times(len(rows), fewest, rng)
        loss = distillation_loss(student, found, rows, times, own=fewest <= 8 and rng.random() < OWN)
        step += 1
        taken = take_step(loss, params, average, opts, step - 1, EMA, run, team)
        if taken is None:
            continue
        samples += len(rows) * team.size
        losses.append(taken)
        if step % 50 == 0:
            mean = round(float(np.mean(losses)), 4)
            run.log(step=step, samples=samples, loss=mean, rate=round(rate, 6), fewest=fewest)
            bar.set_postfix(step=step, fewest=fewest, loss=f"{mean:.3f}")
            losses.clear()
            data.refresh()
        bar.update(round(run.seconds) - bar.n)
        if step % recipe.validate_every == 0 and team.leads:
            check_now()
        run.save(snapshot())
    if team.leads:
        check_now(event="end")
        run.save(snapshot(), force=True)
