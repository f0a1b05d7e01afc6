"""A video's frames as a player shows them: turned by the file's display matrix, at the times that the file gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.sidedata.sidedata import SideData

Turns = tuple[bool, bool, bool]  # transpose first, then mirror top to bottom, then left to right


def turns(frame: av.VideoFrame) -> Turns:
    """How to make a decoded frame upright, by its display matrix (ISO 14496-12, 8.3.2), to the nearest quarter turn."""
    import numpy as np

    sides = cast("Iterable[SideData]", frame.side_data)  # PyAV's types say that names are iterated
    matrix = next((side for side in sides if side.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(cast(bytes, matrix)), np.int32)[
        :5
    ].tolist()  # shown x = a x + c y, y = b x + d y
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def upright(picture: np.ndarray, turned: Turns) -> np.ndarray:
    """A picture [H, W, C] after these turns."""
    transpose, flip, mirror = turned
    picture = picture.swapaxes(0, 1) if transpose else picture
    return picture[:: -1 if flip else 1, :: -1 if mirror else 1]


def uneven(times: Sequence[float | None], rate: Fraction) -> bool:
    """Whether two neighbours lie closer or farther than the frame rate (frames/s) says, by half a frame or more.

    Rounded times, as in files that count milliseconds, stay below that. Unknown times count as even.
    """
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return False
    gaps = [(after - before) * float(rate) for before, after in zip(known, known[1:], strict=False)]
    return any(abs(gap - 1) >= 0.5 for gap in gaps)


def at_constant_rate(times: Sequence[float], rate: Fraction) -> list[int]:
    """For each instant of a constant rate (frames/s), which frame a player shows then; frames lie at `times` (s)."""
    import numpy as np

    count = round((times[-1] - times[0]) * float(rate)) + 1
    instants = times[0] + np.arange(count) / float(rate)
    # Half a millisecond of tolerance: the times in a file are rounded.
    return (np.searchsorted(np.asarray(times), instants + 5e-4, side="right") - 1).clip(0).tolist()
