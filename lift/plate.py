"""The plate: what a picture shows without its bodies. Behind them it is made up from what surrounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from ..world.arrays import Bools, Bytes, Floats, Ints
from .exemplar import exemplar_fill
from .images import blurred, resized
from .membrane import membrane

SMOOTH = 0.01  # picture widths: standard deviation that parts a picture into its light and its detail
LAYERED = 0.9  # share of the light in a hole that comes from its left and right: the world is layered, floor to sky
SEED = 0


def filled(picture: Bytes, hole: Bools, sides: Ints | None = None, check: Callable[[], None] = lambda: None) -> Bytes:
    """A picture uint8 [H, W, 3] with the pixels of `hole` [H, W] made up from the others.

    sides [H, W]: pixels with another number, as of the ground and of what stands behind it, are not taken.
    check: may raise to cancel.
    """
    if not hole.any():
        return picture
    return _light_and_detail(picture, hole, np.zeros(hole.shape, np.int64) if sides is None else sides, check)


def _telea(picture: Bytes, hole: Bools, sides: Ints) -> Bytes:
    import cv2

    return cast(Bytes, cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 5, cv2.INPAINT_TELEA))


def _smooth(picture: Bytes, hole: Bools, sides: Ints) -> Bytes:
    return _bytes(membrane(picture.astype(np.float32), hole))


def _exemplar(picture: Bytes, hole: Bools, sides: Ints) -> Bytes:
    values = picture.astype(np.float32) / 255
    guide = membrane(values, hole, LAYERED)
    return _bytes(255 * exemplar_fill(values, hole, guide, sides, np.random.default_rng(SEED)))


def _light_and_detail(picture: Bytes, hole: Bools, sides: Ints, check: Callable[[], None] = lambda: None) -> Bytes:
    """Light is continued smoothly, so that no false thing stands in the hole; detail comes from where it is alike."""
    values = picture.astype(np.float32) / 255
    height, width = hole.shape
    sigma = SMOOTH * width
    # Light is so smooth that it is worked out at a size at which its blur is two pixels.
    small = max(1, round(2 / sigma * width)), max(1, round(2 / sigma * height))
    known = (~hole)[..., None].astype(np.float32)
    share = np.atleast_3d(blurred(resized(known, *small), 2.0))
    mean = blurred(resized(values * known, *small), 2.0) / np.maximum(share, 1e-6)
    light = resized(membrane(mean, np.atleast_3d(resized(known, *small))[..., 0] <= 0, LAYERED), width, height)
    detail = exemplar_fill(values - light, hole, light, sides, np.random.default_rng(SEED), check)
    return _bytes(255 * (light + detail))


def _bytes(values: Floats) -> Bytes:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


METHODS: dict[str, Callable[[Bytes, Bools, Ints], Bytes]] = {
    "Telea": _telea,
    "membrane": _smooth,
    "exemplar": _exemplar,
    "light and detail": _light_and_detail,
}
