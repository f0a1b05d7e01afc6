"""Motion Brush: optical flow from strokes drawn over the start picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, drawn_by, io, ui, verdict
from .types import Tracks, VDiTFlow, node_schema, shown, size_inputs

if TYPE_CHECKING:
    from torch import Tensor

TOOLTIPS = {
    "strokes": 'Drawn here, or as JSON: {"version": 1, "strokes": [{"points": [[x, y], ...], "radius", "falloff", '
    '"start", "end"}]}; x, y and radius in 0 to 1 of the picture, start and end in 0 to 1 of the clip. A stroke of one '
    "point: what it covers does not move.",
    "frames": "Frames of the video that the strokes are for, 2 to 1001: 41 for 5 s at 8 fps.",
    "background": "What is not painted. free: up to the model. still: the model is given no motion there, and a camera "
    "that does not move.",
    "start_image": "The picture to draw on: the one that the video starts from. Shown as the video will show it, "
    "resized to cover and cropped to the centre.",
    "-> flow": "The painted motion, for Encode Conditioning; for strength and more go by Flow Control.",
    "-> preview": "The start picture with the motion of each frame over it; hue is direction.",
    "-> tracks": "Points on what is painted, and with background still between it, for Wan-ATI and Wan-Move: for "
    "VDiT Encode Conditioning, VDiT Tracks (which draws them) and ComfyUI's own track nodes.",
}


class VDiTMotionBrush(io.ComfyNode):
    """Draw over the start picture where things go: what a stroke's disc covers travels along it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            drawn_by("VDIT_BRUSH", io.String.Input("strokes", default="")),
            io.Int.Input("frames", default=41, min=2, max=1001),
            *size_inputs(),
            io.Combo.Input("background", options=["free", "still"], default="free"),
            io.Image.Input("start_image", optional=True),
        ]
        outputs = {"flow": VDiTFlow, "preview": io.Image, "tracks": Tracks}
        return node_schema(cls, "VDiT Motion Brush", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, strokes: str | None = None) -> bool | str:
        return verdict(cls, strokes=strokes)

    @classmethod
    def execute(
        cls, strokes: str, frames: int, width: int, height: int, background: str, start_image: Tensor | None = None
    ) -> io.NodeOutput:
        import torch

        from ..control import as_pictures, cover
        from ..control.brush import flow_from_strokes, read_strokes
        from ..control.flow_colors import over_picture
        from ..control.track_sources import from_strokes
        from ..control.tracks import to_core

        read = read_strokes(strokes)
        field = flow_from_strokes(read, frames, width, height, background, check_interrupted)
        messages = {}
        picture = torch.full((1, height, width, 3), 0.5)
        if start_image is not None:
            picture = cover(as_pictures(start_image, "start_image")[0][:1], width, height)
            saved = ui.ImageSaveHelper.save_images(picture, "vdit_brush", io.FolderType.temp, None, 1)
            messages["vdit_picture"] = saved  # the drawing's backdrop (web/picture.js)
        assert field.valid is not None, "flow from strokes is defined only where they are"
        preview = over_picture(field, picture, check_interrupted)
        if not read:
            messages |= shown("VDiT Motion Brush", ["nothing is painted: the brush has no influence"]) or {}
        tracks = to_core(from_strokes(read, frames, width, height, background))
        return io.NodeOutput(field, preview, tracks, ui=messages or None)
