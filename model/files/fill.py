"""Modules on the meta device, filled with a file's tensors: as stored where the form is right, else decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .families import Shapes
from .quantized import StoredLinear
from .sources import DTYPES
from .weights import WeightFile

# Wan computes these in float32, whatever the dtype of the rest; rounding them changes the picture.
FLOAT32 = re.compile(r"(^|\.)(norm\w*|modulation|time_embedding|time_projection|delta_embedder|fps_\w+)(\.|$)")


SAMPLE = 256  # values at each end of a matrix: a page or less

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Difference(NamedTuple):
    """Between the tensors of a file and those of a module."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]  # present with another shape


def compare(found: Shapes, wanted: Shapes) -> Difference:
    """The tensors of a file against the wanted names and shapes."""
    return Difference(
        [n for n in wanted if n not in found],
        [n for n in found if n not in wanted],
        [n for n, shape in wanted.items() if n in found and found[n] != tuple(shape)],
    )


def check_names(path: Path, found: Shapes, wanted: Shapes, what: str) -> None:
    """CheckpointError that counts and names tensors which are missing, unexpected, or of another shape than wanted."""
    missing, extra, misshapen = compare(found, wanted)
    if missing or extra:
        groups = (("missing", missing), ("unexpected", extra))
        parts = [f"{len(names)} {word} tensors (first {names[0]})" for word, names in groups if names]
        raise CheckpointError(f"{path}: {' and '.join(parts)} for {what}; the file is incomplete or of another model")
    for name in misshapen:
        raise CheckpointError(f"{path}: {name} has shape {found[name]}; {what} has {tuple(wanted[name])}")


def fill(
    module: AnyModule,
    weights: WeightFile,
    dtype: torch.dtype,
    what: str,
    *,
    float32: re.Pattern = FLOAT32,
    renamed: Callable[[str], str] = lambda name: name,
    check: Callable[[], None] = lambda: None,
) -> AnyModule:
    """Gives a module on meta the file's tensors; matrices keep the file's form where that is no larger.

    dtype: what activations will be in; names that `float32` finds compute in float32. renamed: name in the module ->
    name in the file. check: called for each tensor, may raise to cancel. Raises CheckpointError before data is read.
    """
    state = module.state_dict()
    weights.check_readable()
    check_names(
        weights.path, weights.shapes, {renamed(name): tuple(value.shape) for name, value in state.items()}, what
    )
    filled: dict[str, Tensor] = {}
    for name in state:
        check()
        wanted = torch.float32 if float32.search(name) else dtype
        owner, _, leaf = name.rpartition(".")
        linear = leaf == "weight" and isinstance(module.get_submodule(owner), nn.Linear)
        if linear and _stays(weights, renamed(name), wanted):
            scale = weights.scale(renamed(name))
            _replace(module, owner, weights.dtypes[renamed(name)], None if scale is None else scale.shape)
            filled[name] = weights.tensor(renamed(name))
            if scale is not None:
                filled[owner + ".scale"] = scale
        else:
            filled[name] = weights.tensor(renamed(name), wanted)
    check_varies(weights.path, filled)
    module.load_state_dict(filled, assign=True)
    return weights.guarded(module).requires_grad_(False).eval()


def check_varies(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """CheckpointError for a file all of whose matrices hold one value each, by their first and last values.

    A few matrices of zeros are usual: branches that begin without influence.
    """
    matrices = {name: value for name, value in tensors.items() if value.ndim > 1 and value.numel() > 1}
    for value in matrices.values():
        ends = value.detach().flatten()  # mapped: only these pages are read
        ends = torch.cat((ends[:SAMPLE], ends[-SAMPLE:])).float()
        if (ends != ends[0]).any():
            return
    if matrices:
        name, value = next(iter(matrices.items()))
        raise CheckpointError(
            f"{path}: every one of its {len(matrices)} matrices holds a single value ({name}: "
            f"{value.flatten()[0].item() + 0.0:g}): the file was written without its weights, get it again"
        )


def _stays(weights: WeightFile, name: str, wanted: torch.dtype) -> bool:
    """Whether a matrix is kept as stored: not in the wanted dtype, and no smaller if it were."""
    now = DTYPES.get(weights.dtypes[name])
    return now is None or (now != wanted and now.itemsize <= wanted.itemsize)


def _replace(module: nn.Module, name: str, stored: str, scale: tuple[int, ...] | None) -> None:
    old = cast(nn.Linear, module.get_submodule(name))
    new = StoredLinear((old.out_features, old.in_features), old.bias is not None, stored, scale)
    module.set_submodule(name, new)
