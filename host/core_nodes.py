"""ComfyUI's own nodes for pictures, video and plain values, under the same ids and schema, for where it is absent.

A workflow made here opens there and the other way round; tests/test_comfyui.py compares the two.
"""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction

from . import folders, images, video
from .api import io, ui

PREFIX_HELP = (
    "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or "
    "%Empty Latent Image.width% to include values from nodes."
)
SAVE_HELP = "Saves the input images to your ComfyUI output directory."
MAX_SIDE = 16384


class LoadImage(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "nodes"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.Combo.Input("image", options=folders.listing("input", "image"), upload=io.UploadType.image)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image):
        return io.NodeOutput(*images.load(folders.resolve(image)))

    @classmethod
    def fingerprint_inputs(cls, image):
        path = folders.resolve(image)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"

    @classmethod
    def validate_inputs(cls, image):
        return _is_file(image)


class SaveImage(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "nodes"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            description=SAVE_HELP,
            inputs=[
                io.Image.Input("images", tooltip="The images to save."),
                io.String.Input("filename_prefix", default="ComfyUI", tooltip=PREFIX_HELP),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images, filename_prefix="ComfyUI"):
        return io.NodeOutput(ui=ui.ImageSaveHelper.get_save_images_ui(images, filename_prefix, cls))


class PreviewImage(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "nodes"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PreviewImage",
            display_name="Preview Image",
            category="image",
            description=SAVE_HELP,
            inputs=[io.Image.Input("images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images):
        return io.NodeOutput(ui=ui.PreviewImage(images, cls=cls))


class ImageScale(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "nodes"

    @classmethod
    def define_schema(cls):
        side = {"default": 512, "min": 0, "max": MAX_SIDE, "step": 1}
        return io.Schema(
            node_id="ImageScale",
            display_name="Upscale Image",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=images.SCALE_METHODS),
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
                io.Combo.Input("crop", options=["disabled", "center"]),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image, upscale_method, width, height, crop):
        return io.NodeOutput(images.scaled(image, width, height, upscale_method, crop == "center"))


class ImageFromBatch(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_images"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ImageFromBatch",
            category="image/batch",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("batch_index", default=0, min=0, max=4095),
                io.Int.Input("length", default=1, min=1, max=4096),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image, batch_index, length):
        first = min(batch_index, image.shape[0] - 1)
        return io.NodeOutput(image[first : first + length].clone())


class SaveAnimatedWEBP(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_images"
    METHODS = {"default": 4, "fastest": 0, "slowest": 6}

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveAnimatedWEBP",
            category="image/animation",
            inputs=[
                io.Image.Input("images"),
                io.String.Input("filename_prefix", default="ComfyUI"),
                io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
                io.Boolean.Input("lossless", default=True),
                io.Int.Input("quality", default=80, min=0, max=100),
                io.Combo.Input("method", options=list(cls.METHODS)),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images, filename_prefix, fps, lossless, quality, method):
        shown = ui.ImageSaveHelper.get_save_animated_webp_ui(
            images, filename_prefix, cls, fps, lossless, quality, cls.METHODS[method]
        )
        return io.NodeOutput(ui=shown)


class CreateVideo(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_video"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CreateVideo",
            display_name="Create Video",
            category="image/video",
            description="Create a video from images.",
            inputs=[
                io.Image.Input("images", tooltip="The images to create a video from."),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                io.Audio.Input("audio", optional=True, tooltip="The audio to add to the video."),
            ],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, images, fps, audio=None):
        return io.NodeOutput(video.VideoFromComponents(video.VideoComponents(images, Fraction(fps), audio)))


class SaveVideo(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_video"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="image/video",
            description=SAVE_HELP,
            inputs=[
                io.Video.Input("video", tooltip="The video to save."),
                io.String.Input("filename_prefix", default="video/ComfyUI", tooltip=PREFIX_HELP),
                io.Combo.Input(
                    "format", options=video.VideoContainer, default="auto", tooltip="The format to save the video as."
                ),
                io.Combo.Input(
                    "codec", options=video.VideoCodec, default="auto", tooltip="The codec to use for the video."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video, filename_prefix, format="auto", codec="auto"):
        folder, name, counter, subfolder = folders.save_slot(filename_prefix, "output", *video.get_dimensions())
        file = f"{name}_{counter:05}_.mp4"
        video.save_to(folder / file, format, codec, metadata=ui.embedded(cls))
        return io.NodeOutput(ui=ui.PreviewVideo([ui.SavedResult(file, subfolder, io.FolderType.output)]))


class LoadVideo(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_video"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="image/video",
            inputs=[io.Combo.Input("file", options=folders.listing("input", "video"), upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, file):
        return io.NodeOutput(video.VideoFromFile(folders.resolve(file)))

    @classmethod
    def fingerprint_inputs(cls, file):
        path = folders.resolve(file)
        return path.stat().st_mtime_ns if path.is_file() else "missing"

    @classmethod
    def validate_inputs(cls, file):
        return _is_file(file)


class GetVideoComponents(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_video"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="image/video",
            description="Extracts all components from a video: frames, audio, and framerate.",
            inputs=[io.Video.Input("video", tooltip="The video to extract components from.")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, video):
        parts = video.get_components()
        return io.NodeOutput(parts.images, parts.audio, float(parts.frame_rate))


class PreviewAny(io.ComfyNode):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_preview_any"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PreviewAny",
            display_name="Preview as Text",
            category="utils",
            inputs=[io.AnyType.Input("source")],
            is_output_node=True,
        )

    @classmethod
    def object_info(cls):
        """ComfyUI's is of the older kind, whose output nodes are told nothing unasked."""
        info = super().object_info()
        del info["input"]["hidden"], info["input_order"]["hidden"]
        return info

    @classmethod
    def execute(cls, source=None):
        text = source if isinstance(source, str) else json.dumps(source, indent=4, default=str)
        return io.NodeOutput(ui=ui.PreviewText(text))


def _primitive(node_id: str, display_name: str, kind: type, **widget) -> type[io.ComfyNode]:
    """A node that hands on the value typed into it."""

    class Primitive(io.ComfyNode):
        RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_primitive"

        @classmethod
        def define_schema(cls):
            return io.Schema(node_id, display_name, "utils/primitive", [kind.Input("value", **widget)], [kind.Output()])

        @classmethod
        def execute(cls, value):
            return io.NodeOutput(value)

    return Primitive


def _is_file(name: str) -> bool | str:
    try:
        path = folders.resolve(name)
    except folders.OutsideFolder as reason:
        return str(reason)
    return True if path.is_file() else f"{path}: no such file. Choose another, or upload it to the input folder"


NODES: list[type[io.ComfyNode]] = [
    LoadImage,
    SaveImage,
    PreviewImage,
    ImageScale,
    ImageFromBatch,
    SaveAnimatedWEBP,
    CreateVideo,
    SaveVideo,
    LoadVideo,
    GetVideoComponents,
    PreviewAny,
    _primitive("PrimitiveString", "String", io.String),
    _primitive("PrimitiveStringMultiline", "String (Multiline)", io.String, multiline=True),
    _primitive("PrimitiveInt", "Int", io.Int, min=-sys.maxsize, max=sys.maxsize, control_after_generate=True),
    _primitive("PrimitiveFloat", "Float", io.Float, min=-sys.maxsize, max=sys.maxsize, step=0.1),
    _primitive("PrimitiveBoolean", "Boolean", io.Boolean),
]
