"""The transformer's elementwise steps: float32 inside, and without gradients in the memory that they may overwrite."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
PIECES, FEWEST = 4, 1024  # a feed-forward's hidden tokens are made in so many pieces, none with fewer tokens


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, gelu)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """F.linear, or the tanh-GELU of it, that in inference lets oneDNN multiply float32 on a CPU, as PyTorch does by itself for
    bfloat16 only.

    Its default there is MKL, which takes an eighth longer for Wan's sizes on an EPYC of 2023, and twice as long for the
    bundled model's on one of 2024.
    """
    narrow = x.dtype != torch.float32 or weight.dtype != torch.float32
    if torch.is_grad_enabled() or x.device.type != "cpu" or narrow or not ONEDNN:
        y = F.linear(x, weight, bias)
        return tanh_gelu(y) if gelu else y
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *(("gelu", [], "tanh") if gelu else ("none", [], "")))


def add(x: Tensor, y: Tensor, gate: Tensor | float | None = None) -> Tensor:
    """x + gate * y, in x's dtype; gate: a number, or [B, T or 1, 1, D] for x [B, T, S, D]. Overwrites x."""
    if isinstance(gate, Tensor):
        if gate.dtype == x.dtype:
            return torch.addcmul(x, y, gate, out=_over(x))
        y, gate = y * gate, None
    return torch.add(x, y, alpha=1.0 if gate is None else gate, out=_over(x)).to(x.dtype)


def layer_norm(x: Tensor, norm: nn.LayerNorm, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """norm(x) * (1 + scale) + shift in x's dtype, x [B, T, S, D], scale and shift [B, T or 1, 1, D], all in float32.

    Without scale and shift the norm's own weight and bias apply.
    """
    wide = x.float()
    if scale is None:
        y = F.layer_norm(wide, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    elif scale.numel() == x.shape[-1]:  # one modulation for all tokens: the norm's own last pass does it
        y = F.layer_norm(wide, norm.normalized_shape, 1 + scale.flatten().float(), shift.flatten().float(), norm.eps)
    else:
        y = F.layer_norm(wide, norm.normalized_shape, eps=norm.eps)
        y = torch.addcmul(shift.float(), y, 1 + scale.float(), out=_over(y))
    return y.to(x.dtype)


def rms_norm(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """x [..., D] over its root mean square, in x's dtype whatever the weight's. Overwrites x."""
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # reads x once and makes no square of it
    power = torch.addcmul(torch.scalar_tensor(norm.eps, device=x.device), size, size, value=1 / x.shape[-1])
    return x.mul_(power.rsqrt_()).mul_(norm.weight)


def feed_forward(x: Tensor, ffn: nn.Sequential) -> Tensor:
    """ffn = (matrix, tanh-GELU, matrix) of tokens x [B, T, S, D]. Overwrites x, and never holds all hidden tokens."""
    if torch.is_grad_enabled():
        return ffn(x)
    up, down = ffn[0], ffn[2]
    tokens = x.view(-1, x.shape[-1])
    with ExitStack() as shared:
        for matrix in (up, down):
            if hasattr(matrix, "decoded"):  # stored in another form: once for all pieces
                shared.enter_context(matrix.decoded(x))
        for part in tokens.chunk(min(PIECES, max(1, len(tokens) // FEWEST))):
            part.copy_(down(up(part, gelu=True) if isinstance(up, Linear) else tanh_gelu(up(part))))
    return x


def tanh_gelu(x: Tensor) -> Tensor:
    """tanh-GELU, without gradients in its place."""
    return F.gelu(x, approximate="tanh") if torch.is_grad_enabled() else torch.ops.aten.gelu_(x, approximate="tanh")


def patches(embed: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """What a convolution whose stride is its kernel makes of x [B, C, T, h, w], as tokens [B, T, S, D]: one matrix."""
    t, h, w = (1, 1, *embed.kernel_size)[-3:]
    b, c, frames, height, width = x.shape
    x = x.reshape(b, c, frames // t, t, height // h, h, width // w, w).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return linear(x.flatten(4).flatten(2, 3), embed.weight.flatten(1), embed.bias)


def _over(x: Tensor) -> Tensor | None:
    return None if torch.is_grad_enabled() else x
