"""Kernels without a GPU: tile order, plans against brute force, the reference, the ops, who computes what, and wiring."""

from __future__ import annotations

import time

import pytest
import torch

from vdit.kernels.grid import FAR, Grid, choose_tile, from_tiles, tile_order, to_tiles, unpack
from vdit.kernels.plan import FRAME_CAUSAL, FULL, SPATIAL, TEMPORAL, Box, Tiles, plan, sliding_tiles, window

WAN_480P = Grid(21, 30, 52)
PATTERNS = {
    "full": FULL,
    "spatial": SPATIAL,
    "temporal": TEMPORAL,
    "window": window(1, 2, 1),
    "clamped window": window(1, 1, 2, clamped=True),
    "causal window": (Box(2, 1, 3, causal=True),),
    "frame-causal": FRAME_CAUSAL,
    "sliding tiles": sliding_tiles(1, 2, 3),
    "spatial or temporal": SPATIAL + TEMPORAL,
    "tiles or frame": sliding_tiles(3, 1, 1) + SPATIAL,
    "causal or window": FRAME_CAUSAL + window(1, 1, 1),
}
GRIDS = {"ragged": (Grid(3, 5, 7), None), "many tiles": (Grid(5, 7, 9), (2, 3, 4)), "line": (Grid(1, 1, 150), None)}


def brute(grid: Grid, pattern, tile, query_frames=None) -> torch.Tensor:
    """bool [queries, keys] in raster order, token by token from the words of the patterns."""
    first, end = query_frames or (0, grid.t)
    place = torch.cartesian_prod(*(torch.arange(n) for n in grid.sides)).view(-1, 3)
    q, k = place[(place[:, 0] >= first) & (place[:, 0] < end)][:, None], place[None]
    sides = torch.tensor(grid.sides)
    seen = torch.zeros(q.shape[0], k.shape[1], dtype=torch.bool)
    for part in pattern:
        if isinstance(part, Box):
            centre, reach = q, torch.tensor(part.reach)
            if part.clamped:
                low = torch.minimum(reach, sides // 2)
                centre = torch.minimum(torch.maximum(q, low), torch.maximum(sides - 1 - reach, sides // 2))
            near = ((k - centre).abs() <= reach).all(-1)
            seen |= near & (k[..., 0] <= q[..., 0]) if part.causal else near
        else:
            tiles = -(-sides // torch.tensor(tile))
            n = torch.minimum(torch.tensor(part.counts), tiles)
            kt, qt = k // torch.tensor(tile), q // torch.tensor(tile)
            low = torch.minimum(torch.maximum(qt - n // 2, torch.zeros_like(n)), tiles - n)
            seen |= ((kt >= low) & (kt < low + n)).all(-1)
    return seen


def expanded(p) -> torch.Tensor:
    """bool [query tokens, key tokens] that a kernel would see when it follows the plan's lists."""
    t = p.tensors
    seen = torch.zeros(p.slots_q, p.slots_k, dtype=torch.bool)
    (tq, hq, wq), (tk, hk, wk) = unpack(t.coords_q[:, None]), unpack(t.coords_k[None])
    inside = torch.zeros_like(seen)
    for rt, rh, rw, causal in t.boxes.tolist():
        inside |= (
            ((tq - tk).abs() <= rt) & ((hq - hk).abs() <= rh) & ((wq - wk).abs() <= rw) & ((tk <= tq) | (not causal))
        )
    inside &= (t.coords_q >= 0)[:, None] & (t.coords_k >= 0)
    rows = lambda i: slice(i * p.block_q, (i + 1) * p.block_q)  # noqa: E731
    for i in range(p.slots_q // p.block_q):
        for j in t.full_idx[t.full_ptr[i] : t.full_ptr[i + 1]].tolist():
            assert not seen[rows(i), j * p.block_k : (j + 1) * p.block_k].any(), "a block is listed twice"
            seen[rows(i), j * p.block_k : j * p.block_k + int(t.kv_len[j])] = True
        for j in t.part_idx[t.part_ptr[i] : t.part_ptr[i + 1]].tolist():
            cols = slice(j * p.block_k, (j + 1) * p.block_k)
            assert not seen[rows(i), cols].any(), "a block is listed twice"
            seen[rows(i), cols] = inside[rows(i), cols]
    return seen[p.order_q.token_slot.long()][:, p.order_k.token_slot.long()]


def pairs(ptr, idx) -> set[tuple[int, int]]:
    return {(i, j) for i in range(len(ptr) - 1) for j in idx[ptr[i] : ptr[i + 1]].tolist()}


@pytest.mark.parametrize("tile", [None, (2, 3, 4), (3, 5, 4), (1, 1, 1)])
@pytest.mark.parametrize("sides", [(3, 5, 7), (1, 1, 1), (5, 6, 8), (4, 4, 4)])
def test_tile_order_holds_each_token_once_with_padding_at_a_tiles_end(sides, tile):
    grid = Grid(*sides)
    order = tile_order(grid, tile or choose_tile(grid))
    real = order.slot_token >= 0
    assert torch.equal(order.slot_token[order.token_slot.long()], torch.arange(grid.tokens, dtype=torch.int32))
    assert int(real.sum()) == grid.tokens and torch.equal(real, order.coords >= 0)
    for tile_real, n in zip(real.view(-1, 64), order.tile_len.tolist()):
        assert tile_real[:n].all() and not tile_real[n:].any()
    t, h, w = unpack(order.coords[real])
    assert torch.equal((t * grid.h + h) * grid.w + w, order.slot_token[real])
    x = torch.randn(2, grid.tokens, 3, 4)
    assert torch.equal(from_tiles(to_tiles(x, order), order), x)
    assert to_tiles(x, order)[:, :, ~real].abs().sum() == 0


def test_tiles_suit_the_pattern_and_the_two_wan_sizes():
    assert choose_tile(WAN_480P) == choose_tile(Grid(21, 45, 80)) == (3, 5, 4)
    assert tile_order(WAN_480P, (3, 5, 4)).padding < 0.067
    assert choose_tile(WAN_480P, (0, FAR, FAR))[0] == 1  # spatial: no tile crosses a frame
    assert choose_tile(WAN_480P, (FAR, FAR, FAR), causal=True)[0] == 1


@pytest.mark.parametrize("blocks", [(64, 64), (64, 32), (16, 16), (128, 64)], ids=str)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_plans_equal_brute_force(pattern, grid, blocks):
    sides, tile = GRIDS[grid]
    p = plan(sides, PATTERNS[pattern], *blocks, tile=tile)
    mask = brute(sides, PATTERNS[pattern], p.order_k.tile)
    assert torch.equal(expanded(p), mask)
    assert p.visible == int(mask.sum())
    t = p.tensors
    for ptr, idx, ptr_t, idx_t in ((t.full_ptr, t.full_idx, t.full_ptr_t, t.full_idx_t),
                                   (t.part_ptr, t.part_idx, t.part_ptr_t, t.part_idx_t)):  # fmt: skip
        assert pairs(ptr, idx) == {(i, j) for j, i in pairs(ptr_t, idx_t)}


@pytest.mark.parametrize("frames", [(4, 5), (0, 2), (2, 5)], ids=str)
@pytest.mark.parametrize("pattern", ["full", "window", "clamped window", "frame-causal", "sliding tiles"])
def test_some_frames_may_ask_all(pattern, frames):
    grid, tile = Grid(5, 7, 9), (2, 3, 4)
    p = plan(grid, PATTERNS[pattern], tile=tile, query_frames=frames)
    assert torch.equal(expanded(p), brute(grid, PATTERNS[pattern], tile, frames))


def gym_mask(mod, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return mod(None, None, q[:, None], k[None])


def test_sliding_tiles_are_attn_gyms():
    gym = pytest.importorskip("attn_gym.masks.sta")
    grid, tile = Grid(8, 9, 12), (2, 3, 4)
    for tiles in ((3, 3, 3), (1, 2, 3), (4, 1, 2), (2, 3, 1)):
        kernel = tuple(n * s for n, s in zip(tiles, tile))
        mod = gym.generate_sta_mask_mod_3d(grid.sides, kernel, tile)
        p = plan(grid, sliding_tiles(*tiles), tile=tile)
        place = torch.cartesian_prod(*(torch.arange(n) for n in grid.sides))
        nt, nh, nw = p.order_k.tiles
        t, h, w = (place // torch.tensor(tile)).unbind(-1)
        a, b, c = (place % torch.tensor(tile)).unbind(-1)
        index = ((t * nh + h) * nw + w) * 24 + (a * 3 + b) * 4 + c  # the gym's tokens lie tile after tile
        assert torch.equal(expanded(p), gym_mask(mod, index, index)), tiles


def test_clamped_windows_are_attn_gyms_neighbourhoods():
    gym = pytest.importorskip("attn_gym.masks.natten")
    height, width = 9, 12
    raster = torch.arange(height * width)
    index = raster % width * width + raster // width  # the gym's index // canvas_w is its x, the column
    for kh, kw in ((3, 5), (5, 3), (9, 7)):
        p = plan(Grid(1, height, width), window(0, kh // 2, kw // 2, clamped=True), tile=(1, 3, 4))
        assert torch.equal(expanded(p), gym_mask(gym.generate_natten(width, height, kw, kh), index, index)), (kh, kw)


def test_windows_at_wan_480p_waste_little_and_plans_are_small_and_quick():
    for tiles in ((3, 3, 3), (3, 3, 5), (5, 3, 3), (1, 3, 3)):
        for blocks in ((64, 64), (128, 64)):
            p = plan(WAN_480P, sliding_tiles(*tiles), *blocks)
            assert p.waste <= 1.3 and not len(p.tensors.part_idx), p.explain()
    for pattern in PATTERNS.values():
        plan.__wrapped__(WAN_480P, pattern)  # once for torch's own start
        seconds = []
        for _ in range(3):
            start = time.thread_time()
            p = plan.__wrapped__(WAN_480P, pattern)
            seconds.append(time.thread_time() - start)
        assert min(seconds) <= 0.05, f"{min(seconds):.3f} s: {p.explain()}"
        assert p.nbytes <= 5e6, p.explain()


def test_a_plan_is_kept_and_explains_itself():
    p = plan(WAN_480P, window(2, 7, 12))
    assert plan(WAN_480P, window(2, 7, 12)) is p
    assert 0.041 < p.density < 0.043  # exact share of visible pairs
    assert "2 frames, 7 rows, 12 columns" in p.explain() and "21x30x52" in p.explain()
    assert plan(WAN_480P, FULL).is_full and plan(Grid(3, 5, 7), (Box(2, 4, 6),)).is_full


@pytest.mark.parametrize("arguments, says", [
    ((Grid(3, 5, 7), ()), "tuple of Box"),
    ((Grid(3, 5, 7), (Box(-1, 0, 0),)), "reach is 0 to"),
    ((Grid(3, 5, 7), (Tiles(0, 1, 1),)), "at least one tile"),
    ((Grid(3, 5, 7), window(1, 1, 1, clamped=True) + SPATIAL), "clamped"),
    ((Grid(3, 5, 7), FULL, 48), "must be 16"),
    ((Grid(3, 5, 7), FULL, 64, 64, (5, 5, 5)), "holds 125"),
    ((Grid(5, 5, 7), Tiles(1, 1, 1), 64, 64, (2, 5, 7)), "tuple of Box"),
    ((Grid(5, 5, 7), (Tiles(1, 1, 1),), 64, 64, (2, 5, 6), (1, 3)), "cut through tiles"),
    ((Grid(5, 5, 7), FULL, 64, 64, None, (4, 9)), "query frames"),
])  # fmt: skip
def test_plans_refuse_what_they_cannot_hold(arguments, says):
    with pytest.raises(ValueError, match=says):
        plan(*arguments)
    with pytest.raises(ValueError, match="must be 1 to 1024"):
        Grid(1, 2000, 1)
