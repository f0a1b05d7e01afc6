"""Elementwise and linear operations of the transformer: computed in float32, in place where no gradients are needed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
MAX_CHUNKS, MIN_CHUNK_TOKENS = 4, 1024  # a feed-forward runs in chunks of tokens, so that its hidden layer takes 1/4


class Linear(nn.Linear):
    """nn.Linear whose product is computed by `linear`."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x W^T + b, or the tanh-GELU of it."""
        return linear(x, self.weight, self.bias, gelu)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """F.linear, or the tanh-GELU of it; inference in float32 on a CPU goes through oneDNN in place of MKL.

    MKL, PyTorch's default for float32, takes 1.12 times as long for Wan's sizes on an EPYC of 2023, and twice as long
    for the bundled model's on one of 2024 (bench/wan_step.py).
    """
    narrow = x.dtype != torch.float32 or weight.dtype != torch.float32
    if torch.is_grad_enabled() or x.device.type != "cpu" or narrow or not ONEDNN:
        y = F.linear(x, weight, bias)
        return tanh_gelu(y) if gelu else y
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *(("gelu", [], "tanh") if gelu else ("none", [], "")))


def add(x: Tensor, y: Tensor, gate: Tensor | float | None = None) -> Tensor:
    """x + gate * y in x's dtype, written into x; gate: a number, or [B, T or 1, 1, D] for x [B, T, S, D]."""
    if isinstance(gate, Tensor):
        if gate.dtype == x.dtype:
            return torch.addcmul(x, y, gate, out=_out_buffer(x))
        y, gate = y * gate, None
    return torch.add(x, y, alpha=1.0 if gate is None else gate, out=_out_buffer(x)).to(x.dtype)


def layer_norm(x: Tensor, norm: nn.LayerNorm, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """norm(x) * (1 + scale) + shift in x's dtype, x [B, T, S, D], scale and shift [B, T or 1, 1, D], all in float32.

    Without scale and shift the norm's own weight and bias apply.
    """
    wide = x.float()
    if scale is None or shift is None:
        weight, bias = norm.weight.float(), cast(Tensor, norm.bias).float()
        y = F.layer_norm(wide, norm.normalized_shape, weight, bias, norm.eps)
    elif scale.numel() == x.shape[-1]:  # one modulation for all tokens: it takes the place of weight and bias
        y = F.layer_norm(wide, norm.normalized_shape, 1 + scale.flatten().float(), shift.flatten().float(), norm.eps)
    else:
        y = F.layer_norm(wide, norm.normalized_shape, eps=norm.eps)
        y = torch.addcmul(shift.float(), y, 1 + scale.float(), out=_out_buffer(y))
    return y.to(x.dtype)


def rms_norm(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """RMSNorm of x [..., D] in x's dtype, written into x."""
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # no temporary for x squared
    power = torch.addcmul(
        torch.scalar_tensor(cast(float, norm.eps), device=x.device), size, size, value=1 / x.shape[-1]
    )
    return x.mul_(power.rsqrt_()).mul_(norm.weight)


def feed_forward(x: Tensor, ffn: nn.Sequential) -> Tensor:
    """ffn = (linear, tanh-GELU, linear) of tokens x [B, T, S, D], chunk by chunk, written into x."""
    if torch.is_grad_enabled():
        return ffn(x)
    up, down = ffn[0], ffn[2]
    tokens = x.view(-1, x.shape[-1])
    with ExitStack() as shared:
        for matrix in (up, down):
            if hasattr(matrix, "decoded"):  # a quantised matrix is decoded once for all chunks
                shared.enter_context(cast(Any, matrix).decoded(x))
        for part in tokens.chunk(min(MAX_CHUNKS, max(1, len(tokens) // MIN_CHUNK_TOKENS))):
            part.copy_(down(up(part, gelu=True) if isinstance(up, Linear) else tanh_gelu(up(part))))
    return x


def tanh_gelu(x: Tensor) -> Tensor:
    """tanh-GELU, in place where no gradients are needed."""
    return F.gelu(x, approximate="tanh") if torch.is_grad_enabled() else torch.ops.aten.gelu_(x, approximate="tanh")


def patchify(embed: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """A convolution whose stride is its kernel, as one matrix product: x [B, C, T, h, w] -> tokens [B, T, S, D]."""
    t, h, w = (1, 1, *embed.kernel_size)[-3:]
    b, c, frames, height, width = x.shape
    x = x.reshape(b, c, frames // t, t, height // h, h, width // w, w).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return linear(x.flatten(4).flatten(2, 3), embed.weight.flatten(1), embed.bias)


def _out_buffer(x: Tensor) -> Tensor | None:
    """`out` of an operation that may overwrite x."""
    return None if torch.is_grad_enabled() else x
