"""Distill Preview: what the render of a seed will look like, in a moment; four seeds at once, to pick one from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .comfy import check_interrupted, held_back, io, progress, torch_device, ui, use_models
from .sample import VDiTSample
from .sessions import session_of
from .types import CATEGORY, VDiTConditioning, VDiTModel, shown, video_latent

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline import ClipSpec

MOST_STEPS = 8
GRID = 4  # takes side by side


class VDiTDistillPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        same = {i.id: i for i in VDiTSample.define_schema().inputs}  # what means the same is said the same way
        return io.Schema(
            node_id="VDiTDistillPreview",
            display_name="VDiT Distill Preview",
            category=CATEGORY,
            description="Shows in a moment how the render of a seed will move. Four seeds at once, to pick one from.",
            inputs=[
                VDiTModel.Input("model", tooltip="A distilled student, from VDiT Load Model. Others work, less alike."),
                VDiTConditioning.Input("conditioning", tooltip="The shot, from VDiT Encode Conditioning."),
                same["seed"],
                io.Int.Input(
                    "steps",
                    default=4,
                    min=1,
                    max=MOST_STEPS,
                    tooltip=f"Sampling steps, 1 to {MOST_STEPS}. 4 is usual; 1 is quickest, 8 nearest to the render.",
                ),
                *(same[name] for name in ("seconds", "fps", "width", "height", "shift")),
                io.Boolean.Input(
                    "grid",
                    default=False,
                    label_on="four seeds",
                    label_off="one seed",
                    tooltip="Four takes side by side: this seed and the three after it, in four times the time. Click "
                    "one to pick it.",
                ),
                io.Int.Input(
                    "pick",
                    default=-1,
                    min=-1,
                    max=0xFFFFFFFFFFFFFFFF,
                    tooltip="With four seeds: the seed that is sent on; clicking a take sets it. -1, or a seed that is "
                    "not among the four: none yet, and what hangs on the outputs does not run.",
                ),
                io.Image.Input(
                    "render",
                    optional=True,
                    tooltip="The finished frames of the same seed, 0 to 1, from VDiT Sample and VDiT Decode: the node "
                    "then shows how well the preview agreed with them.",
                ),
                # What is added comes last: widgets are stored by position.
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The preview's frames [T,H,W,3], 0 to 1."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The preview's latent video, with its seed, rate, shift and the picture that was made of words "
                    "alone: wired to promote of VDiT Sample, that renders the same take.",
                ),
                io.Int.Output(display_name="seed", tooltip="The seed of the take that is sent on, for VDiT Sample."),
                io.Float.Output(display_name="fps", tooltip="Frames per second, for Create Video."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model, conditioning, seed, steps, seconds, fps, width, height, shift, grid, pick, render=None
    ) -> io.NodeOutput:
        from ..pipeline import Run, SamplerSettings, clip_of, outside_training, unused
        from ..pipeline.takes import FormingTakes, film_strip, seeds_from

        if not 1 <= steps <= MOST_STEPS:
            raise ValueError(
                f"steps is {steps}; a preview takes 1 to {MOST_STEPS}: for more, render it with VDiT Sample"
            )
        model.require("codec", "VDiT Distill Preview")
        clip = clip_of(model, seconds, fps, width, height)
        shift = shift or model.defaults["shift"]
        if render is not None:
            render = _comparable(render, clip)
        remarks = outside_training(model, clip) + unused(conditioning.controls, steps)
        if not model.config.flow_map:
            remarks.append(
                f"this model is no distilled student: {steps} of its steps say little about its render; choose a "
                "student in VDiT Load Model"
            )
        device, session = torch_device(), session_of(model)
        use_models([*model.transformers, model.codec], device)

        seeds = seeds_from(seed, GRID if grid else 1)
        chosen = pick if grid else seed
        latent_frames = clip.latent_shape(model.codec)[2]
        update = progress(len(seeds) * (steps + latent_frames))
        forming = FormingTakes(session.preview, update, len(seeds), steps, latent_frames)
        context = session.context(device, forming.hooks(check_interrupted))
        settings = SamplerSettings(steps, shift=shift)
        strips, spent, sent = [], [], None
        for one in seeds:
            take = session.takes.take(Run(model, conditioning, clip, one, settings, context))
            strip, columns = film_strip(take.frames)
            saved = ui.PreviewImage(strip[None]).as_dict()["images"][0]
            strips.append({**saved, "seed": str(one), "columns": columns, "frames": clip.frames, "fps": clip.fps})
            spent.append(take.seconds)
            remarks += [remark for remark in take.result.remarks if remark not in remarks]
            if one == chosen:
                sent = take
        lines = [_speed(steps, spent, (clip.frames - 1) / clip.fps)]
        if sent is None:
            lines.append("Click a take to send it on.")
        elif render is not None:
            lines.append(_agreement(sent.frames, render, clip.fps))
        shows = {"vdit_takes": strips, "vdit_line": lines} | (shown("VDiT Distill Preview", remarks) or {})
        if sent is None:
            return io.NodeOutput(*(held_back() for _ in range(4)), ui=shows)
        take = {"seed": sent.seed, "shift": shift, "opening": sent.result.first_picture}
        latent = video_latent(sent.result.latent, clip.fps, sent.result.expected, vdit=take)
        return io.NodeOutput(sent.frames, latent, sent.seed, float(clip.fps), ui=shows)


def _comparable(render: Tensor, clip: ClipSpec) -> Tensor:
    """The render at the preview's size. Raises ValueError when it is another video."""
    from ..control import as_pictures, cover

    render, _ = as_pictures(render, "render")
    if len(render) != clip.frames:
        raise ValueError(
            f"render has {len(render)} frames, this preview {clip.frames}: give both nodes the same seconds and fps"
        )
    h, w = render.shape[1:3]
    if abs(w / h / (clip.width / clip.height) - 1) > 0.02:
        raise ValueError(
            f"render is {w}x{h}, this preview {clip.width}x{clip.height}: give both nodes the same width and height"
        )
    return cover(render, clip.width, clip.height)


def _speed(steps: int, seconds: list[float], length: float) -> str:
    """For example: 4 takes of 4 steps, 0.42 s each, 12x real time."""
    each = sum(seconds) / len(seconds)
    takes, apiece = (f"{len(seconds)} takes of ", " each") if len(seconds) > 1 else ("", "")
    said = f"{steps} step{'s' if steps > 1 else ''}"
    return f"{takes}{said}, {each:.2f} s{apiece}, {_times(length / each)} real time"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2g}x"


def _agreement(preview: Tensor, render: Tensor, fps: float) -> str:
    from ..benchmark.fidelity import agreement

    found: Any = agreement(preview, render, fps)
    paths = (
        "paths not compared: that needs OpenCV (pip install opencv-python-headless)"
        if found.paths is None
        else f"paths differ by {100 * found.paths:.1f}% of the width"
    )
    return f"Agreement with the render: PSNR {found.psnr:.1f} dB, SSIM {found.ssim:.3f}, {paths}"
