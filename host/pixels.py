"""What the numbers of a picture file stand for, decided here alone: 0 is black and 1 white in all that is handed on.

Of 8 bits 255 is white, of 16 and 32 bit integers 65535, of floats 1; values outside of that are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BYTE_WHITE, INTEGER_WHITE, FLOAT_WHITE = 255, 65535.0, 1.0


def from_bytes(values: np.ndarray) -> np.ndarray:
    """uint8 of any shape -> float32 in 0..1."""
    import numpy as np

    return values.astype(np.float32) / BYTE_WHITE


def rgb(page: Image.Image) -> np.ndarray:
    """float32 [H, W, 3] in 0..1; ValueError with the range of values where that does not say what is white."""
    import numpy as np

    if page.mode == "F" or page.mode.startswith("I"):  # Pillow would clip these to 8 bits
        values = np.asarray(page).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        kind, white = ("float", FLOAT_WHITE) if page.mode == "F" else ("integer", INTEGER_WHITE)
        if not (0 <= low and high <= white):
            raise ValueError(
                f"its {kind} values reach from {low:g} to {high:g}, expected 0 to {white:g}; scale them to that range"
            )
        return np.repeat((values / white).astype(np.float32)[..., None], 3, axis=-1)
    return from_bytes(np.asarray(page.convert("RGB")))


def transparency(page: Image.Image) -> np.ndarray | None:
    """float32 [H, W], 1 where nothing is seen; None without an alpha channel."""
    import numpy as np

    if "A" not in page.getbands():
        if page.mode != "P" or "transparency" not in page.info:
            return None
        page = page.convert("RGBA")
    return 1 - from_bytes(np.asarray(page.getchannel("A")))


def viewable(page: Image.Image) -> Image.Image:
    """A grey picture of floats or deep integers as 8 bits, for a browser."""
    from PIL import Image

    try:
        return Image.fromarray((rgb(page) * BYTE_WHITE).round().astype("uint8"))
    except ValueError:  # the node that loads it says why
        return page.convert("L")
