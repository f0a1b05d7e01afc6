"""How fast the attention kernels are here, and how exact: on a GPU against what else there is, on a CPU against SDPA.

    python bench/kernels.py [--grid 21x30x52] [--heads 12] [--dtype bf16] [--backward] [--json PATH]
    python -m vdit.bench kernels     on a CPU, one thread: sparse attention as a multiple of density times dense SDPA
    python bench/kernels.py --cpu

Every time stands beside an error: relative, of 64 sampled queries, against fp64. TFLOP/s count visible pairs only and
come with their share of a measured matrix product; GB/s with their share of a measured copy. On a GPU: SDPA (flash,
cuDNN), FlexAttention with the same block lists, and SageAttention where it is installed, over plans of falling density;
then the fused elementwise kernels against eager PyTorch and torch.compile. On a CPU: sparse attention
at 4,096 tokens as a multiple of density times dense SDPA, and the elementwise operators as the reference computes them.
"""

# ruff: noqa: B023  (closures run within the iteration that makes them)
from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from vdit.bench.rows import Row, runs
from vdit.kernels import cpu, dispatch, reference
from vdit.kernels import plan as plans
from vdit.kernels.grid import Grid, tile_order, to_tiles, unpack

PATTERNS = {
    "full": plans.FULL,
    "frame-causal": plans.FRAME_CAUSAL,
    "tiles 5x4x7": plans.sliding_tiles(5, 4, 7),
    "tiles 3x3x5": plans.sliding_tiles(3, 3, 5),
    "tiles 3x3x3": plans.sliding_tiles(3, 3, 3),
    "window 2,7,12": plans.window(2, 7, 12),
    "spatial": plans.SPATIAL,
}


def seconds(run, device: torch.device, budget: float = 1.0) -> float:
    """Median time of a call. GPU: events around each call, the L2 cache overwritten before it."""
    run()
    if device.type == "cpu":
        times, end = [], time.perf_counter() + budget
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    flush = torch.empty(256 << 20, dtype=torch.int8, device=device)
    times, end = [], time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < end:
        flush.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    return statistics.median(times)


def visible_rows(plan, rows: Tensor) -> Tensor:
    """bool [rows, slots_k]: what the plan shows to some query slots, from its lists and boxes."""
    p = plan.tensors
    coords = p.coords_k[None]
    (tq, hq, wq), (tk, hk, wk) = unpack(p.coords_q[rows][:, None]), unpack(coords)
    seen = torch.zeros(len(rows), plan.slots_k, dtype=torch.bool, device=rows.device)
    for rt, rh, rw, causal in p.boxes.tolist():
        box = ((tk - tq).abs() <= rt) & ((hk - hq).abs() <= rh) & ((wk - wq).abs() <= rw)
        seen |= box & (tk <= tq) if causal else box
    for i, block in enumerate((rows // plan.block_q).tolist()):
        whole, partial = torch.zeros_like(seen[i]), torch.zeros_like(seen[i])
        for mask, ptr, idx in ((whole, p.full_ptr, p.full_idx), (partial, p.part_ptr, p.part_idx)):
            mask.view(-1, plan.block_k)[idx[ptr[block] : ptr[block + 1]].long()] = True
        seen[i] = whole | (partial & seen[i])
    return seen & (coords >= 0)


def error(out: Tensor, q: Tensor, k: Tensor, v: Tensor, plan) -> float:
    """Relative error of out [B, H, slots, D] on 64 queries of the first head, against fp64."""
    real = (plan.tensors.coords_q >= 0).nonzero()[:, 0]
    rows = real[torch.linspace(0, len(real) - 1, 64, device=real.device).long()]
    s = q[0, 0, rows].double() @ k[0, 0].double().T * q.shape[-1] ** -0.5
    truth = s.masked_fill(~visible_rows(plan, rows), float("-inf")).softmax(-1) @ v[0, 0].double()
    return float((out[0, 0, rows].double() - truth).norm() / truth.norm())


def flex(plan):
    """FlexAttention on the plan's own blocks and predicate: a function of q, k, v in tile order."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    p = plan.tensors
    coords_q, coords_k, boxes = p.coords_q, p.coords_k, p.boxes.tolist()

    def shown(b, h, i, j):
        (tq, hq, wq), (tk, hk, wk) = unpack(coords_q[i]), unpack(coords_k[j])
        seen = torch.full_like(tq, not boxes, dtype=torch.bool)
        for rt, rh, rw, causal in boxes:
            box = ((tk - tq).abs() <= rt) & ((hk - hq).abs() <= rh) & ((wk - wq).abs() <= rw)
            seen = seen | (box & (tk <= tq) if causal else box)
        return seen & (coords_k[j] >= 0) & (coords_q[i] >= 0)

    def matrix(ptr: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
        counts = ptr.diff()
        out = torch.zeros(len(counts), plan.slots_k // plan.block_k, dtype=torch.int32, device=idx.device)
        column = torch.arange(out.shape[1], device=idx.device)
        out[column < counts[:, None]] = idx
        return counts[None, None], out[None, None]

    # a whole block that ends in padding counts as partial there
    part, full = matrix(p.part_ptr, p.part_idx), matrix(p.full_ptr, p.full_idx)
    if plan.padded:
        part, full = (part[0] + full[0], _joined(part, full)), (torch.zeros_like(full[0]), full[1])
    mask = BlockMask.from_kv_blocks(*part, *full, BLOCK_SIZE=(plan.block_q, plan.block_k), mask_mod=shown)
    run = torch.compile(flex_attention) if p.kv_len.is_cuda else flex_attention
    return lambda q, k, v: run(q, k, v, block_mask=mask)


def _joined(part, full) -> Tensor:
    out = part[1].clone()
    column = torch.arange(out.shape[-1], device=out.device)
    place = (column >= part[0][..., None]) & (column < (part[0] + full[0])[..., None])
    out[place] = full[1][column < full[0][..., None]]
    return out


def dense_rivals() -> dict:
    """Name -> what makes a function of q, k, v [B, H, L, D], or raises with why it cannot."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def sdpa(backend):
        def run(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v)

        return run

    def sage():
        from sageattention import sageattn

        return lambda q, k, v: sageattn(q, k, v, tensor_layout="HND")

    flash, cudnn = SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION
    return {"SDPA flash": lambda: sdpa(flash), "SDPA cuDNN": lambda: sdpa(cudnn), "SageAttention": sage}


def gpu_attention(grid: Grid, heads: int, dtype: torch.dtype, backward: bool, peak: float, rows: list[dict]) -> None:
    from vdit.kernels.triton.attention import attention_forward
    from vdit.kernels.triton.attention_backward import attention_backward
    from vdit.kernels.triton.attention_int8 import attention_int8

    device, d = torch.device("cuda"), 128
    for name, pattern in PATTERNS.items():
        plan = plans.plan(grid, pattern, device="cuda")
        print(f"\n{name}: {plan.explain()}", flush=True)
        x = [torch.randn(1, grid.tokens, heads, d, device=device, dtype=dtype) for _ in range(4)]
        q, k, v, dout = (to_tiles(t, plan.order_q) for t in x)
        sizes = plan.block_q, plan.block_k, d**-0.5, plan.padded
        flop = 4.0 * plan.visible * d * heads
        ours = {
            "ours": lambda: attention_forward(q, k, v, plan.tensors, *sizes)[0],
            "ours int8": lambda: attention_int8(q, k, v, plan.tensors, *sizes[:3], padded=plan.padded),
        }
        for kernel, run in ours.items():
            rows.append(show(name, kernel, seconds(run, device), error(run(), q, k, v, plan), plan.density, flop, peak))
        if backward:
            out, lse = attention_forward(q, k, v, plan.tensors, *sizes)
            taken = seconds(lambda: attention_backward(dout, q, k, v, out, lse, plan.tensors, *sizes), device)
            rows.append(show(name, "ours, backward", taken, None, plan.density, 2.5 * flop, peak))
        raster = [t.transpose(1, 2).contiguous() for t in x[:3]]
        for kernel, make in ((dense_rivals() if plan.is_full else {}) | {"FlexAttention": lambda: flex(plan)}).items():
            try:
                run, args = make(), (q, k, v) if kernel == "FlexAttention" else raster
                taken, out = seconds(lambda: run(*args), device), run(*args)
                out = out if args[0] is q else to_tiles(out.transpose(1, 2), plan.order_q)
                wrong = error(out, q, k, v, plan)
                rows.append(show(name, kernel, taken, wrong, plan.density, flop, peak))
            except Exception as reason:  # noqa: BLE001  a rival that is absent or refuses is a line, not the end
                print(f"  {kernel:18} not run: {str(reason).splitlines()[0][:90] if str(reason) else repr(reason)}")


def show(plan: str, kernel: str, taken: float, wrong: float | None, density: float, flop: float, peak: float) -> dict:
    rate = flop / taken / 1e12
    text = "" if wrong is None else f"  error {wrong:.1e}"
    print(f"  {kernel:18} {taken * 1e3:9.3f} ms {rate:8.4g} TFLOP/s ({rate / peak:4.0%} of a matmul){text}", flush=True)
    return {"plan": plan, "kernel": kernel, "seconds": taken, "error": wrong, "density": density, "tflops": rate}


def elementwise(grid: Grid, heads: int, dtype: torch.dtype, device: torch.device, copy: float, rows: list) -> None:
    """norm + RoPE + tiles and gate + norm + modulate: ours, the chunked reference, eager PyTorch and torch.compile."""
    d, c = 128, heads * 128
    order = tile_order(grid, plans.plan(grid, plans.sliding_tiles(3, 3, 3)).order_q.tile).to(device)
    x, y = (torch.randn(1, grid.tokens, c, device=device, dtype=dtype) for _ in range(2))
    weight = torch.ones(c, device=device, dtype=dtype)
    gate, mul, add = (torch.randn(1, grid.t, c, device=device) for _ in range(3))
    pairs = (d - 4 * (d // 6)) // 2
    angle = torch.rand(max(grid.sides), d // 2, device=device)
    places = order.coords, order.slot_token, order.token_slot

    def rope():
        return reference.norm_rope_tiles(x, weight, angle.cos(), angle.sin(), pairs, *places, heads, 1e-6)

    def norm():
        return reference.residual_norm(x, y, gate, mul, add, 1e-6)

    byte = x.element_size() * x.numel()
    work = {"norm + RoPE + tiles": (rope, 2 * byte), "gate + norm + modulate": (norm, 4 * byte)}
    for name, (plain, moved) in work.items():
        runs = {"reference": plain}
        if device.type == "cuda":
            ours = _ours(name, x, y, weight, gate, mul, add, angle, pairs, order)
            runs |= {"torch.compile": torch.compile(plain), "ours": ours}
        truth = [t.float() for t in _pair(plain())]
        for kernel, run in runs.items():
            taken = seconds(run, device)
            wrong = max(float((a.float() - b).norm() / b.norm()) for a, b in zip(_pair(run()), truth, strict=False))
            rate = moved / taken / 1e9
            print(
                f"  {name:24} {kernel:14} {taken * 1e3:9.3f} ms {rate:8.1f} GB/s ({rate / copy:4.0%} of a copy)"
                f"  differs {wrong:.1e}",
                flush=True,
            )
            rows.append({"op": name, "kernel": kernel, "seconds": taken, "gbs": rate, "differs": wrong})


def _ours(name: str, x, y, weight, gate, mul, add, angle, pairs: int, order):
    from vdit.kernels.triton.norm_modulate import gate_norm_modulate
    from vdit.kernels.triton.norm_rope import norm_rope_to_tiles

    if name.startswith("norm"):
        axes, cos, sin = (pairs, (angle.shape[1] - pairs) // 2), angle.cos(), angle.sin()
        return lambda: norm_rope_to_tiles(x, weight, 1e-6, cos, sin, axes, order.coords, order.slot_token)
    framed = [t.unflatten(1, (gate.shape[1], -1)) for t in (x, y)]
    return lambda: [t.flatten(1, 2) for t in gate_norm_modulate(*framed, gate, mul, add, 1e-6, affine=True)]


def _pair(x):
    return x if isinstance(x, (tuple, list)) else (x,)


def ceilings(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """(TFLOP/s of a large matrix product, GB/s of a copy), measured."""
    n, size = (8192, 1 << 30) if device.type == "cuda" else (1024, 1 << 26)
    a = torch.randn(n, n, device=device, dtype=dtype)
    x = torch.empty(size, dtype=torch.int8, device=device)
    to = torch.empty_like(x)
    peak = 2 * n**3 / seconds(lambda: a @ a, device) / 1e12
    copy = 2 * size / seconds(lambda: to.copy_(x), device) / 1e9
    print(f"measured ceilings: {peak:.2f} TFLOP/s in a matrix product, {copy:.1f} GB/s in a copy", flush=True)
    return peak, copy


def cpu_attention(grid: Grid, heads: int, peak: float, rows: list[dict]) -> None:
    """Forward and backward of each pattern, with their time as a multiple of density times dense SDPA's."""
    device, d = torch.device("cpu"), 128
    x = [torch.randn(1, heads, grid.tokens, d, requires_grad=True) for _ in range(3)]
    out = F.scaled_dot_product_attention(*x)
    dout = torch.randn_like(out)
    dense = {
        "forward": seconds(lambda: F.scaled_dot_product_attention(*(t.detach() for t in x)), device),
        "backward": seconds(lambda: torch.autograd.grad(out, x, dout, retain_graph=True), device),
    }
    print("dense SDPA: " + ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in dense.items()), flush=True)
    for name, pattern in {**PATTERNS, "tiles 2x2x3": plans.sliding_tiles(2, 2, 3)}.items():
        plan = plans.plan(grid, pattern)
        print(f"\n{name}: {plan.explain()}", flush=True)
        q, k, v = (t.detach().transpose(1, 2).contiguous() for t in x)
        out_raster, lse = cpu.attention(q, k, v, plan.gathers, d**-0.5)
        given = torch.randn_like(out_raster), q, k, v, out_raster, lse
        runs = {
            "forward": partial(cpu.attention, q, k, v, plan.gathers, d**-0.5),
            "backward": partial(cpu.attention_backward, *given, plan.gathers, d**-0.5),
        }
        tiles = [to_tiles(t, plan.order_q) for t in (out_raster, q, k, v)]
        for way, run in runs.items():
            taken, flop = seconds(run, device), (4.0 if way == "forward" else 10.0) * plan.visible * d * heads
            wrong = error(*tiles, plan) if way == "forward" else None
            rows.append(show(name, f"cpu {way}", taken, wrong, plan.density, flop, peak))
            print(f"  {taken / plan.density / dense[way]:.2f} of density x dense", flush=True)


# Grids of 4,096 and 8,192 tokens in 4 tiles along each axis but the last of the second, which has 8.
GRIDS = {4096: Grid(16, 16, 16), 8192: Grid(16, 16, 32)}


def rows(quick: bool) -> Iterator[Row]:
    """Processor time on one thread of forward and backward, as a multiple of density times dense SDPA's."""
    torch.set_num_threads(1)
    for tokens, grid in GRIDS.items():
        x = [torch.randn(1, grid.tokens, 2, 128, requires_grad=True) for _ in range(3)]
        long = grid.w // 16  # tiles of the last axis in place of one
        patterns = {
            "tiles": (plans.sliding_tiles(2, 2, 3 * long), plans.sliding_tiles(3, 3, 3 * long),
                      plans.sliding_tiles(3, 3, 4 * long)),
            "frame-causal": (plans.FRAME_CAUSAL,),
            "window 2,7,12": (plans.window(2, 7, 12),),
        }  # fmt: skip
        raster = [t.detach().transpose(1, 2).contiguous().requires_grad_() for t in x]
        dense = processor(F.scaled_dot_product_attention, raster, runs(quick))
        for name, some in patterns.items():
            for pattern in some:
                plan = plans.plan(grid, pattern)
                taken = processor(lambda *t, plan=plan: dispatch.attention(*t, plan), x, runs(quick))
                for way, target, ours, theirs in zip(("forward", "backward"), (1.3, 1.5), taken, dense, strict=True):
                    said = f"{tokens} tokens, {name}, density {plan.density:.2f}, {way}: to density x dense"
                    yield Row(said, ours / theirs / plan.density, target=f"<= {target}")


def processor(attend: Callable[..., Tensor], x: list[Tensor], count: int) -> tuple[float, float]:
    """Median seconds of the processor of an attention of q, k and v, forward and backward."""
    times: list[list[float]] = [[], []]
    for _ in range(count + 1):  # the first warms up
        start = time.process_time()
        with torch.no_grad():
            attend(*x)
        times[0].append(time.process_time() - start)
        out = attend(*x)
        dout = torch.ones_like(out)
        start = time.process_time()
        torch.autograd.grad(out, x, dout)
        times[1].append(time.process_time() - start)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cpu", action="store_true", help="time this CPU (the default without a GPU)")
    p.add_argument("--grid", metavar="TxHxW", help="latent tokens; default 21x30x52 (480p, 81 frames), CPU 16x16x16")
    p.add_argument("--heads", type=int, help="default 12, as Wan 1.3B; CPU 2")
    p.add_argument("--dtype", choices=("bf16", "fp16"), default="bf16", help="GPU only; the CPU computes in fp32")
    p.add_argument("--backward", action="store_true", help="GPU: time dQ, dK and dV too")
    p.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    a = p.parse_args()
    on_cpu = a.cpu or not torch.cuda.is_available()
    device = torch.device("cpu" if on_cpu else "cuda")
    dtype = torch.float32 if on_cpu else {"bf16": torch.bfloat16, "fp16": torch.float16}[a.dtype]
    grid = Grid(*map(int, (a.grid or ("16x16x16" if on_cpu else "21x30x52")).split("x")))
    heads, rows = a.heads or (2 if on_cpu else 12), []
    where = f"CPU, {torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name()
    print(f"{where}; torch {torch.__version__}; {grid} tokens, {heads} heads of 128, {dtype}")
    torch.manual_seed(0)
    peak, copy = ceilings(device, dtype)
    if on_cpu:
        cpu_attention(grid, heads, peak, rows)
    else:
        gpu_attention(grid, heads, dtype, a.backward, peak, rows)
    print()
    elementwise(grid, heads, dtype, device, copy, rows)
    if a.json:
        a.json.write_text(json.dumps({"device": where, "tflops": peak, "gbs": copy, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
