"""Flow-matching time: which sigmas the solvers visit."""

from __future__ import annotations

MAX_STEPS = 1000


def shift_sigma(sigma: float, shift: float) -> float:
    """s' = k*s / (1 + (k-1)*s): k > 1 spends more of the steps at high noise, where motion is decided."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def schedule(steps: int, shift: float = 1.0) -> list[float]:
    """`steps` + 1 sigmas from exactly 1 down to exactly 0.

    Rule: uniform first, then shifted ("native" of Wan, "simple" of ComfyUI); the last step therefore
    starts at shift_sigma(1/steps, shift), which is .357 for 10 steps at shift 5.
    Raises ValueError when steps is not 1..1000 or shift not in 0.01..100.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps is {steps}; expected 1 to {MAX_STEPS}")
    if not 0.01 <= shift <= 100.0:
        raise ValueError(f"shift is {shift}; expected 0.01 to 100 (1 leaves the schedule uniform)")
    return [shift_sigma(i / steps, shift) for i in range(steps, -1, -1)]
