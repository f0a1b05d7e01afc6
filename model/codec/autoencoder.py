"""The Wan video autoencoders, 2.1 (8x8 pixels and 4 frames a cell, 16 channels) and 2.2 (16x16, 48 channels).

Frame 0 alone makes latent 0, then every four frames make one. Tensor names are those of Wan2.1_VAE.pth,
wan_2.1_vae.safetensors and wan2.2_vae.safetensors. Sources: Wan-Video/Wan2.2 `wan/modules/vae2_1.py`, `vae2_2.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .base import Codec, Memory, run
from .causal import Attention, CausalConv, DownBlock, Downsample, Norm, Pointwise, ResidualBlock, UpBlock, Upsample
from .tiles import Tiles, tile_that_fits, tiles_of
from .wan_latents import wan_latents

RELEASED = {"2.1": (96, 96), "2.2": (160, 256)}  # features of encoder and decoder at full size
WIDER = (1, 2, 4, 4)  # features at the four sizes, times the base width
LAST = len(WIDER) - 1
BLOCKS = 2  # residual blocks a size in the encoder; the decoder has one more
IN_TIME = (False, True, True)  # which of the encoder's halvings are in time too
RATES = (4, 4, 2, 1)  # frames of a latent at the four sizes, the full one first
# Frames of one size that pass its layers at once: FRAMES, or up to those of TOGETHER latents where they have no more
# than PIXELS in all. Of few pixels the weights take longer to prepare than to apply (measured: bench/wan_codec.py).
FRAMES, TOGETHER, PIXELS = 4, 4, 8192
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
        for frames in zip(*(self._decode(part, chunk, len(parts) > 1, {}) for part in parts), strict=False):
            whole = tiles.join(frames, self.spatial)
            yield whole.clamp_(0, 1) if clip else whole

    def begin_decoding(self) -> Callable[[Tensor], Tensor]:
        """As Codec's."""
        memories: list[Memory] = []  # of the tiles
        cut: Tiles | None = None

        @torch.no_grad()
        def decode(latent: Tensor) -> Tensor:
            nonlocal cut
            self.check_latent(latent)
            cut = tiles = cut or self._tiles(*latent.shape[3:])
            parts = tiles.cut(latent.permute(0, 2, 3, 4, 1))
            memories.extend({} for _ in range(len(parts) - len(memories)))
            frames = [
                torch.cat(list(self._decode(part, part.shape[1], len(parts) > 1, memory)), 1)
                for part, memory in zip(parts, memories, strict=True)
            ]
            return tiles.join(frames, self.spatial).clamp_(0, 1)

        return decode

    def _encode(self, frames: Tensor) -> Iterator[Tensor]:
        """Frames [B, T, H, W, 3] -> the latents [B, k, h, w, C], some at a time."""
        memory: Memory = {}

        def stage(i: int, x: Tensor) -> Tensor:
            x = self._fold(x.to(self.dtype) * 2 - 1) if i == 0 else x
            x = self.encoder(i, x, memory)
            return x if i < LAST else self.conv1(x)[..., : self.channels].float()

        return _passed(iter([frames]), stage, [self._together(i, frames.shape[2:4]) for i in range(LAST + 1)])

    def _decode(self, latent: Tensor, chunk: int, park: bool, memory: Memory) -> Iterator[Tensor]:
        """park: keep the memory of the layers on the CPU while other tiles run."""

        def stage(i: int, x: Tensor) -> Tensor:
            x = self.decoder(i, self.conv2(x.to(self.dtype)) if i == 0 else x, memory)
            if i < LAST:
                return x
            if park:
                memory.update({layer: past.cpu() for layer, past in memory.items()})
            return (self._unfold(x).float() + 1) / 2

        size = latent.shape[2] * self.spatial, latent.shape[3] * self.spatial
        frames = _passed(iter([latent]), stage, [self._together(LAST - i, size) for i in range(LAST + 1)])
        return _joined(frames, self.temporal * (chunk - 1) + 1, self.temporal * chunk)

    def _together(self, i: int, size: Sequence[int]) -> int:
        """Frames that pass at once at 1 / 2^i of the size [H, W] of pictures."""
        pixels = size[0] * size[1] // self.patch**2 // 4**i
        return FRAMES * max(1, min(RATES[i] * TOGETHER, PIXELS // pixels) // FRAMES)

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


def _passed(parts: Iterator[Tensor], stage: Callable[[int, Tensor], Tensor], together: list[int]) -> Iterator[Tensor]:
    """Frames [B, T, ...] through the stages, of each stage so many at once and the first frame with the first ones."""
    for i, frames in enumerate(together):
        parts = _joined(parts, 1 + frames, frames, partial(stage, i))
    return parts


def _joined(
    parts: Iterator[Tensor], first: int, size: int, then: Callable[[Tensor], Tensor] = lambda x: x
) -> Iterator[Tensor]:
    """`then` of frames [B, T, ...] cut and joined anew: `first` ones, `size` at a time, and what is left.

    It holds no reference to what has gone through, so that only what is still to come takes memory.
    """
    held: list[Tensor] = []
    while True:
        while sum(x.shape[1] for x in held) < first and (part := next(parts, None)) is not None:
            held.append(part)
            del part
        if not held:
            return
        x = held.pop() if len(held) == 1 else torch.cat(held, 1)
        held = [x[:, first:]] if x.shape[1] > first else []
        x, first = x[:, :first], size
        done = [then(x)]
        del x
        yield done.pop()  # no name holds it while the one who asked works on it


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
        self.layers = 1 if kind == "2.2" else BLOCKS + 1  # of a size

    def forward(self, i: int, x: Tensor, memory: Memory) -> Tensor:
        """The layers of size i, the full one first: folded pixels [B, T, H, W, C] at last -> [B, T', h, w, C]."""
        x = self.conv1(x, memory) if i == 0 else x
        x = run(self.downsamples[i * self.layers : (i + 1) * self.layers], x, memory)
        return x if i < LAST else self.head["2"](run(self.middle, x, memory), memory, self.head["0"])


class Decoder(nn.Module):
    """Attention, then four sizes of residual blocks: latents to pixels."""

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
        self.layers = 1 if kind == "2.2" else BLOCKS + 2  # of a size

    def forward(self, i: int, x: Tensor, memory: Memory) -> Tensor:
        """The layers of size i, the smallest first: latents [B, T, h, w, C] at last -> folded pixels in -1..1."""
        x = run(self.middle, self.conv1(x, memory), memory) if i == 0 else x
        x = run(self.upsamples[i * self.layers : (i + 1) * self.layers], x, memory)
        return x if i < LAST else self.head["2"](x, memory, self.head["0"])
