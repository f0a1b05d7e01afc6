"""GGUF files of diffusion transformers and text encoders, as ComfyUI-GGUF writes them; only the head is read at first.

Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import io
import struct
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .data import Data
from .quantized import BLOCKS, stored_bytes
from .sources import DTYPES, Stored, check_start

VERSIONS = (2, 3)
TYPES = {  # ggml's numbers of tensor types
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of metadata
TEXT, ARRAY = 8, 9
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
MOST_DIMENSIONS = 8  # ggml has four; files with whole kernels have five
MOST_ENTRIES = 2_000_000  # of one list; the largest vocabularies have a quarter of a million words
MOST_TEXT_BYTES = 1 << 24


class _Head:
    """The fields of a file's head, one after another. Raises ValueError where they cannot be."""

    def __init__(self, file: io.BufferedReader, size: int):
        self.file, self.size = file, size

    def bytes(self, count: int) -> bytes:
        found = self.file.read(count)
        if len(found) < count:
            raise ValueError("it ends within its head")
        return found

    def number(self, kind: str) -> int:
        return struct.unpack("<" + kind, self.bytes(struct.calcsize(kind)))[0]

    def count(self, what: str, most: int = MOST_ENTRIES) -> int:
        count = self.number("Q")
        if count > min(most, self.size):
            raise ValueError(f"{count:,} {what} are promised")
        return count

    def text(self) -> str:
        return self.bytes(self.count("letters", MOST_TEXT_BYTES)).decode("utf-8")

    def value(self, kind: int) -> object:
        """One of metadata. Of arrays only short ones of numbers are kept: the others are word lists."""
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            raise ValueError(f"metadata of type {kind}")
        kind, count = self.number("I"), self.count("entries of an array")
        if kind in SCALARS and count > MOST_DIMENSIONS:
            self.file.seek(count * struct.calcsize(SCALARS[kind]), 1)
            return None
        if kind not in SCALARS and kind != TEXT:
            raise ValueError(f"an array of type {kind}")
        return [self.value(kind) for _ in range(count)]


class Gguf:
    """A GGUF file. Raises CheckpointError where its head is not whole."""

    def __init__(self, path: Path):
        check_start(path)
        self.path, self.data = path, Data([path])
        self.metadata: dict[str, str] = {}
        self.stored: dict[str, Stored] = {}
        self._place: dict[str, tuple[int, int]] = {}  # where in the file, how many bytes
        size = path.stat().st_size
        try:
            with open(path, "rb") as file:
                self._read_head(_Head(file, size), size)
        except (ValueError, OSError, OverflowError) as e:
            raise CheckpointError(
                f"{path}: not a whole GGUF file ({e}; {size:,} bytes): it is damaged or was cut short, get it again"
            ) from e
        self._restore_patch_embedding()

    def _read_head(self, head: _Head, size: int) -> None:
        if head.bytes(4) != b"GGUF" or head.number("I") not in VERSIONS:
            raise ValueError(f"only little-endian files of the versions {VERSIONS} are read")
        count, entries = head.count("tensors"), head.count("entries of metadata")
        alignment, shapes = 32, {}
        for _ in range(entries):
            key = head.text()
            value = head.value(head.number("I"))
            if key == "general.alignment" and isinstance(value, int):
                alignment = value
            if key.startswith(ORIGINAL_SHAPE) and isinstance(value, list):
                shapes[key.removeprefix(ORIGINAL_SHAPE)] = tuple(int(n) for n in value)
            elif value is not None and not isinstance(value, list):
                self.metadata[key] = str(value)
        found = []
        for _ in range(count):
            name, dimensions = head.text(), head.number("I")
            if dimensions > MOST_DIMENSIONS:
                raise ValueError(f"{name} has {dimensions} dimensions")
            sides = tuple(head.number("Q") for _ in range(dimensions))
            found.append((name, sides[::-1], head.number("I"), head.number("Q")))
        if not 0 < alignment < size or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment}")
        data = -(-head.file.tell() // alignment) * alignment
        for name, sides, kind, offset in found:
            self._add(name, sides, TYPES.get(kind, f"type {kind}"), shapes.get(name, sides), data + offset, size)

    def _add(
        self, name: str, sides: tuple[int, ...], dtype: str, shape: tuple[int, ...], start: int, size: int
    ) -> None:
        if name in self.stored:
            raise ValueError(f"{name} is in it twice")
        if prod(shape) != prod(sides) or min(shape, default=0) < 0:
            raise ValueError(f"{name} is {list(sides)}, noted as {list(shape)}")
        if dtype in BLOCKS and (not sides or sides[-1] % BLOCKS[dtype][0]):
            raise ValueError(f"{name} has rows of {sides[-1:]} values, in blocks of {BLOCKS[dtype][0]}")
        count = stored_bytes(sides, dtype)
        if (dtype in DTYPES or dtype in BLOCKS) and start + count > size:
            raise ValueError(f"{name} ends at byte {start + count:,}")
        self.stored[name] = Stored(shape, dtype)
        self._place[name] = start, count

    def _restore_patch_embedding(self) -> None:
        """GGUF knows four dimensions: without a note of the shape, the bias tells how the kernel was flattened."""
        for name, (shape, dtype) in list(self.stored.items()):
            bias = self.stored.get(name.removesuffix("weight") + "bias")
            if name.endswith("patch_embedding.weight") and bias and len(shape) != 5:
                dim = (bias.shape or (0,))[0]
                if dim and prod(shape) % (16 * dim) == 0:
                    self.stored[name] = Stored((dim, prod(shape) // (4 * dim), 1, 2, 2), dtype)

    def raw(self, name: str) -> Tensor:
        """As stored, to be kept: values in their shape, or the bytes of quantised blocks, one after another."""
        return self.data.kept(self.path, *self._form(name))

    def converted(self, name: str, dtype: torch.dtype) -> Tensor:
        """A copy in another dtype."""
        return self.data.read(self.path, *self._form(name)).to(dtype)

    def _form(self, name: str) -> tuple[int, tuple[int, ...], torch.dtype]:
        (shape, dtype), (start, count) = self.stored[name], self._place[name]
        return (start, shape, DTYPES[dtype]) if dtype in DTYPES else (start, (count,), torch.uint8)
