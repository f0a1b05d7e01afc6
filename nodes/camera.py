"""Camera Path: how the camera moves, from a preset, drawn key frames or a file."""

from __future__ import annotations

from ..geometry.moves import EASINGS, PRESETS
from .comfy import drawn_by, file_mark, input_file, io
from .types import CATEGORY, VDiTCamera, end_input, shown, start_input, strength_input

LARGEST_FILE = 20_000_000  # bytes; 1001 poses as JSON are 0.4 MB


class VDiTCameraPath(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTCameraPath",
            display_name="VDiT Camera Path",
            category=CATEGORY,
            description="Moves the camera: a preset, a path drawn through key frames, or a file of poses.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="orbit",
                    tooltip="The move, unless path or file gives another. Amount 1 of "
                    + "; ".join(f"{name}: {preset.does}" for name, preset in PRESETS.items())
                    + ".",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=-30.0,
                    max=30.0,
                    step=0.05,
                    tooltip="How much of the preset's move, -30 to 30. 1: as far as the bundled model has often seen. "
                    "Negative: the other way (left, down, back, out). No effect on path and file.",
                ),
                io.Combo.Input(
                    "easing",
                    options=list(EASINGS),
                    default="smooth",
                    tooltip="How the preset's move is spread over time. smooth: starts and stops gently. linear: even "
                    "speed. in: only starts gently. out: only stops gently.",
                ),
                io.Int.Input(
                    "frames",
                    default=41,
                    min=2,
                    max=1001,
                    tooltip="Length, 2 to 1001 frames. A preset or drawn path stretches to the video's length anyhow; "
                    "this sets its share of the time when paths are joined.",
                ),
                io.Float.Input(
                    "fov_deg",
                    default=40.0,
                    min=5.0,
                    max=120.0,
                    step=0.5,
                    tooltip="Vertical field of view, 5 to 120 degrees. The bundled model was trained at 40. Files that "
                    "bring a focal length keep theirs.",
                ),
                io.Float.Input(
                    "distance",
                    default=7.0,
                    min=0.1,
                    max=1000.0,
                    step=0.1,
                    tooltip="Metres to the point that an orbit goes round, 0.1 to 1000. In the bundled model's world "
                    "things are about 7 m away. No effect on other moves.",
                ),
                io.Float.Input(
                    "look_down_deg",
                    default=8.0,
                    min=-80.0,
                    max=80.0,
                    step=0.5,
                    tooltip="How far the camera looks down in the first frame, -80 to 80 degrees, so that presets turn "
                    "and rise by the true vertical. The bundled model's cameras look down by about 8.",
                ),
                drawn_by(
                    "VDIT_CAMERA_PATH",
                    io.String.Input(
                        "path",
                        default="",
                        tooltip='Key frames, drawn here or as JSON: {"version": 1, "keys": [{"t": 0 to 1, '
                        '"position": [x, y, z] in metres, "look": [yaw, pitch, roll] in degrees, "fov_deg", '
                        '"ease"}]}; x right, y down, z forward from the first camera. Empty: the preset decides.',
                    ),
                ),
                io.String.Input(
                    "file",
                    default="",
                    tooltip="A file in ComfyUI's input folder that holds a path: our JSON, lines of 12 numbers (3x4 "
                    "world to camera), RealEstate10K or CameraCtrl lines (19), Wan camera entries (22 or 23). One pose "
                    "is one frame. Empty: path or preset decides.",
                ),
                strength_input("How strongly the camera path steers"),
                start_input(),
                end_input(),
                VDiTCamera.Input(
                    "camera",
                    optional=True,
                    tooltip="A path that comes first; this one continues from where it ends, at its zoom. Strength, "
                    "start and end are this node's.",
                ),
            ],
            outputs=[
                VDiTCamera.Output(display_name="camera", tooltip="The path, for VDiT Encode Conditioning."),
                io.Image.Output(
                    display_name="plot", tooltip="The path drawn from above and from the side, with its angles."
                ),
                io.String.Output(
                    display_name="json", tooltip="The path as JSON, one pose a frame; `file` reads it back."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        preset,
        amount,
        easing,
        frames,
        fov_deg,
        distance,
        look_down_deg,
        path,
        file,
        strength,
        start,
        end,
        camera=None,
    ) -> io.NodeOutput:
        import torch

        from ..control.camera_files import from_text, to_json
        from ..control.camera_plot import MISSING, plot
        from ..control.fit import with_span
        from ..control.moves import from_keys, keys_of, move
        from ..control.span import ControlError

        keys = keys_of(path)
        if keys and file.strip():
            raise ControlError(f"both path ({len(keys)} keys) and file ({file}) are set; clear one of them")
        if file.strip():
            made = from_text(_text(file.strip()), file.strip(), fov_deg, frames)
        elif keys:
            made = from_keys(keys, frames, fov_deg)
        else:
            made = move(preset, amount, easing, frames, fov_deg, distance, look_down_deg)
        made = with_span(made if camera is None else camera.then(made), strength, start, end)
        drawn = plot(made)
        remarks = [] if drawn is not None else [MISSING]
        drawn = torch.ones(1, 64, 64, 3) if drawn is None else drawn
        return io.NodeOutput(made, drawn, to_json(made), ui=shown("VDiT Camera Path", remarks))

    @classmethod
    def fingerprint_inputs(cls, file="", **_):
        return file_mark(file)


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
