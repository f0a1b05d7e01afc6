"""Weights of the Wan family load from every file that people have, in no more memory than the file's size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wan_files as make
from vdit.model.codec.autoencoder import WanCodec
from vdit.model.codec.taehv import TaeCodec
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.experts import Experts
from vdit.model.files import quantized
from vdit.model.files.fill import fill
from vdit.model.files.inspect import inspect
from vdit.model.files.load import load_wan, on_meta, shapes_of
from vdit.model.files.lora import apply_loras, shared_copy
from vdit.model.files.weights import open_weights
from vdit.model.variants import VARIANTS
from vdit.model.wan import WanTransformer
from vdit.nodes.load import VDiTLoadModel
from vdit.nodes.lora import VDiTLoadLoRA

TINY = VDiTConfig(
    dim=256, ffn_dim=512, layers=2, in_channels=16, out_channels=16, text_dim=256, text_len=16,
    vace_channels=96, vace_layers=(0,), camera_rays=8, flow_map=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WanTransformer(TINY).requires_grad_(False)


@pytest.fixture(scope="module")
def state(model):
    return model.state_dict()


def run(model, dtype=torch.float32):
    g = torch.Generator().manual_seed(2)
    x, text = torch.randn(1, 16, 2, 4, 4, generator=g), torch.randn(1, 5, 256, generator=g)
    return model(x.to(dtype), torch.tensor([0.4]), text.to(dtype)).float()


def read(path, config=TINY, dtype=torch.float32):
    with torch.device("meta"):
        model = WanTransformer(config)
    return fill(model, open_weights(path), dtype, "the model")


def apart(a, b):
    return float((a - b).norm() / b.norm())


FORMATS = {  # name -> (writer, kind, quantisation, how far its values may be off)
    "single float32": (lambda t, s: make.single(t / "m.safetensors", s, torch.float32), "safetensors", None, 1e-6),
    "single fp16, prefix": (
        lambda t, s: make.single(t / "m.safetensors", s, prefix="model.diffusion_model."), "safetensors", None, 1e-3,
    ),
    "single bf16, prefix": (
        lambda t, s: make.single(t / "m.safetensors", s, torch.bfloat16, "diffusion_model."), "safetensors", None, 1e-2,
    ),
    "sharded": (lambda t, s: make.sharded(t / "m", s), "sharded", None, 1e-6),
    "one shard of three": (
        lambda t, s: make.sharded(t / "m", s).with_name("diffusion_pytorch_model-00002-of-00003.safetensors"),
        "sharded", None, 1e-6,
    ),
    "diffusers": (lambda t, s: make.diffusers(t / "m", s, torch.float32), "diffusers", None, 1e-6),
    "diffusers single": (
        lambda t, s: make.single(t / "m.safetensors", make.diffusers_names(s), torch.float32), "diffusers", None, 1e-6,
    ),
    "fp8, old": (lambda t, s: make.fp8_scaled(t / "m.safetensors", s), "safetensors", "fp8 scaled", 0.05),
    "fp8, new": (
        lambda t, s: make.fp8_scaled(t / "m.safetensors", s, "new", "diffusion_model."),
        "safetensors", "fp8 scaled", 0.05,
    ),
    "fp8, noted in the header": (
        lambda t, s: make.fp8_scaled(t / "m.safetensors", s, "header"), "safetensors", "fp8 scaled", 0.05,
    ),
    "fp8, cast": (
        lambda t, s: make.fp8_scaled(t / "m.safetensors", s, scales=False), "safetensors", "fp8 without scales", 0.1,
    ),
    "gguf Q8_0": (lambda t, s: make.gguf(t / "m.gguf", s), "gguf", "gguf Q8_0", 0.01),
    "gguf, kernel flat": (lambda t, s: make.gguf(t / "m.gguf", s, patch="flat"), "gguf", "gguf Q8_0", 0.01),
    "gguf, kernel whole": (lambda t, s: make.gguf(t / "m.gguf", s, patch="whole"), "gguf", "gguf Q8_0", 0.01),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_model(name, model, state, tmp_path):
    write, kind, quantisation, off = FORMATS[name]
    path = write(tmp_path, state)
    weights = open_weights(path)
    assert (weights.kind, weights.quantisation) == (kind, quantisation)
    assert weights.shapes == {n: tuple(v.shape) for n, v in state.items()}
    assert weights.parameters == sum(v.numel() for v in state.values())
    assert apart(run(read(path)), run(model)) <= off


NAMED = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}  # the kind of block most common in files of that name


@pytest.mark.parametrize("kind, name", [(kind, NAMED.get(kind, kind)) for kind in quantized.BLOCKS])
def test_gguf_blocks_decode_as_the_gguf_package_decodes_them(kind, name, state, tmp_path):
    import gguf

    blocks = make.random_blocks(kind, (37, 512))
    wanted = torch.from_numpy(gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind]))
    raw = torch.from_numpy(blocks).flatten()
    assert torch.equal(quantized.decode(raw, kind, (37, 512), None, torch.float32), wanted)
    assert torch.equal(quantized.decode(raw, kind, (37, 512), None, torch.bfloat16), wanted.bfloat16())
    weights = open_weights(make.gguf(tmp_path / "m.gguf", state, kind))
    assert weights.quantisation == f"gguf {name}"
    assert run(read(weights.path)).isfinite().all()


def test_decoding_goes_piece_by_piece(monkeypatch):
    blocks = torch.from_numpy(make.random_blocks("Q6_K", (64, 512))).flatten()
    fp8, scale = torch.randn(64, 512).to(torch.float8_e4m3fn), torch.rand(64)
    whole = quantized.decode(blocks, "Q6_K", (64, 512), None, torch.float32)
    monkeypatch.setattr(quantized, "CHUNK", 1000)
    assert torch.equal(quantized.decode(blocks, "Q6_K", (64, 512), None, torch.float32), whole)
    assert torch.equal(quantized.decode(fp8, "F8_E4M3", (64, 512), scale, torch.float32), fp8.float() * scale[:, None])


NAMINGS = (*make.LORA_NAMES, "diff")


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("quantised", [False, True])
def test_loras_in_every_naming_add_up(naming, quantised, model, state, tmp_path):
    values = state
    if quantised:
        weights = open_weights(make.fp8_scaled(tmp_path / "m.safetensors", state))
        model, values = read(weights.path), {n: weights.tensor(n, torch.float32) for n in state}
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    adds = make.lora(one, state, naming, alpha=None if naming == "A/B" else 2.0)
    more = make.lora(two, state, "A/B", rank=2, only="ffn")
    merged = {n: v + 0.7 * adds.get(n, 0) + -0.5 * more.get(n, 0) for n, v in values.items()}
    wanted = WanTransformer(TINY).requires_grad_(False)
    wanted.load_state_dict(merged)

    before = run(model)
    with_loras = shared_copy(model)
    report = apply_loras(with_loras, [(one, 0.7), (two, -0.5)])
    assert report.matched == len(open_weights(one).shapes) + len(open_weights(two).shapes) and not report.unmatched
    assert apart(run(with_loras), run(wanted)) <= 1e-5 < apart(before, run(wanted))
    assert torch.equal(run(model), before), "the model without LoRAs has changed"


def test_a_file_with_a_lora_for_each_expert_gives_each_its_own(model, state, tmp_path):
    from safetensors.torch import load_file, save_file

    high, low = tmp_path / "high.safetensors", tmp_path / "low.safetensors"
    make.lora(high, state, "diffusers", rank=2)
    make.lora(low, state, "second expert", rank=4)
    save_file({**load_file(high), **load_file(low)}, tmp_path / "both.safetensors")
    for expert, own in (("high", high), ("low", low)):
        both, alone = shared_copy(model), shared_copy(model)
        apply_loras(both, [(tmp_path / "both.safetensors", 1.0)], expert)
        apply_loras(alone, [(own, 1.0)])
        assert torch.equal(run(both), run(alone))


def test_differences_of_norms_kernels_and_modulation_are_added(model, state, tmp_path):
    from safetensors.torch import save_file

    names = {
        "blocks.0.norm3.diff": "blocks.0.norm3.weight",
        "blocks.0.norm3.diff_b": "blocks.0.norm3.bias",
        "patch_embedding.diff": "patch_embedding.weight",
        "blocks.1.modulation.diff": "blocks.1.modulation",
        "head.diff_m": "head.modulation",
        "blocks.1.self_attn.norm_q.diff": "blocks.1.self_attn.norm_q.weight",
    }
    adds = {theirs: torch.randn_like(state[ours]) * 0.1 for theirs, ours in names.items()}
    conv = {
        "vace_patch_embedding.lora_up.weight": torch.randn(256, 4, 1, 1, 1),
        "vace_patch_embedding.lora_down.weight": torch.randn(4, 96, 1, 2, 2),
    }
    save_file({f"diffusion_model.{n}": v for n, v in {**adds, **conv}.items()}, tmp_path / "l.safetensors")
    made = shared_copy(model)
    report = apply_loras(made, [(tmp_path / "l.safetensors", 0.5)])
    assert report.matched == 8 and not report.unmatched
    now = made.state_dict()
    for theirs, ours in names.items():
        assert torch.allclose(now[ours], state[ours] + 0.5 * adds[theirs])
    up, down = (v.flatten(1) for v in conv.values())
    name = "vace_patch_embedding.weight"
    assert torch.allclose(now[name], state[name] + 0.5 * (up @ down).reshape(state[name].shape), atol=1e-5)
    assert all(torch.equal(model.state_dict()[n], v) for n, v in state.items())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fp16", "fp8", "gguf"])
def test_half_precision_keeps_norms_modulation_and_time_in_float32(form, model, state, tmp_path):
    path = {
        "fp16": lambda: make.single(tmp_path / "m.safetensors", state),
        "fp8": lambda: make.fp8_scaled(tmp_path / "m.safetensors", state),
        "gguf": lambda: make.gguf(tmp_path / "m.gguf", state),
    }[form]()
    wanted, half = read(path), read(path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    for name, value in half.state_dict().items():
        if any(word in name for word in ("norm", "modulation")):
            assert value.dtype == torch.float32, name
    ours = apart(run(half, torch.bfloat16), run(wanted))
    assert ours <= 0.02
    rounded = WanTransformer(TINY).requires_grad_(False)
    rounded.load_state_dict({n: open_weights(path).tensor(n, torch.float32) for n in state})
    assert ours <= 1.2 * apart(run(rounded.bfloat16(), torch.bfloat16), run(wanted)), "a plain .to(bfloat16) is better"


def test_a_feed_forward_in_pieces_decodes_its_matrices_once(model, state, tmp_path, monkeypatch):
    from vdit.model import functional

    quantised = read(make.fp8_scaled(tmp_path / "m.safetensors", state))
    with torch.no_grad():
        whole = run(quantised)
        monkeypatch.setattr(functional, "MIN_CHUNK_TOKENS", 2)
        calls = []
        dense = quantized.StoredLinear.dense
        counted = lambda self, dtype: calls.append(self) or dense(self, dtype)  # noqa: E731
        monkeypatch.setattr(quantized.StoredLinear, "dense", counted)
        assert apart(run(quantised), whole) <= 1e-6
    ffn = quantised.blocks[1].ffn
    assert [calls.count(ffn[0]), calls.count(ffn[2])] == [1, 1]
    ffn[0](torch.zeros(1, ffn[0].in_features))
    assert calls.count(ffn[0]) == 2, "nothing decoded is left over"


def test_a_file_larger_than_the_memory_can_be_mapped(tmp_path):
    shapes = shapes_of(on_meta(VARIANTS["t2v-14b"]))
    weights = open_weights(make.sparse(tmp_path / "m.safetensors", shapes, "F32"))
    assert weights.bytes > 57e9
    assert weights.tensor("blocks.39.ffn.2.weight")[0, 0] == 0


# Every variant in every form

WRITERS = {
    "fp16": lambda t, s: make.single(t / "a.safetensors", s),
    "bf16, prefix": lambda t, s: make.single(t / "b.safetensors", s, torch.bfloat16, "model.diffusion_model."),
    "float32, prefix": lambda t, s: make.single(t / "c.safetensors", s, torch.float32, "diffusion_model."),
    "sharded": lambda t, s: make.sharded(t / "d", s),
    "diffusers": lambda t, s: make.diffusers(t / "e", s),
    "fp8, old": lambda t, s: make.fp8_scaled(t / "f.safetensors", s),
    "fp8, new": lambda t, s: make.fp8_scaled(t / "g.safetensors", s, "new"),
    **{f"gguf {k}": lambda t, s, k=k: make.gguf(t / f"{k}.gguf", s, k) for k in ("Q8_0", "Q6_K", "Q5_K", "Q4_K")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_loads_from_every_form(name, tmp_path):
    variant = make.tiny(VARIANTS[name])
    state = make.random_state(variant.config)
    for form, write in WRITERS.items():
        path = write(tmp_path, state)
        model = load_wan(path, path if variant.experts else None)  # a file twice: what an expert does alone
        assert model.config == variant.config, form
        assert (model.variant.task, model.variant.codec) == (variant.task, variant.codec), form
        assert model.variant.experts == variant.experts == isinstance(model.transformer, Experts), form
        assert model.defaults["shift"] == model.variant.defaults["shift"], form
        one = model.transformer.high if variant.experts else model.transformer
        assert one.patch_embedding.weight.dtype == torch.float32
        if "gguf" not in form or "Q8" in form:  # K blocks are made up
            found = one.get_submodule("blocks.1.ffn.2")
            found = found.dense(torch.float32) if hasattr(found, "dense") else found.weight
            assert apart(found, state["blocks.1.ffn.2.weight"]) <= 0.04, form
            assert apart(one.blocks[1].modulation, state["blocks.1.modulation"]) <= 4e-3, form


@pytest.fixture
def parts(tmp_path):
    """All files of a small T2V model, as load_wan takes them."""
    from tokenizers import Tokenizer, models
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=256384, d_model=256, d_kv=64, d_ff=256, num_layers=1, num_heads=4, feed_forward_proj="gated-gelu"
    )
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "ball": 3}
    Tokenizer(models.WordLevel(words, "<unk>")).save(str(tmp_path / "tokenizer.json"))
    text = {n: v for n, v in UMT5EncoderModel(config).state_dict().items() if n != "encoder.embed_tokens.weight"}
    state = make.random_state(make.tiny(VARIANTS["t2v-1.3b"]).config)
    return {
        "path": make.single(tmp_path / "model.safetensors", state),
        "codec_path": make.single(tmp_path / "vae.safetensors", WanCodec("2.1", 8, 8).state_dict()),
        "text_path": make.single(tmp_path / "umt5.safetensors", text),
        "tokenizer_path": tmp_path / "tokenizer.json",
    }


def test_a_model_loads_with_all_that_belongs_to_it(parts):
    model = load_wan(**parts)
    tokens = model.text.encode(["ball"]).tokens
    assert tokens.shape == (1, 2, model.config.text_dim)
    latent = model.transformer(torch.randn(1, 16, 1, 4, 4), torch.ones(1), tokens)
    assert model.codec.decode(latent).shape == (1, 1, 32, 32, 3)
    assert "with vae.safetensors, umt5.safetensors" in model.facts["loaded"]
    assert set(model.parts) == {"transformer", "codec", "text"}


@pytest.mark.parametrize("prefixes", [
    ("model.diffusion_model.", "vae.", "text_encoders.umt5xxl.transformer."),
    ("diffusion_model.", "first_stage_model.", "cond_stage_model."), ("transformer.", "model.vae.", "text."),
])  # fmt: skip
def test_every_part_is_found_behind_a_prefix_and_in_a_merged_file(prefixes, parts, tmp_path):
    from safetensors.torch import load_file, save_file

    merged, apart = {}, dict(parts)
    for key, prefix in zip(("path", "codec_path", "text_path"), prefixes, strict=True):
        named = {prefix + name: value for name, value in load_file(parts[key]).items()}
        save_file(named, tmp_path / f"{key}.safetensors")
        apart[key] = tmp_path / f"{key}.safetensors"
        merged.update(named)
    save_file(merged, tmp_path / "merged.safetensors")
    whole = {**parts, **dict.fromkeys(("path", "codec_path", "text_path"), tmp_path / "merged.safetensors")}
    wanted = load_wan(**parts)
    for files in (apart, whole):
        model = load_wan(**files)
        for name, module in wanted.parts.items():
            for key, value in module.state_dict().items():
                assert torch.equal(model.parts[name].state_dict()[key].float(), value.float()), (name, key)


@pytest.mark.parametrize("prefix", ["model.", "module.", "net."])
def test_each_part_is_found_behind_any_one_prefix(prefix, parts, tmp_path):
    from safetensors.torch import load_file, save_file

    files = dict(parts)
    for key in ("path", "codec_path", "text_path"):
        files[key] = tmp_path / f"{key}.safetensors"
        save_file({prefix + name: value for name, value in load_file(parts[key]).items()}, files[key])
    model, wanted = load_wan(**files), load_wan(**parts)
    for name, module in wanted.parts.items():
        for key, value in module.state_dict().items():
            assert torch.equal(model.parts[name].state_dict()[key], value), (name, key)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("form", ["apart", "matrices alone", "merged"])
def test_a_plain_cast_to_fp8_loads_with_a_remark(form, dtype, parts, tmp_path):
    from safetensors.torch import load_file, save_file

    files, merged = dict(parts), {}
    for key, prefix in (("path", "model.diffusion_model."), ("text_path", "text_encoders.umt5xxl.transformer.")):
        cast = {
            prefix + name: value.to(dtype) if value.ndim == 2 or form != "matrices alone" else value
            for name, value in load_file(parts[key]).items()
            if value.dtype.is_floating_point
        }
        files[key] = tmp_path / f"{key}.safetensors"
        save_file(cast, files[key])
        merged.update(cast)
    if form == "merged":
        save_file(merged, tmp_path / "merged.safetensors")
        files |= dict.fromkeys(("path", "text_path"), tmp_path / "merged.safetensors")
    model = load_wan(**files)
    assert sum("is fp8 without scales" in line for line in model.facts["loaded"]) == 2
    matrix = model.transformer.get_submodule("blocks.0.ffn.0").dense(torch.float32)
    assert torch.equal(matrix, merged["model.diffusion_model.blocks.0.ffn.0.weight"].float())
    assert model.text.encode(["ball"]).tokens.isfinite().all()
    latent = model.transformer(torch.ones(1, 16, 1, 4, 4), torch.ones(1), torch.ones(1, 2, model.config.text_dim))
    assert latent.isfinite().all()


@pytest.mark.slow
def test_the_tiny_codec_of_the_same_latents_makes_the_previews(parts, tmp_path):
    tiny = [make.single(tmp_path / f"tae{kind}.safetensors", TaeCodec(kind).state_dict()) for kind in ("2.2", "2.1")]
    model = load_wan(parts["path"], codec_path=parts["codec_path"], preview_paths=tiny)
    assert model.codec.preview.kind == "2.1"
    assert "with vae.safetensors, tae2.1.safetensors" in model.facts["loaded"]
    assert load_wan(parts["path"], codec_path=parts["codec_path"], preview_paths=tiny[:1]).codec.preview is None
    assert load_wan(parts["path"], codec_path=tiny[1], preview_paths=tiny).codec.preview is None
    with pytest.raises(CheckpointError, match="vae.safetensors.*is no tiny codec"):
        load_wan(parts["path"], codec_path=parts["codec_path"], preview_paths=[parts["codec_path"]])


@pytest.mark.slow
def test_a_text_encoder_of_another_width_or_without_tokenizer_is_refused(parts, tmp_path):
    with pytest.raises(CheckpointError, match="umt5.safetensors.*tokenizer"):
        load_wan(parts["path"], text_path=parts["text_path"])
    narrow = make.sparse(tmp_path / "base.safetensors", {"shared.weight": (256384, 768)})
    with pytest.raises(CheckpointError, match="base.safetensors.*768 wide.*256 wide"):
        load_wan(**{**parts, "text_path": narrow})


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_released_sizes_are_read_from_headers_alone(name, tmp_path):
    variant = VARIANTS[name]
    path = make.sparse(tmp_path / "full.safetensors", shapes_of(on_meta(variant)))
    seen = inspect(path)
    assert not seen.missing + seen.unexpected + seen.misshapen + seen.problems
    assert seen.variant == ALONE.get(name, name)
    count, tensors = RELEASED.get(name, (None, None))
    assert count is None or (round(seen.parameters / 1e9, 2), seen.tensors) == (count, tensors)


ALONE = {"t2v-a14b": "t2v-14b", "fun-vace-a14b": "vace-14b"}  # the same network; only a second file tells
RELEASED = {  # billions of parameters, tensors: of the released files
    "t2v-1.3b": (1.42, 825), "t2v-14b": (14.29, 1095), "i2v-14b": (16.39, 1303), "i2v-a14b": (14.29, 1095),
    "ti2v-5b": (5.0, 825), "vace-1.3b": (2.15, 1264), "vace-14b": (17.34, 1331), "fun-control-1.3b": (1.56, 985),
    "fun-camera-1.3b": (1.62, 989), "fun-camera-a14b": (14.79, 1101),
}  # fmt: skip


# The nodes


@pytest.fixture
def models(tmp_path, monkeypatch):
    """ComfyUI's model folders, empty."""
    from vdit.host import folders

    monkeypatch.setattr(folders, "current", folders.current.moved(models=tmp_path))
    for name in ("diffusion_models", "loras", "vae", "text_encoders"):
        (tmp_path / name).mkdir()
    return tmp_path


def said(output):
    return "\n".join(output.ui["vdit_line"])


def test_the_load_node_says_what_it_loaded(models):
    variant = make.tiny(VARIANTS["i2v-a14b"])
    state = make.random_state(variant.config)
    make.gguf(models / "diffusion_models/high.gguf", state)
    make.fp8_scaled(models / "diffusion_models/low.safetensors", state)
    assert VDiTLoadModel.object_info()["input"]["optional"]["low_noise_file"][1]["options"] == [
        "none",
        "high.gguf",
        "low.safetensors",
    ]
    output = VDiTLoadModel.execute("high.gguf", "window", 0.5, low_noise_file="low.safetensors", dtype="float32")
    model = output[0]
    assert model.variant.name == "i2v-a14b" and model.codec is None and model.text is None
    assert model.transformer.low.attention == ("window", 0.5)
    for words in ("Wan 2.2 I2V-A14B", "gguf Q8_0", "with low.safetensors", "40 steps", "change at 0.9", "GB card"):
        assert words in said(output)
    with pytest.raises(CheckpointError, match="VDiT Decode needs a VAE, and Wan 2.2 I2V-A14B"):
        model.require("codec", "VDiT Decode")
    with pytest.raises(CheckpointError, match="high.gguf.*low_noise_file"):
        VDiTLoadModel.execute("high.gguf")
    assert VDiTLoadModel.fingerprint_inputs("high.gguf", low_noise_file="low.safetensors") != "missing"
    assert VDiTLoadModel.fingerprint_inputs("high.gguf", low_noise_file="gone.safetensors") == "missing"


def test_the_lora_node_chains_and_leaves_its_input_alone(models):
    variant = make.tiny(VARIANTS["i2v-a14b"])
    state = make.random_state(variant.config)
    make.single(models / "diffusion_models/m.safetensors", state)
    make.lora(models / "loras/a.safetensors", state)
    make.lora(models / "loras/b.safetensors", state, only="ffn")
    model = VDiTLoadModel.execute("m.safetensors", low_noise_file="m.safetensors")[0]
    one = VDiTLoadLoRA.execute(model, "a.safetensors", 0.8, "low noise")
    two = VDiTLoadLoRA.execute(one[0], "b.safetensors")[0]
    assert "a.safetensors: 32 tensors used" in said(one) and "tensors used, " not in said(one)

    def loras(transformer):
        both = transformer.high, transformer.low
        return [sum(hasattr(m, "loras") and len(m.loras) for m in expert.modules()) for expert in both]

    assert [loras(m.transformer) for m in (model, one[0], two)] == [[0, 0], [0, 16], [4, 20]]
    shared = model.transformer.high.get_submodule("blocks.0.self_attn.q").weight
    assert two.transformer.high.get_submodule("blocks.0.self_attn.q").weight is shared
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        VDiTLoadLoRA.execute(model, "gone.safetensors")


# Memory

MEASURE = """
import re, sys, torch
from vdit.model.config import VDiTConfig
from vdit.model.files.fill import fill
from vdit.model.files.weights import open_weights
from vdit.model.wan import WanTransformer

def kib(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

path, dtype = sys.argv[1], getattr(torch, sys.argv[2])
config = VDiTConfig(dim=1024, ffn_dim=4096, layers=9, in_channels=16, out_channels=16, text_dim=4096, text_len=512)
with torch.device("meta"):
    model = WanTransformer(config)  # before the measurement, as it imports 40 MB of torch
try:
    open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
except OSError:
    pass
before = kib("VmRSS")
weights = open_weights(path)
fill(model, weights, dtype, "the model")
for tensor in model.state_dict().values():  # every page is there
    tensor.flatten().view(torch.uint8)[::1024].sum()
print((kib("VmHWM") - before) * 1024, weights.bytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "form, dtype", [("fp16", "float32"), ("float32", "bfloat16"), ("fp8", "bfloat16"), ("gguf", "float32")]
)
def test_loading_takes_no_more_memory_than_the_file(form, dtype, tmp_path):
    big = VDiTConfig(dim=1024, ffn_dim=4096, layers=9, in_channels=16, out_channels=16, text_dim=4096, text_len=512)
    with torch.device("meta"):
        shapes = {n: v.shape for n, v in WanTransformer(big).state_dict().items()}
    zeros = {n: torch.zeros(shape) for n, shape in shapes.items()}
    zeros["patch_embedding.weight"].flatten()[0] = 1  # a file of zeros alone is refused
    path = {
        "fp16": lambda: make.single(tmp_path / "m.safetensors", zeros),
        "float32": lambda: make.single(tmp_path / "m.safetensors", zeros, torch.float32),
        "fp8": lambda: make.fp8_scaled(tmp_path / "m.safetensors", zeros),
        "gguf": lambda: make.gguf(tmp_path / "m.gguf", zeros),
    }[form]()
    run = subprocess.run([sys.executable, "-c", MEASURE, str(path), dtype], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    peak, size = map(int, run.stdout.split())
    print(f"{form}: peak {peak / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB")
    assert peak <= 1.1 * size
    path.unlink()


def test_int8_matrices_with_a_scale_for_each_row_stay_in_8_bits(tmp_path):
    """ComfyUI's int8_tensorwise; products are in the activations' dtype, where the core's own round those too."""
    config = make.tiny(VARIANTS["t2v-1.3b"]).config
    state = make.random_state(config)
    model = load_wan(make.int8_scaled(tmp_path / "m.safetensors", state)).transformer
    layer = model.blocks[0].ffn[0]
    assert layer.weight.dtype == torch.int8 and layer.scale.shape == (config.ffn_dim,)
    wanted = state["blocks.0.ffn.0.weight"]
    step = wanted.abs().amax(1, keepdim=True) / 127
    assert ((layer.dense(torch.float32) - wanted).abs() <= 0.51 * step).all()
    assert model.head.head.weight.dtype == torch.float32 and inspect(tmp_path / "m.safetensors").problems == []
