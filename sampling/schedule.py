"""Flow-matching time: which sigmas the solvers visit, by which rule."""

from __future__ import annotations

from collections.abc import Sequence

MAX_STEPS = 1000
SCHEDULERS = ("simple", "normal", "wan")


def shift_sigma(sigma: float, shift: float) -> float:
    """s' = k*s / (1 + (k-1)*s): k > 1 spends more of the steps at high noise, where motion is decided."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def schedule(steps: int, shift: float = 1.0, scheduler: str = "simple") -> list[float]:
    """`steps` + 1 sigmas from the noise down to exactly 0. Of ten steps at shift 5 the last starts at the figure below.

    simple: uniform from 1, then shifted; as ComfyUI's of that name (.357). Four-step students (LightX2V) learned it.
    normal: uniform in what is already shifted, from 1 to 1/1000, and shifted again; ComfyUI's normal and diffusers'
    Euler (.024). wan: uniform from .999, then shifted; Wan's own UniPC (.357), whose model sees whole thousandths.
    Raises ValueError when steps is not 1..1000, shift not in 0.01..100, or the rule unknown.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps is {steps}; expected 1 to {MAX_STEPS}")
    if not 0.01 <= shift <= 100.0:
        raise ValueError(f"shift is {shift}; expected 0.01 to 100 (1 leaves the schedule uniform)")
    if scheduler not in SCHEDULERS:
        raise ValueError(f"scheduler is {scheduler!r}; expected one of {', '.join(SCHEDULERS)}")
    if scheduler == "normal":
        last = shift_sigma(0.001, shift)
        uniform = [1.0 - (1.0 - last) * i / max(steps - 1, 1) for i in range(steps)] + [0.0]
    else:
        first = 0.999 if scheduler == "wan" else 1.0
        uniform = [first * i / steps for i in range(steps, -1, -1)]
    return [shift_sigma(sigma, shift) for sigma in uniform]


def seen(sigma: float, scheduler: str) -> float:
    """The sigma that a model is told in place of the solver's: whole thousandths by Wan's rule, which rounds down."""
    return int(1000 * sigma) / 1000 if scheduler == "wan" else sigma


def step_of(sigmas: Sequence[float], sigma: float) -> int:
    """The step of a schedule that begins at sigma, or nearest to it."""
    return min(range(len(sigmas)), key=lambda i: abs(sigmas[i] - sigma))
