"""The three scores of a video against a labelled clip: object permanence, physics accuracy, ten-second coherence.

A clip passes A or B when it passes every check; a ball that is not found fails whatever asks for it. Only frames that
the model made are judged: the first `known` were given to it. r is the ball's radius in pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .labels import Labels
from .track import Track, fitted, follow

# C's background terms: (dead zone, scale), RGB 0..1. Set on validation scenes of the renderer by
# `vdit benchmark --calibrate --splits validation --seed 0 --count 20`: the 99th percentile of change is .0011 through H.264
# (crf 35), .0066 with blur and noise, .108 with 6% flicker; the largest distance .0074, .0062 and .033.
STILLNESS = (0.008, 0.012)
DRIFT = (0.020, 0.10)
SMOOTH, RESTS = 0.35, 0.2  # C's tolerance of acceleration, and the step below which there is no motion, in r
LEAST_PATH = 20  # of the ball, in r, where C is judged: a video that rests is coherent in any order
BACK, LATE = (
    0.25,
    2.0,
)  # share of a ball's disc from which on it is back from behind a box; frames by which that may be off
CLEARLY_BACK = (
    0.15,
    0.35,
)  # where one of these is reached as much earlier than the other, no frame is that of its return
STRAIGHT, STRAY = (
    "behind",
    1.25,
)  # the family in which a ball goes straight on; r by which it must leave that way elsewhere
BENT = 0.5  # px: a flight that leaves its even sideways speed by more meets a wall, and has no such speed to be asked
SHADOWED = 0.03  # a pixel of the truth that differs more from the clean background is a shadow's, not background


@dataclass(frozen=True)
class Check:
    name: str
    value: float | None  # None: could not be measured, because the ball was not found
    limit: str
    ok: bool


@dataclass(frozen=True)
class Score:
    suite: str
    value: float  # 1 or 0 for A and B, 0..1 for C
    checks: tuple[Check, ...]
    track: Track

    def as_json(self) -> dict:
        path = [[None if np.isnan(v) else round(float(v), 2) for v in p] for p in self.track.center]
        return {"value": round(self.value, 4), "checks": [asdict(c) for c in self.checks], "path_px": path}


def score(suite: str, frames, labels: Labels, known: int = 5) -> Score:
    """Score frames [T,H,W,3] (any size of the clip's aspect) by SCORES[suite]. Raises FramesError, ValueError."""
    if suite not in SCORES:
        raise ValueError(f"suite {suite!r} is unknown; choose one of {', '.join(SCORES)}")
    if not 1 <= known < labels.frames:
        raise ValueError(f"{known} known frames of {labels.frames}; expected 1 to {labels.frames - 1}")
    if reason := UNFIT[suite](labels, known):
        raise ValueError(f"this clip ({labels.family}, seed {labels.seed}) cannot be judged for {suite}: {reason}")
    frames = fitted(frames, labels)
    return SCORES[suite](frames, labels, follow(frames, labels), known)


def _check(name: str, value: float, limit: float, *, at_least: bool = False, unit: str = "") -> Check:
    ok = bool(np.isfinite(value)) and (value >= limit if at_least else value <= limit)
    shown = round(float(value), 4) if np.isfinite(value) else None
    return Check(name, shown, f"{'>=' if at_least else '<='} {limit:.4g}{unit}", ok)


def _share(ok: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Share that is true, 1 where there is nothing to ask."""
    weight = np.ones(len(ok)) if weight is None else weight
    return float((ok * weight).sum() / weight.sum()) if weight.sum() > 0 else 1.0


def _error(labels: Labels, track: Track) -> np.ndarray:
    """Distance [T] px between the ball found and the true one; infinite where none was found."""
    return np.nan_to_num(np.linalg.norm(track.center - labels.center, axis=-1), nan=np.inf)


def _disc(labels: Labels) -> np.ndarray:
    return np.pi * labels.radius**2


# A. Object permanence


def occlusion(labels: Labels) -> tuple[int, int] | None:
    """First and last frame of the one stretch in which the ball is hidden; None unless there is exactly one."""
    hidden = np.nonzero(labels.hidden)[0]
    if not len(hidden) or hidden[-1] - hidden[0] + 1 != len(hidden):
        return None
    return int(hidden[0]), int(hidden[-1])


def _back(labels: Labels, last: int, share: float) -> int:
    """The first frame after `last` in which so much of the ball shows, of one that comes back."""
    return last + 1 + int(np.argmax(labels.visible[last + 1 :] >= share))


def unfit_for_permanence(labels: Labels, known: int) -> str | None:
    span = occlusion(labels)
    if not labels.still:
        return "the camera moves"
    if span is None:
        return "the ball is not hidden once and only once"
    first, last = span
    if last - first < 1:
        return "the ball is hidden for one frame only"
    if first < known:
        return "the ball is hidden before the known frames end"
    if labels.in_view[:first].sum() < 3 or labels.in_view[last + 1 :].sum() < 3:
        return "the ball is in view for fewer than 3 frames before or after"
    early, late = (_back(labels, last, share) for share in CLEARLY_BACK)
    if late - early > LATE:
        return "the ball looks out for a while before it is back"
    if labels.family != STRAIGHT:
        center, t = labels.center, np.nonzero((np.arange(labels.frames) > last) & labels.in_view)[0]
        straight = center[known - 1] + (t - known + 1)[:, None] * (center[known - 1] - center[max(known - 2, 0)])
        if np.median(np.linalg.norm(straight - center[t], axis=-1) / labels.radius[t]) < STRAY:
            return "the ball would come back there as well if it went straight on"
    return None


def permanence(frames: np.ndarray, labels: Labels, track: Track, known: int) -> Score:
    """Does the ball come back, where and when it should, as what it was?"""
    first, last = occlusion(labels)
    t = np.arange(labels.frames)
    error, r, disc = _error(labels, track), labels.radius, _disc(labels)
    before = (t >= known) & (t < first) & labels.in_view
    after = (t > last) & labels.in_view
    hidden = labels.hidden
    ratio = track.area / disc

    true_back = _back(labels, last, BACK)
    gone = np.nonzero((t >= first - 2) & (ratio < BACK))[0]
    back = np.inf
    if len(gone):
        there = ratio >= BACK
        lasting = there & np.append(there[1:], True)  # one frame's flash is no return
        later = np.nonzero(lasting & (t > gone[0]))[0]
        back = float(later[0]) if len(later) else np.inf
    true_color = np.stack([labels.truth[i][labels.ball[i]].mean(0) for i in np.nonzero(after)[0]])
    shift = np.nan_to_num(np.linalg.norm(track.color[after] - true_color, axis=-1), nan=np.inf)
    boxes = labels.boxes & (t >= known)[:, None, None]
    damage = float(np.abs(frames - labels.truth).mean(-1)[boxes].mean()) if boxes.any() else 0.0

    whole = (track.blobs == 1) & (ratio >= 0.5) & (ratio <= 1.6)
    checks = (
        _check("tracked before", _share((error < r)[before]), 0.8, at_least=True),
        _check("hidden while hidden", _share((ratio <= BACK)[hidden]), 0.9, at_least=True),
        _check("one whole ball after", _share(whole[after]), 0.7, at_least=True),
        _check("median error after", float(np.median((error / r)[after])), 1.0, unit=" r"),
        _check("frame of return off by", abs(back - true_back), max(LATE, 0.15 * (last - first + 1)), unit=" frames"),
        _check("colour shift", float(np.median(shift)), 0.25),
        _check("occluder changed by", damage, 0.08),
    )
    return Score("permanence", float(all(c.ok for c in checks)), checks, track)


# B. Physics accuracy


def impacts(y: np.ndarray, radius: np.ndarray, start: int) -> list[int]:
    """Frames from `start` where a ball (y px, down positive, NaN: unseen) stops falling and rises again by .3 r."""
    seen = np.nonzero(np.isfinite(y))[0]
    found = []
    for i in range(1, len(seen) - 1):
        t = seen[i]
        if t < start or not (y[t] >= y[seen[i - 1]] and y[t] > y[seen[i + 1]]):
            continue
        least = 0.3 * radius[t]
        if y[t] - y[seen[max(0, i - 3) : i]].min() >= least and y[t] - y[seen[i + 1 : i + 4]].min() >= least:
            found.append(int(t))
    return found


@dataclass(frozen=True)
class Flight:
    gravity: float  # px/frame^2
    speed: float  # horizontal, px/frame
    bend: float  # px, the most by which the ball leaves that even speed
    r2: float  # of the parabola


def flight(center: np.ndarray, known: int, hit: int, next_hit: int) -> Flight | None:
    """One gravity through the flights before and after an impact, each with a start and speed of its own.

    Samples at the impacts themselves are left out. None with fewer than 5 samples or no flight of 4.
    """
    t = np.arange(len(center))
    seen = np.isfinite(center[:, 0])
    spans = [seen & (t >= known) & (t < hit), seen & (t > hit) & (t < next_hit)]
    parts = [np.nonzero(s)[0] for s in spans if s.sum() >= 3]
    if sum(map(len, parts)) < 5 or max(map(len, parts)) < 4:
        return None
    rows = np.concatenate(parts)
    matrix = np.zeros((len(rows), 1 + 2 * len(parts)))
    total, at = 0.0, 0
    for i, part in enumerate(parts):
        here = slice(at, at + len(part))
        tau = part - part.mean()
        matrix[here, 0], matrix[here, 1 + 2 * i], matrix[here, 2 + 2 * i] = tau**2 / 2, 1.0, tau
        total += float(((center[part, 1] - center[part, 1].mean()) ** 2).sum())
        at += len(part)
    solution = np.linalg.lstsq(matrix, center[rows, 1], rcond=None)[0]
    rest = float(((matrix @ solution - center[rows, 1]) ** 2).sum())
    longest = max(parts, key=len)
    line = np.polyfit(longest, center[longest, 0], 1)
    bend = float(np.abs(np.polyval(line, longest) - center[longest, 0]).max())
    return Flight(float(solution[0]), float(line[0]), bend, 1 - rest / max(total, 1e-9))


def true_flight(labels: Labels, known: int) -> tuple[int, int, Flight] | None:
    """First two impacts that the model has to make and the flight around the first; None when there are none."""
    hits = impacts(labels.center[:, 1], labels.radius, known)
    if len(hits) < 2:
        return None
    found = flight(labels.center, known, hits[0], hits[1])
    return None if found is None else (hits[0], hits[1], found)


def unfit_for_physics(labels: Labels, known: int) -> str | None:
    if not labels.still:
        return "the camera moves"
    there = true_flight(labels, known)
    if there is None:
        return "no bounce with a flight after it lies behind the known frames"
    if not labels.in_view[known - 1 : there[1] + 1].all() or labels.in_view[known:].mean() < 0.7:
        return "the ball is not in view throughout"
    if there[2].r2 < 0.99 or there[2].bend > BENT:
        return "something disturbs the ball's flight"
    return None


def physics(frames: np.ndarray, labels: Labels, track: Track, known: int) -> Score:
    """Does the ball fall, bounce and move on as gravity and its bounce demand?"""
    hit, next_hit, true = true_flight(labels, known)
    t = np.arange(labels.frames)
    judged = labels.in_view & (t >= known)
    error, r = _error(labels, track), labels.radius
    seen = track.blobs == 1  # two balls of its colour are not the ball
    center = np.where(seen[:, None], track.center, np.nan)
    error = np.where(seen, error, np.inf)
    own = impacts(center[:, 1], r, known - 1)
    found = flight(center, known, own[0], own[1] if len(own) > 1 else next_hit) if own else None
    nan = float("nan")
    deepest = (center[:, 1] - labels.contact)[judged & seen] / r[judged & seen]
    checks = (
        _check("detected", _share(seen[judged]), 0.9, at_least=True),
        _check("gravity off by", abs(found.gravity - true.gravity) if found else nan,
               0.15 * abs(true.gravity) + 0.01, unit=" px/f^2"),
        _check("parabola R^2", found.r2 if found else nan, 0.97, at_least=True),
        _check("sideways speed off by", abs(found.speed - true.speed) if found else nan,
               0.1 * abs(true.speed) + 0.1, unit=" px/f"),
        _check("impact off by", abs(own[0] - hit) if own else nan, max(1.0, 0.1 * hit), unit=" frames"),
        _check("deepest into the floor", float(deepest.max()) if len(deepest) else nan, 0.5, unit=" r"),
        _check("on the path after", _share((error <= r)[judged & (t > hit)]), 0.8, at_least=True),
    )  # fmt: skip
    return Score("physics", float(all(c.ok for c in checks)), checks, track)


# C. Ten-second coherence


def unfit_for_coherence(labels: Labels, known: int) -> str | None:
    if not labels.still:
        return "the camera moves"
    if labels.movable:
        return "boxes move"
    if labels.in_view.mean() < 0.7 or not labels.in_view[: known + 1].all():
        return "the ball is in view for less than 70% of the clip, or not at its start"
    if _path(labels.center, labels.in_view) < LEAST_PATH * labels.radius[0]:
        return f"the ball's way is shorter than {LEAST_PATH} of its radii"
    return None


def _path(center: np.ndarray, judged: np.ndarray) -> float:
    step = np.nan_to_num(np.linalg.norm(np.diff(center, axis=0), axis=-1), nan=0.0)
    return float(step[judged[1:] & judged[:-1]].sum())


def background_terms(frames: np.ndarray, labels: Labels) -> tuple[np.ndarray, float]:
    """Mean change [T-1] of the background between frames, and the last second's mean distance to the clean one.

    Both after a blur of sigma 1; pixels of balls and shadows, with a border of 3, are left out.
    """
    import cv2

    soft = np.stack([cv2.GaussianBlur(f, (0, 0), 1.0) for f in frames])
    busy = labels.balls | (np.abs(labels.truth - labels.background).max(-1) > SHADOWED)
    busy = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((7, 7), np.uint8)) for m in busy]).astype(bool)
    free = ~(busy[1:] | busy[:-1])
    change = (np.abs(np.diff(soft, axis=0)).mean(-1) * free).sum((1, 2)) / np.maximum(free.sum((1, 2)), 1)
    last = slice(-max(1, round(labels.fps)), None)
    clean = cv2.GaussianBlur(labels.background[0], (0, 0), 1.0)
    away = np.abs(soft[last] - clean).mean(-1)[~busy[last]]
    return change, float(away.mean()) if away.size else 0.0


def coherence(frames: np.ndarray, labels: Labels, track: Track, known: int) -> Score:
    """Is it still the same ball, moving without jumps, before the same background, ten seconds on?"""
    judged, r = labels.in_view & (np.arange(labels.frames) >= known - 1), labels.radius
    path, true_path = _path(track.center, judged), _path(labels.center, judged)
    moved = min(1.0, path / (0.7 * true_path))
    ratio = track.area / _disc(labels)
    identity = _share(((track.blobs == 1) & (ratio >= 0.6) & (ratio <= 1.5))[judged])

    # Continuity and smoothness are shares of the video's motion, not of its frames: rest is no merit. A step counts by
    # its length (at most three times the longest true one; a missing ball costs that one); below RESTS * r is rest.
    true_step = np.linalg.norm(np.diff(labels.center, axis=0), axis=-1)
    step = np.nan_to_num(np.linalg.norm(np.diff(track.center, axis=0), axis=-1), nan=np.inf)
    pair = judged[1:] & judged[:-1]
    longest = true_step[pair].max()
    motion = np.where(np.isinf(step), longest, step.clip(max=3 * longest)) * pair
    motion[motion < RESTS * r[1:]] = 0.0
    continuity = _share(step <= 1.5 * longest + 0.1 * r[1:], motion)

    true_turn = np.linalg.norm(np.diff(labels.center, 2, axis=0), axis=-1)
    turn = np.nan_to_num(np.linalg.norm(np.diff(track.center, 2, axis=0), axis=-1), nan=np.inf)
    around = np.pad(true_turn, 2)
    local = np.max([around[i : i + len(true_turn)] for i in range(5)], axis=0)
    fits = np.pad(turn <= local + SMOOTH * r[1:-1], 1)
    fits = fits[1:-1] & (
        fits[:-2] | fits[2:]
    )  # one alone among others that do not is chance: shuffled frames have such
    smoothness = _share(fits, (motion[1:] + motion[:-1]) * (pair[1:] & pair[:-1]))

    change, away = background_terms(frames, labels)
    stillness = float(np.mean(1 - ((change - STILLNESS[0]) / STILLNESS[1]).clip(0, 1)))
    drift = 1 - float(np.clip((away - DRIFT[0]) / DRIFT[1], 0, 1))
    parts = {
        "identity": identity,
        "continuity": continuity,
        "smoothness": smoothness,
        "stillness": stillness,
        "drift": drift,
    }
    value = moved * min(parts.values())
    checks = tuple(_check(n, v, 0.9, at_least=True) for n, v in {"motion": moved, **parts}.items())
    return Score("coherence", value, checks, track)


SCORES = {"permanence": permanence, "physics": physics, "coherence": coherence}
UNFIT = {"permanence": unfit_for_permanence, "physics": unfit_for_physics, "coherence": unfit_for_coherence}
