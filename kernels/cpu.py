"""Sparse attention on a CPU: queries that see the same keys go through PyTorch's flash attention together.

Tensors are [B, L, heads, D] in raster order: a token's channels of all heads lie together, so that gathering keys is as
fast as copying them, and no pass puts tokens into tiles and back. No matrix of scores is ever in memory, and the
buffers of gathered keys are allocated once a call: where every call's large tensors come fresh from the system, page
faults cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .gather import Tokens, groups
from .lists import GatherTensors

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


def attention(q: Tensor, k: Tensor, v: Tensor, gathers: GatherTensors, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v over the visible keys: out [B, Lq, H, D] and its logsumexp [B, Lq, H], natural, float32.

    q [B, Lq, H, D], k and v [B, L, H, D]. Queries that see no key: 0 and -inf.
    """
    blind = len(gathers.queries) < q.shape[1]
    out = (torch.zeros if blind else torch.empty)(q.shape, dtype=q.dtype)
    lse = torch.full(q.shape[:3], float("-inf"))
    rooms = _Rooms()
    for queries, keys, mask in _calls(gathers, q.dtype):
        given = (rooms.heads_first(name, x, at) for name, x, at in (("q", q, queries), ("k", k, keys), ("v", v, keys)))
        y, some = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*given, attn_mask=mask, scale=scale)
        out[:, queries] = y.transpose(1, 2)
        lse[:, queries] = some.transpose(1, 2)
    return out, lse


def attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, gathers: GatherTensors, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, without one of the logsumexp; dout, out and lse as attention() gives them."""
    dq, dk, dv = torch.zeros_like(q), *(torch.zeros(x.shape, dtype=torch.float32) for x in (k, v))
    rooms = _Rooms()
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    for queries, keys, mask in _calls(gathers, q.dtype):
        own = {"do": (dout, queries), "q": (q, queries), "k": (k, keys), "v": (v, keys), "y": (out, queries)}
        given = [rooms.heads_first(name, *taken) for name, taken in own.items()]
        total = rooms.taken("lse", lse, queries).transpose(1, 2)
        gq, gk, gv = (
            g.transpose(1, 2) for g in backward(*given, total, 0.0, False, attn_mask=mask, scale=scale)
        )  # [B, n, H, D]
        dq[:, queries] = gq
        for whole, part in ((dk, gk), (dv, gv)):
            if isinstance(keys, slice):
                whole[:, keys] += part
            else:
                whole.index_add_(1, keys, part.float())
    return dq, dk.to(k.dtype), dv.to(v.dtype)


def _calls(gathers: GatherTensors, dtype: torch.dtype) -> Iterator[tuple[Tokens, Tokens, Tensor | None]]:
    """Queries, keys and mask of each call; the mask [queries, keys] is added to the scores."""
    mask, number = None, -1
    for group in groups(gathers):
        if group.hidden is not None and group.mask != number:
            number = group.mask
            mask = torch.zeros(group.hidden.shape, dtype=dtype).masked_fill_(group.hidden, float("-inf"))
        yield group.queries, group.keys, mask


class _Rooms:
    """Memory for gathered tokens, one piece for each name, reused from group to group."""

    def __init__(self) -> None:
        self.rooms: dict[str, Tensor] = {}

    def taken(self, name: str, x: Tensor, tokens: Tokens) -> Tensor:
        """x[:, tokens] of [B, L, ...]: a view where tokens follow each other, else a copy that the next call undoes."""
        if isinstance(tokens, slice):
            return x[:, tokens]
        shape = (x.shape[0], len(tokens), *x.shape[2:])
        count = x.shape[0] * len(tokens) * x[0, 0].numel()
        room = self.rooms.get(name)
        if room is None or room.numel() < count:
            room = self.rooms[name] = x.new_empty(count)
        return torch.index_select(x, 1, tokens, out=room[:count].view(shape))

    def heads_first(self, name: str, x: Tensor, tokens: Tokens) -> Tensor:
        """As taken(), [B, H, n, D]."""
        return self.taken(name, x, tokens).transpose(1, 2)
