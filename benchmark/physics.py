"""Score B, physics accuracy: does a ball fall, bounce and move on as gravity and its restitution demand?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..world.arrays import Bools, Floats
from .checks import Score, Suite, at_least, at_most, passed, position_error, true_share
from .labels import Labels
from .tracking import Track


@dataclass(frozen=True)
class PhysicsRules:
    """Limits of score B; distances in ball radii where nothing else is said."""

    # Which clips can be judged
    in_view: float = 0.7  # share of the frames after the known ones
    true_r2: float = 0.99  # of the parabola that fits the simulator's flight
    max_bend_px: float = 0.5  # by which the true flight may leave an even sideways speed; more is a collision
    # What a bounce is, and which samples a flight needs for a fit
    bounce_height: float = 0.3  # by which the ball falls before, and rises after it
    bounce_window: int = 3  # frames on each side in which it does so
    min_span: int = 3  # samples between two impacts, or they are left out
    min_samples: int = 5  # in all
    min_longest_span: int = 4
    # What a video must keep
    detected: float = 0.9  # share of frames with exactly one ball: with none or with two of its colour, it is lost
    gravity: tuple[float, float] = (0.15, 0.01)  # relative and absolute (px/frame^2) error; the sum is allowed
    r2: float = 0.97  # of the parabola
    speed: tuple[float, float] = (0.1, 0.1)  # relative and absolute (px/frame) error sideways; the sum is allowed
    impact: tuple[float, float] = (1.0, 0.1)  # frames, or share of the time until then: the larger error is allowed
    depth: float = 0.5  # below the point where the ball touches the floor
    on_path: float = 0.8  # share of frames after the impact in which the ball is within a radius of the truth


RULES = PhysicsRules()


@dataclass(frozen=True)
class Flight:
    """The motion around one impact."""

    gravity: float  # px/frame^2
    speed: float  # horizontal, px/frame
    bend: float  # px, the most by which the ball leaves that even speed
    r2: float  # of the parabola


def impacts(y: Floats, radius: Floats, start: int) -> list[int]:
    """Frames from `start` on in which a ball (y [T] px, down positive, NaN where not found) stops falling and rises."""
    found = np.nonzero(np.isfinite(y))[0]
    hits: list[int] = []
    for i in range(1, len(found) - 1):
        t = found[i]
        if t < start or not (y[t] >= y[found[i - 1]] and y[t] > y[found[i + 1]]):
            continue
        before = y[found[max(0, i - RULES.bounce_window) : i]]
        after = y[found[i + 1 : i + 1 + RULES.bounce_window]]
        if y[t] - max(before.min(), after.min()) >= RULES.bounce_height * radius[t]:
            hits.append(int(t))
    return hits


def flight(center: Floats, known: int, hit: int, next_hit: int) -> Flight | None:
    """Fit a common gravity, and a start and a velocity per flight, to the flights before and after an impact.

    Samples at the impacts themselves are left out. None where too few samples are left (PhysicsRules).
    """
    t = np.arange(len(center))
    tracked: Bools = np.isfinite(center[:, 0])
    spans = [np.nonzero(tracked & (t >= known) & (t < hit))[0], np.nonzero(tracked & (t > hit) & (t < next_hit))[0]]
    spans = [span for span in spans if len(span) >= RULES.min_span]
    if sum(map(len, spans)) < RULES.min_samples or max(map(len, spans)) < RULES.min_longest_span:
        return None
    rows = np.concatenate(spans)
    matrix = np.zeros((len(rows), 1 + 2 * len(spans)))  # columns: gravity; height and speed of each flight
    total, start = 0.0, 0
    for i, span in enumerate(spans):
        here = slice(start, start + len(span))
        tau = span - span.mean()
        matrix[here, 0], matrix[here, 1 + 2 * i], matrix[here, 2 + 2 * i] = tau**2 / 2, 1.0, tau
        total += float(((center[span, 1] - center[span, 1].mean()) ** 2).sum())
        start += len(span)
    solution = np.asarray(np.linalg.lstsq(matrix, center[rows, 1], rcond=None)[0], np.float64)
    residual = float(((matrix @ solution - center[rows, 1]) ** 2).sum())
    longest = max(spans, key=len)
    line = np.asarray(np.polyfit(longest, center[longest, 0], 1), np.float64)
    bend = float(np.abs(np.polyval(line, longest) - center[longest, 0]).max())
    return Flight(float(solution[0]), float(line[0]), bend, 1 - residual / max(total, 1e-9))


def true_flight(labels: Labels, known: int) -> tuple[int, int, Flight] | None:
    """First two impacts after the known frames and the flight around the first; None when there are none."""
    hits = impacts(labels.center[:, 1], labels.radius, known)
    if len(hits) < 2:
        return None
    found = flight(labels.center, known, hits[0], hits[1])
    return None if found is None else (hits[0], hits[1], found)


def unsuitable(labels: Labels, known: int) -> str | None:
    """Why score B makes no sense on this clip, or None."""
    if not labels.static_camera:
        return "the camera moves"
    truth = true_flight(labels, known)
    if truth is None:
        return "no bounce with a flight after it lies behind the known frames"
    _, next_hit, found = truth
    if not labels.in_view[known - 1 : next_hit + 1].all() or labels.in_view[known:].mean() < RULES.in_view:
        return "the ball is not in view throughout"
    if found.r2 < RULES.true_r2 or found.bend > RULES.max_bend_px:
        return "something disturbs the ball's flight"
    return None


def _sum(limit: tuple[float, float], value: float) -> float:
    """Of a relative and an absolute error."""
    return limit[0] * abs(value) + limit[1]


def score(frames: Floats, labels: Labels, track: Track, known: int) -> Score:
    """Judge the ball's path in the frames after the known ones."""
    truth = true_flight(labels, known)
    assert truth is not None, "unsuitable() leaves such clips out"
    hit, next_hit, true = truth
    t = np.arange(labels.frames)
    judged = labels.in_view & (t >= known)
    detected = track.parts == 1  # two balls of its colour are not the ball
    center = np.where(detected[:, None], track.center, np.nan)
    error = np.where(detected, position_error(labels, track.center), np.inf)
    hits = impacts(center[:, 1], labels.radius, known - 1)
    found = flight(center, known, hits[0], hits[1] if len(hits) > 1 else next_hit) if hits else None
    found = found or Flight(np.nan, np.nan, np.nan, np.nan)
    depth = (center[:, 1] - labels.contact)[judged & detected] / labels.radius[judged & detected]
    return passed(
        "physics",
        track,
        at_least("detected", true_share(detected[judged]), RULES.detected),
        at_most("gravity off by", abs(found.gravity - true.gravity), _sum(RULES.gravity, true.gravity), " px/f^2"),
        at_least("parabola R^2", found.r2, RULES.r2),
        at_most("sideways speed off by", abs(found.speed - true.speed), _sum(RULES.speed, true.speed), " px/f"),
        at_most(
            "impact off by",
            abs(hits[0] - hit) if hits else np.nan,
            max(RULES.impact[0], RULES.impact[1] * hit),
            " frames",
        ),
        at_most("deepest into the floor", float(depth.max()) if len(depth) else np.nan, RULES.depth, " r"),
        at_least("on the path after", true_share((error <= labels.radius)[judged & (t > hit)]), RULES.on_path),
    )


SUITE = Suite(
    "B", "physics accuracy", ("fall", "throw"), 41, "the ball falls, bounces and moves on as it must", unsuitable, score
)
