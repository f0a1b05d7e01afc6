"""Load Model: the bundled world model, or files of the Wan family from ComfyUI's model folders."""

from __future__ import annotations

from pathlib import Path

from .comfy import io, model_files, model_path
from .types import CATEGORY, VDiTModel, told

BUNDLED = "vdit-small (bundled)"
STUDENT = "vdit-small-student (bundled)"  # previews
LITE = "vdit-small-student-lite (bundled)"  # half its layers
SHIPPED = (BUNDLED, STUDENT, LITE)
FOLDER = "diffusion_models"
PREVIEWS = "vae_approx"  # ComfyUI's folder for them
TINY_CODECS = ("taew2_1", "taew2_2")
NONE = "none"
AUTO = "auto"
DTYPES = (AUTO, "bfloat16", "float16", "float32")
TOKENIZERS = (".json", ".model")


class VDiTLoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTLoadModel",
            display_name="VDiT Load Model",
            category=CATEGORY,
            description="Loads a video world model: a bundled one, all parts in one file, or one of the Wan 2.1 and "
            "2.2 family with the files that belong to it. What a file is, is read from its tensors.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[*SHIPPED, *model_files(FOLDER)],
                    default=BUNDLED,
                    tooltip="The world model. The bundled ones need no download and make 128x128 clips of 5 seconds "
                    "at 8 frames per second. The students are distilled from vdit-small for VDiT Distill Preview; lite has "
                    "half the layers, for weaker machines. Files of the Wan 2.1 and 2.2 family (.safetensors in fp16, bf16, "
                    f"fp32 or fp8 scaled, .gguf) and of `vdit train` are listed from models/{FOLDER}. Of a model "
                    "with two experts, the high-noise file.",
                ),
                io.Combo.Input(
                    "attention",
                    options=["auto", "full", "window", "axial", "frame-causal"],
                    default="auto",
                    optional=True,
                    tooltip="What each part of the video sees. auto: what the model was trained with. full: "
                    "everything. window: its neighbourhood in time, height and width. axial: its own frame, and its "
                    "own place in every frame. frame-causal: its own frame and earlier ones. Less is quicker in "
                    "large videos, and worse unless the model was trained so.",
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
                _file_input(
                    "low_noise_file",
                    model_files(FOLDER),
                    "For Wan 2.2 models with two experts (A14B): the low-noise file, which makes the later steps. "
                    "None for every other model.",
                ),
                _file_input(
                    "vae",
                    model_files("vae"),
                    "For Wan models: the VAE, from models/vae. wan_2.1_vae for all of them but TI2V-5B, which has "
                    "wan2.2_vae; taew2_1 and taew2_2 are small, quick and rough. None where ComfyUI's own VAE nodes "
                    "are used.",
                ),
                _file_input(
                    "text_encoder",
                    model_files("text_encoders"),
                    "For Wan models: umt5-xxl (fp16 or fp8 scaled), from models/text_encoders. None where ComfyUI's "
                    "own text nodes are used.",
                ),
                _file_input(
                    "tokenizer",
                    model_files("text_encoders", TOKENIZERS),
                    "For text_encoder: its spiece.model or tokenizer.json, from models/text_encoders. None where "
                    "the text encoder's file holds it, as ComfyUI's does.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default=AUTO,
                    optional=True,
                    tooltip="For Wan models: what they compute in. auto: bfloat16 on a GPU, float32 on a CPU. "
                    "float16: for GPUs older than 2020. Matrices stay in memory as their file has them where that "
                    "is smaller.",
                ),
            ],
            outputs=[VDiTModel.Output(display_name="model", tooltip="The loaded world model.")],
        )

    @classmethod
    def execute(
        cls, file: str, attention: str = "auto", window: float = 0.5, low_noise_file: str = NONE, vae: str = NONE,
        text_encoder: str = NONE, tokenizer: str = NONE, dtype: str = AUTO,
    ) -> io.NodeOutput:  # fmt: skip
        import torch

        from ..model.files.load import load_model

        model = load_model(
            _path(file),
            _optional(FOLDER, low_noise_file),
            codec_path=_optional("vae", vae),
            text_path=_optional("text_encoders", text_encoder),
            tokenizer_path=_optional("text_encoders", tokenizer),
            dtype=None if dtype == AUTO else getattr(torch, dtype),
            preview_paths=[model_path(PREVIEWS, n) for n in model_files(PREVIEWS) if Path(n).stem in TINY_CODECS],
        )
        if attention != "auto":
            model.transformer.attention = (attention, window)
        return io.NodeOutput(model, ui=told(model.facts["loaded"]) if model.family == "wan" else None)

    @classmethod
    def fingerprint_inputs(cls, file: str, low_noise_file=NONE, vae=NONE, text_encoder=NONE, tokenizer=NONE, **other):
        try:
            paths = [_path(file), _optional(FOLDER, low_noise_file), _optional("vae", vae)]
            paths += [_optional("text_encoders", name) for name in (text_encoder, tokenizer)]
            stats = [path.stat() for path in paths if path]
        except (OSError, ValueError):
            return "missing"  # execute says what is wrong with it
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def _file_input(name: str, files: list[str], tooltip: str):
    return io.Combo.Input(name, options=[NONE, *files], default=NONE, optional=True, tooltip=tooltip)


def _optional(folder: str, file: str) -> Path | None:
    return None if file == NONE else model_path(folder, file)


def _path(file: str) -> Path:
    if file not in SHIPPED:
        return model_path(FOLDER, file)
    from ..model.files.bundle import BUNDLED as path

    return path if file == BUNDLED else path.with_name(file.removesuffix(" (bundled)") + path.suffix)
