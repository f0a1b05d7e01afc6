"""Videos of bodies whose score is known beforehand: the test of the scores in benchmark/bodies.py.

Each is the simulator's clip with one thing wrong from the known frames on, filmed anew where bodies move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..world.arrays import Bools, Floats
from ..world.drawing.film import film
from ..world.families.objects import ObjectClip
from ..world.families.scene import BALL_COLORS
from ..world.motion import Motion
from ..world.scene import Colored
from ..world.simulate import simulate
from .body_labels import BodiesLabels
from .foreign import ForeignClip
from .pixel_controls import Bands, blur_and_noise, h264, scaled_times, shuffled, static

FINE = 10  # the simulator's frames for one of the video's, where time is scaled


@dataclass(frozen=True)
class BodySource:
    """A clip of bodies, its truth, and what a control may draw from."""

    clip: ObjectClip | ForeignClip
    labels: BodiesLabels
    known: int  # first frames that stay as they are
    rng: np.random.Generator

    @property
    def staged(self) -> ObjectClip:
        """The clip, of bodies that can be filmed anew. Raises TypeError for one of the foreign world."""
        if isinstance(self.clip, ObjectClip):
            return self.clip
        raise TypeError("a clip of the foreign world is not filmed anew")

    @property
    def first(self) -> Bools:
        """[N]: the bodies of the look that moves farthest."""
        ids = np.unique(self.staged.footage.instance.numpy()[self.labels.looks[0].ball])
        return np.isin(np.arange(len(self.staged.staged.scene.bodies)) + 1, ids)

    @property
    def event(self) -> int:
        """The frame at which things go wrong: when the first look gets hidden, or a third of the way."""
        hidden = np.nonzero(self.labels.looks[0].hidden)[0]
        return int(hidden[0]) if len(hidden) else self.known + (self.labels.frames - self.known) // 3

    def filmed(self, motion: Motion) -> Floats:
        """Pictures [T, H, W, 3] of another motion of the clip's bodies; the known frames stay."""
        height, width = self.labels.truth.shape[1:3]
        clip = self.clip
        frames = film(motion, width=width, height=height, c2w=clip.c2w, fov_deg=clip.fov_deg).rgb.numpy()
        return np.concatenate([self.labels.truth[: self.known], frames[self.known :].astype(np.float32)])


def _linear(source: BodySource) -> Floats:
    """Every body goes on as it moved between the last two known frames, without turning."""
    motion, known = source.staged.motion, source.known
    poses = np.copy(motion.poses)
    speed = poses[known - 1, :, :3, 3] - poses[max(known - 2, 0), :, :3, 3]
    poses[known:] = poses[known - 1]
    poses[known:, :, :3, 3] += np.arange(1, len(poses) - known + 1)[:, None, None] * speed
    return source.filmed(replace(motion, poses=poses))


def _vanish(source: BodySource) -> Floats:
    """The first look is gone from the event on."""
    motion = source.staged.motion
    present = np.copy(motion.present)
    present[source.event :, source.first] = False
    return source.filmed(replace(motion, present=present))


def _recolour(source: BodySource) -> Floats:
    """From the event on the first look has another colour: the one that differs most."""
    motion, first = source.staged.motion, source.first
    own = source.labels.looks[0].shades.mean(0)
    rgb = max(BALL_COLORS.values(), key=lambda c: float(np.linalg.norm(own - c)))
    parts = tuple(
        replace(part, appearance=Colored(rgb)) if there else part
        for part, there in zip(motion.parts, first, strict=True)
    )
    frames = np.copy(source.labels.truth)
    frames[source.event :] = source.filmed(replace(motion, parts=parts))[source.event :]
    return frames


def _time_scaled(factor: float) -> Callable[[BodySource], Floats]:
    """Everything after the known frames runs so many times as fast."""

    def make(source: BodySource) -> Floats:
        staged, known, count = source.staged.staged, source.known, source.labels.frames
        t = scaled_times(known, count, factor)
        rows = np.round(t * FINE).astype(int)
        fps = staged.fps * FINE
        fine = simulate(staged.scene, seconds=(rows[-1] + 1) / fps, fps=fps, seed=staged.seed)
        motion = replace(source.staged.motion, poses=fine.poses[rows], present=fine.present[rows])
        return source.filmed(motion)

    return make


@dataclass(frozen=True)
class BodyControl:
    """How to make the video, and the bands in which its scores must lie."""

    make: Callable[[BodySource], Floats]
    bands: Bands


def _bands(permanence: tuple[int, int], physics: tuple[int, int], coherence: tuple[int, int]) -> Bands:
    names = ("bodies-permanence", "bodies-physics", "bodies-coherence")
    return dict(zip(names, (permanence, physics, coherence), strict=True))


GOOD = _bands((90, 100), (90, 100), (90, 100))
_BAD = _bands((0, 2), (0, 2), (0, 5))
BODY_CONTROLS: dict[str, BodyControl] = {
    "simulator": BodyControl(lambda source: source.labels.truth, _bands((100, 100), (100, 100), (97, 100))),
    "h264 crf 23": BodyControl(h264(23), GOOD),
    "blur + noise": BodyControl(blur_and_noise, GOOD),
    "static": BodyControl(static, _BAD),
    "shuffled": BodyControl(shuffled, _bands((0, 2), (0, 15), (0, 25))),
    "blank": BodyControl(lambda source: np.full_like(source.labels.truth, 0.5), _BAD),
    "linear": BodyControl(_linear, {"bodies-permanence": (0, 2), "bodies-coherence": (0, 40)}),
    "vanish": BodyControl(_vanish, _bands((0, 2), (0, 2), (0, 60))),
    "recolour": BodyControl(_recolour, _bands((0, 2), (0, 2), (0, 60))),
    "time x0.7": BodyControl(_time_scaled(0.7), {}),
    "time x1.3": BodyControl(_time_scaled(1.3), {}),
}
# Those that need no filming, with their bands on clips of the foreign world.
FOREIGN_BANDS: dict[str, Bands] = {
    "simulator": {"foreign-balls": (97, 100), "foreign-bodies": (80, 100)},
    "h264 crf 23": {"foreign-balls": (95, 100), "foreign-bodies": (75, 100)},
    "blur + noise": {"foreign-balls": (95, 100), "foreign-bodies": (70, 100)},
    "static": {"foreign-balls": (0, 45), "foreign-bodies": (0, 45)},
    "shuffled": {},
    "blank": {"foreign-balls": (0, 1), "foreign-bodies": (0, 1)},
}
