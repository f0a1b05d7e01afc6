"""What runs of one model have in common: Cancel, and caches of perceived pictures, takes and the preview map."""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import TYPE_CHECKING

from .comfy import check_interrupted, gpus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

    from ..model.world_model import WorldModel
    from ..pipeline import Hooks, LatentPreview, RunContext, TakeCache
    from ..pipeline.devices import Devices

_sessions: weakref.WeakKeyDictionary[WorldModel, Session] = weakref.WeakKeyDictionary()


class Session:
    """The caches of one model; they live as long as it does."""

    def __init__(self, model: WorldModel):
        from ..drafting import PerceptionCache

        self._codec, self._gpus = model.codec, model.gpus
        self.perception = PerceptionCache()

    @cached_property
    def takes(self) -> TakeCache:
        """Takes for VDiT Distill Preview."""
        from ..pipeline import TakeCache

        return TakeCache()

    @cached_property
    def preview(self) -> LatentPreview | None:
        """What draws forming videos; None where there is no codec."""
        from ..pipeline import LatentPreview

        return None if self._codec is None else LatentPreview(self._codec)

    @cached_property
    def devices(self) -> Devices | None:
        """The GPUs that make its videos together, with what they keep; None for one. ValueError for fewer GPUs."""
        from ..pipeline.devices import Devices

        return None if self._gpus == 1 else Devices(gpus(self._gpus))

    def context(self, device: torch.device, hooks: Hooks | None = None) -> RunContext:
        """The context of a run that can be cancelled."""
        from ..kernels.processes import Processes
        from ..pipeline import Hooks, RunContext

        hooks = hooks or Hooks(check=check_interrupted)
        return RunContext(device, hooks, self.perception, Processes.of_this_run(), self.devices)


def cancellable(model: WorldModel) -> AbstractContextManager[None]:
    """In the block, every layer of the model's networks asks first whether the run was cancelled."""
    from ..model.asking import asking

    return asking(model.networks, check_interrupted)


def session_of(model: WorldModel) -> Session:
    """The session of a model, begun at the first call."""
    if model not in _sessions:
        _sessions[model] = Session(model)
    return _sessions[model]


def forget_sessions() -> None:
    """Drop all caches, so that the next run of every model begins afresh."""
    _sessions.clear()
