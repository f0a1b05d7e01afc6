"""Matrices that stay as the file has them (fp8 with a scale, GGUF blocks, another float), decoded per call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .sources import DTYPES

BLOCKS = {  # values, bytes of a block
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
}  # fmt: skip
CHUNK = 1 << 22  # values decoded at a time, so that a float32 copy of a whole matrix never exists


def stored_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """What a tensor of this logical shape takes in the file."""
    if dtype in DTYPES:
        return prod(shape) * DTYPES[dtype].itemsize
    values, size = BLOCKS.get(dtype, (1, 1))
    return prod(shape) // values * size


def decode(raw: Tensor, stored: str, shape: tuple[int, ...], scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The values of a stored tensor in `dtype`: raw as stored; scale float32 [] or [rows], or None."""
    if stored in DTYPES:
        if scale is None:
            return raw.to(dtype)
        rows, per_row = raw.flatten(1), scale.expand(len(raw))
        out = torch.empty(rows.shape, dtype=dtype, device=raw.device)
        step = max(1, CHUNK // max(1, rows.shape[1]))
        for i in range(0, len(rows), step):
            out[i : i + step] = rows[i : i + step].float() * per_row[i : i + step, None]
        return out.reshape(shape)
    values, size = BLOCKS[stored]
    blocks = raw.reshape(-1, size)
    out = torch.empty(len(blocks), values, dtype=dtype, device=raw.device)
    step = CHUNK // values
    for i in range(0, len(blocks), step):
        out[i : i + step] = _DECODE[stored](blocks[i : i + step])
    return out.reshape(shape)


def _half(b: Tensor) -> Tensor:
    """Two bytes of each block as a number: [N, 2] -> [N, 1], float32."""
    return b.contiguous().view(torch.float16).float()


def _q8_0(b: Tensor) -> Tensor:
    """A scale, then 32 signed bytes."""
    return _half(b[:, :2]) * b[:, 2:].view(torch.int8)


def _fields(b: Tensor, bits: int, runs: int, width: int = 32) -> Tensor:
    """Fields of `bits` bits each: of every `width` bytes first the lowest fields, then the next: [N, runs, width]."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=b.device)[:, None]
    return ((b.reshape(len(b), -1, 1, width) >> shifts) & (2**bits - 1)).reshape(-1, runs, width)


def _fifth_bits(b: Tensor) -> Tensor:
    """Bit i of four little-endian bytes belongs to value i; as a fifth bit: [N, 32]."""
    bits = torch.arange(8, dtype=torch.uint8, device=b.device)
    return ((b[..., None] >> bits & 1) << 4).flatten(1)


def _q4_0(b: Tensor) -> Tensor:
    """A scale, then 32 values of four bits, 8 standing for zero."""
    return _half(b[:, :2]) * (_fields(b[:, 2:], 4, 2, 16).flatten(1).float() - 8)


def _q4_1(b: Tensor) -> Tensor:
    """A scale, the least value, then 32 values of four bits."""
    return _half(b[:, :2]) * _fields(b[:, 4:], 4, 2, 16).flatten(1) + _half(b[:, 2:4])


def _q5_0(b: Tensor) -> Tensor:
    """As Q4_0 with a fifth bit, 16 standing for zero."""
    codes = _fields(b[:, 6:], 4, 2, 16).flatten(1) | _fifth_bits(b[:, 2:6])
    return _half(b[:, :2]) * (codes.float() - 16)


def _q5_1(b: Tensor) -> Tensor:
    """As Q4_1 with a fifth bit."""
    codes = _fields(b[:, 8:], 4, 2, 16).flatten(1) | _fifth_bits(b[:, 4:8])
    return _half(b[:, :2]) * codes + _half(b[:, 2:4])


def _q2_k(b: Tensor) -> Tensor:
    """Sixteen scales and minima of four bits each for 16 values of two bits, and one scale over each kind."""
    scale, least = _half(b[:, 80:82]) * (b[:, :16] & 15), _half(b[:, 82:84]) * (b[:, :16] >> 4)
    codes = _fields(b[:, 16:80], 2, 8).reshape(-1, 16, 16)
    return (scale[..., None] * codes - least[..., None]).flatten(1)


def _q3_k(b: Tensor) -> Tensor:
    """Low two bits, a high bit that stands for zero where it is set, sixteen scales of six bits, one over them."""
    low, high = _fields(b[:, 32:96], 2, 8), _fields(b[:, :32], 1, 8)
    codes = (low.float() - 4.0 * (1 - high.float())).reshape(-1, 16, 16)
    scales = _fields(b[:, 96:104], 4, 2, 8).flatten(1) | _fields(b[:, 104:108], 2, 4, 4).flatten(1) << 4
    scale = _half(b[:, 108:110]) * (scales.float() - 32)
    return (codes * scale[..., None]).flatten(1)


def _scales_k(b: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight minima of 6 bits each, packed in 12 bytes (ggml, get_scale_min_k4): each [N, 8]."""
    low, mid, high = b[:, :4], b[:, 4:8], b[:, 8:]
    scale = torch.cat((low & 63, (high & 15) | (low >> 6 << 4)), 1)
    least = torch.cat((mid & 63, (high >> 4) | (mid >> 6 << 4)), 1)
    return scale.float(), least.float()


def _k_blocks(b: Tensor, codes: Tensor) -> Tensor:
    scale, least = _scales_k(b[:, 4:16])
    scale, least = _half(b[:, :2]) * scale, _half(b[:, 2:4]) * least
    return (scale[..., None] * codes - least[..., None]).flatten(1)


def _q4_k(b: Tensor) -> Tensor:
    return _k_blocks(b, _fields(b[:, 16:], 4, 8))


def _q5_k(b: Tensor) -> Tensor:
    """As Q4_K, with a fifth bit: bit j of byte l belongs to value l of run j."""
    return _k_blocks(b, _fields(b[:, 48:], 4, 8) | (_fields(b[:, 16:48], 1, 8) << 4))


def _q6_k(b: Tensor) -> Tensor:
    """Low four bits, high two bits, sixteen signed scales of 16 values each, and one scale over them."""
    low, high = _fields(b[:, :128], 4, 4, 64), _fields(b[:, 128:192], 2, 8)
    codes = (low.reshape(-1, 8, 32) | (high << 4)).reshape(-1, 16, 16).float() - 32
    scale = _half(b[:, 208:]) * b[:, 192:208].view(torch.int8)
    return (codes * scale[..., None]).flatten(1)


_DECODE = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
}  # fmt: skip


class LowRank(nn.Module):
    """What a LoRA adds to a matrix's output: strength * up @ down, or a whole difference."""

    def __init__(self, strength: float, up: Tensor, down: Tensor | None = None):
        super().__init__()
        self.strength = strength  # times alpha / rank
        self.up = nn.Parameter(up, requires_grad=False)  # [out, rank], or the difference [out, in]
        self.down = None if down is None else nn.Parameter(down, requires_grad=False)  # [rank, in]

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        y = x if self.down is None else F.linear(x, self.down.to(x.dtype))
        return F.linear(y, self.up.to(x.dtype)) * self.strength


class StoredLinear(nn.Module):
    """A linear layer whose weight stays as its file has it; computed in the dtype of its input, with LoRAs added."""

    scale: Tensor | None
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, shape: tuple[int, int], bias: bool, stored: str, scale: tuple[int, ...] | None = None):
        """shape: out, in; stored: dtype as in the file; scale: its shape, () or (out,), None where there is none."""
        super().__init__()
        self.out_features, self.in_features = shape
        self.stored = stored
        whole = stored in DTYPES
        raw = (shape, DTYPES[stored]) if whole else (stored_bytes(shape, stored), torch.uint8)
        self.weight = nn.Parameter(torch.empty(raw[0], dtype=raw[1], device="meta"), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(shape[0], device="meta"), requires_grad=False) if bias else None
        self.register_buffer("scale", None if scale is None else torch.empty(scale, device="meta"))
        self.loras = nn.ModuleList()
        self._dense: Tensor | None = None

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The weight's values [out, in] in `dtype`, decoded now."""
        return decode(self.weight, self.stored, (self.out_features, self.in_features), self.scale, dtype)

    @contextmanager
    def decoded(self, like: Tensor) -> Iterator[None]:
        """Inside, calls with inputs like this one share a decoding, if the weight lies on its device."""
        self._dense = self.dense(like.dtype) if self.weight.device == like.device else None
        try:
            yield
        finally:
            self._dense = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        y = F.linear(x, self.dense(x.dtype) if self._dense is None else self._dense, bias)
        for lora in self.loras:
            y = y + lora(x)
        return y

    def extra_repr(self) -> str:
        """Sizes and form, for print."""
        return f"in_features={self.in_features}, out_features={self.out_features}, stored={self.stored}"
