"""Camera Path: how the camera moves, from a preset, drawn key frames or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry.moves import EASINGS, PRESETS
from .comfy import drawn_by, file_mark, input_file, io, verdict
from .types import VDiTCamera, node_schema, shown, span_inputs

if TYPE_CHECKING:
    from ..control.camera import CameraPath

DIRECTIONS = ("camera to world", "world to camera")  # as control.camera_files has them; importing that costs torch
CAMERA_AXES = ("OpenCV", "OpenGL")
AS_IN_FILE = "as the file says"
AXES_TAKEN = (
    "{}: its matrices do not say which axes the camera has; OpenCV's were taken (y down, z forward): choose axes"
)
LARGEST_FILE = 20_000_000  # bytes; 1001 poses as JSON are 0.4 MB
TOOLTIPS = {
    "preset": "The move, unless path or file gives another. Amount 1 of "
    + "; ".join(f"{name}: {preset.does}" for name, preset in PRESETS.items())
    + ".",
    "amount": "How much of the preset's move, -30 to 30. 1: as far as is frequent in the bundled model's training. "
    "Negative: in the opposite direction (left, down, back, out). No effect on path and file.",
    "easing": "How the preset's move is spread over time. smooth: starts and stops gently. linear: even speed. in: "
    "only starts gently. out: only stops gently.",
    "frames": "Length, 2 to 1001 frames. A preset or drawn path stretches to the video's length anyhow; this sets its "
    "share of the time when paths are joined.",
    "fov_deg": "Vertical field of view, 5 to 120 degrees. The bundled model was trained at 40. The focal lengths in a "
    "file take precedence.",
    "distance": "Metres to the point that an orbit goes round, 0.1 to 1000. In the scenes that the bundled model was "
    "trained on things are about 7 m away. No effect on other moves.",
    "look_down_deg": "How far the camera looks down in the first frame, -80 to 80 degrees, so that presets turn and "
    "rise by the true vertical. The bundled model's cameras look down by about 8.",
    "path": 'Key frames, drawn here or as JSON: {"version": 1, "keys": [{"t": 0 to 1, "position": [x, y, z] in metres, '
    '"look": [yaw, pitch, roll] in degrees, "fov_deg", "ease"}]}; x right, y down, z forward from the first camera. '
    "Empty: the preset decides.",
    "file": "A file in ComfyUI's input folder that holds a path: the JSON of this node's output, nerfstudio's "
    "transforms.json, ReCamMaster's table (cameras.json#cam02 picks a camera), lines of 8 numbers (TUM), 12 or 16 (a "
    "matrix), RealEstate10K or CameraCtrl lines (19), Wan camera entries (22 or 23). One pose is one frame. Empty: "
    "path or preset decides.",
    "direction": "What the matrices of `file` do, for lines of 12 or 16 numbers, which do not say: KITTI's are camera "
    "to world.",
    "axes": "How the matrices of `file` name a camera's axes, for lines of 12 or 16 numbers, which do not say. OpenCV: "
    "y down, z forward. OpenGL, as in Blender and NeRF: y up, z back. Left open, they are taken as OpenCV, with a "
    "remark.",
    "camera": "A path that comes first; this one continues from where it ends, at its zoom. Strength, start and end "
    "are this node's.",
    "-> camera": "The path, for VDiT Encode Conditioning.",
    "-> plot": "The path drawn from above and from the side, with its angles.",
    "-> json": "The path as JSON, one pose a frame; `file` reads it back.",
}


class VDiTCameraPath(io.ComfyNode):
    """Moves the camera: a preset, a path drawn through key frames, or a file of poses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("preset", options=list(PRESETS), default="orbit"),
            io.Float.Input("amount", default=1.0, min=-30.0, max=30.0, step=0.05),
            io.Combo.Input("easing", options=list(EASINGS), default="smooth"),
            io.Int.Input("frames", default=41, min=2, max=1001),
            io.Float.Input("fov_deg", default=40.0, min=5.0, max=120.0, step=0.5),
            io.Float.Input("distance", default=7.0, min=0.1, max=1000.0, step=0.1),
            io.Float.Input("look_down_deg", default=8.0, min=-80.0, max=80.0, step=0.5),
            drawn_by("VDIT_CAMERA_PATH", io.String.Input("path", default="")),
            io.String.Input("file", default=""),
            *span_inputs("How strongly the camera path steers"),
            VDiTCamera.Input("camera", optional=True),
            # Later additions come last: workflow files store widget values by position.
            io.Combo.Input("direction", options=[AS_IN_FILE, *DIRECTIONS], default=AS_IN_FILE),
            io.Combo.Input("axes", options=[AS_IN_FILE, *CAMERA_AXES], default=AS_IN_FILE, optional=True),
        ]
        outputs = {"camera": VDiTCamera, "plot": io.Image, "json": io.String}
        return node_schema(cls, "VDiT Camera Path", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, amount: float | None = None) -> bool | str:
        return verdict(cls, amount=amount)

    @classmethod
    def execute(
        cls,
        preset: str,
        amount: float,
        easing: str,
        frames: int,
        fov_deg: float,
        distance: float,
        look_down_deg: float,
        path: str,
        file: str,
        strength: float,
        start: float,
        end: float,
        camera: CameraPath | None = None,
        direction: str = AS_IN_FILE,
        axes: str = AS_IN_FILE,
    ) -> io.NodeOutput:
        import torch

        from ..control.camera_files import leaves_axes_open, to_json
        from ..control.camera_plot import MISSING, plot
        from ..control.fit import with_span
        from ..control.moves import move

        made = path_of(path, file, direction, fov_deg, frames, axes)
        if made is None:
            made = move(preset, amount, easing, frames, fov_deg, distance, look_down_deg)
        made = with_span(made if camera is None else camera.then(made), strength, start, end)
        drawn = plot(made)
        remarks = [] if drawn is not None else [MISSING]
        if file.strip() and axes == AS_IN_FILE and leaves_axes_open(_text(file.strip().partition("#")[0])):
            remarks.append(AXES_TAKEN.format(file.strip()))
        drawn = torch.ones(1, 64, 64, 3) if drawn is None else drawn
        return io.NodeOutput(made, drawn, to_json(made), ui=shown("VDiT Camera Path", remarks))

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **other: object):
        return file_mark(file.partition("#")[0])


def path_of(
    path: str, file: str, direction: str, fov_deg: float, frames: int, axes: str = AS_IN_FILE
) -> CameraPath | None:
    """The path of drawn keys or of a file in the input folder; None: none. Raises ControlError, OSError."""
    from ..control.camera_files import from_text
    from ..control.moves import from_keys, keys_of
    from ..control.span import ControlError

    keys = keys_of(path)
    if keys and file.strip():
        raise ControlError(f"both path and file ({file}) are set; clear one of them")
    if file.strip():
        name, _, one = file.strip().partition("#")
        given = direction if direction in DIRECTIONS else None
        return from_text(_text(name), name, fov_deg, frames, given, one, axes if axes in CAMERA_AXES else None)
    return from_keys(keys, frames, fov_deg) if keys else None


def _text(name: str) -> str:
    from ..control.span import ControlError

    path = input_file(name)
    if path.stat().st_size > LARGEST_FILE:
        raise ControlError(f"{path}: {path.stat().st_size:,} bytes; expected a camera path of at most {LARGEST_FILE:,}")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ControlError(
            f"{path}: this is no text file ({e}); expected a camera path as JSON or lines of numbers"
        ) from e
