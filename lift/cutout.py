"""The cut-out of an object: soft alpha, its own colours beyond the outline, and none of the background's at the rim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..world.scene import Projected
from .images import blurred, box_mean, eroded, nearest_outside

if TYPE_CHECKING:
    from ..world.arrays import Bytes, Floats
    from ..world.scene import View

OPAQUE = 0.97  # alpha from which a pixel is taken to show the object alone
SOLVED = 0.5  # alpha from which a pixel's colour is solved for; below, noise would be more than doubled
SPREAD = 1.2  # pixels: blur of the colours beyond the outline, so that nearest colours leave no streaks
PAD = 24  # pixels around an object whose colours are worked out too
DETAIL = 0.01  # picture widths: half the side of the window in which detail of what is behind glass is measured
DETAIL_GAIN, LEVELS = 1.5, 2.0  # standard deviations of detail, and levels of 255, that are no difference of glass
FAINTEST = 0.05  # opacity from which the colour of glass can be told


def projected(picture: Bytes, alpha: Floats, behind: Bytes, view: View, material: str) -> Projected:
    """The looks of an object of a material with alpha [H, W] in a picture [H, W, 3]; glass is seen through.

    behind [H, W, 3]: what the picture would show without it.
    """
    if material == "glass":
        return see_through(picture, alpha, behind, view)
    return Projected(cut_out(picture, alpha, behind), view)


def see_through(picture: Bytes, alpha: Floats, behind: Bytes, view: View) -> Projected:
    """The looks of an object through which `behind` is seen: the least opacity, with its colours, that explains how the
    picture differs from it ("colour to alpha"), so tint, edges and highlights are the object's own and nothing else.

    Differences no larger than the detail of `behind`, which is made up, count as none.
    """
    window = _window(alpha)
    seen, plate = (image[window].astype(np.float32) / 255 for image in (picture, behind))
    cover = alpha[window]
    radius = max(1, round(DETAIL * picture.shape[1]))
    mean = box_mean(plate, radius)
    detail = np.sqrt(np.maximum(box_mean(plate * plate, radius) - mean * mean, 0))
    difference = seen - plate
    own = np.sign(difference) * np.maximum(np.abs(difference) - (DETAIL_GAIN * detail + LEVELS / 255), 0)
    room = np.maximum(np.where(own > 0, 1 - plate, plate), 1 / 255)
    total = (np.abs(own) / room).max(-1).clip(0, 1)  # its opacity times its cover: along the outline it covers a part
    share = total[..., None]
    colour = ((seen - (1 - share) * plate) / np.maximum(share, FAINTEST)).clip(0, 1)
    # Where next to nothing is its own, it takes its colour from around, for pixels that are drawn in between.
    weight = np.where(share >= FAINTEST, share, 0).astype(np.float32)
    around = blurred(np.concatenate((colour * weight, weight), -1), 3 * SPREAD)
    near = np.where(around[..., 3:] > 1e-3, around[..., :3] / np.maximum(around[..., 3:], 1e-3), seen)
    colour = np.where(weight > 0, colour, near)
    opacity: Floats = (total / np.maximum(cover, SOLVED)).clip(0, 1)
    beyond = cover <= SOLVED
    if not beyond.all():
        row, column = nearest_outside(beyond)
        colour, opacity = colour[row, column], opacity[row, column]  # within, each pixel is its own nearest
    image, whole = np.zeros((*alpha.shape, 4), np.uint8), np.zeros(alpha.shape, np.uint8)
    image[window] = np.round(255 * np.concatenate((colour, cover[..., None]), -1)).astype(np.uint8)
    whole[window] = np.round(255 * opacity).astype(np.uint8)
    return Projected(image, view, whole)


def over(look: Projected, behind: Bytes) -> Bytes:
    """The picture [H, W, 3] of an object before what is behind it."""
    share = look.image[..., 3:].astype(np.float32) / 255
    if look.opacity is not None:
        share = share * (look.opacity[..., None].astype(np.float32) / 255)
    return np.round(look.image[..., :3] * share + behind * (1 - share)).astype(np.uint8)


def cut_out(picture: Bytes | Floats, alpha: Floats, behind: Bytes | Floats) -> Bytes:
    """RGBA uint8 [H, W, 4] (straight alpha) of an object with alpha [H, W] in a picture [H, W, 3] in 0..255.

    behind [H, W, 3]: the plate. Where alpha is at least one half, alpha * colour + (1 - alpha) * plate is the picture
    again; below, and beyond the outline, the colour of the nearest pixel that shows the object alone is taken.
    """
    window = _window(alpha)
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


def _window(alpha: Floats) -> tuple[slice, slice]:
    """Rows and columns around what is not 0."""
    rows, columns = np.nonzero(alpha > 0)
    return (
        slice(max(0, int(rows.min()) - PAD), int(rows.max()) + PAD + 1),
        slice(max(0, int(columns.min()) - PAD), int(columns.max()) + PAD + 1),
    )
