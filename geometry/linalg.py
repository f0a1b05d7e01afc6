"""Linear algebra of torch with types: torch's own annotations leave these functions untyped."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


def norm(x: Tensor) -> Tensor:
    """Euclidean length [...] of vectors x [..., N]."""
    return cast(Tensor, x.norm(dim=-1))


def solve(a: Tensor, b: Tensor) -> Tensor:
    """The solution x of a x = b, for a [N, N] and x, b [N] or [N, K]."""
    return cast(Tensor, torch.linalg.solve(a, b))


def least_squares(a: Tensor, b: Tensor) -> Tensor:
    """The x that minimises |a x - b|, for a [M, N] and b [M] or [M, K]."""
    return cast(Tensor, torch.linalg.lstsq(a, b).solution)


def eigenvectors(symmetric: Tensor) -> Tensor:
    """Unit eigenvectors [..., N, N] (columns) of symmetric matrices, by ascending eigenvalue."""
    return cast(Tensor, torch.linalg.eigh(symmetric)[1])


def orthogonal(a: Tensor) -> Tensor:
    """Orthogonal matrices [..., N, N] with the same columns' spans as a."""
    return cast(Tensor, torch.linalg.qr(a)[0])


def determinant(a: Tensor) -> Tensor:
    """Determinants [...] of matrices [..., N, N]."""
    return cast(Tensor, torch.linalg.det(a))
