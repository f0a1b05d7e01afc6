"""The plate: what a picture shows without its bodies. Behind them it is made up from what surrounds them."""

from __future__ import annotations

from typing import cast

import numpy as np

from ..world.arrays import Bools, Bytes


def filled(picture: Bytes, hole: Bools) -> Bytes:
    """A picture uint8 [H, W, 3] with the pixels of `hole` [H, W] made up from the others."""
    import cv2

    if not hole.any():
        return picture
    return cast(Bytes, cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 5, cv2.INPAINT_TELEA))
