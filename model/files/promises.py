"""Modules that a file's header asks for, built without memory and only as many as the file has tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

_IN_PLACE = (torch.Tensor.div_, torch.Tensor.mul_)


class _Uninitialised(TorchFunctionMode):
    """Leaves out torch.nn.init, random numbers and their scaling: without values they only import torch._dynamo or
    SymPy, up to a second in which nobody can cancel.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204  as PyTorch calls it
        """The tensor as it is, for a function of torch.nn.init and in-place scaling; an empty one for torch.randn."""
        if getattr(func, "__module__", "") == "torch.nn.init" or func in _IN_PLACE:
            return args[0] if args else (kwargs or {})["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """Modules made in the block have shapes but no values: device "meta"."""
    with torch.device("meta"), _Uninitialised():
        yield


@contextmanager
def on_paper(most: int, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """As without_values. ValueError beyond `most` parameters. check: as in asked_while_built."""
    count = 0

    def counted() -> None:
        nonlocal count
        check()
        count += 1
        if count > most:
            raise ValueError(f"its sizes ask for more than {most:,} tensors, as many as the file holds")

    with asked_while_built(counted), without_values():
        yield


@contextmanager
def asked_while_built(check: Callable[[], None]) -> Iterator[None]:
    """In the block, check is called for each parameter of the modules that this thread makes; may raise to cancel."""
    thread = threading.get_ident()

    def ask(module: nn.Module, name: str, parameter: object) -> None:
        if threading.get_ident() == thread:
            check()

    hook = register_module_parameter_registration_hook(ask)
    try:
        yield
    finally:
        hook.remove()
