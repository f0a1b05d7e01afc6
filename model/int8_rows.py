"""Int8 quantisation of matrices with one scale a row, for bundles: half the bytes of float16.

Vectors and small matrices stay in float16.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".row_scale"  # suffix of a matrix's scales: float32, one a row
MIN_VALUES = 4096  # smaller matrices are not quantised
CLIPS = torch.linspace(
    0.6, 1.0, 17
)  # candidate ranges, as shares of a row's largest value; the least squared error wins


def quantise_rows(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors ready for a file: large matrices in int8, with scales under name + SCALE, all else in float16."""
    out = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.numel() < MIN_VALUES or not value.is_floating_point():
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


def dequantise_rows(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantise_rows` in float32, to about 1% of a row's RMS. Raises KeyError if a scale is missing."""
    out = {}
    for name, value in tensors.items():
        of = tensors.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
        if of is not None and of.dtype == torch.int8:
            continue
        if value.dtype == torch.int8:
            value = value.float() * tensors[name + SCALE].view(-1, *[1] * (value.ndim - 1))
        out[name] = value.float() if value.is_floating_point() else value
    return out
