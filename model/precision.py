"""Which numbers a training run, and a draft's encoder, multiply in: bfloat16 where the device has units for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether bfloat16 products are faster on a device than float32 ones: on GPUs with units for them, and on
    processors with AVX-512 BF16 or AMX (two to three times, measured on an EPYC of 2023). Without such units they are
    slower."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    named = ("_is_avx512_bf16_supported", "_is_amx_tile_supported") if kind == "cpu" else ()
    return any(getattr(torch.cpu, name)() for name in named if hasattr(torch.cpu, name))


def mixed(device: torch.device | str = "cpu") -> AbstractContextManager:
    """Matrix products in bfloat16 where that is fast, weights and their updates in float32 all the same."""
    if not has_bfloat16(device):
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
