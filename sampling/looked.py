"""What pictures were seen to show, kept for further takes of the same shot: looking takes a third of the time until a draft."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 4  # shots of each model: some megabytes at 128x128

_kept: weakref.WeakKeyDictionary[Any, OrderedDict[tuple, tuple[Any, Any, dict]]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def looked(dynamics: Any, pictures: Tensor, single: bool, clear: bool) -> tuple[Any, Any, dict]:
    """The Seen and the Start of object dynamics for pictures [k,H,W,3] on the CPU, by what these hold, and a place for the stages
    of their drafts (see paint.drafted); single, clear: see ObjectDynamics.start and find. The first two must be left as they
    are: they are shared."""
    digest = hashlib.blake2b(pictures.contiguous().numpy(), digest_size=16).digest()
    key = digest, tuple(pictures.shape), single, clear
    with _lock:
        shots = _kept.setdefault(dynamics, OrderedDict())
        if key in shots:
            shots.move_to_end(key)
            return shots[key]
    seen = dynamics.look(pictures[None])
    found = seen, dynamics.start(seen, *dynamics.find(seen, clear), single), {}
    with _lock:
        shots[key] = found
        while len(shots) > KEPT:
            shots.popitem(last=False)
    return found
