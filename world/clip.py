"""One clip of the simulated world: a pure function of seed, split, family and size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .caption import caption
from .dynamics import simulate
from .render import Render, render
from .scene import Scene, sample_scene


@dataclass
class Clip:
    scene: Scene
    centers: np.ndarray  # [T, N, 3] ball centres, metres
    render: Render
    caption: str


def make_clip(
    seed: int,
    family: str | None = None,
    *,
    split: str = "train",
    width: int = 128,
    height: int = 128,
    frames: int = 41,
    fps: float = 8.0,
) -> Clip:
    """Simulate and render one clip; the same arguments give the same pixels. Raises ValueError on unknown names."""
    if frames < 1 or fps <= 0:
        raise ValueError(f"{frames} frames at {fps} fps were asked; at least 1 frame and a positive rate are needed")
    scene = sample_scene(seed, family, split=split, frames=frames, fps=fps)
    centers = simulate(scene)
    return Clip(scene, centers, render(scene, centers, width, height), caption(scene))
