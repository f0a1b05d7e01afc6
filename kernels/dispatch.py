"""Who computes: dense attention by PyTorch's SDPA, sparse by Triton on a capable GPU, else by cpu.py on a CPU.

What neither can do, float64 and other devices, the chunked reference does.

A choice comes with its reason. A back end that is asked for by name and cannot run raises; nothing quantised is ever
chosen by itself. Importing this touches no driver and no triton: a missing or broken triton costs its kernels only.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from . import cpu, ops
from .compiled import constant_when_compiled
from .grid import Grid, TileOrder, raster_order, to_tiles
from .lists import GatherTensors
from .plan import BlockPlan, describe
from .shared import SharedPlan
from .shared import attention as shared_attention

# int8: Triton with 8-bit q and k, for inference, on request.
BACKENDS = ("auto", "sdpa", "triton", "int8", "cpu", "reference")
HEAD_DIMS = (64, 128)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

log = logging.getLogger("vdit.kernels")


def choose(
    plan: BlockPlan | None, device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto"
) -> tuple[str, str]:
    """(back end, reason) for attention under a plan; None is full attention.

    Raises ValueError on an unknown name, RuntimeError when the named back end cannot run here, with the reason.
    """
    if backend not in BACKENDS:
        raise ValueError(f"attention back end {backend!r}; expected one of {', '.join(BACKENDS)}")
    full = plan is None or plan.is_full
    if backend == "auto":
        if full:
            return "sdpa", "every token sees every token: PyTorch's own dense attention is the fastest there is"
        name, reason = "triton", "sparse, on a GPU that the kernels serve"
        if missing := _triton_misses(device, dtype, head_dim):
            name, reason = "reference" if cpu.misses(device, dtype) else "cpu", missing
        if not torch.compiler.is_compiling():
            _say(plan, name, reason)
        return name, reason
    if backend == "sdpa" and plan is not None and not full:
        raise RuntimeError(f"attention back end sdpa sees every token, the plan does not ({describe(plan.pattern)})")
    if backend in ("triton", "int8"):
        missing = _triton_misses(device, dtype, head_dim, forced=True)
        if not missing and plan is None:
            missing = "it needs a plan"
        if missing:
            raise RuntimeError(f"attention back end {backend} cannot run: {missing}; choose auto")
    if backend in ("cpu", "reference"):
        missing = cpu.misses(device, dtype) if backend == "cpu" else ""
        if missing or plan is None:
            raise RuntimeError(f"attention back end {backend} cannot run: {missing or 'it needs a plan'}; choose auto")
    return backend, "asked for by name"


def attention(
    q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan | SharedPlan | None = None, scale: float | None = None,
    backend: str = "auto",
) -> Tensor:  # fmt: skip
    """Attention of q, k, v [B, L, heads, D] in raster order under a plan: [B, L, heads, D].

    A shared plan takes and gives the tokens of this process's rows. scale: 1 / sqrt(D) when None. Raises ValueError
    when tokens do not fit the plan, and as choose does.
    """
    if isinstance(plan, SharedPlan):
        return shared_attention(q, k, v, plan, partial(attention, scale=scale, backend=backend))
    if plan is None and backend == "auto":
        return dense(*(x.transpose(1, 2) for x in (q, k, v)), scale=scale).transpose(1, 2)
    name, _ = choose(plan, q.device, q.dtype, q.shape[-1], backend)
    if plan is not None:
        _check(q, k, plan)
    if name == "sdpa" or plan is None:
        return attention(q, k, v, None, scale)
    if name == "cpu":
        return _gathered(q, k, v, plan, scale)
    plan = _here(plan, q.device)
    tiles = to_tiles(q, plan.order_q), to_tiles(k, plan.order_k), to_tiles(v, plan.order_k)
    return _blocks(*tiles, plan, scale, name)


def dense(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention of q on all keys, tensors [B, heads, L, D], bias added to the scores: PyTorch's SDPA.

    Training in bfloat16 on a CPU takes two matrix products instead: forward and backward together in .43 of SDPA's time
    at 176 tokens, .28 at 15 keys (one core of an EPYC of 2023).
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-1, -2)
    scores = scores if bias is None else scores + bias
    return scores.float().softmax(-1).to(v.dtype) @ v


def fuses(x: Tensor, head_dim: int) -> bool:
    """Whether the fused kernels run for a tensor like x: a GPU that Triton can serve."""
    return x.device.type == "cuda" and not _triton_misses(x.device, x.dtype, head_dim)


def norm_rope_attention(
    q: Tensor, k: Tensor, v: Tensor, norm_q: Tensor, norm_k: Tensor, eps: float, rope: tuple[Tensor, Tensor, int],
    grid: Grid, plan: BlockPlan | SharedPlan | None = None, backend: str = "auto", fused: str = "triton",
) -> Tensor:  # fmt: skip
    """Self-attention from projections [B, L, heads * D], the fused way: norm, rotation and tiles in one pass each.

    norm_q, norm_k [heads * D]: RMS norm weights; rope: cos and sin [places, D / 2] and the pairs that turn with time.
    fused: "triton", for which fuses(q) must hold, or "reference". Returns [B, L, heads, D].
    """
    cos, sin, time_pairs = rope
    d = 2 * cos.shape[1]

    def tiles(x: Tensor, weight: Tensor | None, order: TileOrder) -> Tensor:
        table = (None, None) if weight is None else (cos, sin)
        places = order.coords, order.slot_token, order.token_slot
        return ops.norm_rope_tiles(x, weight, *table, time_pairs, *places, x.shape[2] // d, eps, fused)

    if isinstance(plan, SharedPlan):
        order = plan.own_order.to(q.device)
        q, k = (tiles(x, weight, order).transpose(1, 2) for x, weight in ((q, norm_q), (k, norm_k)))
        return attention(q, k, v.unflatten(-1, (-1, d)), plan, None, backend)
    name, _ = choose(plan, q.device, q.dtype, d, backend)
    if name == "sdpa" or plan is None:
        order = raster_order(grid, q.device)
        q, k = tiles(q, norm_q, order), tiles(k, norm_k, order)
        return F.scaled_dot_product_attention(q, k, v.unflatten(-1, (-1, d)).transpose(1, 2)).transpose(1, 2)
    _check(q, k, plan)
    if name == "cpu":
        q, k = (
            tiles(x, weight, order.to(x.device).in_raster()).transpose(1, 2)
            for x, weight, order in ((q, norm_q, plan.order_q), (k, norm_k, plan.order_k))
        )
        return _gathered(q, k, v.unflatten(-1, (-1, d)), plan, None)
    plan = _here(plan, q.device)
    q, k = tiles(q, norm_q, plan.order_q), tiles(k, norm_k, plan.order_k)
    return _blocks(q, k, tiles(v, None, plan.order_k), plan, None, name)


def residual_norm(
    x: Tensor, y: Tensor, gate: Tensor | None, mul: Tensor, add: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """(x + gate y, layer_norm(x + gate y) mul + add) in one pass; needs fuses(x). See reference.residual_norm."""
    return ops.residual_norm(x, y, gate, mul, add, eps, "triton")


def _blocks(q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan, scale: float | None, name: str) -> Tensor:
    """Tiles [B, heads, slots, D] -> raster [B, L, heads, D]."""
    scale = float(q.shape[-1] ** -0.5) if scale is None else scale
    if name == "int8":
        return _int8(q, k, v, plan, scale)
    lists = list(plan.tensors)
    return ops.block_attention(q, k, v, lists, plan.block_q, plan.block_k, plan.padded, scale, True, name)[0]


def _gathered(q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan, scale: float | None) -> Tensor:
    """Raster [B, L, heads, D] on a CPU -> the same."""
    scale = float(q.shape[-1] ** -0.5) if scale is None else scale
    return ops.gathered_attention(q, k, v, list(_gathers(plan)), scale)[0]


@constant_when_compiled
def _gathers(plan: BlockPlan) -> GatherTensors:
    return plan.gathers


def _int8(q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan, scale: float) -> Tensor:
    from .triton.attention_int8 import attention_int8

    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise RuntimeError("attention back end int8 has no gradient: it is for inference; choose auto for training")
    p = plan.tensors
    more = {"padded": plan.padded, "slot_token": p.slot_token, "tokens": len(p.token_slot)}
    return attention_int8(q, k, v, p, plan.block_q, plan.block_k, scale, **more)


def _here(plan: BlockPlan, device: torch.device) -> BlockPlan:
    """The plan on the device. Moving costs a copy a call: ask plan() for the device in the first place."""
    return plan if plan.tensors.kv_len.device == device else plan.to(device)


def _check(q: Tensor, k: Tensor, plan: BlockPlan) -> None:
    want = plan.order_q.grid.tokens, plan.order_k.grid.tokens
    if (q.shape[1], k.shape[1]) != want:
        raise ValueError(
            f"{q.shape[1]} queries and {k.shape[1]} keys; the plan is for {want[0]} and {want[1]}: "
            f"grids of {plan.order_q.grid} and {plan.order_k.grid} tokens"
        )


def _triton_misses(device: torch.device, dtype: torch.dtype, head_dim: int, forced: bool = False) -> str:
    """Why the Triton kernels cannot serve such tensors; "" when they can."""
    if device.type != "cuda" and not (forced and os.environ.get("TRITON_INTERPRET") == "1"):
        return f"the Triton kernels run on an NVIDIA or AMD GPU, the tensors are on {device.type}"
    if head_dim not in HEAD_DIMS:
        return f"the Triton kernels are built for heads of {HEAD_DIMS[0]} and {HEAD_DIMS[1]} channels, not {head_dim}"
    if dtype not in DTYPES:
        return f"the Triton kernels take half, bfloat16 and float32, not {dtype}"
    return _triton_broken() or (_gpu_misses(device.index) if device.type == "cuda" else "")


@lru_cache(maxsize=64)
def _say(plan: BlockPlan, name: str, reason: str) -> None:
    """Tells the log once."""
    log.info("attention: %s; computed by %s: %s", plan.explain(), name, reason)


@constant_when_compiled
@lru_cache(maxsize=1)
def _triton_broken() -> str:
    """Imports the kernels once; any failure is a reason, not an error: the pack works without them."""
    try:
        from .triton import attention, attention_backward, norm_modulate, norm_rope  # noqa: F401
    except Exception as e:  # noqa: BLE001  a broken installation raises anything
        return f"triton cannot be used here ({type(e).__name__}: {e})"
    return ""


@constant_when_compiled
@lru_cache(maxsize=16)
def _gpu_misses(index: int | None) -> str:
    if torch.version.hip is not None:
        return ""
    major, minor = torch.cuda.get_device_capability(index)
    if major >= 8:
        return ""
    return f"the Triton kernels need compute capability 8.0, {torch.cuda.get_device_name(index)} has {major}.{minor}"
