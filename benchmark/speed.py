"""D, speed: how long a five-second clip takes from first frames to pictures, and on what."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..world.families.clip import Clip
from .contestant import Predictor


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Processor, threads, memory, and the versions that decide the speed."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found = {
        "processor": names[0] if names else processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": device,
    }
    if device.startswith("cuda") and torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name(device)
    return found


def time_clip(
    predict: Predictor, clip: Clip, known: int, repeats: int = 3, check: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Seconds of `repeats` whole runs after one that warms up: words and frames encoded, sampled, decoded."""
    seconds: list[float] = []
    for seed in range(repeats + 1):
        if check is not None:
            check()
        begin = time.perf_counter()
        predict(clip, clip.render.rgb[:known], seed)
        seconds.append(round(time.perf_counter() - begin, 3))
    frames, height, width = clip.render.depth.shape
    timed = {"seconds": round(statistics.median(seconds[1:]), 3), "first_s": seconds[0], "runs_s": seconds[1:]}
    return {**timed, "frames": frames, "width": width, "height": height}
