"""Flow-matching time: the noise levels (sigmas) that a solver visits."""

from __future__ import annotations

from collections.abc import Sequence

MAX_STEPS = 1000
SCHEDULERS = ("simple", "normal", "wan")


def shift_sigma(sigma: float, shift: float) -> float:
    """s' = k*s / (1 + (k-1)*s): k > 1 spends more of the steps at high noise, where motion is decided."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def schedule(steps: int, shift: float = 1.0, scheduler: str = "simple", first: float = 1.0) -> list[float]:
    """`steps` + 1 sigmas from the noise down to exactly 0; with `first` below 1 over that last share of the schedule.

    simple: uniform from 1, then shifted (ComfyUI's "simple"); four-step students (LightX2V) were trained on it.
    normal: uniform between the shifted ends 1 and 1/1000, then shifted again (ComfyUI's "normal", diffusers' Euler).
    wan: uniform from 0.999, then shifted (Wan's own UniPC). At ten steps and shift 5 the last step of the three begins
    at 0.357, 0.024 and 0.357. Raises ValueError when steps is not 1..1000, shift not 0.01..100, or the name unknown.
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
        most = 0.999 if scheduler == "wan" else 1.0
        uniform = [most * i / steps for i in range(steps, -1, -1)]
    return [shift_sigma(first * sigma, shift) for sigma in uniform]


def model_sigma(sigma: float, scheduler: str) -> float:
    """The sigma that the model receives: the solver's; with "wan" rounded down to thousandths, as Wan's code does."""
    return int(1000 * sigma) / 1000 if scheduler == "wan" else sigma


def nearest_step(sigmas: Sequence[float], sigma: float) -> int:
    """Index of the schedule's entry nearest to sigma."""
    return min(range(len(sigmas)), key=lambda i: abs(sigmas[i] - sigma))
