"""Ground truth of a clip's first ball, in pixels: position, visible share, colours as drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..geometry.camera_numpy import project, project_sphere
from ..world.arrays import Bools, Floats
from ..world.families.clip import Clip, clean_background
from ..world.families.render import FIRST_BALL_ID, FIRST_BOX_ID
from . import opencv

SHADES = 8  # colours that represent a ball, from its dark side to its highlight
FULLY_VISIBLE = 0.9  # share of its disc from which a ball counts as wholly in view
HIDDEN = 0.02  # share of its disc up to which a ball counts as hidden: an edge pixel may remain


@dataclass(frozen=True)
class Labels:
    """One clip with its ground truth: T frames of H x W pixels, pixel centres at +0.5."""

    family: str
    seed: int
    split: str
    fps: float
    truth: Floats  # [T, H, W, 3] float32 frames, 0..1
    background: Floats  # [T or 1, H, W, 3]: the scene without balls and movable boxes
    center: Floats  # [T, 2] x, y px of the first ball, hidden or not
    radius: Floats  # [T] px
    visible: Floats  # [T] visible share of its disc, 0..1
    inside: Bools  # [T] its disc lies wholly in the picture
    contact: Floats  # [T] y px of its centre if it lay on the floor below
    ball: Bools  # [T, H, W] its pixels
    balls: Bools  # [T, H, W] pixels of any ball
    boxes: Bools  # [T, H, W] pixels of any box
    shades: Floats  # [<= SHADES, 3] its colours as drawn, from dark to bright
    other_shades: Floats  # [n, 3] those of the other balls
    static_camera: bool
    movable_boxes: bool  # the scene has boxes that can move

    @property
    def frames(self) -> int:
        """Number T of frames."""
        return len(self.truth)

    @property
    def in_view(self) -> Bools:
        """[T] bool: wholly visible."""
        return self.visible >= FULLY_VISIBLE

    @property
    def hidden(self) -> Bools:
        """[T] bool: inside the picture and wholly occluded."""
        return self.inside & (self.visible <= HIDDEN)


def label(clip: Clip, check: Callable[[], None] = lambda: None) -> Labels:
    """Label a clip by its first ball; check may raise to cancel. Raises ValueError when the scene has no ball."""
    scene = clip.scene
    if not scene.balls:
        raise ValueError(f"scene {scene.family} of seed {scene.seed} has no ball; there is nothing to judge")
    truth, instance = clip.render.rgb.numpy().astype(np.float32), clip.render.instance.numpy()
    frames, height, width = instance.shape
    first, at = scene.balls[0], clip.centers[:, 0]
    u, v, depth, radius = project_sphere(at, first.radius, scene.c2w, scene.fov_deg, width, height)
    on_floor = np.concatenate([at[:, :2], np.full((frames, 1), first.radius)], 1)
    ball = instance == FIRST_BALL_ID
    static = bool(np.allclose(scene.c2w, scene.c2w[:1]) and np.allclose(scene.fov_deg, scene.fov_deg[0]))
    empty = replace(scene, c2w=scene.c2w[:1], fov_deg=scene.fov_deg[:1]) if static else scene
    others = [shades_of(truth, instance == FIRST_BALL_ID + i) for i in range(1, len(scene.balls))]
    return Labels(
        family=scene.family,
        seed=scene.seed,
        split=scene.split,
        fps=float(scene.fps),
        truth=truth,
        background=clean_background(empty, width, height, check).numpy().astype(np.float32),
        center=np.stack([u, v], -1),
        radius=radius,
        visible=np.minimum(ball.sum((1, 2)) / (np.pi * radius**2), 1.0),
        inside=(u >= radius) & (u <= width - radius) & (v >= radius) & (v <= height - radius) & (depth > 0),
        contact=project(on_floor, scene.c2w, scene.fov_deg, width, height)[1],
        ball=ball,
        balls=(instance >= FIRST_BALL_ID) & (instance < FIRST_BOX_ID),
        boxes=instance >= FIRST_BOX_ID,
        shades=shades_of(truth, ball),
        other_shades=np.concatenate([*others, np.zeros((0, 3), np.float32)]),
        static_camera=static,
        movable_boxes=any(b.mass is not None for b in scene.boxes),
    )


def shades_of(truth: Floats, mask: Bools) -> Floats:
    """Mean colours [<= SHADES, 3] of equal parts of a ball's pixels, from dark to bright; its border is left out."""
    inner = opencv.eroded(mask, 3)
    pixels = truth[inner if inner.any() else mask]
    if not len(pixels):
        return np.zeros((0, 3), np.float32)
    pixels = pixels[np.argsort(pixels.sum(-1), kind="stable")]
    return np.stack([part.mean(0) for part in np.array_split(pixels, SHADES) if len(part)]).astype(np.float32)
