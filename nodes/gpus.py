"""Models that several GPUs run together: who can be, and who uses one GPU only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from .comfy import gpus

if TYPE_CHECKING:
    from ..model.files.facts import ModelFacts
    from ..model.world_model import WorldModel

    Described = TypeVar("Described", WorldModel, ModelFacts)

MOST_GPUS = 8


def with_gpus(model: Described, count: int) -> Described:
    """The model, whose videos so many GPUs make together. Raises ValueError where they cannot."""
    from ..kernels.processes import Processes

    if count == 1:
        return model
    gpus(count)
    if model.causal is not None:
        raise ValueError(
            f"gpus is {count}, but {model.title} makes a video block by block, which one GPU does alone: set gpus to "
            "1, or causal to off"
        )
    if Processes.of_this_run() is not None:
        raise ValueError(f"gpus is {count}, and vdit run --gpus shares each video, too: use one of the two")
    return replace(model, gpus=count)


def on_one_gpu(model: WorldModel | ModelFacts, who: str) -> None:
    """Raise ValueError for a model that is loaded for several GPUs."""
    if model.gpus > 1:
        raise ValueError(
            f"{who} uses one GPU, and the model is loaded for {model.gpus}: set gpus to 1 on VDiT Load Model"
        )
