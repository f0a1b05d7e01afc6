"""Gated residual, LayerNorm and modulation in one pass: the seam between two parts of a transformer block."""

# Triton converts what a launch passes, which its annotations do not say.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
import triton
import triton.language as tl
from torch import Tensor

from .configs import row_warps


@triton.jit
def norm_modulate_kernel(
    X, Y, Gate, Scale, Shift, Sum, Out, per_frame, frames, channels, gate_b, gate_t, scale_b, scale_t, eps,
    RESIDUAL: tl.constexpr, GATED: tl.constexpr, PLUS_ONE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one token. What torch writes and reads back three times stays in registers."""
    row = tl.program_id(0).to(tl.int64)
    frame, item = (row // per_frame) % frames, row // (per_frame * frames)
    channel = tl.arange(0, BLOCK)
    inside = channel < channels
    x = tl.load(X + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
    if RESIDUAL:
        y = tl.load(Y + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
        if GATED:
            y *= tl.load(Gate + item * gate_b + frame * gate_t + channel, mask=inside, other=0.0).to(tl.float32)
        x += y
        tl.store(Sum + row * channels + channel, x.to(Sum.dtype.element_ty), mask=inside)
    mean = tl.sum(x, 0) / channels
    centred = tl.where(inside, x - mean, 0.0)
    x = centred * tl.rsqrt(tl.sum(centred * centred, 0) / channels + eps)
    at = item * scale_b + frame * scale_t + channel
    scale = tl.load(Scale + at, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(Shift + at, mask=inside, other=0.0).to(tl.float32)
    if PLUS_ONE:
        scale += 1
    tl.store(Out + row * channels + channel, (x * scale + shift).to(Out.dtype.element_ty), mask=inside)


def gate_norm_modulate(
    x: Tensor, y: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor, eps: float, affine: bool = False
) -> tuple[Tensor, Tensor]:
    """(x + gate * y, LayerNorm of it * (1 + scale) + shift), x and y [B, T, S, C] contiguous.

    y None: no residual, the first of the pair is x itself; gate None: plain residual. gate, scale, shift [B, T or 1, C]
    (per frame), or [C]; affine: scale multiplies as it is, as a LayerNorm's own weight. fp32 inside.
    """
    b, t, s, c = x.shape
    if not x.is_contiguous() or (y is not None and (y.shape != x.shape or not y.is_contiguous())):
        raise ValueError(f"x {tuple(x.shape)} and y must be contiguous and alike")
    scale, shift = (v.expand(b, t, c) for v in (scale, shift))
    gate_rows = scale if gate is None else gate.expand(b, t, c)
    if shift.stride() != scale.stride() or scale.stride(2) != 1 or gate_rows.stride(2) != 1:
        shift, scale, gate_rows = shift.contiguous(), scale.contiguous(), gate_rows.contiguous()
    block = triton.next_power_of_2(c)
    out, total = x.new_empty(x.shape), x if y is None else x.new_empty(x.shape)
    norm_modulate_kernel[(b * t * s,)](
        x, x if y is None else y, gate_rows, scale, shift, total, out, s, t, c,
        gate_rows.stride(0), gate_rows.stride(1), scale.stride(0), scale.stride(1), eps,
        RESIDUAL=y is not None, GATED=gate is not None, PLUS_ONE=not affine,
        BLOCK=block, num_warps=row_warps(block),
    )  # fmt: skip
    return total, out
