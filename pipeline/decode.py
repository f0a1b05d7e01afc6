"""From a latent video to frames, streamed through the codec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..drafting import Draft, agreement
from .latent_preview import LatentPreview, resized
from .values import ON_CPU, RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.codec.base import Codec

# Latent frames decoded ahead of one whose predecessors were skipped: without them it is off by up to 0.5, with two by
# 0.001.
WARM_UP = 2


def check_latent(space: Codec, latent: Tensor) -> None:
    """Raise ValueError unless this is one finite latent video [1,C,T,h,w] of the codec's kind."""
    import torch

    shape = list(latent.shape)
    if latent.ndim != 5 or latent.shape[1] != space.channels or 0 in shape:
        raise ValueError(
            f"the latent is {shape}; this model's codec decodes [1, {space.channels}, T, h, w]: "
            "it was made for another model, or for still pictures"
        )
    if latent.shape[0] != 1:
        raise ValueError(f"the latent holds {latent.shape[0]} videos; expected 1: decode them one by one")
    if not torch.isfinite(latent).all():
        raise ValueError("the latent holds NaN or infinity; the node that made it has failed")


def decode_frames(codec: Codec, latent: Tensor, expected: Draft | None = None, context: RunContext = ON_CPU) -> Tensor:
    """Raw-scale latent [1,C,T,h,w] -> frames [4T-3,H,W,3] fp32 in 0..1 on the CPU, one latent frame at a time.

    expected: what the frames are expected to show; where the latent agrees they are taken from it, and latent frames
    that agree throughout are not decoded. One of another size or length is not used. Memory beside the frames is
    constant. context.hooks.on_frames(done, frames so far) may raise to stop. Raises ValueError, see check_latent.
    """
    import torch

    check_latent(codec, latent)
    _, _, count, h, w = latent.shape
    frames = torch.empty((count - 1) * codec.temporal + 1, h * codec.spatial, w * codec.spatial, 3)
    at, latent = 0, latent.to(context.device)
    if expected is not None and expected.frames.shape != frames.shape:
        expected = None
    with torch.no_grad():
        share = None if expected is None else _agreement(codec, latent, expected)
        decode = [True] * count if share is None else _differs(share, codec.temporal)
        for done, chunk in enumerate(_decoded(codec, latent, decode), start=1):
            length = len(chunk) if chunk is not None else codec.temporal if at else 1
            part = slice(at, at + length)
            if expected is None or share is None:
                assert chunk is not None
                frames[part] = chunk
            elif chunk is None:
                frames[part] = expected.frames[part]
            else:
                weight = resized(share[part], frames.shape[1:3], "bilinear")
                frames[part] = chunk.cpu().lerp(expected.frames[part].float(), weight)
            at += length
            context.hooks.on_frames(done, frames[:at])
    if at != len(frames):
        raise ValueError(f"the codec gave {at} frames for {count} latent frames; expected {len(frames)}")
    return frames


def _agreement(codec: Codec, latent: Tensor, expected: Draft) -> Tensor:
    """How far a latent shows the expected frames: [T,h,w,1] in 0..1, small, on the CPU."""
    preview, own = LatentPreview(codec), expected.encoded(codec, latent.device).latent
    assert own is not None
    return agreement(preview(latent), preview(own.to(latent.dtype))).cpu()


def _differs(share: Tensor, temporal: int) -> list[bool]:
    """Whether a latent frame shows anything but the expected frames."""
    differs = (share < 1).flatten(1).any(1)
    return [bool(differs[0]), *(bool(group.any()) for group in differs[1:].view(-1, temporal))]


def _decoded(codec: Codec, latent: Tensor, decode: list[bool]) -> Iterator[Tensor | None]:
    """The frames [n,H,W,3] of each latent frame; None where they are not to be decoded."""
    at = 0  # the stream's next latent frame
    stream: Iterator[Tensor] = iter(())
    for i, wanted in enumerate(decode):
        if not wanted:
            yield None
            continue
        if i - at > WARM_UP or not at:
            at = max(0, i - WARM_UP)
            stream = codec.decode_stream(latent[:, :, at:])
        while at < i:
            next(stream)
            at += 1
        yield next(stream)[0].clamp(0.0, 1.0)
        at += 1
