"""A plan as a CPU takes it: groups of queries that see the same keys, as numbers of tokens in raster order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import unpack
from .lists import GatherTensors, PlanTensors

Tokens = slice | Tensor  # numbers of tokens; a slice where they follow each other, which takes no copy


@dataclass(frozen=True)
class Group:
    """Queries and keys of one call of attention; hidden [queries, keys] or None where all see all."""

    queries: Tokens
    keys: Tokens
    hidden: Tensor | None
    mask: int  # the number of `hidden`


def gathered(plan: PlanTensors, block_q: int, block_k: int) -> GatherTensors:
    """The groups of a plan's lists."""
    whole, partial = (_lists(*pair) for pair in ((plan.full_ptr, plan.full_idx), (plan.part_ptr, plan.part_idx)))
    lists: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for row, pair in enumerate(zip(whole, partial, strict=True)):
        if pair[0] or pair[1]:
            lists.setdefault(pair, []).append(row)
    raster = _raster(plan.coords_k)
    numbers: dict[tuple[tuple[int, ...], bytes], int] = {}
    masks: list[Tensor] = []
    found: list[tuple[int, Tensor, Tensor]] = []  # number of the mask, queries, keys
    for (full, part), rows in lists.items():
        slots, queries = _slots(plan.slot_token, rows, block_q)
        (whole_slots, keys), (some_slots, some) = (_slots(raster, blocks, block_k) for blocks in (full, part))
        number = -1
        if part:
            shown = torch.ones(len(slots), len(whole_slots) + len(some_slots), dtype=torch.bool)
            shown[:, len(whole_slots) :] = _shown(plan, slots, some_slots)
            keys, order = torch.cat((keys, some)).sort()
            shown = shown[:, order]
            seeing, seen = shown.any(1), shown.any(0)
            queries, keys, hidden = queries[seeing], keys[seen], ~shown[seeing][:, seen]
            if hidden.any():
                number = numbers.setdefault((tuple(hidden.shape), hidden.numpy().tobytes()), len(masks))
                masks += [hidden.flatten()] * (number == len(masks))
        if len(queries) and len(keys):
            found.append((number, queries, keys))
    found.sort(key=lambda group: group[0])
    none = torch.zeros(0, dtype=torch.long)
    return GatherTensors(
        *_joined([queries for _, queries, _ in found]),
        *_joined([keys for _, _, keys in found]),
        torch.tensor([number for number, _, _ in found], dtype=torch.long),
        torch.cat(masks) if masks else none.bool(),
    )


def groups(tensors: GatherTensors) -> Iterator[Group]:
    """The groups one by one; nothing is copied."""
    spans = zip(_spans(tensors.queries, tensors.query_ptr), _spans(tensors.keys, tensors.key_ptr), strict=True)
    at, hidden, last = 0, None, -1
    for number, ((queries, rows), (keys, columns)) in zip(tensors.mask_of.tolist(), spans, strict=True):
        if number != last:
            hidden = tensors.masks[at : at + rows * columns].view(rows, columns)
            at, last = at + rows * columns, number
        yield Group(queries, keys, hidden, number)


def _slots(tokens: Tensor, blocks: list[int] | tuple[int, ...], size: int) -> tuple[Tensor, Tensor]:
    """(Slots of the blocks that hold a token, by rising token; these tokens)."""
    slots = (torch.tensor(blocks, dtype=torch.long)[:, None] * size + torch.arange(size)).flatten()
    slots = slots[tokens[slots] >= 0]
    found, order = tokens[slots].long().sort()
    return slots[order], found


def _raster(coords: Tensor) -> Tensor:
    """Raster numbers of packed coordinates that begin at 0; -1 for padding."""
    t, h, w = (x.long() for x in unpack(coords))
    real = coords >= 0
    height, width = (int(x[real].max()) + 1 for x in (h, w))
    return torch.where(real, (t * height + h) * width + w, -1)


def _shown(plan: PlanTensors, queries: Tensor, keys: Tensor) -> Tensor:
    """bool [queries, keys], both slots: whether some box shows the key to the query."""
    q, k = unpack(plan.coords_q[queries][:, None]), unpack(plan.coords_k[keys])
    shown = torch.zeros(len(queries), len(keys), dtype=torch.bool)
    for *reach, causal in plan.boxes.tolist():
        box = torch.ones_like(shown)
        for mine, theirs, r in zip(q, k, reach, strict=True):
            box &= (theirs >= mine - r) & (theirs <= mine + r)
        shown |= box & (k[0] <= q[0]) if causal else box
    return shown


def _lists(pointers: Tensor, indices: Tensor) -> list[tuple[int, ...]]:
    ends, all_of = pointers.tolist(), indices.tolist()
    return [tuple(all_of[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _joined(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    ends = torch.tensor([0, *map(len, parts)], dtype=torch.long).cumsum(0)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long), ends


def _spans(tokens: Tensor, pointers: Tensor) -> Iterator[tuple[Tokens, int]]:
    """The tokens of each group and their number."""
    if len(pointers) == 1:
        return
    first, last = tokens[pointers[:-1]].tolist(), tokens[pointers[1:] - 1].tolist()
    ends = pointers.tolist()
    for a, b, low, high in zip(ends[:-1], ends[1:], first, last, strict=True):
        yield (slice(low, high + 1) if high - low == b - a - 1 else tokens[a:b]), b - a
