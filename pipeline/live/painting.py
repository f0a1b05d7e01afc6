"""Frames of a session on their way to a painter, and from it to the page: in order, at the pace of play."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...world.drawing.drawer import as_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...world.arrays import Bytes, Floats
    from ...world.motion import Moment
    from .pictures import Shot

LATE_S = 0.7  # since the last painted picture, after which the draft is shown
BEHIND = 12  # draft frames that may wait; then the oldest are left out


class FramePainter(Protocol):
    """Paints draft frames as they come, see painter.Painter."""

    size: tuple[int, int]
    temporal: int

    def paint(self, frames: Floats) -> Floats:
        """Draft frames [n, H, W, 3] in 0..1 of its size, painted."""
        ...


class Painting:
    """Runs a painter in a thread of its own. begin: makes one for frames of a size; again after a reset.

    show: is given each picture, uint8 [H, W, 3], when it is due. period: seconds between two of them.
    """

    def __init__(
        self,
        begin: Callable[[], FramePainter],
        show: Callable[[Shot, Bytes], None],
        period: float,
        clock: Callable[[], float],
    ):
        self.begin, self.show, self.period, self.clock = begin, show, period, clock
        self.painted = 0
        self._waiting: deque[tuple[Shot, Floats]] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._last = -LATE_S

    def saw(self, shot: Shot, rgb: Floats) -> None:
        """A frame [H, W, 3] was drawn that is to be painted; it is copied."""
        with self._changed:
            self._waiting.append((shot, np.array(rgb)))
            while len(self._waiting) > BEHIND:
                self._waiting.popleft()
            self._changed.notify()

    @property
    def late(self) -> bool:
        """Whether nothing has been painted for so long that the draft is shown."""
        return self.clock() - self._last > LATE_S

    def close(self) -> None:
        """End, soon."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def run(self) -> None:
        """Paints until it is closed."""
        painter: FramePainter | None = None
        first: Moment | None = None
        due = 0.0
        while True:
            frames = self._take(1 if painter is None else painter.temporal, first)
            if not frames:
                return
            if painter is None or frames[0][0].first is not first:
                painter, first = self.begin(), frames[0][0].first
                frames = frames[:1]
            made = painter.paint(np.stack([_resized(rgb, painter.size) for _, rgb in frames]))
            for (shot, _), picture in zip(frames, made, strict=True):
                due = max(due + self.period, self.clock())
                if len(self._waiting) < painter.temporal * 2:
                    self._closed.wait(due - self.clock())
                self.show(shot, as_bytes(picture))
                self.painted, self._last = self.painted + 1, self.clock()

    def _take(self, count: int, first: Moment | None) -> list[tuple[Shot, Floats]]:
        """So many frames, or one of another beginning; none when it is closed."""
        with self._changed:
            while not self._closed.is_set():
                if self._waiting and self._waiting[0][0].first is not first:
                    return [self._waiting.popleft()]
                if len(self._waiting) >= count:
                    return [self._waiting.popleft() for _ in range(count)]
                self._changed.wait()
        return []


def _resized(rgb: Floats, size: tuple[int, int]) -> Floats:
    """A frame [H, W, 3] at (width, height)."""
    import torch
    from torch.nn import functional as F

    width, height = size
    if rgb.shape[:2] == (height, width):
        return rgb
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
