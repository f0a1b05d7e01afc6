"""Which files of weights belong together, and what tensors safetensors files hold, each of them as it is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError
from .data import Data

PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})(\.safetensors)$")


class Stored(NamedTuple):
    """Logical shape and dtype of a tensor in a file."""

    shape: tuple[int, ...]  # logical; a GGUF matrix is stored as rows of blocks
    dtype: str  # safetensors' word for it, or GGUF's ("Q4_K")


def check_start(path: Path) -> None:
    """CheckpointError for a missing or empty file and for a pickle."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; give a .safetensors or .gguf file, or a folder of diffusers'")
    if path.is_dir():
        return
    size = path.stat().st_size
    if not size:
        raise CheckpointError(f"{path}: the file is empty (0 bytes): its download was cut short, get it again")
    with open(path, "rb") as f:
        start = f.read(64)
    if start.startswith(PICKLES) and start[8:9] != b"{":  # a safetensors header may be 640 bytes long: 80 02 00 ...
        raise CheckpointError(
            f"{path}: this is a pickle file (.pt, .pth, .ckpt), which can run code when read, so it is not opened; "
            "get the same weights as .safetensors, or load it with ComfyUI's Load Diffusion Model, which reads nothing "
            "but tensors, and VDiT From Model behind it"
        )
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: this is a pointer of git-lfs, {size} bytes, not the weights: run `git lfs pull`, or download "
            "the file"
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path}: this is a web page, not weights: the download needs another link, or a login")


class Safetensors:
    """One file or several shards, read by name."""

    def __init__(self, files: list[Path]):
        self.stored: dict[str, Stored] = {}
        self.metadata: dict[str, str] = {}
        self._place: dict[str, tuple[Path, int]] = {}  # file, where in it
        self.data = Data(files)
        for path in files:
            check_start(path)
            header, data = _header(path)
            self.metadata.update(header.pop("__metadata__", None) or {})
            for name, entry in header.items():
                if name in self._place:
                    there = self._place[name][0].name
                    raise CheckpointError(f"{path}: {name} is in {there} too; the shards do not belong together")
                self.stored[name] = Stored(tuple(entry["shape"]), entry["dtype"])
                self._place[name] = path, data + entry["data_offsets"][0]

    def raw(self, name: str) -> Tensor:
        """As stored, to be kept."""
        return self.data.kept(*self._place[name], *self._form(name))

    def converted(self, name: str, dtype: torch.dtype) -> Tensor:
        """A copy in another dtype; memory then holds the copy only."""
        return self.data.read(*self._place[name], *self._form(name)).to(dtype)

    def _form(self, name: str) -> tuple[tuple[int, ...], torch.dtype]:
        shape, dtype = self.stored[name]
        return shape, DTYPES[dtype]


def _header(path: Path) -> tuple[dict, int]:
    """(the JSON header, the offset of the data) of a safetensors file, checked by the library for completeness."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):  # checks the header against the file; torch's would map it to be written
            pass
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            return json.loads(f.read(length)), 8 + length
    except (SafetensorError, ValueError, OSError) as e:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({e}; {path.stat().st_size:,} bytes): it is damaged or was cut "
            "short, get it again"
        ) from e


def files_of(path: Path) -> tuple[str, list[Path]]:
    """(kind, files) behind a path: a file, one of its shards, an index, or a folder that holds either.

    Raises CheckpointError when shards are missing or a folder does not say which of its files is meant.
    """
    if path.is_dir():
        if (path / "transformer").is_dir():
            return files_of(path / "transformer")
        found = sorted(path.glob("*.safetensors.index.json"))
        if len(found) == 1:
            return "sharded", _indexed(found[0])
        found = sorted(path.glob("*.safetensors")) + sorted(path.glob("*.gguf"))
        shards = [SHARD.match(f.name) for f in found]
        if all(shards) and len({shard[1] for shard in shards if shard}) == 1:
            return files_of(found[0])
        if len(found) != 1:
            there = ", ".join(f.name for f in found[:6]) or "no .safetensors or .gguf file"
            raise CheckpointError(f"{path}: the folder holds {there}; name one file, or a folder with one model in it")
        return files_of(found[0])
    if path.name.endswith(".index.json"):
        return "sharded", _indexed(path)
    shard = SHARD.match(path.name)
    if not shard:
        return ("gguf" if _is_gguf(path) else "safetensors"), [path]
    index = path.with_name(f"{shard[1]}{shard[4]}.index.json")
    if index.is_file():
        return "sharded", _indexed(index)
    wanted = [path.with_name(f"{shard[1]}-{n:05d}-of-{shard[3]}{shard[4]}") for n in range(1, int(shard[3]) + 1)]
    return "sharded", _all_there(path, wanted)


def _is_gguf(path: Path) -> bool:
    check_start(path)
    with open(path, "rb") as f:
        return f.read(4) == b"GGUF"


def _indexed(index: Path) -> list[Path]:
    check_start(index)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [n for n in names if Path(n).name != n]
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise CheckpointError(f"{index}: not an index of shards ({e}); get it again") from e
    if outside or not names:
        named = outside[0] if outside else "no files"
        raise CheckpointError(f"{index}: it names {named}; shards lie beside their index")
    return _all_there(index, [index.with_name(n) for n in names])


def _all_there(path: Path, wanted: list[Path]) -> list[Path]:
    missing = [f.name for f in wanted if not f.is_file()]
    if missing:
        raise CheckpointError(
            f"{path}: {len(missing)} of {len(wanted)} shards are missing: {', '.join(missing[:4])}; put them beside it"
        )
    return wanted
