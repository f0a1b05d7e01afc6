"""What the rest of the pack asks of a video codec, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class LatentSpace(Protocol):
    """Sizes and statistics of latents: `temporal` frames and `spatial` pixels a side make one cell of `channels`."""

    @property
    def temporal(self) -> int:
        """Frames of a latent frame; the first stands for one frame alone."""
        ...

    @property
    def spatial(self) -> int:
        """Pixels a side of a latent cell."""
        ...

    @property
    def channels(self) -> int:
        """Channels of a latent cell."""
        ...

    def normalize(self, latent: Tensor) -> Tensor:
        """Raw latents [B,C,...] -> what the transformer sees."""
        ...

    def denormalize(self, latent: Tensor) -> Tensor:
        """The inverse of normalize."""
        ...


class SmallDecoder(Protocol):
    """A tiny codec of the same latents, for previews."""

    def small_frames(self, latent: Tensor, long_side: int) -> Tensor:
        """Frames [B,T,h,w,3] whose long side has at most so many pixels."""
        ...


class VideoCodec(LatentSpace, Protocol):
    """Frames [B,T,H,W,3] in 0..1 to raw latents [B,C,T',h,w], T = temporal*(T'-1) + 1, and back."""

    @property
    def preview(self) -> SmallDecoder | None:
        """What draws previews, if the codec has such."""
        ...

    @property
    def preview_map(self) -> Tensor | None:
        """A linear map from latent cells to pixels (pipeline.latent_preview), if one was fitted in training."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Raw latents of a clip."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Frames [B,T,H,W,3] of whole latents."""
        ...

    def decode_stream(self, latent: Tensor, chunk: int = 1) -> Iterator[Tensor]:
        """Frames [B,n,H,W,3] of `chunk` latent frames at a time."""
        ...
