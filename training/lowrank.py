"""Training in few ranks (LoRA, arXiv 2106.09685): matrices stay as they are, and a product of two small ones is added
to each.

A student so made is its teacher and a file a tenth as large.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..model.student import CONTROLS, in_ranks


class LowRank(nn.Module):
    """A weight plus up @ down, in its shape."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The sum, for torch's parametrizations."""
        return weight + (self.up @ self.down).view_as(weight)


class LowRankLinear(nn.Module):
    """A linear layer that stays as it is, plus up @ down: as LoRA files have it."""

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        return self.base(x) + self.up(self.down(x))


def with_low_rank(model: nn.Module, rank: int) -> nn.Module:
    """Let the matrices of a model's blocks (attention, feed-forward) change in so many ranks only, and nothing else. In
    place. Raises ValueError for a rank below 1."""
    if rank < 1:
        raise ValueError(f"rank is {rank}; expected 1 or more")
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and "blocks." in name and ("attn." in name or ".ffn." in name):
            model.set_submodule(name, LowRankLinear(module, rank))
    return model


def lora_names(name: str) -> str:
    """The name in a LoRA file, as ComfyUI and diffusers read it, of a LowRankLinear's parameter."""
    module, _, matrix = name.removesuffix(".weight").rpartition(".")
    return f"diffusion_model.{module}.lora_{'A' if matrix == 'down' else 'B'}.weight"


def add_ranks(model: nn.Module, rank: int) -> nn.Module:
    """Let a model's matrices and convolutions change in so many ranks only, and those that read controls not at all. In
    place; its outputs stay the same. Raises ValueError for a rank below 1."""
    if rank < 1:
        raise ValueError(f"rank is {rank}; expected 1 or more")
    for name, module in list(model.named_modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and in_ranks(weight, rank) and not name.startswith(CONTROLS):
            parametrize.register_parametrization(module, "weight", LowRank(weight, rank))
    return model


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, by name: all, where no ranks were added."""
    if not any(parametrize.is_parametrized(module) for module in model.modules()):
        return dict(model.named_parameters())
    return {n: p for n, p in model.named_parameters() if not n.endswith(".original") and not n.startswith(CONTROLS)}


def merged(model: nn.Module) -> nn.Module:
    """The model with the products added into its matrices, in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model
