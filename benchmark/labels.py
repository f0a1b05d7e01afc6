"""What is true of a clip's first ball, in pixels: where it is, how much of it shows, what colour it is drawn in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..geometry.camera_numpy import project, project_sphere
from ..world.clip import Clip, clean_background
from ..world.render import FIRST_BALL_ID, FIRST_BOX_ID

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
    movable: bool  # the scene has boxes that can move

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
    scene = clip.scene
    if not scene.balls:
        raise ValueError(f"scene {scene.family} of seed {scene.seed} has no ball; there is nothing to judge")
    truth, instance = clip.render.rgb.numpy().astype(np.float32), clip.render.instance.numpy()
    frames, height, width = instance.shape
    first, at = scene.balls[0], clip.centers[:, 0]
    u, v, depth, radius = project_sphere(at, first.radius, scene.c2w, scene.fov_deg, width, height)
    lying = np.concatenate([at[:, :2], np.full((frames, 1), first.radius)], 1)
    ball = instance == FIRST_BALL_ID
    still = bool(np.allclose(scene.c2w, scene.c2w[:1]) and np.allclose(scene.fov_deg, scene.fov_deg[0]))
    empty = replace(scene, c2w=scene.c2w[:1], fov_deg=scene.fov_deg[:1]) if still else scene
    others = [shades_of(truth, instance == FIRST_BALL_ID + i) for i in range(1, len(scene.balls))]
    return Labels(
        family=scene.family, seed=scene.seed, split=scene.split, fps=float(scene.fps), truth=truth,
        background=clean_background(empty, width, height).numpy().astype(np.float32),
        center=np.stack([u, v], -1), radius=radius,
        visible=np.minimum(ball.sum((1, 2)) / (np.pi * radius**2), 1.0),
        inside=(u >= radius) & (u <= width - radius) & (v >= radius) & (v <= height - radius) & (depth > 0),
        contact=project(lying, scene.c2w, scene.fov_deg, width, height)[1],
        ball=ball, balls=(instance >= FIRST_BALL_ID) & (instance < FIRST_BOX_ID), boxes=instance >= FIRST_BOX_ID,
        shades=shades_of(truth, ball), other_shades=np.concatenate([*others, np.zeros((0, 3), np.float32)]),
        still=still, movable=any(b.mass is not None for b in scene.boxes),
    )  # fmt: skip


def shades_of(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean colours [<= SHADES, 3] of a ball's pixels in equal parts from dark to bright; border pixels left out."""
    import cv2

    inner = np.stack([cv2.erode(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in mask]).astype(bool)
    pixels = truth[inner if inner.any() else mask]
    if not len(pixels):
        return np.zeros((0, 3), np.float32)
    pixels = pixels[np.argsort(pixels.sum(-1), kind="stable")]
    return np.stack([part.mean(0) for part in np.array_split(pixels, SHADES) if len(part)]).astype(np.float32)
