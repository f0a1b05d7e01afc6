"""What each step of a run learns from: drawn on CPU cores, ahead of the steps where another device computes them.

A batch is any value of dataclasses, named tuples, dicts and lists with tensors in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
import torch.utils.data
from torch import Tensor

from .launch import Team

REFRESHED_EVERY = 50  # steps after which new files of the data's folder are looked for
AHEAD = 2  # batches that each process has drawn before they are asked for

AnyBatch = TypeVar("AnyBatch")
Key = TypeVar("Key")
Drawn = TypeVar("Drawn", covariant=True)


class Turn(NamedTuple):
    """Which batch: the part `part` of `parts` of a step's."""

    step: int
    part: int = 0
    parts: int = 1

    def portion(self, count: int) -> int:
        """Of `count` clips, how many this part of the batch has: at least 1."""
        return max(1, (count + self.parts - 1 - self.part) // self.parts)

    def next_of(self, members: int) -> Turn:
        """The turn that a member of a team of so many takes after this one."""
        later = self._replace(part=self.part + members)
        return later if later.part < self.parts else Turn(self.step + 1, self.part % members, self.parts)


class Source(Protocol[Drawn]):
    """Draws batches on the CPU. A batch follows from its turn, the recipe and the data alone, whoever draws it."""

    def __call__(self, turn: Turn) -> Drawn:
        """The batch of a turn."""
        ...

    def refresh(self) -> None:
        """Take in data that came since."""
        ...


def changed(batch: AnyBatch, change: Callable[[Tensor], Tensor]) -> AnyBatch:
    """A batch with its tensors changed."""
    value: object = batch
    if isinstance(value, Tensor):
        value = change(value)
    elif isinstance(value, dict):
        value = {name: changed(one, change) for name, one in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = [changed(one, change) for one in value]
        value = type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    elif is_dataclass(value) and not isinstance(value, type):
        value = type(value)(**{field.name: changed(getattr(value, field.name), change) for field in fields(value)})
    return cast("AnyBatch", value)


def moved(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """A batch on a device; from pinned memory it is copied while the device computes."""
    return changed(batch, lambda value: value.to(device, non_blocking=True))


@dataclass
class _Held(Generic[AnyBatch]):
    """A batch as torch's DataLoader pins it."""

    batch: AnyBatch

    def pin_memory(self) -> _Held[AnyBatch]:
        return _Held(changed(self.batch, Tensor.pin_memory))


class _Drawn(torch.utils.data.Dataset[_Held[AnyBatch]], Generic[Key, AnyBatch]):
    """A function as torch's DataLoader calls it in its processes."""

    def __init__(self, draw: Callable[[Key], AnyBatch]):
        self.draw = draw

    def __getitem__(self, key: Key) -> _Held[AnyBatch]:
        return _Held(self.draw(key))


def drawn_ahead(
    draw: Callable[[Key], AnyBatch], keys: Iterable[Key], device: torch.device, workers: int
) -> Iterator[AnyBatch]:
    """draw(key) of all keys, in their order and on a device; by so many processes before they are asked for, or by this
    one (0) when they are."""
    if not workers:
        yield from (moved(draw(key), device) for key in keys)
        return
    loader = torch.utils.data.DataLoader(
        _Drawn(draw),
        batch_size=None,
        sampler=cast("torch.utils.data.Sampler[Key]", keys),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        prefetch_factor=AHEAD,
        generator=torch.Generator(),  # of seeds that nothing uses: the run's own draws stay as they are
    )
    for held in loader:
        yield moved(held.batch, device)


def _as_it_is(one: AnyBatch) -> AnyBatch:
    return one


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_beside(device: torch.device) -> int:
    """How many processes draw data while a device computes: one a core but one, none beside a CPU, which computes with
    all of its cores."""
    return 0 if device.type == "cpu" else max(1, available_cores() - 1)


class _Reading(Generic[AnyBatch]):
    """A source that takes in new data once in a while, in this process or another."""

    def __init__(self, source: Source[AnyBatch]):
        self.source, self.age = source, 0  # age: of the data, in REFRESHED_EVERY steps

    def __call__(self, turn: Turn) -> AnyBatch:
        self.look(turn)
        return self.source(turn)

    def look(self, turn: Turn) -> None:
        if turn.step // REFRESHED_EVERY != self.age:
            self.age = turn.step // REFRESHED_EVERY
            self.source.refresh()


class Batches(Generic[AnyBatch]):
    """The batches of one member's turns, on the device where it computes; see drawn_ahead."""

    def __init__(self, source: Source[AnyBatch], device: torch.device, team: Team, workers: int | None = None):
        self.source, self.read, self.device, self.members = source, _Reading(source), device, team.size
        self.workers = workers_beside(device) if workers is None else workers
        self.ahead: Iterator[AnyBatch] = iter(())
        self.expected: Turn | None = None  # the turn of the next batch that is drawn ahead

    def of(self, turn: Turn) -> AnyBatch:
        """A turn's batch. Turns that do not follow one another cost a start of the processes."""
        if turn != self.expected:
            self.ahead = drawn_ahead(self.read, self._from(turn), self.device, self.workers)
        if self.workers:
            self.read.look(turn)  # what is logged of the data is what this process knows
        self.expected = turn.next_of(self.members)
        return next(self.ahead)

    def _from(self, turn: Turn) -> Iterator[Turn]:
        while True:
            yield turn
            turn = turn.next_of(self.members)
