"""The cut-out of an object: soft alpha, its own colours beyond the outline, and none of the background's at the rim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .images import blurred, eroded, nearest_outside

if TYPE_CHECKING:
    from ..world.arrays import Bytes, Floats

OPAQUE = 0.97  # alpha from which a pixel is taken to show the object alone
SOLVED = 0.5  # alpha from which a pixel's colour is solved for; below, noise would be more than doubled
SPREAD = 1.2  # pixels: blur of the colours beyond the outline, so that nearest colours leave no streaks


def cut_out(picture: Bytes, alpha: Floats, behind: Bytes) -> Bytes:
    """RGBA uint8 [H, W, 4] (straight alpha) of an object with alpha [H, W] in a picture [H, W, 3].

    behind [H, W, 3]: the plate. Where alpha is at least one half, alpha * colour + (1 - alpha) * plate is the picture
    again; below, and beyond the outline, the colour of the nearest pixel that shows the object alone is taken.
    """
    rows, columns = np.nonzero(alpha > 0)
    pad = 24
    window = (
        slice(max(0, int(rows.min()) - pad), int(rows.max()) + pad + 1),
        slice(max(0, int(columns.min()) - pad), int(columns.max()) + pad + 1),
    )
    seen, a, plate = picture[window].astype(np.float32), alpha[window], behind[window].astype(np.float32)
    sure = a >= min(OPAQUE, float(a.max()))
    core = eroded(sure, 1)
    core = core if core.any() else sure
    row, column = nearest_outside(~core)
    extended = blurred(seen[row, column], SPREAD)
    share = a[..., None]
    solved = (seen - (1 - share) * plate) / np.maximum(share, SOLVED)
    colour = np.where(share >= SOLVED, solved, extended)
    out = np.zeros((*alpha.shape, 4), np.uint8)
    out[window] = np.concatenate((np.clip(np.round(colour), 0, 255), np.round(255 * share)), -1).astype(np.uint8)
    return out
