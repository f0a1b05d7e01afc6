"""Which part of what is perceived costs how much: python bench/parts.py hide swing --clips 24 --first 8000

Validation clips of families of objects that their benchmark can judge. Drafts are made from perfect perception of five
pictures, from it with one part as the network perceives it, and from the network's with one part as it truly is; each
figure is the share of clips, in percent, that pass the family's score. A clip in which the network misses a body counts
as failed where its answer is asked for.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from vdit.benchmark.bodies import BODY_SUITES, BodySuite
from vdit.benchmark.body_labels import BodiesLabels, label_bodies
from vdit.control.flow_from_video import motion_before
from vdit.model.cells import resized
from vdit.model.perceived import Perceived
from vdit.model.perception import BodyPerception
from vdit.pipeline.body_drafts import draft_of_bodies
from vdit.pipeline.values import ClipSpec
from vdit.training.data.body_labels import FINE, KNOWN, perfect, seen
from vdit.training.finished_runs import begun_perception
from vdit.world.families.objects import ObjectClip, play, stage
from vdit.world.families.varied import as_varied
from vdit.world.simulate import simulate

SIDE, FRAMES, FPS = 128, 41, 8.0
WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "vdit-small-bodies.safetensors"
PARTS = {
    "places": ("center", "foot", "support"),
    "shapes": ("kind", "sphere", "rotation", "half"),
    "speeds": ("velocity", "came", "braking"),
    "spins": ("spin",),
    "hinges": ("hinged", "anchor", "hinge"),
    "masks": ("masks", "covered"),
    "world": ("ground", "fov_deg", "gravity", "light"),
}
OF_BODIES = ("masks", "sure", "sphere", "center", "rotation", "half", "velocity", "spin", "fixed", "hinged", "anchor")
OF_BODIES += ("hinge", "foot", "support", "density", "came", "braking")
BESIDE = 0.1  # picture heights: a body that is seen farther aside is another one


class Eyes(nn.Module):
    """Stands in for the network and returns a given answer."""

    def __init__(self, answer: Perceived):
        super().__init__()
        self.answer = answer

    def perceive(self, frames: Tensor, motion: Tensor) -> Perceived:
        return self.answer


def suite_of(family: str) -> BodySuite:
    return BODY_SUITES["bodies-permanence" if family == "hide" else "bodies-physics"]


def clips(family: str, count: int, first: int) -> Iterator[tuple[ObjectClip, BodiesLabels, Perceived]]:
    """Clips that can be judged, with their labels and what there is to perceive in their first pictures."""
    seed, made = first, 0
    while made < count:
        staged = stage(seed, family, split="validation", width=SIDE, height=SIDE, frames=FRAMES)
        seed += 1
        clip = play(staged)
        labels = label_bodies(clip)
        if suite_of(family).unsuitable(labels, KNOWN) is None:
            made += 1
            start = as_varied(staged)
            motion = simulate(start.scene, seconds=(KNOWN + 1) / FPS, fps=FPS * FINE)
            yield clip, labels, perfect(seen(start, motion, 0))


def in_order(answer: Perceived, truth: Perceived) -> Perceived | None:
    """The answer's bodies in the order of the true ones; None where one is missing."""
    if len(answer.kind) < len(truth.kind):
        return None
    seen_at, true_at = (p.center[:, :2] / p.center[:, 2:] for p in (answer, truth))
    apart = torch.cdist(true_at, seen_at) * float(0.5 / np.tan(np.radians(truth.fov_deg) / 2))
    least, order = apart.min(1)
    if len(set(order.tolist())) < len(order) or float(least.max()) > BESIDE:
        return None
    told = {name: getattr(answer, name)[order] for name in OF_BODIES}
    return replace(answer, kind=tuple(answer.kind[i] for i in order.tolist()), **told)


def passed(family: str, clip: ObjectClip, labels: BodiesLabels, answer: Perceived | None) -> bool:
    if answer is None:
        return False
    size = ClipSpec(FRAMES, SIDE, SIDE, FPS)
    draft = draft_of_bodies(Eyes(answer), clip.rgb[:KNOWN], size, balls=True)  # type: ignore[arg-type]
    if draft is None:
        return False
    return suite_of(family).score(draft.frames.numpy().astype(np.float32), labels, KNOWN, lambda: None).value > 0


def with_parts(own: Perceived, other: Perceived | None, names: tuple[str, ...]) -> Perceived | None:
    return None if other is None else replace(own, **{name: getattr(other, name) for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", help="of world.families.objects: hide, swing, shove ...")
    parser.add_argument("--clips", type=int, default=12, help="of each family")
    parser.add_argument("--first", type=int, default=8000, help="the first seed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network: BodyPerception = begun_perception(WEIGHTS).eval()
    for family in args.families:
        right: dict[str, list[bool]] = defaultdict(list)
        for clip, labels, truth in clips(family, args.clips, args.first):
            pictures = clip.rgb[:KNOWN]
            answer = network.perceive(pictures, motion_before(resized(pictures), KNOWN))
            truth = replace(truth, covered=answer.covered)
            found = in_order(answer, truth)
            right["all true"].append(passed(family, clip, labels, truth))
            right["all perceived"].append(passed(family, clip, labels, answer))
            for part, names in PARTS.items():
                right[f"{part} perceived"].append(passed(family, clip, labels, with_parts(truth, found, names)))
                other = None if found is None else with_parts(found, truth, names)
                right[f"{part} true"].append(passed(family, clip, labels, other))
        shares = ", ".join(f"{name} {100 * np.mean(values):.0f}" for name, values in right.items())
        print(f"{family}, {args.clips} clips: {shares}", flush=True)


if __name__ == "__main__":
    main()
