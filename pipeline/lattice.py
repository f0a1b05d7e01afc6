"""Which lengths and sizes a model's codec and patches can make; what does not fit is refused with what does."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_FRAMES = 1001
MAX_SIDE = 2048  # pixels


class LatticeError(ValueError):
    """A frame count or a size that does not fit."""


@dataclass(frozen=True)
class Lattice:
    """Frames come as temporal*k + 1 (k >= 1), width and height in multiples of `side` pixels."""

    temporal: int = 4
    side: int = 32

    def frames(self, seconds: float, fps: float) -> int:
        """Frames of a clip of `seconds` at `fps`: seconds*fps to the nearest whole frame, plus the one at time 0."""
        if not (0 < fps < math.inf and math.isfinite(seconds)):
            raise LatticeError(f"seconds is {seconds} and fps {fps}; expected numbers, fps more than 0")
        frames = round(seconds * fps) + 1
        self.check_frames(frames, fps)
        return frames

    def check_frames(self, frames: int, fps: float = 0.0) -> None:
        """Raise LatticeError naming the two nearest counts (with `fps`, as seconds too) unless `frames` fits."""
        largest = (MAX_FRAMES - 1) // self.temporal * self.temporal + 1
        if self.temporal < frames <= largest and (frames - 1) % self.temporal == 0:
            return

        def name(count: int) -> str:
            return f"{count} frames" + (f" ({(count - 1) / fps:.4g} s at {fps:g} fps)" if fps else "")

        if frames <= self.temporal:
            fit = f"the shortest are {name(self.temporal + 1)} and {name(2 * self.temporal + 1)}"
        elif frames > largest:
            fit = f"the longest are {name(largest - self.temporal)} and {name(largest)}"
        else:
            below = (frames - 1) // self.temporal * self.temporal + 1
            fit = f"the nearest that fit are {name(below)} and {name(below + self.temporal)}"
        raise LatticeError(f"{name(frames)} cannot be made: this model makes {self.temporal}*k + 1 frames; {fit}")

    def check_size(self, width: int, height: int) -> None:
        """Raise LatticeError naming the two nearest sizes unless both sides (pixels) fit."""
        wrong: list[str] = []
        for label, value in (("width", width), ("height", height)):
            if self.side <= value <= MAX_SIDE and value % self.side == 0:
                continue
            below = min(max(value // self.side, 1) * self.side, MAX_SIDE - self.side)
            wrong.append(f"{label} is {value}, the nearest that fit are {below} and {below + self.side}")
        if wrong:
            raise LatticeError(f"{'; '.join(wrong)} (multiples of {self.side} pixels from {self.side} to {MAX_SIDE})")
