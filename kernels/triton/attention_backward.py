"""Block-sparse attention, backward: dQ over a query block's keys, dK and dV over a key block's queries."""

# Triton converts what a launch passes, which its annotations do not say.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..lists import PlanTensors
from .attention import check_shapes, precision
from .blocks import next_block, visible
from .configs import LOG2E, Config, config_for, launch_options, target_of

LOG2 = tl.constexpr(LOG2E)


@triton.jit
def delta_kernel(Out, DOut, LSE, Delta, LSE2, rows, BM: tl.constexpr, D: tl.constexpr):
    """Delta = row sums of out * dout; LSE2 = lse * log2(e), +inf for empty rows, whose probabilities then are 0."""
    at = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    here = at < rows
    to = at[:, None] * D + tl.arange(0, D)[None, :]
    out = tl.load(Out + to, mask=here[:, None], other=0.0).to(tl.float32)
    dout = tl.load(DOut + to, mask=here[:, None], other=0.0).to(tl.float32)
    lse = tl.load(LSE + at, mask=here, other=0.0)
    tl.store(Delta + at, tl.sum(out * dout, 1), mask=here)
    lse2 = (lse.to(tl.float64) * LOG2).to(tl.float32)
    tl.store(LSE2 + at, tl.where(lse == -float("inf"), float("inf"), lse2), mask=here)


@triton.jit
def _walk_keys(
    dq, rest, q, q_rest, dout, lse2, delta, K, V, scale, blocks, first, last, coords_q, coords_k, kv_len, boxes,
    PARTIAL: tl.constexpr, PADDED: tl.constexpr, N_BOX: tl.constexpr,
    BN: tl.constexpr, BLOCK_K: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fold the key blocks blocks[first:last] into dq: its channels 0..DV and, in rest, those from DV."""
    PARTS: tl.constexpr = BLOCK_K // BN
    steps = (last - first) * PARTS
    rows, dims, channels = tl.arange(0, BN), tl.arange(0, D), tl.arange(0, DV)
    block = next_block(blocks, first, 0, steps, PARTS)
    for i in range(steps):
        ahead = next_block(blocks, first, i + 1, steps, PARTS)
        part = (i % PARTS) * BN
        at = block * BLOCK_K + part + rows
        k = tl.load(K + at[:, None] * D + channels[None, :])
        p = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        if DV < D:
            k_rest = tl.load(K + DV + at[:, None] * D + channels[None, :])
            p = tl.dot(q_rest, tl.trans(k_rest), p, input_precision=PRECISION)
        v = tl.load(V + at[:, None] * D + dims[None, :])
        p = tl.exp2(p * scale - lse2[:, None])
        if PARTIAL:
            p = tl.where(visible(coords_q, tl.load(coords_k + at), boxes, N_BOX), p, 0.0)
        elif PADDED:
            p = tl.where((part + rows < tl.load(kv_len + block))[None, :], p, 0.0)
        ds = p * (tl.dot(dout, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        ds = ds.to(k.dtype)
        dq = tl.dot(ds, k, dq, input_precision=PRECISION)
        if DV < D:
            rest = tl.dot(ds, k_rest, rest, input_precision=PRECISION)
        block = ahead
    return dq, rest


@triton.jit
def dq_kernel(
    Q, K, V, DOut, LSE2, Delta, DQ, full_ptr, full_idx, part_ptr, part_idx, coords_q, coords_k, kv_len, boxes,
    slots_q, slots_k, scale,
    HAS_FULL: tl.constexpr, HAS_PART: tl.constexpr, PADDED: tl.constexpr, N_BOX: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, D: tl.constexpr, DV: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: dQ of BM queries of one head."""
    start, pair = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = start * BM + tl.arange(0, BM)
    dims, channels = tl.arange(0, D), tl.arange(0, DV)
    K += pair * slots_k * D
    V += pair * slots_k * D
    here = pair * slots_q + at
    q = tl.load(Q + here[:, None] * D + channels[None, :])
    q_rest = tl.load(Q + D - DV + here[:, None] * D + channels[None, :])
    dout = tl.load(DOut + here[:, None] * D + dims[None, :])
    lse2, delta, coords = tl.load(LSE2 + here), tl.load(Delta + here), tl.load(coords_q + at)
    dq = tl.zeros((BM, DV), tl.float32)
    rest = tl.zeros((BM, DV), tl.float32)
    row = start * BM // BLOCK_Q
    if HAS_FULL:
        dq, rest = _walk_keys(
            dq, rest, q, q_rest, dout, lse2, delta, K, V, scale * LOG2, full_idx, tl.load(full_ptr + row),
            tl.load(full_ptr + row + 1), coords, coords_k, kv_len, boxes,
            False, PADDED, N_BOX, BN, BLOCK_K, D, DV, PRECISION,
        )  # fmt: skip
    if HAS_PART:
        dq, rest = _walk_keys(
            dq, rest, q, q_rest, dout, lse2, delta, K, V, scale * LOG2, part_idx, tl.load(part_ptr + row),
            tl.load(part_ptr + row + 1), coords, coords_k, kv_len, boxes,
            True, PADDED, N_BOX, BN, BLOCK_K, D, DV, PRECISION,
        )  # fmt: skip
    to = DQ + here[:, None] * D + channels[None, :]
    tl.store(to, (dq * scale).to(DQ.dtype.element_ty))
    if DV < D:
        tl.store(to + DV, (rest * scale).to(DQ.dtype.element_ty))


@triton.jit
def _walk_queries(
    dk, dv, k, v, Q, DOut, LSE2, Delta, scale, blocks, first, last, coords_q, coords_k, boxes,
    PARTIAL: tl.constexpr, N_BOX: tl.constexpr, BM: tl.constexpr, BLOCK_Q: tl.constexpr, D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Everything transposed, [keys, queries]: then P and dS are already what dV and dK multiply from the left."""
    PARTS: tl.constexpr = BLOCK_Q // BM
    steps = (last - first) * PARTS
    rows, dims = tl.arange(0, BM), tl.arange(0, D)
    block = next_block(blocks, first, 0, steps, PARTS)
    for i in range(steps):
        ahead = next_block(blocks, first, i + 1, steps, PARTS)
        at = block * BLOCK_Q + (i % PARTS) * BM + rows
        q = tl.load(Q + at[:, None] * D + dims[None, :])
        dout = tl.load(DOut + at[:, None] * D + dims[None, :])
        p = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale
        p = tl.exp2(p - tl.load(LSE2 + at)[None, :])
        if PARTIAL:
            p = tl.where(tl.trans(visible(tl.load(coords_q + at), coords_k, boxes, N_BOX)), p, 0.0)
        dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision=PRECISION)
        ds = p * (tl.dot(v, tl.trans(dout), input_precision=PRECISION) - tl.load(Delta + at)[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION)
        block = ahead
    return dk, dv


@triton.jit
def dkv_kernel(
    Q, K, V, DOut, LSE2, Delta, GradK, GradV, full_ptr, full_idx, part_ptr, part_idx, coords_q, coords_k, kv_len, boxes,
    slots_q, slots_k, scale,
    HAS_FULL: tl.constexpr, HAS_PART: tl.constexpr, N_BOX: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: dK and dV of BN keys of one head. Padding keys need no mask in the loop: they touch only their own
    rows, which are zeroed at the end."""
    start, pair = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = start * BN + tl.arange(0, BN)
    to = pair * slots_k * D + at[:, None] * D + tl.arange(0, D)[None, :]
    Q += pair * slots_q * D
    DOut += pair * slots_q * D
    LSE2 += pair * slots_q
    Delta += pair * slots_q
    k, v, coords = tl.load(K + to), tl.load(V + to), tl.load(coords_k + at)
    dk = tl.zeros((BN, D), tl.float32)
    dv = tl.zeros((BN, D), tl.float32)
    row = start * BN // BLOCK_K
    if HAS_FULL:
        dk, dv = _walk_queries(
            dk, dv, k, v, Q, DOut, LSE2, Delta, scale * LOG2, full_idx, tl.load(full_ptr + row),
            tl.load(full_ptr + row + 1), coords_q, coords, boxes, False, N_BOX, BM, BLOCK_Q, D, PRECISION,
        )  # fmt: skip
    if HAS_PART:
        dk, dv = _walk_queries(
            dk, dv, k, v, Q, DOut, LSE2, Delta, scale * LOG2, part_idx, tl.load(part_ptr + row),
            tl.load(part_ptr + row + 1), coords_q, coords, boxes, True, N_BOX, BM, BLOCK_Q, D, PRECISION,
        )  # fmt: skip
    real = (at - row * BLOCK_K < tl.load(kv_len + row))[:, None]
    tl.store(GradK + to, tl.where(real, dk * scale, 0.0).to(GradK.dtype.element_ty))
    tl.store(GradV + to, tl.where(real, dv, 0.0).to(GradV.dtype.element_ty))


def attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, plan: PlanTensors, block_q: int,
    block_k: int, scale: float, padded: bool = True, configs: tuple[Config, Config] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv), shaped like q, k, v, of attention_forward, which gave out and lse in tile order.

    Each sum is written by one program, so results repeat bit for bit. ValueError as in the forward.
    """
    check_shapes(q, k, v, plan, block_q, block_k)
    b, h, slots_q, d = q.shape
    slots_k, dout = k.shape[2], dout.contiguous()
    delta, lse2 = torch.empty_like(lse), torch.empty_like(lse)
    rows = lse.numel()
    delta_kernel[(triton.cdiv(rows, 32),)](out, dout, lse, delta, lse2, rows, BM=32, D=d, num_warps=4)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    c_q, c_kv = configs or (
        config_for(name, target_of(q.device.index), q.element_size(), block_q, block_k)
        for name in ("attention_dq", "attention_dkv")
    )
    where = plan.coords_q, plan.coords_k, plan.kv_len, plan.boxes, slots_q, slots_k, scale
    common = dict(N_BOX=len(plan.boxes), BLOCK_Q=block_q, BLOCK_K=block_k, D=d, PRECISION=precision(q))
    dq_kernel[(slots_q // c_q.bm, b * h)](
        q, k, v, dout, lse2, delta, dq, plan.full_ptr, plan.full_idx, plan.part_ptr, plan.part_idx, *where,
        HAS_FULL=plan.full_idx.numel() > 0, HAS_PART=plan.part_idx.numel() > 0, PADDED=padded,
        BM=c_q.bm, BN=c_q.bn, DV=min(c_q.dv, d), **common, **launch_options(c_q),
    )  # fmt: skip
    dkv_kernel[(slots_k // c_kv.bn, b * h)](
        q, k, v, dout, lse2, delta, dk, dv, plan.full_ptr_t, plan.full_idx_t, plan.part_ptr_t, plan.part_idx_t, *where,
        HAS_FULL=plan.full_idx_t.numel() > 0, HAS_PART=plan.part_idx_t.numel() > 0,
        BM=c_kv.bm, BN=c_kv.bn, **common, **launch_options(c_kv),
    )  # fmt: skip
    return dq, dk, dv
