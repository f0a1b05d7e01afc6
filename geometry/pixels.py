"""Pixel coordinates of a picture, and values between pixels."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def pixel_grid(width: int, height: int, step: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Centres [H, W, 2] (x, y) of width x height cells of `step` pixels."""
    y, x = torch.meshgrid(
        (torch.arange(height, dtype=dtype) + 0.5) * step, (torch.arange(width, dtype=dtype) + 0.5) * step, indexing="ij"
    )
    return torch.stack((x, y), -1)


def sample_bilinear(maps: Tensor, at: Tensor) -> Tensor:
    """Bilinear values [..., C] of maps [H, W, C] at pixel positions [..., 2]; outside, the border's values."""
    h, w = maps.shape[:2]
    normalized = at.reshape(1, 1, -1, 2) / torch.tensor([w / 2, h / 2]) - 1
    sampled = torch.nn.functional.grid_sample(
        maps.permute(2, 0, 1)[None], normalized, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T.reshape(*at.shape[:-1], -1)


def from_nearest(values: Tensor, unknown: Tensor) -> Tensor:
    """values [H, W, ...] where each pixel of unknown bool [H, W] has those of the nearest one that is known."""
    from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

    # The indices of the nearest known pixel, for every pixel: [2, H, W].
    nearest = cast(Any, ndimage.distance_transform_edt)(unknown.numpy(), return_distances=False, return_indices=True)
    rows, columns = (torch.from_numpy(index).long() for index in nearest)
    return values[rows, columns]
