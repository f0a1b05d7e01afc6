"""The released models of the Wan family are known by the names and shapes of their tensors, at full size and at any."""

from dataclasses import replace

import pytest
import torch
from vdit.model.config import VDiTConfig
from vdit.model.errors import UnknownVariantError
from vdit.model.experts import Experts
from vdit.model.variants import VARIANTS, detect
from vdit.model.wan import WanTransformer, init_weights
from vdit.model.worlds import transformer_of

RELEASED = {  # billions of parameters and tensors of the released files
    "t2v-1.3b": (1.42, 825), "t2v-14b": (14.29, 1095), "t2v-a14b": (14.29, 1095), "i2v-14b": (16.39, 1303),
    "flf2v-14b": (16.40, 1304), "i2v-a14b": (14.29, 1095), "ti2v-5b": (5.00, 825), "vace-1.3b": (2.15, 1264),
    "vace-14b": (17.34, 1331), "fun-vace-a14b": (17.34, 1331), "fun-control-1.3b": (1.56, 985),
    "fun-camera-1.3b": (1.62, 989), "fun-camera-a14b": (14.79, 1101),
    "lingbot-world-cam": (18.54, 1421), "dreamx-world-5b-cam": (6.13, 1125), "skyreels-v2-df-1.3b": (1.44, 830),
}  # fmt: skip
SAME = {"t2v-a14b": "t2v-14b", "fun-vace-a14b": "vace-14b"}  # one network, one name
SMALL = dict(dim=128, ffn_dim=192, layers=4, text_dim=16)


def shapes(config: VDiTConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in transformer_of(config).state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_variants_have_the_tensors_and_parameters_of_the_released_files(name):
    found = shapes(VARIANTS[name].config)
    assert (round(sum(torch.Size(s).numel() for s in found.values()) / 1e9, 2), len(found)) == RELEASED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_detected_from_shapes(name):
    assert detect(shapes(VARIANTS[name].config)) == VARIANTS[SAME.get(name, name)]


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_detected_at_any_width(name):
    """Of two released sizes a tiny model is the smaller; the sizes themselves are read, not assumed."""
    vace = dict(vace_layers=(0, 2)) if VARIANTS[name].config.vace_layers else {}
    config = replace(VARIANTS[name].config, **SMALL, **vace)
    found = detect(shapes(config))
    assert found.config == config
    assert (found.task, found.codec) == (VARIANTS[name].task, VARIANTS[name].codec)
    assert "128 wide" in found.title


def test_every_variant_says_how_it_was_released():
    for v in VARIANTS.values():
        assert {"shift", "steps", "guidance", "fps", "width", "height", "frames", "solver"} <= v.defaults.keys()
        assert v.experts == ("boundary" in v.defaults) == ("guidance_low" in v.defaults)
        assert (v.codec == "wan2.2") == (v.config.out_channels == 48)
        assert v.defaults["frames"] % 4 == 1 and v.defaults["width"] % 32 == v.defaults["height"] % 16 == 0
        assert any("VAE" in need for need in v.needs) and any("umt5" in need for need in v.needs)
        assert any("CLIP image" in need for need in v.needs) == bool(v.config.image_dim)


def spoiled(how: str) -> dict[str, tuple[int, ...]]:
    found = shapes(replace(VARIANTS["i2v-14b"].config, **SMALL))
    if how == "stable diffusion":
        return {"input_blocks.0.0.weight": (320, 4, 3, 3)}
    if how == "animate":
        found["face_adapter.fuser_blocks.0.linear1_kv.weight"] = (128, 128)
    elif how == "channels":
        found["patch_embedding.weight"] = (128, 37, 1, 2, 2)
    elif how == "half an image branch":
        del found["img_emb.proj.0.weight"]
    elif how == "gap":
        found = {n: s for n, s in found.items() if not n.startswith("blocks.2.")}
    elif how == "width":
        found["patch_embedding.weight"] = (100, 36, 1, 2, 2)
    elif how == "image model":
        found["patch_embedding.weight"] = (128, 36, 2, 2)
    return found


@pytest.mark.parametrize(
    "how, says",
    [
        ("stable diffusion", "no transformer of the Wan family: patch_embedding.weight is missing among 1 tensors"),
        ("animate", "modules that no supported model has: face_adapter"),
        ("channels", "no released kind: 37 channels in, 16 out, 4 layers, 128 wide, with image branch"),
        ("half an image branch", "img_emb and cross_attn.k_img come together"),
        ("gap", "blocks.2 is missing among 4 blocks"),
        ("width", "dim is 100; it must be a multiple of the head size, 128"),
        ("image model", "a video model's has five sizes"),
    ],
)
def test_an_unknown_model_is_refused_by_the_variant_it_resembles(how, says):
    with pytest.raises(UnknownVariantError, match=says):
        detect(spoiled(how))


def experts(boundary: float = 0.875, **other) -> Experts:
    config = VDiTConfig(dim=128, ffn_dim=192, layers=1, in_channels=4, out_channels=4, text_dim=16, text_len=8)
    models = [init_weights(WanTransformer(c), seed) for seed, c in enumerate((config, replace(config, **other)))]
    for model in models:
        torch.nn.init.normal_(model.head.head.weight)
    return Experts(*models, boundary).requires_grad_(False)


@pytest.mark.parametrize("sigma, who", [(1.0, "high"), (0.875, "high"), (0.8749, "low"), (0.0, "low")])
@pytest.mark.parametrize("per_frame", [False, True])
def test_the_noise_of_the_noisiest_frame_chooses_the_expert(sigma, who, per_frame):
    pair = experts()
    x, context = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 3, 16)
    s = torch.tensor([[0.0, sigma]]) if per_frame else torch.tensor([sigma])
    assert torch.equal(pair(x, s, context), getattr(pair, who)(x, s, context))


def test_experts_are_set_together():
    pair = experts()
    pair.attention = ("window", 0.5)
    assert pair.high.attention == pair.low.attention == pair.attention == ("window", 0.5)
    assert pair.config is pair.high.config


def test_experts_of_two_models_are_refused():
    with pytest.raises(ValueError, match="the experts differ: ffn_dim is 192 and 256"):
        experts(ffn_dim=256)
    with pytest.raises(ValueError, match="boundary is 875"):
        experts(875.0)
