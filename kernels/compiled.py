"""A mark for torch.compile that costs nothing where nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Marked = TypeVar("Marked", bound=Callable[..., object])


def constant_when_compiled(function: Marked) -> Marked:
    """torch.compiler.assume_constant_result: torch.compile takes the result for a constant of the graph.

    The original imports torch._dynamo, over a second of processor time in each process, to set this attribute.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
