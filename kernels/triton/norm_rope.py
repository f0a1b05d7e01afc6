"""q/k RMS norm across heads, 3-D rotary positions and tile order, in one pass over the projections' output."""

# Triton converts what a launch passes, which its annotations do not say.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
import triton
import triton.language as tl
from torch import Tensor

from .configs import row_warps


@triton.jit
def norm_rope_kernel(
    X, Weight, Cos, Sin, Coords, SlotToken, Y, slots, heads, stride_b, stride_l, eps,
    ROTATE: tl.constexpr, D: tl.constexpr, T_PAIRS: tl.constexpr, S_PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one slot of one batch item, all heads. Without ROTATE it only moves the token (values)."""
    slot, item = tl.program_id(0), tl.program_id(1).to(tl.int64)
    token = tl.load(SlotToken + slot)
    real = token >= 0
    HALF: tl.constexpr = D // 2
    pair = tl.arange(0, BLOCK // 2)  # pairs of neighbouring channels, over all heads
    channel = tl.arange(0, BLOCK)
    inside = channel < heads * D
    x = tl.load(X + item * stride_b + token * stride_l + channel, mask=inside & real, other=0.0).to(tl.float32)
    if ROTATE:
        x *= tl.rsqrt(tl.sum(x * x, 0) / (heads * D) + eps)
        x *= tl.load(Weight + channel, mask=inside, other=0.0).to(tl.float32)
        coords = tl.load(Coords + slot)
        j = pair % HALF
        t, h, w = coords & 1023, (coords >> 10) & 1023, coords >> 20
        place = tl.where(j < T_PAIRS, t, tl.where(j < T_PAIRS + S_PAIRS, h, w))
        cos = tl.load(Cos + place * HALF + j, mask=real, other=0.0)
        sin = tl.load(Sin + place * HALF + j, mask=real, other=0.0)
        even, odd = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
        x = tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (BLOCK,))
    to = ((item * heads + channel // D) * slots + slot) * D + channel % D
    tl.store(Y + to, x.to(Y.dtype.element_ty), mask=inside)


def norm_rope_to_tiles(
    x: Tensor,
    weight: Tensor,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    pairs: tuple[int, int],
    coords: Tensor,
    slot_token: Tensor,
) -> Tensor:
    """x [B, L, heads * D] in raster order, as a projection leaves it -> [B, heads, slots, D] in tile order.

    Normalised over all heads together with weight [heads * D], then rotated in neighbouring pairs. cos, sin fp32
    [places, D/2]: place p on the axis that pair j belongs to; pairs: how many are (time, each space axis)'s. coords,
    slot_token int32 [slots], -1 = padding, which becomes 0. Wan's order of operations, in fp32 throughout.
    """
    return _launch(x, weight, eps, cos, sin, pairs, coords, slot_token)


def values_to_tiles(x: Tensor, head_dim: int, slot_token: Tensor) -> Tensor:
    """x [B, L, heads * D] in raster order -> [B, heads, slots, D] in tile order, padding 0."""
    pairs = (head_dim // 2, 0)
    return _launch(x, x, 0.0, x.new_empty(0, head_dim // 2), x, pairs, slot_token, slot_token, rotate=False)


def _launch(x, weight, eps, cos, sin, pairs, coords, slot_token, rotate=True) -> Tensor:
    b, _, channels = x.shape
    d, slots = 2 * cos.shape[1], len(slot_token)
    if channels % d or x.stride(2) != 1 or (rotate and weight.shape != (channels,)):
        raise ValueError(f"x {tuple(x.shape)}, weight {tuple(weight.shape)}; expected [B, L, heads * {d}] and alike")
    y, block = x.new_empty(b, channels // d, slots, d), triton.next_power_of_2(channels)
    norm_rope_kernel[(slots, b)](
        x, weight, cos, sin, coords, slot_token, y, slots, channels // d, x.stride(0), x.stride(1), eps,
        ROTATE=rotate, D=d, T_PAIRS=pairs[0], S_PAIRS=pairs[1], BLOCK=block, num_warps=row_warps(block),
    )  # fmt: skip
    return y
