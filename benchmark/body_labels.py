"""Ground truth of a clip of bodies of any shape: for each distinct appearance (look), its masks, places and colours.

A look is a body, or all bodies of one appearance (every other domino). A video is judged by each look's pixels, found
by colour as a ball's are, so any model's frames can be scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..world.arrays import Bools, Floats, Ints
from ..world.drawing.film import film
from ..world.families.objects import ObjectClip
from ..world.motion import Motion
from ..world.scene import Colored, Textured
from . import opencv
from .labels import Labels, shades_of

LEAST_PX = 20  # of a look in the picture, from which on it is judged
ELONGATED = 1.6  # ratio of a mask's two extents from which on its direction means something


@dataclass(frozen=True)
class BodiesLabels:
    """One clip with the truth of each of its looks; their Labels share truth and background."""

    family: str
    seed: int
    split: str
    fps: float
    looks: tuple[Labels, ...]
    count: tuple[int, ...]  # bodies of each look

    @property
    def truth(self) -> Floats:
        """Frames [T, H, W, 3] float32, 0..1."""
        return self.looks[0].truth

    @property
    def frames(self) -> int:
        """Number T of frames."""
        return len(self.truth)

    @property
    def center(self) -> Floats:
        """Of the first look [T, 2] px."""
        return self.looks[0].center

    @property
    def radius(self) -> Floats:
        """Of the first look [T] px."""
        return self.looks[0].radius

    @cached_property
    def places(self) -> tuple[Places, ...]:
        """Of each look, as its true masks show it."""
        return tuple(places(look.ball) for look in self.looks)


@dataclass(frozen=True)
class Places:
    """Where masks [T, H, W] are: area [T] px, center [T, 2] px, direction [T] rad (of a line), stretch [T] (1: round).

    NaN where there is no pixel.
    """

    area: Floats
    center: Floats
    direction: Floats
    stretch: Floats


def places(masks: Bools) -> Places:
    """Area, centroid and principal axis of each mask, by its moments."""
    frames, height, width = masks.shape
    y, x = np.mgrid[0:height, 0:width] + 0.5
    flat = masks.reshape(frames, -1).astype(float)
    area = flat.sum(1)
    share = flat / np.where(area > 0, area, np.nan)[:, None]
    center = np.stack((share @ x.ravel(), share @ y.ravel()), -1)
    xx, xy, yy = (share @ p.ravel() for p in (x * x, x * y, y * y))
    # A pixel is a square: its own moment is 1/12.
    sxx, syy = xx - center[:, 0] ** 2 + 1 / 12, yy - center[:, 1] ** 2 + 1 / 12
    sxy = xy - center[:, 0] * center[:, 1]
    spread = np.sqrt((sxx - syy) ** 2 / 4 + sxy**2)
    middle = (sxx + syy) / 2
    stretch = np.sqrt((middle + spread) / np.maximum(middle - spread, 1e-6))
    return Places(area, center, np.arctan2(2 * sxy, sxx - syy) / 2, stretch)


def label_bodies(clip: ObjectClip, check: Callable[[], None] = lambda: None) -> BodiesLabels:
    """Label a clip by its movable bodies, the one that moves farthest first; check may raise to cancel.

    Raises ValueError when nothing can move.
    """
    staged, motion, scene = clip.staged, clip.motion, clip.staged.scene
    truth, instance = clip.rgb.numpy().astype(np.float32), clip.footage.instance.numpy()
    movable = np.array([not body.fixed for body in scene.bodies])
    groups = _groups(clip)
    if not groups:
        raise ValueError(
            f"scene {staged.family} of seed {staged.seed} has nothing that moves; there is nothing to judge"
        )
    size = truth.shape[2], truth.shape[1]
    static = bool(np.allclose(clip.c2w, clip.c2w[:1]) and np.allclose(clip.fov_deg, clip.fov_deg[:1]))
    return looks_of(
        family=staged.family,
        seed=staged.seed,
        split=staged.split,
        fps=float(staged.fps),
        truth=truth,
        background=_filmed(motion, ~movable, clip, size, 1 if static else len(truth), check)[0],
        instance=instance,
        alone=instance if movable.all() else _filmed(motion, movable, clip, size, len(truth), check)[1],
        groups=groups,
        movable=movable,
        static=static,
    )


def looks_of(
    *,
    family: str,
    seed: int,
    split: str,
    fps: float,
    truth: Floats,
    background: Floats,
    instance: Ints,
    alone: Ints,
    groups: list[Ints],
    movable: Bools,
    static: bool,
) -> BodiesLabels:
    """Labels of any clip whose pixels are known by body: instance [T, H, W] is 1 + a body's number, 0 elsewhere.

    alone: the same with nothing fixed in front. groups: numbers of the bodies of each look; movable [N].
    """
    masks = [opencv.opened(np.isin(instance, 1 + group), 3) for group in groups]
    shades = [shades_of(truth, mask) for mask in masks]
    every = np.isin(instance, 1 + np.flatnonzero(movable))
    looks: list[Labels] = []
    for i, group in enumerate(groups):
        whole = opencv.opened(np.isin(alone, 1 + group), 3)
        at = places(whole)
        edge = whole[:, [0, -1]].any((1, 2)) | whole[:, :, [0, -1]].any((1, 2))
        others = [s for k, s in enumerate(shades) if k != i]
        area = np.maximum(at.area, 1.0)
        looks.append(
            Labels(
                family=family,
                seed=seed,
                split=split,
                fps=fps,
                truth=truth,
                background=background,
                center=at.center,
                radius=np.sqrt(area / np.pi),
                visible=np.minimum(masks[i].sum((1, 2)) / area, 1.0) * ~edge,
                inside=(at.area > 0) & ~edge,
                contact=np.full(len(truth), np.nan),  # only balls are asked where the floor is
                ball=masks[i],
                balls=every,
                boxes=(instance > 0) & ~every,
                shades=shades[i],
                other_shades=np.concatenate([*others, np.zeros((0, 3), np.float32)]),
                static_camera=static,
                movable_boxes=False,
            )
        )
    order = sorted(range(len(looks)), key=lambda i: -_path(looks[i].center))
    ordered, count = tuple(looks[i] for i in order), tuple(len(groups[i]) for i in order)
    return BodiesLabels(family, seed, split, fps, ordered, count)


def _path(center: Floats) -> float:
    return float(np.nansum(np.linalg.norm(np.diff(center, axis=0), axis=1)))


def _groups(clip: ObjectClip) -> list[Ints]:
    """Numbers of the movable bodies of each appearance."""
    found: dict[object, list[int]] = {}
    for number, body in enumerate(clip.staged.scene.bodies):
        if body.fixed:
            continue
        look = body.appearance
        key: object = number
        if isinstance(look, Colored):
            key = look.rgb
        elif isinstance(look, Textured):
            key = look.image.tobytes()
        found.setdefault(key, []).append(number)
    return [np.array(numbers) for numbers in found.values()]


def _filmed(
    motion: Motion, kept: Bools, clip: ObjectClip, size: tuple[int, int], frames: int, check: Callable[[], None]
) -> tuple[Floats, Ints]:
    """Pictures [T, H, W, 3] and instances [T, H, W] of the first frames with some of the bodies [N] alone."""
    shown = replace(motion, poses=motion.poses[:frames], present=motion.present[:frames] & kept)
    c2w, fov = clip.c2w[:frames], clip.fov_deg[:frames]
    seen = film(shown, width=size[0], height=size[1], c2w=c2w, fov_deg=fov, check=check)
    return seen.rgb.numpy().astype(np.float32), seen.instance.numpy()
