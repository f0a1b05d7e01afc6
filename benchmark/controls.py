"""Videos whose score is known beforehand: the benchmark's own test. One that leaves its band means a broken score.

Each control is the simulator's clip with one thing wrong from the known frames on, rendered anew where bodies move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable

import numpy as np

from ..world.clip import Clip
from ..world.simulate import Motion, simulate
from ..world.render import render
from ..world.scene import BALL_COLORS
from .labels import Labels
from .scores import impacts, occlusion

AWAY = np.array([0.0, -60.0, 0.0])  # metres: behind any camera here


def _drawn(clip: Clip, centers: np.ndarray, *, color: str | None = None, twin: bool = False) -> np.ndarray:
    """The clip with its balls elsewhere [T, N, 3]; the first in another colour, or with a twin, last of centers."""
    scene = clip.scene
    if color:
        scene = replace(scene, balls=(replace(scene.balls[0], color=color), *scene.balls[1:]))
    if twin:
        scene = replace(scene, balls=(*scene.balls, scene.balls[0]))
    height, width = clip.render.instance.shape[1:]
    return render(scene, Motion(centers, clip.motion.box_poses), width, height).rgb.numpy().astype(np.float32)


def event(labels: Labels, known: int) -> int:
    """The frame at which things go wrong: when the ball gets hidden, hits the floor, or half way."""
    span = occlusion(labels)
    if span is not None and span[0] >= known:
        return span[0]
    hits = impacts(labels.center[:, 1], labels.radius, known)
    return hits[0] if hits else (known + labels.frames) // 2


def simulator(clip, labels, known, rng):
    return labels.truth


def static(clip, labels, known, rng):
    """The last known frame, on and on."""
    frames = labels.truth.copy()
    frames[known:] = frames[known - 1]
    return frames


def shuffled(clip, labels, known, rng):
    """The right frames in a random order."""
    frames = labels.truth.copy()
    frames[known:] = frames[known + rng.permutation(len(frames) - known)]
    return frames


def blank(clip, labels, known, rng):
    return np.full_like(labels.truth, 0.5)


def linear(clip, labels, known, rng):
    """Every ball goes on as it moved between the last two known frames; with one known frame it stays."""
    centers = clip.centers.copy()
    speed = centers[known - 1] - centers[max(known - 2, 0)]
    steps = np.arange(1, len(centers) - known + 1)
    centers[known:] = centers[known - 1] + steps[:, None, None] * speed
    return _drawn(clip, centers)


def vanish(clip, labels, known, rng):
    """The ball is gone from the event on."""
    centers = clip.centers.copy()
    centers[event(labels, known) :, 0] = AWAY
    return _drawn(clip, centers)


def recolour(clip, labels, known, rng):
    """From the event on the ball has another colour: the one that differs most."""
    own = np.array(BALL_COLORS[clip.scene.balls[0].color])
    color = max(BALL_COLORS, key=lambda c: float(np.linalg.norm(own - BALL_COLORS[c])))
    frames = labels.truth.copy()
    at = event(labels, known)
    frames[at:] = _drawn(clip, clip.centers, color=color)[at:]
    return frames


def duplicate(clip, labels, known, rng):
    """From the event on there are two of the ball, the second beside the first in the picture."""
    right = clip.scene.c2w[:, :3, 0]
    width = labels.truth.shape[2]
    side = np.where(labels.center[:, 0] < width / 2, 1.0, -1.0)[:, None]
    second = clip.centers[:, 0] + side * right * 3.0 * clip.scene.balls[0].radius
    second[: event(labels, known)] = AWAY
    return _drawn(clip, np.concatenate([clip.centers, second[:, None]], 1), twin=True)


def _time_scaled(factor: float) -> Callable:
    def scaled(clip, labels, known, rng):
        fine, count = 10, len(clip.centers)
        frames = int(np.ceil(count * fine * max(factor, 1.0))) + fine
        scene = replace(
            clip.scene, fps=clip.scene.fps * fine, c2w=np.repeat(clip.scene.c2w[:1], frames, 0),
            fov_deg=np.repeat(clip.scene.fov_deg[:1], frames),
        )  # fmt: skip
        t = np.arange(count, dtype=float)
        t[known:] = known - 1 + factor * (t[known:] - (known - 1))
        return _drawn(clip, simulate(scene).centers[np.round(t * fine).astype(int)])

    scaled.__doc__ = f"Everything after the known frames runs {factor:g} times as fast."
    return scaled


def _jitter(px: float) -> Callable:
    def jittered(clip, labels, known, rng):
        c2w = clip.scene.c2w
        metres = clip.scene.balls[0].radius / labels.radius  # a pixel at the ball's distance
        step = rng.normal(0.0, px, (len(c2w), 2)) * metres[:, None]
        step[:known] = 0.0
        centers = clip.centers.copy()
        centers[:, 0] += step[:, :1] * c2w[:, :3, 0] + step[:, 1:] * c2w[:, :3, 1]
        return _drawn(clip, centers)

    jittered.__doc__ = f"The ball trembles by {px:g} px."
    return jittered


def blur_and_noise(clip, labels, known, rng):
    """Blurred by sigma 0.8 px, with noise of 0.02."""
    import cv2

    soft = np.stack([cv2.GaussianBlur(f, (0, 0), 0.8) for f in labels.truth])
    return (soft + rng.normal(0.0, 0.02, soft.shape)).clip(0, 1).astype(np.float32)


def flicker(clip, labels, known, rng):
    """Every frame has a brightness of its own, with a spread of 6%."""
    factor = 1 + 0.06 * rng.normal(size=len(labels.truth))
    return (labels.truth * factor[:, None, None, None]).clip(0, 1).astype(np.float32)


def _h264(crf: int) -> Callable:
    def compressed(clip, labels, known, rng):
        import io

        import av

        file, pixels = io.BytesIO(), (labels.truth * 255).round().astype(np.uint8)
        with av.open(file, "w", format="mp4") as out:
            stream = out.add_stream("libx264", rate=8, options={"crf": str(crf)})
            stream.height, stream.width, stream.pix_fmt = *pixels.shape[1:3], "yuv420p"
            stream.thread_count = 1  # the same bytes on every machine
            for image in pixels:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())
        file.seek(0)
        with av.open(file) as back:
            return np.stack([f.to_ndarray(format="rgb24") for f in back.decode(video=0)]).astype(np.float32) / 255

    compressed.__doc__ = f"Through H.264 at quality {crf}."
    return compressed


@dataclass(frozen=True)
class Control:
    """make(clip, labels, known, rng) -> frames; bands: suite (or suite/family) -> least and most per cent allowed."""

    make: Callable
    bands: dict[str, tuple[float, float]]


_GOOD = {"permanence": (97, 100), "physics": (97, 100), "coherence": (97, 100)}
_BAD = {"permanence": (0, 2), "physics": (0, 2), "coherence": (0, 2)}
CONTROLS: dict[str, Control] = {
    "simulator": Control(simulator, {"permanence": (100, 100), "physics": (100, 100), "coherence": (99, 100)}),
    "h264 crf 23": Control(_h264(23), _GOOD),
    "h264 crf 35": Control(_h264(35), _GOOD),
    "blur + noise": Control(blur_and_noise, _GOOD),
    "jitter 0.3 px": Control(_jitter(0.3), {"permanence": (97, 100), "physics": (90, 100), "coherence": (90, 100)}),
    "jitter 2 px": Control(_jitter(2.0), {}),
    "static": Control(static, _BAD),
    "shuffled": Control(shuffled, _BAD),
    "blank": Control(blank, _BAD),
    "linear": Control(
        linear, {"permanence/arc": (0, 0), "permanence/wall": (0, 0), "physics": (0, 2), "coherence": (0, 30)}
    ),
    "vanish": Control(vanish, {"permanence": (0, 2), "physics": (0, 2), "coherence": (0, 60)}),
    "recolour": Control(recolour, {"permanence": (0, 2), "physics": (0, 2), "coherence": (0, 60)}),
    "duplicate": Control(duplicate, {"permanence": (0, 2), "physics": (0, 2), "coherence": (0, 75)}),
    "time x0.7": Control(_time_scaled(0.7), {"physics": (0, 2)}),
    "time x1.3": Control(_time_scaled(1.3), {"physics": (0, 2)}),
    "flicker 6%": Control(flicker, {"permanence": (97, 100), "physics": (97, 100), "coherence": (0, 45)}),
}
CODEC = "codec round trip"  # made by a callable that the caller hands in
CODEC_BANDS = _GOOD
