"""Which part of what is perceived costs how much: python bench/parts.py hide foreign-fall --clips 24 --first 8000

Clips that their benchmark can judge, of families of objects (split validation) and of the foreign world. Drafts are
made from perfect perception of five pictures, from it with one part as the network perceives it, from the network's
with one part as it truly is, and with more and more parts so; each figure is the mean score, in percent. A clip in
which the network misses a body scores nothing where its answer is asked for.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from vdit.benchmark.bodies import BODY_SUITES, BodySuite
from vdit.benchmark.body_labels import BodiesLabels, label_bodies
from vdit.benchmark.foreign import FOREIGN_SUITES, ForeignClip, foreign_clip
from vdit.benchmark.foreign_world import FOREIGN_FAMILIES, GRAVITY, foreign_motion
from vdit.control.flow_from_video import motion_before
from vdit.model.cells import resized
from vdit.model.perceived import Perceived
from vdit.model.perception import BodyPerception
from vdit.pipeline.body_drafts import draft_of_bodies
from vdit.pipeline.values import ClipSpec
from vdit.training.data.body_labels import AIR, FINE, GROUND, KNOWN, perfect, rotation_vector, seen
from vdit.training.finished_runs import begun_perception
from vdit.world.families.objects import ObjectClip, play, stage
from vdit.world.families.varied import SHAPES, as_varied
from vdit.world.simulate import simulate

SIDE, FRAMES, FPS = 128, 41, 8.0
WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "vdit-small-bodies.safetensors"
PARTS = {
    "world": ("ground", "fov_deg", "gravity", "light"),
    "places": ("center", "foot", "support"),
    "shapes": ("kind", "sphere", "rotation", "half"),
    "speeds": ("velocity", "came", "braking"),
    "spins": ("spin",),
    "hinges": ("hinged", "anchor", "hinge"),
    "masks": ("masks", "covered"),
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
    return next(suite for suite in (*BODY_SUITES.values(), *FOREIGN_SUITES.values()) if family in suite.families)


def clips(family: str, count: int, first: int) -> Iterator[tuple[Tensor, BodiesLabels, Perceived]]:
    """The first pictures of clips that can be judged, their labels, and what there is to perceive in these pictures."""
    seed, made = first, 0
    while made < count:
        clip, labels, truth = (foreign if family in FOREIGN_FAMILIES else at_home)(seed, family)
        seed += 1
        if suite_of(family).unsuitable(labels, KNOWN) is None:
            made += 1
            yield clip.rgb[:KNOWN], labels, truth()


def at_home(seed: int, family: str) -> tuple[ObjectClip, BodiesLabels, Callable[[], Perceived]]:
    staged = stage(seed, family, split="validation", width=SIDE, height=SIDE, frames=FRAMES)
    clip = play(staged)

    def truth() -> Perceived:
        start = as_varied(staged)
        motion = simulate(start.scene, seconds=(KNOWN + 1) / FPS, fps=FPS * FINE)
        return perfect(seen(start, motion, 0))

    return clip, label_bodies(clip), truth


def foreign(seed: int, family: str) -> tuple[ForeignClip, BodiesLabels, Callable[[], Perceived]]:
    size = {"width": SIDE, "height": SIDE, "frames": FRAMES, "fps": FPS}
    clip, labels = foreign_clip(seed, family, **size, check=lambda: None)
    return clip, labels, lambda: perfect(labels_of(clip))


def labels_of(clip: ForeignClip) -> dict[str, np.ndarray]:
    """Of the last of the first pictures of a foreign clip, as training.data.body_labels.seen labels those at home."""
    scene, things = clip.scene, clip.scene.things
    last, height, w2c = (KNOWN - 1) * FINE, scene.c2w[2, 3], np.linalg.inv(scene.c2w)
    turn, ones = w2c[:3, :3], np.ones(len(things), np.float32)
    fall = GRAVITY / (FPS * FINE) ** 2
    poses = foreign_motion(scene, last + 2, FPS * FINE)[last - 1 :]  # [3, N, 4, 4] around the moment
    before, at, after = poses[:, :, :3, 3]
    center = at @ turn.T + w2c[:3, 3]
    turned = [rotation_vector(a[:3, :3] @ b[:3, :3].T) for a, b in zip(poses[2], poses[0], strict=True)]
    flies = (after - 2 * at + before)[:, 2] < -fall / 2
    size = {"ball": [0, 0, 0], "box": [0, 1, 2], "cylinder": [0, 0, 1]}
    kinds = {"ball": "sphere", "box": "box", "cylinder": "cylinder"}
    wall = np.append(turn @ (0.0, -1.0, 0.0), height / (scene.wall_y - scene.c2w[1, 3]))
    light = turn @ (scene.light - at.mean(0))
    return {
        "pixels": ones,
        "instance": clip.footage.instance[KNOWN - 1],
        "kind": np.array([SHAPES.index(kinds[thing.kind]) for thing in things]),
        "center": center / height,
        "axes": turn @ poses[1, :, :3, :3],
        "half": np.array([np.array(thing.size)[size[thing.kind]] for thing in things]) / height,
        "velocity": (after - before) / 2 * FINE @ turn.T / height,
        "spin": np.array(turned) / 2 * FINE @ turn.T,
        "fixed": 0 * ones,
        "hinged": 0 * ones,
        "anchor": center / height,
        "hinge": np.zeros((len(things), 3)),
        "support": np.where(flies, AIR, GROUND),
        "density": 0 * ones,
        "inverse_depth": height / clip.footage.depth[KNOWN - 1],
        "ground": turn @ (0.0, 0.0, 1.0),
        "focal": np.array(0.5 / np.tan(np.radians(scene.fov_deg) / 2)),
        "light": light / np.linalg.norm(light),
        "gravity": np.array(GRAVITY / height / FPS**2),
        "camera": np.zeros(6),
        "wall": wall,
    }


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


def score(family: str, pictures: Tensor, labels: BodiesLabels, answer: Perceived | None) -> float:
    if answer is None:
        return 0.0
    size = ClipSpec(FRAMES, SIDE, SIDE, FPS)
    draft = draft_of_bodies(Eyes(answer), pictures, size, balls=True)  # type: ignore[arg-type]
    if draft is None:
        return 0.0
    return suite_of(family).score(draft.frames.numpy().astype(np.float32), labels, KNOWN, lambda: None).value


def with_parts(own: Perceived | None, other: Perceived | None, names: tuple[str, ...]) -> Perceived | None:
    if own is None or other is None:
        return None
    return replace(own, **{name: getattr(other, name) for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", help="of world.families.objects: hide, swing, shove ...")
    parser.add_argument("--clips", type=int, default=12, help="of each family")
    parser.add_argument("--first", type=int, default=8000, help="the first seed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network: BodyPerception = begun_perception(WEIGHTS).eval()
    for family in args.families:
        values: dict[str, list[float]] = defaultdict(list)
        for pictures, labels, truth in clips(family, args.clips, args.first):
            answer = network.perceive(pictures, motion_before(resized(pictures), KNOWN))
            truth = replace(truth, covered=answer.covered)
            found = in_order(answer, truth)
            told: dict[str, Perceived | None] = {"all true": truth, "all perceived": answer}
            more: tuple[str, ...] = ()
            for part, names in PARTS.items():
                more += names
                told[f"{part} perceived"] = with_parts(truth, found, names)
                told[f"{part} true"] = with_parts(found, truth, names)
                told[f"up to {part} true"] = with_parts(found, truth, more)
            for name, one in told.items():
                values[name].append(score(family, pictures, labels, one))
        means = ", ".join(f"{name} {100 * np.mean(scores):.0f}" for name, scores in values.items())
        print(f"{family}, {args.clips} clips: {means}", flush=True)


if __name__ == "__main__":
    main()
