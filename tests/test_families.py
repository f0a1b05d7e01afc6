"""What others added to Wan is named, alone or with the whole transformer: what it is, beside what, whether it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import wan_files as make
from vdit.model.errors import CheckpointError
from vdit.model.files.families import identify
from vdit.model.files.inspect import inspect
from vdit.model.files.load import load_model, on_meta, shapes_of
from vdit.model.variants import VARIANTS, detect

ADDED = {  # what a message says -> tensors named as in the code that model/files/families.py cites
    "MultiTalk or InfiniteTalk": {
        "blocks.0.audio_cross_attn.q_linear.weight": (5120, 5120),
        "blocks.0.audio_cross_attn.kv_linear.weight": (10240, 768),
        "blocks.0.audio_cross_attn.proj.weight": (5120, 5120),
        "blocks.0.norm_x.weight": (5120,),
        "audio_proj.proj1.weight": (512, 46080),
        "audio_proj.proj1_vf.weight": (512, 73728),
        "audio_proj.proj3.weight": (24576, 512),
        "audio_proj.norm.weight": (768,),
    },
    "FantasyTalking": {
        "proj_model.proj.weight": (2048, 768),
        "proj_model.norm.weight": (2048,),
        "blocks.0.cross_attn.processor.k_proj.weight": (5120, 2048),
        "blocks.0.cross_attn.processor.v_proj.weight": (5120, 2048),
    },
    "FantasyTalking, speech": {  # as WanVideoWrapper names the projections today
        "proj_model.proj.weight": (2048, 768),
        "blocks.0.cross_attn.k_proj.weight": (5120, 2048),
        "blocks.0.cross_attn.v_proj.weight": (5120, 2048),
    },
    "FantasyPortrait": {
        "ip_adapter.blocks.0.cross_attn.ip_adapter_single_stream_k_proj.weight": (5120, 2048),
        "ip_adapter.blocks.0.cross_attn.ip_adapter_single_stream_v_proj.weight": (5120, 2048),
    },
    "Lynx": {"blocks.0.cross_attn.ip_adapter.to_v_ip.weight": (5120, 5120)},
    "Lynx, a person": {"blocks.0.self_attn.ref_adapter.to_k_ref.weight": (5120, 5120)},
    "Uni3C": {
        "controlnet_patch_embedding.weight": (5120, 20, 1, 2, 2),
        "controlnet_mask_embedding.mask_proj.0.weight": (256, 7, 4, 8, 8),
        "controlnet_blocks.0.norm1.linear.weight": (3072, 5120),
        "controlnet_blocks.0.self_attn.to_q.weight": (1024, 1024),
        "controlnet_blocks.0.ffn.0.bias": (8192,),
        "proj_in.weight": (1024, 5120),
        "proj_out.0.weight": (5120, 1024),
    },
    "ReCamMaster": {
        "blocks.0.cam_encoder.weight": (1536, 12),
        "blocks.0.cam_encoder.bias": (1536,),
        "blocks.0.projector.weight": (1536, 1536),
    },
    "Matrix-Game": {"blocks.0.action_model.keyboard_embed.0.weight": (128, 4)},
    "FastWan": {"blocks.0.to_gate_compress.weight": (1536, 1536), "blocks.0.to_gate_compress.bias": (1536,)},
    "TurboDiffusion": {"blocks.0.self_attn.attn_op.local_attn.proj_l.weight": (128, 128)},
    "HuMo": {"audio_proj.audio_proj_glob_1.layer.weight": (512, 49920)},
    "Wan 2.2 Animate": {"face_adapter.fuser_blocks.0.k_norm.weight": (128,)},
    "Wan 2.2 S2V": {"casual_audio_encoder.encoder.final_linear.weight": (5120, 2560)},
}


def test_a_file_of_longcat_avatar_is_not_taken_for_one_of_wan(tmp_path):
    names = ("audio_cross_attn.q_linear", "audio_cross_attn.kv_linear", "cross_attn.kv_linear", "cross_attn.q_linear")
    shapes = {f"blocks.0.{name}.weight": (8192 if "kv" in name else 4096, 4096) for name in names}
    message = told(make.sparse(tmp_path / "m.safetensors", shapes))
    assert "LongCat-Video" in message and "MultiTalk" not in message


def test_hy_worldplay_is_told_from_hunyuan_video_by_its_actions(tmp_path):
    names = ("double_blocks.0.img_attn_q", "txt_in.individual_token_refiner.blocks.0.self_attn_qkv", "action_in.mlp.0")
    shapes = {f"{name}.weight": (2048, 2048) for name in names}
    assert "HY-WorldPlay" in told(make.sparse(tmp_path / "m.safetensors", shapes))
    del shapes["action_in.mlp.0.weight"]
    assert "a Hunyuan Video model" in told(make.sparse(tmp_path / "m.safetensors", shapes))


def told(path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_model(path)
    assert inspect(path).problems
    return str(refused.value)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ADDED)
def test_what_others_added_to_wan_is_named_and_refused(name, whole, prefix, tmp_path):
    base = shapes_of(on_meta(make.tiny(VARIANTS["t2v-1.3b"]))) if whole else {}
    tensors = {prefix + key: shape for key, shape in {**base, **ADDED[name]}.items()}
    message = told(make.sparse(tmp_path / "any-name.safetensors", tensors))
    assert name in message and "not supported" in message and "any-name" in message


@pytest.mark.parametrize("variant", ["vace-1.3b", "vace-14b", "fun-vace-a14b"])
def test_a_vace_module_without_its_transformer_says_what_to_load(variant, tmp_path):
    whole = shapes_of(on_meta(VARIANTS[variant]))
    alone = {name: shape for name, shape in whole.items() if name.startswith("vace_")}
    message = told(make.sparse(tmp_path / "module.safetensors", alone))
    assert "a VACE module alone" in message and "wan2.1_vace_14B" in message


@pytest.mark.parametrize("name", ["vace-14b", "fun-camera-14b", "i2v-14b", "t2v-1.3b"])
def test_supported_models_are_not_taken_for_additions(name):
    assert identify(shapes_of(on_meta(VARIANTS[name]))).role == "transformer"


@pytest.mark.parametrize("size, width", [("1.3b", None), ("14b", None), ("1.3b", 256)])
def test_fun_control_of_the_first_version_is_a_control_model_without_a_reference(size, width):
    variant = VARIANTS[f"fun-control-v1.0-{size}"]
    config = variant.config if width is None else replace(variant.config, dim=width, layers=2)
    found = detect(shapes_of(on_meta(replace(variant, config=config))))
    assert found.task == "control" and found.config.in_channels == 48 and not found.config.ref_channels
    assert "V1.0" in found.title
