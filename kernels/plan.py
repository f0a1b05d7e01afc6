"""Which tokens attend to which, as lists of key blocks for every query block: whole blocks and partly visible ones.

A pattern is a tuple of parts; a key is visible when any part shows it. Every part is a product of one relation per
axis (time, height, width), which is why a plan is built from three small matrices a part and is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import torch
from torch import Tensor

from .gather import gathered
from .grid import FAR, SLOTS, Grid, TileOrder, choose_tile, pack, tile_order, unpack
from .lists import GatherTensors, PlanTensors


@dataclass(frozen=True)
class Box:
    """Keys within t frames, h rows and w columns of the query; causal: no later frame.

    clamped: near an edge the window moves inwards, so that every query sees as many keys (as NATTEN does).
    """

    t: int = FAR
    h: int = FAR
    w: int = FAR
    causal: bool = False
    clamped: bool = False

    @property
    def reach(self) -> tuple[int, int, int]:
        """(t, h, w)."""
        return self.t, self.h, self.w


@dataclass(frozen=True)
class Tiles:
    """Keys in the t x h x w tiles around the query's own tile; at an edge the window moves inwards.

    Sliding Tile Attention (arXiv 2502.04507): whole tiles only, so no block is masked. Even counts reach further back.
    """

    t: int
    h: int
    w: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tiles along (t, h, w)."""
        return self.t, self.h, self.w


@dataclass(frozen=True)
class CausalBlocks:
    """Keys that a block of frames of a causal rollout sees: its own, and the latest before it, `window` in all.

    frames: of a block; first: of the first one, 0 as the others. window: frames up to the block's end, the first `sink`
    frames of the video among them, which stay visible (StreamingLLM, arXiv 2309.17453).
    """

    frames: int
    window: int = FAR
    sink: int = 0
    first: int = 0

    def sees(self, queries: Tensor, keys: Tensor, count: int) -> Tensor:
        """bool [queries, keys] of frame numbers in a video of `count` frames."""
        first = self.first or self.frames
        end = first + ((queries - first).div(self.frames, rounding_mode="floor") + 1) * self.frames
        end = torch.where(queries < first, first, end).clamp(max=count)[:, None]
        return (keys < end) & ((keys < self.sink) | (keys >= end - (self.window - self.sink)))

    @property
    def step(self) -> int:
        """Whatever a block sees begins and ends at multiples of so many frames."""
        return math.gcd(self.frames, self.first, self.sink, self.window if self.window < FAR else 0)


Pattern = tuple[Box | Tiles | CausalBlocks, ...]
Spans = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # first and last + 1 of frames, rows and columns
FULL: Pattern = (Box(),)
SPATIAL: Pattern = (Box(t=0),)
TEMPORAL: Pattern = (Box(h=0, w=0),)
FRAME_CAUSAL: Pattern = (Box(causal=True),)


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """A pattern worked out for one grid, one tile and one pair of block sizes, on one device."""

    pattern: Pattern
    order_q: TileOrder
    order_k: TileOrder
    block_q: int
    block_k: int
    padded: bool  # some key block ends in padding
    tensors: PlanTensors
    visible: int  # (query, key) pairs of tokens that the pattern shows

    @property
    def slots_q(self) -> int:
        """Query slots, padding included."""
        return self.order_q.slots

    @property
    def slots_k(self) -> int:
        """Key slots, padding included."""
        return self.order_k.slots

    @property
    def is_full(self) -> bool:
        """Every query sees every key: plain dense attention."""
        return self.visible == self.order_q.grid.tokens * self.order_k.grid.tokens

    @property
    def density(self) -> float:
        """Visible pairs of tokens as a share of all."""
        return self.visible / (self.order_q.grid.tokens * self.order_k.grid.tokens)

    @property
    def work(self) -> float:
        """Pairs of slots that a kernel multiplies, as a share of all pairs of tokens."""
        blocks = len(self.tensors.full_idx) + len(self.tensors.part_idx)
        return blocks * self.block_q * self.block_k / (self.order_q.grid.tokens * self.order_k.grid.tokens)

    @property
    def waste(self) -> float:
        """Work over density: 1 where every multiplied pair is visible."""
        return self.work / self.density

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors)

    @cached_property
    def gathers(self) -> GatherTensors:
        """The plan as a CPU takes it, on one; worked out when first asked for."""
        return gathered(PlanTensors(*(t.cpu() for t in self.tensors)), self.block_q, self.block_k)

    def explain(self) -> str:
        """What is attended to and what it costs, for people."""
        full, part = len(self.tensors.full_idx), len(self.tensors.part_idx)
        tile = "x".join(map(str, self.order_k.tile))
        grids = str(self.order_k.grid)
        if self.order_q.grid != self.order_k.grid:
            grids = f"{self.order_q.grid} onto {grids}"
        return (
            f"{describe(self.pattern)}; {grids} tokens in tiles of {tile}, {self.order_k.padding:.1%} padding; "
            f"density {self.density:.1%}, work {self.work:.1%} ({self.waste:.2f}x) in {full} whole and {part} partial "
            f"blocks of {self.block_q}x{self.block_k}; lists {self.nbytes / 1e6:.1f} MB"
        )

    def to(self, device: torch.device | str) -> BlockPlan:
        """The same plan with its tensors on the device."""
        moved = PlanTensors(*(t.to(device) for t in self.tensors))
        orders = self.order_q.to(device), self.order_k.to(device)
        return BlockPlan(self.pattern, *orders, self.block_q, self.block_k, self.padded, moved, self.visible)


def window(t: int, h: int, w: int, clamped: bool = False) -> Pattern:
    """Keys at most t frames, h rows and w columns away, to the token. Wastes up to 5x; see sliding_tiles."""
    return (Box(t, h, w, clamped=clamped),)


def sliding_tiles(t: int, h: int, w: int) -> Pattern:
    """The t x h x w tiles around each tile: a 3-D window snapped to tiles, which wastes nothing but padding."""
    return (Tiles(t, h, w),)


def describe(pattern: Pattern) -> str:
    """A pattern in words."""
    return " or ".join(_describe(part) for part in pattern)


@lru_cache(maxsize=32)
def plan(
    grid: Grid,
    pattern: Pattern,
    block_q: int = SLOTS,
    block_k: int = SLOTS,
    tile: tuple[int, int, int] | None = None,
    query_frames: tuple[int, int] | None = None,
    query_rows: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> BlockPlan:
    """The plan of a pattern for keys on `grid`; kept, so that a second call costs nothing.

    block_q, block_k: 16, 32, 64 or 128; a tile has as many slots as the larger, at least 64. tile: its sides (t, h, w),
    chosen when None. query_frames, query_rows: (first, last + 1) when only these of the grid ask.
    Raises ValueError on misfits.
    """
    if str(device) != "cpu":
        return plan(grid, pattern, block_q, block_k, tile, query_frames, query_rows).to(device)
    spans = query_frames or (0, grid.t), query_rows or (0, grid.h), (0, grid.w)
    _check(grid, pattern, block_q, block_k, spans)
    slots = max(SLOTS, block_q, block_k)
    tile = tile or _tile_for(pattern, grid, slots)
    order_k = tile_order(grid, tile, slots)
    asking = Grid(*(end - first for first, end in spans))
    order_q = tile_order(asking, tile, slots, tuple(first for first, _ in spans))

    # a pair of tiles is whole when one part shows all of it, partial when any part shows some of it
    relations = [_relations(part, grid, tile, spans) for part in pattern]
    full = part = torch.zeros((), dtype=torch.bool)
    for axes in relations:
        full = full | _tile_pairs(axes, tile, spans, torch.all)
        part = part | _tile_pairs(axes, tile, spans, torch.any)
    kv_len = (order_k.tile_len[:, None] - torch.arange(0, slots, block_k)).clamp(0, block_k).flatten().int()
    part = _blocks(part & ~full, slots // block_q, slots // block_k) & (kv_len > 0)
    full = _blocks(full, slots // block_q, slots // block_k) & (kv_len > 0)

    boxes = [[*b.reach, int(b.causal)] for b in pattern if isinstance(b, Box)]
    tensors = PlanTensors(
        _centres(order_q.coords, pattern, grid), order_k.coords, kv_len,
        torch.tensor(boxes, dtype=torch.int32).view(-1, 4),
        *_lists(full), *_lists(part), *_lists(full.T), *_lists(part.T), order_q.slot_token, order_q.token_slot,
    )  # fmt: skip
    padded = bool((kv_len < block_k).any())
    return BlockPlan(pattern, order_q, order_k, block_q, block_k, padded, tensors, _visible(relations))


def _check(grid: Grid, pattern: Pattern, block_q: int, block_k: int, spans: Spans) -> None:
    if not {block_q, block_k} <= {16, 32, 64, 128}:
        raise ValueError(f"blocks of {block_q} queries by {block_k} keys; both must be 16, 32, 64 or 128")
    kinds = (Box, Tiles, CausalBlocks)
    if not isinstance(pattern, tuple) or not pattern or not all(isinstance(part, kinds) for part in pattern):
        raise ValueError(f"a pattern is a tuple of Box, Tiles and CausalBlocks, found {pattern!r}")
    for part in pattern:
        if isinstance(part, Box) and not all(0 <= r <= FAR for r in part.reach):
            raise ValueError(f"{part}: a reach is 0 to {FAR} tokens")
        if isinstance(part, Tiles) and min(part.counts) < 1:
            raise ValueError(f"{part}: a window has at least one tile on each axis")
        if isinstance(part, CausalBlocks) and not 0 <= part.sink <= part.window - max(part.frames, part.first) < FAR:
            raise ValueError(f"{part}: a window holds the sink and the block itself")
    if any(isinstance(b, Box) and b.clamped for b in pattern) and sum(isinstance(b, Box) for b in pattern) > 1:
        raise ValueError("a clamped box moves its queries inwards, so it cannot be joined with another box")
    if any(isinstance(b, Box) and b.clamped and b.causal for b in pattern):
        raise ValueError("a clamped box moves early queries to later frames, so it cannot be causal as well")
    for name, (first, end), n in zip(("frames", "rows", "columns"), spans, grid.sides, strict=True):
        if not 0 <= first < end <= n:
            raise ValueError(f"query {name} {(first, end)} do not lie in a grid of {n} {name}")


def _tile_for(pattern: Pattern, grid: Grid, slots: int) -> tuple[int, int, int]:
    """The tile's sides (t, h, w). Tiles end where causal blocks and their windows do, so that each is seen whole."""
    steps = [part.step for part in pattern if isinstance(part, CausalBlocks)]
    if not steps:
        return choose_tile(grid, *_reach(pattern), slots)
    t = next(t for t in range(min(slots, grid.t), 0, -1) if math.gcd(*steps) % t == 0)
    return t, *choose_tile(Grid(1, grid.h, grid.w), slots=slots // t)[1:]


def _reach(pattern: Pattern) -> tuple[tuple[int, int, int] | None, bool]:
    """Reach and causality that tiles should suit: the first box's, unless there are sliding tiles."""
    boxes = [part for part in pattern if isinstance(part, Box)]
    return (boxes[0].reach, boxes[0].causal) if len(boxes) == len(pattern) else (None, False)


def _relations(part: Box | Tiles | CausalBlocks, grid: Grid, tile: tuple[int, int, int], spans: Spans) -> list[Tensor]:
    """For each axis, bool [queries, keys]: the key's coordinate is visible from the query's."""
    out = []
    for axis, (n, side, span) in enumerate(zip(grid.sides, tile, spans, strict=True)):
        q, k = torch.arange(*span), torch.arange(n)
        if isinstance(part, Box):
            r = part.reach[axis]
            centre = _inwards(q, r, n) if part.clamped else q
            seen = (k - centre[:, None]).abs() <= r
            if axis == 0 and part.causal:
                seen &= k <= q[:, None]
        elif isinstance(part, CausalBlocks):
            seen = part.sees(q, k, n) if axis == 0 else torch.ones(len(q), n, dtype=torch.bool)
        else:
            q, k, tiles = q // side, k // side, -(-n // side)
            count = min(part.counts[axis], tiles)
            low = (q - count // 2).clamp(0, tiles - count)[:, None]
            seen = (k >= low) & (k < low + count)
        out.append(seen)
    return out


def _inwards(q: Tensor, r: int, n: int) -> Tensor:
    """Window centres at least r from both ends; the middle where the window is wider than the grid."""
    return q.clamp(min(r, n // 2), max(n - 1 - r, n // 2))


def _centres(coords: Tensor, pattern: Pattern, grid: Grid) -> Tensor:
    box = next((b for b in pattern if isinstance(b, Box) and b.clamped), None)
    if box is None:
        return coords
    moved = torch.stack([_inwards(q, r, n) for q, r, n in zip(unpack(coords), box.reach, grid.sides, strict=False)], -1)
    return torch.where(coords < 0, coords, pack(moved))


def _tile_pairs(axes: list[Tensor], tile: tuple[int, int, int], spans: Spans, reduce) -> Tensor:
    """Relations of the axes' tokens -> bool [query tiles, key tiles]: any, or all, of the pairs of two tiles."""
    small = []
    for seen, side, (first, end) in zip(axes, tile, spans, strict=True):
        cuts = [n - first for n in range(first // side * side + side, end, side)]  # tiles end where the grid's do
        rows = torch.stack([reduce(m, 0) for m in seen.tensor_split(cuts)])
        small.append(torch.stack([reduce(m, 1) for m in rows.split(side, 1)], 1))
    t, h, w = small
    pairs = t[:, None, None, :, None, None] & (h[:, None, :, None] & w[None, :, None, :])[None, :, :, None]
    return pairs.reshape(len(t) * len(h) * len(w), -1)


def _blocks(pairs: Tensor, q: int, k: int) -> Tensor:
    """Pairs of tiles -> pairs of blocks, q query blocks and k key blocks to a tile."""
    pairs = pairs.repeat_interleave(q, 0) if q > 1 else pairs
    return pairs.repeat_interleave(k, 1) if k > 1 else pairs


def _lists(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """bool [n, m] -> CSR: pointers [n + 1] and, row after row, the columns that are true."""
    ptr = torch.cat((torch.zeros(1, dtype=torch.long), pairs.sum(1).cumsum(0)))
    return ptr.int(), pairs.nonzero()[:, 1].int()


def _visible(relations: list[list[Tensor]]) -> int:
    """Pairs that any part shows: inclusion and exclusion over products of axis relations."""
    total = 0
    for n in range(1, len(relations) + 1):
        for parts in combinations(relations, n):
            product = 1
            for axes in zip(*parts, strict=False):
                product *= int(torch.stack(axes).all(0).sum())
            total += product if n % 2 else -product
    return total


def _describe(part: Box | Tiles | CausalBlocks) -> str:
    if isinstance(part, CausalBlocks):
        near = f" of the latest {part.window} frames" if part.window < FAR else ""
        return f"no later block of {part.frames} frames" + (near and f",{near}, {part.sink} of them the first")
    if isinstance(part, Tiles):
        return f"the {part.t}x{part.h}x{part.w} tiles around"
    units = ("frames", "rows", "columns")
    near = [
        f"the same {unit[:-1]}" if r == 0 else f"{r} {unit}"
        for r, unit in zip(part.reach, units, strict=False)
        if r < FAR
    ]
    words = "within " + ", ".join(near) if near else "every token"
    return words + (", no later frame" if part.causal else "") + (", moved inwards at edges" if part.clamped else "")
