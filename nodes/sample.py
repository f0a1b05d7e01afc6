"""Sample: from noise to a latent video under a conditioning, showing the video as it forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, device_room, io, progress, torch_device, use_models, verdict
from .sessions import cancellable, session_of
from .types import (
    VDiTConditioning,
    VDiTModel,
    clip_inputs,
    node_schema,
    reported,
    seed_input,
    shift_input,
    shown,
    video_latent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..control import Conditioning
    from ..model.world_model import WorldModel
    from ..pipeline import Hooks, LatentPreview

OWN = "model's own"  # of combos; of numbers 0
SOLVERS = ("unipc", "euler", "heun", "lcm")
SCHEDULERS = ("simple", "normal", "wan")  # as in sampling.schedule
TOOLTIPS = {
    "model": "The world model that renders.",
    "conditioning": "The shot, from VDiT Encode Conditioning.",
    "steps": "Sampling steps, 1 to 1000; 0: the model's own (20 of the bundled one, 40 or 50 of Wan, 4 of students). "
    "Time grows in proportion.",
    "guidance": "How strongly the prompt steers, up to 30 (classifier-free guidance scale); 0: the model's own. 1: no "
    "steering and half the time; 2 to 6 is usual; higher follows the prompt more closely and looks harsher.",
    "solver": "unipc: second order, one model call a step. euler: first order, one call; for four-step students "
    "(LightX2V). heun: second order, two calls a step. lcm: adds new noise after each step; for CausVid and "
    "Self-Forcing students.",
    "promote": "The latent of VDiT Distill Preview: that take is rendered. Its seed, shift, length, frame rate and "
    "size replace the widgets', and so does the first picture that it made of a prompt without pictures.",
    "scheduler": "Which noise levels the steps visit. simple: uniform, then shifted; the bundled model's, and "
    "four-step students'. normal: ends closer to zero noise, as diffusers' Euler. wan: Wan's own for unipc, from .999 "
    "and in whole thousandths.",
    "guidance_low": "For Wan 2.2 models with two experts: guidance in low noise, up to 30; 0: as guidance, or the "
    "model's own where that is 0, too.",
    "-> latent": "The latent video [1,C,T,h,w] in the codec's raw scale, with its fps, for VDiT Decode.",
}


class VDiTSample(io.ComfyNode):
    """Renders the shot as a latent video. The same seed and settings give the same video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            VDiTConditioning.Input("conditioning"),
            seed_input(),
            io.Int.Input("steps", default=0, min=0, max=1000),
            io.Float.Input("guidance", default=0.0, min=0.0, max=30.0, step=0.1),
            shift_input(),
            io.Combo.Input("solver", options=[OWN, *SOLVERS], default=OWN),
            *clip_inputs(),
            io.Latent.Input("promote", optional=True),
            # Later additions come last: workflow files store widget values by position.
            io.Combo.Input("scheduler", options=[OWN, *SCHEDULERS], default=OWN, optional=True),
            io.Float.Input("guidance_low", default=0.0, min=0.0, max=30.0, step=0.1, optional=True),
        ]
        return node_schema(cls, "VDiT Sample", inputs, {"latent": io.Latent}, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, steps: int | None = None) -> bool | str:
        return verdict(cls, steps=steps)

    @classmethod
    def execute(
        cls,
        model: WorldModel,
        conditioning: Conditioning,
        seed: int,
        steps: int,
        guidance: float,
        shift: float,
        solver: str,
        seconds: float,
        fps: float,
        width: int,
        height: int,
        promote: dict | None = None,
        scheduler: str = OWN,
        guidance_low: float = 0.0,
    ) -> io.NodeOutput:
        from .. import pipeline

        lines, continuation = [], pipeline.Continuation()
        if promote is not None:
            seed, shift, seconds, fps, width, height = _promoted(model, promote)
            lines = [f"The preview's take: seed {seed}, {seconds:g} s at {fps:g} fps, {width}x{height}"]
            continuation = pipeline.Continuation(first_picture=promote["vdit"].get("opening"))
        defaults_used = 0 in (steps, guidance, shift, seconds, fps, width, height) or solver == OWN
        clip = pipeline.clip_of(model, seconds, fps, width, height)
        asked = pipeline.SamplerSettings(
            steps or None, guidance or None, shift or None, _given(solver), _given(scheduler), guidance_low or None
        )
        use = pipeline.resolve(model, asked)
        remarks = pipeline.outside_training(model, clip) + pipeline.unused(conditioning.controls, use.steps)
        device, session = torch_device(), session_of(model)
        one = getattr(model.transformer, "high", model.transformer)
        guided, itemsize = use.guidance != 1, one.dtype.itemsize
        free, on_device = device_room()
        pipeline.check_room(
            model,
            clip,
            lambda clip: pipeline.reserve(0, on_device) + pipeline.sampling_bytes(model, clip, guided, itemsize),
            free,
            "one step of the model",
        )
        room = pipeline.sampling_bytes(model, clip, guided, itemsize)
        use_models([*model.transformers, model.codec], device, room)  # the codec draws the previews
        work = pipeline.work_of(model, use.steps, clip.latent_shape(model.space)[2])
        hooks = _hooks(model, session.preview, progress(work), use.steps)
        context = session.context(device, hooks)
        with cancellable(model):
            made = pipeline.generate(pipeline.Run(model, conditioning, clip, seed, asked, context, continuation))
        if defaults_used or model.family != "vdit":
            lines.append(pipeline.described(made.settings, clip))
        if made.first_picture is not None:
            lines.append("Begun with a picture that was made of the words first")
        if made.draft is not None and conditioning.draft is not None:
            left_out = f", which stands for the first {made.draft.strength:.0%} of the schedule"
            lines.append(f"Follows the draft that is wired{'' if model.config.draft else left_out}")
        elif made.draft is not None:
            camera = "the path of the camera, and " * made.draft.camera_moves
            lines.append(f"Predicted: {camera}where the balls of the start picture will go")
        messages = (reported(lines) or {}) | (shown("VDiT Sample", remarks + made.remarks) or {})
        return io.NodeOutput(video_latent(made.latent, clip.fps, made.expected), ui=messages or None)


def _given(choice: str) -> str | None:
    return None if choice == OWN else choice


def _hooks(model: WorldModel, preview: LatentPreview | None, update: Callable[..., None], steps: int) -> Hooks:
    """Shows the forming video after each step, or each finished block, where the model has a preview."""
    from ..pipeline import FormingBlocks, FormingVideo, Hooks

    if preview is None:
        return Hooks(on_step=lambda step: update(step.done, None), check=check_interrupted)
    if model.causal is None:
        return Hooks(on_step=FormingVideo(preview, update), check=check_interrupted)
    forming = FormingBlocks(preview, update, steps)
    return Hooks(on_step=forming.on_step, on_block=forming.on_block, check=check_interrupted)


def _promoted(model: WorldModel, latent: dict) -> tuple[int, float, float, float, int, int]:
    """(seed, shift, seconds, fps, width, height) of a preview's latent. Raises ValueError for any other latent."""
    from ..pipeline import check_latent

    if "vdit" not in latent:
        raise ValueError("promote got a latent that carries no seed; wire the latent of VDiT Distill Preview to it")
    samples, codec = latent["samples"], model.space
    check_latent(codec, samples)
    _, _, count, h, w = samples.shape
    seconds = (count - 1) * codec.temporal / latent["fps"]
    seed, shift = latent["vdit"]["seed"], latent["vdit"]["shift"]
    return seed, shift, seconds, latent["fps"], w * codec.spatial, h * codec.spatial
