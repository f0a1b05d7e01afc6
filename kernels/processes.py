"""Who computes one forward pass together, and what they send each other: here as processes, in threads.py as threads.

Every call here is a collective: all members of the group make it, in the same order. Between processes gradients flow
back the way the values came; where all end with the same values, each keeps the gradient of what is its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True, eq=False)
class Members(ABC):
    """A group of `size` members, of which this is number `rank`."""

    called = "members"  # what they are called in messages

    rank: int
    size: int

    def spans(self, count: int) -> tuple[tuple[int, int], ...]:
        """Of `count` rows, (first, last + 1) of each member, as even as they come. ValueError for fewer rows than
        members."""
        if count < self.size:
            raise ValueError(
                f"{count} rows of tokens cannot be shared by {self.size} {self.called}: take at most {count}"
            )
        ends = [i * count // self.size for i in range(self.size + 1)]
        return tuple(zip(ends[:-1], ends[1:], strict=True))

    @abstractmethod
    def exchanged(self, x: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        """Rows of x [sum(give), ...]: the first give[0] go to member 0, and so on. Returns what came, in the
        order of the members: [sum(take), ...]."""

    @abstractmethod
    def gathered(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """x [counts[rank], ...] of every member, one after another, the same for all: [sum(counts), ...]."""


@dataclass(frozen=True, eq=False)
class Processes(Members):
    """Members that are processes of torch.distributed; group None: all that there are."""

    called = "processes"

    group: ProcessGroup | None = None

    @classmethod
    def of_this_run(cls) -> Processes | None:
        """All that torchrun started together; None where this one is alone."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_torchelastic_launched() and distributed.is_initialized()):
            return None
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    @cached_property
    def halves(self) -> tuple[Processes, Processes]:
        """The half of them that this process is in, and the pair of it and its twin in the other half, in which its
        rank is the half's number. Made once, by all together. Raises ValueError for an odd number."""
        half = self.size // 2
        if self.size % 2:
            raise ValueError(f"{self.size} processes cannot be halved; take an even number")
        number, place = divmod(self.rank, half)
        groups = [_group([*range(n * half, n * half + half)]) for n in range(2)]
        pairs = [_group([n, n + half]) for n in range(half)]
        return Processes(place, half, groups[number]), Processes(number, 2, pairs[place])

    def exchanged(self, x: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        """See Members."""
        return _Exchange.apply(x, list(give), list(take), self.group)

    def gathered(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See Members."""
        return _Gather.apply(x, list(counts), self)


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, give, take, group):
        ctx.way_back = take, give, group
        return _sent(x, give, take, group)

    @staticmethod
    def backward(ctx, dy):
        return _sent(dy, *ctx.way_back), None, None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, counts, processes):
        before = sum(counts[: processes.rank])
        ctx.own = slice(before, before + len(x))
        copies = x.repeat(processes.size, *[1] * (x.ndim - 1))
        return _sent(copies, [len(x)] * processes.size, counts, processes.group)

    @staticmethod
    def backward(ctx, dy):
        return dy[ctx.own], None, None


def _group(ranks: list[int]) -> ProcessGroup:
    return cast("ProcessGroup", torch.distributed.new_group(ranks))


def _sent(x: Tensor, give: list[int], take: list[int], group: ProcessGroup | None) -> Tensor:
    out = x.new_empty(sum(take), *x.shape[1:])
    torch.distributed.all_to_all_single(out, x.contiguous(), take, give, group=group)
    return out
