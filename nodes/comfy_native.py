"""Models traded with ComfyUI: ours as its MODEL, VAE and CONDITIONING, its MODEL and VAE as parts of ours.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.latent_formats
import comfy.model_management as management
import comfy.patcher_extension
import torch
from comfy.conds import CONDConstant, CONDRegular
from comfy.model_base import WAN21, BaseModel, ModelType, WAN21_Camera, WAN21_Vace, model_sampling
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.supported_models_base import BASE
from torch import Tensor, nn

from ..model.config import VDiTConfig
from ..model.defaults import DEFAULTS
from ..model.errors import UnknownVariant
from ..model.experts import Experts
from ..model.memory import activation_bytes
from ..model.variants import detect
from ..model.vdit import VDiT
from ..model.world_model import WorldModel
from ..pipeline.foreign_sampler import Shot
from . import comfy_memory
from .comfy_vae import CodecVAE, NativeCodec, codec_of

WAN_FORMATS = {"wan2.1": comfy.latent_formats.Wan21, "wan2.2": comfy.latent_formats.Wan22}
VACE = 96  # channels of a released control branch; the bundled model's says other things


class _Config(BASE):
    memory_usage_factor = 1.0  # unused: NativeBase.memory_required knows

    def __init__(self, shift: float = 1.0):
        super().__init__({"disable_unet_model_creation": True})
        self.sampling_settings = {"shift": shift}


class CodecFormat(comfy.latent_formats.LatentFormat):
    """How a codec's raw latents become what its model sees."""

    latent_dimensions = 3

    def __init__(self, codec: Any):
        self.latent_channels = codec.channels
        self.process_in, self.process_out = codec.normalize, codec.denormalize
        if codec.preview_map is not None:  # samplers then show a cell as its mean colour, -1..1
            colour = codec.preview_map.float().cpu().unflatten(1, (-1, 3)).mean(1)  # [1 + C, 3] of raw latents, 0..1
            mean, std = codec.latent_mean.cpu(), codec.latent_std.cpu()
            self.latent_rgb_factors = (2 * std[:, None] * colour[1:]).tolist()
            self.latent_rgb_factors_bias = (2 * (colour[0] + mean @ colour[1:]) - 1).tolist()


class NativeBase(WAN21_Vace, WAN21_Camera):
    """A VDiT as ComfyUI's samplers know models: native Wan conditioning is understood, and a Shot of ours.

    Tensor names are the native ones, so that native LoRA loaders find theirs.
    """

    def __init__(self, transformer: VDiT):
        BaseModel.__init__(self, _Config(), ModelType.FLOW)
        self.diffusion_model = transformer
        c = transformer.config
        self.image_to_video = bool(c.image_dim) and not c.ref_channels  # of Wan's concat_cond: a mask comes first
        self.time_by_frame = False  # whether known frames have a time of their own

    def become(self, world: WorldModel) -> None:
        """Takes from the model around the transformer what a sampler asks for."""
        native = WAN_FORMATS.get(world.variant.codec) if world.variant else None
        self.latent_format = native() if native else CodecFormat(world.codec)
        self.time_by_frame = world.variant is None or world.variant.task == "ti2v"

    def memory_required(self, input_shape: list[int], cond_shapes: dict = {}) -> float:
        """Bytes beside the weights for latents of this shape; ComfyUI's signature."""
        return activation_bytes(self.diffusion_model.config, input_shape[2:], input_shape[0], self.get_dtype().itemsize)

    def extra_conds(self, **given: Any) -> dict:
        mask = given.get("denoise_mask") if self.time_by_frame else None
        marked = {} if mask is None else {"denoise_mask": CONDRegular(mask)}
        if "vdit" in given:
            return {"c_crossattn": CONDRegular(given["cross_attn"]), "vdit": CONDConstant(given["vdit"])} | marked
        if self.diffusion_model.config.vace_channels == VACE:
            return super().extra_conds(**given) | marked
        self._refuse(vace_frames=given.get("vace_frames"))
        return super(WAN21_Vace, self).extra_conds(**given) | marked

    def scale_latent_inpaint(self, latent_image: Tensor, **given: Any) -> Tensor:
        return latent_image if self.time_by_frame else super().scale_latent_inpaint(latent_image=latent_image, **given)

    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat: Tensor | None = None, c_crossattn: Tensor | None = None,
        control: Any = None, transformer_options: dict = {}, vdit: Shot | None = None,
        denoise_mask: Tensor | None = None, clip_fea: Tensor | None = None,
        vace_context: Tensor | None = None, vace_strength: Any = (),
        camera_conditions: Tensor | None = None, reference_latent: Tensor | None = None, **other: Any,
    ) -> Tensor:  # fmt: skip
        """The clean latents that x [B, C, T, h, w] at sigmas t [B] look like; ComfyUI's name and arguments."""
        self._refuse(control=control, **{k: v for k, v in other.items() if k not in ("latent_shapes",)})
        sigma = t.to(x).view(-1, 1).expand(len(x), x.shape[2])
        if denoise_mask is not None:
            sigma = sigma * denoise_mask.to(x).mean((1, 3, 4))
        context = c_crossattn.to(x)
        if vdit is not None:
            steps = transformer_options.get("sample_sigmas", t).flatten().tolist()
            v = vdit.velocity(self.diffusion_model, x, sigma, context, steps)
        else:
            named = {
                "camera": camera_conditions,
                "vace": None if vace_context is None else tuple(vace_context.to(x).unbind(1)),
                "vace_scale": tuple(map(float, vace_strength)),
                "image": clip_fea,
                "reference": reference_latent,
            }
            seen = x if c_concat is None else torch.cat((x, c_concat.to(x)), 1)
            v = self.diffusion_model(seen, sigma, context, **named)
        return self.model_sampling.calculate_denoised(t, v.float(), x)

    def _refuse(self, **given: Any) -> None:
        """What native nodes put into a conditioning and this model cannot follow is named, not left out."""
        unknown = [name for name, value in given.items() if value is not None]
        if unknown:
            raise ValueError(
                f"the conditioning brings {', '.join(unknown)}, for which this model has no module: take away the node "
                "that adds it, or load a model that has"
            )


def as_model(world: WorldModel, shift: float, low_noise: bool) -> ModelPatcher:
    """A native MODEL that shares the weights; shift 0 is the model's own. Of two experts one, as ComfyUI has them."""
    transformer = world.transformer
    if isinstance(transformer, Experts):
        transformer = transformer.low if low_noise else transformer.high
    patcher = comfy_memory.patcher_of(transformer, management.get_torch_device())
    if isinstance(patcher.model, NativeBase):
        if world.codec is None and world.variant is None:
            raise ValueError("VDiT As Model: the model has no codec, and so no scale for its latents")
        patcher.model.become(world)
    patcher = patcher.clone()
    if shift or isinstance(patcher.model, NativeBase):
        sampling = model_sampling(_Config(shift or world.defaults["shift"]), ModelType.FLOW)
        patcher.add_object_patch("model_sampling", sampling)
    return patcher


def as_vae(world: WorldModel) -> Any:
    """The model's codec as a native VAE; a native one that it was given comes back as it was."""
    codec = world.require("codec", "VDiT As VAE")
    if isinstance(codec, NativeCodec):
        return codec.vae
    return CodecVAE(codec)


def as_conditioning(shot: Shot) -> tuple[list, list]:
    """A shot as native CONDITIONING, positive and negative, both of one length so that they run in one batch."""
    told = (shot.conditioning.positive, shot.conditioning.negative)
    longest = max(tokens.shape[1] for tokens in told)
    padded = (nn.functional.pad(tokens, (0, 0, 0, longest - tokens.shape[1])) for tokens in told)
    positive, negative = ([[tokens, {"vdit": shot}]] for tokens in padded)
    return positive, negative


class NativeTransformer(nn.Module):
    """The transformer of a native Wan MODEL, called like a VDiT: patches, LoRAs and offloading are the MODEL's own."""

    def __init__(self, patcher: ModelPatcher, config: VDiTConfig):
        super().__init__()
        self.config = config
        self.attention = config.attention
        self.patcher = patcher
        comfy_memory.keep(self, patcher)

    @property
    def dtype(self) -> torch.dtype:
        model = self.patcher.model
        return model.manual_cast_dtype or model.get_dtype()

    def forward(
        self, x: Tensor, sigma: Tensor, context: Tensor, camera: Tensor | None = None,
        vace: Tensor | tuple[Tensor, ...] | None = None, camera_scale: float = 1.0,
        vace_scale: float | tuple[float, ...] = 1.0, *,
        target: Tensor | None = None, image: Tensor | None = None, reference: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """As VDiT's; ValueError for what native models cannot do."""
        c, kind = self.config, self.dtype
        self._check(camera, vace, target, image, reference, camera_scale, sigma)
        named: dict[str, Any] = {"clip_fea": image, "camera_conditions": camera, "reference_latent": reference}
        if c.vace_channels and vace is None:  # native VACE models cannot be called without
            vace, vace_scale = x.new_zeros(len(x), c.vace_channels, *x.shape[2:]), 0.0
        if vace is not None:
            several = isinstance(vace, tuple)
            named["vace_context"] = torch.stack(vace if several else (vace,), 1)
            named["vace_strength"] = list(vace_scale) if several else [vace_scale]
        named = {k: v.to(kind) if isinstance(v, Tensor) else v for k, v in named.items() if v is not None}
        context = nn.functional.pad(context, (0, 0, 0, c.text_len - context.shape[1])).to(kind)
        v = self.patcher.model.diffusion_model(
            x.to(kind), 1000 * self._time(sigma), context=context, transformer_options=self._options(sigma), **named
        )
        return v.to(x.dtype)

    def _check(self, camera, vace, target, image, reference, camera_scale: float, sigma: Tensor) -> None:
        c = self.config
        has = {
            "camera": (camera, c.camera_rays), "vace": (vace, c.vace_channels), "target": (target, 0),
            "image": (image, c.image_dim), "reference": (reference, c.ref_channels),
        }  # fmt: skip
        for name, (value, module) in has.items():
            if value is not None and not module:
                raise ValueError(f"the transformer has no module for `{name}`")
        if camera is not None and camera_scale != 1.0:
            raise ValueError(
                f"the camera's strength is {camera_scale:g}; a native MODEL knows 1 only: use VDiT Load Model"
            )

    def _time(self, sigma: Tensor) -> Tensor:
        """One noise level a video where it is one: native VACE and Fun-Camera models know no others."""
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
    world = WorldModel(variant.config, transformer, None, None, defaults, {"loaded": [variant.title]}, variant)
    return world if vae is None else with_vae(world, vae)


def with_vae(world: WorldModel, vae: Any) -> WorldModel:
    """The model with another codec: a native VAE. ValueError when it makes other latents than the model takes."""
    codec = codec_of(vae, WAN_FORMATS)
    if codec.channels != world.config.out_channels:
        title = world.variant.title if world.variant else "the model"
        raise ValueError(
            f"this VAE makes latents of {codec.channels} channels; {title} takes {world.config.out_channels}: load "
            f"{'wan2.2_vae' if world.config.out_channels == 48 else 'wan_2.1_vae'}.safetensors"
        )
    return replace(world, codec=codec)


def _variant_of(patcher: ModelPatcher) -> Any:
    model = patcher.model
    if isinstance(model, NativeBase):
        raise ValueError("this MODEL comes from VDiT As Model: use the VDIT_MODEL that it was made from")
    if not isinstance(model, WAN21):
        raise ValueError(f"this MODEL is {type(model).__name__}; expected one of the Wan 2.1 or 2.2 family")
    shapes = {name: tuple(value.shape) for name, value in model.diffusion_model.named_parameters()}
    try:
        return detect(shapes)
    except UnknownVariant as e:
        raise ValueError(f"this MODEL is {type(model).__name__}: {e}") from e
