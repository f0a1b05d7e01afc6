"""One clip of the simulated world: a pure function of seed, split, family and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from ..arrays import Floats
from .caption import caption
from .flow import forward_flow
from .render import Render, render
from .scene import Scene, sample_scene
from .simulate import Motion, simulate


@dataclass(frozen=True)
class Clip:
    """A scene, its motion, its images and a caption; optical flow is computed when it is first read."""

    scene: Scene
    motion: Motion
    render: Render
    caption: str

    @property
    def centers(self) -> Floats:
        """Ball centres [T, N, 3], metres."""
        return self.motion.centers

    @property
    def rgb(self) -> Tensor:
        """Its pictures [T, H, W, 3], 0..1."""
        return self.render.rgb

    @property
    def depth(self) -> Tensor:
        """Metres along the optical axis [T, H, W]."""
        return self.render.depth

    @property
    def c2w(self) -> Floats:
        """The camera's poses [T, 4, 4]."""
        return self.scene.c2w

    @property
    def fov_deg(self) -> Floats:
        """Its vertical fields of view [T]."""
        return self.scene.fov_deg

    @cached_property
    def _flow(self) -> tuple[Tensor, Tensor]:
        return forward_flow(self.scene, self.motion, self.render)

    @property
    def flow(self) -> Tensor:
        """Forward optical flow [T-1, H, W, 2], pixels a frame."""
        return self._flow[0]

    def asked_flow(self, check: Callable[[], None]) -> Tensor:
        """The flow, worked out in parts between which check may raise to cancel."""
        self.__dict__.setdefault("_flow", forward_flow(self.scene, self.motion, self.render, check))
        return self.flow

    @property
    def visible(self) -> Tensor:
        """[T-1, H, W] bool: the flow's point is still visible in the next frame."""
        return self._flow[1]


def make_clip(
    seed: int,
    family: str | None = None,
    *,
    split: str = "train",
    width: int = 128,
    height: int = 128,
    frames: int = 41,
    fps: float = 8.0,
    check: Callable[[], None] = lambda: None,
) -> Clip:
    """Simulate and render one clip; the same arguments give the same pixels. Raises ValueError on unknown names.

    check: called often, may raise to cancel.
    """
    if frames < 1 or fps <= 0:
        raise ValueError(f"{frames} frames at {fps} fps were asked; at least 1 frame and a positive rate are needed")
    return render_scene(sample_scene(seed, family, split=split, frames=frames, fps=fps), width, height, check)


def render_scene(scene: Scene, width: int, height: int, check: Callable[[], None] = lambda: None) -> Clip:
    """Simulate and render a scene; check may raise to cancel. Raises ValueError on sizes below 8 pixels."""
    motion = simulate(scene, check)
    return Clip(scene, motion, render(scene, motion, width, height, check=check), caption(scene))


def clean_background(scene: Scene, width: int, height: int, check: Callable[[], None] = lambda: None) -> Tensor:
    """The scene's pictures [T, H, W, 3] without balls and movable boxes."""
    fixed = tuple(b for b in scene.boxes if b.mass is None)
    empty = replace(scene, balls=(), boxes=fixed)
    return render(empty, simulate(empty, check), width, height, check=check).rgb.clone()
