"""Which inputs a Wan checkpoint reads: others are refused by name, and missing ones are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ..control.depth import DepthMaps
from ..control.flow import FlowField
from ..control.span import ControlError, Spanned

if TYPE_CHECKING:
    from ..model.config import VDiTConfig
    from ..model.variants import Variant

_START = {"start_image"}
_CLIP = {"clip_vision_output", "clip_vision_output_end"}
READS: dict[str, set[str]] = {  # by the task that a Wan model was trained for
    "t2v": set(),
    "flowmap": set(),
    "ti2v": _START,
    "i2v": _START | {"end_image", "tracks"} | _CLIP,
    "flf2v": _START | {"end_image"} | _CLIP,
    "vace": _START | {"end_image", "depth", "flow", "control_video", "control_mask", "reference_image"},
    "control": _START | {"depth", "control_video", "reference_image", "clip_vision_output"},
    "camera": _START | {"camera", "clip_vision_output"},
    "lingbot": _START | {"camera"},
    "dreamx": _START | {"camera"},
    "skyreels": _START,
}
NEEDS: dict[str, tuple[str, ...]] = {
    "i2v": ("start_image",),
    "flf2v": ("start_image", "end_image"),
    "lingbot": ("start_image",),  # without a path its camera is free
    "dreamx": ("start_image", "camera"),
}
READERS = {  # models that read an input
    "start_image": "an I2V, FLF2V, TI2V-5B, VACE or Fun model",
    "end_image": "an I2V, FLF2V or VACE model",
    "camera": "a Fun-Camera, LingBot-World or DreamX-World model, or a VACE model with what VDiT Camera Render draws",
    "depth": "a VACE or Fun-Control model",
    "flow": "a VACE model, or set how to “warped noise” on VDiT Flow Control, which every model follows",
    "control_video": "a VACE or Fun-Control model",
    "control_mask": "a VACE model",
    "reference_image": "a VACE model, or a Fun-Control model with a reference convolution",
    "clip_vision_output": "a model with an image branch (Wan 2.1 I2V, FLF2V, Fun)",
    "clip_vision_output_end": "a model with an image branch and an end picture (Wan 2.1 FLF2V, I2V)",
    "draft": "a bundled model or one of the Wan family",
    "tracks": "an I2V model (Wan-ATI, Wan-Move), or wire the flow of VDiT Motion Brush through VDiT Flow Control with "
    "how set to “warped noise”, which every model follows",
}


def check_task(
    variant: Variant, config: VDiTConfig, given: Mapping[str, object], strength: float = 1.0, causal: bool = False
) -> None:
    """Raise ControlError naming the input that a Wan model does not read, or that it needs and was not given.

    given: inputs by name, None where there is none; strength: of the start and end pictures; causal: a video is made
    block by block, and can go on from a picture whatever the model.
    """
    task, title = variant.task, variant.title
    ignored = {"start_image", "end_image"} if strength == 0 else set[str]()
    wired = {name for name, value in given.items() if value is not None and not _without_effect(value)} - ignored
    reads = READS[task] | {"draft"}  # which the sampler begins from, whatever the model was trained to read
    if causal:
        reads = (reads | _START) - {"end_image", "clip_vision_output_end"}
    if not config.image_dim:
        reads -= _CLIP
    if task == "control" and not config.ref_channels:
        reads -= {"reference_image"}
    for name in READERS:
        if name in wired - reads:
            raise ControlError(f"{title} does not read `{name}`: load {READERS[name]}, or remove that input")
    needs = [*NEEDS.get(task, ())]
    if needs and config.image_dim:
        needs += ["clip_vision_output"] + ["clip_vision_output_end"] * (config.image_tokens > 0)
    for name in needs:
        if name not in wired and not (name == "start_image" and "draft" in wired):  # a draft begins with it
            raise ControlError(f"{title} cannot do without `{name}`: wire it{_made_with(name)}")
    if {"control_mask"} <= wired and not {"control_video", "depth", "flow"} & wired:
        raise ControlError(
            "control_mask says what of a video is to be made anew; wire the video to `control_video` too"
        )
    if {"tracks", "end_image"} <= wired:
        raise ControlError(f"{title} follows tracks from a start picture alone: wire `tracks` or `end_image`, not both")
    if task == "control" and {"control_video", "depth"} <= wired:
        raise ControlError(f"{title} follows one control: wire `control_video` or `depth`, not both")
    if 0 < strength < 1 and (causal or not variant.holds_frames) and {"start_image", "end_image"} & wired:
        raise ControlError(f"strength is {strength:g}, but {title} holds its pictures wholly: set it to 1")
    if task == "control" and "depth" in wired and (depth := cast(DepthMaps, given["depth"])).strength < 1:
        raise ControlError(f"the strength of depth is {depth.strength:g}, but {title} follows it wholly: set it to 1")


def _made_with(name: str) -> str:
    """Which node makes an input that a model needs; nothing for pictures."""
    if name == "camera":
        return ", from VDiT Camera Path (its preset static holds the camera still)"
    return ", made with ComfyUI's CLIPVisionLoader (clip_vision_h) and CLIP Vision Encode" if "clip" in name else ""


def check_draft(title: str, strength: float) -> None:
    """Raise ControlError for a draft that is followed so far that the model would have nothing to do."""
    if strength == 1:
        raise ControlError(
            f"draft_strength is 1: {title} would give the draft back as it is. Set it to 0.2 where much may change, to "
            "0.7 where the draft is good: sampling begins that far into the schedule, from the noised draft"
        )


def _without_effect(control: object) -> bool:
    """Whether the checkpoint reads nothing of it: strength 0, or flow that acts by noise."""
    if isinstance(control, FlowField) and not control.by_branch:
        return True
    return hasattr(control, "strength") and cast(Spanned, control).strength == 0
