"""The bundled student painting block by block against its own pass over the whole video: scores on the same clips.

    python -m vdit.bench.causal_student [--count 12] [--seed 4242] [--model vdit-small-student]

It was trained with all frames at once. Each clip is continued from its first frames three times from the same noise:
whole, in blocks of one latent frame, and of three; with the drafts that are predicted, and without any. Printed: the
mean score of each suite in percent, and how many dB the frames are from the simulator's and from the whole pass's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch
from vdit.benchmark.controls import Source
from vdit.benchmark.fidelity import psnr
from vdit.benchmark.runner import MakeVideo, Plan, noise_seed, run
from vdit.control import Shot
from vdit.drafting import PerceptionCache
from vdit.model.causal import Told, with_causal
from vdit.model.files import bundle
from vdit.model.files.bundle import load_world_model
from vdit.model.world_model import WorldModel
from vdit.pipeline import ClipSpec, Continuation, Run, RunContext, encode_shot, take

SUITES = ("physics", "permanence")


def compare(ways: dict[str, WorldModel], plan: Plan, drafts: bool) -> None:
    """Prints a line for each way of painting."""
    context, latest = RunContext(perception=PerceptionCache()), dict[str, torch.Tensor]()
    from_whole, from_truth = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)

    def maker(name: str) -> MakeVideo:
        def make(source: Source) -> torch.Tensor:
            true, known = source.clip.render.rgb, source.known
            shot = encode_shot(ways[name], Shot(prompt=source.clip.caption, start=true[:known]))
            spec, before = ClipSpec(len(true), *true.shape[2:0:-1]), Continuation(predict=drafts)
            made = Run(ways[name], shot, spec, noise_seed(source.labels), context=context, continuation=before)
            latest[name] = frames = take(made).frames
            from_truth[name].append(psnr(frames[known:].numpy(), true[known:].numpy()))
            from_whole[name].append(psnr(frames[known:].numpy(), latest["whole"][known:].numpy()))
            return frames

        return make

    with tempfile.TemporaryDirectory() as folder:
        found = run(plan, {name: maker(name) for name in ways}, Path(folder), keep=())
    for name in ways:
        scores = [
            f"{suite} {100 * mean(r.get('value', 0.0) for r in found.results if (r['suite'], r['who']) == key):.1f}"
            for suite in SUITES
            for key in [(suite, name)]
        ]
        print(
            f"{'with' if drafts else 'without'} drafts, {name:12} {', '.join(scores)}; {mean(from_truth[name]):.1f} dB "
            f"from the simulator, {mean(from_whole[name]):.1f} dB from the whole pass",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="clips of each suite; default: 12")
    parser.add_argument("--seed", type=int, default=4242, help="of the clips; default: 4242")
    parser.add_argument("--model", default="vdit-small-student", help="a bundled model; default: vdit-small-student")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_world_model(bundle.BUNDLED.with_stem(options.model))
    ways = {"whole": model}
    ways |= {f"blocks of {n}": with_causal(model, Told(), f"blocks of {n}", 21, 1) for n in (1, 3)}
    for drafts in (True, False):
        compare(ways, Plan(options.seed, options.count, SUITES), drafts)


if __name__ == "__main__":
    main()
