"""Space-time grids of tokens and their tile order: neighbours in time, height and width share a block of slots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

SLOTS = 64  # slots of a tile unless a kernel wants larger query blocks; keeps tensor cores busy
FAR = 4096  # a reach beyond every coordinate
LIMITS = (1024, 1024, 2048)  # what the packed coordinates hold: 10 bits, 10 bits, 11 bits


@dataclass(frozen=True)
class Grid:
    """Tokens of a video in raster order: t latent frames of h rows of w columns."""

    t: int
    h: int
    w: int

    def __post_init__(self):
        for name, n, limit in zip("thw", self.sides, LIMITS, strict=False):
            if not 0 < n <= limit:
                raise ValueError(f"grid {self}: {name} is {n}; it must be 1 to {limit}")

    @property
    def sides(self) -> tuple[int, int, int]:
        """(t, h, w)."""
        return self.t, self.h, self.w

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.t * self.h * self.w

    def __str__(self) -> str:
        return "x".join(map(str, self.sides))


def choose_tile(
    grid: Grid, reach: tuple[int, int, int] | None = None, causal: bool = False, slots: int = SLOTS
) -> tuple[int, int, int]:
    """Tile sides (t, h, w) of at most `slots` tokens with the fewest pairs of tiles that a window touches.

    The window reaches `reach` tokens to each side; causal: never to a later frame. Padding counts through the number
    of tiles. None: the window will be counted in tiles, so compact ones with little padding.
    """
    best: tuple = ()
    for a in range(1, min(grid.t, slots) + 1):
        for b in range(1, min(grid.h, slots // a) + 1):
            c = min(grid.w, slots // (a * b))
            tile = tuple(
                -(-n // -(-n // s)) for n, s in zip(grid.sides, (a, b, c), strict=False)
            )  # as many tiles, but even ones
            tiles = math.prod(-(-n // s) for n, s in zip(grid.sides, tile, strict=False))
            if reach is None:
                work = tiles * math.prod(8 + s for s in tile)  # 8: a window of some 9 tokens, widened by side - 1
            else:
                axes = zip(grid.sides, tile, reach, (causal, False, False), strict=False)
                work = math.prod(_touching(*axis) for axis in axes)
            best = min(best or (work, tiles, max(tile), tile), (work, tiles, max(tile), tile))
    return best[-1]


@lru_cache(maxsize=4096)
def _touching(n: int, side: int, reach: int, causal: bool) -> int:
    """Pairs of tiles of `side` on an axis of n with two tokens at most `reach` apart."""
    total = 0
    for start in range(0, n, side):
        last = min(n, start + side) - 1
        high = last if causal else min(n - 1, last + reach)
        total += high // side - max(0, start - reach) // side + 1
    return total


@dataclass(frozen=True, eq=False)
class TileOrder:
    """Where each token of a grid lies when tiles follow each other in raster order; a tile's padding is at its end.

    slot_token int32 [slots]: raster index, -1 for padding; token_slot int32 [tokens]: the inverse;
    coords int32 [slots]: t | h << 10 | w << 20, -1 for padding; tile_len int32 [tiles]: tokens of each tile.
    """

    grid: Grid
    tile: tuple[int, int, int]
    slots: int
    slot_token: Tensor
    token_slot: Tensor
    coords: Tensor
    tile_len: Tensor

    @property
    def tiles(self) -> tuple[int, int, int]:
        """How many tiles lie along each axis."""
        nt, nh, nw = (-(-n // s) for n, s in zip(self.grid.sides, self.tile, strict=False))
        return nt, nh, nw

    @property
    def padding(self) -> float:
        """Padding slots as a share of the tokens."""
        return self.slots / self.grid.tokens - 1

    def in_raster(self) -> TileOrder:
        """The tokens with the same coordinates, in raster order: the whole grid as one tile without padding."""
        places = torch.arange(self.grid.tokens, dtype=torch.int32, device=self.coords.device)
        coords, length = self.coords[self.token_slot.long()], self.tile_len.sum()[None]
        return TileOrder(self.grid, self.grid.sides, self.grid.tokens, places, places, coords, length)

    def to(self, device: torch.device | str) -> TileOrder:
        """The same order with its tensors on the device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return TileOrder(self.grid, self.tile, self.slots, **moved)


@lru_cache(maxsize=64)
def tile_order(
    grid: Grid, tile: tuple[int, int, int], slots: int = SLOTS, first: tuple[int, int, int] = (0, 0, 0)
) -> TileOrder:
    """The order of a grid in tiles of the given sides (t, h, w), `slots` slots each.

    first: where the grid begins in a larger one: coordinates count from there, and tiles end where that one's do.
    Raises ValueError when a tile does not fit its slots.
    """
    if min(tile) < 1 or math.prod(tile) > slots:
        raise ValueError(f"a tile of {tile} holds {math.prod(tile)} tokens; expected 1 to {slots}")
    axes = list(zip(grid.sides, tile, first, strict=True))
    corners = torch.cartesian_prod(*(torch.arange(at // s, -(-(at + n) // s)) * s for n, s, at in axes))
    inside = torch.cartesian_prod(*(torch.arange(s) for s in tile))
    place = corners[:, None] + inside - torch.tensor(first)  # [tiles, tokens of a whole tile, 3]
    real = ((place >= 0) & (place < torch.tensor(grid.sides))).all(-1)
    slot = torch.arange(len(place))[:, None] * slots + real.cumsum(1) - 1  # real tokens first, padding behind them
    tile_len = real.sum(1).int()
    place, slot = place[real], slot[real]

    raster = (place[:, 0] * grid.h + place[:, 1]) * grid.w + place[:, 2]
    slot_token = torch.full((len(tile_len) * slots,), -1, dtype=torch.int32)
    slot_token[slot] = raster.int()
    coords = torch.full_like(slot_token, -1)
    coords[slot] = pack(place + torch.tensor(first))
    token_slot = torch.empty(grid.tokens, dtype=torch.int32)
    token_slot[raster] = slot.int()
    return TileOrder(grid, tile, len(coords), slot_token, token_slot, coords, tile_len)


@lru_cache(maxsize=16)
def raster_order(grid: Grid, device: torch.device | str = "cpu") -> TileOrder:
    """The order that changes nothing: the whole grid as one tile without padding."""
    return tile_order(grid, grid.sides, grid.tokens).to(device)


def pack(place: Tensor) -> Tensor:
    """Coordinates [..., 3] as one int32 each."""
    t, h, w = place.long().unbind(-1)
    return (t | h << 10 | w << 20).int()


def unpack(coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(t, h, w) of packed coordinates; meaningless for padding (-1)."""
    return coords & 1023, coords >> 10 & 1023, coords >> 20


def to_tiles(x: Tensor, order: TileOrder) -> Tensor:
    """[B, L, heads, D] in raster order -> [B, heads, slots, D] in tile order, padding slots zero."""
    b, _, heads, d = x.shape
    out = x.new_zeros(b, heads, order.slots, d)
    return out.index_copy(2, order.token_slot.long(), x.transpose(1, 2))


def from_tiles(x: Tensor, order: TileOrder) -> Tensor:
    """[B, heads, slots, D] in tile order -> [B, L, heads, D] in raster order."""
    return x.index_select(2, order.token_slot.long()).transpose(1, 2)
