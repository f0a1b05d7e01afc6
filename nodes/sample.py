"""Sample: from noise to a latent video under a conditioning, showing the video as it forms."""

from __future__ import annotations

from .comfy import check_interrupted, io, progress, torch_device, use_models
from .sessions import session_of
from .types import CATEGORY, VDiTConditioning, VDiTModel, reported, shown, video_latent

OWN = "model's own"  # of combos; of numbers 0
SCHEDULERS = ("simple", "normal", "wan")  # as in sampling.schedule


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
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Sampling steps, 1 to 1000; 0: the model's own (20 of the bundled one, 40 or 50 of Wan, "
                    "4 of students). Time grows in proportion.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the prompt steers, up to 30 (classifier-free guidance scale); 0: the model's "
                    "own. 1: no steering and half the time; 2 to 6 is usual; higher obeys more and looks harsher.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Schedule shift, 0.1 to 100: s' = k*s/(1+(k-1)*s); 0: the model's own (1 of the bundled "
                    "one, 3 to 16 of Wan). Above 1 spends more steps on motion and layout, below 1 on texture.",
                ),
                io.Combo.Input(
                    "solver",
                    options=[OWN, "unipc", "euler", "heun", "lcm"],
                    default=OWN,
                    tooltip="unipc: second order, one model call a step. euler: first order, one call; for four-step "
                    "students (LightX2V). heun: second order, two calls a step. lcm: noises anew after each step; for "
                    "CausVid and Self-Forcing students.",
                ),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Length, 0.1 to 120 seconds; 0: as long as the model was trained (5 seconds). The model "
                    "makes 4k+1 frames (seconds x fps + 1); a length that does not fit is refused with the two "
                    "nearest that do.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Frames per second, 1 to 120; 0: those at which the model knows motion (8 of the "
                    "bundled one, 16 of Wan, 24 of TI2V-5B). At twice as many the same motion plays twice as fast.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=2048,
                    step=16,
                    tooltip="Width in pixels, up to 2048; 0: as the model was trained (128 of the bundled one, 832 or "
                    "1280 of Wan). A multiple of 16, of the bundled model and TI2V-5B of 32.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=2048,
                    step=16,
                    tooltip="Height in pixels, up to 2048; 0: as the model was trained (128 of the bundled one, 480 or "
                    "720 of Wan). A multiple of 16, of the bundled model and TI2V-5B of 32.",
                ),
                io.Latent.Input(
                    "promote",
                    optional=True,
                    tooltip="The latent of VDiT Distill Preview: that take is rendered. Its seed, shift, length, rate "
                    "and size are then used in place of the widgets', and of words alone its first picture.",
                ),
                # What is added comes last: widgets are stored by position.
                io.Combo.Input(
                    "scheduler",
                    options=[OWN, *SCHEDULERS],
                    default=OWN,
                    optional=True,
                    tooltip="Which noise levels the steps visit. simple: uniform, then shifted; the bundled "
                    "model's, and four-step students'. normal: ends nearer to no noise, as diffusers' Euler. wan: "
                    "Wan's own for unipc, from .999 and in whole thousandths.",
                ),
                io.Float.Input(
                    "guidance_low",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    optional=True,
                    tooltip="For Wan 2.2 models with two experts: guidance in low noise, up to 30; 0: as guidance, "
                    "or the model's own where that is 0, too.",
                ),
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
        cls, model, conditioning, seed, steps, guidance, shift, solver, seconds, fps, width, height, promote=None,
        scheduler=OWN, guidance_low=0.0,
    ) -> io.NodeOutput:  # fmt: skip
        from ..pipeline import Continuation, Hooks, Run, SamplerSettings, clip_of, described, generate
        from ..pipeline import outside_training, resolve, unused

        lines, continuation = [], Continuation()
        if promote is not None:
            seed, shift, seconds, fps, width, height = _promoted(model, promote)
            lines = [f"The preview's take: seed {seed}, {seconds:g} s at {fps:g} fps, {width}x{height}"]
            continuation = Continuation(first_picture=promote["vdit"].get("opening"))
        defaults_used = 0 in (steps, guidance, shift, seconds, fps, width, height) or solver == OWN
        clip = clip_of(model, seconds, fps, width, height)
        asked = SamplerSettings(
            steps or None, guidance or None, shift or None, _given(solver), _given(scheduler), guidance_low or None
        )
        use = resolve(model, asked)
        remarks = outside_training(model, clip) + unused(conditioning.controls, use.steps)
        device, session = torch_device(), session_of(model)
        parts = [m for m in (*model.transformers, model.codec) if m is not None]  # the codec draws the previews
        use_models(parts, device, _room(model, clip, use.guidance != 1))
        hooks = Hooks(on_step=_watcher(session.preview, progress(use.steps)), check=check_interrupted)
        context = session.context(device, hooks)
        made = generate(Run(model, conditioning, clip, seed, asked, context, continuation))
        if defaults_used or model.family == "wan":
            lines.append(described(made.settings, clip))
        if made.first_picture is not None:
            lines.append("Begun with a picture that was made of the words first")
        if made.draft is not None:
            camera = "the path of the camera, and " * made.draft.travels
            lines.append(f"Predicted: {camera}where the balls of the start picture will go")
        messages = (reported(lines) or {}) | (shown("VDiT Sample", remarks + made.remarks) or {})
        return io.NodeOutput(video_latent(made.latent, clip.fps, made.expected), ui=messages or None)


def _given(choice: str) -> str | None:
    return None if choice == OWN else choice


def _room(model, clip, guided: bool) -> int:
    """Bytes that the transformer computes a step in."""
    from ..model.memory import activation_bytes
    from ..sampling.guidance import MAX_CELLS_IN_ONE_BATCH

    one = getattr(model.transformer, "high", model.transformer)
    grid = clip.latent_shape(model.space)[2:]
    batch = 2 if guided and grid[0] * grid[1] * grid[2] <= MAX_CELLS_IN_ONE_BATCH else 1
    return activation_bytes(model.config, grid, batch, one.dtype.itemsize)


def _watcher(preview, update):
    """Shows the video while it forms, if there is something to draw it with."""
    from ..pipeline import FormingVideo

    return FormingVideo(preview, update) if preview is not None else lambda step: update(step.done, None)


def _promoted(model, latent: dict) -> tuple:
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
