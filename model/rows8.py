"""Matrices stored in 8 bits a value, each row in units of its own: half of float16's bytes in a file that every clone holds.

Vectors, and matrices too small to matter, stay in float16.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".row_scale"  # behind a matrix's name: float32, one number a row
LEAST = 4096  # values of a matrix that is packed
CLIPS = torch.linspace(0.6, 1.0, 17)  # of a row's largest value, as the end of its range: the best of these is taken


def packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors ready for a file: int8 with scales beside them, and float16."""
    out = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.numel() < LEAST or not value.is_floating_point():
            out[name] = value.half() if value.is_floating_point() else value
            continue
        rows = value.float().flatten(1)
        largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-12)
        best, scale, codes = torch.full_like(largest, torch.inf), largest / 127, torch.zeros_like(rows)
        for clip in CLIPS:
            unit = largest * clip / 127
            tried = (rows / unit).round().clamp(-127, 127)
            error = (tried * unit - rows).square().sum(1, keepdim=True)
            better = error < best
            best, scale, codes = (torch.where(better, a, b) for a, b in ((error, best), (unit, scale), (tried, codes)))
        out[name] = codes.to(torch.int8).view(value.shape)
        out[name + SCALE] = scale.flatten()
    return out


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given, in float32, to about 1% of a row's root mean square. Raises KeyError without a scale."""
    out = {}
    for name, value in tensors.items():
        of = tensors.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
        if of is not None and of.dtype == torch.int8:
            continue
        if value.dtype == torch.int8:
            value = value.float() * tensors[name + SCALE].view(-1, *[1] * (value.ndim - 1))
        out[name] = value.float() if value.is_floating_point() else value
    return out
