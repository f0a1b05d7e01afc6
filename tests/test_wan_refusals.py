"""Wrong files and wrong pairs are refused by what they are, at once, and before anything is loaded."""

import json
from pathlib import Path

import pytest
import torch
import wan_files as make
from fakes import random_world_model
from vdit.control.span import ControlError
from vdit.model.errors import CheckpointError
from vdit.model.files import load as loading
from vdit.model.files.bundle import save_world_model
from vdit.model.files.inspect import inspect, main
from vdit.model.files.load import load_model, on_meta, shapes_of
from vdit.model.files.lora import apply_loras
from vdit.model.variants import VARIANTS
from vdit.pipeline.wan_tasks import check_task


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of full size by variant's name, each made once; they hold no data."""
    folder = tmp_path_factory.mktemp("released")

    def file(name: str, called: str = "") -> Path:
        path = folder / f"{called or name}.safetensors"
        if not path.exists():
            make.sparse(path, shapes_of(on_meta(VARIANTS[name])))
        return path

    return file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A T2V model small enough to be written in any form: its tensors."""
    return make.random_state(make.tiny(VARIANTS["t2v-1.3b"]).config)


@pytest.fixture(autouse=True)
def nothing_heavy(monkeypatch):
    def heavy(*args, **named):
        raise AssertionError("the refusal comes too late: tensors are being read")

    monkeypatch.setattr(loading, "fill", heavy)


def refused(path, *says, call=load_model, **others):
    """Calling with the path is refused; the message names the file and says all of this. Returns it."""
    with pytest.raises(CheckpointError) as e:
        call(path, **others)
    for said in says:
        assert str(said) in str(e.value), str(e.value)
    return str(e.value)


MODELS = {  # given as the model -> what it is said to be, and what helps
    "Stable Diffusion": ("Stable Diffusion checkpoint", "wan2.1_t2v"),
    "SDXL": ("SDXL checkpoint", "wan2.1_t2v"),
    "Flux": ("Flux", "wan2.1_t2v"),
    "Hunyuan Video": ("Hunyuan Video", "wan2.1_t2v"),
    "LTX": ("LTX-Video", "wan2.1_t2v"),
    "Qwen-Image": ("Qwen-Image", "wan2.1_t2v"),
    "t5xxl": ("T5 text encoder with 32128 words", "umt5-xxl"),
    "umt5": ("umt5 text encoder", "`text_encoder`"),
    "CLIP text": ("CLIP text encoder", "umt5-xxl"),
    "CLIP vision": ("CLIP vision encoder", "CLIPVisionLoader"),
    "VAE of an image model": ("VAE of another model", "wan2.1_t2v"),
    "VAE 2.1": ("the Wan VAE 2.1", "`vae`"),
    "VAE 2.2": ("the Wan VAE 2.2", "`vae`"),
    "Flux LoRA": ("LoRA for Flux", "VDiT Load LoRA"),
    "SDXL LoRA": ("LoRA for SDXL", "VDiT Load LoRA"),
    "Hunyuan Video LoRA": ("LoRA for Hunyuan Video", "VDiT Load LoRA"),
    "Animate": ("Wan 2.2 Animate", "not supported"),
    "nothing known": ("not a model known here (1 tensors, first layer.weight)", "wan2.1_t2v"),
}


def test_every_foreign_file_has_its_words():
    assert set(MODELS) == set(make.FOREIGN)


@pytest.mark.parametrize("kind", MODELS)
def test_a_foreign_file_as_the_model(kind, tmp_path):
    path = make.foreign(tmp_path / "m.safetensors", kind)
    refused(path, path, *MODELS[kind])
    assert inspect(path).problems or MODELS[kind][1] in inspect(path).needs[0]


@pytest.mark.parametrize(
    "model, codec, says",
    [
        ("t2v-1.3b", "VAE 2.2", ("the Wan VAE 2.2", "16 latent channels", "wan_2.1_vae.safetensors")),
        ("ti2v-5b", "VAE 2.1", ("the Wan VAE 2.1", "48 latent channels", "wan2.2_vae.safetensors")),
        ("t2v-1.3b", "VAE of an image model", ("VAE of another model", "a Wan VAE is expected")),
        ("t2v-1.3b", "umt5", ("umt5 text encoder", "`text_encoder`")),
        ("t2v-1.3b", "Stable Diffusion", ("Stable Diffusion checkpoint", "a Wan VAE is expected")),
    ],
)
def test_a_vae_that_does_not_belong(model, codec, says, files, tmp_path):
    path = make.foreign(tmp_path / "vae.safetensors", codec)
    refused(files(model), path, *says, codec_path=path)


def test_the_model_as_its_own_vae(files):
    path = files("t2v-1.3b")
    refused(path, path, "transformer of the Wan family", "give it as the model".capitalize(), codec_path=path)


@pytest.mark.parametrize("kind, says", [("t5xxl", "32128"), ("CLIP text", "CLIP text"), ("VAE 2.1", "`vae`")])
def test_a_text_encoder_that_does_not_belong(kind, says, files, tmp_path):
    path = make.foreign(tmp_path / "text.safetensors", kind)
    refused(files("t2v-1.3b"), path, says, "the umt5-xxl text encoder is expected", text_path=path)


def test_an_invalid_tokenizer(files, tmp_path):
    refused(files("t2v-1.3b"), tmp_path / "x.json", "spiece.model", tokenizer_path=tmp_path / "x.json")


# Experts


def test_an_expert_alone(files):
    path = files("i2v-a14b")
    refused(path, path, "one of two experts of Wan 2.2 I2V-A14B", "low_noise_file")


@pytest.mark.parametrize(
    "name", ["wan2.2_t2v_high_noise_14B_fp16", "Wan2_2-T2V-A14B_HIGH_fp8", "Wan2.2-HighNoise-T2V", "HIGH-wan22-t2v"]
)
def test_an_expert_whose_network_runs_alone_is_known_by_its_name(name, files):
    path = files("t2v-14b", name)
    refused(path, path, "by its name, this is the high-noise expert", "low_noise_file")


@pytest.mark.parametrize("name", ["wan2.1_t2v_14B_low_vram", "wan2.1-highres-t2v", "flow_t2v", "wan2.1_high_quality"])
def test_other_words_of_a_name_make_no_expert(name, files):
    assert loading.plan_wan(files("t2v-14b", name)).variant.name == "t2v-14b"


@pytest.mark.parametrize("variant, name, says", [
    ("t2v-14b", "my-t2v-merge", "if it is one of the two experts of Wan 2.2 T2V-A14B"),
    ("t2v-14b", "Wan2_2-T2V-A14B_fp8", "if it is one of the two experts of Wan 2.2 T2V-A14B"),
    ("vace-14b", "vace-fun-merge", "if it is one of the two experts of Wan 2.2"),
    ("t2v-14b", "wan2.1_t2v_14B_fp16", None), ("t2v-14b", "Wan2_1-T2V-14B", None), ("t2v-1.3b", "my-merge", None),
    ("t2v-14b", "Wan2_1-SkyReels-V2-DF-14B-540P_fp16", "SkyReels-V2 Diffusion Forcing: it runs as Wan 2.1 T2V-14B"),
    ("t2v-14b", "skyreels_v2_df_14b", "SkyReels-V2 Diffusion Forcing"), ("t2v-14b", "SkyReels-V2-T2V-14B", None),
])  # fmt: skip
def test_what_tensors_cannot_tell_of_a_lone_transformer_is_remarked(variant, name, says, files):
    path = files(variant, name)
    for told in (loading.plan_wan(path).lines(), inspect(path).needs):
        found = [line for line in told if "experts of" in line or "SkyReels" in line]
        assert len(found) == (says is not None) and all(says in line for line in found)


def test_experts_of_two_models(files):
    path = files("t2v-1.3b")
    refused(files("t2v-14b"), path, "T2V-1.3B", "T2V-14B", low_path=path)


def test_swapped_experts(files):
    low, high = files("t2v-14b", "wan2.2_t2v_low_noise_14B"), files("t2v-14b", "wan2.2_t2v_high_noise_14B")
    refused(low, low, "swapped", low_path=high)
    for one, other in (("A14B-LOW-q8", "A14B-HIGH-q8"), ("LowNoise_t2v", "HighNoise_t2v")):
        refused(files("t2v-14b", one), "swapped", low_path=files("t2v-14b", other))


def test_a_second_expert_for_a_model_that_has_one(files):
    path = files("ti2v-5b")
    refused(path, path, "has no second expert", low_path=path)


def test_a_camera_path_on_a_model_without_camera_adapter():
    variant = VARIANTS["t2v-1.3b"]
    with pytest.raises(ControlError, match="Wan 2.1 T2V-1.3B does not read `camera`: load a Fun-Camera, LingBot-World"):
        check_task(variant, variant.config, {"camera": object()})


# LoRAs


def lora(path, *, file):
    return loading.plan_wan(path, loras=[(file, 1.0)])


@pytest.mark.parametrize("kind", ["Flux LoRA", "SDXL LoRA", "Hunyuan Video LoRA"])
def test_a_lora_of_another_family(kind, files, tmp_path):
    file = make.foreign(tmp_path / "l.safetensors", kind)
    refused(files("t2v-1.3b"), file, MODELS[kind][0], "nothing of it fits", call=lora, file=file)


def test_a_lora_of_another_size(files, tmp_path):
    name = "diffusion_model.blocks.0.self_attn.q.lora_"
    file = make.sparse(tmp_path / "l.safetensors", {name + "A.weight": (8, 5120), name + "B.weight": (5120, 8)})
    said = refused(files("t2v-1.3b"), file, "nothing of it fits", call=lora, file=file)
    assert "made for a matrix 5120x5120, the model's is 1536x1536" in said


@pytest.mark.parametrize("name, says", [
    ("lora_unet_blocks_0_self_attn_q.hada_w1_a", "LoHa"), ("diffusion_model.blocks.0.self_attn.q.lokr_w1", "LoKr"),
    ("diffusion_model.blocks.0.self_attn.q.dora_scale", "DoRA"), ("lora_unet_blocks_0_self_attn_q.magnitude", "DoRA"),
    ("base_model.model.blocks.0.self_attn.q.lora_magnitude_vector.weight", "DoRA"),
])  # fmt: skip
def test_other_methods_than_lora(name, says, files, tmp_path):
    key = "diffusion_model.blocks.0.self_attn.q.lora_"
    file = make.sparse(
        tmp_path / "l.safetensors", {key + "A.weight": (8, 1536), key + "B.weight": (1536, 8), name: (1536, 8)}
    )
    refused(files("t2v-1.3b"), file, says, "plain LoRA is", call=lora, file=file)


def test_a_model_as_a_lora(files):
    refused(files("t2v-1.3b"), "not a LoRA", call=lora, file=files("t2v-1.3b"))


def test_missing_layers_of_a_lora_are_reported_and_the_rest_is_used(files, tmp_path):
    key = "diffusion_model.blocks.{}.self_attn.q.lora_"
    other = "diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight"
    shapes = {
        key.format(n) + end: shape for n in (0, 99) for end, shape in (("A.weight", (8, 1536)), ("B.weight", (1536, 8)))
    }
    file = make.sparse(tmp_path / "l.safetensors", {**shapes, other: (8, 1280), "text_projection": (2,)})
    report = lora(files("t2v-1.3b"), file=file).report
    assert report.matched == 2 and len(report.unmatched) == 4
    assert any("k_img" in line and "no such module" in line for line in report.unmatched)
    assert "2 tensors used, 4 not" in report.lines[0]


def test_a_refused_lora_leaves_the_model_as_it_was(tiny, tmp_path):
    model = on_meta(make.tiny(VARIANTS["t2v-1.3b"]))
    make.lora(tmp_path / "good.safetensors", tiny)
    bad = make.foreign(tmp_path / "bad.safetensors", "Flux LoRA")
    with pytest.raises(CheckpointError):
        apply_loras(model, [(tmp_path / "good.safetensors", 1.0), (bad, 1.0)])
    assert not any("loras" in name for name, _ in model.named_parameters())


# Files that cannot be read


@pytest.mark.parametrize("part", [0.001, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", ["gguf", "safetensors"])
def test_a_file_that_was_cut_short(form, part, tiny, tmp_path):
    path = tmp_path / f"m.{form}"
    make.gguf(path, tiny) if form == "gguf" else make.single(path, tiny)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path, path, "cut short", "get it again")


BEGINNINGS = {
    b"": "the file is empty",
    b"\x80\x02}q\x00.": "pickle",
    b"PK\x03\x04" + bytes(40): "pickle",
    b"<!DOCTYPE html><html>": "web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "git-lfs",
    b"\x13" * 4000: "cut short",
}


@pytest.mark.parametrize("data", BEGINNINGS, ids=lambda data: BEGINNINGS[data].split()[-1])
def test_a_file_that_is_no_weights(data, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(data)
    refused(tmp_path / "m.safetensors", tmp_path / "m.safetensors", BEGINNINGS[data])


def test_a_real_pickle(tiny, tmp_path):
    torch.save(tiny, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "m.pth", "pickle", "can run code", ".safetensors")


def test_a_file_that_is_not_there(tmp_path):
    refused(tmp_path / "gone.safetensors", "gone.safetensors", "no such file")


def test_an_empty_folder(tmp_path):
    refused(tmp_path, tmp_path, "no .safetensors or .gguf file")


def test_shards_that_are_missing(tiny, tmp_path):
    index = make.sharded(tmp_path, tiny)
    (tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    refused(index, "1 of 3 shards are missing", "00002-of-00003")
    index.unlink()
    refused(tmp_path, "1 of 3 shards are missing", "00002-of-00003")


@pytest.mark.parametrize("text, says", [
    ("{", "not an index"), ("[]", "not an index"), ('{"weight_map": {}}', "no files"),
    ('{"weight_map": {"a": "../../secret.safetensors"}}', "lie beside their index"),
])  # fmt: skip
def test_an_invalid_index(text, says, tmp_path):
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(text)
    refused(path, path, says)


# Files of a Wan model that are not whole, or in a form that cannot be read


def changed(path, change):
    """The file with its tensors changed by change(tensors)."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("layout", ["old", "new"])
def test_an_fp8_file_that_lost_its_scales(layout, tiny, tmp_path):
    path = make.fp8_scaled(tmp_path / "m.safetensors", tiny, layout)
    ends = (".scale_weight", ".weight_scale")
    changed(path, lambda t: [t.pop(name) for name in list(t) if name.endswith(ends) and "blocks.0.ffn.0." in name])
    said = refused(path, path, "brings no scale for blocks.0.ffn.0.weight", "fp16")
    assert any("brings no scale" in line for line in inspect(path).problems), said


def test_an_fp8_scale_of_another_layout(tiny, tmp_path):
    path = make.fp8_scaled(tmp_path / "m.safetensors", tiny, "new")
    changed(path, lambda t: t.update({"blocks.0.ffn.0.weight_scale": torch.ones(3, 5)}))
    refused(path, path, "blocks.0.ffn.0.weight has shape (3, 5)", "one for each")
    assert inspect(path).problems


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.int32])
def test_whole_numbers_as_weights(dtype, tiny, tmp_path):
    path = make.single(tmp_path / "m.safetensors", tiny)
    changed(path, lambda t: t.update({"blocks.0.ffn.0.weight": t["blocks.0.ffn.0.weight"].to(dtype)}))
    refused(path, path, "blocks.0.ffn.0.weight is ", "not read here")
    assert inspect(path).problems


@pytest.mark.parametrize("noted", [b'{"format": "nvfp4"}', b'{"format": "mxfp8"}'])
def test_quantisations_that_are_not_read(noted, tiny, tmp_path):
    from safetensors.torch import save_file

    note = {"blocks.0.ffn.0.comfy_quant": torch.tensor(list(noted), dtype=torch.uint8)}
    save_file({**tiny, **note}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", json.loads(noted)["format"], "fp8 scaled", "GGUF")


@pytest.mark.parametrize("kind", ["IQ4_NL", "IQ4_XS", "IQ3_S", "IQ2_XS"])
def test_gguf_blocks_that_are_not_read(kind, tiny, tmp_path):
    refused(make.gguf(tmp_path / "m.gguf", tiny, kind), kind, "Q4_K_M")


def test_tensors_that_are_missing_too_many_or_of_another_shape(tiny, tmp_path):
    path = tmp_path / "m.safetensors"
    make.single(path, {n: v for n, v in tiny.items() if n != "blocks.1.norm3.bias"})
    refused(path, path, "1 missing tensors (first blocks.1.norm3.bias)")
    make.single(path, {**tiny, "blocks.1.extra": torch.zeros(2)})
    refused(path, path, "1 unexpected tensors (first blocks.1.extra)")
    make.single(path, {**tiny, "blocks.1.norm3.bias": torch.zeros(3)})
    refused(path, path, "blocks.1.norm3.bias has shape (3,)", "(256,)")
    make.single(path, {n: v for n, v in tiny.items() if not n.startswith("blocks.0.")})
    refused(path, path, "blocks.0.ffn.0.weight is missing")


def test_a_bundle_given_separate_codec_or_text_files(tmp_path, files):
    path = save_world_model(random_world_model(), tmp_path / "bundle.safetensors")
    refused(path, path, "bundle of VDiT's own", codec_path=files("t2v-1.3b"))


# vdit inspect


def test_inspect_names_the_variant_its_settings_and_its_problems(files, tmp_path, capsys):
    assert main([str(files("i2v-a14b"))]) == 0
    out = capsys.readouterr().out
    for said in ("Wan 2.2 I2V-A14B", "14.3 billion", "1095 tensors", "shift 5", "change at 0.9", "second expert"):
        assert said in out, out
    assert main(["--json", str(files("vace-1.3b"))]) == 0
    assert json.loads(capsys.readouterr().out)["variant"] == "vace-1.3b"
    (tmp_path / "empty.safetensors").touch()
    assert main([str(tmp_path / "empty.safetensors"), str(files("vace-1.3b"))]) == 1
    both = capsys.readouterr()
    assert "the file is empty" in both.err and "VACE-1.3B" in both.out
    assert main([str(make.foreign(tmp_path / "sd.safetensors", "Stable Diffusion"))]) == 1
    assert "Stable Diffusion checkpoint" in capsys.readouterr().out


def test_inspect_counts_what_is_missing_and_too_much(tiny, tmp_path, capsys):
    state = {n: v for n, v in tiny.items() if "norm3" not in n} | {"head.x": torch.zeros(1)}
    path = make.single(tmp_path / "m.safetensors", state)
    seen = inspect(path)
    assert len(seen.missing) == 4 and seen.unexpected == ["head.x"]
    assert main([str(path)]) == 1
    assert "4 missing (first blocks.0.norm3.weight), 1 unexpected (first head.x)" in capsys.readouterr().out


@pytest.mark.parametrize("form, says", [
    ("nvfp4", "in 4 bits (nvfp4)"), ("mxfp8", "(mxfp8)"), ("convrot_w4a4", "rotated (convrot_w4a4)"),
    ("asym_w4a8_int8", "(asym_w4a8_int8)"), ("something_new", "something_new"),
])  # fmt: skip
def test_a_form_that_only_comfyui_reads_is_named_with_the_node_that_loads_it(form, says, tiny, tmp_path):
    path = make.noted(tmp_path / "m.safetensors", tiny, form)
    refused(path, path, says, "Load Diffusion Model with VDiT From Model", "Load CLIP", "Q8_0")
    assert says in inspect(path).problems[0] and len(inspect(path).problems) == 1


def test_int8_whose_rows_are_rotated_is_named(tiny, tmp_path):
    path = make.int8_scaled(tmp_path / "m.safetensors", tiny, rotated=True)
    refused(path, path, "rotated (int8 convrot)", "VDiT From Model")


@pytest.mark.parametrize("name", ["student.pt", "student.safetensors"])
def test_a_pickle_is_named_with_what_opens_it_whatever_its_name(name, tiny, tmp_path):
    torch.save({"generator_ema": tiny}, tmp_path / name)
    refused(tmp_path / name, name, "pickle file", ".safetensors", "Load Diffusion Model", "VDiT From Model")
