"""Depth Control: depth pictures or metric depth, as inverse depth for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import file_mark, input_file, io, verdict
from .types import VDiTDepth, node_schema, shown, size_inputs, span_inputs

if TYPE_CHECKING:
    from torch import Tensor

READINGS = ["brighter is nearer", "darker is nearer", "metres"]
TOOLTIPS = {
    "reading": "What the values mean. brighter is nearer: inverse depth, as most depth estimators draw it. darker is "
    "nearer: distance, black at near and white at far (set both). metres: metres.",
    "near": "Metres of the nearest value, 0 to 10,000. 0, with far 0: the clip's own nearest and farthest percent are "
    "used, as in training.",
    "far": "Metres of the farthest value, 0 to 10,000; more than near, or 0 with near 0. With both set Flow Control "
    "can work out the flow of a camera path through this depth.",
    "file": "An array of depth in metres in ComfyUI's input folder instead of pictures: .npy [frames, height, width], "
    "or .npz with an array named depth. Empty: the pictures.",
    "images": "Depth, one picture for every frame of the video. Resized to cover the video's size and cropped to the "
    "centre, as a start picture is.",
    "-> depth": "Normalised inverse depth, for VDiT Encode Conditioning.",
    "-> seen": "The depth that the model is given: means over 4x4 pixels; the nearest is white.",
}


class VDiTDepthControl(io.ComfyNode):
    """Gives the model the depth of every frame, from depth pictures or depth in metres."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("reading", options=READINGS, default=READINGS[0]),
            io.Float.Input("near", default=0.0, min=0.0, max=10000.0, step=0.1),
            io.Float.Input("far", default=0.0, min=0.0, max=10000.0, step=0.1),
            *size_inputs(),
            io.String.Input("file", default=""),
            *span_inputs("How firmly the video follows the depth"),
            io.Image.Input("images", optional=True),
        ]
        return node_schema(cls, "VDiT Depth Control", inputs, {"depth": VDiTDepth, "seen": io.Image}, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, near: float | None = None) -> bool | str:
        return verdict(cls, near=near)

    @classmethod
    def execute(
        cls,
        reading: str,
        near: float,
        far: float,
        width: int,
        height: int,
        file: str,
        strength: float,
        start: float,
        end: float,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..control.depth import depth_from_pictures, read_depth
        from ..control.fit import with_span

        name = file.strip()
        check_sources(images is not None, bool(name))
        if name:
            images, reading = read_depth(input_file(name))[..., None], "metres"
        assert images is not None
        maps = depth_from_pictures(images, reading, near or None, far or None, width, height)
        messages = shown("VDiT Depth Control", maps.remarks)
        return io.NodeOutput(with_span(maps, strength, start, end), maps.preview(), ui=messages or None)

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **other: object):
        return file_mark(file)


def check_sources(pictures: bool, file: bool) -> None:
    """Raise ControlError unless there is just one of pictures and a file."""
    from ..control.span import ControlError

    if pictures == file:
        found = "both pictures and a file" if file else "neither pictures nor a file"
        raise ControlError(f"depth: {found}; connect images, or name a file of depth in metres")
