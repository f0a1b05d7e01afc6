"""Models, latents and conditionings exchanged with ComfyUI's own nodes, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import io, native, torch_device, use_model, verdict
from .gpus import on_one_gpu
from .sessions import session_of
from .types import VDiTConditioning, VDiTModel, clip_inputs, node_schema, reported, shift_input, shown, video_latent

if TYPE_CHECKING:
    from ..control import Conditioning as Shot
    from ..model.world_model import WorldModel

Model, VAE, Conditioning = io.Custom("MODEL"), io.Custom("VAE"), io.Custom("CONDITIONING")
EXPERTS = ["high noise", "low noise"]
AS_MODEL_TOOLTIPS = {
    "model": "The world model, from VDiT Load Model.",
    "expert": "Of a model with two experts (Wan 2.2 A14B), which one: use this node twice, each with a KSampler "
    "(Advanced) of its own. Other models have one transformer and ignore this.",
    "-> model": "For KSampler and every other node that takes a MODEL.",
}
AS_VAE_TOOLTIPS = {
    "model": "The world model whose codec it is, from VDiT Load Model.",
    "-> vae": "Its latents are those of VDiT Sample: raw, [1,C,T,h,w].",
}
AS_CONDITIONING_TOOLTIPS = {
    "model": "The world model that VDiT As Model is given too.",
    "conditioning": "The shot, from VDiT Encode Conditioning.",
    "-> positive": "For a sampler's positive input.",
    "-> negative": "For its negative input.",
    "-> latent": "The empty latent video that the sampler fills.",
    "-> trim_latent": "Latent frames of reference pictures in front of the video, for Trim Video Latent; mostly 0.",
}
FROM_MODEL_TOOLTIPS = {
    "model": "A Wan 2.1 or 2.2 video model from a native loader, with its LoRAs and patches. Of a model with two "
    "experts, the high-noise one.",
    "low_noise_model": "For models with two experts (Wan 2.2 A14B): the low-noise one, which makes the later steps.",
    "vae": "Its VAE, from Load VAE: encodes key pictures and decodes. Without one, latents go through ComfyUI's own "
    "VAE nodes and pictures cannot be read.",
    "boundary": "For two experts: the noise level, 0 to 1, at which the second takes over; 0 is the released one "
    "(0.875 for text to video, 0.9 for image to video).",
    "-> model": "For every VDiT node. Words come from CLIP Text Encode, through positive and negative of VDiT Encode "
    "Conditioning.",
}
USE_VAE_TOOLTIPS = {
    "model": "The world model; it is not changed, the output is another one.",
    "vae": "The Wan 2.1 or 2.2 VAE that belongs to the model, from Load VAE.",
    "-> model": "The same model with this codec.",
}


class VDiTAsModel(io.ComfyNode):
    """Gives a VDiT model to ComfyUI's own samplers and LoRA loaders. The weights are shared, not copied."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            shift_input("ModelSamplingSD3 behind this node replaces it."),
            io.Combo.Input("expert", options=EXPERTS, default="high noise"),
        ]
        return node_schema(cls, "VDiT As Model", inputs, {"model": Model}, AS_MODEL_TOOLTIPS)

    @classmethod
    def execute(cls, model: WorldModel, shift: float, expert: str) -> io.NodeOutput:
        from ..model.causal import refuse_whole

        comfy = native("VDiT As Model")
        refuse_whole(model)
        on_one_gpu(model, "KSampler")
        return io.NodeOutput(comfy.as_model(model, shift, low_noise=expert == "low noise"))


class VDiTAsVAE(io.ComfyNode):
    """Gives a VDiT model's video codec to VAE Decode, VAE Encode and every other node that takes a VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(cls, "VDiT As VAE", [VDiTModel.Input("model")], {"vae": VAE}, AS_VAE_TOOLTIPS)

    @classmethod
    def execute(cls, model: WorldModel) -> io.NodeOutput:
        return io.NodeOutput(native("VDiT As VAE").as_vae(model))


class VDiTAsConditioning(io.ComfyNode):
    """Gives a shot to ComfyUI's own samplers: words, key pictures, camera, depth and flow, fitted to a clip of one
    length and size. For a MODEL from VDiT As Model.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [VDiTModel.Input("model"), VDiTConditioning.Input("conditioning"), *clip_inputs()]
        outputs = {"positive": Conditioning, "negative": Conditioning, "latent": io.Latent, "trim_latent": io.Int}
        return node_schema(cls, "VDiT As Conditioning", inputs, outputs, AS_CONDITIONING_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, seconds: float | None = None) -> bool | str:
        return verdict(cls, seconds=seconds)

    @classmethod
    def execute(
        cls, model: WorldModel, conditioning: Shot, seconds: float, fps: float, width: int, height: int
    ) -> io.NodeOutput:
        import torch

        from ..pipeline import Run, clip_of
        from ..pipeline.external_sampler import ExternalShot

        comfy = native("VDiT As Conditioning")
        device = torch_device()
        if model.codec is not None:
            use_model(model.codec, device)
        clip = clip_of(model, seconds, fps, width, height)
        shot = ExternalShot(Run(model, conditioning, clip, context=session_of(model).context(device)))
        latent = video_latent(torch.zeros(shot.shape), clip.fps, shot.expected)
        remarks = shown("VDiT As Conditioning", shot.remarks)
        return io.NodeOutput(*comfy.as_conditioning(shot), latent, shot.before, ui=remarks)


class VDiTFromModel(io.ComfyNode):
    """Makes a VDiT model of a native Wan MODEL, so that VDiT's sampler, previews and controls run on what Load
    Diffusion Model, LoRA loaders and GGUF loaders have loaded.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            Model.Input("model"),
            Model.Input("low_noise_model", optional=True),
            VAE.Input("vae", optional=True),
            io.Float.Input("boundary", default=0.0, min=0.0, max=1.0, step=0.005, optional=True),
        ]
        return node_schema(cls, "VDiT From Model", inputs, {"model": VDiTModel}, FROM_MODEL_TOOLTIPS)

    @classmethod
    def execute(cls, model, low_noise_model=None, vae=None, boundary: float = 0.0) -> io.NodeOutput:
        world = native("VDiT From Model").from_model(model, low_noise_model, vae, boundary)
        return io.NodeOutput(world, ui=reported(world.facts["loaded"]))


class VDiTUseVAE(io.ComfyNode):
    """Gives a VDiT model a native VAE as its codec, in place of its own or where it was loaded without one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [VDiTModel.Input("model"), VAE.Input("vae")]
        return node_schema(cls, "VDiT Use VAE", inputs, {"model": VDiTModel}, USE_VAE_TOOLTIPS)

    @classmethod
    def execute(cls, model: WorldModel, vae) -> io.NodeOutput:
        return io.NodeOutput(native("VDiT Use VAE").with_vae(model, vae))
