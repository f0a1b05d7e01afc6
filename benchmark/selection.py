"""Which clips are scored: drawn from one seed, taken where the suite's score makes sense on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..geometry.camera_numpy import focal_length, project
from ..world.arrays import Floats
from ..world.families.clip import Clip, render_scene
from ..world.families.objects import ObjectClip, play, stage
from ..world.families.scene import Scene, sample_scene
from ..world.families.simulate import Motion, simulate
from .bodies import BODY_SUITES
from .body_labels import BodiesLabels, label_bodies
from .coherence import RULES as COHERENCE
from .foreign import FOREIGN_SUITES, ForeignClip, foreign_clip
from .labels import Labels, label
from .scores import ALL_SUITES, SUITES
from .tracking import background_distance


@dataclass(frozen=True)
class SelectionRules:
    """When a clip is too hard to judge; colours are RGB distances, 0..1."""

    ball_colors: float = 0.20  # least distance between the middle shades of two balls
    background: float = 0.12  # least distance of a ball's pixels to the background behind them, in light or shadow,
    background_share: float = 0.1  # but for this share of them
    floor_contrast: float = 0.15  # where a camera moves: on a plainer floor a flow estimator does not see it
    inside: float = 0.7  # share of frames with the ball's centre in the picture,
    inside_occluded: float = 0.25  # and where it passes behind a box
    path: float = 0.9  # share of CoherenceRules.min_path that the centres alone must give
    tries: int = 300  # candidates for each clip asked for; of falls one in fifty is long enough for coherence


RULES = SelectionRules()
SCENE_SEEDS: int = 2**31  # seeds are drawn from 0 to this


@dataclass
class Tally:
    """How many candidates were taken, and why the others were left out."""

    taken: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True)
class Format:
    """The shape of the clips: pixels, frames a second, and how many first frames a model is given."""

    width: int = 128
    height: int = 128
    fps: float = 8.0
    known: int = 5
    frames: int | None = None  # of the five-second clips; None: as the suite says

    def frames_of(self, suite: str) -> int:
        """Length of a suite's clips."""
        fixed = self.frames is None or suite in ("coherence", "bodies-coherence")
        return ALL_SUITES[suite].frames if fixed or self.frames is None else self.frames


def candidates(seed: int, suite: str, family: str, split: str) -> Iterator[int]:
    """An endless row of scene seeds; another benchmark seed, suite, family or split gives another row."""
    rng = np.random.default_rng([seed, *f"{suite}/{family}/{split}".encode()])
    while True:
        yield int(rng.integers(SCENE_SEEDS))


def unsuitable(clip: Clip, labels: Labels, suite: str, known: int) -> str | None:
    """Why this clip cannot be judged, or None."""
    if reason := SUITES[suite].unsuitable(labels, known):
        return reason
    if suite == "obedience" and not labels.static_camera and clip.scene.floor.contrast < RULES.floor_contrast:
        return "the floor is too plain to tell how the camera moves"
    names = [b.color for b in clip.scene.balls]
    if len(set(names)) < len(names):
        return "two balls have one colour"
    middle = labels.shades[len(labels.shades) // 2]
    others: Floats = np.linalg.norm(labels.other_shades - middle, axis=-1)
    if len(others) and np.min(others) < RULES.ball_colors:
        return "two balls are alike in colour"
    behind = np.broadcast_to(labels.background, labels.truth.shape)[labels.ball]
    distance = background_distance(labels.truth[labels.ball], behind)
    if (distance < RULES.background).mean() > RULES.background_share:
        return "the ball is too like the background"
    return None


def _unsuitable_motion(scene: Scene, motion: Motion, suite: str, form: Format) -> str | None:
    """The reason why a scene cannot be scored, if it shows without rendering the scene; else None."""
    static = np.allclose(scene.c2w, scene.c2w[:1]) and np.allclose(scene.fov_deg, scene.fov_deg[:1])
    if suite != "obedience" and not static:
        return "the camera moves"
    if not scene.balls:
        return "there is no ball"
    if suite == "obedience":
        return None
    u, v, depth = project(motion.centers[:, 0], scene.c2w, scene.fov_deg, form.width, form.height)
    inside = (u > 0) & (u < form.width) & (v > 0) & (v < form.height) & (depth > 0)
    if inside.mean() < (RULES.inside_occluded if suite == "permanence" else RULES.inside):
        return "the ball leaves the picture"
    if suite == "coherence":
        path: Floats = np.hypot(np.diff(u), np.diff(v))
        radius = scene.balls[0].radius * focal_length(scene.fov_deg[0], form.height) / depth[0]
        if path.sum() < RULES.path * COHERENCE.min_path * radius:
            return f"the ball's path is shorter than {COHERENCE.min_path:g} of its radii"
    return None


Taken = tuple[Clip, Labels] | tuple[ObjectClip | ForeignClip, BodiesLabels]


def draw(
    suite: str,
    family: str,
    split: str,
    seed: int,
    count: int,
    form: Format | None = None,
    tally: Tally | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Taken]:
    """Up to `count` clips that the suite can judge, the same for the same arguments. Fewer when few scenes suit.

    check: called often, may raise to cancel.
    """
    tally = tally or Tally()
    for tries, one in enumerate(candidates(seed, suite, family, split)):
        if tally.taken == count or tries >= RULES.tries * count:
            return
        made = take(suite, family, split, one, form, check)
        if isinstance(made, str):
            tally.left_out[made] += 1
            continue
        tally.taken += 1
        yield made


def take(
    suite: str, family: str, split: str, seed: int, form: Format | None = None, check: Callable[[], None] = lambda: None
) -> Taken | str:
    """The clip of one scene seed with its labels, or why the suite cannot judge it."""
    form = form or Format()
    if suite in BODY_SUITES:
        return _take_bodies(suite, family, split, seed, form, check)
    if suite in FOREIGN_SUITES:
        if split != "test":
            raise ValueError(f"the foreign world is for test only; split {split!r} has no clips of it")
        size = {"width": form.width, "height": form.height, "frames": form.frames_of(suite)}
        clip, labels = foreign_clip(seed, family, **size, fps=form.fps, check=check)
        return FOREIGN_SUITES[suite].unsuitable(labels, form.known) or (clip, labels)
    scene = sample_scene(seed, family, split=split, frames=form.frames_of(suite), fps=form.fps)
    if reason := _unsuitable_motion(scene, simulate(scene, check), suite, form):
        return reason
    clip = render_scene(scene, form.width, form.height, check)
    labels = label(clip, check)
    return unsuitable(clip, labels, suite, form.known) or (clip, labels)


def _take_bodies(
    suite: str, family: str, split: str, seed: int, form: Format, check: Callable[[], None]
) -> tuple[ObjectClip, BodiesLabels] | str:
    """As take, of the families of objects."""
    size = {"width": form.width, "height": form.height}
    staged = stage(seed, family, split=split, frames=form.frames_of(suite), fps=form.fps, **size)
    if not (np.allclose(staged.c2w, staged.c2w[:1]) and np.allclose(staged.fov_deg, staged.fov_deg[:1])):
        return "the camera moves"
    clip = play(staged, check)
    labels = label_bodies(clip, check)
    return BODY_SUITES[suite].unsuitable(labels, form.known) or (clip, labels)
