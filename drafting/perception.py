"""What pictures were seen to show, and what was made of that, kept for further takes of the same shot: it takes two
thirds of the time until a draft."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 4  # shots of each model: some megabytes at 128x128
ROOM = 2**21  # pixels, of all frames, of what is made of a shot: some 60 MB

class Look:
    """What pictures were seen to show: `seen`, a Seen, and `start`, a Start, of object dynamics, to be left as they
    are."""

    def __init__(self, seen: Any, start: Any, pixels: int):
        """pixels: of a picture."""
        self.seen, self.start, self._pixels = seen, start, pixels
        self._made, self._held = {}, 0

    def once(self, what: str, make: Callable[[], Any], *of: Any, pictures: int = 1) -> Any:
        """What make() makes of so many numbers and tensors, and of the shot; the first time. It is about as large as so
        many pictures."""
        key = what, *(x.numpy().tobytes() if hasattr(x, "numpy") else x for x in of)
        made = self._made.get(key)
        if made is None:
            made = make()
            self._held += pictures * self._pixels
            if self._held > ROOM:
                self._made.clear()
                self._held = pictures * self._pixels
            self._made[key] = made
        return made


class PerceptionCache:
    """Perceptions of the pictures that were used last, for further takes of a shot. Safe to share between threads."""

    def __init__(self):
        self._looks: weakref.WeakKeyDictionary[Any, OrderedDict[tuple, Look]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._looks.values()))

    def look(self, dynamics: Any, pictures: Tensor, single: bool, clear: bool) -> Look:
        """What object dynamics see in pictures [k,H,W,3] on the CPU, by what these hold; single, clear: see
        ObjectDynamics.start and find."""
        digest = hashlib.blake2b(pictures.contiguous().numpy(), digest_size=16).digest()
        key = digest, tuple(pictures.shape), single, clear
        with self._lock:
            shots = self._looks.setdefault(dynamics, OrderedDict())
            if key in shots:
                shots.move_to_end(key)
                return shots[key]
        seen = dynamics.look(pictures[None])
        found = Look(seen, dynamics.start(seen, *dynamics.find(seen, clear), single), pictures[0, ..., 0].numel())
        with self._lock:
            shots[key] = found
            while len(shots) > KEPT:
                shots.popitem(last=False)
        return found
