"""Where the light of a picture comes from: given, or guessed from which side of its objects is brighter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..world.scene import Light
from .objects import LightHint

if TYPE_CHECKING:
    from ..world.arrays import Bytes, Floats

AZIMUTH_DEG, HEIGHT_DEG, SHADOW = 230.0, 50.0, 0.5  # from the left, behind the viewer's shoulder: how painters light
SIDE_DEG = 50.0  # how far a difference between the sides turns the light from behind the viewer to that side
CLEAR = 0.06  # difference of brightness between the sides, relative to their mean, that counts as shading


def light_of(picture: Bytes, masks: list[Floats], hint: LightHint | None) -> Light:
    """The light of a picture uint8 [H, W, 3] on the objects under masks [H, W]; the hint's numbers come first."""
    hint = hint or LightHint()
    azimuth = _azimuth(picture, masks) if hint.azimuth_deg is None else hint.azimuth_deg
    height = HEIGHT_DEG if hint.height_deg is None else hint.height_deg
    a, h = np.radians(azimuth), np.radians(height)
    direction = float(np.cos(h) * np.cos(a)), float(np.cos(h) * np.sin(a)), float(np.sin(h))
    return Light(direction=direction, shadow=SHADOW if hint.shadow is None else hint.shadow)


def _azimuth(picture: Bytes, masks: list[Floats]) -> float:
    """Degrees: the brighter side of the objects, seen from the viewer (270); a default where neither is brighter."""
    brightness: Floats = picture.astype(np.float32).mean(-1)
    balance, weight = 0.0, 0.0
    for mask in masks:
        area = float(mask.sum())
        columns: Floats = np.arange(mask.shape[1], dtype=np.float64)
        middle = float((mask.sum(0) * columns).sum()) / area
        left: Floats = (columns < middle).astype(np.float64)
        a, b = _mean(brightness, mask * left), _mean(brightness, mask * (1 - left))
        balance += area * (b - a) / max(a + b, 1.0)
        weight += area
    balance /= weight
    return AZIMUTH_DEG if abs(balance) < CLEAR / 2 else 270.0 + SIDE_DEG * float(np.sign(balance))


def _mean(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum()) / max(float(weights.sum()), 1e-6)
