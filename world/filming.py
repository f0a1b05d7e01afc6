"""Simulate and draw in one go, each frame as soon as it is simulated; lengths and sizes that fit a scene, the estimate
beyond which they are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .drawing.film import Frame, film_moments
from .scene import SceneError
from .simulate import simulated

if TYPE_CHECKING:
    from .actions import Actions
    from .arrays import Floats
    from .footage import Footage
    from .motion import Motion
    from .scene import Scene

FITTED_PIXELS = 832 * 480  # of a frame whose size is left open: what video models of this size make at once
CELL = 16  # pixels: sides are multiples of it, as most video models want them
BYTES_PER_PIXEL = 30  # of Footage: colour 12, depth 4, instance 1, mask 4, flow 8, visible 1
COPIES = 1.8  # a guess of what depth as pictures, masks and the preview add, as a factor of the footage's own memory
MOST_BYTES = 12e9


@dataclass(frozen=True, kw_only=True)
class Filming:
    """How long, how fast and how large a scene is filmed; width and height of 0 are fitted to it. seed: of shards."""

    seconds: float = 5.0
    fps: float = 16.0
    width: int = 0
    height: int = 0
    seed: int = 0

    @property
    def frames(self) -> int:
        """Frames, with the first one at 0 s and the last one at `seconds`."""
        return round(self.seconds * self.fps) + 1


def fitted(scene: Scene, filming: Filming) -> tuple[int, int]:
    """Width and height in pixels. A side left open follows from the other by the scene's aspect, or both from its size,
    which is reduced to FITTED_PIXELS.
    """
    width, height = filming.width, filming.height
    aspect = scene.width / scene.height
    if not width and not height:
        pixels = min(FITTED_PIXELS, scene.width * scene.height)
        widths = range(CELL, round(math.sqrt(pixels * aspect)) + CELL, CELL)
        # Of the sizes with at least half the pixels, the one that crops least; of those, the largest.
        sizes = [(w, _cells(w / aspect)) for w in widths if w * w / aspect >= pixels / 2] or [
            (_cells(scene.width), _cells(scene.height))
        ]
        return min(sizes, key=lambda size: (round(abs(math.log(size[0] / size[1] / aspect)), 2), -size[0]))
    return width or _cells(height * aspect), height or _cells(width / aspect)


def _cells(side: float) -> int:
    return max(1, round(side / CELL)) * CELL


def check_size(filming: Filming, width: int, height: int) -> None:
    """Raise SceneError, with the estimate, for frames of this size (pixels) that would not fit into memory."""
    needed = filming.frames * width * height * BYTES_PER_PIXEL * COPIES
    if needed > MOST_BYTES:
        longest = max(0.0, (filming.frames * MOST_BYTES / needed - 1) / filming.fps)
        raise SceneError(
            f"{filming.frames:,} frames of {width}x{height} would take about {needed / 1e9:.0f} GB of memory; up to "
            f"{MOST_BYTES / 1e9:.0f} GB are allowed: choose fewer seconds (at most {longest:.1f}) or a smaller size"
        )


def check_length(filming: Filming) -> None:
    """Raise SceneError for a film of one frame, in which nothing moves."""
    if filming.frames < 2:
        raise SceneError(
            f"{filming.seconds:g} seconds at {filming.fps:g} fps are {filming.frames} frame; expected 2 or more, for "
            f"motion and flow: choose at least {math.ceil(10 / filming.fps) / 10:g} seconds, or more fps"
        )


def filmed(
    scene: Scene,
    actions: Actions,
    filming: Filming,
    *,
    c2w: Floats | None = None,
    fov_deg: Floats | None = None,
    check: Callable[[], None] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> tuple[Motion, Footage]:
    """The motion of a scene under actions, and what cameras c2w [T, 4, 4], fov_deg [T] see of it (None: its own view).

    check may raise to cancel; on_frame is given each frame. Raises SceneError, with the estimate, for what would not
    fit into memory, and as simulate and film do.
    """
    width, height = fitted(scene, filming)
    check_size(filming, width, height)
    # A frame more than seconds x fps, as video models count: the last one is shown too.
    seconds = filming.frames / filming.fps
    moments = simulated(scene, actions, seconds=seconds, fps=filming.fps, seed=filming.seed, check=check)
    with closing(moments):
        return film_moments(
            scene,
            moments,
            filming.frames,
            width=width,
            height=height,
            c2w=c2w,
            fov_deg=fov_deg,
            check=check,
            on_frame=on_frame,
        )
