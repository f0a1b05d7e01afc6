"""ComfyUI's own nodes for pictures, video and plain values, under the same ids and schema, for where it is absent.

A workflow made here opens there and the other way round; tests/test_comfyui.py compares the two.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from . import folders, images, video
from .api import io, ui
from .images import batched

PREFIX_HELP = (
    "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or "
    "%Empty Latent Image.width% to include values from nodes."
)
SAVE_HELP = "Saves the input images to your ComfyUI output directory."
MAX_SIDE = 16384
VIDEO_NODES = "comfy_extras.nodes_video"
WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}

NODES: list[type[io.ComfyNode]] = []


def core_node(
    module: str, schema: io.Schema, files: str | None = None, **methods: Callable
) -> Callable[[Callable], type[io.ComfyNode]]:
    """Makes a node of the function that it decorates, its `execute(cls, ...)`, and adds it to NODES.

    module: where ComfyUI defines the node. files: the kind of files in the input folder that its input lists.
    methods: further classmethods of the node.
    """

    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        if files:  # those of now
            upload = io.UploadType(f"{files}_upload")
            entry = io.Combo.Input(schema.inputs[0].id, folders.listing("input", files), upload=upload)
            return replace(schema, inputs=[entry])
        return schema

    def make(execute: Callable) -> type[io.ComfyNode]:
        members = {"define_schema": define_schema, "execute": execute, **methods}
        members = {name: classmethod(method) for name, method in members.items()}
        NODES.append(type(schema.node_id, (io.ComfyNode,), {"RELATIVE_PYTHON_MODULE": module, **members}))
        return NODES[-1]

    return make


def is_input_file(name: str) -> bool | str:
    """Whether the input folder has it; else what is wrong."""
    try:
        path = folders.resolve(name)
    except folders.OutsideFolder as reason:
        return str(reason)
    return True if path.is_file() else f"{path}: no such file. Choose another, or upload it to the input folder"


def picture_digest(cls: type[io.ComfyNode], image: str) -> str:
    """Changes with the file's content."""
    path = folders.resolve(image)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def video_time(cls: type[io.ComfyNode], file: str) -> int | str:
    """Changes when the file is written."""
    path = folders.resolve(file)
    return path.stat().st_mtime_ns if path.is_file() else "missing"


def without_hidden(cls: type[io.ComfyNode]) -> dict:
    """As for ComfyUI's older kind of node, which gets no hidden values that it does not ask for."""
    info = cls.GET_SCHEMA().object_info(cls.RELATIVE_PYTHON_MODULE)
    del info["input"]["hidden"], info["input_order"]["hidden"]
    return info


@core_node(
    "nodes",
    io.Schema("LoadImage", "Load Image", "image", [io.Combo.Input("image")], [io.Image.Output(), io.Mask.Output()]),
    files="image",
    validate_inputs=lambda cls, image: is_input_file(image),
    fingerprint_inputs=picture_digest,
)
def _load_image(cls, image):
    return io.NodeOutput(*images.load(folders.resolve(image)))


SAVED_IMAGES = [io.Image.Output(display_name="images")]  # as they came, for nodes that follow
SAVE_IMAGE = [
    io.Image.Input("images", tooltip="The images to save."),
    io.String.Input("filename_prefix", default="ComfyUI", tooltip=PREFIX_HELP),
]


@core_node(
    "nodes",
    io.Schema("SaveImage", "Save Image", "image", SAVE_IMAGE, SAVED_IMAGES, description=SAVE_HELP, is_output_node=True),
)
def _save_image(cls, images, filename_prefix="ComfyUI"):
    return io.NodeOutput(images, ui=ui.SavedImages(ui.save_images(images, filename_prefix, io.FolderType.output, cls)))


PREVIEW_IMAGE = [io.Image.Input("images")]


@core_node(
    "nodes",
    io.Schema(
        "PreviewImage",
        "Preview Image",
        "image",
        PREVIEW_IMAGE,
        SAVED_IMAGES,
        description=SAVE_HELP,
        is_output_node=True,
    ),
)
def _preview_image(cls, images):
    return io.NodeOutput(images, ui=ui.PreviewImage(images, cls=cls))


SCALE = [
    io.Image.Input("image"),
    io.Combo.Input("upscale_method", images.SCALE_METHODS),
    *(io.Int.Input(side, default=512, min=0, max=MAX_SIDE, step=1) for side in ("width", "height")),
    io.Combo.Input("crop", ["disabled", "center"]),
]


@core_node("nodes", io.Schema("ImageScale", "Upscale Image", "image/upscaling", SCALE, [io.Image.Output()]))
def _image_scale(cls, image, upscale_method, width, height, crop):
    return io.NodeOutput(images.scaled(image, width, height, upscale_method, crop == "center"))


FROM_BATCH = [
    io.Image.Input("image"),
    io.Int.Input("batch_index", default=0, min=-MAX_SIDE, max=MAX_SIDE),
    io.Int.Input("length", default=1, min=1, max=4096),
]


@core_node(
    "comfy_extras.nodes_images",
    io.Schema("ImageFromBatch", "Get Image from Batch", "image/batch", FROM_BATCH, [io.Image.Output()]),
)
def _image_from_batch(cls, image, batch_index, length):
    first = batch_index + image.shape[0] if batch_index < 0 else batch_index  # counted from the end
    first = max(0, min(first, image.shape[0] - 1))
    return io.NodeOutput(image[first : first + length].clone())


BATCHED = [io.Autogrow.Input("images", template=io.Autogrow.TemplatePrefix(io.Image.Input("image"), "image", 1, 50))]


@core_node(
    "comfy_extras.nodes_post_processing",
    io.Schema("BatchImagesNode", "Batch Images", "image/batch", BATCHED, [io.Image.Output()]),
)
def _batch_images(cls, images):
    return io.NodeOutput(batched(list(images.values())))


SAVE_WEBP = [
    io.Image.Input("images"),
    io.String.Input("filename_prefix", default="ComfyUI"),
    io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
    io.Boolean.Input("lossless", default=True),
    io.Int.Input("quality", default=80, min=0, max=100),
    io.Combo.Input("method", list(WEBP_METHODS)),
]


@core_node(
    "comfy_extras.nodes_images", io.Schema("SaveAnimatedWEBP", None, "image/animation", SAVE_WEBP, is_output_node=True)
)
def _save_animated_webp(cls, images, filename_prefix, fps, lossless, quality, method):
    saved = ui.save_animated_webp(images, filename_prefix, cls, fps, lossless, quality, WEBP_METHODS[method])
    return io.NodeOutput(images, ui=ui.SavedImages([saved], is_animated=len(images) > 1))


BITS_HELP = "Bits of each colour in the saved file. 10 keeps gradients smooth, but some players cannot show it."
CREATE_HELP = "Create a video from images."
CREATE_VIDEO = [
    io.Image.Input("images", tooltip="The images to create a video from."),
    io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
    io.Audio.Input("audio", optional=True, tooltip="The audio to add to the video."),
    io.Int.Input("bit_depth", default=8, min=8, max=10, step=2, optional=True, tooltip=BITS_HELP),
]


@core_node(
    VIDEO_NODES,
    io.Schema("CreateVideo", "Create Video", "image/video", CREATE_VIDEO, [io.Video.Output()], description=CREATE_HELP),
)
def _create_video(cls, images, fps, audio=None, bit_depth=8):
    parts = video.VideoComponents(images, Fraction(fps), audio, bit_depth=bit_depth)
    return io.NodeOutput(video.VideoFromComponents(parts))


Option = io.DynamicCombo.Option


def _re_encoding(crf: float, worst: float) -> io.SocketInput:
    color_space = io.Combo.Input("color_space", ["auto", "sRGB"], default="auto", display_name="color space")
    quality = io.Float.Input("crf", default=crf, min=0.0, max=worst, step=1.0, tooltip="Lower is better, and larger.")
    choices = [Option("auto"), Option("re-encode", [quality, color_space])]
    return io.DynamicCombo.Input("encoding", choices, display_name="encoding mode", optional=True)


H264, AV1 = Option("h264", [_re_encoding(23.0, 51.0)]), Option("av1", [_re_encoding(30.0, 63.0)])


def _codec(*options: io.Option, **more: Any) -> io.SocketInput:  # noqa: ANN401  passed on
    help = "The output video codec. Auto keeps a stream that fits as it is."
    return io.DynamicCombo.Input("codec", [Option("auto"), *options], tooltip=help, **more)


FORMATS = [Option(key, [_codec(H264, AV1)]) for key in ("auto", "mp4", "mkv")] + [Option("webm", [_codec(AV1)])]
SAVE_VIDEO = [
    io.Video.Input("video", tooltip="The video to save."),
    io.String.Input("filename_prefix", default="video/ComfyUI", tooltip=PREFIX_HELP),
    io.DynamicCombo.Input("format", FORMATS, tooltip="The format to save the video as; auto is mp4."),
    _codec(H264, AV1, optional=True, extra_dict={"hidden": True}),  # where prompts of ComfyUI up to 0.28 have it
]
SAVED_VIDEO = [io.Video.Output(display_name="video")]


@core_node(
    VIDEO_NODES,
    io.Schema(
        "SaveVideo", "Save Video", "image/video", SAVE_VIDEO, SAVED_VIDEO, description=SAVE_HELP, is_output_node=True
    ),
)
def _save_video(cls, video, filename_prefix, format=None, codec=None):
    chosen: dict[str, Any] = format or {"format": "auto"}
    kind: str = chosen["format"]
    coded: dict[str, Any] = chosen.get("codec") or codec or {"codec": "auto"}
    quality: dict[str, Any] = coded.get("encoding") or {}
    how = {"crf": quality.get("crf"), "color_space": quality.get("color_space")}
    save = partial(video.save_to, format=kind, codec=coded["codec"], metadata=ui.embedded(cls), **how)
    with folders.save_slot(filename_prefix, "output", *video.get_dimensions()) as slot:
        file = ui.saved(slot.save(".mp4" if kind == "auto" else f".{kind}", save), io.FolderType.output)
    return io.NodeOutput(video, ui=ui.PreviewVideo([file]))


@core_node(
    VIDEO_NODES,
    io.Schema("LoadVideo", "Load Video", "image/video", [io.Combo.Input("file")], [io.Video.Output()]),
    files="video",
    validate_inputs=lambda cls, file: is_input_file(file),
    fingerprint_inputs=video_time,
)
def _load_video(cls, file):
    return io.NodeOutput(video.VideoFromFile(folders.resolve(file)))


PARTS_HELP = "Extracts all components from a video: frames, audio, and framerate."
VIDEO_INPUT = [io.Video.Input("video", tooltip="The video to extract components from.")]
VIDEO_PARTS = [
    io.Image.Output(display_name="images"),
    io.Audio.Output(display_name="audio"),
    io.Float.Output(display_name="fps"),
    io.Int.Output(display_name="bit_depth"),
    io.Combo.Output(display_name="color_space"),
]


@core_node(
    VIDEO_NODES,
    io.Schema("GetVideoComponents", "Get Video Components", "image/video", VIDEO_INPUT, VIDEO_PARTS, [], PARTS_HELP),
)
def _get_video_components(cls, video):
    parts = video.get_components()
    remarks = getattr(parts, "remarks", ())
    shown = ui.PreviewText("\n".join(remarks)) if remarks else None
    return io.NodeOutput(parts.images, parts.audio, float(parts.frame_rate), parts.bit_depth, "auto", ui=shown)


@core_node(
    "comfy_extras.nodes_preview_any",
    io.Schema(
        "PreviewAny",
        "Preview as Text",
        "utils",
        [io.AnyType.Input("source")],
        [io.String.Output()],
        is_output_node=True,
    ),
    object_info=without_hidden,
)
def _preview_any(cls, source=None):
    text = source if isinstance(source, str) else json.dumps(source, indent=4, default=str)
    return io.NodeOutput(text, ui=ui.PreviewText(text))


def _primitive(name: str, title: str, entry: io.WidgetInput, output: io.SocketOutput) -> None:
    schema = io.Schema(f"Primitive{name}", title, "utils/primitive", [entry], [output])
    core_node("comfy_extras.nodes_primitive", schema)(lambda cls, value: io.NodeOutput(value))


WHOLE = io.Int.Input("value", min=-sys.maxsize, max=sys.maxsize, control_after_generate=True)
_primitive("String", "String", io.String.Input("value"), io.String.Output())
_primitive("StringMultiline", "String (Multiline)", io.String.Input("value", multiline=True), io.String.Output())
_primitive("Int", "Int", WHOLE, io.Int.Output())
_primitive("Float", "Float", io.Float.Input("value", min=-sys.maxsize, max=sys.maxsize, step=0.1), io.Float.Output())
_primitive("Boolean", "Boolean", io.Boolean.Input("value"), io.Boolean.Output())
