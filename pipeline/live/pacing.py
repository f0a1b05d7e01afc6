"""How large frames are drawn so that they come in time: size gives way before rate."""

from __future__ import annotations

from dataclasses import dataclass

SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)  # of width and height
CELL = 8  # pixels: sides of reduced frames are multiples of it, as JPEG codes them
SMALLEST = 64  # pixels along the shorter side, below which frames are not reduced
TOO_LONG, SHORT = 0.9, 0.55  # of a frame's time: drawing that takes more is reduced; the next size may take that much
SLOW_FRAMES, QUICK_FRAMES = 3, 24  # in a row, after which the size goes down, or up
SHARE = 0.3  # of the newest frame in the mean of drawing times


@dataclass
class Budget:
    """Chooses the scale by how long frames took to draw, in seconds. period: from frame to frame."""

    period: float
    width: int
    height: int
    level: int = 0
    mean: float | None = None
    slow: int = 0
    quick: int = 0

    @property
    def scale(self) -> float:
        """Of width and height."""
        return SCALES[self.level]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels at this scale."""
        return self._size(self.level)

    def took(self, seconds: float) -> None:
        """Hear how long a frame of this size took."""
        self.mean = seconds if self.mean is None else self.mean + SHARE * (seconds - self.mean)
        self.slow = self.slow + 1 if self.mean > TOO_LONG * self.period else 0
        self.quick = self.quick + 1 if self.level and self._larger() < SHORT * self.period else 0
        if self.slow >= SLOW_FRAMES and self.level + 1 < len(SCALES) and self._size(self.level + 1) != self.size:
            self._to(self.level + 1)
        elif self.quick >= QUICK_FRAMES:
            self._to(self.level - 1)

    def _larger(self) -> float:
        """Seconds that the next larger size is expected to take: as its number of pixels."""
        assert self.mean is not None
        (w, h), (wide, high) = self.size, self._size(self.level - 1)
        return self.mean * wide * high / (w * h)

    def _to(self, level: int) -> None:
        self.level, self.mean, self.slow, self.quick = level, None, 0, 0

    def _size(self, level: int) -> tuple[int, int]:
        scale = max(SCALES[level], min(1.0, SMALLEST / min(self.width, self.height)))
        if scale == 1.0:
            return self.width, self.height
        width, height = (max(CELL, round(side * scale / CELL) * CELL) for side in (self.width, self.height))
        return width, height
