"""Score A, object permanence: does a ball that passes behind a box come back, where and when it should, unchanged?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..world.arrays import Floats
from .checks import Score, Suite, at_least, at_most, passed, position_error, true_share
from .labels import Labels
from .tracking import Track


@dataclass(frozen=True)
class PermanenceRules:
    """Limits of score A; shares of a ball are of its disc, distances in its radii, colours in RGB distance, 0..1."""

    # Which clips can be judged
    min_hidden_frames: int = 2
    min_frames_in_view: int = 3  # before and after it is hidden
    # Between the frames in which these shares of the ball are back lie at most max_late_frames: else it shows a part of
    # itself for a while, and no frame is that of its return.
    clear_return: tuple[float, float] = (0.15, 0.35)
    straight_family: str = "behind"  # where the ball goes straight on behind the box
    min_deviation: float = 1.25  # elsewhere: median distance from where it would be if it went straight on
    # What a video must keep
    tracked_before: float = 0.8  # share of frames before it hides in which the ball is within a radius of the truth
    hidden: float = 0.9  # share of hidden frames in which at most `back` of the ball shows
    back: float = 0.25  # visible share from which the ball is back from behind the box
    whole_after: float = 0.7  # share of frames afterwards that show one part of an area in `whole_area`
    whole_area: tuple[float, float] = (0.5, 1.6)
    error_after: float = 1.0  # median
    max_late_frames: float = 2.0  # frames by which the return may be off, or
    max_late_share: float = 0.15  # this share of the frames in which the ball is hidden
    color_shift: float = 0.25  # median
    occluder_change: float = 0.08  # mean absolute RGB difference over the pixels of boxes


RULES = PermanenceRules()


def occlusion(labels: Labels) -> tuple[int, int] | None:
    """First and last frame of the one stretch in which the ball is hidden; None unless there is exactly one."""
    hidden = np.nonzero(labels.hidden)[0]
    if not len(hidden) or hidden[-1] - hidden[0] + 1 != len(hidden):
        return None
    return int(hidden[0]), int(hidden[-1])


def _first_visible(labels: Labels, last: int, share: float) -> int:
    """The first frame after `last` in which this share of the ball is visible; the ball must reappear."""
    return last + 1 + int(np.argmax(labels.visible[last + 1 :] >= share))


def unsuitable(labels: Labels, known: int) -> str | None:
    """Why score A makes no sense on this clip, or None."""
    span = occlusion(labels)
    if not labels.static_camera:
        return "the camera moves"
    if span is None:
        return "the ball is not hidden once and only once"
    first, last = span
    if last - first + 1 < RULES.min_hidden_frames:
        return "the ball is hidden for one frame only"
    if first < known:
        return "the ball is hidden before the known frames end"
    if min(labels.in_view[:first].sum(), labels.in_view[last + 1 :].sum()) < RULES.min_frames_in_view:
        return f"the ball is in view for fewer than {RULES.min_frames_in_view} frames before or after"
    early, late = (_first_visible(labels, last, share) for share in RULES.clear_return)
    if late - early > RULES.max_late_frames:
        return "the ball looks out for a while before it is back"
    if labels.family != RULES.straight_family:
        center, t = labels.center, np.nonzero((np.arange(labels.frames) > last) & labels.in_view)[0]
        straight = center[known - 1] + (t - known + 1)[:, None] * (center[known - 1] - center[max(known - 2, 0)])
        if np.median(np.linalg.norm(straight - center[t], axis=-1) / labels.radius[t]) < RULES.min_deviation:
            return "the ball would come back there as well if it went straight on"
    return None


def score(frames: Floats, labels: Labels, track: Track, known: int) -> Score:
    """Judge the frames after the known ones, before, while and after the ball is hidden."""
    span = occlusion(labels)
    assert span is not None, "unsuitable() leaves such clips out"
    first, last = span
    t = np.arange(labels.frames)
    error, r = position_error(labels, track.center), labels.radius
    before = (t >= known) & (t < first) & labels.in_view
    after = (t > last) & labels.in_view
    area = track.area / (np.pi * r**2)  # share of the disc
    true_color = np.stack([labels.truth[i][labels.ball[i]].mean(0) for i in np.nonzero(after)[0]])
    shift = np.nan_to_num(np.linalg.norm(track.color[after] - true_color, axis=-1), nan=np.inf)
    boxes = labels.boxes & (t >= known)[:, None, None]
    damage = float(np.abs(frames[boxes] - labels.truth[boxes]).mean(-1).mean()) if boxes.any() else 0.0
    whole = (track.parts == 1) & (area >= RULES.whole_area[0]) & (area <= RULES.whole_area[1])
    late = abs(_frame_of_return(area, first) - _first_visible(labels, last, RULES.back))
    max_late = max(RULES.max_late_frames, RULES.max_late_share * (last - first + 1))
    return passed(
        "permanence",
        track,
        at_least("tracked before", true_share((error < r)[before]), RULES.tracked_before),
        at_least("hidden while hidden", true_share((area <= RULES.back)[labels.hidden]), RULES.hidden),
        at_least("one whole ball after", true_share(whole[after]), RULES.whole_after),
        at_most("median error after", float(np.median((error / r)[after])), RULES.error_after, " r"),
        at_most("frame of return off by", late, max_late, " frames"),
        at_most("colour shift", float(np.median(shift)), RULES.color_shift),
        at_most("occluder changed by", damage, RULES.occluder_change),
    )


def _frame_of_return(area: Floats, first: int) -> float:
    """The frame from which the ball shows again after it was gone; infinite where it never goes or never comes back."""
    gone = np.nonzero((np.arange(len(area)) >= first - 2) & (area < RULES.back))[0]
    if not len(gone):
        return np.inf
    shows = area >= RULES.back
    lasting = shows & np.append(shows[1:], True)  # one frame's flash is no return
    later = np.nonzero(lasting & (np.arange(len(area)) > gone[0]))[0]
    return float(later[0]) if len(later) else np.inf


SUITE = Suite(
    "A",
    "object permanence",
    ("behind", "arc", "wall"),
    41,
    "the ball comes back from behind the box",
    unsuitable,
    score,
)
