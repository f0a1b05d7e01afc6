"""8-bit query-key products for attention, opt-in: K smoothed by its mean, softmax and P V as exact as without."""

# Triton converts what a launch passes, which its annotations do not say.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..lists import PlanTensors
from .attention import attention_forward, check_shapes


@triton.jit
def quantize_kernel(
    X, Mean, Coords, Y, Scales, slots,
    CENTRED: tl.constexpr, PER_ROW: tl.constexpr, BLOCK: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """One program: one block of slots of one head to int8 with a scale for each row, or one for the block."""
    block, pair = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at, dims = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    to = pair * slots * D + at[:, None] * D + dims[None, :]
    x = tl.load(X + to).to(tl.float32)
    if CENTRED:  # padding stays 0, lest it set the scale
        x = tl.where((tl.load(Coords + at) >= 0)[:, None], x - tl.load(Mean + pair * D + dims)[None, :], 0.0)
    if PER_ROW:
        scale = tl.maximum(tl.max(tl.abs(x), 1), 1e-20) / 127
        y = x / scale[:, None]
        tl.store(Scales + pair * slots + at, scale)
    else:
        scale = tl.maximum(tl.max(tl.max(tl.abs(x), 1), 0), 1e-20) / 127
        y = x / scale
        tl.store(Scales + pair * (slots // BLOCK) + block, scale)
    tl.store(Y + to, tl.floor(y + 0.5).to(tl.int8))


def quantize(x: Tensor, block: int, coords: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x [B, H, slots, D] -> int8 like it and fp32 scales: [B, H, slots], or with mean [B, H, D] taken off first,
    [B, H, slots / block]."""
    b, h, slots, d = x.shape
    y = torch.empty_like(x, dtype=torch.int8)
    scales = x.new_empty((b, h, slots if mean is None else slots // block), dtype=torch.float32)
    quantize_kernel[(slots // block, b * h)](
        x, scales if mean is None else mean, coords, y, scales, slots,
        CENTRED=mean is not None, PER_ROW=mean is None, BLOCK=block, D=d, num_warps=4,
    )  # fmt: skip
    return y, scales


def attention_int8(
    q: Tensor, k: Tensor, v: Tensor, plan: PlanTensors, block_q: int, block_k: int, scale: float, **more
) -> Tensor:
    """attention_forward with int8 products of q and k; inference only, no lse. rel-L1 about 1% on normal inputs.

    K's mean over tokens adds the same to all logits of a query, so softmax does not see it, and taking it off leaves
    int8 the part that matters (SageAttention, arXiv 2410.02367). Padding of k must be zero.
    """
    check_shapes(q, k, v, plan, block_q, block_k)
    mean = k.sum(2, dtype=torch.float32) / (plan.coords_k >= 0).sum().clamp(min=1)
    q8, q_scales = quantize(q, block_q, plan.coords_q)
    k8, k_scales = quantize(k, block_k, plan.coords_k, mean)
    scales = q_scales, k_scales
    return attention_forward(q8, k8, v, plan, block_q, block_k, scale, int8_scales=scales, **more)[0]
