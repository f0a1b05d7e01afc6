"""Blocks of a causal rollout, decoded when they are made: nothing of an earlier block is decoded again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .decode import WARM_UP, agreed, check_latent
from .latent_preview import LatentPreview, resized
from .values import Block, ignore

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.codec.base import Codec


class DecodedBlocks:
    """decode(block) -> its frames [m,H,W,3] fp32 in 0..1 on the CPU; where they agree with block.expected, its own.

    Memory does not grow with the number of blocks. Raises ValueError, see check_latent.
    """

    def __init__(self, codec: Codec):
        self.codec, self.preview = codec, LatentPreview(codec)
        self._decode = codec.begin_decoding()
        self._past: Tensor | None = None  # the latest latents, with which the agreement of the next block is measured

    @torch.no_grad()
    def decode(self, block: Block) -> Tensor:
        """See above."""
        check_latent(self.codec, block.latent)
        frames = self._decode(block.latent)[0].clamp(0.0, 1.0).float().cpu()
        expected, temporal = block.expected, self.codec.temporal
        shape = ((block.total - 1) * temporal + 1, *frames.shape[1:])
        if expected is None or expected.frames.shape != shape:
            return frames
        latent = block.latent if self._past is None else torch.cat((self._past, block.latent), 2)
        start, known = block.frames.stop - latent.shape[2], 0
        if self._past is not None:
            known = (self._past.shape[2] - 1) * temporal + 1
        self._past = latent[:, :, -WARM_UP:].clone()
        share = agreed(self.preview, latent, expected, slice(start, block.frames.stop))[known:]
        at = start * temporal + known
        return frames.lerp(expected.frames[at : at + len(frames)].float(), resized(share, shape[1:3], "bilinear"))


class BlockDecoder:
    """A hook on_block: decodes each block into `frames` [4T-3,H,W,3] and tells on_frames of those so far, see Hooks."""

    def __init__(self, codec: Codec, on_frames: Callable[[int, Tensor], None] = ignore):
        self.codec, self.on_frames = codec, on_frames
        self.frames = torch.empty(0)
        self.at = 0
        self._blocks = DecodedBlocks(codec)

    def __call__(self, block: Block) -> None:
        """See Hooks.on_block."""
        part = self._blocks.decode(block)
        if not self.at:
            count = (block.total - 1) * self.codec.temporal + 1
            self.frames = torch.empty(count, *part.shape[1:])
        self.frames[self.at : self.at + len(part)] = part
        self.at += len(part)
        self.on_frames(block.frames.stop, self.frames[: self.at])
