"""Tiny codecs of Wan latents in the TAEHV layout, for cheap previews: 2-D convolutions and a memory of one frame.

taew2_1 stands in for the Wan 2.1 codec (8x8 pixels a cell), taew2_2 for 2.2 (16x16, 2x2 pixels folded into channels).
The files know latents as the transformer does, normalised; `encode` and `decode` here take raw ones, as the codecs
they stand in for. Layout, tensor names, and which frames are padded and trimmed: madebyollin/taehv `taehv.py` (MIT).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Memory, conv2d, run
from .recurrent import MemoryBlock, RecurrentCodec
from .wan_latents import wan_latents

PIXELS = 64  # features of the encoder, and of the decoder at full size
DEEP = (256, 128, 64)  # features of the decoder while it grows
IN_TIME = (True, True, False)  # which of the encoder's halvings are in time too; the decoder's doublings run backwards


class Conv(nn.Conv2d):
    """3x3 over frames [B, T, H, W, C]."""

    def __init__(self, width: int, out: int, stride: int = 1, bias: bool = True):
        super().__init__(width, out, 3, stride=stride, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H', W', C']."""
        return conv2d(x, self.weight, self.bias, stride=self.stride, padding=1)


class Clamp(nn.Module):
    """Soft clamp to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / 3) * 3


class TaeMemoryBlock(MemoryBlock):
    """Three 3x3 convolutions; before the first frame there are zeros."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Sequential(
            Conv(2 * width, width), nn.ReLU(True), Conv(width, width), nn.ReLU(True), Conv(width, width)
        )

    def residual(self, pairs: Tensor) -> Tensor:
        """As MemoryBlock's."""
        return self.conv(pairs)


class Pool(nn.Module):
    """`step` frames -> one, by a 1x1 convolution of them all."""

    def __init__(self, width: int, step: int):
        super().__init__()
        self.step, self.conv = step, nn.Conv2d(width * step, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T/step, H, W, C]."""
        x = x.unflatten(1, (-1, self.step)).permute(0, 1, 3, 4, 2, 5).flatten(4)
        return F.linear(x, self.conv.weight.flatten(1))


class Grow(nn.Module):
    """One frame -> `step`."""

    def __init__(self, width: int, step: int):
        super().__init__()
        self.step, self.conv = step, nn.Conv2d(width, width * step, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T*step, H, W, C]."""
        x = F.linear(x, self.conv.weight.flatten(1)).unflatten(-1, (self.step, -1))
        return x.permute(0, 1, 4, 2, 3, 5).flatten(1, 2)


class Double(nn.Module):
    """Repeats pixels 2x2."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T, 2H, 2W, C]."""
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class TaeCodec(RecurrentCodec):
    """kind: "2.1" (taew2_1) or "2.2" (taew2_2). For previews: coarser than the codec itself."""

    def __init__(self, kind: str = "2.1"):
        super().__init__(wan_latents(kind))
        self.kind = kind
        self.patch = 1 if kind == "2.1" else 2
        pixels = 3 * self.patch**2
        encoder: list[nn.Module] = [Conv(pixels, PIXELS), nn.ReLU(True)]
        for time in IN_TIME:
            encoder += [Pool(PIXELS, 1 + time), Conv(PIXELS, PIXELS, 2, bias=False)]
            encoder += [TaeMemoryBlock(PIXELS) for _ in range(3)]
        self.encoder = nn.ModuleList([*encoder, Conv(PIXELS, self.channels)])
        decoder: list[nn.Module] = [Clamp(), Conv(self.channels, DEEP[0]), nn.ReLU(True)]
        for width, out, time in zip(DEEP, (*DEEP[1:], PIXELS), reversed(IN_TIME), strict=False):
            decoder += [TaeMemoryBlock(width) for _ in range(3)]
            decoder += [Double(), Grow(width, 1 + time), Conv(width, out, bias=False)]
        self.decoder = nn.ModuleList([*decoder, nn.ReLU(True), Conv(PIXELS, pixels)])
        self.requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of activations."""
        return cast(Conv, self.encoder[0]).weight.dtype

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in 0..1, T = 4k+1 -> raw latents [B, C, k+1, h, w] in float32. Raises ValueError."""
        self.check_frames(frames)
        x = torch.cat((frames, frames[:, -1:].expand(-1, self.temporal - 1, -1, -1, -1)), 1)
        memory: Memory = {}
        parts = [self._encode(part.to(self.dtype), memory) for part in x.split(self.temporal, 1)]
        return self.denormalize(torch.cat(parts, 1).permute(0, 4, 1, 2, 3).float()).contiguous()

    @torch.no_grad()
    def small_frames(self, latent: Tensor, long_side: int) -> Tensor:
        """Raw latents [B, C, T, h, w] -> frames [B, 4T-3, H, W, 3] in 0..1, the long side at most `long_side` pixels.

        Doublings of the sides that would only be shrunk away are left out, as TAEHV allows; each makes it 4x cheaper.
        """
        self.check_latent(latent)
        sides = max(latent.shape[3:]) * self.patch
        doublings = next((n for n in range(len(DEEP)) if sides * 2**n >= long_side), len(DEEP))
        skipped = [i for i, layer in enumerate(self.decoder) if isinstance(layer, Double)][doublings:]
        layers = [layer for i, layer in enumerate(self.decoder) if i not in skipped]
        memory: Memory = {}
        shrink, parts = -(-sides * 2**doublings // long_side), []
        for part in self._decoder_input(latent).split(1, 1):
            frames = self._to_frames(run(layers, part, memory)).permute(0, 1, 4, 2, 3)
            parts.append(F.avg_pool2d(frames.flatten(0, 1), shrink).unflatten(0, frames.shape[:2]))
        return torch.cat(parts, 1)[:, self.temporal - 1 :].permute(0, 1, 3, 4, 2).clamp_(0, 1)

    def _encode(self, x: Tensor, memory: Memory) -> Tensor:
        x = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))  # [B, T, H, row, W, column, 3]
        return run(self.encoder, x.permute(0, 1, 2, 4, 6, 3, 5).flatten(4), memory)

    def _decoder_input(self, latent: Tensor) -> Tensor:
        return self.normalize(latent).permute(0, 2, 3, 4, 1).to(self.dtype)

    def _to_frames(self, x: Tensor) -> Tensor:
        x = x.unflatten(4, (3, self.patch, self.patch))  # [B, T, H, W, 3, row, column]
        return x.permute(0, 1, 2, 5, 3, 6, 4).flatten(4, 5).flatten(2, 3).float()
