"""A VDiT behind the interface that ComfyUI's samplers expect of a model: latent format, conditions, memory.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ruff: noqa: ANN401  ComfyUI's own objects have no types here
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import comfy.latent_formats
import torch
from comfy.conds import CONDConstant, CONDRegular
from comfy.model_base import BaseModel, ModelType, WAN21_Camera, WAN21_Vace
from comfy.supported_models_base import BASE
from torch import Tensor

from ..model.memory import activation_bytes
from ..model.wan import WanTransformer
from ..model.world_model import WorldModel
from ..pipeline.external_sampler import ExternalShot

WAN_FORMATS = {"wan2.1": comfy.latent_formats.Wan21, "wan2.2": comfy.latent_formats.Wan22}
VACE = 96  # channels of a released VACE branch; the bundled model's branch has others


class SamplingConfig(BASE):
    """What ComfyUI asks of a model's family: the schedule's shift."""

    memory_usage_factor = 1.0  # unused: NativeBase.memory_required knows

    def __init__(self, shift: float = 1.0):
        super().__init__({"disable_unet_model_creation": True})
        self.sampling_settings = {"shift": shift}


class CodecFormat(comfy.latent_formats.LatentFormat):
    """The scale between a codec's raw latents and those of its model."""

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
    """A VDiT behind ComfyUI's model interface. It takes native Wan conditioning, and a Shot of ours.

    Tensor names are the native ones, so that native LoRA loaders find theirs.
    """

    def __init__(self, transformer: WanTransformer):
        BaseModel.__init__(self, SamplingConfig(), ModelType.FLOW)
        self.diffusion_model = transformer
        c = transformer.config
        self.image_to_video = bool(c.image_dim) and not c.ref_channels  # of Wan's concat_cond: a mask comes first
        self.time_by_frame = False  # whether known frames have a time of their own

    def become(self, world: WorldModel) -> None:
        """Takes from the model around the transformer what a sampler asks for."""
        native = WAN_FORMATS.get(world.variant.codec) if world.variant else None
        self.latent_format = native() if native else CodecFormat(world.codec)
        self.time_by_frame = world.variant is None or world.variant.holds_frames

    def memory_required(self, input_shape: list[int], cond_shapes: dict = {}) -> float:  # noqa: B006  as ComfyUI's
        """Bytes besides the weights for latents of this shape; ComfyUI's signature."""
        return activation_bytes(self.diffusion_model.config, input_shape[2:], input_shape[0], self.get_dtype().itemsize)

    def extra_conds(self, **given: Any) -> dict:
        """What a conditioning adds to a call: a Shot of ours, or native Wan conditions."""
        mask = given.get("denoise_mask") if self.time_by_frame else None
        marked = {} if mask is None else {"denoise_mask": CONDRegular(mask)}
        if "vdit" in given:
            return {"c_crossattn": CONDRegular(given["cross_attn"]), "vdit": CONDConstant(given["vdit"])} | marked
        if self.diffusion_model.config.vace_channels == VACE:
            return super().extra_conds(**given) | marked
        self._refuse(vace_frames=given.get("vace_frames"))
        return super(WAN21_Vace, self).extra_conds(**given) | marked

    def scale_latent_inpaint(self, latent_image: Tensor, **given: Any) -> Tensor:
        """Known frames with a noise level of their own stay clean."""
        return latent_image if self.time_by_frame else super().scale_latent_inpaint(latent_image=latent_image, **given)

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: object = None,
        transformer_options: dict = {},  # noqa: B006  as ComfyUI's
        vdit: ExternalShot | None = None,
        denoise_mask: Tensor | None = None,
        clip_fea: Tensor | None = None,
        vace_context: Tensor | None = None,
        vace_strength: Iterable[float] = (),
        camera_conditions: Tensor | None = None,
        reference_latent: Tensor | None = None,
        **other: object,
    ) -> Tensor:
        """The clean latents that x [B, C, T, h, w] at sigmas t [B] look like; ComfyUI's name and arguments."""
        self._refuse(control=control, **{name: value for name, value in other.items() if name != "latent_shapes"})
        sigma = t.to(x).view(-1, 1).expand(len(x), x.shape[2])
        if denoise_mask is not None:
            sigma = sigma * denoise_mask.to(x).mean((1, 3, 4))
        assert c_crossattn is not None, "every conditioning of a video model has text"
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
            given = x if c_concat is None else torch.cat((x, c_concat.to(x)), 1)
            v = self.diffusion_model(given, sigma, context, **named)
        return self.model_sampling.calculate_denoised(t, v.float(), x)

    def _refuse(self, **given: object) -> None:
        """Raises ValueError that names what native nodes put into a conditioning and this model has no module for."""
        unknown = [name for name, value in given.items() if value is not None]
        if unknown:
            raise ValueError(
                f"the conditioning brings {', '.join(unknown)}, for which this model has no module: take away the node "
                "that adds it, or load a model that has"
            )
