"""Models exchanged with ComfyUI: ours as its MODEL, VAE and CONDITIONING, its MODEL and VAE as parts of ours.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ruff: noqa: ANN401  ComfyUI's own objects have no types here
from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management as management
import comfy.patcher_extension
import torch
from comfy.model_base import WAN21, ModelType, model_sampling
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from torch import Tensor, nn

from ..model.config import VDiTConfig
from ..model.defaults import DEFAULTS
from ..model.errors import UnknownVariantError
from ..model.experts import Experts
from ..model.transformer import Transformer
from ..model.variants import detect
from ..model.world_model import WorldModel
from ..pipeline.external_sampler import ExternalShot
from . import comfy_memory
from .comfy_base import WAN_FORMATS, NativeBase, SamplingConfig
from .comfy_vae import CodecVAE, NativeCodec, codec_of


def as_model(world: WorldModel, shift: float, low_noise: bool) -> ModelPatcher:
    """A native MODEL that shares the weights; shift 0 is the model's own. Of two experts one, as ComfyUI has them."""
    transformer = world.transformer
    if isinstance(transformer, Experts):
        transformer = transformer.low if low_noise else transformer.high
    patcher = comfy_memory.patcher_of(transformer, management.get_torch_device())
    if isinstance(patcher.model, NativeBase):
        if world.codec is None and world.family == "vdit":
            raise ValueError("VDiT As Model: the model has no codec, and so no scale for its latents")
        patcher.model.become(world)
    patcher = patcher.clone()
    if shift or isinstance(patcher.model, NativeBase):
        sampling = model_sampling(SamplingConfig(shift or world.defaults["shift"]), ModelType.FLOW)
        patcher.add_object_patch("model_sampling", sampling)
    return patcher


def as_vae(world: WorldModel) -> Any:
    """The model's codec as a native VAE; a native one that it was given comes back as it was."""
    codec = world.require("codec", "VDiT As VAE")
    if isinstance(codec, NativeCodec):
        return codec.vae
    return CodecVAE(codec)


def as_conditioning(shot: ExternalShot) -> tuple[list, list]:
    """A shot as native CONDITIONING, positive and negative, both of one length so that they run in one batch."""
    given = shot.conditioning
    texts = (given.positive, given.positive if given.negative is None else given.negative)
    longest = max(tokens.shape[1] for tokens in texts)
    padded = (nn.functional.pad(tokens, (0, 0, 0, longest - tokens.shape[1])) for tokens in texts)
    positive, negative = ([[tokens, {"vdit": shot}]] for tokens in padded)
    return positive, negative


class NativeTransformer(Transformer):
    """The transformer of a native Wan MODEL, called like a VDiT: patches, LoRAs and offloading are the MODEL's own."""

    def __init__(self, patcher: ModelPatcher, config: VDiTConfig):
        super().__init__()
        self.config = config
        self.attention = config.attention
        self.patcher = patcher
        comfy_memory.keep(self, patcher)

    @property
    def dtype(self) -> torch.dtype:
        """What the native model computes in."""
        model = self.patcher.model
        return model.manual_cast_dtype or model.get_dtype()

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        context: Tensor,
        camera: Tensor | None = None,
        vace: Tensor | tuple[Tensor, ...] | None = None,
        camera_scale: float = 1.0,
        vace_scale: float | tuple[float, ...] = 1.0,
        *,
        target: Tensor | None = None,
        image: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """As VDiT's. Raises ValueError for what native models cannot do."""
        c, kind = self.config, self.dtype
        modules = {
            "camera": (camera, c.camera_rays),
            "vace": (vace, c.vace_channels),
            "target": (target, 0),
            "image": (image, c.image_dim),
            "reference": (reference, c.ref_channels),
        }
        for name, (value, module) in modules.items():
            if value is not None and not module:
                raise ValueError(f"the transformer has no module for `{name}`")
        if camera is not None and camera_scale != 1.0:
            raise ValueError(
                f"the camera's strength is {camera_scale:g}; a native MODEL has 1 only: use VDiT Load Model"
            )
        named: dict[str, Any] = {"clip_fea": image, "camera_conditions": camera, "reference_latent": reference}
        if c.vace_channels and vace is None:  # native VACE models cannot be called without
            vace, vace_scale = x.new_zeros(len(x), c.vace_channels, *x.shape[2:]), 0.0
        if vace is not None:
            named["vace_context"] = torch.stack(vace if isinstance(vace, tuple) else (vace,), 1)
            named["vace_strength"] = list(vace_scale) if isinstance(vace_scale, tuple) else [vace_scale]
        named = {k: v.to(kind) if isinstance(v, Tensor) else v for k, v in named.items() if v is not None}
        context = nn.functional.pad(context, (0, 0, 0, c.text_len - context.shape[1])).to(kind)
        v = self.patcher.model.diffusion_model(
            x.to(kind), 1000 * self._time(sigma), context=context, transformer_options=self._options(sigma), **named
        )
        return v.to(x.dtype)

    def _time(self, sigma: Tensor) -> Tensor:
        """One noise level a video where it is one: native VACE and Fun-Camera models take no others."""
        if sigma.ndim == 1 or bool((sigma == sigma[:, :1]).all()):
            return sigma.reshape(len(sigma), -1)[:, 0].float()
        if self.config.vace_channels or self.config.camera_rays:
            raise ValueError(
                "known frames have a noise level of their own, which native VACE and Fun-Camera models cannot take: "
                "use VDiT Load Model"
            )
        return sigma.float()

    def _options(self, sigma: Tensor) -> dict:
        """The transformer_options that a native sampler would give."""
        options = create_model_options_clone(self.patcher.model_options)["transformer_options"]
        wrappers = options.setdefault("wrappers", {})
        comfy.patcher_extension.merge_nested_dicts(wrappers, self.patcher.wrappers, copy_dict1=False)
        return options | {"sigmas": sigma.max().reshape(1), "cond_or_uncond": list(range(len(sigma)))}


def from_model(patcher: ModelPatcher, low: ModelPatcher | None, vae: Any, boundary: float) -> WorldModel:
    """A native Wan MODEL, or two experts, as a WorldModel without text encoder. ValueError for any other MODEL."""
    variant = _variant_of(patcher)
    transformer: nn.Module = NativeTransformer(patcher.clone(), variant.config)
    defaults = DEFAULTS | variant.defaults
    if low is not None:
        if _variant_of(low).config != variant.config:
            raise ValueError(
                f"low_noise_model is {_variant_of(low).title}, the model {variant.title}: give two of one kind"
            )
        boundary = boundary or defaults.get("boundary", 0.9 if variant.config.in_channels == 36 else 0.875)
        transformer = Experts(transformer, NativeTransformer(low.clone(), variant.config), boundary)
        defaults["boundary"] = boundary
    sampling = patcher.get_model_object("model_sampling")
    defaults["shift"] = float(getattr(sampling, "shift", defaults["shift"]))
    facts = {"loaded": [variant.title]}
    world = WorldModel(
        variant.config, transformer, None, None, defaults, facts, variant, family="wan", title=variant.title
    )
    return world if vae is None else with_vae(world, vae)


def with_vae(world: WorldModel, vae: Any) -> WorldModel:
    """The model with another codec: a native VAE. ValueError when it makes other latents than the model takes."""
    codec = codec_of(vae, WAN_FORMATS)
    if codec.channels != world.config.out_channels:
        channels = world.config.out_channels
        raise ValueError(
            f"this VAE makes latents of {codec.channels} channels; {world.title} takes {channels}: load "
            f"{'wan2.2_vae' if channels == 48 else 'wan_2.1_vae'}.safetensors"
        )
    return replace(world, codec=codec)


def _variant_of(patcher: ModelPatcher) -> Any:
    model = patcher.model
    if isinstance(model, NativeBase):
        raise ValueError("this MODEL comes from VDiT As Model: use the VDIT_MODEL that it was made from")
    if not isinstance(model, WAN21):
        raise ValueError(f"this MODEL is {type(model).__name__}; expected one of the Wan 2.1 or 2.2 family")
    if isinstance(model, getattr(comfy.model_base, "WAN21_CausalAR", ())):
        raise ValueError(
            "this MODEL is a causal student, which VDiT samples block by block: load its file with VDiT Load Model, or "
            "use ComfyUI's own Sampler AR Video"
        )
    shapes = {name: tuple(value.shape) for name, value in model.diffusion_model.named_parameters()}
    try:
        return detect(shapes)
    except UnknownVariantError as e:
        raise ValueError(f"this MODEL is {type(model).__name__}: {e}") from e
