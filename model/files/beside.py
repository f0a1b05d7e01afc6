"""Networks in files of their own beside a model's bundle, whose name they have, followed by -gate, -bodies or
-bodies-gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from ...machine.writing import written
from ..errors import CheckpointError
from ..int8_rows import dequantise_rows, quantise_rows
from ..perception import BodyPerception, PerceptionConfig
from ..picture_gate import GateConfig, PictureGate
from .fill import check_names
from .weights import open_weights

FORMAT = 1
Network = TypeVar("Network", PictureGate, BodyPerception)


@dataclass(frozen=True)
class Beside(Generic[Network]):
    """A kind of such files. header: their metadata's key, a JSON object of the config's fields, format and facts."""

    ending: str
    title: str
    header: str
    made: Callable[[dict[str, Any]], Network]  # of the config's fields
    int8: bool  # large matrices in one byte a weight, else all in float16

    def path(self, bundle: Path) -> Path:
        """Where a bundle's file of this kind lies, whether or not there is one."""
        return bundle.with_name(f"{bundle.stem}-{self.ending}.safetensors")

    def found(self, bundle: Path) -> Path | None:
        """The bundle's file of this kind, if there is one."""
        path = self.path(bundle)
        return path if path.is_file() else None

    def of(self, bundle: Path) -> Network | None:
        """Load the network that lies beside a bundle; None where there is none. Raises CheckpointError as load does."""
        path = self.found(bundle)
        return None if path is None else self.load(path)

    def save(self, network: Network, path: Path, facts: dict[str, object]) -> Path:
        """Write the network, to a file beside it first; facts: how it was trained."""
        from safetensors.torch import save_file

        header = {"format": FORMAT, **asdict(network.config), "facts": facts}
        tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        stored = quantise_rows(tensors) if self.int8 else {name: value.half() for name, value in tensors.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path) as partial:
            save_file(stored, partial, metadata={self.header: json.dumps(header)})
        return path

    def load(self, path: Path) -> Network:
        """Read the network, in float32. Raises CheckpointError naming the file, what was found and what is expected."""
        network, tensors = self.read(path)
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in tensors.items()}
        check_names(path, found, wanted, f"the {self.title} of its header")
        network.load_state_dict(tensors)
        return network.requires_grad_(False).eval()

    def read(self, path: Path) -> tuple[Network, dict[str, torch.Tensor]]:
        """A network of the header's sizes, at random, and what the file has for it. Raises as load does."""
        weights = open_weights(path)
        try:
            header = json.loads(weights.metadata[self.header])
            if header.pop("format") != FORMAT:
                raise CheckpointError(f"{path}: this version reads format {FORMAT} of it: update the pack")
            header.pop("facts")
            network = self.made({name: tuple(v) if isinstance(v, list) else v for name, v in header.items()})
            tensors = dequantise_rows(weights.everything())
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise CheckpointError(f"{path}: it is no {self.title} ({e!r}); get the file again, or remove it") from e
        bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
        if bad:
            raise CheckpointError(f"{path}: NaN or infinite values in {bad[0]}; get the file again")
        return network, tensors


GATE = Beside("gate", "picture gate", "vdit_gate", lambda fields: PictureGate(GateConfig(**fields)), False)
BODIES = Beside(
    "bodies", "perception of bodies", "vdit_bodies", lambda fields: BodyPerception(PerceptionConfig(**fields)), True
)
BODIES_GATE = replace(GATE, ending="bodies-gate", title="picture gate of bodies")
ALL = (GATE, BODIES, BODIES_GATE)
