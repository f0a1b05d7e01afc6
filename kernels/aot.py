"""Kernels compiled ahead of time, for GPUs that need not be present, and statistics of the machine code."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .triton.configs import Config, config_for, launch_options, row_warps


@dataclass(frozen=True)
class Target:
    """A GPU as the report needs it; bytes of shared memory, limits of one multiprocessor (AMD: compute unit)."""

    backend: str
    arch: int | str
    shared_block: int
    shared_sm: int
    warps: int
    blocks: int
    mma: str  # opcode of the bf16 product
    mma_int8: str


MMA = "HMMA.16816.F32.BF16", "IMMA.16832.S8.S8"
TARGETS = {
    "sm_80": Target("cuda", 80, 166_912, 167_936, 64, 32, *MMA),
    "sm_86": Target("cuda", 86, 101_376, 102_400, 48, 16, *MMA),
    "sm_89": Target("cuda", 89, 101_376, 102_400, 48, 24, *MMA),
    "sm_90": Target("cuda", 90, 232_448, 233_472, 64, 32, "HGMMA", "IGMMA"),
    "sm_100": Target("cuda", 100, 232_448, 233_472, 64, 32, "UTCHMMA", "IMMA"),
    "sm_120": Target("cuda", 120, 101_376, 102_400, 48, 24, *MMA),
    "gfx942": Target("hip", "gfx942", 65_536, 65_536, 32, 32, "v_mfma_f32_32x32x8_bf16", "v_mfma_i32_32x32x16_i8"),
}


@dataclass(frozen=True)
class Variant:
    """A kernel under the flags of one use. block_q: of the plan; channels: of the elementwise kernels' rows."""

    kernel: str
    head_dim: int = 128
    block_q: int = 64
    partial: bool = True
    channels: int = 1536


VARIANTS = {
    "attention": Variant("attention"),
    "attention, whole tiles": Variant("attention", partial=False),
    "attention, 128 queries": Variant("attention", block_q=128),
    "attention, D 64": Variant("attention", head_dim=64),
    "attention int8": Variant("attention_int8"),
    "attention dQ": Variant("attention_dq"),
    "attention dK dV": Variant("attention_dkv"),
    "attention delta": Variant("delta"),
    "int8 of K": Variant("quantize"),
    "norm + RoPE + tiles, 1536": Variant("norm_rope"),
    "norm + RoPE + tiles, 5120": Variant("norm_rope", channels=5120),
    "gate + norm + modulate, 1536": Variant("norm_modulate"),
    "gate + norm + modulate, 5120": Variant("norm_modulate", channels=5120),
}
CLASSES = {  # what nvdisasm prints, by what it costs
    "mma": r"(?:H|I|IG|HG|UTCH|UTCI)MMA",
    "copy": r"LDGSTS|UTMALDG|LDG|STG|LD\.|ST\.",
    "shared": r"LDS|LDSM|STS|STSM|LDTM|STTM",
    "fp32": r"FFMA2?|FMUL2?|FADD2?|FMNMX\d?",
    "exp": r"MUFU",
    "convert": r"F2FP|I2F|I2FP|F2F|F2I",
    "shuffle": r"SHFL",
    "barrier": r"BAR|WARPSYNC|SYNCS|DEPBAR|LDGDEPBAR",
}


def default_config(name: str, target: str) -> Config:
    """What a variant runs with on a target when nobody says otherwise."""
    v = VARIANTS[name]
    if v.kernel.startswith("attention"):
        return config_for(v.kernel, target, 2, v.block_q, 64)
    return Config(0, 0, row_warps(1 << (v.channels - 1).bit_length()) if "norm" in v.kernel else 4, 1)


def request(name: str, c: Config):
    """(kernel, constant arguments) of a variant."""
    from .triton import attention, attention_backward, attention_int8, norm_modulate, norm_rope

    v = VARIANTS[name]
    rows = dict(D=v.head_dim, BLOCK=1 << (v.channels - 1).bit_length())
    simple = {
        "delta": (attention_backward.delta_kernel, dict(BM=32, D=v.head_dim)),
        "quantize": (attention_int8.quantize_kernel, dict(CENTRED=True, PER_ROW=False, BLOCK=64, D=v.head_dim)),
        "norm_rope": (norm_rope.norm_rope_kernel, dict(ROTATE=True, T_PAIRS=22, S_PAIRS=21, **rows)),
        "norm_modulate": (
            norm_modulate.norm_modulate_kernel,
            dict(RESIDUAL=True, GATED=True, PLUS_ONE=True, BLOCK=rows["BLOCK"]),
        ),
    }
    if v.kernel in simple:
        return simple[v.kernel]
    flags: dict[str, object] = dict(
        HAS_FULL=True, HAS_PART=v.partial, PADDED=True, INT8=v.kernel == "attention_int8", RASTER=True
    )
    flags |= dict(N_BOX=1, BM=c.bm, BN=c.bn, BLOCK_Q=v.block_q, BLOCK_K=64, D=v.head_dim, DV=min(c.dv, v.head_dim))
    flags["PRECISION"] = "tf32"
    kernels = {"attention_dq": attention_backward.dq_kernel, "attention_dkv": attention_backward.dkv_kernel}
    fn = kernels.get(v.kernel, attention.attention_kernel)
    return fn, {k: x for k, x in flags.items() if k in fn.arg_names}


def signature(fn, constants: dict, v: Variant) -> tuple[dict, dict]:
    """Types of a kernel's arguments by their names, and which are multiples of 16, as at a real launch."""
    fp32 = {"LSE", "LSE2", "Delta", "q_scales", "k_scales", "Mean", "Scales", "Cos", "Sin", "Gate", "Scale", "Shift"}
    types, aligned = {}, {}
    for i, name in enumerate(fn.arg_names):
        if name in constants:
            types[name] = "constexpr"
            continue
        if name in ("scale", "eps"):
            types[name] = "fp32"
        elif name in ("heads", "tokens", "rows", "slots", "slots_q", "slots_k", "channels", "per_frame", "frames"):
            types[name] = "i32"
        elif name.startswith(("stride_", "gate_", "scale_")):
            types[name] = "i32"
        elif name in fp32:
            types[name] = "*fp32"
        elif v.kernel == "attention_int8" and name in ("Q", "K") or (v.kernel == "quantize" and name == "Y"):
            types[name] = "*i8"
        elif name[0].isupper() and name not in ("Coords", "SlotToken"):
            types[name] = "*bf16"
        else:
            types[name] = "*i32"
        if name not in ("scale", "eps", "heads", "tokens", "rows", "per_frame", "frames"):
            aligned[(i,)] = [["tt.divisibility", 16]]
    return types, aligned


def compile_one(name: str, target: str, c: Config) -> dict:
    """One row: compiles a variant for a target and reads the result. Needs triton, no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    t, v = TARGETS[target], VARIANTS[name]
    fn, constants = request(name, c)
    types, aligned = signature(fn, constants, v)
    gpu = GPUTarget(t.backend, t.arch, 32 if t.backend == "cuda" else 64)
    options = launch_options(c)
    built = triton.compile(ASTSource(fn, types, constants, aligned), target=gpu, options=options)
    row = {"kernel": name, "target": target, "warps": c.warps, "stages": c.stages, "shared": built.metadata.shared}
    row["steps"] = f"{c.bm}x{c.bn}" if c.bm else "rows"
    row["buffers"] = buffers(built.asm["ttgir"]) if v.kernel.startswith("attention") else None
    row |= read_sass(built.asm["cubin"]) if t.backend == "cuda" else read_gcn(built.asm["amdgcn"])
    row["occupancy"] = occupancy(row, t, getattr(built.metadata, "tmem_size", 0) or 0)
    return row


def buffers(ttgir: str) -> int | None:
    """How many tiles of a streamed operand are in flight: the fewest over the pipelined loops; None without any."""
    found = re.findall(r"local_alloc\b.*memdesc<(\d+)x\d+x\d+x(?:bf16|f16|i8),.*mutable", ttgir)
    return min(map(int, found), default=None)


def read_sass(cubin: bytes) -> dict:
    """Registers, stack, spills and instruction counts of a CUDA binary, by cuobjdump and nvdisasm."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage, sass = (
            subprocess.run([tools / tool, flag, path], capture_output=True, text=True, check=True).stdout
            for tool, flag in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        )
    codes = re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", sass, re.M)
    number = {k: int(n) for k, n in re.findall(r"(REG|STACK):(\d+)", usage)}
    mix = {k: sum(bool(re.match(rf"(?:{p})\b", c)) for c in codes) for k, p in CLASSES.items()}
    mix["all"] = len(codes)
    mma = sorted({c for c in codes if re.match(CLASSES["mma"], c)})
    spills = sum(c.startswith(("STL", "LDL")) for c in codes)
    return {"registers": number["REG"], "stack": number["STACK"], "spills": spills, "mma": mma, "mix": mix}


def read_gcn(text: str) -> dict:
    """The same of AMD assembly."""

    def field(key: str) -> int:
        return int(re.findall(rf"\.{key}:\s+(\d+)", text)[0])

    codes = re.findall(r"^\s+([vsdbg][a-z]*_\w+)", text, re.M)
    kinds = {
        "mma": "v_mfma", "copy": "global_|buffer_", "shared": "ds_(?!bperm)", "exp": "v_exp", "convert": "v_cvt",
        "fp32": r"v_(?:pk_)?(?:fma|mul|add|sub|max)_f32", "shuffle": "ds_bperm|v_mov_b32_dpp", "barrier": "s_barrier",
    }  # fmt: skip
    mix = {k: sum(bool(re.match(p, c)) for c in codes) for k, p in kinds.items()} | {"all": len(codes)}
    mma = sorted({re.sub("_1k$", "", c) for c in codes if c.startswith("v_mfma")})
    stack, spills = field("private_segment_fixed_size"), field("vgpr_spill_count")
    return {"registers": field("vgpr_count"), "stack": stack, "spills": spills, "mma": mma, "mix": mix}


def occupancy(row: dict, t: Target, tensor_columns: int) -> float:
    """Resident warps as a share of what a multiprocessor holds; registers, shared and tensor memory considered."""
    if t.backend == "cuda":
        registers = row["warps"] * -(-row["registers"] * 32 // 256) * 256
        blocks = min(65_536 // registers, t.shared_sm // (row["shared"] + 1024), t.blocks, t.warps // row["warps"])
        blocks = min(blocks, 512 // tensor_columns) if tensor_columns else blocks
    else:  # 4 SIMDs of 512 registers a lane, 8 waves at most each
        waves = 4 * min(8, 512 // (-(-row["registers"] // 8) * 8))
        blocks = min(waves // row["warps"], t.shared_sm // max(row["shared"], 1))
    return blocks * row["warps"] / t.warps
