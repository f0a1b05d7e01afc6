"""What a suite of the benchmark and its score are made of: named checks, each a measured value against a limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..world.arrays import Bools, Floats
from .labels import Labels
from .tracking import Track


@dataclass(frozen=True)
class Check:
    """One limit that a video keeps or breaks."""

    name: str
    value: float | None  # None: could not be measured, because the ball was not found; such a check fails
    limit: str
    ok: bool


@dataclass(frozen=True)
class Score:
    """The result of one suite on one video."""

    suite: str
    value: float  # A and B: 1 when every check passes, else 0; C: 0..1
    checks: tuple[Check, ...]
    track: Track


@dataclass(frozen=True)
class Suite:
    """One kind of clips and what is asked of a video on them."""

    letter: str
    title: str
    families: tuple[str, ...]  # of world.families.scene
    frames: int
    question: str  # one line for the report
    unsuitable: Callable[[Labels, int], str | None]  # why a clip with so many known frames cannot be judged
    score: Callable[[Floats, Labels, Track, int], Score] | None  # None: obedience, which gives measures instead
    cost: int = 1  # suites that take longer a clip get one clip for so many of the others


def passed(suite: str, track: Track, *checks: Check) -> Score:
    """The score of a suite that a video passes or fails as a whole."""
    return Score(suite, float(all(c.ok for c in checks)), checks, track)


def at_most(name: str, value: float, limit: float, unit: str = "") -> Check:
    """A check that holds for finite values up to the limit."""
    return Check(name, _shown(value), f"<= {limit:.4g}{unit}", math.isfinite(value) and bool(value <= limit))


def at_least(name: str, value: float, limit: float) -> Check:
    """A check that holds for finite values from the limit on."""
    return Check(name, _shown(value), f">= {limit:.4g}", math.isfinite(value) and bool(value >= limit))


def _shown(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def true_share(ok: Bools, weight: Floats | None = None) -> float:
    """Weighted share of entries that are true; 1 where nothing has weight, since then nothing is asked."""
    weight = np.ones(len(ok)) if weight is None else weight
    return float((ok * weight).sum() / weight.sum()) if weight.sum() > 0 else 1.0


def position_error(labels: Labels, center: Floats) -> Floats:
    """Distance [T] px of positions [T, 2] from the true ball; infinite where no ball was found."""
    return np.nan_to_num(np.linalg.norm(center - labels.center, axis=-1), nan=np.inf)
