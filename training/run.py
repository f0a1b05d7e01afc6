"""A training run's folder: its log, and its resumable state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..machine.writing import written


def save_atomic(state: dict, path: Path) -> None:
    """torch.save beside, fsync, rename: a killed run never leaves half a file."""
    with written(path) as partial, open(partial, "wb") as file:
        torch.save(state, file)


def load_state(folder: Path) -> dict | None:
    """The saved state of a run's folder, or that in a file of its own, or None where there is none. State files are
    our own, read with weights_only."""
    path = Path(folder)
    path = path if path.is_file() else path / "state.pt"
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def last_logged(folder: Path, key: str) -> float | None:
    """The newest value of `key` in a run's log."""
    for line in reversed((Path(folder) / "log.jsonl").read_text().splitlines()):
        with suppress(json.JSONDecodeError):  # the last line of a run that was killed while it wrote
            if key in (row := json.loads(line)):
                return row[key]
    return None


@dataclass
class Run:
    """A run's folder: `log.jsonl` (one line an event), `state.pt` (weights, optimiser, step, seconds trained)."""

    folder: Path
    save_every_s: float = 180.0
    seconds: float = 0.0  # trained so far, over all sessions
    silent: bool = False  # neither logs nor saves: of a team, the leader does
    _mark: float = field(default_factory=lambda: time.monotonic())
    _saved: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self):
        self.folder = Path(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else trains in the folder for as long as it lasts. Raises ValueError where somebody does."""
        if self.silent:
            yield
            return
        lock = FileLock(self.folder / "training.lock")  # of the system's kind: it ends with the process
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{self.folder}: another process trains in this folder; wait for it, stop it, or name another --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def load(self) -> dict | None:
        """The saved state, whose seconds this run goes on from, or None for a fresh run."""
        state = load_state(self.folder)
        if state is not None:
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
            save_atomic({**state, "seconds": self.seconds}, self.folder / "state.pt")
            self._saved = time.monotonic()

    def log(self, **values: object) -> None:
        """Append one line to the log, with the seconds trained so far."""
        if self.silent:
            return
        with open(self.folder / "log.jsonl", "a") as f:
            f.write(json.dumps({**values, "seconds": round(self.tick(), 1)}) + "\n")
