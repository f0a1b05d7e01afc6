"""The Wan codecs against diffusers', the tiny preview codecs against their plain formula, and their files."""

from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import pytest
import torch
from torch.nn import functional as F
from vdit.model.codec import tiles
from vdit.model.codec.taehv import TaeCodec
from vdit.model.codec.wan import WanCodec, detect_codec, load_codec_file, native_name, with_preview
from vdit.model.errors import CheckpointError, UnknownCodecError

WIDTHS = {"2.1": (8, 8), "2.2": (8, 12)}  # encoder, decoder


def diffusers_codec(kind: str, widths: tuple[int, int]):
    from diffusers import AutoencoderKLWan

    if kind == "2.1":
        return AutoencoderKLWan(base_dim=widths[0], decoder_base_dim=widths[1]).eval()
    return AutoencoderKLWan(
        base_dim=widths[0], decoder_base_dim=widths[1], z_dim=48, is_residual=True, in_channels=12, out_channels=12,
        patch_size=2, scale_factor_spatial=16, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module", params=["2.1", "2.2"])
def twins(request):
    """diffusers' codec at random weights, and ours with the same."""
    theirs = diffusers_codec(request.param, WIDTHS[request.param])
    generator = torch.Generator().manual_seed(0)
    for name, p in theirs.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        p.data = 1 + 0.3 * noise if "gamma" in name else noise * (0.1 if p.ndim == 1 else p[0].numel() ** -0.5)
    ours = WanCodec(request.param, *WIDTHS[request.param])
    ours.load_state_dict({native_name(n, request.param == "2.2"): v for n, v in theirs.state_dict().items()})
    return theirs, ours.requires_grad_(False).eval()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.slow
@pytest.mark.parametrize("frames, size", [(1, (4, 6)), (5, (6, 4)), (17, (4, 8)), (25, (2, 4))])
def test_encoding_and_decoding_equal_diffusers(twins, frames, size):
    theirs, ours = twins
    h, w = (n * ours.spatial for n in size)
    video = torch.rand(2, frames, h, w, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean = theirs.encode(video.permute(0, 4, 1, 2, 3) * 2 - 1).latent_dist.mode()
        decoded = theirs.decode(mean).sample.permute(0, 2, 3, 4, 1)
    latent = ours.encode(video)
    assert latent.shape == (2, ours.channels, (frames + 3) // 4, *size)
    assert mean.std() > 0.1 and decoded.std() > 0.1, "a silent codec proves nothing"
    assert relative(latent, mean) <= 1e-5
    assert relative(ours.decode(mean) * 2 - 1, decoded) <= 1e-5


def test_many_products_in_place_of_convolutions_keep_their_digits():
    """Wide enough and large enough that time and rows both go through Winograd's filters."""
    from vdit.model.codec.causal import CausalConv

    torch.manual_seed(0)
    conv, memory = CausalConv(128, 96).requires_grad_(False), {}
    x = torch.randn(1, 8, 32, 24, 128)  # frame 0, four at once, two at once, one
    ours = torch.cat([conv(part, memory) for part in x.split((1, 7), 1)], 1)
    exact = F.conv3d(
        F.pad(x.permute(0, 4, 1, 2, 3).double(), (1, 1, 1, 1, 2, 0)), conv.weight.double(), conv.bias.double()
    )
    assert relative(ours, exact.permute(0, 2, 3, 4, 1)) <= 2e-6


@pytest.mark.parametrize("chunk", [1, 2, 3, 9])
def test_streamed_decoding_equals_the_whole(twins, chunk):
    ours = twins[1]
    latent = torch.randn(1, ours.channels, 8, 2, 4)
    pieces = list(ours.decode_stream(latent, chunk))
    assert [p.shape[1] for p in pieces][0] == 4 * min(chunk, 8) - 3
    assert sum(p.shape[1] for p in pieces) == 29
    whole = torch.cat(list(ours.decode_stream(latent, 8)), 1)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-5)


def test_no_later_frame_changes_an_earlier_latent(twins):
    ours = twins[1]
    video = torch.rand(1, 9, 2 * ours.spatial, 2 * ours.spatial, 3)
    later = video.clone()
    later[:, 5:] = 0
    torch.testing.assert_close(ours.encode(later)[:, :, :2], ours.encode(video)[:, :, :2])
    assert not torch.allclose(ours.encode(later)[:, :, 2], ours.encode(video)[:, :, 2])


def peak_bytes(run) -> int:
    """The most memory that tensors held at once while `run` ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


@pytest.mark.slow
@pytest.mark.parametrize("codec", [WanCodec("2.1", 8), WanCodec("2.2", 8), TaeCodec("2.1")], ids=["2.1", "2.2", "tae"])
def test_decoding_takes_no_more_memory_for_longer_videos(codec):
    def drained(latent):
        for _ in codec.decode_stream(latent):
            pass

    short, long = (torch.randn(1, codec.channels, count, 2, 4) for count in (9, 17))
    assert peak_bytes(lambda: drained(long)) <= peak_bytes(lambda: drained(short)) + 2 * long.nbytes


def test_tiles_cover_every_pixel_once_and_blend_linearly():
    plan = tiles.tiles_of(20, 13, 8)
    assert plan.rows[0][0] == 0 and plan.rows[-1][1] == 20 and {b - a for a, b in plan.rows} == {8}
    assert all(a[1] - b[0] >= 2 for a, b in pairwise(plan.rows)), "neighbours overlap"
    x = torch.rand(1, 2, 20, 13, 4)
    torch.testing.assert_close(plan.join(plan.cut(x)), x)
    # Tiles that disagree by a constant meet in a ramp, not in a step.
    two = tiles.tiles_of(2, 12, 8)
    assert two.columns == ((0, 8), (4, 12))
    joined = two.join([torch.zeros(1, 1, 8, 32, 1), torch.ones(1, 1, 8, 32, 1)], scale=4)[0, 0, 0, :, 0]
    steps = joined.diff()
    assert joined[0] == 0 and joined[-1] == 1
    assert steps.min() >= 0 and steps.max() <= 1.01 / 16


@pytest.mark.slow
def test_tiled_coding_is_close_to_the_whole_and_streams(twins, monkeypatch):
    ours = twins[1]
    latent = torch.randn(1, ours.channels, 2, 12, 16)
    whole = ours.decode(latent)
    monkeypatch.setattr(ours, "tile", 10 * ours.spatial)
    pieces = list(ours.decode_stream(latent))
    assert [p.shape for p in pieces] == [(1, 1, *whole.shape[2:]), (1, 4, *whole.shape[2:])]
    tiled = torch.cat(pieces, 1)
    assert not torch.equal(tiled, whole)
    assert (tiled - whole).abs().mean() < 0.25 * whole.std()
    assert ours.encode(whole).shape == latent.shape


def test_large_pictures_are_tiled_where_memory_asks_for_it(monkeypatch):
    device = torch.device("cpu")
    assert tiles.tile_that_fits(480, 832, 16000, device) is None
    monkeypatch.setattr(tiles, "CPU_BUDGET", 4 * 2**30)
    assert tiles.tile_that_fits(480, 832, 16000, device) == 512
    assert tiles.tile_that_fits(4000, 4000, 1e6, device) == tiles.SIDES[-1]


@pytest.mark.parametrize(
    "codec, fault",
    [(WanCodec("2.1", 4), "16 frames .* 13 or 17"), (TaeCodec("2.2"), "16 frames .* 13 or 17")],
    ids=["wan", "tae"],
)
def test_a_frame_count_off_the_lattice_names_the_two_nearest(codec, fault):
    with pytest.raises(ValueError, match=fault):
        codec.encode(torch.zeros(1, 16, 32, 32, 3))


@pytest.mark.parametrize(
    "shape, says",
    [
        ((1, 5, 40, 64, 3), "height is 40, the nearest that fit are 32 and 48.*multiples of 16"),
        ((1, 5, 32, 8, 3), "width is 8, the nearest that fit are 16 and 32"),
        ((1, 5, 32, 32, 4), "RGB"),
        ((5, 32, 32, 3), "expected \\[B, T, H, W, 3\\]"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_with_the_numbers(shape, says):
    with pytest.raises(ValueError, match=says):
        WanCodec("2.1", 4).encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "shape, says",
    [
        ((1, 48, 2, 4, 4), "48 channels \\(the Wan 2.2 codec makes these\\); the Wan 2.1 codec decodes 16"),
        ((1, 4, 2, 4, 4), "4 channels; the Wan 2.1 codec decodes 16"),
        ((1, 16, 2, 3, 4), "4x3 cells.*multiples of 16 pixels"),
        ((1, 16, 0, 4, 4), "expected \\[B, 16, T, h, w\\]"),
        ((16, 2, 4, 4), "expected \\[B, 16, T, h, w\\]"),
    ],
)
def test_latents_that_do_not_fit_are_refused_with_the_numbers(shape, says):
    for codec in (WanCodec("2.1", 4), TaeCodec("2.1")):
        with pytest.raises(ValueError, match=says):
            codec.decode(torch.zeros(shape))


def test_normalised_latents_use_the_released_statistics():
    from diffusers import AutoencoderKLWan

    config = AutoencoderKLWan(base_dim=4).config
    codec = WanCodec("2.1", 4)
    z = torch.randn(2, 16, 3, 4, 4)
    assert codec.latent_mean.tolist() == pytest.approx(config.latents_mean)
    assert codec.latent_std.tolist() == pytest.approx(config.latents_std)
    torch.testing.assert_close(codec.denormalize(codec.normalize(z)), z)
    assert len(WanCodec("2.2", 4).latent_std) == 48


# The tiny codecs


def plain_taehv(layers, x: torch.Tensor) -> torch.Tensor:
    """The formula, one layer after another over [T, C, H, W]; written from the layout, not from our modules."""
    weights = layers.state_dict()

    def conv(name, x, **options):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)

    for i, layer in enumerate(layers):
        kind = type(layer).__name__
        if kind == "Clamp":
            x = torch.tanh(x / 3) * 3
        elif kind == "ReLU":
            x = F.relu(x)
        elif kind == "Conv":
            x = conv(i, x, padding=1, stride=layer.stride)
        elif kind == "Double":
            x = F.interpolate(x, scale_factor=2)
        elif kind == "Pool":
            n = weights[f"{i}.conv.weight"].shape
            x = conv(f"{i}.conv", x.reshape(-1, n[1], *x.shape[2:]))
        elif kind == "Grow":
            x = conv(f"{i}.conv", x).reshape(-1, *x.shape[1:])
        else:
            past, frames = torch.zeros_like(x[0]), []
            for now in x:
                y = F.relu(conv(f"{i}.conv.0", torch.cat((now, past))[None], padding=1))
                y = conv(f"{i}.conv.4", F.relu(conv(f"{i}.conv.2", y, padding=1)), padding=1)
                frames.append(F.relu(y[0] + now))
                past = now
            x = torch.stack(frames)
    return x


@pytest.fixture(scope="module", params=["2.1", "2.2"])
def tiny(request):
    torch.manual_seed(0)
    return TaeCodec(request.param).requires_grad_(False).eval()


def test_tiny_decoding_is_the_plain_formula(tiny):
    latent = torch.randn(1, tiny.channels, 3, 4, 6)
    x = plain_taehv(tiny.decoder, tiny.normalize(latent)[0].transpose(0, 1))
    x = F.pixel_shuffle(x, tiny.patch)[3:].permute(0, 2, 3, 1)
    ours = tiny.decode(latent, clip=False)[0]
    assert ours.shape == (9, 4 * tiny.spatial, 6 * tiny.spatial, 3) and ours.std() > 1e-3
    assert relative(ours, x) <= 1e-5


def test_tiny_encoding_is_the_plain_formula(tiny):
    video = torch.rand(1, 5, 2 * tiny.spatial, 4 * tiny.spatial, 3)
    x = video[0].permute(0, 3, 1, 2)
    x = F.pixel_unshuffle(torch.cat((x, x[-1:].repeat(3, 1, 1, 1))), tiny.patch)
    exact = plain_taehv(tiny.encoder, x).transpose(0, 1)[None]
    assert relative(tiny.normalize(tiny.encode(video)), exact) <= 1e-5


@pytest.mark.parametrize("chunk", [1, 2])
def test_tiny_streaming_equals_parallel(tiny, chunk):
    latent = torch.randn(2, tiny.channels, 4, 2, 4)
    pieces = list(tiny.decode_stream(latent, chunk))
    assert pieces[0].shape[1] == 4 * chunk - 3
    torch.testing.assert_close(torch.cat(pieces, 1), tiny.decode(latent), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size, small", [((4, 8), (64, 128)), ((8, 16), (64, 128)), ((20, 36), (40, 72))])
def test_the_tiny_codec_makes_the_previews_small(size, small):
    from vdit.pipeline.latent_preview import LatentPreview

    torch.manual_seed(0)
    tiny = TaeCodec("2.2").requires_grad_(False).eval()
    tiny.decoder[-1].bias.add_(0.5)
    latent = torch.randn(1, 48, 3, *size)
    shown = LatentPreview(with_preview(WanCodec("2.2", 4), tiny))(latent)
    assert shown.shape == (9, *small, 3)
    if size == (4, 8):  # nothing to leave out
        torch.testing.assert_close(shown, tiny.decode(latent)[0], rtol=0, atol=1e-5)


def test_a_preview_codec_of_other_latents_is_refused():
    with pytest.raises(ValueError, match="its own is taew2_1"):
        with_preview(WanCodec("2.1", 4), TaeCodec("2.2"))


# Files


@dataclass
class Opened:
    """An opened weight file, as model/files/ gives them."""

    tensors: dict
    path: str = "some/file.safetensors"
    read: list = field(default_factory=list)

    @property
    def shapes(self):
        return {name: tuple(value.shape) for name, value in self.tensors.items()}

    def tensor(self, name):
        self.read.append(name)
        return self.tensors[name]


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
@pytest.mark.parametrize("names", ["native", "diffusers"])
def test_codec_files_load_in_both_namings_without_a_copy(kind, names):
    if names == "native":
        state = WanCodec(kind, *WIDTHS[kind]).state_dict()
    else:
        state = diffusers_codec(kind, WIDTHS[kind]).state_dict()
    codec = load_codec_file(Opened(state))
    assert (codec.kind, codec.width, codec.decoder_width) == (kind, *WIDTHS[kind])
    name = "encoder.conv_in.weight" if names == "diffusers" else "encoder.conv1.weight"
    assert codec.encoder.conv1.weight.data_ptr() == state[name].data_ptr()
    assert codec.decode(torch.zeros(1, codec.channels, 2, 2, 4)).shape[1:4] == (5, 2 * codec.spatial, 4 * codec.spatial)


def test_native_names_are_those_of_the_released_2_1_file():
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    with torch.device("meta"):
        state, theirs = WanCodec("2.1").state_dict(), diffusers_codec("2.1", (96, 96)).state_dict()
    assert {n: v.shape for n, v in convert_wan_vae_to_diffusers(dict(state)).items()} == {
        n: v.shape for n, v in theirs.items()
    }
    assert len(state) == 194 and sum(v.numel() for v in state.values()) == 126_892_531


def test_released_2_2_shapes_equal_diffusers():
    with torch.device("meta"):
        state, theirs = WanCodec("2.2").state_dict(), diffusers_codec("2.2", (160, 256)).state_dict()
    assert {n: v.shape for n, v in state.items()} == {native_name(n, True): v.shape for n, v in theirs.items()}


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
def test_tiny_codec_files_load(kind):
    codec = TaeCodec(kind)
    assert detect_codec(Opened(codec.state_dict()).shapes) == f"taew{kind.replace('.', '_')}"
    loaded = load_codec_file(Opened({n: v.half() for n, v in codec.state_dict().items()}))
    assert isinstance(loaded, TaeCodec) and loaded.kind == kind and loaded.dtype == torch.float32
    assert {"encoder.4.conv.0.weight", "encoder.7.conv.weight", "encoder.17.bias", "decoder.13.conv.weight",
            "decoder.20.weight", "decoder.22.bias"} <= set(codec.state_dict())  # fmt: skip


def test_other_files_are_refused_by_what_they_are_before_a_tensor_is_read():
    good = WanCodec("2.1", 4).state_dict()
    cases = {
        "it holds a transformer": {"blocks.0.self_attn.q.weight": torch.zeros(2, 2)},
        "codec of an image model": {"decoder.up.0.block.0.conv1.weight": torch.zeros(2, 2)},
        "it is a LoRA": {"diffusion_model.x.lora_A.weight": torch.zeros(2, 2)},
        "32 latent channels": {
            "decoder.22.bias": torch.zeros(3),
            "decoder.3.conv.0.weight": torch.zeros(1),
            "decoder.1.weight": torch.zeros(256, 32, 3, 3),
        },
        "but 4 latent channels": {**good, "conv2.weight": torch.zeros(4, 4, 1, 1, 1)},
        "decoder.head.2.bias is missing": {n: v for n, v in good.items() if n != "decoder.head.2.bias"},
        "stray does not belong": {**good, "stray": torch.zeros(1)},
        r"encoder.conv1.bias is \[5\], expected \[4\]": {**good, "encoder.conv1.bias": torch.zeros(5)},
    }
    for says, tensors in cases.items():
        file = Opened(tensors)
        with pytest.raises(CheckpointError, match=f"some/file.safetensors: .*{says}"):
            load_codec_file(file)
        assert file.read == []
    with pytest.raises(UnknownCodecError, match="0 tensors"):
        detect_codec({})
