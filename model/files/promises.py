"""Modules that a file's header asks for, built without memory and only as many as the file has tensors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


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
        with torch.device("meta"):
            yield
    finally:
        hook.remove()
