"""The transformer, the codec, the text encoder and their file."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from diffusers_twins import diffusers_twin, relative
from fakes import random_transformer, random_world_model, small_config
from vdit.model.codec.tiny import TinyCodec, TinyCodecConfig, UnshuffledConv, UnshufflePixels
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.files.bundle import load_world_model, save_world_model
from vdit.model.vdit import REACH, VDiT, init_weights, latest_known_frame

SIZES = [  # config, latent grid
    (VDiTConfig(dim=128, ffn_dim=192, layers=2, in_channels=4, out_channels=4, text_dim=16, text_len=8), (5, 4, 6)),
    (VDiTConfig(dim=256, ffn_dim=512, layers=3, in_channels=16, out_channels=16, text_dim=24, text_len=12), (3, 6, 2)),
    (VDiTConfig(dim=384, ffn_dim=640, layers=2, in_channels=32, out_channels=32, text_dim=32, text_len=16), (11, 8, 8)),
]


@pytest.mark.parametrize("config, grid", SIZES)
@pytest.mark.parametrize("per_frame", [False, True], ids=["one time", "a time per token"])
def test_transformer_equals_diffusers_wan(config, grid, per_frame):
    model = random_transformer(config)
    twin = diffusers_twin(model)
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, config.in_channels, *grid, generator=g)
    context = torch.randn(2, config.text_len, config.text_dim, generator=g)
    sigma = torch.rand(2, grid[0], generator=g) if per_frame else torch.rand(2, generator=g)
    if per_frame:
        sigma[:, 0] = 0.0
        tokens = grid[1] * grid[2] // 4
        timestep = (1000 * sigma).repeat_interleave(tokens, dim=1)
    else:
        timestep = 1000 * sigma
    with torch.no_grad():
        ours = model(x, sigma, context)
        theirs = twin(x, timestep, context, return_dict=False)[0]
    assert ours.abs().mean() > 0.01, "a silent model proves nothing"
    assert relative(ours, theirs) <= 1e-5


def test_each_frame_gets_the_index_of_the_latest_known_frame():
    x = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 2, 5, 4, 6)
    sigma = torch.tensor([[0.7, 0.0, 0.0, 0.7, 0.0]])
    told = latest_known_frame(x, sigma)
    assert told.shape == (1, 3, 5, 4, 6)
    assert told[0, 0, :, 0, 0].tolist() == [0, 1, 2, 2, 4] and told[0, 2, :, 0, 0].tolist() == [0, 1, 1, 1, 1]


def test_the_carried_frame_reaches_the_frames_after_it():
    model = random_world_model(
        config=VDiTConfig(dim=128, ffn_dim=64, layers=1, in_channels=8, out_channels=8, text_dim=16, carry=True)
    ).transformer
    x, words = torch.randn(1, 8, 3, 4, 4), torch.randn(1, 2, 16)
    sigma = torch.tensor([[0.0, 0.6, 0.6]])
    untrained = model(x, sigma, words)
    torch.nn.init.normal_(model.carry_embedding.weight, std=0.1)
    changed = (model(x, sigma, words) - untrained).abs().amax((0, 1, 3, 4))
    assert (changed > 1e-3).all()
    both = (model(x, s, words) for s in (sigma[:, 1], sigma[:, 1:2].expand(1, 3)))
    assert torch.allclose(*both, atol=1e-5), "nothing is known"


def test_short_text_is_zero_padded_as_in_wan():
    config, grid = SIZES[0]
    model = random_transformer(config)
    x, context = torch.randn(1, 4, *grid), torch.randn(1, 3, 16)
    whole = torch.nn.functional.pad(context, (0, 0, 0, config.text_len - 3))
    assert torch.equal(model(x, torch.tensor([0.5]), context), model(x, torch.tensor([0.5]), whole))


@torch.no_grad()
def test_text_keys_and_values_are_cached_for_the_next_steps():
    config, grid = SIZES[0]
    model, cache, read = random_transformer(config), {}, []
    model.text_embedding.register_forward_hook(lambda *_: read.append("text"))
    for block in model.blocks:
        block.cross_attn.k.register_forward_hook(lambda *_: read.append("keys"))
    context, sigma = torch.randn(1, 3, 16), torch.tensor([0.5])
    for length in (grid[0], 2, grid[0]):  # videos may be of other lengths
        x = torch.randn(1, 4, length, *grid[1:])
        assert torch.equal(model(x, sigma, context), model(x, sigma, context, text_cache=cache))
    assert len(read) == (1 + config.layers) * (3 + 1)


@pytest.mark.parametrize(
    "x, sigma, context, says",
    [
        ((1, 3, 5, 4, 6), (1,), (1, 8, 16), "expected \\[B, 4"),
        ((1, 4, 5, 3, 6), (1,), (1, 8, 16), "patches"),
        ((1, 4, 5, 4, 6), (1, 4), (1, 8, 16), "each latent frame"),
        ((1, 4, 5, 4, 6), (1,), (1, 9, 16), "at most 8"),
        ((1, 4, 5, 4, 6), (1,), (1, 8, 17), "at most 8, 16"),
    ],
)
def test_wrong_shapes_are_refused_with_the_numbers(x, sigma, context, says):
    model = VDiT(SIZES[0][0])
    with pytest.raises(ValueError, match=says):
        model(torch.zeros(x), torch.zeros(sigma), torch.zeros(context))


def awake_codec() -> TinyCodec:
    torch.manual_seed(0)
    codec = TinyCodec(TinyCodecConfig(channels=8, width=16, deep=24)).requires_grad_(False)
    for p in codec.parameters():
        p.add_(torch.randn_like(p) * 0.05)  # memory blocks start at zero
    return codec.eval()


def test_older_files_lack_the_encoders_shape():
    told = {"channels": 8, "width": 16, "deep": 24, "blocks": [1, 2]}
    config = TinyCodecConfig.from_header(told)
    assert (config.seen, config.looks, config.strokes) == ((16, 24), [1, 2], 0)
    assert TinyCodecConfig.from_header(asdict(TinyCodecConfig())) == TinyCodecConfig()


def test_pixels_are_folded_as_elsewhere():
    x = torch.rand(2, 16, 24, 3).permute(0, 3, 1, 2)
    conv = UnshuffledConv(8, 5)
    expected = torch.nn.functional.conv2d(2 * torch.nn.PixelUnshuffle(8)(x) - 1, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(UnshufflePixels(8)(x)), expected)
    x = torch.rand(1, 3, 8, 8)  # one patch, in order: nothing needs to be copied
    before = x.clone()
    UnshufflePixels(8)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_streamed_decoding_equals_parallel(chunk):
    codec = awake_codec()
    latent = torch.randn(2, 8, 5, 2, 3)
    whole = codec.decode(latent)
    pieces = list(codec.decode_stream(latent, chunk))
    assert whole.shape == (2, 17, 32, 48, 3)
    assert pieces[0].shape[1] == 4 * chunk - 3
    assert whole.std() > 0.01
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-6)


def test_codec_is_causal():
    codec = awake_codec()
    x = torch.rand(1, 9, 32, 32, 3)
    later = x.clone()
    later[:, 5:] = torch.rand_like(later[:, 5:])
    torch.testing.assert_close(codec.encode(later)[:, :, :2], codec.encode(x)[:, :, :2])
    torch.testing.assert_close(codec.encode(x[:, :1])[:, :, 0], codec.encode(x)[:, :, 0])
    assert not torch.allclose(codec.encode(later)[:, :, 2], codec.encode(x)[:, :, 2])


@pytest.mark.parametrize("frames, nearest", [(2, "1 or 5"), (16, "13 or 17"), (40, "37 or 41"), (0, "1 or 5")])
def test_codec_refuses_counts_off_its_lattice(frames, nearest):
    with pytest.raises(ValueError, match=nearest):
        TinyCodec().encode(torch.zeros(1, frames, 32, 32, 3))


def test_normalize_and_denormalize_are_inverse():
    codec = TinyCodec()
    codec.latent_mean.uniform_(-2, 2)
    codec.latent_std.uniform_(0.5, 3)
    z = torch.randn(2, 32, 3, 4, 4)
    torch.testing.assert_close(codec.denormalize(codec.normalize(z)), z)


def test_text_names_unknown_words_with_their_nearest():
    text = random_world_model().text
    got = text.encode(["A red bal falls!", "the xylophone; spheres?"])
    assert dict(got.unknown)["bal"][0] == "ball"
    assert "xylophone" in dict(got.unknown)
    assert got.tokens.shape[0] == 2


def test_text_order_and_synonyms():
    text = random_world_model().text
    assert text.words("Grey SPHERE rolling") == ["gray", "ball", "rolls"]
    a, b = text.encode(["red ball blue box"]).tokens, text.encode(["blue ball red box"]).tokens
    assert not torch.allclose(a, b)


def test_text_padding_changes_nothing():
    text = random_world_model().text
    alone = text.encode(["a red ball"]).tokens
    beside = text.encode(["a red ball", "a red ball falls to the left"]).tokens
    torch.testing.assert_close(beside[0, :3], alone[0])
    assert beside[0, 3:].abs().max() == 0


def test_long_prompt_is_cut_and_says_so():
    text = random_world_model().text
    got = text.encode(["red ball " * 500])
    assert got.tokens.shape[1] == text.max_words
    assert got.cut == 1000 - text.max_words


@pytest.fixture
def bundle(tmp_path):
    model = random_world_model(3)
    model.facts = {"steps": 1}
    return save_world_model(model, tmp_path / "m.safetensors", torch.float32)


def test_bundle_round_trip(bundle):
    model, again = random_world_model(3), load_world_model(bundle)
    assert again.facts == {"steps": 1} and again.text.vocabulary == model.text.vocabulary
    x, s = torch.randn(1, 8, 2, 4, 4), torch.tensor([0.3])
    c = model.text.encode(["red ball"]).tokens
    assert torch.equal(model.transformer(x, s, c), again.transformer(x, s, again.text.encode(["red ball"]).tokens))


def test_place_embeddings_do_not_depend_on_the_grid():
    from vdit.model.vdit import PlaceEmbedding

    config = VDiTConfig(dim=128, ffn_dim=64, layers=1, in_channels=4, out_channels=4, text_dim=16, places=True)
    embedding = PlaceEmbedding(config)
    small, large = (embedding(grid, torch.zeros(1)) for grid in ((11, 4, 4), (21, 3, 6)))
    assert small.shape == (11, 16, 128) and large.shape == (21, 18, 128)
    tokens = small.flatten(0, 1)
    apart = (tokens[:, None] - tokens).norm(dim=-1) + 9 * torch.eye(len(tokens))
    assert apart.min() > 1e-3  # no two places look alike
    even, other = small[3].unflatten(0, (4, 4)), embedding((5, 4, 2), torch.zeros(1))[3].unflatten(0, (4, 2))
    torch.testing.assert_close(even[:, 1:3], other)  # the same place around the centre in pictures of other sizes
    known, wide = (embedding((2, n, n), torch.zeros(1))[1].unflatten(0, (n, n)) for n in (5, 15))
    torch.testing.assert_close(wide[1::3, 1::3], known)  # and of larger ones, whose places lie closer
    x, sigma, words = torch.randn(1, 4, 3, 4, 4), torch.rand(1), torch.randn(1, 2, 16)
    told = init_weights(VDiT(config), 0)
    torch.nn.init.normal_(told.head.head.weight, std=0.1)
    plain = VDiT(replace(config, places=False))
    plain.load_state_dict({n: v for n, v in told.state_dict().items() if not n.startswith("place")})
    torch.testing.assert_close(told(x, sigma, words), plain(x, sigma, words))  # begins without effect


def test_a_byte_a_weight_keeps_the_model_and_halves_the_file(tmp_path):
    model = random_world_model(3)
    half = save_world_model(model, tmp_path / "half.safetensors", torch.float16)
    short = save_world_model(model, tmp_path / "short.safetensors", torch.int8)
    assert short.stat().st_size < 0.56 * half.stat().st_size
    again = load_world_model(short)
    for part, module in model.parts.items():
        for name, value in module.state_dict().items():
            found = again.parts[part].state_dict()[name]
            assert (found - value).norm() <= 0.012 * value.norm(), name
    twice = load_world_model(save_world_model(again, tmp_path / "twice.safetensors", torch.int8))
    one, two = (m.transformer.state_dict() for m in (again, twice))
    assert all(
        (one[n] - two[n]).norm() <= 1e-3 * one[n].norm() for n in one
    )  # training goes on from it without new loss


def damaged(bundle, how):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    data = bundle.read_bytes()
    if how == "missing":
        return bundle.with_name("nothing.safetensors")
    if how == "truncated":
        bundle.write_bytes(data[: len(data) // 2])
    elif how == "garbage":
        bundle.write_bytes(b"\x13" * 4000)
    elif how == "empty":
        bundle.write_bytes(b"")
    elif how == "pickle":
        torch.save({"a": torch.zeros(2)}, bundle)
    else:
        tensors = load_file(bundle)
        with safe_open(bundle, "pt") as f:
            meta = f.metadata()
        name = "diffusion_model.blocks.0.self_attn.q.weight"
        if how == "nan":
            tensors[name][0, 0] = float("nan")
        elif how == "lacking":
            del tensors[name]
        elif how == "shape":
            tensors[name] = tensors[name][:, :100].contiguous()
        elif how == "foreign":
            meta, tensors = None, {"model.diffusion_model.input_blocks.0.weight": torch.zeros(2)}
        elif how == "wan":
            meta = None
        elif how == "unscaled":
            tensors[name] = tensors[name].to(torch.int8)
        elif how == "newer":
            meta["vdit"] = json.dumps({**json.loads(meta["vdit"]), "format": 99})
        save_file(tensors, bundle, metadata=meta)
    return bundle


@pytest.mark.parametrize(
    "how, says",
    [
        ("missing", "no such file"),
        ("truncated", "cut short"),
        ("garbage", "cut short"),
        ("empty", "cut short"),
        ("pickle", "pickle"),
        ("nan", "NaN"),
        ("lacking", "missing"),
        ("shape", "shape"),
        ("foreign", "another family"),
        ("wan", "Wan family"),
        ("newer", "update the pack"),
        ("unscaled", "no scales that fit"),
    ],
)
def test_bad_files_are_refused_by_name(bundle, how, says):
    path = damaged(bundle, how)
    with pytest.raises(CheckpointError, match=says) as e:
        load_world_model(path)
    assert str(path) in str(e.value)


def test_nan_weights_are_not_saved(tmp_path):
    model = random_world_model()
    model.transformer.head.head.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        save_world_model(model, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_long_video_attends_to_near_frames_and_a_short_one_to_all():
    """Two blocks reach twice as far as one; in a longer video the first frame changes nothing beyond that."""
    model = random_transformer(small_config(patch=(1, 2, 2)))
    text = torch.randn(1, 3, 32)

    def changed(frames):
        x = torch.randn(1, 8, frames, 4, 4, generator=torch.Generator().manual_seed(0))
        other = x.clone()
        other[:, :, 0] += 1
        one, two = (model(y, torch.full((1,), 0.5), text) for y in (x, other))
        return (one - two).abs().amax((0, 1, 3, 4)) > 0

    assert changed(2 * REACH).all()
    far = changed(6 * REACH)
    assert far[: REACH + 1].all() and not far[4 * REACH + 8 :].any()
    model.attention = ("full", 0.5)  # chosen by a user
    assert changed(6 * REACH).all()
