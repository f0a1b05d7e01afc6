"""Score C, ten-second coherence: the same ball, moving without jumps, before the same background, ten seconds on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..world.arrays import Bools, Floats
from . import opencv
from .checks import Score, Suite, at_least, true_share
from .labels import Labels
from .tracking import Track


@dataclass(frozen=True)
class CoherenceRules:
    """Limits of score C; r is the ball's radius, colours are RGB distances, 0..1.

    A term of the background is 1 up to a tolerance and falls to 0 over a scale. Both lie above what faithful videos of
    validation scenes measure, by `vdit benchmark --calibrate --splits validation --seed 0 --count 20`: the 99th
    percentile of change is .0011 through H.264 (crf 35), .0066 with blur and noise, .108 with 6% flicker; the largest
    drift .0074, .0062 and .033.
    """

    # Which clips can be judged
    in_view: float = 0.7  # share of frames
    min_path: float = 20  # r, the length of the ball's path: a video at rest is coherent in any order of its frames
    # The ball
    path_share: float = 0.7  # of the true path's length that counts as full motion
    area: tuple[float, float] = (0.6, 1.5)  # share of its disc
    still_step: float = 0.2  # r per frame: below this there is no motion
    max_step: tuple[float, float] = (1.5, 0.1)  # longest true step, and r; a step over their sum is a jump
    max_weight: float = 3.0  # longest true steps: no step counts for more
    acceleration: float = 0.35  # r by which a second difference may exceed the largest true one within two frames
    # The background
    change: tuple[float, float] = (0.008, 0.012)  # tolerance and scale between frames
    drift: tuple[float, float] = (0.020, 0.10)  # tolerance and scale of the last second from the clean background
    shadow: float = 0.03  # from which a pixel of the truth that differs from the clean background is a shadow's
    part: float = 0.9  # each part of the score counts as passed from here


RULES = CoherenceRules()


def unsuitable(labels: Labels, known: int) -> str | None:
    """Why score C makes no sense on this clip, or None."""
    if not labels.static_camera:
        return "the camera moves"
    if labels.movable_boxes:
        return "boxes move"
    if labels.in_view.mean() < RULES.in_view or not labels.in_view[: known + 1].all():
        return f"the ball is in view for less than {RULES.in_view:.0%} of the clip, or not at its start"
    if _path_length(labels.center, labels.in_view) < RULES.min_path * labels.radius[0]:
        return f"the ball's path is shorter than {RULES.min_path:g} of its radii"
    return None


def _path_length(center: Floats, judged: Bools) -> float:
    step = np.nan_to_num(_steps(center), nan=0.0)
    return float(step[judged[1:] & judged[:-1]].sum())


def _steps(center: Floats, order: int = 1) -> Floats:
    """Lengths [T-order] px of the differences of positions [T, 2]; NaN where a ball is missing."""
    return np.linalg.norm(np.diff(center, order, axis=0), axis=-1)


def background_terms(frames: Floats, labels: Labels) -> tuple[Floats, float]:
    """Mean change [T-1] of the background between frames, and the last second's mean distance to the clean one.

    Both after a blur of sigma 1 px; pixels of balls and shadows, with a border of 3, are left out.
    """
    soft, clean = opencv.blurred(frames, 1.0), opencv.blurred(labels.background, 1.0)
    busy = labels.balls | (np.abs(labels.truth - labels.background).max(-1) > RULES.shadow)
    busy = opencv.dilated(busy, 7)
    free = ~(busy[1:] | busy[:-1])
    change = (np.abs(np.diff(soft, axis=0)).mean(-1) * free).sum((1, 2)) / np.maximum(free.sum((1, 2)), 1)
    last = slice(-max(1, round(labels.fps)), None)
    drift = np.abs(soft[last] - clean).mean(-1)[~busy[last]]
    return change, float(drift.mean()) if drift.size else 0.0


def _ramp(term: Floats | np.float64, limit: tuple[float, float]) -> Floats:
    """0 up to the tolerance, 1 from one scale above it on."""
    return np.minimum(np.maximum((term - limit[0]) / limit[1], 0), 1)


def score(frames: Floats, labels: Labels, track: Track, known: int) -> Score:
    """The smallest part times the share of the true motion. Frames are judged from the last known one on.

    Continuity and smoothness are shares of the video's motion, not of its frames, so that rest earns nothing: a step
    counts by its length, a missing ball as the longest true step.
    """
    judged, r = labels.in_view & (np.arange(labels.frames) >= known - 1), labels.radius
    moved = min(1.0, _path_length(track.center, judged) / (RULES.path_share * _path_length(labels.center, judged)))
    area = track.area / (np.pi * r**2)
    same_ball = (track.parts == 1) & (area >= RULES.area[0]) & (area <= RULES.area[1])

    step = np.nan_to_num(_steps(track.center), nan=np.inf)
    pair = judged[1:] & judged[:-1]
    longest = _steps(labels.center)[pair].max()
    motion = np.where(np.isinf(step), longest, step.clip(max=RULES.max_weight * longest)) * pair
    motion[motion < RULES.still_step * r[1:]] = 0.0
    continuous = step <= RULES.max_step[0] * longest + RULES.max_step[1] * r[1:]

    true_turn, turn = _steps(labels.center, 2), np.nan_to_num(_steps(track.center, 2), nan=np.inf)
    around = np.pad(true_turn, 2)
    largest = np.max([around[i : i + len(true_turn)] for i in range(5)], axis=0)
    fits = np.pad(turn <= largest + RULES.acceleration * r[1:-1], 1)
    smooth = fits[1:-1] & (fits[:-2] | fits[2:])  # one alone is chance: shuffled frames have such

    change, drift = background_terms(frames, labels)
    parts = {
        "identity": true_share(same_ball[judged]),
        "continuity": true_share(continuous, motion),
        "smoothness": true_share(smooth, (motion[1:] + motion[:-1]) * (pair[1:] & pair[:-1])),
        "stillness": float(np.mean(1 - _ramp(change, RULES.change))),
        "drift": 1 - float(_ramp(np.float64(drift), RULES.drift)),
    }
    checks = tuple(at_least(name, value, RULES.part) for name, value in {"motion": moved, **parts}.items())
    return Score("coherence", moved * min(parts.values()), checks, track)


SUITE = Suite(
    "C", "10-s coherence", ("fall", "throw"), 81, "ten seconds on it is the same world", unsuitable, score, cost=5
)
