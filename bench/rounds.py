"""What a round of the benchmark takes of memory and disk: python -m vdit.bench.rounds

Bytes for a pixel of a judged frame: of memory while a clip is drawn again, labelled and scored, beside its video; of
the disk, for what is kept of it, where the video is the truth, and where it is noise. benchmark/rounds.py says no
round that needs more than these.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from ..benchmark.rounds import Round, hand_out, take_back
from ..benchmark.runner import Plan, taken_again
from ..benchmark.selection import Format
from .causal import resident

SIZES = ((416, 240), (832, 480))


def measured(width: int, height: int, suite: str) -> tuple[float, float, float]:
    """Bytes a judged pixel: memory, disk where the video is the truth, disk where it is noise."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(5, 1, (suite,), form=Format(width, height, known=1))
        asked = Round("bench", plan, Path(folder))
        (handed,) = hand_out(asked, 1, lambda drawn: None, lambda: None)
        pixels = handed.frames * width * height
        truth = torch.from_numpy(taken_again(handed.ticket.part, plan.form, handed.ticket.seed, lambda: None)[1].truth)
        video = truth.float().clone()
        del truth
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = resident("VmRSS")
        take_back(handed.ticket, video, lambda: None)
        memory = (resident("VmHWM") - before) / pixels
        kept = sum(path.stat().st_size for path in Path(folder).rglob("*.mp4")) / pixels
        for path in Path(folder).rglob("*.mp4"):
            path.unlink()
        take_back(handed.ticket, torch.rand(video.shape), lambda: None)
        noise = sum(path.stat().st_size for path in Path(folder).rglob("*.mp4")) / pixels
    return memory, kept, noise


def main() -> int:
    print(f"{'':28}{'memory':>10}{'disk':>10}{'of noise':>10}   bytes a judged pixel")
    for width, height in SIZES:
        memory, kept, noise = measured(width, height, "physics")
        print(f"{f'physics {width}x{height}':28}{memory:10.1f}{kept:10.3f}{noise:10.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
