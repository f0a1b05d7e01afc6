"""Overlapping tiles with blended seams, for pictures that do not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CPU_BUDGET = 8 * 2**30  # bytes of activations on a CPU, whose free memory is not queried
SIDES = (1024, 768, 512, 384, 256)  # pixels a side of a tile; the first that fits is taken


@dataclass(frozen=True)
class Tiles:
    """Spans of rows and of columns, in latent cells; every tile has the same size."""

    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]

    def cut(self, x: Tensor, scale: int = 1) -> list[Tensor]:
        """The tiles of x [B, T, H, W, C], whose cells are scale x scale pixels, row by row."""
        return [
            x[:, :, top * scale : bottom * scale, left * scale : right * scale]
            for top, bottom in self.rows
            for left, right in self.columns
        ]

    def join(self, parts: Sequence[Tensor], scale: int = 1) -> Tensor:
        """The inverse of `cut`; overlaps are blended linearly."""
        if len(parts) == 1:
            return parts[0]
        across, down = _ramps(self.columns, scale), _ramps(self.rows, scale)
        b, t, _, _, c = parts[0].shape
        whole = parts[0].new_zeros(b, t, self.rows[-1][1] * scale, self.columns[-1][1] * scale, c)
        for i, part in enumerate(parts):
            row, column = divmod(i, len(self.columns))
            weight = (down[row][:, None] * across[column]).unsqueeze(-1).to(part)
            top, left = self.rows[row][0] * scale, self.columns[column][0] * scale
            whole[:, :, top : top + part.shape[2], left : left + part.shape[3]] += part * weight
        return whole


def tiles_of(height: int, width: int, tile: int | None) -> Tiles:
    """Tiles of at most tile x tile cells over height x width, a quarter of a tile overlapping; None: one tile."""
    return Tiles(_spans(height, tile), _spans(width, tile))


def tile_that_fits(height: int, width: int, bytes_a_pixel: float, device: torch.device) -> int | None:
    """Pixels a side of the largest tile whose activations fit into the free memory; None: the whole picture fits."""
    budget = CPU_BUDGET
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        budget = 0.9 * (torch.cuda.mem_get_info(device)[0] + unused)
    if height * width * bytes_a_pixel <= budget:
        return None
    return next((side for side in SIDES if side * side * bytes_a_pixel <= budget), SIDES[-1])


def _spans(size: int, tile: int | None) -> tuple[tuple[int, int], ...]:
    if tile is None or size <= tile:
        return ((0, size),)
    count = -(-(size - tile) // max(1, tile - tile // 4)) + 1
    starts = [round(i * (size - tile) / (count - 1)) for i in range(count)]
    return tuple((start, start + tile) for start in starts)


def _ramps(spans: Sequence[tuple[int, int]], scale: int) -> list[Tensor]:
    """A weight for each pixel of each span; over all spans they sum to one at every pixel."""
    total = torch.zeros(spans[-1][1] * scale)
    ramps = []
    for i, (start, stop) in enumerate(spans):
        place = torch.arange(start * scale, stop * scale) + 0.5
        ramp = torch.ones(len(place))
        if i:
            ramp = ramp.minimum((place - start * scale) / ((spans[i - 1][1] - start) * scale))
        if i + 1 < len(spans):
            ramp = ramp.minimum((stop * scale - place) / ((stop - spans[i + 1][0]) * scale))
        ramps.append(ramp)
        total[start * scale : stop * scale] += ramp
    return [ramp / total[start * scale : stop * scale] for ramp, (start, stop) in zip(ramps, spans, strict=False)]
