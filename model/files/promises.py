"""Modules that a file's header asks for, built without memory and only as many as the file has tensors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode


class _Uninitialised(TorchFunctionMode):
    """Leaves out torch.nn.init: without values it only imports torch._dynamo, a second in which nobody can cancel."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204  as PyTorch calls it
        """The tensor as it is, for a function of torch.nn.init."""
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def on_paper(most: int) -> Iterator[None]:
    """Modules made in the block have shapes but no values (device "meta"). ValueError beyond `most` parameters."""
    thread, count = threading.get_ident(), 0

    def counted(module: nn.Module, name: str, parameter: object) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > most:
                raise ValueError(f"its sizes ask for more than {most:,} tensors, as many as the file holds")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"), _Uninitialised():
            yield
    finally:
        hook.remove()
