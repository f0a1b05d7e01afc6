"""The memory that a model needs is estimated before it is loaded; larger models are streamed block by block."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from vdit.model import streaming
from vdit.model.config import VDiTConfig
from vdit.model.experts import Experts
from vdit.model.files.quantized import StoredLinear
from vdit.model.memory import GIB, activation_bytes, estimate
from vdit.model.variants import VARIANTS
from vdit.model.wan import WanTransformer

CPU = torch.device("cpu")
SMALL = dict(dim=128, ffn_dim=256, layers=6, in_channels=16, out_channels=16, text_dim=32, text_len=16)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def model(seed=0, **config):
    torch.manual_seed(seed)
    return WanTransformer(VDiTConfig(**SMALL | config)).requires_grad_(False).eval()


def inputs(config, batch=1, grid=(2, 4, 4), dtype=torch.float32):
    torch.manual_seed(1)
    x = torch.randn(batch, config.in_channels, *grid, dtype=dtype)
    return x, torch.full((batch,), 0.5), torch.randn(batch, 5, config.text_dim, dtype=dtype)


class Alive(TorchDispatchMode):
    """Bytes of storages that operators have made and that are alive, and the most there were."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for t in tree_leaves(out):
            storage = t.untyped_storage() if isinstance(t, torch.Tensor) else None
            if storage is not None and storage._cdata not in given | self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, key, size):
        self.known.discard(key)
        self.now -= size


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("branch", [{}, {"vace_channels": 96, "vace_layers": (0, 1)}, {"ffn_dim": 1280}])
def test_the_estimate_is_what_a_forward_holds(dtype, branch):
    m = model(layers=2, dim=256, **branch).to(dtype)
    x, sigma, context = inputs(m.config, batch=2, grid=(3, 32, 48), dtype=dtype)
    vace = torch.randn(2, 96, 3, 32, 48, dtype=dtype) if branch.get("vace_channels") else None
    with Alive() as alive:
        m(x, sigma, context, vace=vace)
    told = activation_bytes(m.config, (3, 32, 48), 2, dtype.itemsize)
    assert 0.95 <= told / alive.most <= 1.3, (told, alive.most)


def sizes_of(name, itemsize=2):
    with torch.device("meta"):
        m = WanTransformer(VARIANTS[name].config)
    return {key: value.numel() * itemsize for key, value in m.state_dict().items()}


def test_the_estimate_is_reported_with_figures_and_cards():
    config, sizes = VARIANTS["t2v-14b"].config, sizes_of("t2v-14b")
    need = estimate(config, sizes, 81, 832, 480, parameters=sum(sizes.values()) // 2)
    assert 26 < need.weights / GIB < 28 and 3 < need.activations / GIB < 5
    assert need.cards() == "fits a 48 GB card (L40S), streamed a 8 GB card (RTX 4060)"
    assert need.fits(8 * GIB) and not need.fits(4 * GIB)
    assert "streamed from main memory" in need.sentence(20 * GIB)
    assert need.sentence(45 * GIB).endswith("45 GiB are free")
    told = need.sentence(5 * GIB)
    assert "What would fit: 81 frames of " in told and "8 GB card" in told


def test_a_smaller_file_is_advised_where_no_smaller_video_helps():
    config, sizes = VARIANTS["t2v-14b"].config, sizes_of("t2v-14b", 4)
    need = estimate(config, sizes, 5, 128, 128, parameters=sum(sizes.values()) // 4)
    free = int(need.streamed * 0.8)
    assert "fp8 weights" in need.sentence(free)


# --- streaming


def size(module):
    return sum(t.nbytes for t in [*module.parameters(), *module.buffers()])


def budget_for(m, blocks):
    """Room for everything but blocks, and for so many of those."""
    return size(m) - sum(map(size, m.blocks)) + blocks * max(map(size, m.blocks))


@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_a_streamed_model_gives_the_same_and_holds_no_more_than_its_budget(blocks):
    m = model()
    given = inputs(m.config)
    want = m(given[0].clone(), *given[1:])
    stream = streaming.BlockStream(m, CPU, budget_for(m, blocks))
    assert len(stream.streamed) == 6 - (blocks - 2) and stream.resident <= budget_for(m, blocks)
    held = []
    for block in m.blocks:
        block.register_forward_pre_hook(lambda block, args: held.append(len(stream.copies)))
    for _ in range(2):  # the second pass knows what follows
        assert torch.equal(m(given[0].clone(), *given[1:]), want)
    assert max(held) == 2, "one block computes, the next is on its way"
    stream.end()
    assert torch.equal(m(given[0].clone(), *given[1:]), want)


def test_the_next_block_is_fetched_before_its_turn():
    m = model()
    given = inputs(m.config)
    stream = streaming.BlockStream(m, CPU, budget_for(m, 2))
    m(given[0].clone(), *given[1:])
    seen = []
    m.blocks[2].register_forward_hook(lambda *_: seen.append(m.blocks[3] in stream.copies))
    m(given[0].clone(), *given[1:])
    assert seen == [True]


def test_a_control_branch_is_streamed_in_the_order_it_runs():
    m = model(vace_channels=8, vace_layers=(0, 2, 4))
    x, sigma, context = inputs(m.config)
    vace = torch.randn(1, 8, 2, 4, 4)
    want = m(x.clone(), sigma, context, vace=vace)
    streaming.BlockStream(m, CPU, size(m) // 2)
    for _ in range(2):
        assert torch.equal(m(x.clone(), sigma, context, vace=vace), want)


def test_fp8_weights_travel_in_fp8():
    m = model()
    for block in m.blocks:
        for i in (0, 2):
            old = block.ffn[i]
            new = StoredLinear((old.out_features, old.in_features), True, "F8_E4M3")
            new.weight = torch.nn.Parameter(old.weight.to(torch.float8_e4m3fn), False)
            new.bias = old.bias
            block.ffn[i] = new
    given = inputs(m.config)
    want = m(given[0].clone(), *given[1:])
    stream = streaming.BlockStream(m, CPU, budget_for(m, 2))
    moved = []
    m.blocks[1].register_forward_pre_hook(lambda block, args: moved.append(block.ffn[0].weight.dtype))
    assert torch.equal(m(given[0].clone(), *given[1:]), want)
    assert moved == [torch.float8_e4m3fn] and len(stream.streamed) == 6


def test_a_text_encoder_is_streamed_where_its_blocks_lie():
    from transformers import UMT5Config, UMT5EncoderModel

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4, "vocab_size": 50}
    encoder = UMT5EncoderModel(UMT5Config(**sizes)).eval()
    ids = torch.arange(6)[None]
    want = encoder(ids).last_hidden_state
    stream = streaming.BlockStream(encoder, CPU, size(encoder) - size(encoder.encoder.block[0]))
    assert torch.equal(encoder(ids).last_hidden_state, want)
    assert stream.streamed and stream.streamed == list(encoder.encoder.block)[-len(stream.streamed) :]


def test_too_little_memory_is_refused_with_both_figures():
    m = model()
    with pytest.raises(
        MemoryError, match=r"WanTransformer needs .* GiB .* block by block; .* GiB are left .*fp8, GGUF"
    ):
        streaming.BlockStream(m, CPU, budget_for(m, 1))


def test_models_that_fit_stay_whole_and_others_move_off():
    a, b = model(0), model(1)
    free = streaming.RESERVE + budget_for(a, 4)
    streaming.load([a], CPU, free=free)
    streaming.load([b], CPU, free=free)
    assert [streaming.placement(m) for m in (a, b)] == ["in main memory", "streamed"]
    streaming.load([a], CPU, free=free + 2 * size(a))
    assert streaming.placement(a) == "on the device"
    streaming.move_off(a)


def test_two_experts_take_turns():
    high, low = model(0), model(1)
    both = Experts(high, low, 0.5)
    x, _, context = inputs(high.config)
    want = [both(x.clone(), torch.tensor([s]), context) for s in (0.9, 0.1)]
    streaming.load([both], CPU, free=streaming.RESERVE + budget_for(high, 3))
    placements = []
    for s, y in zip((0.9, 0.1), want, strict=True):
        assert torch.equal(both(x.clone(), torch.tensor([s]), context), y)
        placements.append([streaming.placement(expert) for expert in (high, low)])
    assert placements == [["streamed", "in main memory"], ["in main memory", "streamed"]]
    streaming.move_off(low)
