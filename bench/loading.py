"""Loading weights: reading them against mapping them, and using each value once.

    python bench/loading.py [--megabytes 500] [--runs 5] [--json FILE]

A file of random float16 matrices is written to a temporary folder. Each load is a process of its own, the two ways in
turn, with the file in the system's cache. Printed are medians of wall and processor time, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 2048  # of a matrix: 8 MB
WAYS = {"read": 1.0, "mapped": 0.0}  # as data.READ_SHARE


def load(path: str, share: float) -> None:
    """Loads all tensors, then adds up each of them; prints seconds and bytes as JSON."""
    import torch
    from vdit.model.files import data
    from vdit.model.files.weights import open_weights

    def resident(which: str) -> int:
        status = Path("/proc/self/status").read_text().split()
        return int(status[status.index(which + ":") + 1]) * 1024

    data.READ_SHARE = share
    torch.set_num_threads(1)
    torch.ones(2).sum()
    before, wall, used = resident("VmRSS"), time.perf_counter(), time.process_time()
    tensors = open_weights(path).everything()
    loaded = time.perf_counter() - wall
    for tensor in tensors.values():
        tensor.view(torch.int16).sum()
    took = {"load_s": loaded, "load_and_use_s": time.perf_counter() - wall, "processor_s": time.process_time() - used}
    print(json.dumps({**took, "peak_bytes": resident("VmHWM") - before}))


def main() -> None:
    """Writes the file, loads it both ways in turn, prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return load(options.child[0], float(options.child[1]))
    import torch
    from safetensors.torch import save_file

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.safetensors")
        count = max(1, options.megabytes * 1_000_000 // (SIDE * SIDE * 2))
        save_file({f"{i}.weight": torch.randn(SIDE, SIDE).half() for i in range(count)}, path)
        for _ in range(options.runs):
            for way, share in WAYS.items():
                run = [sys.executable, "-P", __file__, "--child", path, str(share)]
                found[way].append(json.loads(subprocess.run(run, capture_output=True, check=True, text=True).stdout))
    medians = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for way, runs in found.items()
    }
    for way, one in medians.items():
        print(
            f"{way:7} load {one['load_s']:.3f} s, load and use {one['load_and_use_s']:.3f} s, processor "
            f"{one['processor_s']:.3f} s, peak {one['peak_bytes'] / 1e6:.0f} MB"
        )
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
