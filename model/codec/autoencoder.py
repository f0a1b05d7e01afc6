"""The Wan video autoencoders, 2.1 (8x8 pixels and 4 frames a cell, 16 channels) and 2.2 (16x16, 48 channels).

Frame 0 alone makes latent 0, then every four frames make one. Tensor names are those of Wan2.1_VAE.pth,
wan_2.1_vae.safetensors and wan2.2_vae.safetensors. Sources: Wan-Video/Wan2.2 `wan/modules/vae2_1.py`, `vae2_2.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .base import Codec, Memory, run
from .causal import Attention, CausalConv, DownBlock, Downsample, Norm, Pointwise, ResidualBlock, UpBlock, Upsample
from .tiles import Tiles, tile_that_fits, tiles_of
from .wan_latents import wan_latents

RELEASED = {"2.1": (96, 96), "2.2": (160, 256)}  # features of encoder and decoder at full size
WIDER = (1, 2, 4, 4)  # features at the four sizes, times the base width
BLOCKS = 2  # residual blocks a size in the encoder; the decoder has one more
IN_TIME = (False, True, True)  # which of the encoder's halvings are in time too
DOUBLED = 2  # frames of a latent between the low- and the high-resolution layers of the decoder
TOGETHER = 4  # latents that pass the low-resolution layers at once, where reading weights costs more than the pixels
SMALL = 96 * 96  # pixels; frames up to this size pass the high-resolution layers TOGETHER at once, too
NUMBERS_A_PIXEL = {"2.1": 60, "2.2": 80}  # held at once when decoding, times the width at full size (measured)


class WanCodec(Codec):
    """kind: "2.1" or "2.2"; width, decoder_width: features at full size (the released ones' if None).

    `tile`: pixels a side of the tiles in which large pictures are coded; 0 never, None when memory asks for it.
    """

    def __init__(self, kind: str = "2.1", width: int | None = None, decoder_width: int | None = None):
        super().__init__(wan_latents(kind))
        self.kind = kind
        self.patch = 1 if kind == "2.1" else 2
        self.decoder_width = decoder_width or width or RELEASED[kind][1]
        self.width = width or RELEASED[kind][0]
        self.tile: int | None = None
        self.encoder = Encoder(kind, 3 * self.patch**2, self.width, 2 * self.channels)
        self.conv1 = Pointwise(2 * self.channels, 2 * self.channels)
        self.conv2 = Pointwise(self.channels, self.channels)
        self.decoder = Decoder(kind, self.channels, self.decoder_width, 3 * self.patch**2)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of activations."""
        return self.conv1.weight.dtype

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in 0..1, T = 4k+1 -> raw latents [B, C, k+1, h, w] in float32. Raises ValueError."""
        self.check_frames(frames)
        tiles = self._tiles(frames.shape[2] // self.spatial, frames.shape[3] // self.spatial)
        parts = [torch.cat(list(self._encode(part)), 1) for part in tiles.cut(frames, self.spatial)]
        return tiles.join(parts).permute(0, 4, 1, 2, 3).contiguous()

    @torch.no_grad()
    def decode_stream(self, latent: Tensor, chunk: int = 1, *, clip: bool = True) -> Iterator[Tensor]:
        """As `decode`, but yields the frames of `chunk` latents at a time, in constant memory."""
        self.check_latent(latent)
        x = latent.permute(0, 2, 3, 4, 1)
        tiles = self._tiles(*x.shape[2:4])
        parts = tiles.cut(x)
        for frames in zip(*(self._decode(part, chunk, park=len(parts) > 1) for part in parts), strict=False):
            whole = tiles.join(frames, self.spatial)
            yield whole.clamp_(0, 1) if clip else whole

    def _encode(self, frames: Tensor) -> Iterator[Tensor]:
        memory: Memory = {}
        step = self.temporal * (TOGETHER if frames.shape[2] * frames.shape[3] <= SMALL else 1)
        for start, stop in [(0, 1)] + [(i, i + step) for i in range(1, frames.shape[1], step)]:
            x = self._fold(frames[:, start:stop].to(self.dtype) * 2 - 1)
            yield self.conv1(self.encoder(x, memory))[..., : self.channels].float()

    def _decode(self, latent: Tensor, chunk: int, park: bool) -> Iterator[Tensor]:
        """park: keep the memory of the layers on the CPU while other tiles run."""
        memory: Memory = {}
        count, group = latent.shape[1], -(-TOGETHER // chunk) * chunk
        small = latent.shape[2] * latent.shape[3] * self.spatial**2 <= SMALL
        # The first latent, which is not doubled, comes over and above the first group.
        starts = [0, *range(1 + group, count, group)] if chunk == 1 else [*range(0, count, group)]
        for start, stop in zip(starts, [*starts[1:], count], strict=False):
            x = part = None  # frees the last group's activations
            x = self.decoder.begin(self.conv2(latent[:, start:stop].to(self.dtype)), memory)
            begun = start == 0
            for part in (x,) if small else _cut(x, DOUBLED * chunk, begun * (DOUBLED - 1)):
                frames = (self._unfold(self.decoder.end(part, memory)).float() + 1) / 2
                if park:
                    memory.update({layer: past.cpu() for layer, past in memory.items()})
                yield from _cut(frames, self.temporal * chunk, begun * (self.temporal - 1))
                begun = False

    def _tiles(self, height: int, width: int) -> Tiles:
        tile = self.tile
        if tile is None:
            cost = NUMBERS_A_PIXEL[self.kind] * self.decoder_width / self.patch**2 * self.dtype.itemsize
            tile = tile_that_fits(height * self.spatial, width * self.spatial, cost, self.conv1.weight.device)
        return tiles_of(height, width, max(8, tile // self.spatial) if tile else None)

    def _fold(self, x: Tensor) -> Tensor:
        """2.2: 2x2 pixels into channels, colour first, then columns, then rows."""
        if self.patch == 1:
            return x
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # [B, T, H, row, W, column, 3]
        return x.permute(0, 1, 2, 4, 6, 5, 3).flatten(4)

    def _unfold(self, x: Tensor) -> Tensor:
        if self.patch == 1:
            return x
        x = x.unflatten(4, (3, 2, 2))  # [B, T, H, W, 3, column, row]
        return x.permute(0, 1, 2, 6, 3, 5, 4).flatten(4, 5).flatten(2, 3)


def _cut(x: Tensor, size: int, less: int) -> tuple[Tensor, ...]:
    """Pieces of `size` frames, of the first `less` fewer."""
    return x.tensor_split(tuple(range(size - less, x.shape[1], size)), 1)


class Encoder(nn.Module):
    """Four sizes of residual blocks, then attention: pixels to the mean and log variance of latents."""

    def __init__(self, kind: str, pixels: int, width: int, out: int):
        super().__init__()
        self.conv1 = CausalConv(pixels, width)
        layers, last = [], width
        for i, wide in enumerate(width * n for n in WIDER):
            halve, time = i < len(IN_TIME), i < len(IN_TIME) and IN_TIME[i]
            if kind == "2.2":
                layers.append(DownBlock(last, wide, BLOCKS, halve, time))
            else:
                layers += [ResidualBlock(last, wide), *(ResidualBlock(wide, wide) for _ in range(BLOCKS - 1))]
                layers += [Downsample(wide, time)] * halve
            last = wide
        self.downsamples = nn.ModuleList(layers)
        self.middle = nn.ModuleList([ResidualBlock(last, last), Attention(last), ResidualBlock(last, last)])
        self.head = nn.ModuleDict({"0": Norm(last), "2": CausalConv(last, out)})

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """Folded pixels [B, T, H, W, C] -> [B, T', h, w, 2 * channels]."""
        x = self.conv1(x, memory)
        x = run([*self.downsamples, *self.middle], x, memory)
        return self.head["2"](x, memory, self.head["0"])


class Decoder(nn.Module):
    """`begin` runs the low-resolution layers, `end` the others; between them a latent is DOUBLED frames."""

    def __init__(self, kind: str, channels: int, width: int, pixels: int):
        super().__init__()
        last = width * WIDER[-1]
        self.conv1 = CausalConv(channels, last)
        self.middle = nn.ModuleList([ResidualBlock(last, last), Attention(last), ResidualBlock(last, last)])
        layers = []
        for i, wide in enumerate(width * n for n in reversed(WIDER)):
            double, time = i < len(IN_TIME), i < len(IN_TIME) and IN_TIME[::-1][i]
            if kind == "2.2":
                layers.append(UpBlock(last, wide, BLOCKS + 1, double, time))
                last = wide
            else:
                layers += [ResidualBlock(last, wide), *(ResidualBlock(wide, wide) for _ in range(BLOCKS))]
                layers += [Upsample(wide, wide // 2, time)] * double
                last = wide // 2
        self.upsamples = nn.ModuleList(layers)
        self.head = nn.ModuleDict({"0": Norm(wide), "2": CausalConv(wide, pixels)})
        self.small = 1 if kind == "2.2" else 2 * (BLOCKS + 1) + 1  # up to the second doubling over time

    def begin(self, x: Tensor, memory: Memory) -> Tensor:
        """Latents [B, T, h, w, C] -> features before the second doubling over time."""
        x = self.conv1(x, memory)
        return run([*self.middle, *self.upsamples[: self.small]], x, memory)

    def end(self, x: Tensor, memory: Memory) -> Tensor:
        """Features -> folded pixels in -1..1."""
        x = run(self.upsamples[self.small :], x, memory)
        return self.head["2"](x, memory, self.head["0"])
