"""Block-sparse attention, forward: full, partial and length-only blocks of one plan, exact online softmax."""

# Triton converts what a launch passes, which its annotations do not say.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..lists import PlanTensors
from .blocks import NO_KEY, next_block, visible
from .configs import LOG2E, Config, config_for, launch_options, target_of

LN2 = tl.constexpr(1 / LOG2E)


@triton.jit
def _walk(
    acc, rest, l, m, q, row_scale, K, V, k_scales, blocks, first, last, coords_q, coords_k, kv_len, boxes,
    PARTIAL: tl.constexpr, PADDED: tl.constexpr, INT8: tl.constexpr, N_BOX: tl.constexpr,
    BN: tl.constexpr, BLOCK_K: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fold the key blocks blocks[first:last] into (acc, rest, l, m); acc holds channels 0..DV, rest those from DV."""
    PARTS: tl.constexpr = BLOCK_K // BN
    steps = (last - first) * PARTS
    rows, dims = tl.arange(0, BN), tl.arange(0, D)
    block = next_block(blocks, first, 0, steps, PARTS)
    for i in range(steps):
        ahead = next_block(blocks, first, i + 1, steps, PARTS)
        part = (i % PARTS) * BN
        at = block * BLOCK_K + part + rows
        k = tl.load(K + at[:, None] * D + dims[None, :])
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scale = row_scale
        if INT8:
            s = s.to(tl.float32)
            scale = row_scale * tl.load(k_scales + block)
        if PARTIAL:
            s = tl.where(visible(coords_q, tl.load(coords_k + at), boxes, N_BOX), s, -float("inf"))
        elif PADDED:  # a whole tile of keys that ends in padding: its length says all
            s = tl.where((part + rows < tl.load(kv_len + block))[None, :], s, -float("inf"))
        m_new = tl.maximum(m, tl.max(s, 1) * scale)
        p = tl.exp2(s * scale[:, None] - m_new[:, None])
        shrink = tl.exp2(m - m_new)
        l = l * shrink + tl.sum(p, 1)
        v = tl.load(V + at[:, None] * D + tl.arange(0, DV)[None, :])
        p = p.to(v.dtype)
        acc = tl.dot(p, v, acc * shrink[:, None], input_precision=PRECISION)
        if DV < D:
            v = tl.load(V + DV + at[:, None] * D + tl.arange(0, DV)[None, :])
            rest = tl.dot(p, v, rest * shrink[:, None], input_precision=PRECISION)
        m = m_new
        block = ahead
    return acc, rest, l, m


@triton.jit
def attention_kernel(
    Q, K, V, Out, LSE, q_scales, k_scales, full_ptr, full_idx, part_ptr, part_idx, coords_q, coords_k, kv_len, boxes,
    slot_token, slots_q, slots_k, heads, tokens, scale,
    HAS_FULL: tl.constexpr, HAS_PART: tl.constexpr, PADDED: tl.constexpr, INT8: tl.constexpr, RASTER: tl.constexpr,
    N_BOX: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: BM queries of one head. Logits are kept times log2(e), so that softmax is exp2 and one FMA."""
    start, pair = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = start * BM + tl.arange(0, BM)
    dims = tl.arange(0, D)
    K += pair * slots_k * D
    V += pair * slots_k * D
    q = tl.load(Q + pair * slots_q * D + at[:, None] * D + dims[None, :])
    coords = tl.load(coords_q + at)
    row_scale = tl.zeros((BM,), tl.float32) + scale
    if INT8:
        row_scale *= tl.load(q_scales + pair * slots_q + at)
        k_scales += pair * (slots_k // BLOCK_K)
    acc = tl.zeros((BM, DV), tl.float32)
    rest = tl.zeros((BM, DV), tl.float32)
    l = tl.zeros((BM,), tl.float32)
    m = tl.full((BM,), NO_KEY, tl.float32)
    row = start * BM // BLOCK_Q
    if HAS_FULL:
        acc, rest, l, m = _walk(
            acc, rest, l, m, q, row_scale, K, V, k_scales, full_idx, tl.load(full_ptr + row),
            tl.load(full_ptr + row + 1), coords, coords_k, kv_len, boxes, False, PADDED, INT8, N_BOX, BN, BLOCK_K, D,
            DV, PRECISION,
        )  # fmt: skip
    if HAS_PART:
        acc, rest, l, m = _walk(
            acc, rest, l, m, q, row_scale, K, V, k_scales, part_idx, tl.load(part_ptr + row),
            tl.load(part_ptr + row + 1), coords, coords_k, kv_len, boxes, True, PADDED, INT8, N_BOX, BN, BLOCK_K, D,
            DV, PRECISION,
        )  # fmt: skip
    seen = (l > 0) & (coords >= 0)  # no key seen, or padding: an empty row
    l = tl.where(l > 0, l, 1.0)
    lse = (m.to(tl.float64) + tl.log2(l)) * LN2  # a logit of 600 in fp32 knows itself to 6e-5: round only once
    tl.store(LSE + pair * slots_q + at, tl.where(seen, lse.to(tl.float32), -float("inf")))
    if RASTER:  # back to the video's own order: [B, tokens, heads, D], padding left out
        token = tl.load(slot_token + at)
        to, here = ((pair // heads) * tokens + token) * heads + pair % heads, token >= 0
    else:
        to, here = pair * slots_q + at, at >= 0
    weight = tl.where(seen, 1 / l, 0.0)[:, None]
    to = Out + to[:, None] * D + tl.arange(0, DV)[None, :]
    tl.store(to, (acc * weight).to(Out.dtype.element_ty), mask=here[:, None])
    if DV < D:
        tl.store(to + DV, (rest * weight).to(Out.dtype.element_ty), mask=here[:, None])


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, plan: PlanTensors, block_q: int, block_k: int, scale: float, padded: bool = True,
    slot_token: Tensor | None = None, tokens: int = 0, int8_scales: tuple[Tensor, Tensor] | None = None,
    config: Config | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out, lse) of q [B, H, Sq, D] on k, v [B, H, Sk, D], contiguous and in tile order; plan: its int32 tensors.

    out like v; lse [B, H, Sq] fp32 in natural units; padding and rows that see no key give 0 and -inf. padded=False
    promises that every kv_len is block_k. With slot_token int32 [Sq] out is [B, tokens, H, D] in raster order instead.
    int8_scales: (per query [B, H, Sq], per block [B, H, Sk / block_k]) of int8 q and k. ValueError on shapes that
    do not fit.
    """
    check_shapes(q, k, v, plan, block_q, block_k)
    b, h, slots_q, d = q.shape
    name = "attention_int8" if int8_scales else "attention"
    c = config or config_for(name, target_of(q.device.index), v.element_size(), block_q, block_k)
    raster = slot_token is not None
    out = v.new_empty((b, tokens, h, d) if raster else q.shape)
    lse = q.new_empty(q.shape[:3], dtype=torch.float32)
    q_scales, k_scales = int8_scales or (lse, lse)
    attention_kernel[(slots_q // c.bm, b * h)](
        q, k, v, out, lse, q_scales, k_scales, plan.full_ptr, plan.full_idx, plan.part_ptr, plan.part_idx,
        plan.coords_q, plan.coords_k, plan.kv_len, plan.boxes, slot_token if raster else plan.coords_q,
        slots_q, k.shape[2], h, tokens, scale * LOG2E,
        HAS_FULL=plan.full_idx.numel() > 0, HAS_PART=plan.part_idx.numel() > 0, PADDED=padded,
        INT8=int8_scales is not None, RASTER=raster, N_BOX=len(plan.boxes), BM=c.bm, BN=c.bn, BLOCK_Q=block_q,
        BLOCK_K=block_k, D=d, DV=min(c.dv, d), PRECISION=precision(v), **launch_options(c),
    )  # fmt: skip
    return out, lse


def check_shapes(q: Tensor, k: Tensor, v: Tensor, plan: PlanTensors, block_q: int, block_k: int) -> None:
    """ValueError unless q, k and v [B, H, slots, D] fit the plan."""
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(f"q, k, v have shapes {[tuple(x.shape) for x in (q, k, v)]}; expected [B, H, slots, D] alike")
    if q.shape[3] not in (64, 128):
        raise ValueError(f"heads of {q.shape[3]} channels; the Triton kernels are built for 64 and 128")
    for name, x, coords, block in (("query", q, plan.coords_q, block_q), ("key", k, plan.coords_k, block_k)):
        if x.shape[2] % block or coords.shape != (x.shape[2],):
            raise ValueError(
                f"{x.shape[2]} {name} slots, {len(coords)} coordinates; expected equal, a multiple of {block}"
            )
    if not all(x.is_contiguous() for x in (q, k, v)):
        raise ValueError("q, k and v must be contiguous in tile order")


def precision(x: Tensor) -> str:
    """fp32 stays fp32, by three TF32 products on NVIDIA: one has ten bits, a thousand times SDPA's error."""
    if x.dtype != torch.float32:
        return "tf32"
    return "ieee" if torch.version.hip else "tf32x3"
