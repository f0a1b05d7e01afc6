"""Sparse attention on a CPU: query blocks that see the same key blocks go through PyTorch's flash attention together.

No matrix of scores is ever in memory, and the buffers of gathered keys are allocated once a call: where every call's
large tensors come fresh from the system, page faults cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from .plan import PlanTensors
from .reference import hidden_keys

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NAME = "_scaled_dot_product_flash_attention_for_cpu"


def misses(device: torch.device, dtype: torch.dtype) -> str:
    """Why this module cannot serve such tensors; "" when it can."""
    if device.type != "cpu":
        return f"it runs on a CPU, the tensors are on {device.type}"
    if dtype not in DTYPES:
        return f"it takes float32, bfloat16 and half, not {dtype}"
    # A private operator of PyTorch, with a mask since 2.3: where it is missing, the reference computes.
    return "" if hasattr(torch.ops.aten, NAME) else f"PyTorch {torch.__version__} has no {NAME}"


KEPT_BYTES = 1 << 26  # of masks that are kept with a plan: those of windows at 8,192 tokens; larger ones are made anew


class _Group(NamedTuple):
    """Query blocks [R] that see the same key blocks [N]. mask [R * block_q or 1, N * block_k] is added to the scores;
    blind [R, block_q]: queries that see no key.
    """

    rows: Tensor
    keys: Tensor
    mask: Tensor | None
    blind: Tensor | None


def attention(
    q: Tensor, k: Tensor, v: Tensor, plan: PlanTensors, block_q: int, block_k: int, scale: float
) -> tuple[Tensor, Tensor]:
    """As reference.attention: out [B, H, slots_q, D] and its logsumexp [B, H, slots_q] in float32."""
    out = q.new_zeros(q.shape)
    lse = q.new_full(q.shape[:3], float("-inf"), dtype=torch.float32)
    (qs, outs, lses), (ks, vs) = _blocked(block_q, q, out, lse), _blocked(block_k, k, v)
    groups = _kept_groups(plan, block_q, block_k, q.dtype)
    buffers = _buffers(k, v, groups, block_k)
    for g in groups:
        given = _queries(qs, g.rows), _gathered(ks, g.keys, buffers[0]), _gathered(vs, g.keys, buffers[1])
        y, some = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*given, attn_mask=g.mask, scale=scale)
        outs[:, :, g.rows] = y.unflatten(2, (-1, block_q))
        some = some.unflatten(2, (-1, block_q))
        lses[:, :, g.rows] = some if g.blind is None else some.masked_fill(g.blind, float("-inf"))
    padding = plan.coords_q < 0
    return out.masked_fill_(padding[:, None], 0), lse.masked_fill_(padding, float("-inf"))


def attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    plan: PlanTensors, block_q: int, block_k: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As reference.attention_backward, without a gradient of the logsumexp."""
    lse = lse.masked_fill(lse == float("-inf"), float("inf"))  # padding and rows that see nothing: probabilities are 0
    dq, dk, dv = torch.zeros_like(q), *(torch.zeros(x.shape, dtype=torch.float32) for x in (k, v))
    queries = _blocked(block_q, dout, q, out, lse, dq)
    ks, vs, dks, dvs = _blocked(block_k, k, v, dk, dv)
    groups = _kept_groups(plan, block_q, block_k, q.dtype)
    buffers = _buffers(k, v, groups, block_k)
    for g in groups:
        do, some_q, y, total = (_queries(x, g.rows) for x in queries[:4])
        some_k, some_v = _gathered(ks, g.keys, buffers[0]), _gathered(vs, g.keys, buffers[1])
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        gq, gk, gv = backward(do, some_q, some_k, some_v, y, total, 0.0, False, attn_mask=g.mask, scale=scale)
        queries[4][:, :, g.rows] = gq.unflatten(2, (-1, block_q))
        dks.index_add_(2, g.keys, gk.unflatten(2, (-1, block_k)).float())
        dvs.index_add_(2, g.keys, gv.unflatten(2, (-1, block_k)).float())
    return dq, dk.to(k.dtype), dv.to(v.dtype)


# The groups of each plan, by its list of blocks: they live as long as that tensor. Plans travel through the operators
# as tensors, so that one cannot carry what is no tensor.
_GROUPS = WeakTensorKeyDictionary()


def _kept_groups(plan: PlanTensors, block_q: int, block_k: int, dtype: torch.dtype) -> list[_Group]:
    """The groups of a plan, worked out at its first call."""
    if plan.full_ptr not in _GROUPS:
        _GROUPS[plan.full_ptr] = {}
    kept: dict[tuple[int, int, torch.dtype], list[_Group]] = _GROUPS[plan.full_ptr]
    asked = block_q, block_k, dtype
    groups = kept.get(asked)
    if groups is None:
        groups = list(_groups(plan, block_q, block_k, dtype))
        if sum(g.mask.nbytes for g in groups if g.mask is not None) <= KEPT_BYTES:
            kept[asked] = groups
    return groups


def _groups(plan: PlanTensors, block_q: int, block_k: int, dtype: torch.dtype) -> Iterator[_Group]:
    """The plan's query blocks by the lists of key blocks that they share; rows without keys do not come."""
    lists: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    whole, partial = (_lists(*pair) for pair in ((plan.full_ptr, plan.full_idx), (plan.part_ptr, plan.part_idx)))
    for row, pair in enumerate(zip(whole, partial, strict=True)):
        if pair[0] or pair[1]:
            lists.setdefault(pair, []).append(row)
    for (full, part), shared in lists.items():
        rows, keys = torch.tensor(shared), torch.tensor((*full, *part))
        whole_of, partial_of = (torch.tensor(x, dtype=torch.long).expand(len(shared), -1) for x in (full, part))
        hidden = hidden_keys(plan, rows, whole_of, partial_of, block_q, block_k)
        if hidden is None:
            yield _Group(rows, keys, None, None)
            continue
        shown = hidden[:1] if not part else hidden  # padding of whole blocks is hidden from all rows alike
        mask = torch.zeros(shown.shape, dtype=dtype).masked_fill_(shown, float("-inf")).flatten(0, 1)
        yield _Group(rows, keys, mask, hidden.all(-1).expand(-1, block_q))


def _lists(pointers: Tensor, indices: Tensor) -> list[tuple[int, ...]]:
    ends, all_of = pointers.tolist(), indices.tolist()
    return [tuple(all_of[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _blocked(block: int, *tensors: Tensor) -> list[Tensor]:
    return [x.unflatten(2, (-1, block)) for x in tensors]


def _queries(x: Tensor, rows: Tensor) -> Tensor:
    """Chosen blocks of [B, H, n, block, ...], one after the other."""
    return x[:, :, rows].flatten(2, 3)


def _buffers(k: Tensor, v: Tensor, groups: list[_Group], block_k: int) -> tuple[Tensor, Tensor]:
    """Room for the keys and the values of the group that sees most."""
    count = k.shape[0] * k.shape[1] * block_k * max((len(g.keys) for g in groups), default=0)
    return k.new_empty(count * k.shape[-1]), v.new_empty(count * v.shape[-1])


def _gathered(x: Tensor, keys: Tensor, buffer: Tensor) -> Tensor:
    """Listed blocks [N] of x [B, H, m, block, D], one after the other: a view of x where they lie so, else copied."""
    first, count = int(keys[0]), len(keys)
    if int(keys[-1]) - first + 1 == count and bool((keys.diff() == 1).all()):
        return x[:, :, first : first + count].flatten(2, 3)
    shape = (*x.shape[:2], count, *x.shape[3:])
    room = buffer[: x.shape[0] * x.shape[1] * count * x.shape[3] * x.shape[4]].view(shape)
    return torch.index_select(x, 2, keys, out=room).flatten(2, 3)
