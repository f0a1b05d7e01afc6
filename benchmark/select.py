"""Which clips are scored: drawn from one seed, kept when the score's definition makes sense on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Iterator

import numpy as np

from ..geometry.camera_numpy import focal_length, project
from ..world.clip import Clip, render_scene
from ..world.simulate import simulate
from ..world.scene import sample_scene
from .labels import Labels, label
from .obedience import unfit_for_obedience
from .scores import LEAST_PATH, UNFIT
from .track import off_ground

DISTINCT = 0.20  # least RGB distance between the colours of two balls
APART = 0.12  # and between a ball's pixels and the background behind them, in light or shadow: for nine in ten
PLAIN = (
    0.15  # contrast of a floor below which no flow estimator sees a moving camera: its error is then the camera's own
)
MOST_TRIES = 300  # candidates for each clip wanted, before giving up; of falls one in fifty is long enough for C


@dataclass(frozen=True)
class Suite:
    title: str
    families: tuple[str, ...]
    frames: int
    asks: str  # one line for the report


SUITES = {
    "permanence": Suite("object permanence", ("behind", "arc", "wall"), 41, "the ball comes back from behind the box"),
    "physics": Suite("physics accuracy", ("fall", "throw"), 41, "the ball falls, bounces and moves on as it must"),
    "coherence": Suite("10-s coherence", ("fall", "throw"), 81, "ten seconds on it is the same world"),
    "obedience": Suite("obedience", ("fall", "throw", "arc", "look"), 41, "it moves as camera, depth and flow say"),
}


@dataclass
class Tally:
    """How many candidates were looked at, and why those left out were."""

    taken: int = 0
    left_out: Counter = field(default_factory=Counter)


@dataclass(frozen=True)
class Format:
    """The shape of the clips: pixels, frames a second, and how many first frames a model is given."""

    width: int = 128
    height: int = 128
    fps: float = 8.0
    known: int = 5
    frames: int | None = None  # of the clips of 41; None: as the suite says

    def frames_of(self, suite: str) -> int:
        usual = SUITES[suite].frames
        return usual if self.frames is None or suite == "coherence" else self.frames


def candidates(seed: int, suite: str, family: str, split: str) -> Iterator[int]:
    """An endless row of scene seeds; another benchmark seed, suite or family gives another row."""
    key = [seed, *f"{suite}/{family}/{split}".encode()]
    rng = np.random.default_rng(key)
    while True:
        yield int(rng.integers(2**31))


def unfit(clip: Clip, labels: Labels, suite: str, known: int) -> str | None:
    """Why this clip cannot be judged, or None."""
    if reason := (UNFIT | {"obedience": unfit_for_obedience})[suite](labels, known):
        return reason
    if suite == "obedience" and not labels.still and clip.scene.floor.contrast < PLAIN:
        return "the floor is too plain to tell how the camera moves"
    names = [b.color for b in clip.scene.balls]
    if len(set(names)) < len(names):
        return "two balls have one colour"
    middle = labels.shades[len(labels.shades) // 2]
    if len(labels.other_shades) and np.linalg.norm(labels.other_shades - middle, axis=-1).min() < DISTINCT:
        return "two balls are alike in colour"
    behind = np.broadcast_to(labels.background, labels.truth.shape)[labels.ball]
    if (off_ground(labels.truth[labels.ball], behind) < APART).mean() > 0.1:
        return "the ball is too like the background"
    return None


def _hopeless(scene, motion, suite: str, form: Format) -> str | None:
    """A cheap look before rendering: geometry alone."""
    if suite != "obedience" and not (
        np.allclose(scene.c2w, scene.c2w[:1]) and np.allclose(scene.fov_deg, scene.fov_deg[:1])
    ):
        return "the camera moves"
    if not scene.balls:
        return "there is no ball"
    if suite == "obedience":
        return None
    u, v, depth = project(motion.centers[:, 0], scene.c2w, scene.fov_deg, form.width, form.height)
    inside = (u > 0) & (u < form.width) & (v > 0) & (v < form.height) & (depth > 0)
    if inside.mean() < (0.25 if suite == "permanence" else 0.7):
        return "the ball leaves the picture"
    if suite == "coherence":
        path = np.hypot(np.diff(u), np.diff(v)).sum()
        radius = scene.balls[0].radius * focal_length(scene.fov_deg[0], form.height) / depth[0]
        if path < 0.9 * LEAST_PATH * radius:
            return f"the ball's way is shorter than {LEAST_PATH} of its radii"
    return None


def draw(
    suite: str, family: str, split: str, seed: int, count: int, form: Format = Format(), tally: Tally | None = None
) -> Iterator[tuple[Clip, Labels]]:
    """Up to `count` clips that the suite can judge, the same for the same arguments. Fewer when few scenes suit."""
    tally = tally or Tally()
    for tries, one in enumerate(candidates(seed, suite, family, split)):
        if tally.taken == count or tries >= MOST_TRIES * count:
            return
        made = take(suite, family, split, one, form)
        if isinstance(made, str):
            tally.left_out[made] += 1
            continue
        tally.taken += 1
        yield made


def take(suite: str, family: str, split: str, seed: int, form: Format = Format()) -> tuple[Clip, Labels] | str:
    """The clip of one scene seed with its labels, or why the suite cannot judge it."""
    scene = sample_scene(seed, family, split=split, frames=form.frames_of(suite), fps=form.fps)
    if reason := _hopeless(scene, simulate(scene), suite, form):
        return reason
    clip = render_scene(scene, form.width, form.height)
    labels = label(clip)
    return unfit(clip, labels, suite, form.known) or (clip, labels)
