"""Sample: from noise to a latent video under a conditioning, showing the video as it forms."""

from __future__ import annotations

from .comfy import check_interrupted, io, progress, torch_device, use_models
from .types import CATEGORY, VDiTConditioning, VDiTModel, shown


class VDiTSample(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTSample",
            display_name="VDiT Sample",
            category=CATEGORY,
            description="Renders the shot as a latent video. The same seed and settings give the same video.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model that renders."),
                VDiTConditioning.Input("conditioning", tooltip="The shot, from VDiT Encode Conditioning."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Picks the noise that the video grows from. Another seed, another take of the shot.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Sampling steps, 1 to 1000. Time grows in proportion; beyond 30 little changes.",
                ),
                io.Float.Input(
                    "guidance",
                    default=3.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the prompt steers, 0 to 30 (classifier-free guidance scale). 1: no steering "
                    "and half the time; 2 to 5 is usual; higher obeys more and looks harsher.",
                ),
                io.Float.Input(
                    "shift",
                    default=1.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    tooltip="Schedule shift, 0.1 to 100: s' = k*s/(1+(k-1)*s) on uniform steps. Above 1 spends more "
                    "steps on motion and layout, below 1 on texture.",
                ),
                io.Combo.Input(
                    "solver",
                    options=["unipc", "euler", "heun"],
                    default="unipc",
                    tooltip="unipc: second order, one model call a step. euler: first order, one call. heun: second "
                    "order, two calls a step.",
                ),
                io.Float.Input(
                    "seconds",
                    default=5.0,
                    min=0.1,
                    max=120.0,
                    step=0.01,
                    tooltip="Length, 0.1 to 120 seconds. The model makes 4k+1 frames (seconds x fps + 1); a length "
                    "that does not fit is refused with the two nearest that do.",
                ),
                io.Float.Input(
                    "fps",
                    default=8.0,
                    min=1.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Frames per second, 1 to 120. The bundled model knows motion at 8; at 16 the same motion "
                    "plays twice as fast.",
                ),
                io.Int.Input(
                    "width",
                    default=128,
                    min=32,
                    max=2048,
                    step=32,
                    tooltip="Width in pixels, a multiple of 32 from 32 to 2048. The bundled model is trained at 128.",
                ),
                io.Int.Input(
                    "height",
                    default=128,
                    min=32,
                    max=2048,
                    step=32,
                    tooltip="Height in pixels, a multiple of 32 from 32 to 2048. The bundled model is trained at 128.",
                ),
                io.Latent.Input(
                    "promote",
                    optional=True,
                    tooltip="The latent of VDiT Distill Preview: that take is rendered. Its seed, shift, length, rate "
                    "and size are then used in place of the widgets'.",
                ),
                # What is added comes last: widgets are stored by position.
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The latent video [1,C,T,h,w] in the codec's raw scale, with its fps, for VDiT Decode.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, model, conditioning, seed, steps, guidance, shift, solver, seconds, fps, width, height, promote=None
    ) -> io.NodeOutput:
        from ..sampling import Forming, generate, lattice_of, outside_training, unused

        says = {}
        if promote is not None:
            seed, shift, seconds, fps, width, height = _promoted(model, promote)
            says["vdit_line"] = [f"The preview's take: seed {seed}, {seconds:g} s at {fps:g} fps, {width}x{height}"]
        frames = lattice_of(model).frames(seconds, fps)
        lattice_of(model).check_size(width, height)
        remarks = outside_training(model, frames, fps, width, height) + unused(conditioning, steps)
        says |= shown("VDiT Sample", remarks) or {}
        device = torch_device()
        use_models([model.transformer, model.codec], device)  # the codec draws the previews
        latent = generate(
            model,
            conditioning,
            seed=seed,
            frames=frames,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            shift=shift,
            solver=solver,
            device=device,
            on_step=Forming(model.codec, progress(steps)),
            check=check_interrupted,
        )
        return io.NodeOutput({"samples": latent, "fps": fps}, ui=says or None)


def _promoted(model, latent: dict) -> tuple:
    """(seed, shift, seconds, fps, width, height) of a preview's latent. Raises ValueError for any other latent."""
    from ..sampling import check_latent

    if "vdit" not in latent:
        raise ValueError("promote got a latent that carries no seed; wire the latent of VDiT Distill Preview to it")
    samples, codec = latent["samples"], model.codec
    check_latent(codec, samples)
    _, _, count, h, w = samples.shape
    seconds = (count - 1) * codec.temporal / latent["fps"]
    return (latent["vdit"]["seed"], latent["vdit"]["shift"], seconds, latent["fps"], w * codec.spatial, h * codec.spatial)
