"""What every training run shares: a folder with its log, its resumable state, its learning rate."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .launch import Team


def cosine(step: int, steps: int, peak: float, *, warmup: int, floor: float = 0.05) -> float:
    """Learning rate: linear warm-up, then a cosine down to floor*peak at the last step."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x)))


def save_atomic(obj: dict, path: Path) -> None:
    """torch.save beside, fsync, rename: a killed run never leaves half a file."""
    partial = path.with_suffix(".tmp")
    with open(partial, "wb") as f:
        torch.save(obj, f)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


@dataclass
class Run:
    """A run's folder: `log.jsonl` (one line an event), `state.pt` (weights, optimiser, step, seconds trained)."""

    folder: Path
    save_every_s: float = 180.0
    seconds: float = 0.0  # trained so far, over all sessions
    lost: int = 0  # steps left out because their loss was not finite
    silent: bool = False  # neither logs nor saves: of a team, the leader does
    _mark: float = field(default_factory=lambda: time.monotonic())
    _saved: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self):
        self.folder = Path(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def state_path(self) -> Path:
        return self.folder / "state.pt"

    def load(self) -> dict | None:
        """The saved state, or None for a fresh run. State files are our own, read with weights_only."""
        if not self.state_path.exists():
            return None
        state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        self.seconds = state["seconds"]
        return state

    def tick(self) -> float:
        """Add the time since the last tick to `seconds` and return the total."""
        now = time.monotonic()
        self.seconds, self._mark = self.seconds + now - self._mark, now
        return self.seconds

    def save(self, state: dict, *, force: bool = False) -> None:
        """Write the state when `save_every_s` have passed since the last time, or at once with force."""
        self.tick()
        if self.silent:
            return
        if force or time.monotonic() - self._saved > self.save_every_s:
            save_atomic({**state, "seconds": self.seconds}, self.state_path)
            self._saved = time.monotonic()

    def log(self, **values) -> None:
        if self.silent:
            return
        with open(self.folder / "log.jsonl", "a") as f:
            f.write(json.dumps({**values, "seconds": round(self.tick(), 1)}) + "\n")


@contextmanager
def averaged_weights(params: dict, average: dict) -> Iterator[None]:
    """Their moving average in place of the weights, for as long as it lasts."""
    kept = {n: p.data.clone() for n, p in params.items()}
    for n, p in params.items():
        p.data.copy_(average[n])
    try:
        yield
    finally:
        for n, p in params.items():
            p.data.copy_(kept[n])


MOST_LOST = 20  # losses that may fail to be finite in one run


def take_step(
    loss: torch.Tensor, params: dict, average: dict, optimizers: list, step: int, ema: float, run: Run, team: Team = Team()
) -> float | None:  # fmt: skip
    """One update of the weights and of their moving average by the team's mean gradient. Returns the mean loss; None,
    logged, when it is not finite and is left out.

    That was seen once in some hundred steps on one CPU, not repeatable. Raises FloatingPointError when it piles up.
    """
    mean = team.mean(loss.item())
    if not math.isfinite(mean):
        run.lost += 1
        run.log(event="not finite", step=step, lost=run.lost)
        if run.lost > MOST_LOST:
            raise FloatingPointError(
                f"{run.lost} losses were not finite; the last in step {step}: see {run.folder / 'log.jsonl'}"
            )
        return None
    for opt in optimizers:
        opt.zero_grad(set_to_none=True)
    loss.backward()
    team.mean_gradients(params.values())
    torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    for opt in optimizers:
        opt.step()
    with torch.no_grad():
        keep = min(ema, (2 + step) / (11 + step))
        torch._foreach_lerp_(list(average.values()), list(params.values()), 1 - keep)
    return mean
