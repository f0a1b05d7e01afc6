"""Students of VDiT's own: flow maps that begin as their teacher, and what their files hold, which is what is added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .vdit import VDiT

DOWN, UP, WHOLE = (
    ".lora_A.weight",
    ".lora_B.weight",
    ".diff",
)  # behind a module's name; a tensor's: the names LoRAs have
LOST = 1e-4  # share of what a student adds, squared, that may lie outside of its ranks: rounding
CONTROLS = ("vace_", "control_adapter.")  # begin the names of what reads controls, which stays the teacher's


def kept_layers(layers: int, count: int, needed: Sequence[int]) -> list[int]:
    """`count` of 0..layers-1: the needed ones, the last, then always the one farthest from those; ValueError if too few."""
    if not len(set(needed)) <= count <= layers:
        raise ValueError(f"a student of {count} layers; expected {len(set(needed)) or 1} to the teacher's {layers}")
    kept = list(dict.fromkeys((*needed, layers - 1, 0)))[:count]
    while len(kept) < count:
        kept.append(max((i for i in range(layers) if i not in kept), key=lambda i: min(abs(i - k) for k in kept)))
    return sorted(kept)


def from_teacher(teacher: VDiT, layers: int | None = None) -> VDiT:
    """A student with the teacher's weights, all its layers or fewer; with all, at target = sigma, it is the teacher."""
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
    """Whether what is added to a weight is a product of two matrices of so many ranks, and not whole."""
    return weight.ndim > 1 and min(len(weight), weight[0].numel()) > rank


def additions(base: Mapping[str, Tensor], rank: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what a file holds of a student in so many ranks, beside what it begins as."""
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
    """What a student's weights are beside `base`, by the names of `additions`. Raises ValueError where they differ in more."""
    found, kept, power = {}, 0.0, 0.0
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
    if kept < (1 - LOST) * power:
        raise ValueError(
            f"the student is not the teacher beside it and {rank} ranks: {1 - kept / power:.1%} of what it adds would be lost; "
            "distil it with --rank, from this very file of its teacher"
        )
    return found


def with_added(base: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a student: `base` and what its file holds beside it."""
    out = {}
    for name, weight in base.items():
        module = name.removesuffix(".weight")
        if module + UP in found:
            weight = weight + (found[module + UP] @ found[module + DOWN]).view_as(weight)
        elif name + WHOLE in found:
            weight = weight + found[name + WHOLE]
        out[name] = weight
    return out
