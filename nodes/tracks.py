"""Tracks: where points of the start picture go, by text, a file, strokes, other tracks or a moving camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, file_mark, input_file, io, verdict
from .types import Tracks, VDiTCamera, VDiTDepth, node_schema, reported

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..control.depth import DepthMaps
    from ..control.tracks import CoreTracks, PointTracks

LARGEST_FILE = 16_000_000  # bytes, as much as a widget may hold
BYTES_A_PIXEL = 12  # of an IMAGE
PICKLED = (".pt", ".pth", ".pkl", ".npy", ".npz")
TOOLTIPS = {
    "points": 'JSON: [{"x", "y"}, ...] in pixels, one a frame, or a list of these, as KJNodes\' Spline Editor and ATI '
    "write it; strokes as VDiT Motion Brush keeps them; or this node's json. A track of one point holds still.",
    "file": "A file in ComfyUI's input folder that holds the same. Empty: points are read.",
    "frames": "Frames of the video, 2 to 1001: 81 for 5 s at 16 fps. Tracks of another length are stretched over them; "
    "ComfyUI's own ATI node takes 121.",
    "width": "Width in pixels, 16 to 4096, of the picture that the points lie on: the video's.",
    "height": "Height in pixels, 16 to 4096, as width.",
    "background": "Where no track passes. free: up to the model. still: points that do not move hold it in place, or, "
    "with a camera, move as it says.",
    "distance": "Metres to what the points lie on, 0.1 to 1000, for a camera without depth.",
    "tracks": "Tracks to go first: from VDiT Simulate, VDiT Motion Brush or ComfyUI's own track nodes.",
    "start_image": "The picture that the tracks are drawn over in preview. Resized to cover and cropped to the centre.",
    "camera": "A path of the camera, from VDiT Camera Path, that carries all points along: each stays on its place in "
    "the scene, and what is drawn moves there. Not for tracks of VDiT Simulate under a camera, which have it in them.",
    "depth": "How far away things are in start_image, from VDiT Depth Control with near and far, for camera. The first "
    "map is read.",
    "-> tracks": "For VDiT Encode Conditioning, and ComfyUI's Wan-Move nodes.",
    "-> preview": "The tracks drawn over the picture: coloured where they move, grey where they hold still.",
    "-> points": "The places of every frame as text, for KJNodes and the ATI nodes. What is hidden is not in it.",
    "-> json": "All of it as text, with what is hidden; points and file read it back.",
}


class VDiTTracks(io.ComfyNode):
    """Says where points of the start picture go, for Wan-ATI and Wan-Move: points written or drawn elsewhere, a still
    background, and a camera that carries them.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.String.Input("points", multiline=True, default=""),
            io.String.Input("file", default=""),
            io.Int.Input("frames", default=81, min=2, max=1001),
            io.Int.Input("width", default=832, min=16, max=4096, step=16),
            io.Int.Input("height", default=480, min=16, max=4096, step=16),
            io.Combo.Input("background", options=["free", "still"], default="free"),
            io.Float.Input("distance", default=7.0, min=0.1, max=1000.0, step=0.1),
            Tracks.Input("tracks", optional=True),
            io.Image.Input("start_image", optional=True),
            VDiTCamera.Input("camera", optional=True),
            VDiTDepth.Input("depth", optional=True),
        ]
        outputs = {"tracks": Tracks, "preview": io.Image, "points": io.String, "json": io.String}
        return node_schema(cls, "VDiT Tracks", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, points: str | None = None) -> bool | str:
        return verdict(cls, points=points)

    @classmethod
    def execute(
        cls,
        points: str,
        file: str,
        frames: int,
        width: int,
        height: int,
        background: str,
        distance: float,
        tracks: CoreTracks | None = None,
        start_image: Tensor | None = None,
        camera: CameraPath | None = None,
        depth: DepthMaps | None = None,
    ) -> io.NodeOutput:
        import torch

        from ..control import as_pictures
        from ..control.track_files import to_json, to_points_text
        from ..control.track_picture import over_picture
        from ..control.track_sources import carried, with_background
        from ..control.tracks import PointTracks, from_core, to_core
        from ..machine.limits import check_memory

        check_memory("VDiT Tracks: its preview", frames * width * height * BYTES_A_PIXEL)
        given = [] if tracks is None else [from_core(tracks)]
        read = read_points(points, file, frames, width, height)
        check_sources(bool(given) or read is not None, background, camera is not None, depth is not None)
        made = PointTracks(torch.zeros(frames, 0, 2), torch.zeros(frames, 0), (width, height))
        for one in (*given, *([] if read is None else [read])):
            made = made.then(one.resized(width, height))
        made = with_background(made, background)
        if camera is not None:
            made = carried(made, camera, distance if depth is None else depth, check_interrupted)
        grey = torch.full((1, height, width, 3), 0.5)
        picture = grey if start_image is None else as_pictures(start_image, "start_image")[0]
        preview = over_picture(made, picture, check_interrupted)
        lines = [f"{made.count} points through {frames} frames of {width}x{height}"]
        return io.NodeOutput(to_core(made), preview, to_points_text(made), to_json(made), ui=reported(lines))

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **other: object):
        return file_mark(file)


def read_points(points: str, file: str, frames: int, width: int, height: int) -> PointTracks | None:
    """Tracks of the text or of the file, in its place; None: neither is given. Raises ControlError, OSError."""
    from ..control.brush import read_strokes
    from ..control.span import ControlError
    from ..control.track_files import from_text, is_strokes
    from ..control.track_sources import from_strokes

    name = file.strip()
    if name and points.strip():
        raise ControlError(f"both points and file ({name}) are set; clear one of them")
    text, called = (_text(name), name) if name else (points, "points")
    if not text.strip() and not name:
        return None
    if is_strokes(text, called):
        return from_strokes(read_strokes(text), frames, width, height)
    return from_text(text, called, (width, height))


def check_sources(points: bool, background: str, camera: bool, depth: bool) -> None:
    """Raise ControlError unless there are points, and depth has a camera that it is for."""
    from ..control.span import ControlError
    from ..control.tracks import MAKERS

    if not points and background != "still":
        raise ControlError(f"tracks: there are none; {MAKERS}, or set background to still")
    if depth and not camera:
        raise ControlError("tracks: depth is connected without a camera, and has no effect alone; connect a camera too")


def _text(name: str) -> str:
    from ..control.span import ControlError

    path = input_file(name)
    if path.suffix.lower() in PICKLED:
        raise ControlError(f"{path}: {path.suffix} files are not read here; save the tracks as JSON")
    if path.stat().st_size > LARGEST_FILE:
        raise ControlError(f"{path}: {path.stat().st_size:,} bytes; expected tracks of at most {LARGEST_FILE:,}")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ControlError(f"{path}: this is no text file ({e}); expected tracks as JSON") from e
