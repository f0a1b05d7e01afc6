"""Sampling five seconds by the bundled model beside busy processes, and on fewer and more threads.

    python -m vdit.bench threads

Each figure comes from a process of its own, started as plain `python` as ComfyUI starts us: seconds on the clock, of
sampling "a red ball falls" after a first video that warms up. "as torch would": the same process, without
machine/threads.py. Simulated threads: what OMP_NUM_THREADS makes torch believe.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import median

from vdit.bench.rows import Row, apart, beside, runs, show


def sampled(count: int, rival: bool, cores: int = 0, threads: int = 0) -> list[float]:
    """Median seconds of `count` videos by us, and with `rival` as torch would, in turns. cores: all where 0."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    from vdit.bench.clips import sampler
    from vdit.pipeline.family import BundledFamily

    run = sampler()
    run(5.0)
    found: dict[bool, list[float]] = {True: [], **({False: []} if rival else {})}
    for _ in range(count):
        for BundledFamily.small_products, times in found.items():
            start = time.perf_counter()
            run(5.0)
            times.append(time.perf_counter() - start)
    return [median(times) for times in found.values()]


def rows(quick: bool) -> Iterator[Row]:
    """Ratios to the idle machine, to torch's own threads, and of more cores or threads to fewer."""
    count = runs(quick)
    ours, torchs = apart(sampled, count, True)
    yield Row("5-s clip, sampling, idle", ours, "s")
    yield Row("idle, to torch's own threads", ours / torchs, target="<= 1.02")
    for others, target in ((1, "<= 1.6"), (2, "<= 2.5")):
        with beside(others):
            (taken,) = apart(sampled, count, False)
        yield Row(f"beside {others} busy, to idle", taken / ours, target=target)
    cores = len(os.sched_getaffinity(0))
    each = {n: apart(sampled, count, False, n)[0] for n in (1, 2, 4, 8) if n <= cores}
    for fewer, more in zip(each, list(each)[1:], strict=False):
        yield Row(f"{more} cores, to {fewer}", each[more] / each[fewer], target="<= 1.02")
    for threads in (4, 8):
        yield Row(
            f"{threads} simulated threads, to idle",
            apart(sampled, count, False, 0, threads)[0] / ours,
            target="<= 1.02",
        )


if __name__ == "__main__":
    show(rows(quick=True))
