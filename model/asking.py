"""Networks that ask before every layer whether the work was cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def asking(networks: Iterable[nn.Module | None], check: Callable[[], None]) -> Iterator[None]:
    """In the block, each layer of the networks calls `check` before it computes; check may raise to cancel.

    Values do not change. What is compiled by torch.compile asks only between its graphs.
    """
    import torch

    def ask(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not torch.compiler.is_compiling():
            check()

    layers = {layer for network in networks if network is not None for layer in network.modules()}
    handles = [layer.register_forward_pre_hook(ask) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
