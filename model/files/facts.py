"""What headers alone say of the model that some files will make: its sizes, its parts, the memory that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..codec.base import LatentSpec
from ..codec.tiny import SPATIAL, TinyCodecConfig
from ..config import VDiTConfig
from ..defaults import DEFAULTS
from ..errors import CheckpointError
from .bundle import header_of, teacher_of
from .data import State
from .promises import without_values
from .quantized import stored_bytes
from .weights import open_weights

if TYPE_CHECKING:
    from ..kv_cache import CausalTraining
    from ..variants import FamilyName, Variant


@dataclass(frozen=True)
class Grid:
    """How many pixels a side, frames, and channels a latent cell has."""

    spatial: int
    temporal: int
    channels: int


@dataclass(frozen=True, eq=False)
class ModelFacts:
    """A model before it is loaded. `weights`: bytes of its transformer; `least`: those always on its device."""

    family: FamilyName
    title: str
    config: VDiTConfig
    space: Grid
    defaults: dict[str, Any]
    has_codec: bool
    has_text: bool
    weights: int
    least: int
    variant: Variant | None = None
    causal: CausalTraining | None = None
    gpus: int = 1

    @property
    def parts(self) -> frozenset[str]:
        """Of "codec" and "text", those that it has."""
        return frozenset(name for name, has in (("codec", self.has_codec), ("text", self.has_text)) if has)

    def check_lora(self, path: Path, experts: Sequence[str]) -> None:
        """Raise CheckpointError for a LoRA of another model, from headers alone; experts: which of two get it."""
        from ..vdit import VDiT
        from ..worlds import transformer_of
        from .lora import check_loras

        with without_values():
            model = VDiT(self.config) if self.variant is None else transformer_of(self.config)
        for expert in experts if self.variant is not None and self.variant.experts else ("high",):
            check_loras(model, [(path, 1.0)], expert)


def facts_of(
    path: Path,
    low: Path | None = None,
    codec: Path | None = None,
    text: Path | None = None,
    tokenizer: Path | None = None,
) -> ModelFacts:
    """What load_model would load, found without reading weights. Raises CheckpointError as it does for what headers
    show; files that have not changed since are not read again.
    """
    files = (path, low, codec, text, tokenizer)
    return _facts(files, tuple(State.of(one) for one in files if one is not None))


@lru_cache(maxsize=16)
def _facts(files: tuple[Path | None, ...], states: tuple[State, ...]) -> ModelFacts:
    path, low, codec, text, tokenizer = files
    assert path is not None
    weights = open_weights(path)
    if "vdit" not in weights.metadata:
        return _wan(path, low, codec, text, tokenizer)
    if low or codec or text or tokenizer:
        raise CheckpointError(f"{path}: this is a bundle of VDiT's own, which holds all parts; clear the other files")
    header = parts = header_of(path, weights.metadata)
    try:
        if "beside" in header:
            teacher = teacher_of(path, header["beside"])
            parts = header_of(teacher, open_weights(teacher).metadata)
        config = VDiTConfig(**header["transformer"])
        tiny = TinyCodecConfig.from_header(parts["codec"])
        defaults = {**DEFAULTS, **header["defaults"]}
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise CheckpointError(f"{path}: its VDiT header cannot be used ({e}); get the file again") from e
    space = Grid(SPATIAL, LatentSpec.temporal, tiny.channels)
    return ModelFacts("vdit", "the model", config, space, defaults, True, True, weights.bytes, weights.bytes)


def _wan(path: Path, low: Path | None, codec: Path | None, text: Path | None, tokenizer: Path | None) -> ModelFacts:
    from ..codec.wan_latents import wan_latents
    from .load import plan_wan

    plan = plan_wan(path, low, codec, text, tokenizer)
    latents, variant = wan_latents(plan.variant.codec.removeprefix("wan")), plan.variant
    blocks: dict[str, int] = {}
    total = 0
    for name, (shape, dtype) in plan.weights.stored.items():
        size = stored_bytes(shape, "BF16" if dtype == "F32" and len(shape) > 1 else dtype)
        total += size
        if name.startswith(("blocks.", "vace_blocks.")):
            key = ".".join(name.split(".")[:2])
            blocks[key] = blocks.get(key, 0) + size
    least = total - sum(blocks.values()) + 2 * max(blocks.values(), default=0)  # blocks are streamed, two at a time
    return ModelFacts(
        variant.family,
        variant.title,
        variant.config,
        Grid(latents.spatial, latents.temporal, len(latents.mean)),
        {**DEFAULTS, **variant.defaults},
        plan.codec is not None,
        plan.text is not None,
        total,
        least,
        variant,
    )
