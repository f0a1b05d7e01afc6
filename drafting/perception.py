"""A cache of what was perceived in pictures and derived from it: two thirds of the time that a draft takes."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..model.object_dynamics import ObjectDynamics, Perception, Start

MAX_SHOTS = 4  # shots cached for each model: some megabytes at 128x128
MAX_PIXELS = 2**21  # pixels of the results cached for a shot: some 60 MB

Result = TypeVar("Result")


class Memo:
    """A memo table of results that drafts of one shot share; emptied when they exceed MAX_PIXELS pixels."""

    def __init__(self, picture_pixels: int):
        self._results: dict[tuple[object, ...], object] = {}
        self._picture_pixels, self._pixels = picture_pixels, 0

    def get(
        self, name: str, compute: Callable[[], Result], *arguments: Tensor | int | bool, pictures: int = 1
    ) -> Result:
        """compute(), or its result from an earlier call with the same name and arguments.

        The result must not be modified. `pictures`: its size, in pictures of the shot.
        """
        key = name, *(x.numpy().tobytes() if isinstance(x, Tensor) else x for x in arguments)
        if key not in self._results:
            result = compute()
            self._pixels += pictures * self._picture_pixels
            if self._pixels > MAX_PIXELS:
                self._results.clear()
                self._pixels = pictures * self._picture_pixels
            self._results[key] = result
        return cast("Result", self._results[key])


@dataclass(frozen=True, eq=False)
class PerceivedShot:
    """What object dynamics perceive in the pictures of a shot, and what was derived from it. Not to be modified."""

    perception: Perception
    start: Start
    memo: Memo


class PerceptionCache:
    """Perceptions of the pictures used last, for further takes of a shot. Safe to share between threads."""

    def __init__(self):
        self._shots: weakref.WeakKeyDictionary[nn.Module, OrderedDict[tuple[object, ...], object]]
        self._shots = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(shots) for shots in self._shots.values())

    def perceive(self, dynamics: ObjectDynamics, pictures: Tensor, single: bool, clear: bool) -> PerceivedShot:
        """What object dynamics perceive in pictures [k,H,W,3] on the CPU; equal pictures are perceived once.

        single: see ObjectDynamics.start; clear: see ObjectDynamics.detect.
        """

        def seen() -> PerceivedShot:
            with torch.no_grad():
                perception = dynamics.perceive(pictures[None])
                start = dynamics.start(perception, *dynamics.detect(perception, clear), single)
            return PerceivedShot(perception, start, Memo(pictures[0, ..., 0].numel()))

        return self.recall(dynamics, pictures, seen, single, clear)

    def recall(self, network: nn.Module, pictures: Tensor, seen: Callable[[], Result], *how: object) -> Result:
        """What a network sees in pictures [k,H,W,3] on the CPU: seen(), once for equal pictures and the same `how`."""
        digest = hashlib.blake2b(pictures.contiguous().numpy().data, digest_size=16).digest()
        key = digest, tuple(pictures.shape), *how
        with self._lock:
            shots = self._shots.setdefault(network, OrderedDict())
            if key in shots:
                shots.move_to_end(key)
                return cast("Result", shots[key])
        shot = seen()
        with self._lock:
            shots[key] = shot
            while len(shots) > MAX_SHOTS:
                shots.popitem(last=False)
        return shot
