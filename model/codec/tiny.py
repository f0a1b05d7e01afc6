"""TinyCodec, the bundled codec: 2-D convolutions and a memory of one frame; 16x16 pixels and 4 frames a latent cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..precision import mixed
from .base import LatentSpec, Memory, run
from .recurrent import MemoryBlock, RecurrentCodec

SPATIAL = 16  # pixels a side of a latent cell


@dataclass(frozen=True)
class TinyCodecConfig:
    """Sizes; the field names are those of the files' headers. Features are counted in channels."""

    channels: int = 32  # of a latent
    unshuffle: int = 8  # pixels a side folded into channels before the first convolution
    quarter: int = 32  # decoder features at 1/4 of the size
    width: int = 64  # decoder features at 1/8, at full frame rate
    deep: int = 128  # decoder features at 1/16
    blocks: tuple[int, int] = (2, 3)  # decoder memory blocks at 1/8 and at 1/16
    seen: tuple[int, int] = (32, 96)  # encoder features at 1/8 and at 1/16
    looks: tuple[int, int] = (2, 2)  # encoder memory blocks at 1/8 and at 1/16
    strokes: int = 1  # residual blocks at 1/4

    @classmethod
    def from_header(cls, config: dict[str, Any]) -> TinyCodecConfig:
        """The config in a file's header. In older files the encoder is as wide as the decoder, and strokes is 0."""
        if "seen" not in config:
            config = {**config, "seen": (config["width"], config["deep"]), "looks": config["blocks"], "strokes": 0}
        return cls(**config)


class PerFrame(nn.Module):
    """Applies a module over [N, C, H, W] to each frame of [B, T, H, W, C]."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H', W', C']."""
        y = self.module(x.flatten(0, 1).permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class UnshufflePixels(nn.Module):
    """Pixels [N, C, H, W] in 0..1 -> channels [N, side*side*C, H/side, W/side] in -0.5..0.5.

    nn.PixelUnshuffle in another order: the colours of a pixel stay adjacent, so rows of a patch are copied whole.
    """

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, side*side*C, H/side, W/side], in the dtype of the convolution that follows."""
        kind, side, x = x.device.type, self.side, x.permute(0, 2, 3, 1)
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        x = torch.sub(x, 0.5, out=torch.empty(x.shape, dtype=dtype, device=x.device))
        x = x.flatten(2).unflatten(2, (-1, 3 * side)).unflatten(1, (-1, side)).transpose(2, 3)  # [N,h,w,side,3*side]
        return x.flatten(3).permute(0, 3, 1, 2)


class UnshuffledConv(nn.Conv2d):
    """A 3x3 convolution behind UnshufflePixels, with the weight of one behind nn.PixelUnshuffle over -1..1."""

    def __init__(self, side: int, width: int):
        super().__init__(3 * side**2, width, 3, padding=1)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """[N, side*side*3, h, w] -> [N, width, h, w]."""
        weight = 2 * self.weight.unflatten(1, (3, self.side**2)).transpose(1, 2).flatten(1, 2)
        return F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), self.bias, padding=1)


class TinyMemoryBlock(MemoryBlock):
    """Two 3x3 convolutions; before the first frame stands the first frame itself."""

    def __init__(self, width: int, *, signed: bool = False):
        super().__init__()
        self.signed = signed
        self.mix = nn.Conv2d(2 * width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        _zero(self.out)

    def before_first(self, first: Tensor) -> Tensor:
        """As MemoryBlock's."""
        return first

    def residual(self, pairs: Tensor) -> Tensor:
        """As MemoryBlock's."""
        y = self.out(F.relu(self.mix(pairs.flatten(0, 1).permute(0, 3, 1, 2)), inplace=True))
        return y.permute(0, 2, 3, 1).unflatten(0, pairs.shape[:2])


class HalveTime(nn.Module):
    """Two frames -> one, by a 1x1 convolution of both."""

    def __init__(self, width: int):
        super().__init__()
        self.pair = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T/2, H, W, C]."""
        b, t, h, w, c = x.shape
        y = self.pair(x.permute(0, 1, 4, 2, 3).reshape(b * t // 2, 2 * c, h, w))
        return y.permute(0, 2, 3, 1).unflatten(0, (b, t // 2))


class DoubleTime(nn.Module):
    """One frame -> two, by a 1x1 convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.split = nn.Conv2d(width, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, 2T, H, W, C]."""
        b, t, h, w, c = x.shape
        y = self.split(x.permute(0, 1, 4, 2, 3).flatten(0, 1))
        return y.reshape(b, 2 * t, c, h, w).permute(0, 1, 3, 4, 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection, initialised to the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        _zero(self.body[2])

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x + self.body(x)


class PixelHead(nn.Module):
    """Features at 1/8 of the size -> pixels: patches of 8x8 pixels plus a correction in patches of 4x4."""

    def __init__(self, c: TinyCodecConfig):
        super().__init__()
        self.coarse = nn.Sequential(nn.Conv2d(c.width, 3 * c.unshuffle**2, 3, padding=1), nn.PixelShuffle(c.unshuffle))
        half = c.unshuffle // 2
        self.fine = nn.Sequential(
            nn.Conv2d(c.width, 4 * c.quarter, 1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(c.quarter, 3 * half**2, 3, padding=1),
            nn.PixelShuffle(half),
        )
        self.strokes = nn.Sequential(*(ResidualBlock(c.quarter) for _ in range(c.strokes)))
        _zero(self.fine[3])

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, 3, 8h, 8w]."""
        return self.coarse(x) + self.fine[3:](self.strokes(self.fine[:3](x)))


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class TinyCodec(RecurrentCodec):
    """4k+1 frames <-> k+1 latents; frame 0 alone makes latent 0, then every four frames make one.

    latent_mean and latent_std are measured on the training clips. preview_map: whether the codec has one, fitted to
    training clips (pipeline.fit_preview_map).
    """

    small_products = True

    def __init__(self, config: TinyCodecConfig = TinyCodecConfig(), *, preview_map: bool = False):
        latents = LatentSpec("the bundled codec", SPATIAL, (0.0,) * config.channels, (1.0,) * config.channels)
        super().__init__(latents, persistent=True)
        c = self.config = config
        (fine, coarse), (shallow, deep) = c.seen, c.looks
        self.encoder = nn.ModuleList(
            [
                PerFrame(
                    nn.Sequential(
                        UnshufflePixels(c.unshuffle), UnshuffledConv(c.unshuffle, fine), nn.ReLU(inplace=True)
                    )
                ),
                *(TinyMemoryBlock(fine) for _ in range(shallow)),
                HalveTime(fine),
                PerFrame(nn.Conv2d(fine, coarse, 2, stride=2)),
                HalveTime(coarse),
                *(TinyMemoryBlock(coarse) for _ in range(deep)),
                PerFrame(nn.Conv2d(coarse, c.channels, 3, padding=1)),
            ]
        )
        shallow, deep = c.blocks
        self.decoder = nn.ModuleList(
            [
                PerFrame(nn.Sequential(nn.Conv2d(c.channels, c.deep, 3, padding=1), nn.ReLU())),
                *(TinyMemoryBlock(c.deep) for _ in range(deep)),
                DoubleTime(c.deep),
                TinyMemoryBlock(c.deep, signed=True),
                PerFrame(nn.Sequential(nn.Conv2d(c.deep, 4 * c.width, 1), nn.PixelShuffle(2))),
                TinyMemoryBlock(c.width, signed=True),
                DoubleTime(c.width),
                *(TinyMemoryBlock(c.width) for _ in range(shallow)),
                PerFrame(PixelHead(c)),
            ]
        )
        cast(Any, self).to(memory_format=torch.channels_last)  # a third faster on a CPU (bench/wan_codec.py)
        if preview_map:
            pixels = self.temporal * (self.spatial // 2) ** 2 * 3
            self.preview_map = torch.zeros(1 + c.channels, pixels)

    def encode_fast(self, frames: Tensor) -> Tensor:
        """As `encode`, in bfloat16 where that is fast: two thirds of the time, 70 dB from `encode` when decoded."""
        return self.encode_pieces([frames])

    def encode_pieces(self, pieces: Iterable[Tensor]) -> Tensor:
        """As Codec's, in memory for one piece."""
        encode = self.begin_encoding()
        return torch.cat([encode(piece) for piece in pieces], 2)

    def begin_encoding(self) -> Callable[[Tensor], Tensor]:
        """As Codec's."""
        memory: Memory = {}

        def encode(frames: Tensor) -> Tensor:
            with mixed(frames.device):
                return self._encode(frames, memory).float()

        return encode

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in 0..1, T = 4k+1 -> raw latents [B, C, k+1, H/16, W/16]. Raises ValueError."""
        return self._encode(frames, {})

    def _encode(self, frames: Tensor, memory: Memory) -> Tensor:
        """A clip's frames, or those after the ones that left their memory."""
        if begins := not memory:
            self.check_frames(frames)
        x = run(self.encoder[:1], frames, memory)
        if begins:  # the first frame fills its latent
            x = torch.cat((x[:, :1].expand(-1, self.temporal - 1, -1, -1, -1), x), 1)
        return run(self.encoder[1:], x, memory).permute(0, 4, 1, 2, 3)

    def _to_frames(self, x: Tensor) -> Tensor:
        return (x + 1) / 2
