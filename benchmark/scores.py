"""What is measured, and the score of one video.

| letter | suite | value |
|---|---|---|
| A | permanence | 1 when a ball that passes behind a box comes back where, when and as it should (permanence.py) |
| B | physics | 1 when a ball falls, bounces and moves on as gravity demands (physics.py) |
| C | coherence | 0..1: ten seconds on it is the same ball before the same background (coherence.py) |
| D | speed | seconds from first frames to pictures (speed.py) |
| E | obedience | errors of camera, depth and flow controls (obedience.py) |

Only frames that the model made are judged: the first `known` were given to it. A ball that is not found fails every
check that asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

from . import coherence, obedience, permanence, physics
from .checks import Score
from .labels import Labels
from .tracking import Video, track_ball, validated_frames

SUITES = {
    "permanence": permanence.SUITE,
    "physics": physics.SUITE,
    "coherence": coherence.SUITE,
    "obedience": obedience.SUITE,
}
SCORED = tuple(name for name, suite in SUITES.items() if suite.score)


def score(suite: str, frames: Video, labels: Labels, known: int = 5, check: Callable[[], None] = lambda: None) -> Score:
    """Score frames [T, H, W, 3] (any size of the clip's aspect) by one of SCORED; check may raise to cancel.

    Raises FramesError, ValueError.
    """
    judge = SUITES[suite].score if suite in SUITES else None
    if judge is None:
        raise ValueError(f"suite {suite!r} is unknown; choose one of {', '.join(SCORED)}")
    if not 1 <= known < labels.frames:
        raise ValueError(f"{known} known frames of {labels.frames}; expected 1 to {labels.frames - 1}")
    if reason := SUITES[suite].unsuitable(labels, known):
        raise ValueError(f"this clip ({labels.family}, seed {labels.seed}) cannot be judged for {suite}: {reason}")
    check()
    frames = validated_frames(frames, labels)
    track = track_ball(frames, labels, check)
    check()
    return judge(frames, labels, track, known)
