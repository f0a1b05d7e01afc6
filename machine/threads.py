"""Threads for small products: as many as pay for themselves, and none that spins while another program has its core.

OpenMP's threads wait for each other by spinning. Beside other programs one of them is always off its core, and the
others burn theirs until it comes back: five seconds of video then take 20 s in place of .6 (python -m vdit.bench
threads). Only the calling thread's own setting is changed: torch.set_num_threads would change what every later thread
of the process begins with, and MKL for all.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SIDE, TOKENS = 256, 512  # of the product that is timed: the width of the bundled model, and half a millisecond of it
TRIES, PROBE_S = 5, 0.002  # products for each number of threads, and seconds after which no further one is begun
PAYS = 0.9  # of the time on half as many threads: threads that save less are not worth their cores
# Processors that threads got, as a share of their number: spinning ones have all of theirs on an idle machine, and
# three quarters beside one other busy program on two cores.
CONTENDED = 0.85
WATCHED_S = 0.005  # shorter calls say nothing: a program keeps a core for some milliseconds at a time


class Team:
    """How many threads the calling thread computes on, inside `team`; watched and lowered by what `watched` returns."""

    def __init__(self, most: int, count: int | None = None) -> None:
        self.count = fitting(most) if count is None else count
        self.holder: _Holder | None = None
        _set(self.count)

    def watched(self, work: Callable[P, R]) -> Callable[P, R]:
        """The same function; after a call whose threads did not get their cores, the team has no more than got one."""

        def run(*args: P.args, **named: P.kwargs) -> R:
            if self.count == 1 or self.holder:
                return work(*args, **named)
            clock, processor = time.perf_counter(), time.process_time()
            result = work(*args, **named)
            clock, processor = time.perf_counter() - clock, time.process_time() - processor
            if clock > WATCHED_S and processor < CONTENDED * self.count * clock:
                self.count = max(1, min(self.count, round(processor / clock + 0.25)))
                _set(self.count)
                self.holder = _Holder() if self.count > 1 else None
            return result

        return run


class _Holder:
    """A thread that keeps an idle team: where libgomp counts more threads than processors, all of them spin for
    microseconds only, in place of milliseconds, before they sleep.
    """

    def __init__(self) -> None:
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._hold, name="vdit threads", daemon=True)
        self.thread.start()

    def _hold(self) -> None:
        _product()()
        self.done.wait()

    def end(self) -> None:
        """Let the thread and its team go."""
        self.done.set()
        self.thread.join()


@contextmanager
def team(active: bool = True, count: int | None = None) -> Generator[Team | None, None, None]:
    """Within it torch on this thread uses as many threads as pay for small products, by a measurement made now.

    count: of a measurement made before. None, and nothing is changed: where not active, on one processor, or where
    PyTorch's OpenMP is not found.
    """
    import torch

    before = torch.get_num_threads()
    if not active or before == 1 or not _settable(before):
        yield None
        return
    of_mkl = _set(before)
    made = Team(min(before, processors()), count)
    try:
        yield made
    finally:
        _set(before, of_mkl)
        if made.holder:
            made.holder.end()


def each_by_team(parts: Iterator[R], active: bool = True) -> Iterator[R]:
    """The parts, each made within `team`, which is measured once; between two of them the thread has its own setting.

    A generator that is `team`'s own block would leave the setting to whoever uses the parts, or to another thread.
    """
    count = None
    while True:
        with team(active, count) as crew:
            made = crew.watched(_first)(parts) if crew else _first(parts)
            count = crew.count if crew else count
        if not made:
            return
        yield made.pop()  # no name holds it while the one who asked works on it


def _first(parts: Iterator[R]) -> list[R]:
    """The next part, or nothing at the end."""
    return list(islice(parts, 1))


def fitting(most: int) -> int:
    """How many threads, at most so many, a small product takes to be fast: 1, 2, 4 ... while each doubling pays."""
    product, count = _product(), 1
    best = _seconds(product, 1)
    while count < most:
        more = min(2 * count, most)
        taken = _seconds(product, more)
        if taken > PAYS * best:
            break
        count, best = more, taken
    return count


def processors() -> int:
    """Processors that this process may use: its affinity, and its container's share (cgroup 2)."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max 100000" where there is no limit
        share, period = Path("/sys/fs/cgroup/cpu.max").read_text("utf-8").split()
        found = min(found, max(1, round(int(share) / int(period))))
    return found


def _product() -> Callable[[], object]:
    import torch

    x, weight = torch.ones(TOKENS, SIDE), torch.ones(SIDE, SIDE)
    return lambda: torch.nn.functional.gelu(x @ weight)


def _seconds(product: Callable[[], object], threads: int) -> float:
    """Median time of a product on so many threads of the calling thread."""
    _set(threads)
    product()  # the team's threads are started
    times: list[float] = []
    end = time.perf_counter() + PROBE_S
    while len(times) < TRIES and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@lru_cache(maxsize=1)
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL | None] | None:
    """PyTorch's OpenMP, and what holds its MKL where it has one; None where there is no OpenMP beside PyTorch."""
    import torch

    folder = Path(torch.__file__).parent / "lib"
    for path in sorted(p for pattern in ("libgomp*", "libiomp5*", "libomp*") for p in folder.glob(pattern)):
        with suppress(OSError, AttributeError):
            openmp = ctypes.CDLL(str(path))
            openmp.omp_set_num_threads.argtypes = [ctypes.c_int]
            mkl = next(folder.glob("*torch_cpu.*"), None)
            mkl = None if mkl is None else ctypes.CDLL(str(mkl))
            return openmp, mkl if hasattr(mkl, "MKL_Set_Num_Threads_Local") else None
    return None


def _set(count: int, of_mkl: int | None = None) -> int:
    """Set the calling thread's number of OpenMP and of MKL, which is the same unless given; returns MKL's before."""
    found = _libraries()
    assert found
    openmp, mkl = found
    openmp.omp_set_num_threads(count)
    return mkl.MKL_Set_Num_Threads_Local(count if of_mkl is None else of_mkl) if mkl else 0


def _settable(now: int) -> bool:
    """Whether the library found is the one that PyTorch computes with: it says so itself."""
    import torch

    if _libraries() is None:
        return False
    _set(now - 1)
    settable = torch.get_num_threads() == now - 1
    _set(now)
    return settable
