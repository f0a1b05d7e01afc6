"""Load Model: the bundled world model, or a file from ComfyUI's model folders."""

from __future__ import annotations

from pathlib import Path

from .comfy import io, model_files, model_path
from .types import CATEGORY, VDiTModel

BUNDLED = "vdit-small (bundled)"
STUDENTS = ("vdit-small-student (bundled)", "vdit-small-student-fast (bundled)")  # previews
FOLDER = "diffusion_models"


class VDiTLoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTLoadModel",
            display_name="VDiT Load Model",
            category=CATEGORY,
            description="Loads a video world model: transformer, video codec and text encoder in one.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[BUNDLED, *STUDENTS, *model_files(FOLDER)],
                    default=BUNDLED,
                    tooltip="The world model. The bundled ones need no download and make 128x128 clips of 5 seconds "
                    "at 8 frames per second. Students are distilled from vdit-small for VDiT Distill Preview; the fast "
                    "one is half as large. Other files (.safetensors written by `vdit train`) are listed from "
                    f"models/{FOLDER}.",
                ),
                io.Combo.Input(
                    "attention",
                    options=["auto", "full", "window", "axial", "frame-causal"],
                    default="auto",
                    optional=True,
                    tooltip="What each part of the video sees. auto: what the model was trained with. full: everything. "
                    "window: its neighbourhood in time, height and width. axial: its own frame, and its own place in "
                    "every frame. frame-causal: its own frame and earlier ones. Less is quicker in large videos, and "
                    "worse unless the model was trained so.",
                ),
                io.Float.Input(
                    "window",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="For window: its sides as a share of the video's length, height and width, 0.05 to 1. Work "
                    "goes with its cube: 0.5 is about an eighth of full attention.",
                ),
            ],
            outputs=[VDiTModel.Output(display_name="model", tooltip="The loaded world model.")],
        )

    @classmethod
    def execute(cls, file: str, attention: str = "auto", window: float = 0.5) -> io.NodeOutput:
        from ..model.checkpoint import load_world_model

        model = load_world_model(_path(file))
        if attention != "auto":
            model.transformer.attention = (attention, window)
        return io.NodeOutput(model)

    @classmethod
    def fingerprint_inputs(cls, file: str, **other):
        try:
            stat = _path(file).stat()
        except (OSError, ValueError):
            return "missing"  # execute says what is wrong with it
        return stat.st_mtime_ns, stat.st_size


def _path(file: str) -> Path:
    if file not in (BUNDLED, *STUDENTS):
        return model_path(FOLDER, file)
    from ..model.checkpoint import BUNDLED as path

    return path if file == BUNDLED else path.with_name(file.removesuffix(" (bundled)") + path.suffix)
