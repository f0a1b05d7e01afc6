"""A block with a KV cache computes what one pass over the whole video computes under the causal mask."""

import pytest
import torch
from fakes import random_transformer, small_config
from vdit.kernels.grid import Grid
from vdit.kernels.plan import FAR, CausalBlocks, plan
from vdit.model.config import HEAD_DIM
from vdit.model.kv_cache import CausalWindow, KVCache
from vdit.model.rope import apply_rope, rope_table
from vdit.model.vdit import VDiT
from vdit.model.wan import Past, WanTransformer

BLOCKS = 10
WINDOWS = {  # frames of a block, window, sink frames, frames of the first block
    "single frames, all of the past": (1, FAR - 1, 0, 1),
    "single frames, a window with a sink": (1, 5, 2, 1),
    "blocks of three, a window with a sink": (3, 9, 1, 3),
    "blocks of three behind a start picture": (3, 12, 3, 1),
}
CONTEXT = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(5))


def spans(frames: int, first: int) -> list[range]:
    starts = [0, *(first + frames * i for i in range(BLOCKS - 1))]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], starts[-1] + frames], strict=True)]


def close(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("kind", ["wan", "bundled"])
def test_ten_blocks_with_a_cache_equal_one_masked_pass_over_the_whole_video(name, kind):
    frames, window, sink, first = WINDOWS[name]
    bundled = dict(places=True, draft=True, carry=True, flow_map=True, vace_channels=257, vace_layers=(0,))
    model = random_transformer(small_config(**(bundled if kind == "bundled" else {})))
    if kind == "wan":
        wan = WanTransformer(model.config)
        wan.load_state_dict(model.state_dict())
        model = wan.requires_grad_(False).eval()
    blocks = spans(frames, first)
    count = blocks[-1].stop
    g = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(1, 8, count, 6, 4, generator=g) for _ in range(2))
    sigma = 0.7
    told = {}
    if kind == "bundled":
        told["draft"] = torch.cat((torch.randn(1, 8, count, 6, 4, generator=g), torch.ones(1, 1, count, 6, 4)), 1)
        told["vace"] = torch.randn(1, 257, count, 6, 4, generator=g)
    cache = KVCache(CausalWindow(min(window, count), sink))
    context_passes, noisy_passes = [], []
    with torch.no_grad():
        for block in blocks:
            at = slice(block.start, block.stop)
            own = {key: value[:, :, at] for key, value in told.items()}
            if kind == "bundled" and block.start:
                own["carried"] = clean[:, :, block.start - 1 : block.start]
            for level, passes in ((sigma, noisy_passes), (0.0, context_passes)):
                x = (1 - level) * clean[:, :, at] + level * noise[:, :, at]
                levels = torch.full((1, len(block)), level)
                more = {"target": levels / 2} if kind == "bundled" else {}
                passes.append(model(x, levels, CONTEXT, past=Past(cache, block.start), **own, **more))
        model.pattern = (CausalBlocks(frames, window, sink, first),)
        still = torch.zeros(1, count)
        more = {"target": still} if kind == "bundled" else {}
        whole = model(clean, still, CONTEXT, **told, **more)
        assert close(torch.cat(context_passes, 2), whole) < 1e-5
        for block, passed in zip(blocks, noisy_passes, strict=True):
            at, levels = slice(block.start, block.stop), still.clone()
            levels[:, at] = sigma
            x = clean.lerp(noise, levels[:, None, :, None, None])
            more = {"target": levels / 2} if kind == "bundled" else {}
            assert close(passed, model(x, levels, CONTEXT, **told, **more)[:, :, at]) < 1e-5


def test_the_mask_hides_what_a_window_with_a_sink_does_not_hold():
    seen = CausalBlocks(3, window=7, sink=2).sees(torch.arange(12), torch.arange(12), 12)
    assert seen[4].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5]  # the second block and all before it
    assert seen[11].nonzero().flatten().tolist() == [0, 1, 7, 8, 9, 10, 11]  # the sink and the latest five
    assert torch.equal(seen[9], seen[11])
    assert plan(Grid(12, 2, 3), (CausalBlocks(3, window=7, sink=2),)).visible == int(seen.sum()) * 36


def test_a_moving_sink_keeps_its_distance_to_the_window():
    """RealWonder's rule: keys are turned by their place in the window, the sink first, at every block anew."""
    window, sink, frame, size = 5, 1, 4, 2
    cache, layer = KVCache(CausalWindow(window, sink, moving_sink=True)), torch.nn.Identity()
    g = torch.Generator().manual_seed(0)
    keys, values, queries = (torch.randn(1, 12 * frame, 2, HEAD_DIM, generator=g) for _ in range(3))
    grid = (size, 2, 2)
    with torch.no_grad():
        for first in range(0, 12, size):
            at, end = slice(first * frame, (first + size) * frame), first + size
            turned = apply_rope(keys[:, at].clone(), rope_table(grid, HEAD_DIM, None, first))
            place = cache.place(first, grid, torch.device("cpu"))
            k, v = place.extend(layer, turned, values[:, at])
            q = apply_rope(queries[:, at].clone(), rope_table(grid, HEAD_DIM, None, first))
            got = attend(q, k, v)
            numbers = list(range(end)) if end <= window else [0, *range(end - window + sink, end)]
            tokens = torch.cat([torch.arange(n * frame, (n + 1) * frame) for n in numbers])
            own = apply_rope(keys[:, tokens].clone(), rope_table((len(numbers), 2, 2), HEAD_DIM))
            q = apply_rope(queries[:, at].clone(), rope_table(grid, HEAD_DIM, None, len(numbers) - size))
            assert close(got, attend(q, own, values[:, tokens])) < 1e-5


def test_a_cache_takes_no_more_memory_for_a_longer_video():
    model = random_transformer(small_config()).eval()
    cache, sizes = KVCache(CausalWindow(4, 1)), []
    with torch.no_grad():
        for first in range(12):
            x = torch.randn(1, 8, 1, 4, 4)
            model(x, torch.zeros(1, 1), CONTEXT, past=Past(cache, first))
            sizes.append(cache.nbytes)
    assert len(set(sizes)) == 1
    assert sizes[0] == 2 * 2 * 4 * 4 * 256 * 4  # keys and values of 2 layers, 4 frames of 4 tokens, 256 wide, float32


@pytest.mark.parametrize(
    ("first", "grid", "said"),
    [
        (5, (2, 2, 2), "expected the block that begins at 2"),
        (2, (2, 4, 4), "16 tokens in a latent frame, and 4 in those before"),
        (2, (5, 2, 2), "does not fit a causal window of 4"),
    ],
)
def test_a_block_out_of_turn_or_of_another_size_is_refused(first, grid, said):
    cache = KVCache(CausalWindow(4, 1))
    cache.place(0, (2, 2, 2), torch.device("cpu"))
    with pytest.raises(ValueError, match=said):
        cache.place(first, grid, torch.device("cpu"))


def test_a_window_needs_room_beside_its_sink():
    with pytest.raises(ValueError, match="expected fewer sink frames"):
        CausalWindow(3, 3)


def test_a_cache_refuses_gradients():
    model, x = VDiT(small_config()), torch.randn(1, 8, 1, 4, 4)
    with pytest.raises(RuntimeError, match="no_grad"):
        model(x, torch.zeros(1, 1), CONTEXT, past=Past(KVCache(), 0))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
