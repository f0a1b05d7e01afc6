"""Codec: what all video autoencoders share. Sizes and statistics of latents, checks, and one executor of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAKERS = {16: "Wan 2.1", 48: "Wan 2.2"}  # channels of a latent -> the codec that makes such

Memory = dict[nn.Module, Tensor]  # layer -> the last frames of its input, which it needs for the next chunk


@dataclass(frozen=True)
class LatentSpec:
    """Sizes and statistics of a codec's raw latents. Frame 0 makes latent 0 alone, then every `temporal` frames one."""

    title: str  # of the codec, in messages
    spatial: int  # pixels a side of a latent cell
    mean: tuple[float, ...]  # of each channel
    std: tuple[float, ...]
    temporal: int = 4  # frames of a latent
    multiple: int = 1  # sides of a latent are multiples of so many cells


class PreviewDecoder(Protocol):
    """Decodes latents to small frames, much cheaper than the codec itself."""

    def small_frames(self, latent: Tensor, long_side: int) -> Tensor:
        """Raw latents [B, C, T, h, w] -> frames [B, 4T-3, H, W, 3] in 0..1, the long side at most long_side pixels."""
        ...


class Codec(nn.Module):
    """Base of all codecs; by itself a latent space that can be asked for sizes but not coded with."""

    small_products = False  # whether threads are chosen as machine/threads.py says

    latent_mean: Tensor  # [C]
    latent_std: Tensor  # [C]
    # Latent cell -> pixels at half size, by one matrix [1 + C, temporal * (spatial / 2)^2 * 3] with the bias in row 0.
    preview_map: Tensor | None

    def __init__(self, latents: LatentSpec, *, persistent: bool = False):
        super().__init__()
        self.latents = latents
        self.spatial, self.temporal, self.channels = latents.spatial, latents.temporal, len(latents.mean)
        self.preview: PreviewDecoder | None = None
        self.register_buffer("latent_mean", torch.tensor(latents.mean, device="cpu"), persistent)
        self.register_buffer("latent_std", torch.tensor(latents.std, device="cpu"), persistent)
        self.register_buffer("preview_map", None, persistent)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in 0..1, T = 4k+1 -> raw latents [B, C, k+1, h, w]. ValueError for other sizes."""
        raise NotImplementedError

    def encode_fast(self, frames: Tensor) -> Tensor:
        """As `encode`, at a lower precision where a codec has one that is faster: good enough for drafts."""
        return self.encode(frames)

    def encode_pieces(self, pieces: Iterable[Tensor]) -> Tensor:
        """As `encode_fast`, of frames that come in pieces: 4k+1, then 4k of them each."""
        first, *more = pieces
        return self.encode_fast(torch.cat((first, *more), 1) if more else first)

    def begin_encoding(self) -> Callable[[Tensor], Tensor]:
        """A function that encodes a video's frames as they come: 4k+1 of them [B, n, H, W, 3], then 4k in each call.

        As `encode_fast`; memory does not grow with the number of calls. NotImplementedError where a codec cannot.
        """
        raise NotImplementedError

    def decode(self, latent: Tensor, *, clip: bool = True) -> Tensor:
        """Raw latents [B, C, T, h, w] -> frames [B, 4T-3, H, W, 3], clipped to 0..1 (training turns that off)."""
        return torch.cat(list(self.decode_stream(latent, clip=clip)), 1)

    def decode_stream(self, latent: Tensor, chunk: int = 1, *, clip: bool = True) -> Iterator[Tensor]:
        """As `decode`, but yields the frames of `chunk` latents at a time, in constant memory."""
        raise NotImplementedError

    def begin_decoding(self) -> Callable[[Tensor], Tensor]:
        """A function that decodes a video's latents as they come, [B, C, n, h, w] -> their frames [B, m, H, W, 3].

        The frames of all calls are those of `decode`; memory does not grow with the number of calls.
        """
        raise NotImplementedError

    def latent_frames(self, frames: int) -> int:
        """Latents of a clip of 4k+1 frames. Raises ValueError for any other count, with the two nearest."""
        if frames < 1 or frames % self.temporal != 1:
            low = max(1, (frames - 1) // self.temporal * self.temporal + 1)
            raise ValueError(
                f"{frames} frames do not fit {self.latents.title}, which takes {self.temporal}k+1: "
                f"use {low} or {low + self.temporal}"
            )
        return frames // self.temporal + 1

    def normalize(self, latent: Tensor) -> Tensor:
        """Raw latents [B, C, ...] -> zero mean, unit variance a channel, as the transformer takes them."""
        mean, std = self._statistics(latent)
        return (latent - mean) / std

    def denormalize(self, latent: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._statistics(latent)
        return latent * std + mean

    def check_frames(self, frames: Tensor) -> None:
        """ValueError unless frames are [B, 4k+1, H, W, 3] with sides that fit."""
        if frames.ndim != 5 or frames.shape[-1] != 3:
            raise ValueError(f"frames have shape {list(frames.shape)}; expected [B, T, H, W, 3], RGB in 0..1")
        self.latent_frames(frames.shape[1])
        step = self.latents.multiple * self.spatial
        wrong = []
        for name, size in (("width", frames.shape[3]), ("height", frames.shape[2])):
            if size % step or not size:
                below = max(size // step, 1) * step
                wrong.append(f"{name} is {size}, the nearest that fit are {below} and {below + step}")
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}: {self.latents.title} takes sides in multiples of {step} pixels")

    def check_latent(self, latent: Tensor) -> None:
        """ValueError unless the latent is [B, C, T, h, w] with sides that fit."""
        shape = list(latent.shape)
        if len(shape) != 5 or 0 in shape:
            raise ValueError(f"latents have shape {shape}; expected [B, {self.channels}, T, h, w]")
        if shape[1] != self.channels:
            maker = f" (the {MAKERS[shape[1]]} codec makes these)" if shape[1] in MAKERS else ""
            raise ValueError(
                f"latents have {shape[1]} channels{maker}; {self.latents.title} decodes {self.channels}: "
                "load the codec that belongs to the model"
            )
        multiple, (h, w) = self.latents.multiple, shape[3:]
        if h % multiple or w % multiple:
            raise ValueError(
                f"latents are {w}x{h} cells; {self.latents.title} takes pictures whose sides are multiples of "
                f"{multiple * self.spatial} pixels"
            )

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return self.latent_mean.to(latent.device).view(shape), self.latent_std.to(latent.device).view(shape)


class CausalLayer(nn.Module):
    """A layer over frames [B, T, H, W, C] that depends on earlier frames: forward(x, memory).

    x continues the input of the last call with the same memory, so a clip gives the same result in one call or many.
    """


def run(layers: Iterable[nn.Module], x: Tensor, memory: Memory) -> Tensor:
    """x [B, T, H, W, C] through the layers, of a whole clip or of its next chunk."""
    for layer in layers:
        x = layer(x, memory) if isinstance(layer, CausalLayer) else layer(x)
    return x


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any) -> Tensor:  # noqa: ANN401 (F.conv2d's own)
    """F.conv2d over frames [..., H, W, C]."""
    y = F.conv2d(x.flatten(0, -4).permute(0, 3, 1, 2), weight, bias, **options)
    return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:-3])
