"""Plans as kernels take them: nothing but tensors, which pass through PyTorch's operators."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PlanTensors(NamedTuple):
    """A plan as kernels take it, all int32. n query blocks, m key blocks; *_t: lists of query blocks per key block.

    Rows of full_idx: each real key (slot below kv_len of its block) is visible to each real query. Rows of part_idx:
    visible when both coordinates are >= 0 and any box holds |dt| <= rt, |dh| <= rh, |dw| <= rw (and t_k <= t_q).
    Padding rows, and rows that see nothing: out 0, lse -inf, no gradient. slot_token and token_slot: see TileOrder.
    """

    coords_q: Tensor  # [slots_q], moved inwards for a clamped box
    coords_k: Tensor  # [slots_k]
    kv_len: Tensor  # [m] real keys at the block's start
    boxes: Tensor  # [boxes, 4]: rt, rh, rw, causal
    full_ptr: Tensor  # [n + 1]
    full_idx: Tensor
    part_ptr: Tensor  # [n + 1]
    part_idx: Tensor
    full_ptr_t: Tensor  # [m + 1]
    full_idx_t: Tensor
    part_ptr_t: Tensor  # [m + 1]
    part_idx_t: Tensor
    slot_token: Tensor  # [slots_q], the queries'
    token_slot: Tensor  # [tokens of the queries]


class GatherTensors(NamedTuple):
    """n groups, those with the same mask next to each other. Queries that see no key are in none of them.

    Tokens of a group rise. Masks are few: windows of the same shape share theirs.
    """

    queries: Tensor  # long, raster numbers of each group's queries, group after group
    query_ptr: Tensor  # [n + 1]
    keys: Tensor  # long, the keys that some query of the group sees
    key_ptr: Tensor  # [n + 1]
    mask_of: Tensor  # [n] number of the group's mask; -1 where every query sees every key
    masks: Tensor  # bool, true where a query does not see a key; [queries, keys] of each mask, one after the other
