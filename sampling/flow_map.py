"""Flow maps: students that go from one sigma to another in a single call, whatever lies between.

A step of Euler's with the average velocity is exact, so any number of steps, even one, follows the teacher's path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from .schedule import step_of

if TYPE_CHECKING:
    from torch import Tensor

MAX_FLOW_MAP_STEPS = 32  # shorter steps than 1/32 were never trained


def check_flow_map(steps: int, guidance: float, baked: float | None = None) -> None:
    """Raise ValueError, saying what to do, for settings that a student has no use for."""
    if not 1 <= steps <= MAX_FLOW_MAP_STEPS:
        raise ValueError(
            f"steps is {steps}; a student takes 1 to {MAX_FLOW_MAP_STEPS}: 4 is usual, for more load its teacher"
        )
    if guidance != 1.0:
        how = f" (guidance {baked:g} is part of it)" if baked else ""
        raise ValueError(
            f"guidance is {guidance:g}, but a student has its teacher's built in{how}: "
            "set guidance to 1, or load the teacher to choose another"
        )


def toward(transformer: Callable, sigmas: Sequence[float]) -> Callable:
    """A flow map as an ordinary transformer (x, sigma [B,T], context, ...) -> v, heading for the schedule's next sigma.

    Frames that are known, at sigma 0, stay there.
    """

    def model(x: Tensor, sigma: Tensor, context: Tensor, **named: Any) -> Tensor:
        step = step_of(sigmas[:-1], float(sigma.max()))
        target = sigma.new_full(sigma.shape, sigmas[step + 1]).where(sigma > 0, sigma)
        return transformer(x, sigma, context, target=target, **named)

    return model
