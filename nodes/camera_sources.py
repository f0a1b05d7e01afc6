"""Walk, Camera From 3D, Wan Camera Embedding: camera paths from keys and 3D viewers, and for the core's Wan nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry.moves import EASINGS
from .comfy import io, verdict
from .types import VDiTCamera, node_schema, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..control.camera import CameraPath
    from ..control.json_text import Json
    from ..control.walk import Pace

Load3DCamera, WanCameraEmbedding = io.Custom("LOAD3D_CAMERA"), io.Custom("WAN_CAMERA_EMBEDDING")
# As control.walk and control.wan_camera have them; importing those costs torch.
UNITS, MOVES_BY = ("latent frames", "frames", "seconds"), ("as the camera looks", "level with the ground")
MOVES = (
    "Static", "Pan Up", "Pan Down", "Pan Left", "Pan Right", "Zoom In", "Zoom Out", "Anti Clockwise (ACW)",
    "ClockWise (CW)",
)  # fmt: skip
LENSES = ("the path's", "as WanCameraEmbedding")
FPS = 24.0  # of HY-WorldPlay
CONNECTED = "the camera path"
VIEWER_FOV_DEG = 35.0  # of ComfyUI's viewers, where a camera does not say it
PATH_OUTPUTS = {
    "-> camera": "The path, for every node that takes a camera.",
    "-> plot": "The path drawn from above and from the side, with its angles.",
    "-> json": "The path as JSON, one pose a frame; Camera Path's file reads it.",
}
WALK_TOOLTIPS = {
    "keys": "What is held, and for how long: w-3, right-1, w+left-2. w a s d: forward, left, back, right. e q: up, "
    "down. Arrows by name or sign, or i j k l: turn. stay: rest. A number may have a unit: 2s, 8f (frames), 3l (latent "
    "frames).",
    "unit": "What durations without a unit count. latent frames: 4 frames each, as HY-WorldPlay and LingBot-World.",
    "each": "The duration of keys without a number, 0.25 to 1000.",
    "metres": "Metres that a key moves for each latent frame, 0 to 100. 0.08: as HY-WorldPlay.",
    "degrees": "Degrees that a key turns for each latent frame, 0 to 90. 3: as HY-WorldPlay.",
    "moves": "as the camera looks: forward is where it looks, also up (HY-WorldPlay). level with the ground: as one "
    "walks.",
    "fps": "Frames per second, 1 to 120, for durations in seconds.",
    "fov_deg": "Vertical field of view, 5 to 120 degrees.",
    **PATH_OUTPUTS,
    "-> frames": "Frames of the path: 1 and those of each step. The video must have as many.",
}
VIEWER_TOOLTIPS = {
    "camera_info": "The first view: from Load 3D, Preview 3D or Create Camera Info.",
    "frames": "Length, 2 to 1001 frames; the path stretches to the video's.",
    "easing": "How the way is spread over time. smooth: starts and stops gently. linear: even speed.",
    "orbit_deg": "By how much the camera also turns round its target to the right, -3600 to 3600 degrees. One view "
    "alone makes a turntable.",
    "metres": "Metres of a unit of the 3D scene, 0.001 to 1000.",
    "fov_deg": "Vertical field of view where a camera says none, 1 to 170 degrees.",
    "camera_info_2": "The second view. Between views the camera goes around what it looks at.",
    "camera_info_3": "The third view, where there is one.",
    "camera_info_4": "The fourth view, where there is one.",
    **PATH_OUTPUTS,
}
EMBEDDING_TOOLTIPS = {
    "move": "the camera path: that of the input camera. The others are WanCameraEmbedding's own nine moves.",
    "width": "The video's width in pixels, 16 to 4096, a multiple of 16.",
    "height": "The video's height in pixels, 16 to 4096, a multiple of 16.",
    "length": "Frames of the video, 1 to 1001, 4k+1. Presets and drawn paths stretch to it.",
    "speed": "How far one of the nine moves goes, 0 to 10. No effect on a camera path.",
    "lens": "the path's: its field of view and square pixels. as WanCameraEmbedding: the focal lengths of that node, "
    "whose pixels are not square; its nine moves always have them.",
    "camera": "The path, from VDiT Camera Path, Walk or Camera From 3D.",
    "-> camera_embedding": "For WanCameraImageToVideo.",
    "-> width": "The width, for the same node.",
    "-> height": "The height, for the same node.",
    "-> length": "The length, for the same node.",
}


def path_output(path: CameraPath, *more: object) -> io.NodeOutput:
    """A path, its plot and its JSON, as Camera Path gives them."""
    import torch

    from ..control.camera_files import to_json
    from ..control.camera_plot import MISSING, plot

    drawn = plot(path)
    remarks = [] if drawn is not None else [MISSING]
    drawn = torch.ones(1, 64, 64, 3) if drawn is None else drawn
    return io.NodeOutput(path, drawn, to_json(path), *more, ui=shown("VDiT camera", remarks))


class VDiTWalk(io.ComfyNode):
    """Moves the camera by keys, as the demos of world models do: WASD to go, arrows or i j k l to look around."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.String.Input("keys", multiline=True, default="w-8, w+right-8, right-4"),
            io.Combo.Input("unit", options=list(UNITS), default=UNITS[0]),
            io.Float.Input("each", default=4.0, min=0.25, max=1000.0, step=0.25),
            io.Float.Input("metres", default=0.08, min=0.0, max=100.0, step=0.01),
            io.Float.Input("degrees", default=3.0, min=0.0, max=90.0, step=0.1),
            io.Combo.Input("moves", options=list(MOVES_BY), default=MOVES_BY[0]),
            io.Float.Input("fps", default=FPS, min=1.0, max=120.0, step=1.0),
            io.Float.Input("fov_deg", default=40.0, min=5.0, max=120.0, step=0.5),
        ]
        outputs = {"camera": VDiTCamera, "plot": io.Image, "json": io.String, "frames": io.Int}
        return node_schema(cls, "VDiT Walk", inputs, outputs, WALK_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, keys: str | None = None) -> bool | str:
        return verdict(cls, keys=keys)

    @classmethod
    def execute(
        cls, keys: str, unit: str, each: float, metres: float, degrees: float, moves: str, fps: float, fov_deg: float
    ) -> io.NodeOutput:
        from ..control.walk import walk

        path = walk(keys, pace_of(unit, each, metres, degrees, moves, fps), fov_deg)
        return path_output(path, path.frames)


def pace_of(unit: str, each: float, metres: float, degrees: float, moves: str, fps: float) -> Pace:
    """The pace that the widgets of Walk say."""
    from ..control.walk import Pace

    return Pace(unit=unit, each=each, metres=metres, degrees=degrees, by=moves, fps=fps)


class VDiTCameraFrom3D(io.ComfyNode):
    """Makes a camera path of views of ComfyUI's 3D viewers: from one to the next, or round one as on a turntable."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            Load3DCamera.Input("camera_info"),
            io.Int.Input("frames", default=81, min=2, max=1001),
            io.Combo.Input("easing", options=list(EASINGS), default="smooth"),
            io.Float.Input("orbit_deg", default=0.0, min=-3600.0, max=3600.0, step=1.0),
            io.Float.Input("metres", default=1.0, min=0.001, max=1000.0, step=0.1),
            io.Float.Input("fov_deg", default=VIEWER_FOV_DEG, min=1.0, max=170.0, step=0.5),
            *(Load3DCamera.Input(f"camera_info_{i}", optional=True) for i in (2, 3, 4)),
        ]
        outputs = {"camera": VDiTCamera, "plot": io.Image, "json": io.String}
        return node_schema(cls, "VDiT Camera From 3D", inputs, outputs, VIEWER_TOOLTIPS)

    @classmethod
    def execute(
        cls,
        camera_info: Mapping[str, Json],
        frames: int,
        easing: str,
        orbit_deg: float,
        metres: float,
        fov_deg: float,
        camera_info_2: Mapping[str, Json] | None = None,
        camera_info_3: Mapping[str, Json] | None = None,
        camera_info_4: Mapping[str, Json] | None = None,
    ) -> io.NodeOutput:
        from ..control.load3d import path_through, viewpoint

        given = {
            "camera_info": camera_info, "camera_info_2": camera_info_2, "camera_info_3": camera_info_3,
            "camera_info_4": camera_info_4,
        }  # fmt: skip
        views = [viewpoint(info, name, fov_deg) for name, info in given.items() if info is not None]
        return path_output(path_through(views, frames, easing, orbit_deg, metres))


class VDiTWanCameraEmbedding(io.ComfyNode):
    """Gives a camera path, or one of the core's nine moves, to ComfyUI's own Wan camera nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("move", options=[CONNECTED, *MOVES], default=CONNECTED),
            io.Int.Input("width", default=832, min=16, max=4096, step=16),
            io.Int.Input("height", default=480, min=16, max=4096, step=16),
            io.Int.Input("length", default=81, min=1, max=1001, step=4),
            io.Float.Input("speed", default=1.0, min=0.0, max=10.0, step=0.1),
            io.Combo.Input("lens", options=list(LENSES), default=LENSES[0]),
            VDiTCamera.Input("camera", optional=True),
        ]
        outputs = {"camera_embedding": WanCameraEmbedding, "width": io.Int, "height": io.Int, "length": io.Int}
        return node_schema(cls, "VDiT Wan Camera Embedding", inputs, outputs, EMBEDDING_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, move: str | None = None) -> bool | str:
        return verdict(cls, move=move)

    @classmethod
    def execute(
        cls, move: str, width: int, height: int, length: int, speed: float, lens: str, camera: CameraPath | None = None
    ) -> io.NodeOutput:
        from ..control.fit import check_length
        from ..control.wan_camera import camera_embedding, core_move

        check_move(move, camera is not None)
        if camera is None:
            made = camera_embedding(core_move(move, length, speed), width, height, LENSES[1])
        else:
            path = camera.resampled(length) if camera.stretch else camera
            check_length("the camera path", path.frames, length, "give a path with a pose for every frame")
            made = camera_embedding(path, width, height, lens)
        return io.NodeOutput(made, width, height, length)


def check_move(move: str, camera: bool) -> None:
    """Raise ControlError unless there is either a camera path or one of the nine moves."""
    from ..control.span import ControlError

    if camera and move != CONNECTED:
        raise ControlError(f"camera embedding: move is {move} and a camera is connected; set move to {CONNECTED!r}")
    if not camera and move == CONNECTED:
        raise ControlError("camera embedding: move is the camera path, and none is connected; connect camera")
