"""Several processes that train one model together, each on its share of every batch.

`--processes N` starts them on this machine, each with all of the model. Started by torchrun, on one machine or many,
each holds a part of it (see parallel.py). On CPUs two processes of one thread do a third more than one of two threads,
whose small steps wait for each other.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn


@dataclass(frozen=True)
class Team:
    """Who trains together. Alone, every method gives back what it was given."""

    rank: int = 0
    size: int = 1
    shards: bool = False  # each member holds a part of the model
    parts: int = 0  # shares of every batch, each with random draws of its own, whoever takes it; 0: as many as members

    @property
    def mine(self) -> range:
        """Numbers of the batch's parts that this member takes."""
        return range(self.rank, self.parts or self.size, self.size)

    def in_parts(self, parts: int, option: str) -> Team:
        """The same team with every batch in so many parts, as the option says. Raises ValueError where members cannot
        share them evenly."""
        if parts % self.size:
            raise ValueError(
                f"torchrun started {self.size} processes and {option} is {parts}, which they cannot share evenly: set "
                f"{option} to a multiple of {self.size}, and keep it when the run goes on with fewer or more processes"
            )
        return replace(self, parts=parts)

    @property
    def device(self) -> torch.device:
        """Where this member computes: its GPU under torchrun, if there is one."""
        if self.shards and torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    def computes_on(self, asked: str) -> torch.device:
        """The device that a recipe asks for, or under torchrun this member's own. ValueError where there is none."""
        if self.shards:
            return self.device
        try:
            device = torch.device(asked)
        except RuntimeError as e:
            raise ValueError(f"--device {asked}: expected cpu, cuda or cuda:N") from e
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"--device {asked}: torch finds {torch.cuda.device_count()} GPUs here; use --device cpu")
        if device.type != "cpu" and self.size > 1:
            raise ValueError(
                f"--processes {self.size} share the cores of one machine; on GPUs start one process each with torchrun"
            )
        return device

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self.rank == 0

    def agreed(self, number: float) -> float:
        """The leader's number."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(value, 0)
        return value.item()

    def wait(self) -> None:
        """Until all members are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def mean(self, number: float) -> float:
        """The members' mean; not a number where one of them is not."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64, device=self.device)
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

    A process of torchrun's joins the others that torchrun started; `processes` is then the number of parts of a batch.
    What the leader raises is raised here, as ValueError or FileNotFoundError where it was one.
    """
    if processes < 1:
        raise ValueError(f"processes is {processes}; expected at least 1")
    if under_torchrun():
        with joined() as team:
            return train(recipe, team.in_parts(processes, "--processes"), **named)
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


def under_torchrun() -> bool:
    """Whether torchrun, or a scheduler in its way, started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def joined() -> Iterator[Team]:
    """The team of the processes that torchrun started, or of this one alone, each with a part of the model.

    gloo on CPUs, with NCCL beside it where there are GPUs.
    """
    backend = "gloo"
    if sys.platform == "linux" and os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine, whatever its own name leads to
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl"
    if under_torchrun():
        torch.distributed.init_process_group(backend)
    else:
        store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        yield Team(torch.distributed.get_rank(), torch.distributed.get_world_size(), shards=True)
    finally:
        torch.distributed.destroy_process_group()


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
