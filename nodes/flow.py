"""Flow Control and Flow From Video: optical flow from a camera path, flow pictures or a driving video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, io, progress, verdict
from .types import VDiTCamera, VDiTDepth, VDiTFlow, node_schema, size_inputs, span_inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..control.depth import DepthMaps
    from ..control.flow import FlowField

CONTROL_TOOLTIPS = {
    "how": "branch: the model's own branch for flow reads the field. warped noise: the noise itself moves along the "
    "field; needs no branch, and only nudges a model that was not trained on such noise. both: both.",
    "join": "When flow and camera (or colors) are both connected. carried: the flow is motion within the scene, so it "
    "is added to the camera's and moves along with it. over: the flow replaces the camera's where it is defined.",
    "distance": "For a camera without depth: the scene is a wall so many metres ahead, 0.1 to 1000.",
    "full_pixels": "For colors: the motion in pixels a frame that full colour stands for, 0.1 to 1000.",
    "flow": "The field to use: from Motion Brush, Flow From Video or Simulate Scene.",
    "camera": "A camera path: the flow that it causes in a still scene is worked out and joined.",
    "depth": "The scene's depth in metres, for the camera's flow: one map for every frame, or one for the first. Set "
    "near and far on Depth Control.",
    "colors": "Flow drawn with the colour wheel of RAFT and Middlebury on white, one picture fewer than the video has "
    "frames; used like a camera's flow.",
    "-> flow": "The field, for VDiT Encode Conditioning.",
    "-> colors": "The field as RAFT and VACE draw it: hue is direction, full colour its fastest motion.",
}
VIDEO_TOOLTIPS = {
    "images": "The driving video's frames, at least 2. Resized to cover the video's size and cropped to the centre, as "
    "a start picture is.",
    "frames": "Use the first so many frames, 2 to 1001: as many as the video to be made has. 0: all.",
    "quality": "Presets of OpenCV's DIS. medium: finest, about 25 ms a frame on one core. ultrafast: about 5 times as "
    "quick, coarse.",
    "check": "Use only motion that agrees forward and backward in time; elsewhere (things that come into view, the "
    "border) the model is free. Off: all motion is used.",
    "-> flow": "The field, for VDiT Encode Conditioning; for strength and more go by VDiT Flow Control.",
    "-> colors": "The field as RAFT and VACE draw it; white: no motion, or free.",
}


class VDiTFlowControl(io.ComfyNode):
    """Sets how optical flow steers, and joins what objects do with what the camera does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("how", options=["branch", "warped noise", "both"], default="branch"),
            io.Combo.Input("join", options=["over", "carried"], default="carried"),
            io.Float.Input("distance", default=7.0, min=0.1, max=1000.0, step=0.1),
            io.Float.Input("full_pixels", default=16.0, min=0.1, max=1000.0, step=0.1),
            *size_inputs("Used for a camera without depth."),
            *span_inputs(
                "How firmly the video follows the flow; of warped noise: its share of the noise",
                "Warped noise applies from the first step whatever this says.",
            ),
            VDiTFlow.Input("flow", optional=True),
            VDiTCamera.Input("camera", optional=True),
            VDiTDepth.Input("depth", optional=True),
            io.Image.Input("colors", optional=True),
        ]
        outputs = {"flow": VDiTFlow, "colors": io.Image}
        return node_schema(cls, "VDiT Flow Control", inputs, outputs, CONTROL_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, distance: float | None = None) -> bool | str:
        return verdict(cls, distance=distance)

    @classmethod
    def execute(
        cls,
        how: str,
        join: str,
        distance: float,
        full_pixels: float,
        width: int,
        height: int,
        strength: float,
        start: float,
        end: float,
        flow: FlowField | None = None,
        camera: CameraPath | None = None,
        depth: DepthMaps | None = None,
        colors: Tensor | None = None,
    ) -> io.NodeOutput:
        from dataclasses import replace

        from ..control.camera_motion import flow_from_camera
        from ..control.flow import carried_by_camera, over
        from ..control.flow_colors import from_colors, to_colors

        check_sources(*(given is not None for given in (flow, camera, depth, colors)))
        scene = None
        if colors is not None:
            scene = from_colors(colors, full_pixels)
        elif camera is not None:
            if flow is not None:
                height, width = flow.flow.shape[1:3]
                camera = camera.resampled(flow.frames) if camera.stretch else camera
            scene = flow_from_camera(camera, distance if depth is None else depth, width, height)
        made = flow if scene is None else scene
        assert made is not None, "flow, camera or colors is connected"
        if scene is not None and flow is not None:
            made = carried_by_camera(scene, flow) if join == "carried" else over(scene, flow)
        made = replace(made, how=how, strength=strength, start=start, end=end)
        return io.NodeOutput(made, to_colors(made, check=check_interrupted))


def check_sources(flow: bool, camera: bool, depth: bool, colors: bool) -> None:
    """Raise ControlError unless what is connected to Flow Control gives one motion of the scene, or of things in it."""
    from ..control.span import ControlError

    if not (flow or camera or colors):
        raise ControlError("flow: nothing is connected; connect flow, camera or colors")
    if camera and colors:
        raise ControlError(
            "flow: camera and colors are both connected; disconnect one, each gives the motion of the scene"
        )
    if depth and not camera:
        raise ControlError("flow: depth is connected without a camera, and has no effect alone; connect a camera too")


class VDiTFlowFromVideo(io.ComfyNode):
    """Measures how a driving video moves, so that the shot moves like it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Image.Input("images"),
            io.Int.Input("frames", default=0, min=0, max=1001),
            io.Combo.Input("quality", options=["medium", "fast", "ultrafast"], default="medium"),
            io.Boolean.Input("check", default=True),
            *size_inputs(),
        ]
        outputs = {"flow": VDiTFlow, "colors": io.Image}
        return node_schema(cls, "VDiT Flow From Video", inputs, outputs, VIDEO_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, frames: int | None = None) -> bool | str:
        return verdict(cls, frames=frames)

    @classmethod
    def execute(cls, images: Tensor, frames: int, quality: str, check: bool, width: int, height: int) -> io.NodeOutput:
        from ..control.flow_colors import to_colors
        from ..control.flow_from_video import flow_from_video

        update = progress(max(1, (frames or len(images)) - 1))
        field = flow_from_video(images, width, height, frames, quality, check, update, check_interrupted)
        return io.NodeOutput(field, to_colors(field, check=check_interrupted))
