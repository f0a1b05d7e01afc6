"""Pictures as the perception of bodies reads them, and the cells into which it parts them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 4  # pixels a side of a cell of the map of centres
MASK_CELL = 2  # pixels a side of a cell of masks
PIXELS, MULTIPLE = 104 * 104, 32  # about so many pixels are read, in sides that are multiples of so many


def cell_places(height: int, width: int, cell: int, device: torch.device) -> Tensor:
    """Middles [H/cell, W/cell, 2] (x, y) of cells, in picture heights from the picture's middle."""
    y = (torch.arange(height // cell, device=device) + 0.5) * cell / height - 0.5
    x = ((torch.arange(width // cell, device=device) + 0.5) * cell - width / 2) / height
    return torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), -1)


def peaks(centers: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cells [N] (flat) of the likeliest centres of log-odds [h, w] that are the largest of 3x3, and probabilities."""
    largest = F.max_pool2d(centers[None, None], 3, 1, 1)[0, 0]
    odds = centers.where(centers == largest, -torch.inf).flatten()
    value, cell = odds.topk(most)
    return cell, value.sigmoid()


def resized(frames: Tensor) -> Tensor:
    """Pictures [K, H, W, 3] at about PIXELS pixels, in sides that are multiples of MULTIPLE."""
    height, width = frames.shape[1:3]
    scale = (PIXELS / (height * width)) ** 0.5
    rows, columns = (max(2, round(n * scale / MULTIPLE)) * MULTIPLE for n in (height, width))
    if (rows, columns) == (height, width):
        return frames
    x = F.interpolate(frames.permute(0, 3, 1, 2), (rows, columns), mode="bilinear", antialias=True)
    return x.permute(0, 2, 3, 1)


def sized(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks [N, h, w] at another size."""
    if not len(masks):
        return masks.new_zeros(0, height, width)
    return F.interpolate(masks[:, None], (height, width), mode="bilinear")[:, 0]
