"""What every attention kernel shares: visibility of keys in the box predicate, and the walk over a list of blocks."""

# Triton unrolls static_range, whose annotations do not say that it is iterable.
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false
import triton
import triton.language as tl

# Running maximum before any key was seen. Finite, so that a fully masked row meets exp2(-inf + 1e30) = 0 and never
# -inf - -inf = NaN; no guard is needed in the loop.
NO_KEY = tl.constexpr(-1.0e30)
FAR = tl.constexpr(1 << 20)  # where padding sits on the time axis: out of reach of any box, on either side
FIELD = tl.constexpr(1023)  # t | h << 10 | w << 20


@triton.jit
def visible(coords_q, coords_k, boxes, N_BOX: tl.constexpr):
    """[M, N] whether key k is in a box around query q; coords packed int32, -1 = padding, boxes [N_BOX, 4] int32.

    One unsigned comparison an axis: -r <= q - k <= r is uint(q - k + r) <= 2r, and the causal 0 <= q - k <= r the same
    without the shift. The shift is added to the query's vector, so a box costs a subtract and a compare an element.
    """
    t_q = tl.where(coords_q < 0, -FAR, coords_q & FIELD)
    t_k = tl.where(coords_k < 0, FAR, coords_k & FIELD)
    h_q, h_k = (coords_q >> 10) & FIELD, (coords_k >> 10) & FIELD
    w_q, w_k = coords_q >> 20, coords_k >> 20
    result = tl.full((coords_q.shape[0], coords_k.shape[0]), 0, tl.int1)
    for b in tl.static_range(N_BOX):
        r_t, r_h, r_w = tl.load(boxes + 4 * b), tl.load(boxes + 4 * b + 1), tl.load(boxes + 4 * b + 2)
        past = tl.load(boxes + 4 * b + 3) != 0
        inside = _within(t_q + tl.where(past, 0, r_t), t_k, tl.where(past, r_t, 2 * r_t))
        inside &= _within(h_q + r_h, h_k, 2 * r_h)
        inside &= _within(w_q + r_w, w_k, 2 * r_w)
        result |= inside
    return result


@triton.jit
def _within(q, k, span):
    return (q[:, None] - k[None, :]).to(tl.uint32) <= span.to(tl.uint32)


@triton.jit
def next_block(blocks, first, i, steps, PARTS: tl.constexpr):
    """Number of the block that step i of a list works on; each block is worked on in PARTS equal parts.

    Loaded one step ahead and carried through the loop: with the load inside, the addresses of K and V would wait for
    it and the pipeliner keeps a single buffer of each.
    """
    return tl.load(blocks + first + i // PARTS, mask=i < steps, other=0)
