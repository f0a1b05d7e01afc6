"""Kernels without a GPU: tile order, plans against brute force, the reference, the ops, who computes what."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from vdit.kernels import cpu, dispatch, ops, reference
from vdit.kernels import plan as plans
from vdit.kernels.compiled import constant_when_compiled
from vdit.kernels.gather import gathered, groups
from vdit.kernels.grid import FAR, Grid, choose_tile, from_tiles, raster_order, tile_order, to_tiles, unpack
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


def brute(grid: Grid, pattern, tile, query_frames=None, query_rows=None) -> torch.Tensor:
    """bool [queries, keys] in raster order, token by token from the words of the patterns."""
    (first, end), (top, bottom) = query_frames or (0, grid.t), query_rows or (0, grid.h)
    place = torch.cartesian_prod(*(torch.arange(n) for n in grid.sides)).view(-1, 3)
    asked = (place[:, 0] >= first) & (place[:, 0] < end) & (place[:, 1] >= top) & (place[:, 1] < bottom)
    q, k = place[asked][:, None], place[None]
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
    for tile_real, n in zip(real.view(-1, 64), order.tile_len.tolist(), strict=True):
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
    for ptr, idx, ptr_t, idx_t in (
        (t.full_ptr, t.full_idx, t.full_ptr_t, t.full_idx_t),
        (t.part_ptr, t.part_idx, t.part_ptr_t, t.part_idx_t),
    ):
        assert pairs(ptr, idx) == {(i, j) for j, i in pairs(ptr_t, idx_t)}


@pytest.mark.parametrize("frames,rows", [((4, 5), None), ((0, 2), None), ((2, 5), None), ((1, 3), None),
                                         (None, (0, 3)), (None, (3, 7)), ((1, 4), (2, 4))], ids=str)  # fmt: skip
@pytest.mark.parametrize("pattern", ["full", "window", "clamped window", "frame-causal", "sliding tiles"])
def test_some_frames_and_rows_may_ask_all(pattern, frames, rows):
    grid, tile = Grid(5, 7, 9), (2, 3, 4)
    p = plan(grid, PATTERNS[pattern], tile=tile, query_frames=frames, query_rows=rows)
    assert torch.equal(expanded(p), brute(grid, PATTERNS[pattern], tile, frames, rows))


def gym_mask(mod, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return mod(None, None, q[:, None], k[None])


def test_sliding_tiles_are_attn_gyms():
    gym = pytest.importorskip("attn_gym.masks.sta")
    grid, tile = Grid(8, 9, 12), (2, 3, 4)
    for tiles in ((3, 3, 3), (1, 2, 3), (4, 1, 2), (2, 3, 1)):
        kernel = tuple(n * s for n, s in zip(tiles, tile, strict=True))
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


def test_windows_at_wan_480p_waste_little_and_plans_are_small():
    for tiles in ((3, 3, 3), (3, 3, 5), (5, 3, 3), (1, 3, 3)):
        for blocks in ((64, 64), (128, 64)):
            p = plan(WAN_480P, sliding_tiles(*tiles), *blocks)
            assert p.waste <= 1.3 and not len(p.tensors.part_idx), p.explain()
    for pattern in PATTERNS.values():
        p = plan(WAN_480P, pattern)
        assert p.nbytes <= 5e6, p.explain()


def test_a_plan_is_cached_and_explains_itself():
    p = plan(WAN_480P, window(2, 7, 12))
    assert plan(WAN_480P, window(2, 7, 12)) is p
    assert 0.041 < p.density < 0.043  # exact share of visible pairs
    assert "2 frames, 7 rows, 12 columns" in p.explain() and "21x30x52" in p.explain()
    assert plan(WAN_480P, FULL).is_full and plan(Grid(3, 5, 7), (Box(2, 4, 6),)).is_full


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((Grid(3, 5, 7), ()), "tuple of Box"),
        ((Grid(3, 5, 7), (Box(-1, 0, 0),)), "reach is 0 to"),
        ((Grid(3, 5, 7), (Tiles(0, 1, 1),)), "at least one tile"),
        ((Grid(3, 5, 7), window(1, 1, 1, clamped=True) + SPATIAL), "clamped"),
        ((Grid(3, 5, 7), (Box(1, 1, 1, causal=True, clamped=True),)), "cannot be causal"),
        ((Grid(3, 5, 7), FULL, 48), "must be 16"),
        ((Grid(3, 5, 7), FULL, 64, 64, (5, 5, 5)), "holds 125"),
        ((Grid(5, 5, 7), Tiles(1, 1, 1), 64, 64, (2, 5, 7)), "tuple of Box"),
        ((Grid(5, 5, 7), FULL, 64, 64, None, (4, 9)), "query frames"),
        ((Grid(5, 5, 7), FULL, 64, 64, None, None, (3, 3)), "query rows"),
    ],
)
def test_plans_refuse_what_they_cannot_hold(arguments, says):
    with pytest.raises(ValueError, match=says):
        plan(*arguments)
    with pytest.raises(ValueError, match="must be 1 to 1024"):
        Grid(1, 2000, 1)


def qkv(p, dtype=torch.float64, heads=2, d=16, batch=1, seed=0, scale=1.0) -> list[torch.Tensor]:
    """Queries, keys and values in tile order; padding holds large rubbish, which nothing may see."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for order in (p.order_q, p.order_k, p.order_k):
        x = scale * torch.randn(batch, heads, order.slots, d, generator=generator, dtype=torch.float64)
        x[:, :, order.slot_token < 0] = 1e3
        out.append(x.to(dtype))
    return out


def dense(q, k, v, mask, scale):
    """Plain attention of tokens in raster order, in float64; rows that see nothing give 0."""
    s = (q @ k.mT * scale).masked_fill(~mask, float("-inf"))
    p = torch.softmax(s, -1).nan_to_num(0)
    return p @ v, torch.logsumexp(s, -1)


def raster(x, order):
    return x.index_select(2, order.token_slot.long())


@pytest.mark.parametrize("grid, blocks", [("ragged", (64, 32)), ("many tiles", (64, 64)), ("line", (128, 64))], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_reference_is_masked_attention_forward_and_backward(pattern, grid, blocks):
    sides, tile = GRIDS[grid]
    p = plan(sides, PATTERNS[pattern], *blocks, tile=tile)
    mask = brute(sides, PATTERNS[pattern], p.order_k.tile)
    q, k, v = (raster(x, p.order_k).requires_grad_() for x in qkv(p))
    out, lse = dense(q, k, v, mask, 0.25)
    dout, dlse = torch.randn(out.shape, dtype=out.dtype), torch.randn(lse.shape, dtype=lse.dtype)
    grads = torch.autograd.grad((out, lse), (q, k, v), (dout, dlse))

    tq, tk, tv = qkv(p)
    got, got_lse = reference.attention(tq, tk, tv, p.tensors, *blocks, 0.25)
    torch.testing.assert_close(raster(got, p.order_q), out.detach(), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(raster(got_lse, p.order_q), lse.detach(), atol=1e-12, rtol=1e-12)
    padding = p.order_q.slot_token < 0
    assert not got[:, :, padding].any() and (got_lse[:, :, padding] == float("-inf")).all()

    to = lambda x: torch.full((*x.shape[:2], p.slots_q, *x.shape[3:]), 5.0, dtype=x.dtype).index_copy(  # noqa: E731
        2, p.order_q.token_slot.long(), x
    )
    mine = reference.attention_backward(to(dout), to(dlse), tq, tk, tv, got, got_lse, p.tensors, *blocks, 0.25)
    for grad, expected in zip(mine, grads, strict=True):
        torch.testing.assert_close(raster(grad, p.order_k), expected, atol=1e-11, rtol=1e-11)
        assert not grad[:, :, p.order_k.slot_token < 0].any()


def by_reference(p, tiles, scale):
    return raster(reference.attention(*tiles, p.tensors, p.block_q, p.block_k, scale)[0], p.order_q)


def by_cpu(p, tiles, scale):
    return cpu.attention(*heads_last(p, *tiles), p.gathers, scale)[0].transpose(1, 2)


def heads_last(p, q, *keys) -> list[torch.Tensor]:
    """Tiles [B, H, slots, ...] of queries and of keys -> raster [B, L, H, ...]."""
    return [raster(x, of).transpose(1, 2) for x, of in ((q, p.order_q), *((x, p.order_k) for x in keys))]


@pytest.mark.parametrize("attention", [by_reference, by_cpu])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("pattern, size", [("full", 1), ("window", 1), ("window", 40), ("frame-causal", 6)])
def test_the_error_is_at_most_twice_sdpas_own(pattern, size, dtype, attention):
    grid = Grid(3, 5, 7)
    p = plan(grid, PATTERNS[pattern], tile=(2, 3, 4))
    mask = brute(grid, PATTERNS[pattern], (2, 3, 4))
    tiles = qkv(p, dtype, d=64, scale=size**0.5)
    q, k, v = (raster(x, p.order_k) for x in tiles)
    exact, _ = dense(q.double(), k.double(), v.double(), mask, 0.125)
    theirs = (F.scaled_dot_product_attention(q, k, v, mask, scale=0.125).double() - exact).abs()
    ours = (attention(p, tiles, 0.125).double() - exact).abs()
    assert ours.max() <= 2 * theirs.max() + 3e-6 and ours.mean() <= 2 * theirs.mean() + 3e-6


@pytest.mark.parametrize("grid, blocks", [("ragged", (64, 32)), ("many tiles", (64, 64)), ("line", (128, 64))], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_flash_attention_on_a_cpu_computes_what_the_reference_does(pattern, grid, blocks):
    sides, tile = GRIDS[grid]
    p = plan(sides, PATTERNS[pattern], *blocks, tile=tile)
    tiles = qkv(p, torch.float32)
    exact = [x.double() for x in tiles]
    q, k, v = heads_last(p, *tiles)
    out, lse = cpu.attention(q, k, v, p.gathers, 0.25)
    expected, expected_lse = reference.attention(*exact, p.tensors, *blocks, 0.25)
    torch.testing.assert_close(out, heads_last(p, expected)[0].float(), atol=3e-6, rtol=1e-5)
    torch.testing.assert_close(lse, heads_last(p, expected_lse)[0].float(), atol=3e-6, rtol=1e-5)
    dout = torch.randn_like(out)
    mine = cpu.attention_backward(dout, q, k, v, out, lse, p.gathers, 0.25)
    given = to_tiles(dout, p.order_q).double(), None, *exact, expected, expected_lse
    grads = reference.attention_backward(*given, p.tensors, *blocks, 0.25)
    for grad, exact_grad in zip(mine, heads_last(p, *grads), strict=True):
        torch.testing.assert_close(grad, exact_grad.float(), atol=1e-5, rtol=1e-5)


def struck_off() -> tuple:
    """(Plan of three frames that each see themselves, its tensors without the last frame's own block)."""
    p = plan(Grid(3, 5, 7), SPATIAL, tile=(1, 5, 7))
    full_ptr, full_ptr_t = p.tensors.full_ptr.clone(), torch.tensor([0, 1, 2, 2], dtype=torch.int32)
    full_ptr[-1] -= 1
    lists = p.tensors._replace(
        full_ptr=full_ptr, full_idx=p.tensors.full_idx[:-1], full_ptr_t=full_ptr_t, full_idx_t=p.tensors.full_idx_t[:-1]
    )
    return p, lists


def test_query_blocks_without_keys_give_nothing_and_take_no_gradient():
    p, lists = struck_off()
    q, k, v = qkv(p, torch.float32)
    out, lse = reference.attention(q, k, v, lists, 64, 64, 0.25)
    assert not out[:, :, 128:].any() and (lse[:, :, 128:] == float("-inf")).all() and out[:, :, :35].any()
    grads = reference.attention_backward(torch.ones_like(out), None, q, k, v, out, lse, lists, 64, 64, 0.25)
    assert not any(x[:, :, 128:].any() for x in grads) and grads[2][:, :, :35].any()


def test_queries_without_keys_give_nothing_and_take_no_gradient_on_a_cpu():
    p, lists = struck_off()
    gathers = gathered(lists, 64, 64)
    q, k, v = heads_last(p, *qkv(p, torch.float32))
    out, lse = cpu.attention(q, k, v, gathers, 0.25)
    assert not out[:, 70:].any() and (lse[:, 70:] == float("-inf")).all() and out[:, :35].any()
    grads = cpu.attention_backward(torch.ones_like(out), q, k, v, out, lse, gathers, 0.25)
    assert not any(x[:, 70:].any() for x in grads) and grads[2][:, :35].any()


@pytest.mark.parametrize("grid, blocks", [("ragged", (64, 32)), ("many tiles", (64, 64)), ("line", (128, 64))], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_gathers_are_the_plans_own_pairs_and_windows_share_masks(pattern, grid, blocks):
    sides, tile = GRIDS[grid]
    p = plan(sides, PATTERNS[pattern], *blocks, tile=tile)
    mask = brute(sides, PATTERNS[pattern], p.order_k.tile)
    seen = torch.zeros_like(mask)
    everything = torch.arange(sides.tokens)
    for group in groups(p.gathers):
        queries, keys = everything[group.queries], everything[group.keys]
        hidden = torch.zeros(len(queries), len(keys), dtype=torch.bool) if group.hidden is None else group.hidden
        assert not seen[queries].any()  # each query once
        seen[queries[:, None], keys] = ~hidden
        assert (~hidden).any(0).all() and (~hidden).any(1).all()  # no key is gathered for nobody
    assert torch.equal(seen, mask)


def test_windows_of_the_same_shape_share_a_mask():
    gathers = plan(Grid(32, 4, 4), window(1, 4, 2)).gathers
    assert len(set(gathers.mask_of.tolist())) < len(gathers.mask_of) / 2


def test_frames_that_ask_all_are_turned_by_their_own_place_on_a_cpu():
    """norm_rope_attention of the last frames is that of all frames, cut."""
    grid = Grid(4, 4, 4)
    rope, weight = (*(x.float() for x in tables(4, 6)), 2), torch.ones(24)
    q, k, v = (torch.randn(1, grid.tokens, 24) for _ in range(3))
    whole = plan(grid, window(1, 4, 4), 16, 16, tile=(1, 4, 4))
    part = plan(grid, window(1, 4, 4), 16, 16, tile=(1, 4, 4), query_frames=(2, 4))
    every = dispatch.norm_rope_attention(q, k, v, weight, weight, 1e-6, rope, grid, whole, fused="reference")
    for backend in ("cpu", "reference"):
        asked = q[:, 32:], k, v, weight, weight, 1e-6, rope, grid, part
        got = dispatch.norm_rope_attention(*asked, backend=backend, fused="reference")
        torch.testing.assert_close(got, every[:, 32:], atol=2e-6, rtol=1e-5)


def tables(places: int, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.rand(places, pairs, dtype=torch.float64) * 6
    return angle.cos(), angle.sin()


def test_norm_rope_tiles_is_the_three_steps_in_one():
    grid, heads, d = Grid(3, 5, 7), 2, 12
    order, (cos, sin) = tile_order(grid, (2, 3, 4)), tables(7, 6)
    x, weight = torch.randn(2, 105, 24, dtype=torch.float64), torch.rand(24, dtype=torch.float64)
    y = F.rms_norm(x, (24,), weight, 1e-6).unflatten(-1, (heads, d))
    place = torch.cartesian_prod(*(torch.arange(n) for n in grid.sides))
    of = torch.cat([place[:, [0, 0, 1, 1, 2, 2]]], 1)  # two pairs an axis
    rotation = torch.complex(cos.gather(0, of), sin.gather(0, of))
    y = torch.view_as_real(torch.view_as_complex(y.unflatten(-1, (-1, 2))) * rotation[:, None]).flatten(-2)
    places = order.coords, order.slot_token, order.token_slot
    got = reference.norm_rope_tiles(x, weight, cos, sin, 2, *places, heads, 1e-6)
    torch.testing.assert_close(got, to_tiles(y, order))
    moved = reference.norm_rope_tiles(x, None, None, None, 2, *places, heads, 1e-6)
    assert torch.equal(moved, to_tiles(x.unflatten(-1, (heads, d)), order))


def op_calls():
    """Each operator with arguments that want gradients, small and in float64."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)  # noqa: E731
    p = plan(Grid(2, 3, 4), window(1, 1, 1), 16, 16, tile=(2, 2, 3))
    order, (cos, sin) = p.order_q, tables(4, 3)
    lists = list(p.tensors)
    attend = [draw(1, 1, s, 6) for s in (p.slots_q, p.slots_k, p.slots_k)]
    x, y, frames, one = draw(2, 24, 12), draw(2, 24, 12), [draw(2, 2, 12) for _ in range(3)], draw(1, 1, 12)
    places = order.coords, order.slot_token, order.token_slot
    return {
        "attention": (ops.block_attention, (*attend, lists, 16, 16, p.padded, 0.4, False, "reference")),
        "attention to raster": (ops.block_attention, (*attend, lists, 16, 16, p.padded, 0.4, True, "reference")),
        "norm, rope, tiles": (ops.norm_rope_tiles, (x, draw(12), cos, sin, 1, *places, 2, 1e-6, "reference")),
        "tiles alone": (ops.norm_rope_tiles, (x, None, None, None, 1, *places, 2, 1e-6, "reference")),
        "gated residual": (ops.residual_norm, (x, y, *frames, 1e-6, "reference")),
        "residual": (ops.residual_norm, (x, y, None, one, frames[0], 1e-6, "reference")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", list(op_calls()))
def test_ops_pass_opcheck_and_their_gradients_are_right(name):
    op, args = op_calls()[name]
    torch.library.opcheck(op, args)
    wanted = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]

    def run(*tensors):
        left = iter(tensors)
        out = op(*(next(left) if isinstance(a, torch.Tensor) and a.requires_grad else a for a in args))
        return tuple(t.masked_fill(t == float("-inf"), 0) for t in (out if isinstance(out, tuple) else (out,)))

    assert torch.autograd.gradcheck(run, wanted, fast_mode=True)


@pytest.mark.slow
def test_attention_on_a_cpu_passes_opcheck():
    p = plan(Grid(2, 3, 4), window(1, 1, 1), 16, 16, tile=(2, 2, 3))
    q, k, v = (torch.randn(1, 24, 1, 6, requires_grad=True) for _ in range(3))
    torch.library.opcheck(ops.gathered_attention, (q, k, v, list(p.gathers), 0.4))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_sparse_attention_compiles_into_one_graph(backend):
    grid = Grid(3, 5, 7)
    p = plan(grid, window(1, 2, 1))

    def layer(q, k, v):
        return dispatch.attention(q * 2, k, v, p).square().sum()

    q, k, v = (torch.randn(1, grid.tokens, 2, 16, requires_grad=True) for _ in range(3))
    torch._dynamo.reset()
    try:
        got = torch.compile(layer, fullgraph=True, backend=backend)(q, k, v)
    except Exception as e:
        if backend == "inductor" and ("compiler" in str(e).lower() or "python.h" in str(e).lower()):
            pytest.skip("inductor needs a C++ compiler and Python's headers")
        raise
    expected = layer(q, k, v)
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got, (q, k, v)), torch.autograd.grad(expected, (q, k, v)), strict=True):
        torch.testing.assert_close(a, b)


def test_who_computes_and_why():
    grid, here, gpu = Grid(3, 5, 7), torch.device("cpu"), torch.device("cuda")
    sparse, full = plan(grid, SPATIAL), plan(grid, FULL)
    assert dispatch.choose(None, here, torch.float32, 128)[0] == "sdpa"
    assert dispatch.choose(full, gpu, torch.bfloat16, 128)[0] == "sdpa"
    name, reason = dispatch.choose(sparse, here, torch.float32, 128)
    assert name == "cpu" and "on cpu" in reason
    assert dispatch.choose(sparse, here, torch.float64, 128)[0] == "reference"
    assert dispatch.choose(full, here, torch.float32, 128, "reference")[0] == "reference"
    for plan_, device, dtype, d, backend, says in (
        (sparse, here, torch.float32, 128, "sdpa", "sees every token, the plan does not"),
        (sparse, here, torch.float32, 128, "triton", "on cpu"),
        (sparse, here, torch.float32, 128, "int8", "choose auto"),
        (sparse, gpu, torch.float32, 96, "triton", "heads of 64 and 128"),
        (sparse, gpu, torch.float64, 128, "triton", "float64"),
        (None, here, torch.float32, 128, "reference", "needs a plan"),
        (sparse, here, torch.float64, 128, "cpu", "not torch.float64"),
        (sparse, gpu, torch.float32, 128, "cpu", "on cuda"),
    ):
        with pytest.raises(RuntimeError, match=says):
            dispatch.choose(plan_, device, dtype, d, backend)
    with pytest.raises(ValueError, match="expected one of auto"):
        dispatch.choose(sparse, here, torch.float32, 128, "flash")
    x = torch.zeros(1, 100, 2, 64)
    with pytest.raises(ValueError, match="100 queries .* 105"):
        dispatch.attention(x, x, x, sparse)


def test_attention_in_raster_order_is_the_same_whoever_computes():
    grid = Grid(3, 5, 7)
    q, k, v = (torch.randn(2, grid.tokens, 2, 16) for _ in range(3))
    for pattern in (FULL, window(1, 1, 2), FRAME_CAUSAL):
        p = plan(grid, pattern, tile=(2, 3, 4))
        exact, _ = dense(*(x.double().transpose(1, 2) for x in (q, k, v)), brute(grid, pattern, (2, 3, 4)), 0.25)
        for backend in ("auto", "cpu", "reference"):
            got = dispatch.attention(q, k, v, p, backend=backend)
            torch.testing.assert_close(got, exact.transpose(1, 2).float(), atol=2e-6, rtol=1e-5)


def test_a_full_plan_goes_straight_to_sdpa(monkeypatch):
    seen = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, *rest, **kw: seen.append(q) or q)
    q = torch.zeros(1, 105, 2, 64)
    for p in (None, plan(Grid(3, 5, 7), FULL)):
        assert dispatch.attention(q, q, q, p).data_ptr() == q.data_ptr()
    assert [x.data_ptr() for x in seen] == [q.data_ptr()] * 2  # the tensors themselves: nothing copied or permuted


def test_the_fused_path_is_the_same_attention():
    grid, heads, d = Grid(3, 5, 7), 2, 12
    cos, sin = tables(7, 6)
    q, k, v = (torch.randn(2, 105, 24, dtype=torch.float64) for _ in range(3))
    wq, wk = torch.rand(2, 24, dtype=torch.float64)
    order = raster_order(grid)
    turned = [
        reference.norm_rope_tiles(x, w, cos, sin, 2, order.coords, order.slot_token, order.token_slot, heads, 1e-6)
        for x, w in ((q, wq), (k, wk))
    ]
    for pattern in (FULL, window(1, 1, 2)):
        p = plan(grid, pattern, tile=(2, 3, 4))
        exact, _ = dense(*turned, v.unflatten(-1, (heads, d)).transpose(1, 2), brute(grid, pattern, (2, 3, 4)), d**-0.5)
        got = dispatch.norm_rope_attention(q, k, v, wq, wk, 1e-6, (cos, sin, 2), grid, p, fused="reference")
        torch.testing.assert_close(got, exact.transpose(1, 2))


@pytest.mark.slow
def test_importing_starts_no_driver_and_a_broken_triton_costs_only_its_kernels(tmp_path):
    (tmp_path / "triton.py").write_text("raise ImportError('libtriton.so: undefined symbol')")
    code = (
        "import torch, sys; from vdit.kernels import dispatch, ops, reference; from vdit.kernels.plan import *\n"
        "from vdit.kernels.grid import Grid\n"
        "assert not torch.cuda.is_initialized() and not any(m.startswith('vdit.kernels.triton') for m in sys.modules)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "for m in [m for m in sys.modules if m.split('.')[0] == 'triton']: del sys.modules[m]\n"
        "p = plan(Grid(3, 5, 7), SPATIAL); x = torch.randn(1, 105, 2, 64)\n"
        "assert dispatch.attention(x, x, x, p).shape == x.shape\n"
        "print(dispatch.choose(p, torch.device('cuda'), torch.bfloat16, 128))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("('reference'") and "undefined symbol" in run.stdout


INTERPRETED = """
import torch
from vdit.kernels import dispatch, ops
from vdit.kernels.grid import Grid
from vdit.kernels.plan import plan, window, SPATIAL
torch.manual_seed(0)
grid, heads, d = Grid(2, 5, 7), 2, 64
angle = torch.rand(7, d // 2)
rope = angle.cos(), angle.sin(), 12
leaves = [torch.randn(1, 70, heads * d) for _ in range(3)] + [torch.rand(heads * d) + 0.5 for _ in range(2)]
def attend(p, backend):
    q, k, v, wq, wk = own = [x.clone().requires_grad_() for x in leaves]
    y = dispatch.norm_rope_attention(q, k, v, wq, wk, 1e-6, rope, grid, p, backend=backend, fused=backend)
    return [y, *torch.autograd.grad((y * torch.arange(y.numel()).view(y.shape).cos()).sum(), own)]
p = plan(grid, window(1, 2, 1, clamped=True), tile=(2, 5, 4))
for ours, theirs in zip(attend(p, "triton"), attend(p, "reference")):
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
p = plan(grid, SPATIAL, tile=(1, 5, 7))
q, k, v = (x.unflatten(-1, (heads, d)) for x in leaves[:3])
exact, quantised = (dispatch.attention(q, k, v, p, backend=name) for name in ("reference", "int8"))
assert 0 < (quantised - exact).abs().sum() / exact.abs().sum() < 0.02
x, y = leaves[:2]
gate, mul, add = torch.randn(1, 2, 128), torch.randn(1, 1, 128), torch.randn(1, 2, 128)
for g in (gate, None):
    for ours, theirs in zip(ops.residual_norm(x, y, g, mul, add, 1e-6, "triton"),
                            ops.residual_norm(x, y, g, mul, add, 1e-6, "reference")):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
print("same")
"""


@pytest.mark.slow
def test_triton_and_the_reference_agree_through_the_same_calls():
    pytest.importorskip("triton")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run([sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env=env)
    assert run.returncode == 0 and "same" in run.stdout, run.stderr


def test_the_mark_for_the_compiler_is_torchs_own_without_its_import():
    def ours():
        return 1

    def theirs():
        return 1

    assert vars(constant_when_compiled(ours)) == vars(torch.compiler.assume_constant_result(theirs)) != {}
    code = "import sys, vdit.model.files.load; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_queries_are_grouped_once_for_all_calls_of_a_plan(monkeypatch):
    """Forward, backward and later calls; another plan of the same pattern has groups of its own."""
    calls = []
    monkeypatch.setattr(plans, "gathered", lambda *args: calls.append(1) or gathered(*args))
    x = [torch.randn(1, 64, 1, 16, requires_grad=True) for _ in range(3)]
    counts = []
    for _ in range(2):
        plan.cache_clear()
        p = plan(Grid(4, 4, 4), window(1, 1, 1), 16, 16)
        for _ in range(2):
            dispatch.attention(*x, p, backend="cpu").sum().backward()
            counts.append(len(calls))
    assert counts == [1, 1, 2, 2]
