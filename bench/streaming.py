"""Decoding a long video while it is saved, against a short one: peak memory of a process, and time for each frame.

    python -m vdit.bench streaming

Each clip, of random latents at 256x256, is decoded and saved by a process of its own, by VDiT Decode Video and, for
comparison, by VDiT Decode and Create Video. Aims: of the first, peak memory of the long clip at most 1.15 of the short
one's, time a frame at most 1.2; also where the latent carries a draft in half of which it agrees, whose frames are in
memory before.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from statistics import median

from vdit.bench.rows import Row, apart, runs, show
from vdit.bench.wan_step import resident

FPS, SIDE = 8.0, 256
SHORT, LONG = 5.0, 120.0


def saved(streamed: bool, seconds: float, draft: bool) -> dict[str, float]:
    """Saves one clip by the bundled codec: what it took."""
    import torch
    from vdit.drafting import Draft
    from vdit.host import folders
    from vdit.host.api import call
    from vdit.host.core_nodes import NODES as CORE
    from vdit.nodes.decode import VDiTDecode, VDiTDecodeVideo
    from vdit.nodes.load import BUNDLED, VDiTLoadModel

    core = {cls.GET_SCHEMA().node_id: cls for cls in CORE}
    model = call(VDiTLoadModel, {"file": BUNDLED})[0]
    count = round(seconds * FPS / 4) + 1
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1, model.codec.channels, count, SIDE // 16, SIDE // 16, generator=generator)
    latent = {"samples": samples, "fps": FPS}
    if draft:
        frames = torch.rand(1, SIDE, SIDE, 3, generator=generator).repeat((count - 1) * 4 + 1, 1, 1, 1)
        own = samples.clone()
        own[:, :, ::2, : SIDE // 32] += 1
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
    return {
        "peak memory": resident("VmHWM") / 1e6,
        "memory over what the process had": (resident("VmHWM") - before) / 1e6,
        "processor for each frame": 1e3 * taken[1] / frames,
        "time for each frame": 1e3 * taken[0] / frames,
    }


def rows(quick: bool) -> Iterator[Row]:
    """The long clip's figures to the short one's, of Decode Video; and of the two nodes that hold all frames."""
    aims = {"peak memory": "<= 1.15", "time for each frame": "<= 1.2"}
    ways = (
        (True, False, "Decode Video"),
        (True, True, "Decode Video with a draft"),
        (False, False, "Decode and Create Video"),
    )
    for streamed, draft, name in ways[:1] if quick else ways:
        short, long = (
            [apart(saved, streamed, seconds, draft) for _ in range(runs(quick))] for seconds in (SHORT, LONG)
        )
        for what in long[0]:
            ratio = median(x[what] for x in long) / median(x[what] for x in short)
            target = aims.get(what, "") if streamed and not draft else ""
            yield Row(f"{name}: {what}, {LONG:g} s to {SHORT:g} s", ratio, target=target)


if __name__ == "__main__":
    show(rows(quick=True))
