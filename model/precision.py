"""Which numbers a training run, and a draft's encoder, multiply in: bfloat16 where this processor has units for it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def has_bfloat16() -> bool:
    """Whether bfloat16 products are faster here than float32 ones (AVX-512 BF16 or AMX: two to three times, measured on
    an EPYC of 2023). Without such units they are slower."""
    named = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in named if hasattr(torch.cpu, name))


def mixed() -> AbstractContextManager:
    """Matrix products in bfloat16 where that is fast, weights and their updates in float32 all the same."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16())
