"""What earlier pictures of a camera at rest show of what bodies, and their shadows, hide in the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .images import dilated
from .shadow import SAME_COLOR

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

RIM = 1 / 64  # of a picture's sides: masks are perceived in some hundred pixels, and have soft rims
ALIKE = 24  # of 255: colours that differ by less, in no channel by more, are the same
TWICE = 2  # pictures that must show the same, so that a body missed in one of them is not taken for what is behind it
LIGHTER = 1.03  # times the light of the last picture, from which on a place was in the light before
MOST = 0.3  # share of the picture: where more of it was lighter, the light has changed, and nothing casts a shadow


class Uncovered(NamedTuple):
    """A picture uint8 [H, W, 3] without bodies and their shadows where they are known [H, W] to have moved; elsewhere
    the last picture."""

    picture: Bytes
    known: Bools


def uncovered(pictures: Bytes, covered: Bools) -> Uncovered:
    """What pictures uint8 [K, H, W, 3] of a camera at rest show where bodies are, or cast a shadow, in the last one.

    covered [K, H, W]: where bodies are in each.
    """
    last, own = pictures[-1].astype(np.float32), with_rim(covered[-1])
    hidden = np.stack([with_rim(mask) for mask in covered[:-1]])
    values = pictures[:-1].astype(np.float32)
    values[hidden] = np.nan
    seen = ~hidden.all(0)
    usual = np.zeros_like(last)
    usual[seen] = np.nanmedian(values[:, seen], axis=0)
    # Of what has the usual colour the brightest lies in no shadow.
    alike = ~hidden & (np.abs(_shares(values) - _shares(usual)).max(-1) < SAME_COLOR)
    light = np.where(alike, np.nan_to_num(values).sum(-1), -1.0)
    best = light.argmax(0)
    brightest = np.take_along_axis(np.nan_to_num(values), best[None, ..., None], 0)[0]
    left = own & (np.abs(last - brightest).max(-1) > ALIKE)
    shaded = ~own & (last.sum(-1) * LIGHTER < light.max(0))
    shaded &= np.abs(_shares(last) - _shares(brightest)).max(-1) < SAME_COLOR
    shaded &= shaded.mean() < MOST
    known = (alike.sum(0) >= TWICE) & (left | shaded)
    return Uncovered(np.where(known[..., None], brightest, last).round().astype(np.uint8), known)


def with_rim(mask: Bools) -> Bools:
    """A mask [H, W] with the rim around it in which something of its body may be seen."""
    return dilated(mask, max(2, round(RIM * max(mask.shape))))


def _shares(colors: Floats) -> Floats:
    """Shares of red, green and blue in the light of colours [..., 3]."""
    return colors / np.maximum(colors.sum(-1, keepdims=True), 1.0)
