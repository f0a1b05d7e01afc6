"""Videos whose score is known beforehand: the benchmark's own test. One that leaves its band means a broken score.

Each control is the simulator's clip with one thing wrong from the known frames on, rendered anew where bodies move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ..world.arrays import Floats
from ..world.families.clip import Clip
from ..world.families.render import render
from ..world.families.scene import BALL_COLORS
from ..world.families.simulate import Motion, simulate
from .body_controls import BODY_CONTROLS, FOREIGN_BANDS, BodySource
from .labels import Labels
from .permanence import occlusion
from .physics import impacts
from .pixel_controls import Bands, blur_and_noise, h264, scaled_times, shuffled, static

OUT_OF_VIEW = np.array([0.0, -60.0, 0.0])  # metres: behind any camera here


@dataclass(frozen=True)
class Source:
    """A clip, its truth, and what a control may draw from."""

    clip: Clip
    labels: Labels
    known: int  # first frames that stay as they are
    rng: np.random.Generator

    def drawn(self, centers: Floats, *, color: str | None = None, twin: bool = False) -> Floats:
        """The clip with its balls elsewhere [T, N, 3]; the first in another colour, or with a twin, last of centers."""
        scene = self.clip.scene
        if color:
            scene = replace(scene, balls=(replace(scene.balls[0], color=color), *scene.balls[1:]))
        if twin:
            scene = replace(scene, balls=(*scene.balls, scene.balls[0]))
        height, width = self.labels.truth.shape[1:3]
        return render(scene, Motion(centers, self.clip.motion.box_poses), width, height).rgb.numpy().astype(np.float32)

    @property
    def event(self) -> int:
        """The frame at which things go wrong: when the ball gets hidden, hits the floor, or half way."""
        span = occlusion(self.labels)
        if span is not None and span[0] >= self.known:
            return span[0]
        hits = impacts(self.labels.center[:, 1], self.labels.radius, self.known)
        return hits[0] if hits else (self.known + self.labels.frames) // 2


Make = Callable[[Source], Floats]  # -> frames [T, H, W, 3], 0..1


def _linear(source: Source) -> Floats:
    """Every ball goes on as it moved between the last two known frames; with one known frame it stays."""
    centers, known = np.copy(source.clip.centers), source.known
    speed = centers[known - 1] - centers[max(known - 2, 0)]
    steps = np.arange(1, len(centers) - known + 1)
    centers[known:] = centers[known - 1] + steps[:, None, None] * speed
    return source.drawn(centers)


def _vanish(source: Source) -> Floats:
    """The ball is gone from the event on."""
    centers = np.copy(source.clip.centers)
    centers[source.event :, 0] = OUT_OF_VIEW
    return source.drawn(centers)


def _recolour(source: Source) -> Floats:
    """From the event on the ball has another colour: the one that differs most."""
    own = np.array(BALL_COLORS[source.clip.scene.balls[0].color])
    color = max(BALL_COLORS, key=lambda c: float(np.linalg.norm(own - BALL_COLORS[c])))
    frames, at = np.copy(source.labels.truth), source.event
    frames[at:] = source.drawn(source.clip.centers, color=color)[at:]
    return frames


def _duplicate(source: Source) -> Floats:
    """From the event on there are two of the ball, the second beside the first in the picture."""
    clip, labels = source.clip, source.labels
    right = clip.scene.c2w[:, :3, 0]
    side = np.where(labels.center[:, 0] < labels.truth.shape[2] / 2, 1.0, -1.0)[:, None]
    second = clip.centers[:, 0] + side * right * 3.0 * clip.scene.balls[0].radius
    second[: source.event] = OUT_OF_VIEW
    return source.drawn(np.concatenate([clip.centers, second[:, None]], 1), twin=True)


def _time_scaled(factor: float) -> Make:
    """Everything after the known frames runs so many times as fast."""

    def make(source: Source) -> Floats:
        scene, known = source.clip.scene, source.known
        fine, count = 10, len(source.clip.centers)  # the simulator's frames for one of the video's
        frames = int(np.ceil(count * fine * max(factor, 1.0))) + fine
        c2w, fov_deg = np.repeat(scene.c2w[:1], frames, 0), np.repeat(scene.fov_deg[:1], frames)
        t = scaled_times(known, count, factor)
        motion = simulate(replace(scene, fps=scene.fps * fine, c2w=c2w, fov_deg=fov_deg))
        return source.drawn(motion.centers[np.round(t * fine).astype(int)])

    return make


def _jitter(px: float) -> Make:
    """The ball trembles by so many pixels."""

    def make(source: Source) -> Floats:
        c2w = source.clip.scene.c2w
        metres = source.clip.scene.balls[0].radius / source.labels.radius  # a pixel at the ball's distance
        step = source.rng.normal(0.0, px, (len(c2w), 2)) * metres[:, None]
        step[: source.known] = 0.0
        centers = np.copy(source.clip.centers)
        centers[:, 0] += step[:, :1] * c2w[:, :3, 0] + step[:, 1:] * c2w[:, :3, 1]
        return source.drawn(centers)

    return make


def _flicker(source: Source) -> Floats:
    """The brightness of each frame varies at random, with a standard deviation of 6%."""
    truth = source.labels.truth
    factor = 1 + 0.06 * source.rng.normal(size=len(truth))
    return (truth * factor[:, None, None, None]).clip(0, 1).astype(np.float32)


@dataclass(frozen=True)
class Control:
    """How to make the video, and the bands in which its scores must lie."""

    make: Make
    bands: Bands


def _bands(permanence: tuple[int, int], physics: tuple[int, int], coherence: tuple[int, int]) -> Bands:
    return {"permanence": permanence, "physics": physics, "coherence": coherence}


GOOD = _bands((97, 100), (97, 100), (97, 100))
_BAD = _bands((0, 2), (0, 2), (0, 2))
_STRAIGHT: Bands = {"permanence/arc": (0, 0), "permanence/wall": (0, 0), "physics": (0, 2), "coherence": (0, 30)}
CONTROLS: dict[str, Control] = {
    "simulator": Control(lambda source: source.labels.truth, _bands((100, 100), (100, 100), (99, 100))),
    "h264 crf 23": Control(h264(23), GOOD),
    "h264 crf 35": Control(h264(35), GOOD),
    "blur + noise": Control(blur_and_noise, GOOD),
    "jitter 0.3 px": Control(_jitter(0.3), _bands((97, 100), (90, 100), (90, 100))),
    "jitter 2 px": Control(_jitter(2.0), {}),
    "static": Control(static, _BAD),
    "shuffled": Control(shuffled, _BAD),
    "blank": Control(lambda source: np.full_like(source.labels.truth, 0.5), _BAD),
    "linear": Control(_linear, _STRAIGHT),
    "vanish": Control(_vanish, _bands((0, 2), (0, 2), (0, 60))),
    "recolour": Control(_recolour, _bands((0, 2), (0, 2), (0, 60))),
    "duplicate": Control(_duplicate, _bands((0, 2), (0, 2), (0, 75))),
    "time x0.7": Control(_time_scaled(0.7), {"physics": (0, 2)}),
    "time x1.3": Control(_time_scaled(1.3), {"physics": (0, 2)}),
    "flicker 6%": Control(_flicker, _bands((97, 100), (97, 100), (0, 45))),
}
CODEC = "codec round trip"  # a control of the model's codec, with bands GOOD
FAITHFUL = ("simulator", "h264 crf 23", "h264 crf 35", "blur + noise", CODEC, "flicker 6%")  # of the background
Roundtrip = Callable[[Tensor], Tensor]  # frames [T, H, W, 3] through a model's codec and back


AnySource = Source | BodySource
MakeVideo = Callable[[AnySource], Tensor | Floats]  # -> frames [T, H, W, 3], 0..1


def control_video(name: str) -> MakeVideo:
    """The control of this name, of balls or bodies. Raises TypeError for a clip of bodies where only balls have it."""

    def make(source: AnySource) -> Tensor | Floats:
        if isinstance(source, Source):
            return CONTROLS[name].make(source)
        if name not in BODY_CONTROLS:
            raise TypeError(f"the control {name!r} is of clips of balls")
        return BODY_CONTROLS[name].make(source)

    return make


CONTROLS_OF = {"balls": CONTROLS, "bodies": BODY_CONTROLS, "foreign": FOREIGN_BANDS}  # kind of clip -> names


def control_videos(roundtrip: Roundtrip | None = None, kind: str = "balls") -> dict[str, MakeVideo]:
    """Every control of clips of a kind of CONTROLS_OF, and the codec's round trip where there is a codec."""
    videos = {name: control_video(name) for name in CONTROLS_OF[kind]}
    if roundtrip is not None:
        videos[CODEC] = lambda source: roundtrip(source.clip.rgb)
    return videos
