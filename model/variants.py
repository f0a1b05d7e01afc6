"""The released models of the Wan family, identified by the names and shapes of their tensors alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log, prod
from typing import Any, Literal

from .config import VDiTConfig
from .errors import UnknownVariantError
from .worlds.config import LINGBOT_CHANNELS, LINGBOT_RAYS, DreamXConfig, LingBotConfig, SkyReelsConfig

Shapes = Mapping[str, tuple[int, ...]]

CLIP_DIM, CLIP_TOKENS = 1280, 257  # ViT-H/14, the features before its last layer
MODULES = {  # first parts of the tensor names of all supported transformers
    "patch_embedding", "text_embedding", "time_embedding", "time_projection", "blocks", "head", "img_emb", "ref_conv",
    "control_adapter", "vace_patch_embedding", "vace_blocks", "delta_embedder", "patch_embedding_wancamctrl",
    "c2ws_hidden_states_layer1", "c2ws_hidden_states_layer2", "fps_embedding", "fps_projection",
}  # fmt: skip
FamilyName = Literal["vdit", "wan", "lingbot", "dreamx", "skyreels"]
CONFIGS: dict[FamilyName, type[VDiTConfig]] = {
    "wan": VDiTConfig, "lingbot": LingBotConfig, "dreamx": DreamXConfig, "skyreels": SkyReelsConfig,
}  # fmt: skip
_LINGBOT, _DREAMX, _SKYREELS = (  # tensors by which world models are known
    "patch_embedding_wancamctrl.weight", "blocks.0.cam_self_attn.q_proj.weight", "fps_embedding.weight",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One released model. `needs`: phrases that name what a user has to load besides its file."""

    name: str
    title: str
    config: VDiTConfig
    codec: str  # "wan2.1" or "wan2.2"
    task: str  # "t2v", "i2v", "flf2v", "ti2v", "vace", "control", "camera", "flowmap", or the name of a world model
    defaults: dict[str, Any]  # as released; guidance_low and boundary where there are two experts
    experts: bool = False  # two files, for high and for low noise, which their tensors do not tell apart
    needs: tuple[str, ...] = ()
    family: FamilyName = "wan"  # whose strategy it follows, see pipeline.family

    @property
    def holds_frames(self) -> bool:
        """Whether known frames stand among the others, with a noise level of their own."""
        return self.task in ("ti2v", "dreamx", "skyreels")

    def of(self, config: VDiTConfig) -> Variant:
        """The same variant in other sizes."""
        if config == self.config:
            return self
        return replace(self, config=config, title=f"{self.title} (here {config.layers} layers, {config.dim} wide)")


def detect(shapes: Shapes) -> Variant:
    """The variant of a transformer's tensors: native names without prefix, logical shapes; any width and depth.

    Where two models are one network (an expert of 2.2 T2V and 2.1 T2V-14B), it is the one that runs alone.
    Raises UnknownVariantError.
    """
    config = config_of(shapes)
    found = [v for v in VARIANTS.values() if _structure(v.config) == _structure(config)]
    if not found:
        raise UnknownVariantError(f"a transformer of the Wan family, but of no released kind: {_describe(config)}")
    return min(found, key=lambda v: (abs(log(v.config.dim / config.dim)), v.experts)).of(config)


def config_of(shapes: Shapes) -> VDiTConfig:
    """The config that a transformer's tensors imply. UnknownVariantError when they are not of a Wan transformer."""
    strange = sorted({name.split(".")[0] for name in shapes} - MODULES)
    wanted = ("patch_embedding", "text_embedding.0", "time_embedding.0", "blocks.0.ffn.0", "head.head")
    missing = [name + ".weight" for name in wanted if name + ".weight" not in shapes]
    if missing:
        raise UnknownVariantError(
            f"no transformer of the Wan family: {missing[0]} is missing among {len(shapes)} tensors"
        )
    if strange:
        seen = ", ".join(strange[:5])
        raise UnknownVariantError(f"a transformer of the Wan family with modules that no supported model has: {seen}")
    patch, text, time, ffn, head = (shapes[name + ".weight"] for name in wanted)
    if len(patch) != 5:
        raise UnknownVariantError(f"patch_embedding.weight has shape {patch}; a video model's has five sizes")
    layers, vace = _count(shapes, "blocks"), _count(shapes, "vace_blocks")
    image, places = shapes.get("img_emb.proj.0.weight"), shapes.get("img_emb.emb_pos")
    rays, reference = shapes.get("control_adapter.conv.weight"), shapes.get("ref_conv.weight")
    if bool(image) != ("blocks.0.cross_attn.k_img.weight" in shapes):
        raise UnknownVariantError("img_emb and cross_attn.k_img come together; one of them is missing")
    try:
        return CONFIGS[_family(shapes, patch)](
            dim=patch[0], ffn_dim=ffn[0], layers=layers, in_channels=patch[1], out_channels=head[0] // prod(patch[2:]),
            text_dim=text[1], text_len=512, freq_dim=time[1], patch=patch[2:],
            image_dim=image[0] if image else 0, image_tokens=places[1] if places else 0,
            ref_channels=reference[1] if reference else 0,
            camera_rays=round((rays[1] / 24) ** 0.5) if rays else 0,  # 24 ray channels: 6 of each of 4 frames
            vace_channels=shapes["vace_patch_embedding.weight"][1] if vace else 0,
            vace_layers=tuple(range(0, layers, max(1, layers // vace))) if vace else (),  # evenly spread, as released
            flow_map="delta_embedder.0.weight" in shapes,
        )  # fmt: skip
    except (ValueError, IndexError, KeyError) as e:
        raise UnknownVariantError(f"a transformer of the Wan family whose sizes do not fit together: {e}") from e


def _family(shapes: Shapes, patch: tuple[int, ...]) -> FamilyName:
    """The family of a transformer, by the modules that only one has; patch: the shape of its patch embedding."""
    if _LINGBOT in shapes:
        rays, wanted = shapes[_LINGBOT][1], LINGBOT_CHANNELS * LINGBOT_RAYS**2 * prod(patch[2:])
        if rays != wanted:
            raise UnknownVariantError(
                f"a LingBot-World model that reads {rays} numbers of each token's camera, where LingBot-World-Base "
                f"(Cam) reads {wanted}: those that also read actions are not supported, load lingbot-world-base-cam"
            )
        return "lingbot"
    if _DREAMX in shapes:
        width = shapes[_DREAMX][0]
        if width != patch[0]:
            raise UnknownVariantError(
                f"a DreamX-World model whose camera attention is {width} wide, where DreamX-World-5B-Cam's is as wide "
                f"as the model, {patch[0]}: the autoregressive DreamX-World-5B makes a video block by block and is not "
                "supported, load DreamX-World-5B-Cam"
            )
        return "dreamx"
    return "skyreels" if _SKYREELS in shapes else "wan"


def _count(shapes: Shapes, module: str) -> int:
    """How many blocks there are; they are numbered from 0 on without gaps."""
    found = {int(m[1]) for m in map(re.compile(rf"{module}\.(\d+)\.").match, shapes) if m}
    if found != set(range(len(found))):
        missing = min(set(range(max(found))) - found)
        raise UnknownVariantError(
            f"{module}.{missing} is missing among {max(found) + 1} blocks; the file is incomplete"
        )
    return len(found)


def _structure(c: VDiTConfig) -> tuple:
    """The fields by which variants differ, whatever their width and depth."""
    branches = c.image_dim > 0, c.image_tokens, c.ref_channels, c.camera_rays, c.vace_channels, c.flow_map
    return type(c), c.in_channels, c.out_channels, *branches


def _describe(c: VDiTConfig) -> str:
    parts = {
        "the camera of LingBot-World": isinstance(c, LingBotConfig),
        "the cameras of DreamX-World": isinstance(c, DreamXConfig),
        "the frame rate of SkyReels-V2": isinstance(c, SkyReelsConfig),
        "image branch": c.image_dim, "first and last frame": c.image_tokens, "reference convolution": c.ref_channels,
        "camera adapter": c.camera_rays, "VACE branch": c.vace_channels, "flow map": c.flow_map,
    }  # fmt: skip
    with_ = ", ".join(name for name, there in parts.items() if there) or "no further modules"
    return f"{c.in_channels} channels in, {c.out_channels} out, {c.layers} layers, {c.dim} wide, with {with_}"


# Sizes: Wan-Video/Wan2.1 and Wan2.2, wan/configs; aigc-apps/VideoX-Fun, config. Defaults: the same and generate.py.
_SIZES = {  # dim, ffn_dim, layers
    "1.3B": (1536, 8960, 30),
    "5B": (3072, 14336, 30),
    "14B": (5120, 13824, 40),
}
_VAE = {"wan2.1": "the Wan 2.1 VAE (wan_2.1_vae.safetensors)", "wan2.2": "the Wan 2.2 VAE (wan2.2_vae.safetensors)"}
_TEXT = "the umt5-xxl text encoder (umt5_xxl_fp16.safetensors) with its tokenizer, or ComfyUI's CLIP"
_CLIP = "CLIP image features (ComfyUI's CLIPVisionLoader with clip_vision_h.safetensors)"
_PAIR = "its second expert: the high-noise file as the model, the low-noise file beside it"
_P480, _P720 = dict(width=832, height=480), dict(width=1280, height=720)
_BASE = dict(steps=50, shift=5.0, guidance=5.0, fps=16.0, frames=81, solver="unipc", **_P480)
_FUN = {**_BASE, "guidance": 6.0}
_FUN_A14B = dict(guidance_low=6.0, boundary=0.9)
_5B = dict(fps=24.0, frames=121, width=1280, height=704)
_IMAGE = dict(image_dim=CLIP_DIM)


def _variant(
    name: str,
    title: str,
    size: str,
    channels: int,
    task: str,
    defaults: dict[str, Any],
    vace_every: int = 0,
    **modules: int,
) -> Variant:
    """channels: of the input; vace_every: distance of the blocks that the VACE branch adds to.

    A boundary in the defaults makes it a pair of experts.
    """
    dim, ffn_dim, layers = _SIZES[size]
    families: list[FamilyName] = [name for name in CONFIGS if name == task]
    family = families[0] if families else "wan"
    optional: dict[str, Any] = {**modules}
    if vace_every:
        optional |= dict(vace_channels=96, vace_layers=tuple(range(0, layers, vace_every)))
    latent, codec = (48, "wan2.2") if size == "5B" else (16, "wan2.1")
    config = CONFIGS[family](
        dim=dim,
        ffn_dim=ffn_dim,
        layers=layers,
        in_channels=channels,
        out_channels=latent,
        text_dim=4096,
        text_len=512,
        **optional,
    )
    experts = "boundary" in defaults
    needs = (_VAE[codec], _TEXT, *([_CLIP] if config.image_dim else []), *([_PAIR] if experts else []))
    return Variant(name, title, config, codec, task, dict(defaults), experts, needs, family)


VARIANTS: dict[str, Variant] = {v.name: v for v in (
    _variant("t2v-1.3b", "Wan 2.1 T2V-1.3B", "1.3B", 16, "t2v", _BASE),
    _variant("t2v-14b", "Wan 2.1 T2V-14B", "14B", 16, "t2v", _BASE | _P720),
    _variant("i2v-14b", "Wan 2.1 I2V-14B", "14B", 36, "i2v", _BASE | dict(steps=40, shift=3.0), **_IMAGE),
    _variant("flf2v-14b", "Wan 2.1 FLF2V-14B", "14B", 36, "flf2v", _BASE | _P720 | dict(shift=16.0),
             **_IMAGE, image_tokens=2 * CLIP_TOKENS),
    _variant("vace-1.3b", "Wan 2.1 VACE-1.3B", "1.3B", 16, "vace", _BASE | dict(shift=16.0), vace_every=2),
    _variant("vace-14b", "Wan 2.1 VACE-14B", "14B", 16, "vace", _BASE | _P720 | dict(shift=16.0), vace_every=5),
    _variant("fun-inp-1.3b", "Wan 2.1 Fun-InP 1.3B", "1.3B", 36, "i2v", _FUN | dict(shift=3.0), **_IMAGE),
    _variant("fun-control-1.3b", "Wan 2.1 Fun-Control V1.1 1.3B", "1.3B", 48, "control", _FUN | dict(shift=3.0),
             **_IMAGE, ref_channels=16),
    _variant("fun-control-14b", "Wan 2.1 Fun-Control V1.1 14B", "14B", 48, "control", _FUN | dict(shift=3.0),
             **_IMAGE, ref_channels=16),
    *(_variant(f"fun-control-v1.0-{size.lower()}", f"Wan 2.1 Fun-Control V1.0 {size}", size, 48, "control",
               _FUN | dict(shift=3.0), **_IMAGE) for size in ("1.3B", "14B")),
    _variant("fun-camera-1.3b", "Wan 2.1 Fun-Camera V1.1 1.3B", "1.3B", 32, "camera", _FUN | dict(shift=3.0),
             **_IMAGE, camera_rays=8),
    _variant("fun-camera-14b", "Wan 2.1 Fun-Camera V1.1 14B", "14B", 32, "camera", _FUN | dict(shift=3.0),
             **_IMAGE, camera_rays=8),
    _variant("t2v-a14b", "Wan 2.2 T2V-A14B", "14B", 16, "t2v",
             _BASE | _P720 | dict(steps=40, shift=12.0, guidance=4.0, guidance_low=3.0, boundary=0.875)),
    _variant("i2v-a14b", "Wan 2.2 I2V-A14B", "14B", 36, "i2v",
             _BASE | _P720 | dict(steps=40, guidance=3.5, guidance_low=3.5, boundary=0.9)),
    _variant("ti2v-5b", "Wan 2.2 TI2V-5B", "5B", 48, "ti2v", _BASE | _5B),
    _variant("fun-vace-a14b", "Wan 2.2 VACE-Fun A14B", "14B", 16, "vace",
             _FUN | _FUN_A14B | dict(boundary=0.875), vace_every=5),
    _variant("fun-control-a14b", "Wan 2.2 Fun-Control A14B", "14B", 52, "control", _FUN | _FUN_A14B, ref_channels=16),
    _variant("fun-camera-a14b", "Wan 2.2 Fun-Camera A14B", "14B", 36, "camera", _FUN | _FUN_A14B, camera_rays=8),
    _variant("fun-inp-5b", "Wan 2.2 Fun-InP 5B", "5B", 100, "i2v", _FUN | _5B),
    _variant("fun-control-5b", "Wan 2.2 Fun-Control 5B", "5B", 148, "control", _FUN | _5B, ref_channels=48),
    _variant("fun-camera-5b", "Wan 2.2 Fun-Camera 5B", "5B", 100, "camera", _FUN | _5B, camera_rays=16),
    *(_variant(f"anyflow-{size.lower()}", f"AnyFlow student of Wan 2.1 T2V-{size}", size, 16, "flowmap",
               _BASE | dict(steps=4, guidance=1.0, solver="euler"), flow_map=True) for size in ("1.3B", "14B")),
    # Robbyant/lingbot-world, wan/configs/wan_i2v_A14B.py and the commands of its README
    _variant("lingbot-world-cam", "LingBot-World-Base (Cam)", "14B", 36, "lingbot",
             _BASE | dict(steps=70, shift=10.0, guidance_low=5.0, boundary=0.947, frames=161)),
    # AMAP-ML/DreamX-World, inference_README.md and inference_dreamx5b.py: diffusers' Euler, whose shift is the config's
    _variant("dreamx-world-5b-cam", "DreamX-World-5B-Cam", "5B", 48, "dreamx",
             _BASE | _5B | dict(guidance=3.0, solver="euler")),
    # SkyworkAI/SkyReels-V2, generate_video_df.py
    _variant("skyreels-v2-df-1.3b", "SkyReels-V2 Diffusion Forcing 1.3B", "1.3B", 16, "skyreels",
             _BASE | dict(steps=30, shift=8.0, guidance=6.0, fps=24.0, frames=97, width=960, height=544)),
)}  # fmt: skip
