"""The shadow at an object's foot in its picture: found, so that it goes when the object goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .images import box_mean, dilated, pieces, resized
from .membrane import membrane

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

SIDE = 240  # pixels of the longer side at which shadows are looked for: they are soft
REACH = 0.35  # of an object's size: how far from it its shadow is looked for
DARKER = 0.86  # share of the light around it under which a place lies in shadow
SAME_COLOR = 0.06  # largest difference of colour shares (r, g, b over their sum) between a place and its surroundings
MOST = 0.7  # share of the surroundings: what is darker over more than this is a dark ground, no shadow
LOW = 0.35  # share of an object's height above its foot up to which a shadow on the ground touches it


def contact_shadow(picture: Bytes, mask: Bools, others: Bools) -> Bools:
    """Pixels [H, W] around an object's foot that are darker than the ground around them, and of the same colour.

    others [H, W]: pixels of other objects, which tell nothing of the ground.
    """
    small = _small(picture)
    own, other = (_covered(m, small) for m in (mask, others))
    rows, _ = np.nonzero(own)
    near = dilated(own, _reach(own)) & ~own & ~other
    near[: max(0, int(rows.max() - LOW * (rows.max() - rows.min() + 1)))] = False
    dark = _darker(small, near, own | other)
    body = dilated(own, 1)
    labels, _ = pieces(dark | body)
    touching = np.unique(labels[body])
    return _large(dilated(dark & np.isin(labels, touching), 2), mask)


def rest_of_shadow(picture: Bytes, shaded: Bools, bodies: Bools) -> Bools:
    """Pixels [H, W] in and around a place [H, W] from which a shadow was taken that are still darker than the ground.

    bodies [H, W]: pixels of objects, which tell nothing of the ground.
    """
    small = _small(picture)
    own, other = (_covered(m, small) for m in (shaded, bodies))
    if not own.any():
        return shaded
    return _large(dilated(_darker(small, dilated(own, _reach(own)) & ~other, other), 1), shaded)


def _small(picture: Bytes) -> Floats:
    """The picture in 0..1 at which shadows are looked for."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    w, h = max(8, round(width * scale)), max(8, round(height * scale))
    return np.asarray(resized(picture.astype(np.float32), w, h)) / 255


def _large(found: Bools, like: Bools) -> Bools:
    return resized(found.astype(np.float32), like.shape[1], like.shape[0]) > 0.3


def _reach(own: Bools) -> int:
    """Pixels around something in which its shadow is looked for."""
    rows, columns = np.nonzero(own)
    tall, wide = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
    return max(2, round(REACH * min(max(tall, wide), 2 * min(tall, wide))))


def _darker(picture: Floats, near: Bools, objects: Bools) -> Bools:
    """Pixels [H, W] of `near` darker than the ground around it, and of the same colour; none where nearly all are."""
    around = near | objects
    if around.all() or not near.any():
        return np.zeros_like(near)
    ground: Floats = membrane(picture, around)
    smooth = box_mean(picture, 1)
    light, expected = smooth.sum(-1), np.maximum(ground.sum(-1), 1e-3)
    shares = smooth / np.maximum(light, 1e-3)[..., None] - ground / expected[..., None]
    dark = near & (light < DARKER * expected) & (np.abs(shares).max(-1) < SAME_COLOR)
    return dark if dark.sum() <= MOST * near.sum() else np.zeros_like(near)


def _covered(mask: Bools, like: Floats) -> Bools:
    return resized(mask.astype(np.float32), like.shape[1], like.shape[0]) > 0.02
