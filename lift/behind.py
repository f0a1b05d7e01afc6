"""What a picture shows without its bodies: where it must be made up, and what is put there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .images import dilated
from .plate import filled
from .shadow import contact_shadow

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes
    from .camera import Camera

RIM = 0.006  # picture widths around a body that are filled too: they hold its blur


def hole_of(picture: Bytes, covered: Sequence[Bools], leaves: Sequence[bool]) -> Bools:
    """Pixels [H, W] to be filled: bodies, which cover [N] x [H, W], the blur of their rims, and the contact shadows of
    those that can leave their place."""
    hole = dilated(np.any(covered, axis=0), max(2, round(RIM * picture.shape[1])))
    for i, (mask, leaves_it) in enumerate(zip(covered, leaves, strict=True)):
        if leaves_it and mask.any():
            others = np.any([np.zeros_like(hole), *covered[:i], *covered[i + 1 :]], axis=0)
            hole |= contact_shadow(picture, mask, others)
    return hole


def filled_behind(picture: Bytes, hole: Bools, camera: Camera, check: Callable[[], None]) -> Bytes:
    """The picture uint8 [H, W, 3], its hole filled from the same side of the horizon. check: may raise to cancel."""
    rows, columns = np.mgrid[0 : hole.shape[0], 0 : hole.shape[1]] + 0.5
    below = np.isfinite(camera.on_ground(np.stack((columns, rows), -1)))
    return filled(picture, hole, below.astype(np.int64), check)
