"""Solvers of the probability-flow ODE dx/ds = v(x, s), from the first sigma of a schedule to its last.

Each is called as solver(velocity, x, sigmas, report): velocity(x, sigma) -> v has the shape of x, and
report(i, x0) is told after step i (from 0) what the clean sample looked like from there. lcm draws noise as it goes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Callable, Sequence

if TYPE_CHECKING:
    from torch import Tensor

    Velocity = Callable[[Tensor, float], Tensor]
    Report = Callable[[int, Tensor], None]


def euler(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report) -> Tensor:
    """First order, one evaluation a step."""
    for i, (s, t) in enumerate(zip(sigmas, sigmas[1:])):
        v = velocity(x, s)
        report(i, x - s * v)
        x = x + (t - s) * v
    return x


def heun(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report) -> Tensor:
    """Second order, two evaluations a step; a step into sigma 0, where models are not trained, is Euler's."""
    for i, (s, t) in enumerate(zip(sigmas, sigmas[1:])):
        v = velocity(x, s)
        x0 = x - s * v
        if t > 0:
            v = 0.5 * (v + velocity(x + (t - s) * v, t))
        report(i, x0)
        x = x + (t - s) * v
    return x


def lcm(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report, fresh: Callable[[], Tensor]) -> Tensor:
    """The clean sample of each step, noised again: (1-t)*x0 + t*fresh(). For CausVid and Self-Forcing students."""
    for i, (s, t) in enumerate(zip(sigmas, sigmas[1:])):
        x0 = x - s * velocity(x, s)
        report(i, x0)
        x = (1.0 - t) * x0 + t * fresh() if t > 0 else x0
    return x


def unipc(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report) -> Tensor:
    """UniPC of order 2 (arXiv 2302.04867, data prediction, B(h) = e^h - 1), one evaluation a step.

    alpha = 1-s and sigma = s give lambda = log((1-s)/s), infinite at both ends of a full schedule. There the
    exponential weights have finite limits but quotients of steps have not: a history at s = 1 is left
    out and the step into s = 0 is first order.
    Measured on exact ODEs: order 3 between finite lambdas, order 2 on full schedules.
    """
    last: _Step | None = None  # the step that led to x, for correcting its end
    for i, (s, t) in enumerate(zip(sigmas, sigmas[1:])):
        x0 = x - s * velocity(x, s)
        if last is not None:
            x = last.corrected(x0)
        last = _Step(s, t, x, x0, previous=last)
        x = last.predicted()
        report(i, x0)
    return x


class _Step:
    """One UniPC step from s to t: x at s, x0 predicted there, and the slope of x0 from the step before."""

    def __init__(self, s: float, t: float, x: Tensor, x0: Tensor, previous: _Step | None):
        self.t, self.x0 = t, x0
        self.h = _log_snr(t) - _log_snr(s)
        self.weight = -(1.0 - t) * math.expm1(-self.h)  # alpha_t * (1 - e^-h), in 0..1
        self.base = (t / s) * x + self.weight * x0  # the first-order step, exact for constant x0
        self.ratio = -math.inf
        self.slope = None  # (x0_previous - x0) / ratio
        if previous is not None and math.isfinite(previous.h) and math.isfinite(self.h):
            self.ratio = -previous.h / self.h
            self.slope = (previous.x0 - x0) / self.ratio

    def predicted(self) -> Tensor:
        return self.base if self.slope is None else self.base + 0.5 * self.weight * self.slope

    def corrected(self, x0_t: Tensor) -> Tensor:
        """x at t once more, now that x0 is known there too."""
        change = x0_t - self.x0
        if self.slope is None:
            return self.base + 0.5 * self.weight * change
        # Order 2: the rho solve [[1, 1], [ratio, 1]] rho = b with b_k = k! phi_{k+1}(-h) * (-h) / expm1(-h).
        e = math.expm1(-self.h)
        b1 = (e / -self.h - 1.0) / e
        b2 = 2.0 * ((e / -self.h - 1.0) / -self.h - 0.5) / e
        rho = (b1 - b2) / (1.0 - self.ratio)
        return self.base + self.weight * (rho * self.slope + (b1 - rho) * change)


def _log_snr(s: float) -> float:
    if s >= 1.0:
        return -math.inf
    return math.inf if s <= 0.0 else math.log((1.0 - s) / s)


SOLVERS: dict[str, Callable] = {"unipc": unipc, "euler": euler, "heun": heun, "lcm": lcm}
RENOISING = {"lcm"}  # these take fresh() -> noise, too
