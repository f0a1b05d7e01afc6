"""When and how strongly a control applies: the three numbers that every control carries."""

from __future__ import annotations

from typing import Protocol


class ControlError(ValueError):
    """A camera path, depth or flow that cannot be used: what was found, what was expected, what to do."""


def check_span(name: str, strength: float, start: float, end: float) -> None:
    """Raise ControlError unless strength is in 0..1 and 0 <= start < end <= 1."""
    if not 0.0 <= strength <= 1.0:
        raise ControlError(f"{name}: strength is {strength:g}; expected 0 (ignored) to 1 (obeyed)")
    if not 0.0 <= start < end <= 1.0:
        raise ControlError(
            f"{name}: start is {start:g} and end {end:g}; expected 0 <= start < end <= 1, shares of the sampling steps"
        )


class Spanned(Protocol):
    """A control with a strength 0..1 that acts from share `start` to share `end` of the sampling steps."""

    @property
    def strength(self) -> float:
        """0 ignored, 1 obeyed."""
        ...

    @property
    def start(self) -> float:
        """Share of the sampling at which it begins."""
        ...

    @property
    def end(self) -> float:
        """Share of the sampling at which it ends."""
        ...


def applies(control: Spanned | None, progress: float) -> bool:
    """Whether a control acts in the step that begins at `progress`: 0 the first step, towards 1 the last."""
    return (
        control is not None
        and control.strength > 0
        and control.start <= progress
        and (progress < control.end or control.end == 1)
    )
