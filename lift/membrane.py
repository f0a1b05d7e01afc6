"""The smoothest continuation of an image into a hole: Laplace's equation, coarse to fine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .images import filtered, resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats

SWEEPS = 16  # Jacobi iterations a level; chosen by eye, the error left is not measured
SMALLEST = 4  # pixels of the shorter side of the coarsest level


def membrane(values: Floats, hole: Bools, across: float = 0.5) -> Floats:
    """values [H, W, C] float32 with the pixels of `hole` [H, W] such that each is the mean of its four neighbours.

    Inverse depth of a plane is linear in the picture, so such a hole is filled exactly. All hole: zeros.
    across: share of the mean that its neighbours to the left and right have.
    """
    filled = np.where(hole[..., None], np.float32(0), values).astype(np.float32)
    if not hole.any() or hole.all():
        return filled
    if min(hole.shape) <= SMALLEST:
        filled[hole] = filled[~hole].mean(0)
    else:
        weight = _halved((~hole)[..., None].astype(np.float32))
        coarse = _halved(filled) / np.maximum(weight, 1e-6)
        coarse = membrane(coarse, weight[..., 0] <= 0, across)
        filled[hole] = np.atleast_3d(resized(coarse, 2 * coarse.shape[1], 2 * coarse.shape[0]))[
            : hole.shape[0], : hole.shape[1]
        ][hole]
    kernel = np.array([[0, (1 - across) / 2, 0], [across / 2, 0, across / 2], [0, (1 - across) / 2, 0]], np.float32)
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    around = slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)
    window, inside = filled[around], hole[around]
    for _ in range(SWEEPS):
        window = np.where(inside[..., None], filtered(window, kernel), window)
    filled[around] = window
    return filled


def _halved(values: Floats) -> Floats:
    """Means of 2 x 2 pixels [ceil(H / 2), ceil(W / 2), C]; odd sides repeat their last pixels."""
    h, w = values.shape[:2]
    even = np.pad(values, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
