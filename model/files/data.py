"""The bytes of weight files: read tensor by tensor where they fit in memory, else mapped.

What was read stays as it was. A mapped page that another program cuts away ends the process when it is touched, so
mapping is for files that do not fit in memory, and those are looked at before each use.
"""

from __future__ import annotations

import mmap
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...machine.limits import check_memory, free_memory
from ..errors import CheckpointError

LARGE_BYTES = 1 << 26  # below it, looking at the free memory costs more than it tells
READ_SHARE = 0.5  # of the free memory; the other half is for activations and for copies in another dtype
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python 3.13 is the first to name Linux's number


class State(NamedTuple):
    """By which a file is known again."""

    bytes: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> State:
        """As it is now; all zeros where the file is gone."""
        try:
            found = path.stat()
        except OSError:
            return cls(0, 0, 0)
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True)
class Unchanged:
    """Files as they were when their headers were read."""

    states: dict[Path, State]

    def check(self, path: Path) -> None:
        """CheckpointError where the file was cut, written or replaced since."""
        now, then = State.of(path), self.states[path]
        if now != then:
            how = f"cut from {then.bytes:,} to {now.bytes:,} bytes" if now.bytes < then.bytes else "written anew"
            raise CheckpointError(f"{path}: it was {how} while it was in use; see that it is whole and load it again")

    def __call__(self, module: nn.Module, *_: object) -> None:
        """The check as a hook before a module's forward. What lies on a device is no longer the file's."""
        if any(value.device.type == "cpu" for value in module.parameters()):
            for path in self.states:
                self.check(path)


class Data:
    """Tensors of one or several files that are used together."""

    def __init__(self, files: list[Path]):
        self._unchanged = Unchanged({path: State.of(path) for path in files})
        self._maps: dict[Path, mmap.mmap] | None = None
        self._decided = False

    @property
    def guard(self) -> Unchanged | None:
        """To be asked before mapped tensors are used; None where nothing is mapped."""
        return self._unchanged if self._maps else None

    def kept(self, path: Path, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor whose bytes begin at `start`, for the life of a model: read, or a view of the mapped file.

        Raises CheckpointError where the file has changed since its header was read.
        """
        if not self._decided:
            free, size = free_memory(), sum(state.bytes for state in self._unchanged.states.values())
            self._maps = None if free is not None and size <= READ_SHARE * free else {}
            self._decided = True
        if self._maps is None or not prod(shape):
            return self.read(path, start, shape, dtype)
        if path not in self._maps:
            self._maps[path] = _mapped(path)
        self._unchanged.check(path)
        return torch.frombuffer(self._maps[path], dtype=dtype, count=prod(shape), offset=start).reshape(shape)

    def read(self, path: Path, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A copy of the tensor whose bytes begin at `start`. Raises CheckpointError as `kept`, TooLarge."""
        size = prod(shape) * dtype.itemsize
        if size >= LARGE_BYTES:
            check_memory(str(path), size)
        tensor = torch.empty(shape, dtype=dtype)
        there, done = tensor.flatten().view(torch.uint8).numpy().data, 0
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                while done < size and (count := file.readinto(there[done:])):
                    done += count
        except OSError as e:
            raise CheckpointError(f"{path}: it cannot be read ({e.strerror or e}); get it again") from e
        self._unchanged.check(path)
        if done < size:
            raise CheckpointError(f"{path}: it ends {size - done:,} bytes too early: it was cut short, get it again")
        return tensor


def _mapped(path: Path) -> mmap.mmap:
    """Writing to it changes this process's copy only."""
    with open(path, "rb") as file:
        if sys.platform == "linux":  # which else refuses to map a file that is larger than the memory
            kind = mmap.MAP_PRIVATE | NORESERVE
            return mmap.mmap(file.fileno(), 0, flags=kind, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
