"""The smoothest continuation of an image into a hole: Laplace's equation, coarse to fine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .images import resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats

SWEEPS = 16  # Jacobi iterations a level; chosen by eye, the error left is not measured
SMALLEST = 4  # pixels of the shorter side of the coarsest level


def membrane(values: Floats, hole: Bools) -> Floats:
    """values [H, W, C] float32 with the pixels of `hole` [H, W] such that each is the mean of its four neighbours.

    Inverse depth of a plane is linear in the picture, so such a hole is filled exactly. All hole: zeros.
    """
    filled = np.where(hole[..., None], np.float32(0), values).astype(np.float32)
    if not hole.any() or hole.all():
        return filled
    if min(hole.shape) <= SMALLEST:
        filled[hole] = filled[~hole].mean(0)
    else:
        weight = _halved((~hole)[..., None].astype(np.float32))
        coarse = _halved(filled) / np.maximum(weight, 1e-6)
        coarse = membrane(coarse, weight[..., 0] <= 0)
        filled[hole] = np.atleast_3d(resized(coarse, 2 * coarse.shape[1], 2 * coarse.shape[0]))[
            : hole.shape[0], : hole.shape[1]
        ][hole]
    rows, columns = np.nonzero(hole)
    h, w = hole.shape
    up, down = np.maximum(rows - 1, 0), np.minimum(rows + 1, h - 1)
    left, right = np.maximum(columns - 1, 0), np.minimum(columns + 1, w - 1)
    for _ in range(SWEEPS):
        total = filled[up, columns] + filled[down, columns] + filled[rows, left] + filled[rows, right]
        filled[rows, columns] = total / 4
    return filled


def _halved(values: Floats) -> Floats:
    """Means of 2 x 2 pixels [ceil(H / 2), ceil(W / 2), C]; odd sides repeat their last pixels."""
    h, w = values.shape[:2]
    even = np.pad(values, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
