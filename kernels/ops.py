"""The kernels as PyTorch operators: fake shapes, closed-form gradients, fit for torch.compile(fullgraph=True).

`backend` says who computes: "reference" anywhere; "triton" on a GPU, or on a CPU under TRITON_INTERPRET=1. Plans travel
as a list of tensors in the order of PlanTensors, or of GatherTensors where a CPU computes. Who is asked is the choice
of dispatch.py; nothing falls back in here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import cpu, reference
from .lists import GatherTensors, PlanTensors


@torch.library.custom_op("vdit::block_attention", mutates_args=())
def block_attention(
    q: Tensor, k: Tensor, v: Tensor, plan: list[Tensor], block_q: int, block_k: int, padded: bool, scale: float,
    raster: bool, backend: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Attention over a plan's blocks: (out, lse [B, H, slots_q]) of q, k, v [B, H, slots, D] in tile order.

    out [B, H, slots_q, D], or with `raster` [B, tokens, H, D] in the video's own order.
    """
    p = PlanTensors(*plan)
    if backend == "triton":
        from .triton.attention import attention_forward

        tokens = (p.slot_token, len(p.token_slot)) if raster else (None, 0)
        return attention_forward(q, k, v, p, block_q, block_k, scale, padded, *tokens)
    out, lse = reference.attention(q, k, v, p, block_q, block_k, scale)
    return (out.index_select(2, p.token_slot.long()).transpose(1, 2).contiguous() if raster else out), lse


@block_attention.register_fake
def _(q, k, v, plan, block_q, block_k, padded, scale, raster, backend):
    b, h, slots, d = q.shape
    out = q.new_empty(b, len(plan[-1]), h, d) if raster else q.new_empty(q.shape)
    return out, q.new_empty(b, h, slots, dtype=reference.wide(q.dtype))


@torch.library.custom_op("vdit::block_attention_backward", mutates_args=())
def block_attention_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, plan: list[Tensor],
    block_q: int, block_k: int, padded: bool, scale: float, raster: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v; dout and out as block_attention gives out. With dlse always by the reference."""
    p = PlanTensors(*plan)
    if raster:
        dout, out = (_tiles(x, p) for x in (dout, out))
    if backend == "triton" and dlse is None:
        from .triton.attention_backward import attention_backward

        return attention_backward(dout, q, k, v, out, lse, p, block_q, block_k, scale, padded)
    return reference.attention_backward(dout, dlse, q, k, v, out, lse, p, block_q, block_k, scale)


@block_attention_backward.register_fake
def _(dout, dlse, q, k, v, out, lse, plan, block_q, block_k, padded, scale, raster, backend):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_attention(ctx, inputs, output):
    q, k, v, plan, *ctx.rest = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, *output, *plan)


def _attention_gradient(ctx, dout, dlse):
    q, k, v, out, lse, *plan = ctx.saved_tensors
    dout = torch.zeros_like(out) if dout is None else dout
    grads = block_attention_backward(dout, dlse, q, k, v, out, lse, plan, *ctx.rest)
    return *grads, [None] * len(plan), *[None] * len(ctx.rest)


block_attention.register_autograd(_attention_gradient, setup_context=_save_attention)


@torch.library.custom_op("vdit::gathered_attention", mutates_args=())
def gathered_attention(q: Tensor, k: Tensor, v: Tensor, gathers: list[Tensor], scale: float) -> tuple[Tensor, Tensor]:
    """(out, lse) on a CPU of q, k, v [B, L, H, D] in raster order, see cpu.attention; lse has no gradient."""
    return cpu.attention(q, k, v, GatherTensors(*gathers), scale)


@gathered_attention.register_fake
def _(q, k, v, gathers, scale):
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("vdit::gathered_attention_backward", mutates_args=())
def gathered_attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, gathers: list[Tensor], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v."""
    return cpu.attention_backward(dout, q, k, v, out, lse, GatherTensors(*gathers), scale)


@gathered_attention_backward.register_fake
def _(dout, q, k, v, out, lse, gathers, scale):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_gathered(ctx, inputs, output):
    q, k, v, gathers, ctx.scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, *gathers)


def _gathered_gradient(ctx, dout, _):
    q, k, v, out, lse, *gathers = ctx.saved_tensors
    grads = gathered_attention_backward(dout, q, k, v, out, lse, gathers, ctx.scale)
    return *grads, [None] * len(gathers), None


gathered_attention.register_autograd(_gathered_gradient, setup_context=_save_gathered)


@torch.library.custom_op("vdit::norm_rope_tiles", mutates_args=())
def norm_rope_tiles(
    x: Tensor, weight: Tensor | None, cos: Tensor | None, sin: Tensor | None, time_pairs: int, coords: Tensor,
    slot_token: Tensor, token_slot: Tensor, heads: int, eps: float, backend: str,
) -> Tensor:  # fmt: skip
    """RMS norm over all heads, rotation and tile permutation in one pass; see reference.norm_rope_tiles."""
    if backend == "triton":
        from .triton.norm_rope import norm_rope_to_tiles, values_to_tiles

        if weight is None or cos is None or sin is None:
            return values_to_tiles(x, x.shape[2] // heads, slot_token)
        pairs = time_pairs, (cos.shape[1] - time_pairs) // 2
        return norm_rope_to_tiles(x, weight, eps, cos, sin, pairs, coords, slot_token)
    return reference.norm_rope_tiles(x, weight, cos, sin, time_pairs, coords, slot_token, token_slot, heads, eps)


@norm_rope_tiles.register_fake
def _(x, weight, cos, sin, time_pairs, coords, slot_token, token_slot, heads, eps, backend):
    return x.new_empty(x.shape[0], heads, len(slot_token), x.shape[2] // heads)


@torch.library.custom_op("vdit::norm_rope_tiles_backward", mutates_args=())
def norm_rope_tiles_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, cos: Tensor | None, sin: Tensor | None, coords: Tensor,
    token_slot: Tensor, time_pairs: int, heads: int, eps: float,
) -> list[Tensor]:  # fmt: skip
    """[dx], or [dx, dweight]; by the reference on every device."""
    places = time_pairs, coords, token_slot
    dx, dweight = reference.norm_rope_tiles_backward(dy, x, weight, cos, sin, *places, heads, eps)
    return [dx] if weight is None or dweight is None else [dx, dweight.to(weight.dtype)]


@norm_rope_tiles_backward.register_fake
def _(dy, x, weight, cos, sin, coords, token_slot, time_pairs, heads, eps):
    return [x.new_empty(x.shape)] + ([] if weight is None else [weight.new_empty(weight.shape)])


def _save_rope(ctx, inputs, output):
    x, weight, cos, sin, time_pairs, coords, _, token_slot, heads, eps, _ = inputs
    ctx.rest = time_pairs, heads, eps
    ctx.save_for_backward(x, weight, cos, sin, coords, token_slot)


def _rope_gradient(ctx, dy):
    dx, *dweight = norm_rope_tiles_backward(dy, *ctx.saved_tensors, *ctx.rest)
    return dx, (dweight[0] if dweight else None), *[None] * 9


norm_rope_tiles.register_autograd(_rope_gradient, setup_context=_save_rope)


@torch.library.custom_op("vdit::residual_norm", mutates_args=())
def residual_norm(
    x: Tensor, y: Tensor, gate: Tensor | None, mul: Tensor, add: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Gated residual, layer norm and modulation in one pass; see reference.residual_norm."""
    if backend == "triton":
        from .triton.norm_modulate import gate_norm_modulate

        frames = max(p.shape[1] for p in (gate, mul, add) if p is not None)
        x, y = (t.unflatten(1, (frames, -1)).contiguous() for t in (x, y))
        total, normed = gate_norm_modulate(x, y, gate, mul, add, eps, affine=True)
        return total.flatten(1, 2), normed.flatten(1, 2)
    return reference.residual_norm(x, y, gate, mul, add, eps)


@residual_norm.register_fake
def _(x, y, gate, mul, add, eps, backend):
    return x.new_empty(x.shape), x.new_empty(x.shape)


@torch.library.custom_op("vdit::residual_norm_backward", mutates_args=())
def residual_norm_backward(
    dtotal: Tensor, dnormed: Tensor, total: Tensor, y: Tensor, gate: Tensor | None, mul: Tensor, add: Tensor, eps: float
) -> list[Tensor]:
    """[dx, dmul, dadd], and [dy, dgate] when there is a gate (else dy is dx); by the reference on every device."""
    dx, dy, dgate, dmul, dadd = reference.residual_norm_backward(dtotal, dnormed, total, y, gate, mul, add, eps)
    out = [dx, dmul.to(mul.dtype), dadd.to(add.dtype)]
    return out if gate is None or dgate is None else [*out, dy, dgate.to(gate.dtype)]  # no tensor may come back twice


@residual_norm_backward.register_fake
def _(dtotal, dnormed, total, y, gate, mul, add, eps):
    return [t.new_empty(t.shape) for t in (total, mul, add, *([] if gate is None else [y, gate]))]


def _save_residual(ctx, inputs, output):
    _, y, gate, mul, add, ctx.eps, _ = inputs
    ctx.save_for_backward(output[0], y, gate, mul, add)


def _residual_gradient(ctx, dtotal, dnormed):
    grads = residual_norm_backward(dtotal, dnormed, *ctx.saved_tensors, ctx.eps)
    dx, dmul, dadd, dy, dgate = grads if len(grads) == 5 else (*grads, grads[0], None)
    return dx, dy, dgate, dmul, dadd, None, None


residual_norm.register_autograd(_residual_gradient, setup_context=_save_residual)


def _tiles(x: Tensor, p: PlanTensors) -> Tensor:
    """[B, tokens, H, D] in raster order -> [B, H, slots_q, D], padding zero."""
    b, _, h, d = x.shape
    return x.new_zeros(b, h, len(p.slot_token), d).index_copy(2, p.token_slot.long(), x.transpose(1, 2))
