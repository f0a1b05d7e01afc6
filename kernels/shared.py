"""Attention of a video whose rows of tokens lie with several members of a group: processes, or threads.

Two ways, of which a plan takes the one that sends less. By heads (Ulysses, arXiv 2309.14509): every member gets all
tokens of some heads, attends under the whole plan, and sends the tokens back; 4 (n-1)/n of the member's own tokens are
sent, whatever the plan, if n divides the heads. By keys: every member gets the keys and values that its own rows see
under the plan and does not have, and nothing comes back: 2 for each of these tokens. A window sees few; full attention
n-1 times the member's own, which a ring sends too, so that heads win there wherever they divide. PyTorch's own ring
(torch.distributed.tensor's context_parallel) knows no plans and no CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .grid import Grid, TileOrder, unpack
from .plan import FULL, BlockPlan, plan
from .processes import Members

Attend = Callable[[Tensor, Tensor, Tensor, BlockPlan | None], Tensor]


@dataclass(frozen=True, eq=False)
class SharedPlan:
    """A plan (None: full attention) for a grid of whose rows each member has a span, and who they are."""

    members: Members
    grid: Grid
    whole: BlockPlan | None

    @cached_property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """(first, last + 1) of each member."""
        return self.members.spans(self.grid.h)

    @cached_property
    def tokens(self) -> list[Tensor]:
        """Raster numbers of each member's tokens, in its own raster order."""
        numbers = torch.arange(self.grid.tokens).view(self.grid.sides)
        return [numbers[:, first:end].flatten() for first, end in self.rows]

    @cached_property
    def plans(self) -> list[BlockPlan]:
        """The plan of each member's queries on all keys."""
        if self.whole is None:
            return [plan(self.grid, FULL, query_rows=rows) for rows in self.rows]
        p = self.whole
        return [plan(self.grid, p.pattern, p.block_q, p.block_k, p.order_k.tile, query_rows=rows) for rows in self.rows]

    @cached_property
    def own_order(self) -> TileOrder:
        """This member's tokens in raster order, each with its place in the whole grid."""
        return self.plans[self.members.rank].order_q.in_raster()

    @cached_property
    def needed(self) -> list[list[Tensor]]:
        """needed[i][j]: raster numbers of the tokens of member j in tiles that a query of member i sees."""
        owner = torch.empty(self.grid.tokens, dtype=torch.long)
        for number, tokens in enumerate(self.tokens):
            owner[tokens] = number
        seen = [_seen(p) for p in self.plans]
        return [[tokens[owner[tokens] == j] for j in range(self.members.size)] for tokens in seen]

    @cached_property
    def routes(self) -> dict[torch.device, _Route]:
        """Routes that were asked for, by the device on which their index tensors lie."""
        return {}

    def sends_by_keys(self) -> int:
        """Keys and values, in tokens of all heads, that all members send together when the plan's keys travel."""
        return 2 * sum(len(x) for i, of in enumerate(self.needed) for j, x in enumerate(of) if i != j)

    def sends_by_heads(self, heads: int) -> int | None:
        """As sends_by_keys when heads travel: q, k, v there, the result back. None where they cannot."""
        n = self.members.size
        return None if heads % n else 4 * self.grid.tokens * (n - 1) // n

    def by_heads(self, heads: int) -> bool:
        """Whether heads travel, not keys."""
        sends = self.sends_by_heads(heads)
        return sends is not None and sends <= self.sends_by_keys()


def attention(q: Tensor, k: Tensor, v: Tensor, shared: SharedPlan, attend: Attend) -> Tensor:
    """Attention of this member's tokens q, k, v [B, L, heads, D], in raster order of its rows: [B, L, heads, D].

    attend(q, k, v, plan): attention within one member. Raises ValueError where the tokens are not those of the rows.
    """
    own = shared.tokens[shared.members.rank]
    if q.shape[1] != len(own):
        rows = shared.rows[shared.members.rank]
        raise ValueError(f"{q.shape[1]} tokens; rows {rows[0]} to {rows[1]} of a grid of {shared.grid} have {len(own)}")
    return (_by_heads if shared.by_heads(q.shape[2]) else _by_keys)(q, k, v, shared, attend)


class _Route(NamedTuple):
    """What one member sends and gets, on its device."""

    own: Tensor  # raster numbers of its tokens
    every: Tensor  # of all members' tokens, one member after another
    plan: BlockPlan | None  # of its queries on all keys
    asked: Tensor  # numbers among its own tokens that the others need, one member after another
    give: list[int]  # how many to each
    come: Tensor  # raster numbers of what it gets
    take: list[int]  # how many from each


def _route(shared: SharedPlan, device: torch.device) -> _Route:
    if device not in shared.routes:
        shared.routes[device] = _new_route(shared, device)
    return shared.routes[device]


def _new_route(shared: SharedPlan, device: torch.device) -> _Route:
    me, members = shared.members.rank, range(shared.members.size)
    own = shared.tokens[me]
    place = torch.empty(shared.grid.tokens, dtype=torch.long)
    place[own] = torch.arange(len(own))
    asked = [place[shared.needed[i][me]] if i != me else own[:0] for i in members]
    come = [shared.needed[me][i] if i != me else own[:0] for i in members]
    mine = None if shared.whole is None else shared.plans[me].to(device)
    every, asked_of, come_to = (torch.cat(x).to(device) for x in (shared.tokens, asked, come))
    return _Route(own.to(device), every, mine, asked_of, [*map(len, asked)], come_to, [*map(len, come)])


def _by_keys(q: Tensor, k: Tensor, v: Tensor, shared: SharedPlan, attend: Attend) -> Tensor:
    route = _route(shared, q.device)
    both = torch.cat((k, v), -1).transpose(0, 1)  # [L, B, heads, 2 D]
    came = shared.members.exchanged(both[route.asked], route.give, route.take)
    whole = both.new_zeros(shared.grid.tokens, *both.shape[1:])  # what no query sees stays zero
    whole = whole.index_copy(0, route.own, both).index_copy(0, route.come, came)
    k, v = (x.contiguous() for x in whole.transpose(0, 1).chunk(2, -1))
    return attend(q, k, v, route.plan)


def _by_heads(q: Tensor, k: Tensor, v: Tensor, shared: SharedPlan, attend: Attend) -> Tensor:
    n, every = shared.members.size, _route(shared, q.device).every
    length, counts = q.shape[1], [len(tokens) for tokens in shared.tokens]
    parts = torch.stack((q, k, v), -2).unflatten(2, (n, -1)).permute(2, 1, 0, 3, 4, 5)  # [n, L, B, heads / n, 3, D]
    came = shared.members.exchanged(parts.flatten(0, 1), [length] * n, counts)
    whole = torch.empty_like(came).index_copy(0, every, came).transpose(0, 1)  # [B, all tokens, heads / n, 3, D]
    q, k, v = (x.contiguous() for x in whole.unbind(-2))
    y = attend(q, k, v, shared.whole)
    back = shared.members.exchanged(y.transpose(0, 1)[every], counts, [length] * n)
    return back.unflatten(0, (n, -1)).permute(2, 1, 0, 3, 4).flatten(2, 3)  # [B, L, heads, D]


def _seen(p: BlockPlan) -> Tensor:
    """Raster numbers, rising, of the tokens in key blocks that some query block sees."""
    blocks = torch.cat((p.tensors.full_idx, p.tensors.part_idx)).long().unique()
    coords = p.tensors.coords_k.view(-1, p.block_k)[blocks].flatten()
    t, h, w = unpack(coords[coords >= 0].long())
    grid = p.order_k.grid
    return ((t * grid.h + h) * grid.w + w).sort().values
