"""Controls that change only pixels or time, whatever a clip is of: balls, bodies of any shape, or the foreign world."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..world.arrays import Floats
from ..world.video import read_video, write_h264
from . import opencv

Bands = dict[str, tuple[float, float]]  # suite, or suite/family -> least and most per cent allowed


class Truth(Protocol):
    """The part of a clip's labels that these controls read."""

    @property
    def truth(self) -> Floats:
        """Frames [T, H, W, 3], 0..1."""
        ...


class PixelSource(Protocol):
    """A clip's truth, how many of its first frames stay as they are, and what is drawn at random from."""

    @property
    def labels(self) -> Truth:
        """The clip's truth."""
        ...

    @property
    def known(self) -> int:
        """First frames that stay as they are."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """What a control may draw from."""
        ...


def static(source: PixelSource) -> Floats:
    """The last known frame, on and on."""
    frames = np.copy(source.labels.truth)
    frames[source.known :] = frames[source.known - 1]
    return frames


def shuffled(source: PixelSource) -> Floats:
    """The right frames in a random order."""
    frames, known = np.copy(source.labels.truth), source.known
    frames[known:] = frames[known + source.rng.permutation(len(frames) - known)]
    return frames


def blur_and_noise(source: PixelSource) -> Floats:
    """Blurred by sigma 0.8 px, with noise of 0.02."""
    soft = opencv.blurred(source.labels.truth, 0.8)
    return (soft + source.rng.normal(0.0, 0.02, soft.shape)).clip(0, 1).astype(np.float32)


def h264(crf: int) -> Callable[[PixelSource], Floats]:
    """Through H.264 at that quality."""

    def make(source: PixelSource) -> Floats:
        file = io.BytesIO()
        pixels = np.round(source.labels.truth * 255).astype(np.uint8)
        write_h264(file, pixels, 8, crf, threads=1)  # one thread: the same bytes on every machine
        file.seek(0)
        return read_video(file).astype(np.float32) / 255

    return make


def scaled_times(known: int, count: int, factor: float) -> Floats:
    """Times [T] in frames of a video in which all after the known frames runs so many times as fast."""
    t = np.arange(count, dtype=float)
    t[known:] = known - 1 + factor * (t[known:] - (known - 1))
    return t
