"""The bundle format: one safetensors file with config, transformer, codec, text encoder, object dynamics and facts."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..codec.tiny import TinyCodec, TinyCodecConfig
from ..config import VDiTConfig
from ..defaults import DEFAULTS
from ..errors import CheckpointError
from ..int8_rows import dequantise_rows, quantise_rows
from ..object_dynamics import DynamicsConfig, ObjectDynamics
from ..student import added, additions, from_teacher, with_added
from ..text import WordEncoder
from ..vdit import VDiT
from ..world_model import WorldModel
from .families import identify
from .weights import open_weights

BUNDLED = Path(__file__).resolve().parents[2] / "weights" / "vdit-small.safetensors"
FORMATS = (
    1,
    2,
    3,
)  # 2: large matrices in 8 bits, see int8_rows; 3: of a student what it adds to its teacher, see student
PREFIXES = {"transformer": "diffusion_model.", "codec": "codec.", "text": "text_encoder.", "dynamics": "dynamics."}
PREVIEW_MAP = PREFIXES["codec"] + "preview_map"  # optional


def save_world_model(
    model: WorldModel, path: str | Path, dtype: torch.dtype = torch.float16, beside: str | None = None, rank: int | None = None
) -> Path:  # fmt: skip
    """Write the bundle (beside, fsync, rename), in a float type or torch.int8: a byte a weight, quantised as in int8_rows.

    beside: a file in the same folder, of a student's teacher, from which all parts but the transformer are to be read; rank:
    of the transformer, too, only what it adds to model.teacher's, in so many ranks. Raises CheckpointError when a weight is not
    finite, ValueError when it adds more.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if not isinstance(model.codec, TinyCodec) or not isinstance(model.text, WordEncoder):
        raise CheckpointError(f"{path}: {model.title} cannot be saved as a bundle; only models of VDiT's own can")
    short = dtype == torch.int8
    weights = {
        part: module.state_dict() for part, module in model.parts.items() if part == "transformer" or beside is None
    }
    if rank is not None:
        base = from_teacher(model.teacher.transformer, model.config.layers).state_dict()
        weights["transformer"] = added(weights["transformer"], base, rank)
    tensors = {
        PREFIXES[part] + name: value.detach().cpu().to(torch.float32 if short else dtype).contiguous()
        for part, values in weights.items()
        for name, value in values.items()
    }
    _check_finite(path, tensors)
    tensors = quantise_rows(tensors) if short else tensors
    header = {
        "format": 3 if rank is not None else FORMATS[short],
        "transformer": asdict(model.config),
        "codec": asdict(model.codec.config),
        "text": {"vocabulary": model.text.vocabulary, "max_words": model.text.max_words},
        "defaults": model.defaults,
        "facts": model.facts,
    }
    if model.dynamics is not None:
        header["dynamics"] = asdict(model.dynamics.config)
    if beside is not None:
        whole = rank is not None
        header["beside"] = {"file": beside, "parts": _digest(model.teacher if whole else model, whole), "rank": rank}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"vdit": json.dumps(header)})
    with open(partial, "rb+") as f:
        os.fsync(f.fileno())
    partial.replace(path)
    return path


def load_world_model(path: str | Path = BUNDLED, device: str | torch.device = "cpu") -> WorldModel:
    """Read a bundle, in float32. Raises CheckpointError naming the file, what was found and what is expected."""
    path = Path(path)
    header, tensors = _read(path)
    rank = header.get("beside", {}).get("rank")
    other = _beside(path, header["beside"], device) if "beside" in header else None
    try:
        config = VDiTConfig(**header["transformer"])
        parts = other.parts if other is not None else {
            "codec": TinyCodec(TinyCodecConfig.from_header(header["codec"]), preview_map=PREVIEW_MAP in tensors),
            "text": WordEncoder(**header["text"], dim=config.text_dim),
            "dynamics": ObjectDynamics(DynamicsConfig(**header["dynamics"])) if "dynamics" in header else None,
        }  # fmt: skip
        parts = {
            **parts,
            "transformer": VDiT(config) if rank is None else from_teacher(other.transformer, config.layers),
        }
        if parts["transformer"].config != config:
            raise ValueError("its sizes are not those of its teacher")
        defaults = {**DEFAULTS, **header["defaults"]}
        model = WorldModel(config, defaults=defaults, facts=header["facts"], teacher=other, **parts)
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: its VDiT header cannot be used ({e}); get the file again") from e
    _check_finite(path, tensors)
    own = model.parts if other is None else {"transformer": model.transformer}
    weights = {part: module.state_dict() for part, module in own.items()}
    if rank is None:
        wanted = {part: {name: tuple(v.shape) for name, v in values.items()} for part, values in weights.items()}
    else:
        wanted = {"transformer": additions(weights["transformer"], rank)}
    _check_names(
        path, tensors, {PREFIXES[part] + name: shape for part, named in wanted.items() for name, shape in named.items()}
    )
    for part, module in own.items():
        prefix = PREFIXES[part]
        found = {k[len(prefix) :]: v.float() for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(found if rank is None else with_added(weights[part], found))
    for module in model.parts.values():
        module.requires_grad_(False).eval().to(device)
    return model


def _beside(path: Path, said: dict, device: str | torch.device) -> WorldModel:
    """The model from which a bundle takes what it does not hold itself."""
    other = path.with_name(Path(said["file"]).name)
    if not other.is_file():
        raise CheckpointError(
            f"{path}: it is a student and takes codec and words from {other.name}, which must lie beside it"
        )
    model = load_world_model(other, device)
    if _digest(model, said.get("rank") is not None) != said["parts"]:
        raise CheckpointError(f"{path}: {other.name} beside it is another release; get both files of one release")
    return model


def _digest(model: WorldModel, whole: bool = False) -> str:
    """Of all parts but the transformer, or of the whole, as files hold them."""
    digest = hashlib.sha256()
    for part, module in model.parts.items():
        for name, value in module.state_dict().items() if whole or part != "transformer" else ():
            digest.update(f"{part}.{name}".encode() + value.half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    weights = open_weights(path)
    meta = weights.metadata.get("vdit")
    if meta is None:
        title = identify(weights.shapes, weights.metadata).title
        raise CheckpointError(f"{path}: this is {title}; only bundles of VDiT's own are read here")
    try:
        header = json.loads(meta)
    except json.JSONDecodeError as e:
        raise CheckpointError(f"{path}: its VDiT header cannot be used ({e}); get the file again") from e
    if header.get("format") not in FORMATS:
        raise CheckpointError(
            f"{path}: bundle format {header.get('format')!r}; this version reads {FORMATS}: update the pack"
        )
    try:
        return header, dequantise_rows(weights.everything())
    except (KeyError, RuntimeError) as e:
        raise CheckpointError(f"{path}: a matrix in 8 bits has no scales that fit ({e}); get the file again") from e


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    bad = [n for n, v in tensors.items() if not torch.isfinite(v).all()]
    if bad:
        raise CheckpointError(
            f"{path}: NaN or infinite values in {len(bad)} tensors, first {bad[0]}; get the file again"
        )


def _check_names(path: Path, found: dict[str, Tensor], wanted: dict[str, tuple[int, ...]]) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        parts = [f"{len(names)} {what} tensors (first {names[0]})" for what, names in
                 (("missing", missing), ("unexpected", extra)) if names]  # fmt: skip
        raise CheckpointError(f"{path}: {' and '.join(parts)}; the file does not hold what its header says")
    for name, value in found.items():
        if tuple(value.shape) != wanted[name]:
            raise CheckpointError(f"{path}: {name} has shape {tuple(value.shape)}, its header says {wanted[name]}")
