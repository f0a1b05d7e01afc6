"""Which block sizes, warps and stages a kernel runs with, by device; one table, no autotuning."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

LOG2E = math.log2(math.e)


@dataclass(frozen=True)
class Config:
    """bm x bn: queries and keys a step; warps and stages as Triton counts them.

    dv: channels of an accumulator. With 64 query rows and 128 channels, mma.sync lays four warps along the channels
    and P goes through shared memory between the two products; two accumulators of 64 keep it in registers.
    """

    bm: int
    bn: int
    warps: int
    stages: int
    dv: int = 128


# Chosen from `vdit kernels report`: no spills, two buffers of K and V or more, two programs a multiprocessor if it can.
SMALL = {  # 100 kB of shared memory: sm_86, sm_89, sm_120
    "attention": Config(64, 32, 4, 3, dv=64),
    "attention_128": Config(128, 64, 8, 3),  # plans whose query blocks are 128 slots
    "attention_int8": Config(64, 32, 4, 3, dv=64),
    "attention_int8_128": Config(128, 64, 8, 3),
    "attention_dq": Config(64, 32, 4, 3, dv=64),
    "attention_dkv": Config(32, 64, 8, 3),
}
AMPERE = SMALL | {"attention": Config(64, 64, 4, 3, dv=64), "attention_int8": Config(64, 64, 4, 3, dv=64)}
WARPGROUP = AMPERE | {"attention": Config(64, 64, 4, 3), "attention_int8": Config(64, 64, 4, 3)}
# Two buffers, not three: three are a few bytes more than half of the shared memory, and a second program has no room.
BLACKWELL = WARPGROUP | {"attention": Config(64, 64, 4, 2)}
CDNA = {  # 64 kB, no asynchronous copies: one stage
    "attention": Config(64, 32, 4, 1),
    "attention_128": Config(128, 32, 4, 1),
    "attention_int8": Config(64, 32, 4, 1),
    "attention_int8_128": Config(128, 32, 4, 1),
    "attention_dq": Config(64, 32, 4, 1),
    "attention_dkv": Config(32, 64, 4, 1),
}
TABLES = {
    "sm_80": AMPERE,
    "sm_86": SMALL,
    "sm_89": SMALL,
    "sm_90": WARPGROUP,
    "sm_100": BLACKWELL,
    "sm_120": SMALL,
    "gfx942": CDNA,
}


def config_for(kernel: str, target: str, dtype_bytes: int, block_q: int, block_k: int) -> Config:
    """A kernel's default on a target of TABLES, cut to the plan's blocks; fp32 goes in small steps, lest it spill."""
    table = TABLES[target]
    c = table[f"{kernel}_128"] if block_q % 128 == 0 and f"{kernel}_128" in table else table[kernel]
    c = replace(c, bm=math.gcd(c.bm, block_q), bn=math.gcd(c.bn, block_k))
    if dtype_bytes == 4:
        bm = 32 if kernel == "attention" else 16
        c = Config(min(c.bm, bm), min(c.bn, 16), 4, 1, dv=64)
    return c


def row_warps(block: int) -> int:
    """Warps of a program that holds all channels of a token, padded to `block`: at most 32 channels a thread."""
    return max(4, min(16, block // 1024))


@lru_cache
def target_of(index: int | None) -> str:
    """The entry of TABLES for this machine's GPU of that index; the nearest older one where it has none of its own."""
    import torch

    if torch.version.hip is not None:
        return "gfx942"
    if not torch.cuda.is_available():  # Triton's interpreter
        return "sm_80"
    number = int("".join(map(str, torch.cuda.get_device_capability(index))))
    known = sorted(int(name[3:]) for name in TABLES if name.startswith("sm_"))
    return f"sm_{max((n for n in known if n <= number), default=known[0])}"


def launch_options(c: Config) -> dict:
    """Keyword arguments of a kernel launch."""
    # FP fusion is off by default since 3.9: without it the softmax's scale-and-subtract is two instructions.
    return {"num_warps": c.warps, "num_stages": c.stages, "enable_fp_fusion": True}
