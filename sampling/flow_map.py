"""Flow maps: students that go from one sigma to another in a single call (average velocity, arXiv 2505.13447).

An Euler step with the average velocity is exact, so any number of steps, even one, follows the teacher's trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .schedule import nearest_step

if TYPE_CHECKING:
    from torch import Tensor

    from .types import Transformer

MAX_FLOW_MAP_STEPS = 32  # students are not trained on steps shorter than 1/32


def check_flow_map(steps: int, guidance: float, baked_guidance: float | None = None) -> None:
    """Raise ValueError, saying what to do, for settings that a student cannot use."""
    if not 1 <= steps <= MAX_FLOW_MAP_STEPS:
        raise ValueError(
            f"steps is {steps}; a student takes 1 to {MAX_FLOW_MAP_STEPS}: 4 is usual, for more load its teacher"
        )
    if guidance != 1.0:
        baked = f" (guidance {baked_guidance:g} is part of it)" if baked_guidance else ""
        raise ValueError(
            f"guidance is {guidance:g}, but a student has its teacher's built in{baked}: "
            "set guidance to 1, or load the teacher to choose another"
        )


def towards_next_sigma(transformer: Transformer, sigmas: Sequence[float]) -> Transformer:
    """A flow map as an ordinary transformer: its target is the schedule's next sigma; frames at sigma 0 stay there."""

    def model(x: Tensor, sigma: Tensor, context: Tensor, **conditionings: object) -> Tensor:
        step = nearest_step(sigmas[:-1], float(sigma.max()))
        target = sigma.new_full(sigma.shape, sigmas[step + 1]).where(sigma > 0, sigma)
        return transformer(x, sigma, context, target=target, **conditionings)

    return model
