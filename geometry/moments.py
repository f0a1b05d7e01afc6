"""Orientations of symmetric bodies as numbers that do not jump: moments of their axes, and the rotation they mean.

A box looks the same under many rotations, so no rotation is *its* rotation; sums of powers of its axes are the same
for all of them, and change steadily as it turns. Second moments tell sizes along axes, fourth ones tell axes where
sizes are equal.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from .linalg import determinant, eigenvectors, norm, orthogonal
from .rotation import rotation_about

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
POWERS = tuple(tuple(c.count(i) for i in range(3)) for c in combinations_with_replacement(range(3), 4))
TIMES = tuple(math.factorial(4) // math.prod(map(math.factorial, p)) for p in POWERS)
STEPS, RATE = 12, 0.25  # of gradient ascent on rotations; a box's fourth moments then agree to a tenth of a degree
STARTS = 24  # rotations that are tried first: within some 30 degrees of any


def second_moments(axes: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights [..., K] times outer squares of axes [..., 3, K] (columns): its PAIRS [..., 6]."""
    full = (axes * weights[..., None, :]) @ axes.transpose(-1, -2)
    return torch.stack([full[..., i, j] for i, j in PAIRS], -1)


def symmetric(pairs: Tensor) -> Tensor:
    """The symmetric matrix [..., 3, 3] of its PAIRS [..., 6]."""
    rows = [[pairs[..., PAIRS.index((min(i, j), max(i, j)))] for j in range(3)] for i in range(3)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def fourth_moments(axes: Tensor) -> Tensor:
    """Sum over axes [..., 3, K] (columns) of products of four of their coordinates, one of POWERS each [..., 15]."""
    x, y, z = axes.unbind(-2)
    return torch.stack([(x**i * y**j * z**k).sum(-1) for i, j, k in POWERS], -1)


def line_of(fourth: Tensor) -> Tensor:
    """The direction [..., 3], of either sign, whose fourth moments these [..., 15] are: of a body of revolution."""
    at = {power: m for m, power in enumerate(POWERS)}
    total = [
        [
            sum(fourth[..., at[tuple((n == i) + (n == j) + 2 * (n == k) for n in range(3))]] for k in range(3))
            for j in range(3)
        ]
        for i in range(3)
    ]
    matrix = torch.stack([torch.stack([torch.as_tensor(v) for v in row], -1) for row in total], -2)
    return eigenvectors(matrix)[..., :, 2]


def rotation_of(second: Tensor, fourth: Tensor) -> Tensor:
    """Rotations [N, 3, 3] whose axes these moments [N, 6], [N, 15] of boxes fit best."""
    with torch.inference_mode(False):  # the search needs gradients, which copies made here have wherever it is called
        return _searched(second.clone(), fourth.clone())


def _searched(second: Tensor, fourth: Tensor) -> Tensor:
    matrix = symmetric(second)
    size = norm(matrix.flatten(1)).clamp_min(1e-9)[:, None, None]
    matrix = matrix / size
    generator = torch.Generator().manual_seed(0)
    random = orthogonal(torch.randn(STARTS, 3, 3, generator=generator).to(fourth))
    own = eigenvectors(matrix)[:, None]
    tried = torch.cat((own, random.expand(len(fourth), -1, -1, -1)), 1)  # [N, S, 3, 3]
    best = _fit(tried, matrix[:, None], fourth[:, None]).argmax(1)
    rotation = tried[torch.arange(len(tried)), best]
    rotation = rotation * determinant(rotation)[:, None, None].sign()
    for _ in range(STEPS):
        with torch.enable_grad():
            turn = torch.zeros(len(rotation), 3, dtype=rotation.dtype, requires_grad=True)
            x, y, z = turn.unbind(-1)
            o = torch.zeros_like(x)
            skew = torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).view(-1, 3, 3)
            moved = rotation.detach() + skew @ rotation.detach()
            gradient = torch.autograd.grad(_fit(moved, matrix, fourth).sum(), turn)[0]
        way = RATE * gradient
        angle = norm(way)
        rotation = rotation_about(way / angle.clamp_min(1e-12)[:, None], angle.clamp_max(0.3)) @ rotation.detach()
    return rotation.detach()


def _fit(rotation: Tensor, second: Tensor, fourth: Tensor) -> Tensor:
    """How well axes agree with moments: fourth powers along them, less what second moments have between them."""
    times = torch.tensor(TIMES, dtype=fourth.dtype, device=fourth.device)
    x, y, z = rotation.unbind(-2)  # each [..., 3] over the axes
    powers = torch.stack([x**i * y**j * z**k for i, j, k in POWERS], -1)  # [..., 3, 15]
    along = (powers * (fourth * times)[..., None, :]).sum((-1, -2)) / 3
    between = rotation.transpose(-1, -2) @ second @ rotation
    return along - 2 * (between.square().sum((-1, -2)) - between.diagonal(dim1=-2, dim2=-1).square().sum(-1))
