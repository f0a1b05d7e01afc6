"""Several devices compute one forward pass in one process: each thread of a group uses its own device.

Tensors are handed over in memory, and copied by the one who gets them. All threads must use the same stream of each
device: PyTorch orders a copy behind what that of its source and that of its target hold, and what follows on both
behind the copy, so that no events are needed. For inference only: no gradients flow back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .processes import Members


class Meeting:
    """Where `size` threads exchange what they have."""

    def __init__(self, size: int):
        self._given: list[Sequence[Tensor]] = [()] * size
        self._barrier = threading.Barrier(size)

    def exchanged(self, rank: int, given: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """What all threads give, by rank; none may change its own afterwards. Raises threading.BrokenBarrierError in
        all of them once the meeting has been ended."""
        self._given[rank] = given
        self._barrier.wait()
        found = list(self._given)
        self._barrier.wait()  # nobody gives anew before all have seen
        self._given[rank] = ()
        return found

    def end(self) -> None:
        """Let nobody wait any more, now or later: one of the threads has failed."""
        self._barrier.abort()


@dataclass(frozen=True, eq=False)
class Threads(Members):
    """Members that are threads, one for each GPU."""

    called = "GPUs"

    meeting: Meeting

    def exchanged(self, x: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        """See Members."""
        given = self.meeting.exchanged(self.rank, x.split(list(give)))
        return torch.cat([parts[self.rank].to(x.device, non_blocking=True) for parts in given])

    def gathered(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See Members."""
        given = self.meeting.exchanged(self.rank, [x])
        return torch.cat([whole.to(x.device, non_blocking=True) for (whole,) in given])
