"""The specification in eager torch: what every back end must compute, forward and backward, in closed form.

Works in float64 for float64 input and in float32 else, rounds once, and goes over the queries in chunks, so that a
30,000-token video fits in memory. On a CPU it is also the sparse back end: it multiplies only the listed blocks.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from .grid import FAR, unpack
from .lists import PlanTensors

CHUNK = 1 << 20  # logits at a time, 4 MB in float32: stays in a CPU's cache and keeps its matrix products large


def wide(dtype: torch.dtype) -> torch.dtype:
    """What a result in `dtype` is worked out in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def attention(
    q: Tensor, k: Tensor, v: Tensor, plan: PlanTensors, block_q: int, block_k: int, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v over the visible keys: out [B, H, slots_q, D] and its logsumexp [B, H, slots_q], natural.

    q [B, H, slots_q, D], k and v [B, H, slots_k, D], in tile order. Rows that see no key, and padding: 0 and -inf.
    """
    dtype = wide(q.dtype)
    out, lse = q.new_zeros(q.shape), q.new_full(q.shape[:3], float("-inf"), dtype=dtype)
    qs, ks, vs = _blocked(q, block_q), _blocked(k, block_k), _blocked(v, block_k)
    outs, lses = _blocked(out, block_q), lse.unflatten(2, (-1, block_q))
    for rows, keys, hidden in _chunks(plan, block_q, block_k, q.shape[0] * q.shape[1]):
        s = _logits(qs, ks, rows, keys, hidden, scale, dtype)
        top = s.amax(-1, keepdim=True).clamp_min(torch.finfo(dtype).min)  # finite where no key is seen
        p = s.sub_(top).exp_()
        total = p.sum(-1, keepdim=True)
        y = p @ vs[:, :, keys].flatten(3, 4).to(dtype)
        outs[:, :, rows] = (y / total.clamp_min(torch.finfo(dtype).tiny)).to(q.dtype)
        lses[:, :, rows] = (top + total.log()).squeeze(-1)
    padding = plan.coords_q < 0
    return out.masked_fill_(padding[:, None], 0), lse.masked_fill_(padding, float("-inf"))


def attention_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    plan: PlanTensors, block_q: int, block_k: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v. With P the softmax: dV = P^T dO, dS = P (dO V^T - rowsum(dO O) + dlse), dQ = scale dS K."""
    dtype = wide(q.dtype)
    delta = (dout.to(dtype) * out.to(dtype)).sum(-1)
    if dlse is not None:
        delta = delta - dlse
    lse = lse.to(dtype).masked_fill(lse == float("-inf"), float("inf"))  # rows that see nothing: P is 0
    dq, dk, dv = (torch.zeros(x.shape, dtype=dtype, device=x.device) for x in (q, k, v))
    qs, ks, vs, douts = _blocked(q, block_q), _blocked(k, block_k), _blocked(v, block_k), _blocked(dout, block_q)
    dqs, dks, dvs = _blocked(dq, block_q), _blocked(dk, block_k), _blocked(dv, block_k)
    for rows, keys, hidden in _chunks(plan, block_q, block_k, q.shape[0] * q.shape[1]):
        p = _logits(qs, ks, rows, keys, hidden, scale, dtype)
        p = p.sub_(lse.unflatten(2, (-1, block_q))[:, :, rows, :, None]).exp_()
        do = douts[:, :, rows].to(dtype)
        dp = do @ vs[:, :, keys].flatten(3, 4).to(dtype).mT
        ds = dp.sub_(delta.unflatten(2, (-1, block_q))[:, :, rows, :, None]).mul_(p).mul_(scale)
        dqs[:, :, rows] = ds @ ks[:, :, keys].flatten(3, 4).to(dtype)
        flat = keys.flatten()
        dks.index_add_(2, flat, (ds.mT @ qs[:, :, rows].to(dtype)).unflatten(3, (-1, block_k)).flatten(2, 3))
        dvs.index_add_(2, flat, (p.mT @ do).unflatten(3, (-1, block_k)).flatten(2, 3))
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def norm_rope_tiles(
    x: Tensor, weight: Tensor | None, cos: Tensor | None, sin: Tensor | None, time_pairs: int, coords: Tensor,
    slot_token: Tensor, token_slot: Tensor, heads: int, eps: float,
) -> Tensor:  # fmt: skip
    """[B, L, heads * D] -> [B, heads, slots, D] in tile order: RMS norm over all channels, rotation, permutation.

    weight [heads * D] or None (no norm); cos, sin [places, D / 2] or None (no rotation): an interleaved pair turns by
    its token's place in time (the first time_pairs), height (half of the rest) or width; coords, slot_token [slots] and
    token_slot [L] as in TileOrder. Padding slots are zero.
    """
    y = x.to(wide(x.dtype))
    if weight is not None:
        y = y * (y.square().mean(-1, keepdim=True) + eps).rsqrt() * weight
    y = _turn(y.unflatten(-1, (heads, -1)), cos, sin, time_pairs, coords, token_slot).to(x.dtype)
    out = x.new_zeros(x.shape[0], heads, len(slot_token), y.shape[-1])
    return out.index_copy(2, token_slot.long(), y.transpose(1, 2))


def norm_rope_tiles_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, cos: Tensor | None, sin: Tensor | None, time_pairs: int,
    coords: Tensor, token_slot: Tensor, heads: int, eps: float,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Gradients of x and of the weight (in the wide type): turn back, then the RMS norm's own."""
    dtype = wide(x.dtype)
    g = dy.index_select(2, token_slot.long()).transpose(1, 2).to(dtype)
    g = _turn(g, cos, None if sin is None else -sin, time_pairs, coords, token_slot).flatten(-2)
    if weight is None:
        return g.to(x.dtype), None
    rstd = (x.to(dtype).square().mean(-1, keepdim=True) + eps).rsqrt()
    unit = x.to(dtype) * rstd
    dweight = (g * unit).sum((0, 1))
    g = g * weight
    return (rstd * (g - unit * (g * unit).mean(-1, keepdim=True))).to(x.dtype), dweight


def residual_norm(
    x: Tensor, y: Tensor, gate: Tensor | None, mul: Tensor, add: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """(x + gate y, layer_norm(x + gate y) mul + add), both [B, L, C]; gate None is 1.

    x, y [B, L, C] frame after frame; gate, mul, add [B or 1, T or 1, C], one for each frame of L / T tokens.
    """
    dtype, frames = wide(x.dtype), _frames(gate, mul, add)
    y = _split(y, frames).to(dtype)
    rest = _split(x, frames).to(dtype)
    total = rest + y if gate is None else torch.addcmul(rest, y, gate[:, :, None].to(dtype))
    normed = F.layer_norm(total, total.shape[-1:], eps=eps)
    normed = torch.addcmul(add[:, :, None].to(dtype), normed, mul[:, :, None].to(dtype))
    return total.flatten(1, 2).to(x.dtype), normed.flatten(1, 2).to(x.dtype)


def residual_norm_backward(
    dtotal: Tensor, dnormed: Tensor, total: Tensor, y: Tensor, gate: Tensor | None, mul: Tensor, add: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of x, y, gate, mul, add (the last three in the wide type) from residual_norm's saved sum."""
    dtype, given, frames = wide(total.dtype), y.dtype, _frames(gate, mul, add)
    dtotal, dnormed, s, y = (_split(t, frames).to(dtype) for t in (dtotal, dnormed, total, y))
    s = s - s.mean(-1, keepdim=True)
    rstd = (s.square().mean(-1, keepdim=True) + eps).rsqrt()
    unit = s * rstd
    g = dnormed * mul[:, :, None]
    dx = dtotal + rstd * (g - g.mean(-1, keepdim=True) - unit * (g * unit).mean(-1, keepdim=True))
    dgate = _sum_like(gate, dx * y) if gate is not None else None
    dy = dx * gate[:, :, None] if gate is not None else dx
    dmul, dadd = _sum_like(mul, dnormed * unit), _sum_like(add, dnormed.clone())
    return dx.flatten(1, 2).to(total.dtype), dy.flatten(1, 2).to(given), dgate, dmul, dadd


def _blocked(x: Tensor, block: int) -> Tensor:
    return x.unflatten(2, (-1, block))


def _chunks(
    plan: PlanTensors, block_q: int, block_k: int, heads: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """(query blocks [R], their key blocks [R, N], hidden [R, block_q or 1, N * block_k] or None), a few rows at a time.

    Rows with equally long lists go together, so that nothing is padded; rows without keys do not come at all.
    """
    full, part = plan.full_ptr.diff(), plan.part_ptr.diff()
    kinds = torch.stack((full, part), 1)
    for n_full, n_part in torch.unique(kinds, dim=0).tolist():
        n = n_full + n_part
        if not n:
            continue
        rows = ((full == n_full) & (part == n_part)).nonzero().squeeze(1)
        for some in rows.split(max(1, CHUNK // (heads * block_q * n * block_k))):
            of = [
                ptr[some].long()[:, None] + torch.arange(count, device=some.device)
                for ptr, count in ((plan.full_ptr, n_full), (plan.part_ptr, n_part))
            ]
            whole, partial = plan.full_idx[of[0]].long(), plan.part_idx[of[1]].long()
            yield some, torch.cat((whole, partial), 1), hidden_keys(plan, some, whole, partial, block_q, block_k)


def hidden_keys(
    plan: PlanTensors, rows: Tensor, whole: Tensor, partial: Tensor, block_q: int, block_k: int
) -> Tensor | None:
    """bool [R, block_q or 1, N * block_k]: keys that query blocks `rows` [R] do not see; None: they see all.

    whole [R, n], partial [R, m]: numbers of the listed key blocks, N = n + m.
    """
    columns = torch.arange(block_k, device=rows.device)
    hidden = (columns >= plan.kv_len[whole][..., None]).flatten(1)[:, None]  # [R, 1, n * block_k]
    if partial.shape[1]:
        unseen = _unseen(plan, rows, partial, block_q, block_k)
        return torch.cat((hidden.expand(-1, block_q, -1), unseen), 2) if whole.shape[1] else unseen
    return hidden if hidden.any() else None


def _unseen(plan: PlanTensors, rows: Tensor, keys: Tensor, block_q: int, block_k: int) -> Tensor:
    """bool [R, block_q, N * block_k]: no box of a partial block shows this key to this query."""
    q = unpack(plan.coords_q.view(-1, block_q)[rows][:, :, None])
    k = unpack(plan.coords_k.view(-1, block_k)[keys].flatten(1)[:, None])
    real = plan.coords_k.view(-1, block_k)[keys].flatten(1)[:, None] >= 0
    visible = []
    for *reach, causal in plan.boxes.tolist():
        box = real
        for axis, r in enumerate(reach):  # bounds are small tensors: two comparisons an axis are all that is large
            low, high = q[axis] - r, q[axis] if causal and axis == 0 else q[axis] + r
            box = box & (k[axis] >= low) if r < FAR else box
            box = box & (k[axis] <= high) if r < FAR or (causal and axis == 0) else box
        visible.append(box)
    return ~reduce(operator.or_, visible).expand(-1, block_q, -1)


def _logits(qs: Tensor, ks: Tensor, rows: Tensor, keys: Tensor, hidden: Tensor | None, scale: float, dtype) -> Tensor:
    """Scaled logits [B, H, R, block_q, N * block_k], -inf where hidden."""
    s = (qs[:, :, rows].to(dtype) * scale) @ ks[:, :, keys].flatten(3, 4).to(dtype).mT
    return s.masked_fill_(hidden, float("-inf")) if hidden is not None else s


def _turn(
    x: Tensor, cos: Tensor | None, sin: Tensor | None, time_pairs: int, coords: Tensor, token_slot: Tensor
) -> Tensor:
    """Rotate the interleaved pairs of x [B, L, heads, D], each by its axis' place; cos, sin [places, D / 2]."""
    if cos is None or sin is None:
        return x
    pairs = cos.shape[1]
    space = (pairs - time_pairs) // 2
    t, h, w = (c[:, None] for c in unpack(coords[token_slot.long()]))
    place = torch.cat((t.expand(-1, time_pairs), h.expand(-1, space), w.expand(-1, space)), 1).long()
    cos, sin = (table[place, torch.arange(pairs, device=x.device)][:, None] for table in (cos, sin))  # [L, 1, D / 2]
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def _sum_like(p: Tensor, grad: Tensor) -> Tensor:
    """[B, T, S, C] summed to the shape of p [B or 1, T or 1, C]."""
    return grad.sum_to_size(p[:, :, None].shape).squeeze(2)


def _frames(*parts: Tensor | None) -> int:
    return max(p.shape[1] for p in parts if p is not None)


def _split(x: Tensor, frames: int) -> Tensor:
    """[B, L, C] -> [B, frames, L / frames, C]."""
    return x.unflatten(1, (frames, -1))
