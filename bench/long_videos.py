"""How the bundled model's time and memory grow with a video's length: python -m vdit.bench long_videos

Each length is sampled in a process of its own, after a clip of 5 s: processor time per second of video, and the peak of
memory over what the process had before. Aim, from 30 to 120 s: 1.15 times the time per second, 1.1 times the memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from statistics import median

from vdit.bench.clips import sampler
from vdit.bench.rows import Row, apart, runs, show

LENGTHS = (30.0, 60.0, 120.0)


def sampled(seconds: float) -> tuple[float, float]:
    """(Processor seconds of sampling one video, peak memory of the process in GB)."""
    sample = sampler()
    sample(5.0)
    start = time.process_time()
    sample(seconds)
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def rows(quick: bool) -> Iterator[Row]:
    """Time and memory of each length, and the ratios of the longest to the shortest."""
    lengths = LENGTHS[:: len(LENGTHS) - 1] if quick else LENGTHS
    found = {n: [apart(sampled, n) for _ in range(runs(quick))] for n in lengths}
    per_second = {n: median(t / n for t, _ in each) for n, each in found.items()}
    peak = {n: median(m for _, m in each) for n, each in found.items()}
    for n in lengths:
        yield Row(f"{n:g} s: processor for each second of video", 1e3 * per_second[n], "ms")
        yield Row(f"{n:g} s: peak memory", peak[n], "GB")
    first, last = lengths[0], lengths[-1]
    yield Row(f"time per second, {last:g} s to {first:g} s", per_second[last] / per_second[first], target="<= 1.15")
    yield Row(f"peak memory, {last:g} s to {first:g} s", peak[last] / peak[first], target="<= 1.1")


if __name__ == "__main__":
    show(rows(quick=False))
