"""Identifies a file of weights by tensor names and shapes alone, so that errors can name what a wrong file is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]


class Family(NamedTuple):
    """What a file of weights is."""

    # "transformer", "codec", "preview codec", "text encoder", "vision encoder", "lora", "bundle", "beside", "other"
    role: str
    title: str  # as in "this is ..."


LORA_MARKS = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", ".hada_w1", ".lokr_w1")

# Part of a tensor name -> the model it belongs to. The first match wins, so specific marks stand before general ones.
_LORA_FAMILIES = (
    ("individual_token_refiner", "Hunyuan Video"),
    ("double_blocks", "Flux or Hunyuan Video"),
    ("single_transformer_blocks", "Flux"),
    ("lora_te2_", "SDXL"),
    ("input_blocks", "Stable Diffusion or SDXL"),
    ("down_blocks", "Stable Diffusion or SDXL"),
    ("joint_blocks", "Stable Diffusion 3"),
    ("img_mod", "Qwen-Image"),
    ("transformer_blocks", "LTX-Video, Qwen-Image or Stable Diffusion 3"),
)
# Modules that others added to Wan, whether the file holds them alone or with the whole transformer. The names are those
# that published code looks for: ComfyUI's comfy/model_detection.py and comfy_extras/nodes_model_patch.py (Animate, S2V,
# HuMo, MultiTalk, Uni3C), kijai/ComfyUI-WanVideoWrapper's nodes_model_loading.py (FantasyTalking, FantasyPortrait,
# ReCamMaster, Lynx) and MeiGen-AI/MultiTalk's multitalk_model.py. Mouse and keyboard, gates and
# linear attention: hao-ai-lab/FastVideo, fastvideo/models/dits and scripts/checkpoint_conversion.
_ADDED_TO_WAN = (
    ("face_adapter.", "Wan 2.2 Animate, a variant that is not supported"),
    ("casual_audio_encoder.", "Wan 2.2 S2V, a variant that is not supported"),
    ("audio_proj.audio_proj_glob_", "HuMo, Wan 2.1 T2V with sound, a variant that is not supported"),
    (
        ".audio_cross_attn.",
        "MultiTalk or InfiniteTalk, speech for Wan 2.1 I2V-14B: it goes beside that model and is not supported",
    ),
    *(
        (mark, "FantasyTalking, speech for Wan 2.1 I2V-14B: it goes beside that model and is not supported")
        for mark in ("proj_model.proj.", "cross_attn.processor.")
    ),
    (
        "ip_adapter_single_stream_",
        "FantasyPortrait, faces for Wan 2.1 I2V-14B: it goes beside that model and is not supported",
    ),
    *(
        (mark, "Lynx, a person's likeness for Wan 2.1 T2V-14B: it goes beside that model and is not supported")
        for mark in ("cross_attn.ip_adapter.", "self_attn.ref_adapter.")
    ),
    (
        "controlnet_patch_embedding.",
        "Uni3C, camera control for Wan 2.1 I2V-14B: it goes beside that model and is not supported. Camera paths are "
        "read by the Fun-Camera models",
    ),
    (
        ".cam_encoder.",
        "ReCamMaster, Wan 2.1 T2V-1.3B with a camera encoder, a variant that is not supported. Camera paths are read "
        "by the Fun-Camera models",
    ),
    (
        ".action_model.",
        "Matrix-Game, Wan with mouse and keyboard, a variant that is not supported. Camera paths are read by "
        "LingBot-World-Base (Cam), DreamX-World-5B-Cam and the Fun-Camera models",
    ),
    (
        ".to_gate_compress.",
        "FastWan with gates of sparse attention (VSA), a variant that is not supported. Load a FastWan with full "
        "attention, or a Wan model with a four-step LoRA",
    ),
    (
        ".proj_l.",
        "TurboDiffusion, Wan with sparse-linear attention, a variant that is not supported. Load a Wan model with a "
        "four-step LoRA",
    ),
)
_MODELS = (
    # LongCat-Video-Avatar has audio_cross_attn too; its text attention makes keys and values in one matrix.
    (".cross_attn.kv_linear.", "a LongCat-Video model"),
    *_ADDED_TO_WAN,
    (
        "vace_patch_embedding.",
        "a VACE module alone: it goes beside Wan 2.1 T2V of its size, which is not supported. Load a whole VACE model "
        "(wan2.1_vace_14B_fp16.safetensors)",
    ),
    ("conditioner.embedders.", "an SDXL checkpoint, an image model of another family"),
    ("cond_stage_model.", "a Stable Diffusion checkpoint, an image model of another family"),
    ("control_model.", "a ControlNet of another family"),
    ("controlnet_", "a ControlNet of another family"),
    ("input_blocks.", "a Stable Diffusion or SDXL model, an image model of another family"),
    ("down_blocks.0.attentions", "a Stable Diffusion or SDXL model, an image model of another family"),
    (
        "action_in.",
        "HY-WorldPlay, a Hunyuan Video model with actions, whose licence shuts users out. Camera paths are read by "
        "LingBot-World-Base (Cam), DreamX-World-5B-Cam and the Fun-Camera models",
    ),
    ("individual_token_refiner", "a Hunyuan Video model"),
    ("double_blocks.", "a Flux model"),
    ("single_transformer_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("patchify_proj.", "an LTX-Video model"),
    ("t5_yproj.", "a Mochi model"),
    ("img_mod.", "a Qwen-Image model"),
    ("transformer_blocks.", "a diffusion transformer of another family"),
)


def teacher_of(metadata: Mapping[str, str]) -> str | None:
    """The file from which a bundle's other parts are read; None if the bundle holds all, or its header is broken."""
    try:
        return json.loads(metadata["vdit"])["beside"]["file"]
    except (ValueError, KeyError, TypeError):
        return None


def identify(shapes: Shapes, metadata: Mapping[str, str] = {}) -> Family:
    """The family of a file by native names (prefix removed) and logical shapes; "other" where nothing fits."""
    names = list(shapes)
    if "vdit" in metadata:
        alone = teacher_of(metadata) is not None
        return Family(
            "bundle",
            "a student of VDiT's own, its transformer alone"
            if alone
            else "a model of VDiT's own, all parts in one file",
        )
    if "vdit_gate" in metadata:
        return Family("beside", "a picture gate of VDiT's own")
    if "vdit_bodies" in metadata:
        return Family("beside", "a perception of bodies of VDiT's own")
    joined = "\n".join(names)
    if any(mark in joined for mark in LORA_MARKS) or (
        names and all(name.endswith((".diff", ".diff_b", ".alpha")) for name in names)
    ):
        return Family("lora", f"a LoRA for {_lora_family(joined)}, not a model")
    return _by_part(shapes, joined) or _model(joined) or _encoder(shapes, joined) or _unknown(names)


def _lora_family(joined: str) -> str:
    native = any(mark in joined for mark in ("self_attn", "cross_attn.", "cross_attn_"))
    if native or (".attn2." in joined and ".ffn." in joined):
        return "Wan"
    return next((family for mark, family in _LORA_FAMILIES if mark in joined), "another model")


def _by_part(shapes: Shapes, joined: str) -> Family | None:
    has = shapes.__contains__
    if has("patch_embedding.weight") and has("head.modulation"):
        known = next((title for mark, title in _ADDED_TO_WAN if mark in joined), None)
        return Family("other" if known else "transformer", known or "a transformer of the Wan family")
    if has("conv2.weight") and has("decoder.conv1.weight") and len(shapes["conv2.weight"]) == 5:
        channels = shapes["conv2.weight"][0]
        return Family("codec", f"the Wan VAE {'2.2' if channels == 48 else '2.1'} ({channels} latent channels)")
    if has("post_quant_conv.weight") and has("decoder.conv_in.weight"):
        video = len(shapes["decoder.conv_in.weight"]) == 5
        if video:
            channels = shapes["post_quant_conv.weight"][0]
            return Family("codec", f"a Wan VAE in diffusers' names ({channels} latent channels)")
        return Family("other", "the VAE of an image model")
    if has("decoder.conv_in.weight") and "decoder.mid" in joined:
        return Family("other", "the VAE of another model")
    if has("decoder.1.weight") and "decoder.3.conv.0.weight" in joined:
        channels = shapes["decoder.1.weight"][1] if len(shapes["decoder.1.weight"]) > 1 else 0
        return Family("preview codec", f"a tiny preview codec, TAEHV ({channels} latent channels)")
    return None


def _encoder(shapes: Shapes, joined: str) -> Family | None:
    for vocabulary in ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight", "token_embd.weight"):
        if vocabulary in shapes:
            words, width = shapes[vocabulary][:2]
            if words == 256384:
                return Family("text encoder", f"the umt5 text encoder ({width} wide), Wan's is umt5-xxl")
            return Family("other", f"a T5 text encoder with {words} words; Wan's is umt5-xxl, with 256384")
    if "vision_model." in joined or "visual." in joined:
        return Family("vision encoder", "a CLIP vision encoder")
    if "text_model.encoder." in joined:
        return Family("other", "a CLIP text encoder; Wan's is umt5-xxl")
    return None


def _model(joined: str) -> Family | None:
    title = next((title for mark, title in _MODELS if mark in joined), None)
    return Family("other", title) if title else None


def _unknown(names: list[str]) -> Family:
    return Family("other", f"not a model known here ({len(names)} tensors, first {names[0] if names else 'none'})")
