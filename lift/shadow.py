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
    height, width = mask.shape
    scale = min(1.0, SIDE / max(height, width))
    w, h = max(8, round(width * scale)), max(8, round(height * scale))
    small = np.asarray(resized(picture.astype(np.float32), w, h)) / 255
    own, other = _covered(mask, w, h), _covered(others, w, h)
    rows, columns = np.nonzero(own)
    tall, wide = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
    reach = max(2, round(REACH * min(max(tall, wide), 2 * min(tall, wide))))
    near = dilated(own, reach) & ~own & ~other
    near[: max(0, int(rows.max() - LOW * tall))] = False
    around = near | own | other
    if around.all() or not near.any():
        return np.zeros_like(mask)
    ground: Floats = membrane(small, around)
    smooth = box_mean(small, 1)
    light, expected = smooth.sum(-1), np.maximum(ground.sum(-1), 1e-3)
    shares = smooth / np.maximum(light, 1e-3)[..., None] - ground / expected[..., None]
    dark = near & (light < DARKER * expected) & (np.abs(shares).max(-1) < SAME_COLOR)
    if dark.sum() > MOST * near.sum():
        return np.zeros_like(mask)
    body = dilated(own, 1)
    labels, _ = pieces(dark | body)
    touching = np.unique(labels[body])
    found = dark & np.isin(labels, touching)
    return resized(dilated(found, 2).astype(np.float32), width, height) > 0.3


def _covered(mask: Bools, w: int, h: int) -> Bools:
    return resized(mask.astype(np.float32), w, h) > 0.02
