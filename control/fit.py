"""Do the controls fit each other, the model and the clip? Misfits are refused with the numbers and what would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from .conditioning import Controls
from .span import ControlError

if TYPE_CHECKING:
    from torch import Tensor

    from .camera import CameraPath
    from .depth import DepthMaps
    from .flow import FlowField

Control = TypeVar("Control", "CameraPath", "DepthMaps", "FlowField")

MODULES = {  # by control: what reads it, and the config's field with its size
    "camera": ("camera adapter", "camera_rays"),
    "depth": ("control branch for depth", "vace_channels"),
    "flow": ("control branch for optical flow", "vace_channels"),
}


class ControlModules(Protocol):
    """The part of a model's config that says which controls it has modules for; 0 is none."""

    @property
    def camera_rays(self) -> int:
        """Camera rays a side of a latent cell."""
        ...

    @property
    def vace_channels(self) -> int:
        """Channels of the control branch."""
        ...


def evenly(frames: Tensor, count: int) -> Tensor:
    """`count` of the frames [T, ...], evenly spread from the first to the last, each the nearest in time."""
    import torch

    return frames if len(frames) == count else frames[torch.linspace(0, len(frames) - 1, count).round().long()]


def check_agreement(controls: Controls) -> None:
    """Raise ControlError when two controls are for clips of different length or shape."""
    _, depth, flow = controls
    fixed = {
        name: control.frames
        for name, control in controls._asdict().items()
        if control is not None and not (name == "camera" and control.stretch)
    }
    if len(set(fixed.values())) > 1:
        each = ", ".join(f"{name} is for {frames} frames" for name, frames in fixed.items())
        raise ControlError(f"the controls disagree in length: {each}; make them for the same clip")
    if depth is not None and flow is not None:
        (h, w), (fh, fw) = depth.inverse.shape[1:], flow.flow.shape[1:3]
        if abs(w * fh - h * fw) > max(w, h, fw, fh):
            raise ControlError(
                f"the controls disagree in shape: depth is {w}x{h} pixels, flow {fw}x{fh}; make both of one shape"
            )


def check_modules(config: ControlModules, controls: Controls) -> None:
    """Raise ControlError naming the input when the model (its config) has no module that reads a control."""
    for name, control in controls._asdict().items():
        if control is None or control.strength == 0 or (name == "flow" and not control.by_branch):
            continue
        check_module(config, name)


def check_module(config: ControlModules, name: str) -> None:
    """Raise ControlError when the model (its config) has no module that reads the control of this name."""
    module, size = MODULES[name]
    if not getattr(config, size):
        workaround = "set how to “warped noise” on VDiT Flow Control, which needs none, " if name == "flow" else ""
        raise ControlError(
            f"this checkpoint has no {module}: {workaround}load one that has, or remove the input `{name}`"
        )


def fitted(controls: Controls, frames: int, width: int, height: int) -> Controls:
    """The controls for a clip of this length and size: stretched and resized where they may be.

    Controls without strength come back as None. Raises ControlError for a wrong length or shape, with the numbers.
    """
    camera, depth, flow = controls
    camera = None if camera is None or camera.strength == 0 else camera
    depth = None if depth is None or depth.strength == 0 else depth
    flow = None if flow is None or flow.strength == 0 else flow
    check_agreement(Controls(camera, depth, flow))
    if camera is not None:
        if camera.stretch:
            camera = camera.resampled(frames)
        check_length("the camera path", camera.frames, frames, "give a path with a pose for every frame")
    if depth is not None:
        check_length("the depth", depth.frames, frames, "give one map for every frame")
        depth = depth.resized(width, height)
    if flow is not None:
        check_length("the flow", flow.frames, frames, f"give {frames - 1} steps")
        flow = flow.resized(width, height)
    return Controls(camera, depth, flow)


def check_length(name: str, given: int, frames: int, what: str) -> None:
    """Raise ControlError where a control is for another number of frames; what: how to make it fit."""
    if given == frames:
        return
    short = "fewer" if given < frames else "more"
    remedy = f"{what}, or make a video of {given} frames"
    if (given - 1) % 4:  # no model here makes such a length
        below = max(5, (given - 1) // 4 * 4 + 1)
        remedy = f"{what}, or cut it to {below} frames and make a video of as many" if given > 5 else what
    raise ControlError(f"{name} is for {given} frames, {short} than the video's {frames}: {remedy}")


def with_span(control: Control, strength: float, start: float, end: float) -> Control:
    """The same control with another strength, start and end."""
    return replace(control, strength=strength, start=start, end=end)
