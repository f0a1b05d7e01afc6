"""What is measured, and the score of one video.

| letter | suite | value |
|---|---|---|
| A | permanence | 1 when a ball that passes behind a box comes back where, when and as it should (permanence.py) |
| B | physics | 1 when a ball falls, bounces and moves on as gravity demands (physics.py) |
| C | coherence | 0..1: ten seconds on it is the same ball before the same background (coherence.py) |
| D | speed | seconds from first frames to pictures (speed.py) |
| E | obedience | errors of camera, depth and flow controls (obedience.py) |

Of bodies of any shape, A, B and C are asked look by look (bodies.py).

Only frames that the model made are judged: the first `known` were given to it. A ball that is not found fails every
check that asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

from . import coherence, obedience, permanence, physics
from .bodies import BODY_SUITES, BodySuite
from .body_labels import BodiesLabels
from .checks import Score, Suite
from .foreign import FOREIGN_SUITES
from .labels import Labels
from .tracking import Video, track_ball, validated_frames

# Raised with every change of scenes, selection or rules that can change a score: reports of two versions are not
# comparable.
SUITE_VERSION = 1
SUITES = {
    "permanence": permanence.SUITE,
    "physics": physics.SUITE,
    "coherence": coherence.SUITE,
    "obedience": obedience.SUITE,
}
SCORED = tuple(name for name, suite in SUITES.items() if suite.score)
OF_LOOKS = {**BODY_SUITES, **FOREIGN_SUITES}  # suites of clips whose labels are BodiesLabels
ALL_SUITES: dict[str, Suite | BodySuite] = {**SUITES, **OF_LOOKS}
ALL_SCORED = (*SCORED, *OF_LOOKS)


def score(
    suite: str, frames: Video, labels: Labels | BodiesLabels, known: int = 5, check: Callable[[], None] = lambda: None
) -> Score:
    """Score frames [T, H, W, 3] (any size of the clip's aspect) by one of ALL_SCORED; check may raise to cancel.

    Raises FramesError, ValueError.
    """
    if suite not in ALL_SCORED:
        raise ValueError(f"suite {suite!r} is unknown; choose one of {', '.join(ALL_SCORED)}")
    if isinstance(labels, BodiesLabels) != (suite in OF_LOOKS):
        raise ValueError(f"suite {suite!r} does not judge this clip ({labels.family}): it is of another kind")
    if not 1 <= known < labels.frames:
        raise ValueError(f"{known} known frames of {labels.frames}; expected 1 to {labels.frames - 1}")
    reason = (
        OF_LOOKS[suite].unsuitable(labels, known)
        if isinstance(labels, BodiesLabels)
        else SUITES[suite].unsuitable(labels, known)
    )
    if reason:
        raise ValueError(f"this clip ({labels.family}, seed {labels.seed}) cannot be judged for {suite}: {reason}")
    check()
    frames = validated_frames(frames, labels)
    if isinstance(labels, BodiesLabels):
        return OF_LOOKS[suite].score(frames, labels, known, check)
    judge = SUITES[suite].score
    assert judge is not None, "suites without a score are not of ALL_SCORED"
    track = track_ball(frames, labels, check)
    check()
    return judge(frames, labels, track, known)
