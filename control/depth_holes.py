"""Pixels without depth: sensors, stereo and many files write 0 or NaN there. They are a mask, never a distance."""

from __future__ import annotations

from torch import Tensor

from ..geometry.pixels import from_nearest
from .span import ControlError

MOST_HOLES = 0.5  # share of a frame; beyond it, what is filled is more than what is known


def without_holes(metres: Tensor) -> tuple[Tensor, str]:
    """Depth [T,H,W] whose pixels of 0 or NaN have the depth of the nearest known pixel, and a remark ("": none had).

    Raises ControlError for a frame of which more than half is without depth.
    """
    holes = (metres == 0) | metres.isnan()
    if not holes.any():
        return metres, ""
    shares = holes.flatten(1).double().mean(1)
    worst = int(shares.argmax())
    if shares[worst] > MOST_HOLES:
        raise ControlError(
            f"depth, frame {worst}: {100 * float(shares[worst]):.0f}% of its pixels have no depth (0 or NaN), at most "
            f"{100 * MOST_HOLES:.0f}% are filled; check the file, or fill it where it was made"
        )
    filled = metres.clone()
    for t in (t for t in range(len(metres)) if shares[t] > 0):
        filled[t] = from_nearest(metres[t], holes[t])
    frames = int((shares > 0).sum())
    return filled, (
        f"depth: {int(holes.sum()):,} pixels in {frames} of {len(metres)} frames have no depth (0 or NaN); they were "
        "filled with that of the nearest pixel"
    )
