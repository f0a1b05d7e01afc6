"""A picture gate's file: it lies beside its model's bundle, whose name it has, followed by -gate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from ...machine.writing import written
from ..errors import CheckpointError
from ..picture_gate import GateConfig, PictureGate
from .fill import check_names
from .weights import open_weights

HEADER, FORMAT = "vdit_gate", 1


def gate_path(bundle: Path) -> Path:
    """The file in which the gate of a bundle is looked for."""
    return bundle.with_name(f"{bundle.stem}-gate.safetensors")


def save_gate(gate: PictureGate, path: Path, facts: dict[str, object]) -> Path:
    """Write the gate in float16, to a file beside it first; facts: how it was trained."""
    from safetensors.torch import save_file

    header = {"format": FORMAT, "widths": asdict(gate.config)["widths"], "facts": facts}
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in gate.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial:
        save_file(tensors, partial, metadata={HEADER: json.dumps(header)})
    return path


def load_gate(path: Path) -> PictureGate:
    """Read a gate, in float32. Raises CheckpointError naming the file, what was found and what is expected."""
    weights = open_weights(path)
    try:
        header = json.loads(weights.metadata[HEADER])
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: gate format {header['format']!r}; this version reads {FORMAT}: update the pack"
            )
        gate = PictureGate(GateConfig(tuple(header["widths"])))
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: it is no picture gate ({e!r}); get the file again, or remove it") from e
    wanted = {name: tuple(value.shape) for name, value in gate.state_dict().items()}
    tensors = {name: value.float() for name, value in weights.everything().items()}
    check_names(path, {name: tuple(value.shape) for name, value in tensors.items()}, wanted, "the gate of its header")
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(f"{path}: NaN or infinite values in {bad[0]}; get the file again")
    gate.load_state_dict(tensors)
    return gate.requires_grad_(False).eval()
