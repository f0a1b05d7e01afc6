"""A small causal video codec: 2-D convolutions and a memory of one frame; 16x16 pixels and 4 frames a latent cell.

Frame 0 alone makes latent 0, then every four frames make one: 4k+1 frames <-> k+1 latents. The same weights run over a
whole clip or chunk by chunk (each memory block carries its last frame), with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..precision import mixed


@dataclass(frozen=True)
class TinyCodecConfig:
    channels: int = 32  # of a latent
    unshuffle: int = 8  # pixels a side folded into channels before the first convolution
    quarter: int = 32  # features at 1/4 of the size, where pixels are drawn
    width: int = 64  # the decoder's features at 1/8, at full frame rate
    deep: int = 128  # and at 1/16
    blocks: tuple[int, int] = (2, 3)  # its memory blocks at 1/8 and at 1/16
    seen: tuple[int, int] = (32, 96)  # the encoder's features at 1/8 and at 1/16
    looks: tuple[int, int] = (2, 2)  # and its memory blocks
    strokes: int = 1  # residual blocks at 1/4

    @classmethod
    def told(cls, config: dict) -> TinyCodecConfig:
        """As a file tells it. In older ones the encoder is as wide as the decoder, which draws without strokes."""
        if "seen" not in config:
            config = {**config, "seen": (config["width"], config["deep"]), "looks": config["blocks"], "strokes": 0}
        return cls(**config)


class Spatial(nn.Module):
    """Applies a per-frame module to [B, T, C, H, W]."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2]), None


class Patches(nn.Module):
    """Pixels [N, C, H, W] in 0..1 folded into channels [N, side*side*C, H/side, W/side] in -0.5..0.5, the colours of a pixel side
    by side: as they lie in memory, so that a patch's rows are copied whole."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        kind, side, x = x.device.type, self.side, x.permute(0, 2, 3, 1)
        dtype = (
            torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        )  # what it is multiplied in
        x = torch.sub(x, 0.5, out=torch.empty(x.shape, dtype=dtype, device=x.device))
        x = (
            x.flatten(2).unflatten(2, (-1, 3 * side)).unflatten(1, (-1, side)).transpose(2, 3)
        )  # [N, h, w, side, 3 side]
        return x.flatten(3).permute(0, 3, 1, 2)


class PatchConv(nn.Conv2d):
    """A 3x3 convolution of patches, whose weight is as for those of nn.PixelUnshuffle, in -1..1."""

    def __init__(self, side: int, width: int):
        super().__init__(3 * side**2, width, 3, padding=1)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        weight = 2 * self.weight.unflatten(1, (3, self.side**2)).transpose(1, 2).flatten(1, 2)
        return F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), self.bias, padding=1)


def laid(x: Tensor) -> Tensor:
    """Frames [B, T, C, H, W] as they lie in memory, [B, T, H, W, C]: joined as the former, torch.cat lays the channels first."""
    return x.permute(0, 1, 3, 4, 2)


class MemoryBlock(nn.Module):
    """Residual block that sees the frame before; before the first frame it sees the first frame itself."""

    def __init__(self, width: int, *, signed: bool = False):
        super().__init__()
        self.signed = signed  # the result keeps its sign, between two layers that are linear
        self.mix = nn.Conv2d(2 * width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        frames = laid(x)
        before = torch.cat((frames[:, :1] if past is None else past, frames[:, :-1]), 1)
        both = torch.cat((frames, before), -1).flatten(0, 1).permute(0, 3, 1, 2)
        y = x + self.out(F.relu(self.mix(both), inplace=True)).unflatten(0, x.shape[:2])
        return y if self.signed else F.relu(y, inplace=True), frames[:, -1:]


class HalveTime(nn.Module):
    """Two frames -> one, by a 1x1 convolution of both."""

    def __init__(self, width: int):
        super().__init__()
        self.pair = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, None]:
        b, t, c, h, w = x.shape
        return self.pair(x.reshape(b * t // 2, 2 * c, h, w)).unflatten(0, (b, t // 2)), None


class DoubleTime(nn.Module):
    """One frame -> two."""

    def __init__(self, width: int):
        super().__init__()
        self.split = nn.Conv2d(width, 2 * width, 1)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, None]:
        b, t, c, h, w = x.shape
        return self.split(x.flatten(0, 1)).reshape(b, 2 * t, c, h, w), None


class Stroke(nn.Module):
    """Residual block of one frame; at first it leaves all as it is."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        nn.init.zeros_(self.body[2].weight)
        nn.init.zeros_(self.body[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Pixels(nn.Module):
    """Features at 1/8 of the size -> pixels: patches of 8x8, and finer ones of 4x4 that move an edge within them."""

    def __init__(self, c: TinyCodecConfig):
        super().__init__()
        self.coarse = nn.Sequential(nn.Conv2d(c.width, 3 * c.unshuffle**2, 3, padding=1), nn.PixelShuffle(c.unshuffle))
        half = c.unshuffle // 2
        self.fine = nn.Sequential(
            nn.Conv2d(c.width, 4 * c.quarter, 1), nn.PixelShuffle(2), nn.ReLU(),
            nn.Conv2d(c.quarter, 3 * half**2, 3, padding=1), nn.PixelShuffle(half),
        )  # fmt: skip
        self.strokes = nn.Sequential(*(Stroke(c.quarter) for _ in range(c.strokes)))
        nn.init.zeros_(self.fine[3].weight)
        nn.init.zeros_(self.fine[3].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.coarse(x) + self.fine[3:](self.strokes(self.fine[:3](x)))


def _run(layers: nn.ModuleList, x: Tensor, memory: list | None) -> tuple[Tensor, list]:
    memory = memory or [None] * len(layers)
    kept = []
    for layer, past in zip(layers, memory):
        x, last = layer(x, past)
        kept.append(last)
    return x, kept


class TinyCodec(nn.Module):
    spatial = 16  # pixels a side of a latent cell
    temporal = 4  # frames of a latent cell
    preview = None  # its own preview_map draws previews

    def __init__(self, config: TinyCodecConfig = TinyCodecConfig()):
        super().__init__()
        self.config = config
        c = config
        (fine, coarse), (shallow, deep) = c.seen, c.looks
        self.encoder = nn.ModuleList(
            [Spatial(nn.Sequential(Patches(c.unshuffle), PatchConv(c.unshuffle, fine), nn.ReLU(inplace=True)))]
            + [MemoryBlock(fine) for _ in range(shallow)]
            + [HalveTime(fine), Spatial(nn.Conv2d(fine, coarse, 2, stride=2)), HalveTime(coarse)]
            + [MemoryBlock(coarse) for _ in range(deep)]
            + [Spatial(nn.Conv2d(coarse, c.channels, 3, padding=1))]
        )
        shallow, deep = c.blocks
        self.decoder = nn.ModuleList(
            [Spatial(nn.Sequential(nn.Conv2d(c.channels, c.deep, 3, padding=1), nn.ReLU()))]
            + [MemoryBlock(c.deep) for _ in range(deep)]
            + [DoubleTime(c.deep), MemoryBlock(c.deep, signed=True)]
            + [Spatial(nn.Sequential(nn.Conv2d(c.deep, 4 * c.width, 1), nn.PixelShuffle(2)))]
            + [MemoryBlock(c.width, signed=True), DoubleTime(c.width)]
            + [MemoryBlock(c.width) for _ in range(shallow)]
            + [Spatial(Pixels(c))]
        )
        self.to(memory_format=torch.channels_last)  # a third faster
        # Statistics of raw latents over the training clips; the transformer sees (latent - mean) / std.
        self.register_buffer("latent_mean", torch.zeros(c.channels))
        self.register_buffer("latent_std", torch.ones(c.channels))
        # Latent cell -> pixels at half size, [1 + C, temporal * (spatial / 2)^2 * 3], row 0 the bias: for quick previews.
        # None until fitted to training clips (sampling.fit_preview_map).
        self.register_buffer("preview_map", None)

    @property
    def channels(self) -> int:
        return self.config.channels

    def latent_frames(self, frames: int) -> int:
        """Latents of a clip of 4k+1 frames. Raises ValueError for any other count, with the two nearest."""
        if frames < 1 or frames % self.temporal != 1:
            low = max(1, (frames - 1) // self.temporal * self.temporal + 1)
            raise ValueError(
                f"{frames} frames do not fit this codec, which takes {self.temporal}k+1: "
                f"use {low} or {low + self.temporal}"
            )
        return frames // self.temporal + 1

    def encode_roughly(self, frames: Tensor) -> Tensor:
        """As `encode`, in bfloat16 where that is fast: in two thirds of the time, to half a per cent (70 dB when decoded)."""
        with mixed():
            return self.encode(frames).float()

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in 0..1, T = 4k+1 -> raw latents [B, C, k+1, H/16, W/16]. Raises ValueError."""
        b, t, h, w, c = frames.shape
        self.latent_frames(t)
        if c != 3 or h % self.spatial or w % self.spatial or not h or not w:
            raise ValueError(
                f"frames are {w}x{h} with {c} channels; the codec takes RGB with sides that are multiples "
                f"of {self.spatial} pixels"
            )
        x = laid(self.encoder[0](frames.permute(0, 1, 4, 2, 3), None)[0])
        x = torch.cat((x[:, :1].expand(-1, self.temporal - 1, -1, -1, -1), x), 1)
        x, _ = _run(self.encoder[1:], x.permute(0, 1, 4, 2, 3), None)
        return x.transpose(1, 2)

    def decode(self, latent: Tensor, *, clip: bool = True) -> Tensor:
        """Raw latents [B, C, T, h, w] -> frames [B, 4T-3, 16h, 16w, 3], clipped to 0..1 (training turns that off)."""
        return next(self.decode_stream(latent, chunk=latent.shape[2], clip=clip))

    def decode_stream(self, latent: Tensor, chunk: int = 1, *, clip: bool = True) -> Iterator[Tensor]:
        """As `decode`, but yields the frames of `chunk` latents at a time, in constant memory."""
        if latent.ndim != 5 or latent.shape[1] != self.channels:
            raise ValueError(f"latents have shape {tuple(latent.shape)}; expected [B, {self.channels}, T, h, w]")
        memory = None
        for a in range(0, latent.shape[2], chunk):
            x, memory = _run(self.decoder, latent[:, :, a : a + chunk].transpose(1, 2), memory)
            x = x if a else x[:, self.temporal - 1 :]
            frames = ((x + 1) / 2).permute(0, 1, 3, 4, 2)
            yield frames.clamp(0, 1) if clip else frames

    def normalize(self, latent: Tensor) -> Tensor:
        """Raw latents [B, C, ...] -> zero mean, unit variance a channel."""
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return (latent - self.latent_mean.view(shape)) / self.latent_std.view(shape)

    def denormalize(self, latent: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return latent * self.latent_std.view(shape) + self.latent_mean.view(shape)
