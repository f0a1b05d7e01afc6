"""Decoding a long video while it is saved, against a short one: peak memory of a process, and time for each frame.

    python bench/streaming.py [--seconds 5 120] [--size 256] [--draft] [--runs 3]

Each clip is decoded and saved by a process of its own, by VDiT Decode Video and, for comparison, by VDiT Decode and
Create Video. Aims: of the first, peak memory of the long clip at most 1.15 of the short one's, time a frame at most
1.2. --draft: the latent carries a draft in half of which it agrees, whose frames are in memory before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FPS = 8.0


def save(streamed: bool, seconds: float, size: int, draft: bool) -> None:
    """Saves one clip by the bundled codec and prints what it took as JSON."""
    import torch
    from vdit.drafting import Draft
    from vdit.host import folders
    from vdit.host.api import call
    from vdit.host.core_nodes import NODES as CORE
    from vdit.nodes.decode import VDiTDecode, VDiTDecodeVideo
    from vdit.nodes.load import BUNDLED, VDiTLoadModel
    from wan_step import resident

    core = {cls.GET_SCHEMA().node_id: cls for cls in CORE}
    model = call(VDiTLoadModel, {"file": BUNDLED})[0]
    count = round(seconds * FPS / 4) + 1
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1, model.codec.channels, count, size // 16, size // 16, generator=generator)
    latent = {"samples": samples, "fps": FPS}
    if draft:
        frames = torch.rand(1, size, size, 3, generator=generator).repeat((count - 1) * 4 + 1, 1, 1, 1)
        own = samples.clone()
        own[:, :, ::2, : size // 32] += 1
        latent["vdit_draft"] = Draft(frames, latent=own)
    with tempfile.TemporaryDirectory() as base, torch.inference_mode():
        folders.use(base=base)
        before, clock, processor = resident("VmRSS"), time.perf_counter(), time.process_time()
        if streamed:
            video = call(VDiTDecodeVideo, {"model": model, "latent": latent, "fps": 0.0})[0]
        else:
            images, fps = call(VDiTDecode, {"model": model, "latent": latent}).result
            video = call(core["CreateVideo"], {"images": images, "fps": fps})[0]
        call(core["SaveVideo"], {"video": video, "filename_prefix": "clip", "format": {"format": "auto"}})
        taken = time.perf_counter() - clock, time.process_time() - processor
    frames = (count - 1) * 4 + 1
    figures = {
        "peak_mb": resident("VmHWM") / 1e6,
        "rise_mb": (resident("VmHWM") - before) / 1e6,
        "frame_ms": 1e3 * taken[0] / frames,
        "frame_cpu_ms": 1e3 * taken[1] / frames,
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def measured(way: str, seconds: float, size: int, draft: bool, runs: int) -> dict[str, float]:
    """The least of some processes."""
    command = [sys.executable, "-P", __file__, "--one", way, "--seconds", str(seconds), "--size", str(size)]
    lines = [subprocess.check_output([*command, *["--draft"] * draft], text=True) for _ in range(runs)]
    results = [json.loads(line.splitlines()[-1]) for line in lines]
    return {name: min(result[name] for result in results) for name in results[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 120.0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--draft", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=["streamed", "at once"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.path.insert(0, str(Path(__file__).parent))
        save(args.one == "streamed", args.seconds[0], args.size, args.draft)
        sys.exit()
    for way in ("streamed", "at once"):
        results = [measured(way, seconds, args.size, args.draft, args.runs) for seconds in args.seconds]
        for seconds, result in zip(args.seconds, results, strict=True):
            print(f"{way:9} {seconds:6g} s  {result}")
        ratios = {name: round(results[-1][name] / results[0][name], 3) for name in results[0]}
        print(f"{way:9} last/first  {ratios}")
