"""D: how long a five-second clip takes from first frames to pictures, and on what."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Callable


def hardware(device: str = "cpu") -> dict:
    """Processor, threads, memory, and the versions that decide the speed."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = lines[0] if lines else name
    there = {
        "processor": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "system": platform.system(), "device": str(device),
    }  # fmt: skip
    if str(device).startswith("cuda") and torch.cuda.is_available():
        there["accelerator"] = torch.cuda.get_device_name(device)
    return there


def time_clip(predict: Callable, clip, known: int, repeats: int = 3, check: Callable[[], None] | None = None) -> dict:
    """Seconds of `repeats` whole runs after one that warms up: words and frames encoded, sampled, decoded."""
    seconds = []
    for i in range(repeats + 1):
        if check is not None:
            check()
        begin = time.perf_counter()
        predict(clip, clip.render.rgb[:known], i)
        seconds.append(time.perf_counter() - begin)
    frames, height, width = clip.render.depth.shape
    return {
        "seconds": round(statistics.median(seconds[1:]), 3), "first_s": round(seconds[0], 3),
        "runs_s": [round(s, 3) for s in seconds[1:]], "frames": frames, "width": width, "height": height,
    }  # fmt: skip
