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

from ..model.object_dynamics import KNOWN, Balls, ObjectDynamics
from .dynamics import HORIZONS, ahead, fit, load_dynamics, validate, weighed
from .run import Run, cosine
from .starts import Scenes, Starts, cell_of
from .tracks import SHOWS

FRAMES = HORIZONS[-1][1]  # foretold
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


def _rows(
    balls: Balls, around: Tensor, batch: Starts, known: Tensor, of: Tensor, n: int
) -> tuple[Balls, Tensor, Starts]:
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


def _drawn(looked: Looked, shares: np.ndarray, batch: int, rng: np.random.Generator) -> tuple[Balls, Tensor, Starts]:
    balls, around, starts = looked[rng.choice(len(looked), p=shares)]
    rows = torch.from_numpy(rng.integers(len(around), size=batch))
    told = {name: getattr(starts, name)[rows] for name in TRUTH}
    return Balls(*(x[rows] for x in balls)), around[rows], replace(starts, **told)


def train(
    scenes: Path, held_out: Path, out: Path, *, hours: float, start_from: Path, batch: int = 128, peak: float = 1e-3,
    seed: int = 0, validate_every: int = 500,
) -> ObjectDynamics:  # fmt: skip
    """Train for `hours`, after looking, from the weights of `start_from` (a run of `vdit train dynamics`, or a bundle); resumes
    from `out` when it holds a state, which load_dynamics reads. Returns the averaged model. Raises FileNotFoundError."""
    data, held = Scenes.load(scenes), Scenes.load(held_out)
    model, before = load_dynamics(start_from)
    looked = look(model, data, seed)
    run = Run(out)  # whose clock begins here
    count = np.array([len(around) for _, around, _ in looked], float)
    weights = [p.requires_grad_(True) for part in (model.step, model.push, model.meet) for p in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)

    def wrong(step: int, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = _drawn(looked, count / count.sum(), batch, np.random.default_rng([seed, step]))
        found = ahead(model, *drawn, FRAMES, 0.0, torch.Generator())
        return weighed(found), found

    def rate(step: int, share: float) -> float:
        return cosine(round(1e4 * share), 10000, peak, warmup=100, floor=0.01)

    begun = dict(hours=hours, batch=batch, peak=peak, seed=seed, starts=int(count.sum()), start_from=str(start_from))
    return fit(
        model, optimizer, run, wrong, rate, clipped=[weights], check=lambda best: validate(best, held),
        validate_every=validate_every, before=before, begun=begun, shown="far",
    )  # fmt: skip
