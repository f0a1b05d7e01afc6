"""What is true of a clip's first ball, in pixels: where it is, how much of it shows, what colour it is drawn in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..clip import Clip, clean_background, project
from ..render import FIRST_BALL_ID, FIRST_BOX_ID

SHADES = 8  # colours that stand for a ball from its dark side to its gloss
FULLY = 0.9  # visible share from which a ball counts as wholly in view
HIDDEN = 0.02  # and up to which it counts as hidden: an edge pixel may remain


@dataclass(frozen=True)
class Labels:
    """One clip with its truth; T frames of H x W pixels. Pixel positions have centres at +0.5."""

    family: str
    seed: int
    split: str
    fps: float
    truth: np.ndarray  # [T, H, W, 3] float32, 0..1
    background: np.ndarray  # [T or 1, H, W, 3]: the scene without balls and movable boxes
    center: np.ndarray  # [T, 2] x, y px of the first ball, hidden or not
    radius: np.ndarray  # [T] px
    visible: np.ndarray  # [T] share of its disc that shows, 0..1
    inside: np.ndarray  # [T] bool: its disc lies wholly in the picture
    contact: np.ndarray  # [T] y px that its centre would have if it lay on the floor
    ball: np.ndarray  # [T, H, W] bool: where it shows
    balls: np.ndarray  # [T, H, W] bool: where any ball shows
    boxes: np.ndarray  # [T, H, W] bool: where a box shows
    shades: np.ndarray  # [SHADES, 3] its colours as drawn
    other_shades: np.ndarray  # [n, 3] those of the other balls
    still: bool  # the camera does not move

    @property
    def frames(self) -> int:
        return len(self.truth)

    @property
    def in_view(self) -> np.ndarray:
        """[T] bool: wholly visible."""
        return self.visible >= FULLY

    @property
    def hidden(self) -> np.ndarray:
        """[T] bool: inside the picture and wholly behind something."""
        return self.inside & (self.visible <= HIDDEN)


def label(clip: Clip) -> Labels:
    """The truth of a clip's first ball. Raises ValueError when the scene has no ball."""
    scene, render = clip.scene, clip.render
    if not scene.balls:
        raise ValueError(f"scene {scene.family} of seed {scene.seed} has no ball; there is nothing to judge")
    truth, instance = _array(render.rgb).astype(np.float32), _array(render.instance)
    frames, height, width = instance.shape
    first, fov = scene.balls[0], np.broadcast_to(np.asarray(scene.fov_deg, np.float64), frames)
    at = clip.centers[:, 0]
    u, v, depth = (_array(x) for x in project(at, scene.c2w, scene.fov_deg, width, height))
    floor = at.copy()
    floor[:, 2] = first.radius
    focal = 0.5 * height / np.tan(np.radians(fov) / 2)
    radius = focal * first.radius / np.sqrt(np.maximum(depth**2 - first.radius**2, 1e-6))
    ball = instance == FIRST_BALL_ID
    still = bool(np.allclose(scene.c2w, scene.c2w[:1])) and bool(np.allclose(fov, fov[0]))
    background = _array(clean_background(scene, width, height)).astype(np.float32)
    return Labels(
        family=scene.family, seed=scene.seed, split=scene.split, fps=float(scene.fps), truth=truth,
        background=background[:1] if still and not _any_movable(scene) else background,
        center=np.stack([u, v], -1), radius=radius,
        visible=np.minimum(ball.sum((1, 2)) / (np.pi * radius**2), 1.0),
        inside=(u >= radius) & (u <= width - radius) & (v >= radius) & (v <= height - radius) & (depth > 0),
        contact=_array(project(floor, scene.c2w, scene.fov_deg, width, height)[1]),
        ball=ball, balls=(instance >= FIRST_BALL_ID) & (instance < FIRST_BOX_ID), boxes=instance >= FIRST_BOX_ID,
        shades=_shades(truth, ball), still=still,
        other_shades=np.concatenate(
            [_shades(truth, instance == FIRST_BALL_ID + i) for i in range(1, len(scene.balls))] or [np.zeros((0, 3))]
        ).astype(np.float32),
    )  # fmt: skip


def _any_movable(scene) -> bool:
    return any(getattr(b, "mass", None) is not None for b in scene.boxes)


def _array(x) -> np.ndarray:
    return np.asarray(x.numpy() if hasattr(x, "numpy") else x)


def _shades(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean colours [<= SHADES, 3] of a ball's pixels in equal parts from dark to bright; border pixels left out."""
    import cv2

    inner = np.stack([cv2.erode(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in mask]).astype(bool)
    pixels = truth[inner if inner.any() else mask]
    if not len(pixels):
        return np.zeros((0, 3), np.float32)
    pixels = pixels[np.argsort(pixels.sum(-1), kind="stable")]
    return np.stack([part.mean(0) for part in np.array_split(pixels, SHADES) if len(part)]).astype(np.float32)
