"""Load Model: the bundled world model, or files of the Wan family from ComfyUI's model folders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .comfy import check_interrupted, file_marks, io, model_files, model_path, verdict
from .gpus import MOST_GPUS, with_gpus
from .types import VDiTModel, node_schema, reported, shown

if TYPE_CHECKING:
    from ..model.causal import Told
    from ..model.files.data import State

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
CAUSAL = (AUTO, "off", "blocks of 1", "blocks of 3")  # as in model.causal
UNTOLD = {  # by the family; the bundled models' figures: bench/causal_student.py
    "vdit": "was trained to make all frames at once. Block by block, videos with a predicted or given motion "
    "are as good, others are about 1 dB further from the truth. Set causal to off for its own way",
    "wan": "was not trained to make a video block by block, as far as its file says: expect it to drift, or to fall "
    "apart after a few blocks. Set causal to off for its own way",
}

ATTENTION = (
    "full: to everything. window: to its neighbourhood in time, height and width. axial: to its own frame, and to its "
    "own place in every frame. frame-causal: to its own frame and earlier ones."
)
WINDOW = (
    "For window: its sides as a share of the video's length, height and width, 0.05 to 1. The work grows with the "
    "cube: 0.5 is about an eighth of full attention."
)
TOOLTIPS = {
    "file": "The world model. The bundled ones need no download and make 128x128 clips of 5 seconds at 8 frames per "
    "second. The students are distilled from vdit-small for VDiT Distill Preview; lite has half the layers, for weaker "
    "machines. Files of the Wan 2.1 and 2.2 family (.safetensors in fp16, bf16, fp32 or fp8 scaled, .gguf) and of "
    f"`vdit train` are listed from models/{FOLDER}. Of a model with two experts, the high-noise file.",
    "attention": "What each part of the video attends to. auto: what the model was trained with. "
    f"{ATTENTION} Sparse patterns are faster in large videos, and worse unless the model was trained with them.",
    "window": WINDOW,
    "low_noise_file": "For Wan 2.2 models with two experts (A14B): the low-noise file, which makes the later steps. "
    "None for every other model.",
    "vae": "For Wan models: the VAE, from models/vae. wan_2.1_vae for all of them but TI2V-5B, which has wan2.2_vae; "
    "taew2_1 and taew2_2 are small, fast and rough. None where ComfyUI's own VAE nodes are used.",
    "text_encoder": "For Wan models: umt5-xxl (fp16 or fp8 scaled), from models/text_encoders. None where ComfyUI's "
    "own text nodes are used.",
    "tokenizer": "For text_encoder: its spiece.model or tokenizer.json, from models/text_encoders. None where the text "
    "encoder's file holds it, as ComfyUI's does.",
    "dtype": "For Wan models: what they compute in. auto: bfloat16 on a GPU, float32 on a CPU. float16: for GPUs older "
    "than 2020. Matrices stay in memory as their file has them where that is smaller.",
    "causal": "How a video is made. auto: all frames at once, unless the file's header or name says that it is a "
    "causal student (Causal Forcing, Self-Forcing, Krea realtime, RealWonder). off: all frames at once. blocks of 1 or "
    "3: block by block, of so many latent frames (4 frames each), and each is shown when it is made; what the student "
    "was trained with (framewise or chunkwise). Other models drift when they are sampled so.",
    "causal_window": "For causal models: how many latent frames a block sees, itself included, 2 to 256. More takes "
    "more memory; 21, five seconds, is what most were trained with.",
    "causal_sink": "For causal models: how many of the window's frames are always the first of the video, 0 to 64. "
    "They keep a long video from drifting away; videos within the window do not need them.",
    "gpus": "How many of this machine's GPUs make each video together, 1 to 8. Each keeps a copy of the transformer "
    "and computes some rows of the picture. Worth it for large videos, on GPUs of one kind. Causal models, KSampler "
    "and VDiT Live use one.",
    "-> model": "The loaded world model.",
}


class VDiTLoadModel(io.ComfyNode):
    """Loads a video world model: a bundled one, all parts in one file, or one of the Wan 2.1 and 2.2 family with the
    files that belong to it. The kind of a file is read from its tensors.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        models, texts = model_files(FOLDER), model_files("text_encoders")
        attention = [AUTO, "full", "window", "axial", "frame-causal"]
        inputs = [
            io.Combo.Input("file", options=[*SHIPPED, *models], default=BUNDLED),
            io.Combo.Input("attention", options=attention, default=AUTO, optional=True),
            io.Float.Input("window", default=0.5, min=0.05, max=1.0, step=0.05, optional=True),
            _file_input("low_noise_file", models),
            _file_input("vae", model_files("vae")),
            _file_input("text_encoder", texts),
            _file_input("tokenizer", model_files("text_encoders", TOKENIZERS)),
            io.Combo.Input("dtype", options=list(DTYPES), default=AUTO, optional=True),
            io.Combo.Input("causal", options=list(CAUSAL), default=AUTO, optional=True),
            io.Int.Input("causal_window", default=21, min=2, max=256, optional=True),
            io.Int.Input("causal_sink", default=1, min=0, max=64, optional=True),
            io.Int.Input("gpus", default=1, min=1, max=MOST_GPUS, optional=True),
        ]
        return node_schema(cls, "VDiT Load Model", inputs, {"model": VDiTModel}, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, window: float | None = None) -> bool | str:
        return verdict(cls, window=window)

    @classmethod
    def execute(
        cls,
        file: str,
        attention: str = AUTO,
        window: float = 0.5,
        low_noise_file: str = NONE,
        vae: str = NONE,
        text_encoder: str = NONE,
        tokenizer: str = NONE,
        dtype: str = AUTO,
        causal: str = AUTO,
        causal_window: int = 21,
        causal_sink: int = 1,
        gpus: int = 1,
    ) -> io.NodeOutput:
        import torch

        from ..model.causal import said, with_causal
        from ..model.files.load import load_model

        path = _path(file)
        model = load_model(
            path,
            _optional(FOLDER, low_noise_file),
            codec_path=_optional("vae", vae),
            text_path=_optional("text_encoders", text_encoder),
            tokenizer_path=_optional("text_encoders", tokenizer),
            dtype=None if dtype == AUTO else getattr(torch, dtype),
            check=check_interrupted,
            preview_paths=[model_path(PREVIEWS, n) for n in model_files(PREVIEWS) if Path(n).stem in TINY_CODECS],
        )
        if attention != AUTO:
            model.transformer.attention = (attention, window)
        told = told_of(path)
        model = with_gpus(with_causal(model, told, causal, causal_window, causal_sink), gpus)
        lines = [*(model.facts["loaded"] if model.family != "vdit" else [])]
        untold = model.causal is not None and not model.causal.told
        remarks = [f"{model.title} {UNTOLD['vdit' if model.family == 'vdit' else 'wan']}"] if untold else []
        if model.causal is not None:
            lines.append(said(model.causal, told))
        if model.gpus > 1:
            lines.append(f"{model.gpus} GPUs make each video together")
        messages = (reported(lines) or {}) | (shown("VDiT Load Model", remarks) or {})
        return io.NodeOutput(model, ui=messages or None)

    @classmethod
    def fingerprint_inputs(
        cls,
        file: str,
        low_noise_file: str = NONE,
        vae: str = NONE,
        text_encoder: str = NONE,
        tokenizer: str = NONE,
        **other: object,
    ):
        def paths() -> list[Path]:
            from ..model.files.beside import ALL

            model, *others = files_of(file, low_noise_file, vae, text_encoder, tokenizer)
            return [model, *filter(None, others), *(p for kind in ALL if (p := kind.found(model)))]

        return file_marks(paths)


def told_of(path: Path) -> Told:
    """What a file says of itself: whether it is a causal student. One that has not changed is not read again."""
    from ..model.files.data import State

    return _told(path, State.of(path))


@lru_cache(maxsize=16)
def _told(path: Path, state: State) -> Told:
    from ..model.causal import told_by
    from ..model.files.weights import open_weights

    return told_by(path.stem, open_weights(path).metadata)


def files_of(
    file: str, low_noise_file: str, vae: str, text_encoder: str, tokenizer: str
) -> tuple[Path, Path | None, Path | None, Path | None, Path | None]:
    """The files behind the widgets, in their order. Raises FileNotFoundError; ValueError for names that lead out."""
    words, tokens = (_optional("text_encoders", name) for name in (text_encoder, tokenizer))
    return _path(file), _optional(FOLDER, low_noise_file), _optional("vae", vae), words, tokens


def _file_input(name: str, files: list[str]) -> io.WidgetInput:
    return io.Combo.Input(name, options=[NONE, *files], default=NONE, optional=True)


def _optional(folder: str, file: str) -> Path | None:
    return None if file == NONE else model_path(folder, file)


def _path(file: str) -> Path:
    if file not in SHIPPED:
        return model_path(FOLDER, file)
    from ..model.files import bundle

    return bundle.BUNDLED.with_stem(file.removesuffix(" (bundled)")) if file != BUNDLED else bundle.BUNDLED
