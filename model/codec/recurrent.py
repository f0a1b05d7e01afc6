"""Codecs of 2-D convolutions whose only link through time is a memory of one frame (madebyollin/taehv).

The layers stand in one flat list. The same weights run over a whole clip at once or over its chunks in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import CausalLayer, Codec, Memory, run


class MemoryBlock(CausalLayer):
    """Residual block over each frame and the one before it."""

    signed = False  # whether the result goes to a linear layer as it is, without ReLU

    def before_first(self, first: Tensor) -> Tensor:
        """The frame before the first one [B, 1, H, W, C]; by default zeros."""
        return torch.zeros_like(first)

    def residual(self, pairs: Tensor) -> Tensor:
        """Each frame's channels, then those of the one before, [B, T, H, W, 2C] -> [B, T, H, W, C]."""
        raise NotImplementedError

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H, W, C]."""
        frames = x.view_as(x)  # autograd then sums this branch's gradients before it adds those of the skip connection
        past = memory[self] if self in memory else self.before_first(frames[:, :1])
        memory[self] = frames[:, -1:].clone()
        before = torch.cat((past, frames[:, :-1]), 1)
        y = x + self.residual(torch.cat((frames, before), -1))
        return y if self.signed else F.relu(y, inplace=True)


class RecurrentCodec(Codec):
    """A codec whose decoder is a list of layers for `run`."""

    decoder: nn.ModuleList

    def decode(self, latent: Tensor, *, clip: bool = True) -> Tensor:
        """As Codec's, all latents in one chunk."""
        return next(self.decode_stream(latent, chunk=max(1, latent.shape[2]), clip=clip))

    def decode_stream(self, latent: Tensor, chunk: int = 1, *, clip: bool = True) -> Iterator[Tensor]:
        """As Codec's."""
        self.check_latent(latent)
        decode = self._decoding(clip)
        for part in self._decoder_input(latent).split(chunk, 1):
            yield decode(part)

    def begin_decoding(self) -> Callable[[Tensor], Tensor]:
        """As Codec's."""
        decode = self._decoding(clip=True)

        def decode_block(latent: Tensor) -> Tensor:
            self.check_latent(latent)
            return decode(self._decoder_input(latent))

        return decode_block

    def _decoding(self, clip: bool) -> Callable[[Tensor], Tensor]:
        """A function from the decoder's next input [B, n, h, w, C] to its frames."""
        memory: Memory = {}
        skipped = self.temporal - 1  # the first latent is one frame

        def decode(x: Tensor) -> Tensor:
            nonlocal skipped
            frames = self._to_frames(run(self.decoder, x, memory))[:, skipped:]
            skipped = 0
            return frames.clamp(0, 1) if clip else frames

        return decode

    def _decoder_input(self, latent: Tensor) -> Tensor:
        """Raw latents [B, C, T, h, w] -> [B, T, h, w, C]."""
        return latent.permute(0, 2, 3, 4, 1)

    def _to_frames(self, x: Tensor) -> Tensor:
        """The decoder's last features [B, T, h, w, C] -> frames [B, T, H, W, 3] in 0..1, not clipped."""
        raise NotImplementedError
