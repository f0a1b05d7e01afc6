"""Distill Preview: what the render of a seed will look like, in a moment; four seeds at once, to pick one from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, held_back, io, progress, torch_device, ui, use_models, verdict
from .sessions import cancellable, session_of
from .types import (
    MAX_SEED,
    VDiTConditioning,
    VDiTModel,
    clip_inputs,
    node_schema,
    seed_input,
    shift_input,
    shown,
    video_latent,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..control import Conditioning
    from ..model.world_model import WorldModel
    from ..pipeline import ClipSpec

MOST_STEPS = 8
GRID = 4  # takes side by side
TOOLTIPS = {
    "model": "A distilled student, from VDiT Load Model. Previews of other models resemble the render less.",
    "conditioning": "The shot, from VDiT Encode Conditioning.",
    "steps": f"Sampling steps, 1 to {MOST_STEPS}. 4 is usual; 1 is quickest, 8 closest to the render.",
    "grid": "Four takes side by side: this seed and the three after it, in four times the time. Click one to pick it.",
    "pick": "With four seeds: the seed whose take is output; clicking a take sets it. -1, or a seed that is not among "
    "the four: none yet, and nodes connected to the outputs do not run.",
    "render": "The finished frames of the same seed, 0 to 1, from VDiT Sample and VDiT Decode: the node then shows how "
    "well the preview agreed with them.",
    "-> images": "The preview's frames [T,H,W,3], 0 to 1.",
    "-> latent": "The preview's latent video, with its seed, frame rate, shift and the first picture that was made of "
    "a prompt without pictures: connected to promote of VDiT Sample, that renders the same take.",
    "-> seed": "The seed of the chosen take, for VDiT Sample.",
    "-> fps": "Frames per second, for Create Video.",
}


class VDiTDistillPreview(io.ComfyNode):
    """Shows in a moment how the render of a seed will move. Four seeds at once, to pick one from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            VDiTConditioning.Input("conditioning"),
            seed_input(),
            io.Int.Input("steps", default=4, min=1, max=MOST_STEPS),
            *clip_inputs(),
            shift_input(),
            io.Boolean.Input("grid", default=False, label_on="four seeds", label_off="one seed"),
            io.Int.Input("pick", default=-1, min=-1, max=MAX_SEED),
            io.Image.Input("render", optional=True),
        ]
        outputs = {"images": io.Image, "latent": io.Latent, "seed": io.Int, "fps": io.Float}
        return node_schema(cls, "VDiT Distill Preview", inputs, outputs, TOOLTIPS, is_output_node=True)

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
        seconds: float,
        fps: float,
        width: int,
        height: int,
        shift: float,
        grid: bool,
        pick: int,
        render: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..pipeline import Run, SamplerSettings, clip_of, outside_training, unused, work_of
        from ..pipeline.takes import FormingTakes, film_strip, seeds_from

        if not 1 <= steps <= MOST_STEPS:
            raise ValueError(
                f"steps is {steps}; a preview takes 1 to {MOST_STEPS}: for more, render it with VDiT Sample"
            )
        codec = model.require("codec", "VDiT Distill Preview")
        clip = clip_of(model, seconds, fps, width, height)
        shift = shift or model.defaults["shift"]
        if render is not None:
            render = _comparable(render, clip)
        remarks = outside_training(model, clip) + unused(conditioning.controls, steps)
        if not model.config.flow_map and model.causal is None:
            remarks.append(
                f"this model is no distilled student: {steps} of its steps say little about its render; choose a "
                "student in VDiT Load Model"
            )
        device, session = torch_device(), session_of(model)
        use_models([*model.transformers, codec], device)

        seeds = seeds_from(seed, GRID if grid else 1)
        chosen = pick if grid else seed
        latent_frames = clip.latent_shape(codec)[2]
        work = work_of(model, steps, latent_frames)
        update = progress(len(seeds) * (work + latent_frames))
        preview = session.preview
        assert preview is not None, "a model with a codec has a preview"
        causal = model.causal is not None
        forming = FormingTakes(preview, update, len(seeds), work, latent_frames, causal=causal)
        context = session.context(device, forming.hooks(check_interrupted))
        settings = SamplerSettings(steps, shift=shift)
        strips, spent, sent = [], [], None
        for one in seeds:
            with cancellable(model):
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

    found = agreement(preview, render, fps)
    paths = (
        "paths not compared: that needs OpenCV (pip install opencv-python-headless)"
        if found.paths is None
        else f"paths differ by {100 * found.paths:.1f}% of the width"
    )
    return f"Agreement with the render: PSNR {found.psnr:.1f} dB, SSIM {found.ssim:.3f}, {paths}"
