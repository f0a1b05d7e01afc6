"""The bundle format: one safetensors file with config, transformer, codec, text encoder, object dynamics and facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...machine import parse
from ...machine.writing import written
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
from .beside import BODIES, BODIES_GATE, GATE
from .checksums import HEADER, KEY, check_card, check_tensors, checksums, header_checksum
from .families import identify
from .fill import check_names, check_varies
from .promises import asked_while_built, on_paper
from .weights import open_weights

BUNDLED = Path(__file__).resolve().parents[2] / "weights" / "vdit-small.safetensors"
FLOATS, INT8, ADDITIONS = FORMATS = 1, 2, 3  # 2: int8_rows; 3: of a student, what it adds to its teacher (student.py)
PREFIXES = {"transformer": "diffusion_model.", "codec": "codec.", "text": "text_encoder.", "dynamics": "dynamics."}
Named = Mapping[str, Tensor]
PREVIEW_MAP = PREFIXES["codec"] + "preview_map"  # optional


def save_world_model(
    model: WorldModel,
    path: str | Path,
    dtype: torch.dtype = torch.float16,
    beside: str | None = None,
    rank: int | None = None,
) -> Path:
    """Write the bundle (to a file beside it, fsync, rename), in a float dtype or quantised to torch.int8.

    beside: name of a file in the same folder, from which all parts but the transformer are read: they are left out.
    rank: of a student, store only the difference from the transformer of model.teacher (the file `beside`), in factors
    of this rank. Raises CheckpointError for weights that are not finite, ValueError for a difference of higher rank.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if not isinstance(model.codec, TinyCodec) or not isinstance(model.text, WordEncoder):
        raise CheckpointError(f"{path}: {model.title} cannot be saved as a bundle; only models of VDiT's own can")
    int8, base = dtype == torch.int8, model if rank is None else model.teacher
    parts = {part: module.state_dict() for part, module in model.parts.items() if part == "transformer" or not beside}
    if base is None:
        raise ValueError(
            f"{path}: a rank of {rank} is given, but the model has no teacher to store the difference from"
        )
    if rank is not None:
        start = from_teacher(_vdit(base), model.config.layers).state_dict()
        parts["transformer"] = added(parts["transformer"], start, rank)
    tensors = {
        PREFIXES[part] + name: value.detach().cpu().to(torch.float32 if int8 else dtype).contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    _check_finite(path, tensors)
    header = {
        "format": ADDITIONS if rank is not None else INT8 if int8 else FLOATS,
        "transformer": asdict(model.config),
        "codec": asdict(model.codec.config),
        "text": {"vocabulary": model.text.vocabulary, "max_words": model.text.max_words},
        "defaults": model.defaults,
        "facts": model.facts,
    }
    if model.dynamics is not None:
        header["dynamics"] = asdict(model.dynamics.config)
    if beside is not None:
        header["beside"] = {"file": beside, "parts": _digest(base, rank is not None), "rank": rank}
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = quantise_rows(tensors) if int8 else tensors
    header[KEY] = {**checksums(stored), HEADER: header_checksum(json.loads(json.dumps(header)))}
    with written(path) as partial:
        save_file(stored, partial, metadata={"vdit": json.dumps(header)})
    return path


def load_world_model(
    path: str | Path = BUNDLED, device: str | torch.device = "cpu", check: Callable[[], None] = lambda: None
) -> WorldModel:
    """Read a bundle, in float32, and the networks of beside.py that lie beside it; a student has its teacher's.

    check: called between its parts, may raise to cancel. Raises CheckpointError naming the file, what was found and
    what is expected.
    """
    path = Path(path)
    header, stored, tensors = _read(path, check)
    rank = header.get("beside", {}).get("rank")
    teacher = _teacher(path, header["beside"], device, check) if "beside" in header else None
    try:
        if rank is None:  # the model's own sizes count: they must be those of the file before memory is taken for them
            with on_paper(len(tensors), check):
                planned = _model(header, teacher, None, tensors)
            check()
            _check_shapes(path, tensors, _own_parts(planned, teacher), None)
        elif teacher is None or header["transformer"]["layers"] > teacher.config.layers:
            raise ValueError(f"it has {header['transformer']['layers']} layers, more than its teacher")
        with asked_while_built(check):
            model = _model(header, teacher, rank, tensors)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as e:
        raise CheckpointError(f"{path}: its VDiT header cannot be used ({e}); get the file again") from e
    if teacher is None:
        model.gate, model.bodies, model.bodies_gate = GATE.of(path), BODIES.of(path), BODIES_GATE.of(path)
    own = _own_parts(model, teacher)
    check()
    weights = _check_shapes(path, tensors, own, rank)
    check_tensors(path, header, stored, check)
    for part, module in own.items():
        check()
        prefix = PREFIXES[part]
        found = {k[len(prefix) :]: v.float() for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(found if rank is None else with_added(weights[part], found))
    for module in model.parts.values():
        module.requires_grad_(False).eval().to(device)
    return model


def _model(header: dict[str, Any], teacher: WorldModel | None, rank: int | None, tensors: Named) -> WorldModel:
    """The model that a header describes, without the file's weights. Raises what wrong headers make its parts raise."""
    config = VDiTConfig(**header["transformer"])
    if teacher is None or rank is None:
        transformer = VDiT(config)
    else:
        transformer = from_teacher(_vdit(teacher), config.layers)
    if transformer.config != config:
        raise ValueError("its sizes are not those of its teacher")
    defaults, facts = {**DEFAULTS, **header["defaults"]}, header["facts"]
    if teacher is not None:
        shared = teacher.codec, teacher.text, defaults, facts
        model = WorldModel(config, transformer, *shared, dynamics=teacher.dynamics, teacher=teacher)
        model.gate, model.bodies, model.bodies_gate = teacher.gate, teacher.bodies, teacher.bodies_gate
        return model
    codec = TinyCodec(TinyCodecConfig.from_header(header["codec"]), preview_map=PREVIEW_MAP in tensors)
    text = WordEncoder(**header["text"], dim=config.text_dim)
    dynamics = ObjectDynamics(DynamicsConfig(**header["dynamics"])) if "dynamics" in header else None
    return WorldModel(config, transformer, codec, text, defaults, facts, dynamics=dynamics)


def _own_parts(model: WorldModel, teacher: WorldModel | None) -> Mapping[str, nn.Module]:
    """The parts whose weights lie in the bundle itself."""
    return model.parts if teacher is None else {"transformer": model.transformer}


def _check_shapes(path: Path, tensors: Named, own: Mapping[str, nn.Module], rank: int | None) -> dict[str, dict]:
    """The parts' state dicts. Raises CheckpointError unless the file has just the tensors that they need."""
    weights = {part: module.state_dict() for part, module in own.items()}
    if rank is None:
        wanted = {part: {name: tuple(v.shape) for name, v in values.items()} for part, values in weights.items()}
    else:
        wanted = {"transformer": additions(weights["transformer"], rank)}
    shapes = {PREFIXES[part] + name: shape for part, named in wanted.items() for name, shape in named.items()}
    check_names(path, {name: tuple(v.shape) for name, v in tensors.items()}, shapes, "the model of its header")
    return weights


def _vdit(model: WorldModel) -> VDiT:
    """The transformer of a bundle's model, which is always a VDiT."""
    return cast(VDiT, model.transformer)


def teacher_of(path: Path, reference: Mapping[str, Any]) -> Path:
    """The file that a student's header names in its entry `beside`. Raises CheckpointError where it is missing."""
    other = path.with_name(Path(reference["file"]).name)
    if not other.is_file():
        raise CheckpointError(
            f"{path}: it is a student and takes codec and words from {other.name}, which must lie beside it"
        )
    return other


def _teacher(
    path: Path, reference: dict[str, Any], device: str | torch.device, check: Callable[[], None]
) -> WorldModel:
    """The model whose parts a bundle shares; reference: the header's entry `beside`."""
    try:
        other = teacher_of(path, reference)
        parts, rank = reference["parts"], reference.get("rank")
        if rank is not None and (type(rank) is not int or rank < 1):
            raise ValueError(f"rank {rank!r}")
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: what it says of its teacher cannot be used ({e}); get the file again") from e
    if "beside" in header_of(other, open_weights(other).metadata):
        raise CheckpointError(f"{path}: {other.name} beside it is a student too, not its teacher; get both files again")
    model = load_world_model(other, device, check)
    check()
    if _digest(model, rank is not None) != parts:
        raise CheckpointError(f"{path}: {other.name} beside it is another release; get both files of one release")
    return model


def _digest(model: WorldModel, whole: bool = False) -> str:
    """Hash of the weights in float16: of all parts if `whole`, else of all but the transformer."""
    digest = hashlib.sha256()
    for part, module in model.parts.items():
        for name, value in module.state_dict().items() if whole or part != "transformer" else ():
            digest.update(f"{part}.{name}".encode() + value.half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, check: Callable[[], None]) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """(header, tensors as stored, their values)."""
    weights = open_weights(path)
    if "vdit" not in weights.metadata:
        title = identify(weights.shapes, weights.metadata).title
        raise CheckpointError(f"{path}: this is {title}; only bundles of VDiT's own are read here")
    header = header_of(path, weights.metadata)
    if header.get("format") not in FORMATS:
        raise CheckpointError(
            f"{path}: bundle format {header.get('format')!r}; this version reads {FORMATS}: update the pack"
        )
    stored = weights.everything()
    check()
    check_card(path)
    check()
    try:
        tensors = dequantise_rows(stored)
    except (KeyError, RuntimeError) as e:
        raise CheckpointError(f"{path}: a matrix in 8 bits has no scales that fit ({e}); get the file again") from e
    check()
    _check_finite(path, tensors)
    check()
    if header["format"] != ADDITIONS:  # a student may still be its teacher
        check_varies(path, tensors)
    return header, stored, tensors


def header_of(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The VDiT header, a JSON object. Raises CheckpointError."""
    try:
        header = parse.json_value(metadata["vdit"])
        parse.check(header, {"!": dict})
        header = cast("dict[str, Any]", header)
        parse.check(header, {"beside!": dict} if "beside" in header else {})
    except (KeyError, parse.Unreadable) as e:
        raise CheckpointError(f"{path}: its VDiT header cannot be used ({e}); get the file again") from e
    return header


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    bad = [n for n, v in tensors.items() if not torch.isfinite(v).all()]
    if bad:
        raise CheckpointError(
            f"{path}: NaN or infinite values in {len(bad)} tensors, first {bad[0]}; get the file again"
        )
