"""Models, latents and conditionings traded with ComfyUI's own nodes, both ways."""

from __future__ import annotations

from .comfy import io, native, torch_device, use_model
from .sessions import session_of
from .types import CATEGORY, VDiTConditioning, VDiTModel, reported, video_latent

Model, VAE, Conditioning = io.Custom("MODEL"), io.Custom("VAE"), io.Custom("CONDITIONING")


class VDiTAsModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTAsModel",
            display_name="VDiT As Model",
            category=CATEGORY,
            description="Gives a VDiT model to ComfyUI's own samplers and LoRA loaders. The weights are shared, not "
            "copied.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model, from VDiT Load Model."),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Schedule shift, 0.1 to 100; 0 is the model's own. Above 1 more of the steps go into "
                    "motion and layout. ModelSamplingSD3 behind this node replaces it.",
                ),
                io.Combo.Input(
                    "expert",
                    options=["high noise", "low noise"],
                    default="high noise",
                    tooltip="Of a model with two experts (Wan 2.2 A14B), which one: use this node twice, each with a "
                    "KSampler (Advanced) of its own. Other models have one transformer and ignore this.",
                ),
            ],
            outputs=[
                Model.Output(display_name="model", tooltip="For KSampler and every other node that takes a MODEL.")
            ],
        )

    @classmethod
    def execute(cls, model, shift: float, expert: str) -> io.NodeOutput:
        return io.NodeOutput(native("VDiT As Model").as_model(model, shift, low_noise=expert == "low noise"))


class VDiTAsVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTAsVAE",
            display_name="VDiT As VAE",
            category=CATEGORY,
            description="Gives a VDiT model's video codec to VAE Decode, VAE Encode and every other node that takes "
            "a VAE.",
            inputs=[VDiTModel.Input("model", tooltip="The world model whose codec it is, from VDiT Load Model.")],
            outputs=[VAE.Output(display_name="vae", tooltip="Its latents are those of VDiT Sample: raw, [1,C,T,h,w].")],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(native("VDiT As VAE").as_vae(model))


class VDiTAsConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTAsConditioning",
            display_name="VDiT As Conditioning",
            category=CATEGORY,
            description="Gives a shot to ComfyUI's own samplers: words, key pictures, camera, depth and flow, fitted "
            "to a clip of one length and size. For a MODEL from VDiT As Model.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model that VDiT As Model is given too."),
                VDiTConditioning.Input("conditioning", tooltip="The shot, from VDiT Encode Conditioning."),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Length, up to 120 seconds; 0 is the model's own. The model makes 4k+1 frames (seconds x "
                    "fps + 1); a length that does not fit is refused with the two nearest that do.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Frames per second, up to 120; 0 is the model's own (bundled 8, Wan 16 or 24), at which it "
                    "knows motion.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=2048,
                    step=16,
                    tooltip="Width in pixels, up to 2048; 0 is the model's own. A multiple of 32 (of 16 with Wan "
                    "2.1's VAE).",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=2048,
                    step=16,
                    tooltip="Height in pixels, up to 2048; 0 is the model's own. A multiple of 32 (of 16 with Wan "
                    "2.1's VAE).",
                ),
            ],
            outputs=[
                Conditioning.Output(display_name="positive", tooltip="For a sampler's positive input."),
                Conditioning.Output(display_name="negative", tooltip="For its negative input."),
                io.Latent.Output(display_name="latent", tooltip="The empty latent video that the sampler fills."),
                io.Int.Output(
                    display_name="trim_latent",
                    tooltip="Latent frames of reference pictures in front of the video, for Trim Video Latent; mostly "
                    "0.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, conditioning, seconds, fps, width, height) -> io.NodeOutput:
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
        return io.NodeOutput(*comfy.as_conditioning(shot), latent, shot.before)


class VDiTFromModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTFromModel",
            display_name="VDiT From Model",
            category=CATEGORY,
            description="Makes a VDiT model of a native Wan MODEL, so that VDiT's sampler, previews and controls run "
            "on what Load Diffusion Model, LoRA loaders and GGUF loaders have loaded.",
            inputs=[
                Model.Input(
                    "model",
                    tooltip="A Wan 2.1 or 2.2 video model from a native loader, with its LoRAs and patches. Of a model "
                    "with two experts, the high-noise one.",
                ),
                Model.Input(
                    "low_noise_model",
                    optional=True,
                    tooltip="For models with two experts (Wan 2.2 A14B): the low-noise one, which makes the later "
                    "steps.",
                ),
                VAE.Input(
                    "vae",
                    optional=True,
                    tooltip="Its VAE, from Load VAE: encodes key pictures and decodes. Without one, latents go through "
                    "ComfyUI's own VAE nodes and pictures cannot be read.",
                ),
                io.Float.Input(
                    "boundary",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    optional=True,
                    tooltip="For two experts: the noise level, 0 to 1, at which the second takes over; 0 is the "
                    "released one (0.875 for text to video, 0.9 for image to video).",
                ),
            ],
            outputs=[
                VDiTModel.Output(
                    display_name="model",
                    tooltip="For every VDiT node. Words come from CLIP Text Encode, through positive and negative of "
                    "VDiT Encode Conditioning.",
                )
            ],
        )

    @classmethod
    def execute(cls, model, low_noise_model=None, vae=None, boundary: float = 0.0) -> io.NodeOutput:
        world = native("VDiT From Model").from_model(model, low_noise_model, vae, boundary)
        return io.NodeOutput(world, ui=reported(world.facts["loaded"]))


class VDiTUseVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTUseVAE",
            display_name="VDiT Use VAE",
            category=CATEGORY,
            description="Gives a VDiT model a native VAE as its codec, in place of its own or where it was loaded "
            "without one.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model; it is not changed, the output is another one."),
                VAE.Input("vae", tooltip="The Wan 2.1 or 2.2 VAE that belongs to the model, from Load VAE."),
            ],
            outputs=[VDiTModel.Output(display_name="model", tooltip="The same model with this codec.")],
        )

    @classmethod
    def execute(cls, model, vae) -> io.NodeOutput:
        return io.NodeOutput(native("VDiT Use VAE").with_vae(model, vae))
