"""A model in parts, one a process: PyTorch's FSDP2 (`fully_shard`), put on from outside; models know nothing of it.

As in torchtitan's parallelize.py: a block is gathered when it is computed and freed behind it, so that a process holds
its part of weights, gradients and optimizer states, and one block. Also what tells plain tensors from parts of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.utils.checkpoint import checkpoint

from ..model.layers import Block
from .launch import Team

NORM_EPS = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class Sharding:
    """How the blocks of a sharded model are computed.

    bfloat16: matrices are gathered and multiplied in bfloat16, gradients are added up in float32; norms, modulation and
    time stay in float32. recompute: of a block only the input is kept for the backward pass. compiled: torch.compile,
    block by block.
    """

    bfloat16: bool = False
    recompute: bool = False
    compiled: bool = False


def untouched(name: str, module: nn.Module) -> None:
    """A module that needs no preparation."""


def shard(
    model: nn.Module, team: Team, sharding: Sharding = Sharding(), prepare: Callable[[str, nn.Module], None] = untouched
) -> None:
    """Leave this member its part of a model's parameters, in place: they become DTensors.

    prepare(name, module): called for each block, and last for the model ("") with all that is in no block, before its
    parameters are divided: fills modules on meta, so that no process ever holds the whole.
    """
    # It warns of operations in place behind a matrix; the models have none where gradients are taken.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(team.device.type, (team.size,))
    divided = partial(fully_shard, mesh=mesh, shard_placement_fn=partial(_placement, size=team.size))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if sharding.bfloat16 else MixedPrecisionPolicy()
    for name, block in list(model.named_modules()):
        if not isinstance(block, Block):
            continue
        prepare(name, block)
        if sharding.recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if sharding.compiled:
            block.forward = torch.compile(block.forward)
        for outer in ("before_proj", "after_proj"):  # called by the model, not by the block
            if hasattr(block, outer):
                divided(block.get_submodule(outer), mp_policy=policy)
        if sharding.bfloat16:
            linear = (m for m in block.modules() if isinstance(m, nn.Linear))
            matrices: list[nn.Module] = [m for m in linear if not isinstance(m, FSDPModule)]
            divided(matrices, mp_policy=policy)
        divided(block)
    prepare("", model)
    divided(model)
    assert isinstance(model, FSDPModule)
    # Inputs that not every batch has are embedded here; members whose batch lacks one wait for the others all the same.
    model.set_reduce_scatter_unused_params(True, recurse=False)


def _placement(parameter: nn.Parameter, size: int) -> Shard:
    """The first axis that members share evenly; else the first axis, whose rest the first members take."""
    even = (axis for axis, n in enumerate(parameter.shape) if n % size == 0)
    return Shard(next(even, 0))


def clip_grad_norm(params: Iterable[Tensor], most: float) -> Tensor:
    """torch.nn.utils.clip_grad_norm_ over all members' parts: the norm before clipping, the same for each."""
    grads = [p.grad for p in params if p.grad is not None]
    parts = [g.to_local() for g in grads if isinstance(g, DTensor)]
    square = sum((part.float().square().sum() for part in parts), torch.zeros((), device=_device_of(parts)))
    if parts:
        torch.distributed.all_reduce(square)
    norm = (square + sum(g.float().square().sum() for g in grads if not isinstance(g, DTensor))).sqrt()
    scale = (most / (norm + NORM_EPS)).clamp(max=1.0)
    for grad in grads:
        (grad.to_local() if isinstance(grad, DTensor) else grad).mul_(scale)
    return norm


def _device_of(tensors: list[Tensor]) -> torch.device:
    return tensors[0].device if tensors else torch.device("cpu")


def like(value: Tensor, part: Tensor) -> Tensor:
    """A whole tensor as `part` is divided; every member has the whole, so nothing is sent. Parts stay as they are."""
    if not isinstance(part, DTensor) or isinstance(value, DTensor):
        return value
    replicated = DTensor.from_local(value.to(part.device), part.device_mesh, [Replicate()], run_check=False)
    return replicated.redistribute(placements=part.placements)


def full(part: Tensor) -> Tensor:
    """The whole tensor of which `part` is a part; a plain tensor as it is. All members must call it together."""
    return part.full_tensor() if isinstance(part, DTensor) else part


def in_shards(saved: Mapping[str, dict], optimizer: torch.optim.Optimizer) -> dict[str, dict]:
    """An optimizer's saved state, whole or in parts, as its parameters are divided."""
    params = [p for group in optimizer.param_groups for p in group["params"]]

    def divided(number: int, value: object) -> object:
        return like(value, params[number]) if isinstance(value, Tensor) and value.ndim else value

    state = {n: {key: divided(n, value) for key, value in own.items()} for n, own in saved["state"].items()}
    return {**saved, "state": state}


def whole(state: dict) -> dict:
    """The same dicts and lists with whole tensors on the CPU in place of parts. All members must call it together."""
    return {key: _whole(value) for key, value in state.items()}


def _whole(tree: object) -> object:
    if isinstance(tree, Tensor):
        return full(tree).cpu()
    if isinstance(tree, dict):
        return whole(tree)
    return [_whole(value) for value in tree] if isinstance(tree, list) else tree


def local_bytes(tensors: Iterable[Tensor]) -> int:
    """What this member holds of them."""
    parts = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
    return sum(part.numel() * part.element_size() for part in parts)
