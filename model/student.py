"""Distilled students: flow maps initialised from their teacher, stored in files as low-rank differences from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .vdit import VDiT

# Suffixes of a module's or tensor's name, as in LoRA files: factors of a matrix's difference, or the whole difference.
DOWN, UP, WHOLE = ".lora_A.weight", ".lora_B.weight", ".diff"
MAX_LOSS = 1e-4  # share of the squared difference that may lie outside of the ranks: rounding
CONTROLS = ("vace_", "control_adapter.")  # prefixes of the tensors that read controls, which stay the teacher's


def kept_layers(layers: int, count: int, needed: Sequence[int]) -> list[int]:
    """`count` of the layers 0..layers-1 for a student: the needed ones, the last, the first, then those farthest apart.

    Raises ValueError if count is less than the needed ones or more than layers.
    """
    if not len(set(needed)) <= count <= layers:
        raise ValueError(f"a student of {count} layers; expected {len(set(needed)) or 1} to the teacher's {layers}")
    kept = list(dict.fromkeys((*needed, layers - 1, 0)))[:count]
    while len(kept) < count:
        kept.append(max((i for i in range(layers) if i not in kept), key=lambda i: min(abs(i - k) for k in kept)))
    return sorted(kept)


def from_teacher(teacher: VDiT, layers: int | None = None) -> VDiT:
    """A student with the weights of all or of so many layers; with all, it equals the teacher at target = sigma."""
    c = teacher.config
    kept = kept_layers(c.layers, layers or c.layers, c.vace_layers)
    config = replace(c, layers=len(kept), vace_layers=tuple(kept.index(n) for n in c.vace_layers), flow_map=True)
    weights = {}
    for name, value in teacher.state_dict().items():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            if int(layer) not in kept:
                continue
            name = f"blocks.{kept.index(int(layer))}.{rest}"
        weights[name] = value.clone()
    for name in [n for n in weights if n.startswith("time_embedding.")]:
        weights.setdefault(name.replace("time_embedding", "delta_embedder"), weights[name].clone())
    student = VDiT(config)
    student.load_state_dict(weights)
    return student


def in_ranks(weight: Tensor, rank: int) -> bool:
    """Whether the difference of a weight is stored as factors of this rank, not whole."""
    return weight.ndim > 1 and min(len(weight), weight[0].numel()) > rank


def additions(base: Mapping[str, Tensor], rank: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that store a student's difference from `base`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, weight in base.items():
        if name.startswith(CONTROLS):
            continue
        if in_ranks(weight, rank):
            module = name.removesuffix(".weight")
            shapes |= {module + DOWN: (rank, weight[0].numel()), module + UP: (len(weight), rank)}
        else:
            shapes[name + WHOLE] = tuple(weight.shape)
    return shapes


def added(student: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The difference of a student's weights from `base`, named as in `additions`. ValueError for a higher rank."""
    found, kept, power = {}, 0.0, 0.0  # kept, power: squared norms of what is stored and of the whole difference
    for name, weight in base.items():
        change = student[name] - weight
        size = float(change.square().sum())
        power += size
        if name.startswith(CONTROLS):
            continue
        kept += size
        if in_ranks(weight, rank):
            u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
            module, half = name.removesuffix(".weight"), s[:rank].sqrt()
            found |= {module + DOWN: half[:, None] * v[:rank], module + UP: u[:, :rank] * half}
            kept -= float(s[rank:].square().sum())
        else:
            found[name + WHOLE] = change
    if kept < (1 - MAX_LOSS) * power:
        raise ValueError(
            f"the student differs from the teacher in more than {rank} ranks: {1 - kept / power:.1%} of the difference "
            "would be lost; distil it with --rank, from this very file of its teacher"
        )
    return found


def with_added(base: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a student: `base` plus the stored difference."""
    out = {}
    for name, weight in base.items():
        module = name.removesuffix(".weight")
        if module + UP in found:
            weight = weight + (found[module + UP] @ found[module + DOWN]).view_as(weight)
        elif name + WHOLE in found:
            weight = weight + found[name + WHOLE]
        out[name] = weight
    return out
