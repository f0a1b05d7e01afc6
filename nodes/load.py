"""Load Model: the bundled world model, or a file from ComfyUI's model folders."""

from __future__ import annotations

from .comfy import io, model_files, model_path
from .types import CATEGORY, VDiTModel

BUNDLED = "vdit-small (bundled)"
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
                    options=[BUNDLED, *model_files(FOLDER)],
                    default=BUNDLED,
                    tooltip="The world model. The bundled one needs no download and makes 128x128 clips of 5 seconds "
                    "at 8 frames per second. Other files (.safetensors written by `vdit train`) are listed from "
                    f"models/{FOLDER}.",
                ),
            ],
            outputs=[VDiTModel.Output(display_name="model", tooltip="The loaded world model.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..model.checkpoint import load_world_model

        return io.NodeOutput(load_world_model(_path(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str):
        try:
            stat = _path(file).stat()
        except (OSError, ValueError):
            return "missing"  # execute says what is wrong with it
        return stat.st_mtime_ns, stat.st_size


def _path(file: str):
    if file != BUNDLED:
        return model_path(FOLDER, file)
    from ..model.checkpoint import BUNDLED as path

    return path
