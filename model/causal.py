"""Causal students: models that were trained to make a video block by block, and what says so of a file.

Their tensors are those of the model that they were distilled from. What tells is the header (ComfyUI's `causal_ar`),
the file's name, or its user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from .errors import CheckpointError
from .kv_cache import BLOCK, CausalTraining, CausalWindow

if TYPE_CHECKING:
    from .files.facts import ModelFacts
    from .variants import Variant
    from .world_model import WorldModel

    Described = TypeVar("Described", WorldModel, ModelFacts)

CHOICES = {"auto": None, "off": 0, "blocks of 1": 1, "blocks of 3": 3}  # latent frames of a block
TASKS = ("t2v", "i2v", "ti2v", "flowmap")  # of which causal students are known, or can be
# As guandeh17/Self-Forcing configs/self_forcing_dmd.yaml: steps 1000, 750, 500, 250 at shift 5, no guidance.
DEFAULTS = dict(steps=4, shift=5.0, guidance=1.0, solver="lcm", scheduler="simple")
# Names of published causal students. Files of 14B and of VACE that are called Self-Forcing or CausVid are not causal:
# LightX2V's students make all frames at once.
NAMES = re.compile(r"causal\W?forcing|krea\W?realtime|real\W?wonder")
NAMES_OF_1_3B = re.compile(r"^(?!.*(14b|vace)).*(self\W?forcing|causvid)")


class Told(NamedTuple):
    """What a file says of itself. block: latent frames, None where it is not causal; by: what said so."""

    block: int | None = None
    by: Literal["header", "name", ""] = ""
    steps: int | None = None


def told_by(name: str, metadata: Mapping[str, str] = {}) -> Told:
    """What a file's header, or else its name, says: for example, causal-forcing framewise-2step is blocks of 1."""
    words = name.lower().replace("_", "-")
    block = 1 if re.search(r"frame\W?wise", words) else BLOCK
    steps = re.search(r"(?<!\d)([124])\W?steps?(?![a-z])", words)
    count = int(steps[1]) if steps else None
    try:
        header = json.loads(metadata.get("config", "{}")).get("transformer", {})
    except (ValueError, AttributeError):
        header = {}
    if isinstance(header, dict) and header.get("causal_ar"):
        own = header.get("num_frame_per_block")
        return Told(own if isinstance(own, int) and own > 0 else block, "header", count)
    return Told(block, "name", count) if NAMES.search(words) or NAMES_OF_1_3B.search(words) else Told()


def with_causal(model: Described, told: Told, choice: str, window: int, sink: int) -> Described:
    """The model, which makes videos block by block if its file or its user (`choice`, of CHOICES) says so.

    window, sink: latent frames, see CausalWindow. Raises CheckpointError where that cannot be, and for a file whose
    header says that it is causal and whose user says that it is not.
    """
    asked = CHOICES[choice]
    block = told.block if asked is None else asked
    if asked == 0 and told.by == "header":
        raise CheckpointError(
            f"{model.title}: its header says that it was trained to make videos block by block; sampled whole it "
            "falls apart. Set causal to auto on VDiT Load Model"
        )
    if not block:
        return model
    if model.variant is not None:
        _check_variant(model.variant)
    try:
        moving = model.variant is not None and model.variant.task == "i2v"
        training = CausalTraining(block, CausalWindow(window, sink, moving), told.block is not None)
    except ValueError as e:
        raise CheckpointError(f"causal on VDiT Load Model: {e}") from e
    return replace(model, causal=training, defaults=model.defaults | _defaults(model.variant, told))


def refuse_whole(model: WorldModel | ModelFacts) -> None:
    """Raise ValueError for a causal model, which a sampler of whole videos cannot run."""
    if model.causal is not None:
        raise ValueError(
            f"{model.title} is loaded as a causal student, and KSampler makes all frames at once: use VDiT Sample (or "
            "ComfyUI's Load Diffusion Model with its Sampler AR Video), or set causal to off on VDiT Load Model"
        )


def _check_variant(variant: Variant) -> None:
    if variant.experts or variant.task not in TASKS:
        why = "it has two experts" if variant.experts else f"none of its kind ({variant.task}) is known"
        raise CheckpointError(
            f"{variant.title} cannot make a video block by block: {why}. Set causal to off on VDiT Load Model, or load "
            "a causal student of Wan T2V, I2V, Fun-InP or TI2V (Causal Forcing, Self-Forcing, RealWonder)"
        )


def _defaults(variant: Variant | None, told: Told) -> dict[str, Any]:
    """The bundled models keep their own solver, and their frames have one noise level within a block."""
    if variant is None:
        return {"rise": 0.0}
    own = {key: DEFAULTS[key] for key in ("steps", "scheduler")} if variant.task == "flowmap" else DEFAULTS
    return own | ({} if told.steps is None else {"steps": told.steps})


def said(training: CausalTraining, told: Told) -> str:
    """How a model will make videos, for its user."""
    by = {"header": "by its header", "name": "by its name", "": "as you say"}[told.by if training.told else ""]
    window = training.window
    sink = f", the first {window.sink} among them" if window.sink else ""
    return (
        f"{by}, a causal student: it makes {_latent_frames(training.block)} at a time, which sees the latest "
        f"{_latent_frames(window.frames)}{sink}"
    )


def _latent_frames(count: int) -> str:
    return f"{count} latent frame{'s' * (count > 1)}"
