"""3-D rotary positions: each head's channels are shared out between time, height and width."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor

THETA = 10000.0


def axis_sizes(head_dim: int) -> tuple[int, int, int]:
    """Channels of (t, h, w): each space axis has a third of the pairs, rounded down, time the rest."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def rope_table(grid: tuple[int, int, int], head_dim: int, device: torch.device | None = None, first: int = 0) -> Tensor:
    """Complex rotations [T*H*W, head_dim/2] for a grid of tokens, in raster order; worked out in float64 as in Wan.

    first: the number of the grid's first frame. Each device's last four tables are cached; they must not be changed.
    """
    t, h, w = grid
    return _tables_on(device)((t, h, w), head_dim, first)


@cache
def _tables_on(device: torch.device | None) -> Callable[[tuple[int, int, int], int, int], Tensor]:
    """A cache for each device: several that compute together must not push out each other's tables of 17 MB."""
    return lru_cache(maxsize=4)(lambda grid, head_dim, first: _rope_table(grid, head_dim, device, first))


def _rope_table(grid: tuple[int, int, int], head_dim: int, device: torch.device | None, first: int) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # a table from inference mode could not serve training
        parts = []
        for axis, (length, size) in enumerate(zip(grid, axis_sizes(head_dim), strict=False)):
            angle = _angles(length, size, device, 0 if axis else first)
            turns = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
            shape = [1, 1, 1, size // 2]
            shape[axis] = length
            parts.append(turns.view(shape).expand(*grid, -1))
        return torch.cat(parts, -1).reshape(-1, head_dim // 2)


def time_shift(frames: int, head_dim: int, device: torch.device | None = None) -> Tensor:
    """Complex rotations [1, head_dim/2] that move what is turned by rope_table so many frames on."""
    return rope_table((1, 1, 1), head_dim, device, frames)


def axis_tables(
    grid: tuple[int, int, int], head_dim: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor, int]:
    """The same rotations for fused kernels: cosine and sine [longest side, head_dim/2], and how many pairs are time's.

    Row p turns every pair by place p on the pair's own axis: a few kB, where rope_table's rows at 480p are 17 MB.
    """
    sizes = axis_sizes(head_dim)
    angle = torch.cat([_angles(max(grid), size, device) for size in sizes], 1)
    return angle.cos().float(), angle.sin().float(), sizes[0] // 2


def _angles(length: int, size: int, device: torch.device | None, first: int = 0) -> Tensor:
    """float64 [length, size/2]: the angle of each pair of an axis at each place from `first` on."""
    frequency = THETA ** (-torch.arange(0, size, 2, dtype=torch.float64, device=device) / size)
    return torch.outer(torch.arange(first, first + length, dtype=torch.float64, device=device), frequency)


def apply_rope(x: Tensor, table: Tensor) -> Tensor:
    """Rotate the interleaved pairs of x [B, L, heads, head_dim] by table [L, head_dim/2].

    Without gradients a float32 x is overwritten: at 480p a copy would be 0.2 to 0.7 GB.
    """
    pairs, table = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))), table[:, None]
    pairs = pairs * table if torch.is_grad_enabled() else pairs.mul_(table)
    return torch.view_as_real(pairs).flatten(-2).to(x.dtype)
