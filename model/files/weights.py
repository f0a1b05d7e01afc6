"""WeightFile: the tensors of a model file under their native names, whatever the file's layout; headers first."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from . import quantized
from .gguf import Gguf
from .names import is_diffusers, native_name, prefix_of
from .sources import DTYPES, Safetensors, Stored, files_of

# Beside a layer's weight in quantised files, in the old layout and in ComfyUI's newer one. Input scales serve
# products in fp8 only; here weights become the activations' type, so they have no use.
SCALES = (".scale_weight", ".weight_scale")
UNUSED = (".scale_input", ".input_scale", ".comfy_quant", ".weight_scale_2")
MARKER = "scaled_fp8"
FP8 = ("F8_E4M3", "F8_E5M2")
FLOATS = ("F64", "F32", "F16", "BF16", *FP8)
LOSSY = "fp8 without scales"  # a plain cast, as merges and older files are
INT8 = "int8 scaled"  # ComfyUI's int8_tensorwise, unless its rows are rotated
OTHERS = "use the fp8 scaled file of the same model, fp16, bf16, or GGUF, for example Q8_0 or Q4_K_M"
NATIVE = (
    "ComfyUI's own loaders read it: Load Diffusion Model with VDiT From Model behind it (for a text encoder Load CLIP "
    "with CLIP Text Encode)"
)
FORMS = {  # ComfyUI's formats that only its own loaders read -> their names
    "nvfp4": "in 4 bits (nvfp4)",
    "mxfp8": "in 8 bits with a scale for each 32 values (mxfp8)",
    "int8 convrot": "in 8 bits, rotated (int8 convrot)",
    "convrot_w4a4": "in 4 bits, rotated (convrot_w4a4)",
    "asym_w4a8_int8": "in 4 bits, rotated (asym_w4a8_int8)",
}
AnyModule = TypeVar("AnyModule", bound=nn.Module)
GGUF_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 21: "Q2_K_S", 32: "BF16",
}  # fmt: skip


@dataclass
class WeightFile:
    """Tensors by native name. Only the header has been read; data is, when a tensor is asked for."""

    path: Path
    kind: str  # "safetensors", "sharded", "diffusers", "gguf"
    prefix: str  # in front of the names in the file, left out here
    quantisation: str | None  # None, "fp8 scaled", "fp8 without scales", "int8 scaled", "nvfp4", ..., "gguf Q4_K_M"
    stored: dict[str, Stored]
    metadata: dict[str, str]
    _source: Safetensors | Gguf
    beside: tuple[str, ...] = ()  # names outside the prefix, which belong to other models in the file
    scales: dict[str, str] = field(default_factory=dict)  # weight -> name of its scale in the file
    _names: dict[str, str] = field(default_factory=dict)  # native name -> name in the file

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Logical shapes by native name."""
        return {name: s.shape for name, s in self.stored.items()}

    @property
    def dtypes(self) -> dict[str, str]:
        """Stored dtypes by native name."""
        return {name: s.dtype for name, s in self.stored.items()}

    @property
    def parameters(self) -> int:
        """Number of values."""
        return sum(prod(s.shape) for s in self.stored.values())

    @property
    def bytes(self) -> int:
        """Size of all tensors in the file."""
        return sum(quantized.stored_bytes(s.shape, s.dtype) for s in self.stored.values())

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """As stored (fp8 without its scale, GGUF matrices as bytes). With a dtype: its values in it."""
        dtype_now = self.stored[name].dtype
        if dtype is None or (DTYPES.get(dtype_now) == dtype and name not in self.scales):
            return self._source.raw(self._names[name])
        if dtype_now in DTYPES and name not in self.scales:
            return self._source.converted(self._names[name], dtype)
        return quantized.decode(self.tensor(name), dtype_now, self.stored[name].shape, self.scale(name), dtype)

    def guarded(self, module: AnyModule) -> AnyModule:
        """The module that holds this file's tensors; where they are mapped, each forward asks for the file first."""
        if guard := self._source.data.guard:
            module.register_forward_pre_hook(guard)
        return module

    def everything(self) -> dict[str, Tensor]:
        """All tensors by their names in the file, as stored: of bundles, which hold several models."""
        return {name: self._source.raw(name) for name in self._source.stored}

    def scale(self, name: str) -> Tensor | None:
        """What an fp8 or int8 weight is multiplied by, float32: [] or, by row, [out]; None where it has none."""
        if name not in self.scales:
            return None
        scale = self._source.raw(self.scales[name]).float()
        return scale.reshape(() if scale.numel() == 1 else -1)

    def check_readable(self) -> None:
        """CheckpointError for tensors that cannot be turned into numbers here: an unknown dtype, or scales that do not
        fit it. From the header alone; who inspects a file and who loads it both ask here.
        """
        if self.kind != "gguf" and self.quantisation not in (None, "fp8 scaled", INT8, LOSSY):
            form = self.quantisation or ""
            raise CheckpointError(
                f"{self.path}: its matrices are {FORMS.get(form, form)}, which is not read here. {NATIVE}; or {OTHERS}"
            )
        scaled = bool(self.scales) or any(name.endswith(MARKER) for name in self._names)
        for name, (shape, dtype) in self.stored.items():
            numbers = dtype not in DTYPES or name.endswith((".weight", ".bias"))  # not a tokenizer's bytes
            scaled_int8 = dtype == "I8" and name in self.scales and self.quantisation == INT8
            if numbers and not scaled_int8 and dtype not in (*FLOATS, *quantized.BLOCKS):
                raise CheckpointError(
                    f"{self.path}: {name} is {dtype}, which is not read here; {OTHERS} ({', '.join(quantized.BLOCKS)})"
                )
            if dtype in FP8 and scaled and name not in self.scales:
                raise CheckpointError(
                    f"{self.path}: it is an fp8 file with scales, and brings no scale for {name}: without it the "
                    f"numbers are wrong by a factor; get it again, or {OTHERS}"
                )
            scale = self._source.stored[self.scales[name]].shape if name in self.scales else ()
            if prod(scale) not in (1, *shape[:1]):
                raise CheckpointError(
                    f"{self.path}: the scale of {name} has shape {scale}; one number for the matrix or one for each "
                    f"of its {shape[0]} rows is read; {OTHERS}"
                )

    @property
    def remarks(self) -> list[str]:
        """What its user should know about the numbers in it."""
        if self.quantisation != LOSSY:
            return []
        return [f"{self.path.name} is fp8 without scales: its smallest weights are lost, expect less detail"]


def open_weights(path: str | Path, role: str = "transformer") -> WeightFile:
    """Any file or folder of weights, by its header alone. CheckpointError says what it is and what would do.

    role: which part of a merged file is wanted, a key of names.ANCHORS.
    """
    path = Path(path)
    kind, files = files_of(path)
    source = Gguf(files[0]) if kind == "gguf" else Safetensors(files)
    prefix = "" if "vdit" in source.metadata else prefix_of(source.stored, role)
    inside = {name.removeprefix(prefix): name for name in source.stored if name.startswith(prefix)}
    beside = tuple(name for name in source.stored if not name.startswith(prefix))
    scales = {base + ".weight": name for short, name in inside.items() for base in [_base(short, SCALES)] if base}
    notes = {short for short in inside if short == MARKER or _base(short, SCALES + UNUSED)}
    stored = {short: source.stored[name] for short, name in inside.items() if short not in notes}
    weights = WeightFile(path, kind, prefix, None, stored, source.metadata, source, beside, scales, inside)
    weights.quantisation = _quantisation(weights, source)
    if is_diffusers(stored):
        weights.kind = "diffusers" if kind != "gguf" else kind
        weights.stored = {native_name(name): s for name, s in stored.items()}
        weights.scales = {native_name(name): s for name, s in scales.items()}
        weights._names = {native_name(name): s for name, s in inside.items()}
    return weights


def _base(name: str, endings: tuple[str, ...]) -> str:
    return next((name.removesuffix(e) for e in endings if name.endswith(e)), "")


def _quantisation(weights: WeightFile, source: Safetensors | Gguf) -> str | None:
    if weights.kind == "gguf":
        return "gguf " + _gguf_type(weights)
    formats = _comfy_formats(weights, source)
    strange = sorted(f for f in formats if not f.startswith("float8_") and f != INT8)
    if strange:
        return strange[0]
    if INT8 in formats:
        return INT8
    if any(name.endswith(".weight_scale_2") for name in source.stored):
        return "nvfp4"
    fp8 = [name for name, s in weights.stored.items() if s.dtype in FP8]
    if not fp8:
        return None
    return "fp8 scaled" if weights.scales else LOSSY


def _comfy_formats(weights: WeightFile, source: Safetensors | Gguf) -> set[str]:
    """Formats that ComfyUI's newer layout notes for each layer: in a tensor of JSON bytes, or in the header."""
    found = set()
    try:
        for name in source.stored:
            if name.endswith(".comfy_quant"):
                found.add(_form(json.loads(bytes(source.raw(name).tolist()))))
        noted = json.loads(weights.metadata.get("_quantization_metadata", "{}")).get("layers", {})
        found.update(_form(layer) for layer in noted.values())
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise CheckpointError(f"{weights.path}: its notes on quantisation cannot be read ({e!r}); get it again") from e
    return found


def _form(note: dict[str, Any]) -> str:
    """The format of a layer, from what ComfyUI notes of it: int8 comes plain, or with rotated rows."""
    form, rotated = str(note["format"]), note.get("convrot") or note.get("params", {}).get("convrot")
    if form == "int8_tensorwise":
        return "int8 convrot" if rotated else INT8
    return form


def _gguf_type(weights: WeightFile) -> str:
    """As the file says, else the type of most of its values."""
    noted = weights.metadata.get("general.file_type", "")
    if noted.isascii() and noted.isdigit() and len(noted) < 9 and int(noted) in GGUF_FILE_TYPES:
        return GGUF_FILE_TYPES[int(noted)]
    count = Counter()
    for s in weights.stored.values():
        count[s.dtype] += prod(s.shape)
    return count.most_common(1)[0][0] if count else "empty"
