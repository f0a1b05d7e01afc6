"""Keys and values of the latest latent frames, so that a video can be made block by block: memory does not grow.

What a block sees: the first `sink` latent frames of the video, the latest ones before it, and itself, `window` in all,
as public causal students do (guandeh17/Self-Forcing and turingw1/RealWonder, wan/modules/causal_model.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .config import HEAD_DIM
from .rope import apply_rope, time_shift

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CausalWindow:
    """How much of the past a block of latent frames sees. Raises ValueError unless sink < frames.

    frames: of sink, past and block together. moving_sink: the sink frames follow the window in time, so that their
    rotary distance does not grow (RealWonder); else they stay where they were (Self-Forcing).
    """

    frames: int = 21
    sink: int = 0
    moving_sink: bool = False

    def __post_init__(self):
        if not 0 <= self.sink < self.frames:
            raise ValueError(
                f"a causal window of {self.frames} latent frames with {self.sink} sink frames; expected fewer sink "
                "frames than the window has, and none below 0"
            )


BLOCK = 3  # latent frames, of most causal students


@dataclass(frozen=True)
class CausalTraining:
    """How a causal model makes a video: blocks of so many latent frames, which see so much of the past.

    told: whether the file itself says that it is causal, and not its user alone.
    """

    block: int = BLOCK
    window: CausalWindow = CausalWindow()
    told: bool = True

    def __post_init__(self):
        if self.block < 1 or self.block > self.window.frames - self.window.sink:
            raise ValueError(
                f"blocks of {self.block} latent frames do not fit a causal window of {self.window.frames} with "
                f"{self.window.sink} sink frames: widen the window"
            )


@dataclass(eq=False)
class _Ring:
    keys: Tensor  # [B, window * S, heads, D], turned by their rotary positions
    values: Tensor
    sink: Tensor | None  # keys of the sink frames at their own place, where they move
    moved: int = 0  # frames that the sink's keys in the ring have moved


class Place(NamedTuple):
    """Where the keys of one pass go: the cache's slots of its tokens, and how many slots are seen."""

    cache: KVCache
    slots: Tensor  # int64 [tokens of the pass]
    used: int
    sink: int  # tokens of the sink frames, 0 where they do not move
    moved: int  # frames that the sink has moved

    def extend(self, layer: nn.Module, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, L, heads, D] of the pass; return all that it sees, in any order of time."""
        return self.cache.write(layer, self, keys, values)


@dataclass(eq=False)
class KVCache:
    """A ring of keys and values for each attention layer, allocated at its first pass. For inference only.

    A block may pass again and again until the next one begins: every pass overwrites its keys and values, and the last
    one, usually of the clean block at sigma 0, is what later blocks see.
    """

    window: CausalWindow = CausalWindow()
    _rings: dict[nn.Module, _Ring] = field(default_factory=dict)
    _block: range = range(0)  # the latest block
    _frame: int = 0  # tokens of a latent frame

    @property
    def nbytes(self) -> int:
        """Bytes of all rings."""
        tensors = (t for ring in self._rings.values() for t in (ring.keys, ring.values, ring.sink) if t is not None)
        return sum(t.nbytes for t in tensors)

    def place(self, first: int, grid: tuple[int, int, int], device: torch.device) -> Place:
        """The place of a block that begins at latent frame `first`, of a grid (t, h, w) of tokens.

        Raises ValueError unless it is the latest block again or the one behind it, and fits the window.
        """
        count, frame = grid[0], grid[1] * grid[2]
        block, before, window = range(first, first + count), self._block, self.window
        if block != before and first != before.stop:
            raise ValueError(
                f"latent frames {first} to {block.stop - 1} after {before.start} to {before.stop - 1}: blocks of a "
                f"causal rollout follow each other; expected the block that begins at {before.stop}"
            )
        if self._frame not in (0, frame):
            raise ValueError(f"{frame} tokens in a latent frame, and {self._frame} in those before; expected one size")
        if max(0, count - max(0, window.sink - first)) > window.frames - window.sink:
            raise ValueError(
                f"a block of {count} latent frames does not fit a causal window of {window.frames} with {window.sink} "
                "sink frames: widen the window"
            )
        self._block, self._frame = block, frame
        frames = torch.arange(first, block.stop, device=device)
        turning = window.sink + (frames - window.sink) % (window.frames - window.sink)
        slots = torch.where(frames < window.sink, frames, turning)
        tokens = (slots[:, None] * frame + torch.arange(frame, device=device)).flatten()
        moved = max(0, block.stop - window.frames)
        sink = window.sink * frame if window.moving_sink else 0
        return Place(self, tokens, min(block.stop, window.frames) * frame, sink, moved)

    def write(self, layer: nn.Module, place: Place, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See Place.extend."""
        if keys.requires_grad or values.requires_grad:
            raise RuntimeError("a KV cache has no gradients: run the rollout under torch.no_grad()")
        ring = self._rings.get(layer)
        if ring is None:
            shape = (len(keys), self.window.frames * self._frame, *keys.shape[2:])
            sink = keys.new_zeros(shape[0], place.sink, *shape[2:]) if place.sink else None
            ring = self._rings[layer] = _Ring(keys.new_zeros(shape), values.new_zeros(shape), sink)
        ring.keys[:, place.slots], ring.values[:, place.slots] = keys, values
        if ring.sink is not None:
            own = place.slots < place.sink
            ring.sink[:, place.slots[own]] = keys[:, own]
            if place.moved != ring.moved:
                turn = time_shift(place.moved, HEAD_DIM, keys.device)
                ring.keys[:, : place.sink] = apply_rope(ring.sink.clone(), turn)
                ring.moved = place.moved
        return ring.keys[:, : place.used], ring.values[:, : place.used]
