"""Several processes that train one model together, each on its share of every batch: `--processes N`.

On CPUs two processes of one thread do a third more than one of two threads, whose small steps wait for each other.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn


@dataclass(frozen=True)
class Team:
    """Who trains together. Alone, every method gives back what it was given."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self.rank == 0

    def share(self, count: int) -> int:
        """Of `count` clips, how many this member takes: at least 1."""
        return max(1, (count + self.size - 1 - self.rank) // self.size)

    def agreed(self, number: float) -> float:
        """The leader's number."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64)
        torch.distributed.broadcast(value, 0)
        return value.item()

    def wait(self) -> None:
        """Until all members are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def mean(self, number: float) -> float:
        """The members' mean; not a number where one of them is not."""
        value = torch.tensor(number, dtype=torch.float64)
        return (self.total(value) / self.size).item()

    def total(self, value: Tensor) -> Tensor:
        """The members' sum, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return value

    def mean_gradients(self, params: Iterable[Tensor]) -> None:
        """Every gradient becomes the members' mean; none where no member has one."""
        if self.size == 1:
            return
        params = list(params)
        used = self.total(torch.tensor([float(p.grad is not None) for p in params]))
        some = [p for p, n in zip(params, used.tolist(), strict=True) if n]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in some])
        flat = self.total(flat).div_(self.size)
        for p, mean in zip(some, flat.split([p.numel() for p in some]), strict=True):
            p.grad = mean.view_as(p)


ALONE = Team()


def launch(processes: int, train: Callable[..., None], recipe: object, **named: object) -> None:
    """Call train(recipe, team, **named) in so many processes that share this machine's cores, and wait for them.

    What the leader raises is raised here, as ValueError or FileNotFoundError where it was one.
    """
    if processes < 1:
        raise ValueError(f"processes is {processes}; expected at least 1")
    if processes == 1:
        return train(recipe, ALONE, **named)
    threads = max(1, torch.get_num_threads() // processes)
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        try:
            spawn(_member, (processes, threads, str(meeting), train, recipe, named), processes)
        except ProcessRaisedException:
            reason = meeting.with_suffix(".reason")
            kind, _, text = reason.read_text("utf-8").partition(":") if reason.exists() else ("", "", "")
            known = {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError}
            if kind in known:
                raise known[kind](text) from None
            raise


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: a killed run must not go on without its terminal."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _member(
    rank: int, size: int, threads: int, meeting: str, train: Callable[..., None], recipe: object, named: dict
) -> None:
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    if sys.platform == "linux":  # whatever the machine's own name leads to, or not
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(threads)
    torch.distributed.init_process_group("gloo", init_method=Path(meeting).as_uri(), rank=rank, world_size=size)
    team = Team(rank, size)
    try:
        train(recipe, team, **named)
    except (ValueError, FileNotFoundError) as e:
        Path(meeting).with_suffix(".reason").write_text(f"{type(e).__name__}:{e}", "utf-8")
        raise
    team.wait()
    torch.distributed.destroy_process_group()
