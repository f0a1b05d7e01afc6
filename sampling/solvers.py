"""Solvers of the probability-flow ODE dx/ds = v(x, s), from the first sigma of a schedule to its last.

Each is called as solver(velocity, x, sigmas, report, level): velocity(x, sigma) -> v has the shape of x; report(i, x0)
receives the predicted clean sample after step i (from 0); level(sigma) is the noise level of every element of x, a
tensor that broadcasts to it, as frames may have levels of their own. lcm also takes fresh() -> noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Velocity = Callable[[Tensor, float], Tensor]
    Report = Callable[[int, Tensor], None]
    Levels = Callable[[float], Tensor]


def euler(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report, level: Levels) -> Tensor:
    """First order, one evaluation a step."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        v, a = velocity(x, s), level(s)
        report(i, x - a * v)
        x = x + (level(t) - a) * v
    return x


def heun(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report, level: Levels) -> Tensor:
    """Second order, two evaluations a step; a step into level 0, where models are not trained, is Euler's."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        v, a, b = velocity(x, s), level(s), level(t)
        x0 = x - a * v
        if t > 0:
            v = v.where(b == 0, 0.5 * (v + velocity(x + (b - a) * v, t)))
        report(i, x0)
        x = x + (b - a) * v
    return x


def lcm(
    velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report, level: Levels, fresh: Callable[[], Tensor]
) -> Tensor:
    """The clean sample of each step, noised again: (1-t)*x0 + t*fresh(). For CausVid and Self-Forcing students."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x0 = x - level(s) * velocity(x, s)
        report(i, x0)
        b = level(t)
        x = (1.0 - b) * x0 + b * fresh() if t > 0 else x0
    return x


def unipc(velocity: Velocity, x: Tensor, sigmas: Sequence[float], report: Report, level: Levels) -> Tensor:
    """UniPC of order 2 (arXiv 2302.04867, data prediction, B(h) = e^h - 1), one evaluation a step.

    alpha = 1-s and sigma = s give lambda = log((1-s)/s), which is infinite at both ends of a full schedule. There the
    exponential weights have finite limits but quotients of steps have none, so the step from s = 1 is left out of the
    history and the step into s = 0 is first order. On exact ODEs (tests/test_sampling.py) the order is 3 between finite
    lambdas and 2 on full schedules.
    """
    last: _Step | None = None  # the step that led to x, whose end is corrected once x0 is known there
    for i, (s, t) in enumerate(pairwise(sigmas)):
        a = level(s)
        x0 = x - a * velocity(x, s)
        if last is not None:
            x = last.corrected(x0)
        last = _Step(a, level(t), x, x0, previous=last)
        x = last.predicted()
        report(i, x0)
    return x


class _Step:
    """One UniPC step from s to t: x at s, x0 predicted there, and the slope of x0 since the step before.

    s and t are tensors of noise levels; elements whose level does not change in the step keep their value.
    """

    def __init__(self, s: Tensor, t: Tensor, x: Tensor, x0: Tensor, previous: _Step | None):
        import torch

        unchanged = s == t
        self.x0 = x0
        self.h = (_log_snr(t) - _log_snr(s)).masked_fill(unchanged, torch.inf)
        self.weight = (-(1.0 - t) * torch.expm1(-self.h)).masked_fill(unchanged, 0.0)  # alpha_t * (1 - e^-h), in 0..1
        self.base = (t / s).masked_fill(unchanged, 1.0) * x + self.weight * x0  # first order, exact for constant x0
        self.ratio, self.slope = -self.h, None  # slope: (x0_previous - x0) / ratio
        if previous is not None:
            usable = torch.isfinite(previous.h) & torch.isfinite(self.h)
            self.ratio = (-previous.h / self.h).where(usable, -torch.inf)
            self.slope = (previous.x0 - x0) / self.ratio

    def predicted(self) -> Tensor:
        return self.base if self.slope is None else self.base + 0.5 * self.weight * self.slope

    def corrected(self, x0_t: Tensor) -> Tensor:
        """x at t again, now that x0 has been predicted there too."""
        import torch

        change = x0_t - self.x0
        first = self.base + 0.5 * self.weight * change
        if self.slope is None:
            return first
        # Order 2: the rho solve [[1, 1], [ratio, 1]] rho = b with b_k = k! phi_{k+1}(-h) * (-h) / expm1(-h).
        e = torch.expm1(-self.h)
        b1 = (e / -self.h - 1.0) / e
        b2 = 2.0 * ((e / -self.h - 1.0) / -self.h - 0.5) / e
        rho = (b1 - b2) / (1.0 - self.ratio)
        second = self.base + self.weight * (rho * self.slope + (b1 - rho) * change)
        return second.where(torch.isfinite(self.ratio), first)


def _log_snr(s: Tensor) -> Tensor:
    import torch

    return torch.log((1.0 - s) / s)


SOLVERS: dict[str, Callable[..., Tensor]] = {"unipc": unipc, "euler": euler, "heun": heun, "lcm": lcm}
RENOISING = {"lcm"}  # solvers that also take fresh() -> noise
