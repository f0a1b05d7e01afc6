"""A causal rollout of a long video against a short one: peak memory of a process, and time for each second of video.

    python -m vdit.bench causal

A tiny Wan model of random weights makes 64x64 video in blocks of three latent frames, with a window of 21 and a sink of
one, and each block is decoded when it is made. Aims: peak memory of 60 s at most 1.05 of that of 5 s, and time for each
second at most 1.2. The bundled student at its own size is shown beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from vdit.bench.rows import Row, apart, runs, show
from vdit.bench.wan_step import resident

SHORT, LONG, SIDE = 5.0, 60.0, 64
WARM = 2.0  # seconds of a video that is made before, so that libraries have what they keep


def rolled(bundled: bool, seconds: float) -> dict[str, float]:
    """Makes and decodes one video, block by block: what it took, and when the first block was seen."""
    import torch
    from vdit.control import Shot
    from vdit.model.causal import Told, with_causal
    from vdit.model.codec.autoencoder import WanCodec
    from vdit.model.files import bundle
    from vdit.model.files.bundle import load_world_model
    from vdit.model.variants import VARIANTS
    from vdit.model.wan import WanTransformer
    from vdit.model.world_model import WorldModel
    from vdit.pipeline import Hooks, Run, RunContext, clip_of, encode_shot, generate
    from vdit.pipeline.decode_blocks import DecodedBlocks
    from vdit.pipeline.values import Block

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if bundled:
        model = load_world_model(bundle.BUNDLED.with_stem("vdit-small-student"))
        side = 128
        shot = Shot(prompt="a red ball rolls to the right", start=torch.rand(1, side, side, 3))
    else:
        variant, side = VARIANTS["t2v-1.3b"], SIDE
        config = replace(variant.config, dim=256, ffn_dim=512, layers=4, text_dim=16)
        codec = WanCodec("2.1", 16, 16).requires_grad_(False).eval()
        transformer = WanTransformer(config).requires_grad_(False).eval()
        model = WorldModel(
            config, transformer, codec, None, dict(variant.defaults), {}, variant, family="wan", title="tiny"
        )
        shot = Shot(positive=[[torch.randn(1, 6, 16), {}]])
    model = with_causal(model, Told(1 if bundled else 3, "name"), "auto", 21, 1)
    conditioning = encode_shot(model, shot)

    def made(length: float) -> float:
        """Seconds until the first block was seen."""
        decoder, begin, seen = DecodedBlocks(model.require("codec", "the bench")), time.perf_counter(), list[float]()

        def on_block(block: Block) -> None:
            decoder.decode(block)
            seen.append(time.perf_counter() - begin)

        clip = clip_of(model, length, 0, side, side)
        generate(Run(model, conditioning, clip, 1, context=RunContext(hooks=Hooks(on_block=on_block))))
        return seen[0]

    made(WARM)
    clock, processor = time.perf_counter(), time.process_time()
    first = made(seconds)
    return {
        "peak memory": resident("VmHWM") / 1e6,
        "processor for each second": (time.process_time() - processor) / seconds,
        "time for each second": (time.perf_counter() - clock) / seconds,
        "first block": first,
    }


def rows(quick: bool) -> Iterator[Row]:
    """The long video's figures to the short one's."""
    aims = {"peak memory": "<= 1.05", "processor for each second": "<= 1.2"}
    for bundled, name in ((False, "tiny Wan"), (True, "bundled student"))[: 1 if quick else 2]:
        short, long = ([apart(rolled, bundled, seconds) for _ in range(runs(quick))] for seconds in (SHORT, LONG))
        for what in long[0]:
            ratio = median(x[what] for x in long) / median(x[what] for x in short)
            target = "" if bundled else aims.get(what, "")
            yield Row(f"{name}: {what}, {LONG:g} s to {SHORT:g} s", ratio, target=target)


if __name__ == "__main__":
    show(rows(quick=True))
