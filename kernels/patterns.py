"""Attention patterns by name, as people choose them: resolved for a grid only when the video's size is known."""

from __future__ import annotations

import math

import torch

from .compiled import constant_when_compiled
from .grid import Grid, choose_tile
from .plan import FRAME_CAUSAL, SPATIAL, TEMPORAL, BlockPlan, Pattern, plan, sliding_tiles

NAMES = {
    "full": "every token sees every token, as the released video models were trained",
    "window": "each tile of about 4x4x4 tokens sees the tiles around it, up to a share of every side",
    "axial": "each token sees its own frame, and its own place in every frame",
    "frame-causal": "each token sees its own frame and earlier ones",
}


def pattern_named(name: str, share: float, grid: Grid) -> Pattern | None:
    """The pattern of that name on a grid; None is full. share: a window's sides as a share of the video's, 0 to 1.

    Raises ValueError on other names and shares.
    """
    if name not in NAMES:
        raise ValueError(f"attention {name!r}; expected one of {', '.join(NAMES)}")
    if not 0 < share <= 1:
        raise ValueError(f"an attention window of {share} of the video's sides; expected more than 0, at most 1")
    if name == "window":
        return sliding_tiles(
            *(math.ceil(share * n / side - 1e-6) for n, side in zip(grid.sides, choose_tile(grid), strict=False))
        )
    return {"full": None, "axial": SPATIAL + TEMPORAL, "frame-causal": FRAME_CAUSAL}[name]


def near_frames(reach: int, grid: Grid) -> Pattern:
    """Whole frames in the tiles of time around a tile's own, at least `reach` on either side; at an edge inwards.

    The cost grows with a video's length, not with its square. A video of up to 2 * reach frames is seen whole.
    """
    t, h, w = choose_tile(grid)
    return sliding_tiles(2 * math.ceil(reach / t) + 1, math.ceil(grid.h / h), math.ceil(grid.w / w))


@constant_when_compiled
def named_plan(
    name: str, share: float, sides: tuple[int, int, int], device: torch.device | str = "cpu"
) -> BlockPlan | None:
    """The plan of a named pattern on a grid (t, h, w), cached; None for full attention."""
    grid = Grid(*sides)
    return _unless_full(grid, pattern_named(name, share, grid), device)


@constant_when_compiled
def near_frames_plan(reach: int, sides: tuple[int, int, int], device: torch.device | str = "cpu") -> BlockPlan | None:
    """The plan of near_frames on a grid (t, h, w), cached; None where that is full attention."""
    grid = Grid(*sides)
    return _unless_full(grid, near_frames(reach, grid), device)


def _unless_full(grid: Grid, pattern: Pattern | None, device: torch.device | str) -> BlockPlan | None:
    if pattern is None:
        return None
    found = plan(grid, pattern, device=device)
    return None if found.is_full else found
