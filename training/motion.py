"""Trains what moves balls on, alone: `vdit train motion`.

All that looks at pictures stays as it is. So each start is looked at once, ahead, and a step of training costs a tenth: of the
same hour many times as many ways are foretold.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.dynamics import KNOWN, Balls, ObjectDynamics
from .dynamics import WEIGHTS, Scenes, Starts, ahead, cell_of, load_dynamics, mean_of, state_of, validate
from .run import Run, cosine
from .tracks import SHOWS

FRAMES = 76  # foretold
SINGLE = 0.25  # share of starts of which one picture is known
ROWS = 32  # starts that are looked at together
TRUTH = {"place": 2, "valid": 2, "grows": 2, "radius": 1, "shows": 1}  # what is kept of Starts -> its axis of balls
Looked = list[tuple[Balls, Tensor, Starts]]  # of one size and number of balls each


def look(model: ObjectDynamics, data: Scenes, seed: int = 0) -> Looked:
    """What a model tells of each start, or of its mirror image, and what is true of it, without the pictures."""
    from tqdm import tqdm

    rng, found = np.random.default_rng(seed), {}
    shards = [(s, rows) for s in data.shards.values() for rows in torch.arange(len(s["rgb"])).split(ROWS)]
    for shard, rows in tqdm(shards, desc="looking", unit="batch"):
        mirror = torch.from_numpy(rng.random(len(rows)) < 0.5)
        batch = data.batch([(shard, rows)], mirror, bool(rng.random() < SINGLE), rng)
        with torch.no_grad():
            seen, known = model.look(batch.frames), batch.shows > SHOWS
            start = model.start(seen, cell_of(batch.place[:, KNOWN - 1], batch.size), known, batch.single)
            balls = start.balls
            if batch.single:
                balls = model.aimed(balls, batch.place[:, KNOWN] - batch.place[:, KNOWN - 1])
        count = known.sum(1)
        for n in count.unique().tolist():
            if n:
                found.setdefault((batch.size, n), []).append(_rows(balls, seen.around, batch, known, count == n, n))
    return [_joined(parts) for parts in found.values()]


def _rows(balls: Balls, around: Tensor, batch: Starts, known: Tensor, of: Tensor, n: int) -> tuple[Balls, Tensor, Starts]:
    """Those starts that show n balls, and of these the balls that show, first."""
    order = known.float().argsort(dim=1, descending=True, stable=True)[of, :n]  # [b, n]

    def take(x: Tensor, axis: int) -> Tensor:
        shape = [1] * x.ndim
        shape[0], shape[axis] = order.shape
        return x[of].take_along_dim(order.view(shape), axis)

    moved = Balls(*(take(x, 1) for x in balls))
    told = {name: take(getattr(batch, name), axis) for name, axis in TRUTH.items()}
    rest = dict.fromkeys(("frames", "words", "ground", "light", "moves", "depth", "pull"))
    return moved, around[of], replace(batch, **told, **rest)


def _joined(parts: Looked) -> tuple[Balls, Tensor, Starts]:
    balls, around, batches = zip(*parts)
    told = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in TRUTH}
    return Balls(*map(torch.cat, zip(*balls))), torch.cat(around), replace(batches[0], **told)


def _drawn(looked: Looked, sizes: np.ndarray, batch: int, rng: np.random.Generator) -> tuple[Balls, Tensor, Starts]:
    balls, around, starts = looked[rng.choice(len(looked), p=sizes / sizes.sum())]
    rows = torch.from_numpy(rng.integers(len(around), size=batch))
    told = {name: getattr(starts, name)[rows] for name in TRUTH}
    return Balls(*(x[rows] for x in balls)), around[rows], replace(starts, **told)


def train(
    scenes: Path, held_out: Path, out: Path, *, hours: float, start_from: Path, batch: int = 128, peak: float = 1e-3,
    seed: int = 0, validate_every: int = 500,
) -> ObjectDynamics:  # fmt: skip
    """Train for `hours`, after looking, from the weights of `start_from` (a run of `vdit train dynamics`, or a bundle); resumes
    from `out` when it holds a state, which load_dynamics reads. Returns the averaged model. Raises FileNotFoundError."""
    from tqdm import tqdm

    data, check = Scenes.load(scenes), Scenes.load(held_out)
    model, before = load_dynamics(start_from)
    looked = look(model, data, seed)
    run = Run(out)  # whose clock begins here
    sizes = np.array([len(around) for _, around, _ in looked], float)
    parts = (model.step, model.push, model.meet)
    weights = [p.requires_grad_(True) for part in parts for p in part.parameters()]
    optimizer, step = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.98), weight_decay=0.01), 0
    average = {n: v.clone() for n, v in model.state_dict().items()}
    if state := run.load():
        model.load_state_dict(state["weights"])
        average, step, before = state["average"], state["step"], state["before"]
        optimizer.load_state_dict(state["optimizer"])
    else:
        run.log(event="start", hours=hours, batch=batch, peak=peak, seed=seed, starts=int(sizes.sum()), start_from=str(start_from))
    total, best, sums = hours * 3600, ObjectDynamics(model.config), []
    bar = tqdm(total=round(total), initial=round(min(total, run.seconds)), desc="motion", unit="s")

    def check_now(**more) -> None:
        best.load_state_dict(average)
        run.log(step=step, **{k: round(v, 4) for k, v in validate(best, check).items()}, **more)

    while (seconds := run.tick()) < total:
        rng = np.random.default_rng([seed, step])
        optimizer.param_groups[0]["lr"] = cosine(round(1e4 * seconds / total), 10000, peak, warmup=100, floor=0.01)
        found = ahead(model, *_drawn(looked, sizes, batch, rng), FRAMES, 0.0, torch.Generator())
        loss = sum(WEIGHTS[name] * value for name, value in found.items())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(weights, 1.0)):
            optimizer.step()
        step += 1
        mean_of(average, model, step)
        sums.append([v.item() for v in found.values()])
        if step % 50 == 0:
            run.log(step=step, **dict(zip(found, np.mean(sums, 0).round(5).tolist())))
            bar.set_postfix(step=step, far=f"{np.mean(sums, 0)[0]:.3f}")
            sums.clear()
        bar.update(round(run.seconds) - bar.n)
        if step % validate_every == 0:
            check_now()
        run.save(state_of(model, average, optimizer, step, batch, before))
    check_now(event="end")
    run.save(state_of(model, average, optimizer, step, batch, before), force=True)
    best.load_state_dict(average)
    return best
