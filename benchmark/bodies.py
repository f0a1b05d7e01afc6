"""Scores for bodies of any shape: permanence and coherence as for balls, look by look, and if all moves as it must.

The physics score asks of every look in every frame: is it there, is it where it should be, does it lie as it should?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..world.arrays import Bools, Floats
from . import coherence, permanence
from .body_labels import ELONGATED, LEAST_PX, BodiesLabels, Places, places
from .checks import Check, Score, at_least, passed, true_share
from .labels import Labels
from .tracking import Track, ball_mask, track_ball


@dataclass(frozen=True)
class BodyRules:
    """Limits of the physics score of bodies; r is the radius of a disc of a body's area in the picture."""

    # Which clips can be judged
    judged: float = 0.4  # share of the frames after the known ones in which a look is wholly in the picture
    overlap: float = 0.75  # median, of the masks found in the truth itself with the true ones
    # What a video must keep
    found: float = 0.9  # share of frames in which a look has
    area: tuple[float, float] = (0.5, 1.7)  # this share of its true area
    # A look that comes to rest is judged while it moves, and apart from that while it rests: a video that is right for
    # most of the time because nothing happens then is not right.
    moving: float = 0.04  # r a frame
    least_moving: int = 6  # frames in which a clip's first look moves
    on_path: tuple[float, float] = (0.8, 0.5)  # share of moving frames with its middle within so many r of the truth
    at_rest: tuple[float, float] = (0.8, 1.0)  # the same of the others
    turned: float = 0.8  # share of the frames in which the body is elongated that show its true direction
    turned_deg: float = 30.0  # largest angle to the true direction that still counts as true
    least_overlap: float = 0.5  # median IoU of its pixels with the true ones while it moves


RULES = BodyRules()
STRAIGHT = ("barrel",)  # what rolls goes on straight


@dataclass(frozen=True)
class BodySuite:
    """One kind of clips of bodies and what is asked of a video on them; as checks.Suite, of all looks of a clip."""

    letter: str
    title: str
    families: tuple[str, ...]  # of world.families.objects
    frames: int
    question: str
    unsuitable: Callable[[BodiesLabels, int], str | None]
    score: Callable[[Floats, BodiesLabels, int, Callable[[], None]], Score]
    cost: int = 1


def judged(labels: BodiesLabels, look: int, known: int) -> Bools:
    """[T]: frames after the known ones in which the look is wholly in the picture and large enough."""
    one = labels.looks[look]
    seen = one.inside & (one.visible > 0.5) & (labels.places[look].area >= LEAST_PX)
    return seen & (np.arange(labels.frames) >= known)


def moves_unsuitable(labels: BodiesLabels, known: int) -> str | None:
    """Why it makes no sense to ask whether all moves as it must, or None."""
    if not labels.looks[0].static_camera:
        return "the camera moves"
    for i in range(len(labels.looks)):
        if judged(labels, i, known).mean() * labels.frames / (labels.frames - known) < RULES.judged:
            return "a body is in view for too short a time"
    if _moving(labels, 0, known).sum() < RULES.least_moving:
        return "hardly anything moves after the known frames"
    frames = labels.truth
    for i, look in enumerate(labels.looks):
        mask = ball_mask(frames, look)
        overlap = _overlap(mask, look.ball)[judged(labels, i, known)]
        if np.median(overlap) < RULES.overlap:
            return "a body is too like what is around it"
    stands = [np.repeat(look.ball[known - 1 : known], labels.frames, 0) for look in labels.looks]
    if _moves(stands, labels, known).value:
        return "a video that stands still is right"
    if labels.family in STRAIGHT:
        return None
    return "a video that goes on straight is right" if _moves(_straight(labels, known), labels, known).value else None


def _moving(labels: BodiesLabels, i: int, known: int) -> Bools:
    """[T]: judged frames in which a look moves, and those beside them."""
    at = labels.places[i]
    step = np.nan_to_num(np.linalg.norm(np.diff(at.center, axis=0), axis=1))
    moves = np.append(False, step > RULES.moving * _radius(labels, i)[1:])
    near = moves | np.append(moves[1:], False) | np.append(False, moves[:-1])
    return near & judged(labels, i, known)


def _radius(labels: BodiesLabels, i: int) -> Floats:
    """[T] px of a disc of the area of one of a look's bodies."""
    return np.sqrt(np.maximum(labels.places[i].area, 1) / np.pi / labels.count[i])


def _straight(labels: BodiesLabels, known: int) -> list[Bools]:
    """Masks of looks that go on as they moved between the last two known frames, without turning."""
    out: list[Bools] = []
    for look, at in zip(labels.looks, labels.places, strict=True):
        step = np.nan_to_num(at.center[known - 1] - at.center[max(known - 2, 0)])
        masks = np.copy(look.ball)
        for t in range(known, labels.frames):
            away = step * (t - known + 1)
            masks[t] = _shifted(look.ball[known - 1], round(float(away[0])), round(float(away[1])))
        out.append(masks)
    return out


def _shifted(mask: Bools, dx: int, dy: int) -> Bools:
    out = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) < width and abs(dy) < height:
        to = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
        source = slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
        out[to] = mask[source]
    return out


def _overlap(a: Bools, b: Bools) -> Floats:
    """IoU [T]."""
    return (a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1)


def _moves(masks: list[Bools], labels: BodiesLabels, known: int) -> Score:
    """Judge the masks found of each look; each check tells of the look that keeps it least."""
    rows: list[list[Check]] = []
    found = [places(mask) for mask in masks]
    for i, (mask, at) in enumerate(zip(masks, found, strict=True)):
        now = judged(labels, i, known)
        if now.any():
            rows.append(_look(mask, at, labels, i, now, _moving(labels, i, known)))
    worst = [min(checks, key=lambda c: -1.0 if c.value is None else c.value) for checks in zip(*rows, strict=True)]
    first = found[0]
    track = Track(first.center, first.area, (first.area > 0).astype(int), np.full((labels.frames, 3), np.nan))
    return passed("bodies-physics", track, *worst)


def _look(mask: Bools, at: Places, labels: BodiesLabels, i: int, now: Bools, moving: Bools) -> list[Check]:
    true, radius = labels.places[i], _radius(labels, i)
    share = at.area / np.maximum(true.area, 1)
    there = (share >= RULES.area[0]) & (share <= RULES.area[1])
    error = np.nan_to_num(np.linalg.norm(at.center - true.center, axis=1) / radius, nan=np.inf)
    overlap = _overlap(mask, labels.looks[i].ball)[moving if moving.any() else now]
    long = now & (true.stretch >= ELONGATED) & (labels.count[i] == 1)
    off = np.abs((at.direction - true.direction + np.pi / 2) % np.pi - np.pi / 2)  # NaN: nothing is found
    lies = np.degrees(off) <= RULES.turned_deg
    return [
        at_least("found", true_share(there[now]), RULES.found),
        at_least("on its path", true_share((error <= RULES.on_path[1])[moving]), RULES.on_path[0]),
        at_least("at rest where it should", true_share((error <= RULES.at_rest[1])[now & ~moving]), RULES.at_rest[0]),
        at_least("lies as it should", true_share(lies[long]), RULES.turned),
        at_least("overlap with the truth", float(np.median(overlap)), RULES.least_overlap),
    ]


def moves(frames: Floats, labels: BodiesLabels, known: int, check: Callable[[], None] = lambda: None) -> Score:
    """Does every look move, turn and rest as the simulator's does?"""
    return _moves([ball_mask(frames, look, check=check) for look in labels.looks], labels, known)


Unsuitable = Callable[[Labels, int], "str | None"]
OneScore = Callable[[Floats, Labels, Track, int], Score]


def _any(unsuitable: Unsuitable, score: OneScore) -> Callable[[BodiesLabels, int], str | None]:
    """Why no look can be judged by a score of one body, or None; the truth itself must pass."""

    def why(labels: BodiesLabels, known: int) -> str | None:
        reasons = [unsuitable(look, known) for look in labels.looks]
        if None not in reasons:
            return reasons[0]
        suited = [look for look, reason in zip(labels.looks, reasons, strict=True) if reason is None]
        clear = all(score(look.truth, look, track_ball(look.truth, look), known).value > 0.97 for look in suited)
        return None if clear else "a body is too like what is around it"

    return why


def _least(unsuitable: Unsuitable, score: OneScore) -> Callable[..., Score]:
    """The lowest score of the looks that can be judged."""

    def judge(frames: Floats, labels: BodiesLabels, known: int, check: Callable[[], None] = lambda: None) -> Score:
        suited = [look for look in labels.looks if unsuitable(look, known) is None]
        found = [score(frames, look, track_ball(frames, look, check), known) for look in suited]
        return min(found, key=lambda s: s.value)

    return judge


def _coherence_unsuitable(labels: Labels, known: int) -> str | None:
    """As of balls, of bodies that move by a few of their radii: a body comes to rest where a ball bounces on."""
    if not labels.static_camera:
        return "the camera moves"
    if not labels.in_view.all():
        return "the body leaves the picture"
    steps = np.nan_to_num(np.linalg.norm(np.diff(labels.center[known - 1 :], axis=0), axis=1))
    return None if steps.sum() >= LEAST_PATH * labels.radius[0] else "the body hardly moves"


LEAST_PATH = 3.0  # r, of a body's way in a clip of coherence
BODY_SUITES = {
    "bodies-permanence": BodySuite(
        "A'",
        "permanence of bodies",
        ("hide",),
        41,
        "a body of any shape comes back from behind the box",
        _any(permanence.unsuitable, permanence.score),
        _least(permanence.unsuitable, permanence.score),
    ),
    "bodies-physics": BodySuite(
        "B'",
        "physics of bodies",
        ("topple", "shove", "slide", "barrel", "dominoes", "swing", "tower"),
        41,
        "bodies fall over, push, slide, roll and swing as they must",
        moves_unsuitable,
        moves,
    ),
    "bodies-coherence": BodySuite(
        "C'",
        "10-s coherence of bodies",
        ("swing", "tumble"),
        81,
        "ten seconds on they are the same bodies",
        _any(_coherence_unsuitable, coherence.score),
        _least(_coherence_unsuitable, coherence.score),
        cost=5,
    ),
}
