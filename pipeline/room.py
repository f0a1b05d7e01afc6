"""The memory that a clip takes, before it is made; what is too large is refused with the nearest that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..machine.limits import TooLarge
from ..model.memory import RESERVE, activation_bytes, cache_bytes
from ..sampling.guidance import MAX_CELLS_IN_ONE_BATCH
from .lattice import Lattice
from .settings import Sized, lattice_of
from .values import ClipSpec

FRAME_BYTES = 12  # of a pixel in frames [T, H, W, 3] of float32
GB = 1e9


def sampling_bytes(model: Sized, clip: ClipSpec, guided: bool, itemsize: int) -> int:
    """Bytes that one call of the transformer needs besides its weights; itemsize: bytes of a value.

    Guidance makes two at once where they are small; a causal model computes a block, and keeps those before it.
    """
    cells, causal = model.space, model.causal
    grid = ((clip.frames - 1) // cells.temporal + 1, clip.height // cells.spatial, clip.width // cells.spatial)
    if causal is not None:
        kept = min(grid[0], causal.window.frames), *grid[1:]
        one = min(grid[0], causal.block), *grid[1:]
        return activation_bytes(model.config, one, 1, itemsize) + cache_bytes(model.config, kept, itemsize)
    batch = 2 if guided and grid[0] * grid[1] * grid[2] <= MAX_CELLS_IN_ONE_BATCH else 1
    return activation_bytes(model.config, grid, batch, itemsize)


def frames_bytes(clip: ClipSpec) -> int:
    """Bytes of all the clip's frames in main memory, as VDiT Decode gives them."""
    return clip.frames * clip.width * clip.height * FRAME_BYTES


def check_room(model: Sized, clip: ClipSpec, needed: Callable[[ClipSpec], float], free: float, what: str) -> None:
    """Raise TooLarge where a clip needs more than `free` bytes, with the nearest size and the nearest length that fit.

    needed: bytes by the clip, growing with it. what: who needs them, for the message.
    """
    if (need := needed(clip)) <= free:
        return
    smaller, shorter = nearest(lattice_of(model), clip, lambda one: needed(one) <= free)
    fits = [f"{smaller.width}x{smaller.height} at this length"] if smaller else []
    if shorter:
        seconds = f" ({(shorter.frames - 1) / shorter.fps:.4g} s)" if shorter.fps else ""
        fits.append(f"{shorter.frames} frames{seconds} at this size")
    would = f"what fits: {', or '.join(fits)}" if fits else "not even the smallest clip fits: use a smaller model"
    raise TooLarge(
        f"{clip.frames} frames of {clip.width}x{clip.height} need about {need / GB:,.3g} GB for {what}, and "
        f"{free / GB:,.3g} GB can be had; {would}"
    )


def nearest(
    lattice: Lattice, clip: ClipSpec, fits: Callable[[ClipSpec], bool]
) -> tuple[ClipSpec | None, ClipSpec | None]:
    """The largest smaller clip of about the same shape, and the longest shorter one, that fit; None where none does."""

    def scaled(share: float) -> ClipSpec:
        width, height = (max(lattice.side, int(n * share) // lattice.side * lattice.side) for n in size)
        return replace(clip, width=width, height=height)

    size, shares = (clip.width, clip.height), range(64, 0, -1)
    smaller = next((one for n in shares if fits(one := scaled(n / 65))), None)
    lengths = range(clip.frames - lattice.temporal, lattice.temporal, -lattice.temporal)
    shorter = next((one for n in lengths if fits(one := replace(clip, frames=n))), None)
    return smaller, shorter


def reserve(streamed: float, on_device: bool) -> float:
    """Bytes besides activations: the weights that must be on a device at least, and what its driver keeps.

    In main memory none count: files that take more than half of what is free are mapped.
    """
    return streamed + RESERVE if on_device else 0.0
