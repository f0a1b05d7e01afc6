"""From a latent video to frames, streamed through the codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING

import torch

from ..drafting import Draft, agreement
from ..machine.threads import each_by_team
from .latent_preview import LatentPreview, resized
from .share import decoded
from .values import ON_CPU, RunContext, ignore

if TYPE_CHECKING:
    from torch import Tensor

    from ..kernels.processes import Processes
    from ..model.codec.base import Codec

# Latent frames decoded ahead of one whose predecessors were skipped: without them it is off by up to 0.5, with two by
# 0.001.
WARM_UP = 2
# Latent frames that are compared with the expected ones at once: those of 15 s at 8 frames/s, 50 MB of small frames.
COMPARED = 32


def warmed_up(count: int, at_once: int, temporal: int) -> Iterator[tuple[slice, int]]:
    """Parts of `count` latent frames, each with WARM_UP more before it, and how many of its frames belong to those."""
    for first in range(0, count, at_once):
        start = max(0, first - WARM_UP)
        yield slice(start, min(count, first + at_once)), max(0, first - start - 1) * temporal + (first > 0)


def check_latent(space: Codec, latent: Tensor) -> None:
    """Raise ValueError unless this is one finite latent video [1,C,T,h,w] of the codec's kind."""
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


def frames_shape(codec: Codec, latent: Tensor) -> tuple[int, int, int, int]:
    """[4T-3,H,W,3] of the video that a latent [1,C,T,h,w] decodes to."""
    _, _, count, h, w = latent.shape
    return (count - 1) * codec.temporal + 1, h * codec.spatial, w * codec.spatial, 3


def decode_stream(
    codec: Codec,
    latent: Tensor,
    expected: Draft | None = None,
    device: torch.device | str = "cpu",
    processes: Processes | None = None,
) -> Iterator[Tensor]:
    """Raw-scale latent [1,C,T,h,w] -> the frames [n,H,W,3] fp32 in 0..1, on the CPU, of one latent frame after another.

    expected: what the frames are expected to show; where the latent agrees they are taken from it, and latent frames
    that agree throughout are not decoded. One of another size or length is not used. Memory does not grow with the
    length. processes: that decode this together, and all get the frames. Raises ValueError, see check_latent.
    """
    small = codec.small_products and torch.device(device).type == "cpu"
    return each_by_team(_decoded(codec, latent, expected, device, processes), small)


@torch.no_grad()
def _decoded(
    codec: Codec, latent: Tensor, expected: Draft | None, device: torch.device | str, processes: Processes | None
) -> Iterator[Tensor]:
    check_latent(codec, latent)
    latent, shape = latent.to(device), frames_shape(codec, latent)
    if expected is not None and expected.frames.shape != shape:
        expected = None
    frames_of = _InOrder(codec, latent, processes)
    shares = repeat(None) if expected is None else _agreement(codec, latent, expected)
    at = 0
    for i, share in zip(range(latent.shape[2]), shares, strict=False):
        part = slice(at, at + (codec.temporal if i else 1))
        if expected is None or share is None:
            frames = frames_of(i).float().cpu()
        elif (share < 1).any():
            frames = frames_of(i).cpu().lerp(expected.frames[part].float(), resized(share, shape[1:3], "bilinear"))
        else:
            frames = expected.frames[part].float()
        at += len(frames)
        yield frames
    if at != shape[0]:
        raise ValueError(f"the codec gave {at} frames for {latent.shape[2]} latent frames; expected {shape[0]}")


def decode_frames(codec: Codec, latent: Tensor, expected: Draft | None = None, context: RunContext = ON_CPU) -> Tensor:
    """All frames of decode_stream at once, [4T-3,H,W,3].

    context.hooks.on_frames(latent frames done, frames so far) may raise to stop. Raises ValueError, see check_latent.
    """
    check_latent(codec, latent)
    parts = decode_stream(codec, latent, expected, context.device, context.processes)
    return _gathered(frames_shape(codec, latent), parts, context.hooks.on_frames)


class StreamedFrames:
    """Frames [T,H,W,3] that are decoded while they are iterated, anew each time: in place of a tensor for an encoder.

    parts: begins to decode and gives the frames piece by piece, [n,H,W,3] each.
    """

    ndim = 4

    def __init__(self, shape: tuple[int, int, int, int], parts: Callable[[], Iterator[Tensor]]):
        self.shape, self.parts = shape, parts

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        for part in self.parts():
            yield from part

    def whole(self) -> Tensor:
        """All frames in memory."""
        return _gathered(self.shape, self.parts())


def _gathered(
    shape: tuple[int, ...], parts: Iterator[Tensor], on_frames: Callable[[int, Tensor], None] = ignore
) -> Tensor:
    """The parts as one tensor; on_frames(parts done, frames so far) after each."""
    frames, at = torch.empty(shape), 0
    for done, part in enumerate(parts, start=1):
        frames[at : at + len(part)] = part
        at += len(part)
        on_frames(done, frames[:at])
    return frames


def _agreement(codec: Codec, latent: Tensor, expected: Draft) -> Iterator[Tensor]:
    """How far each latent frame shows the expected frames: [n,h,w,1] in 0..1, small, on the CPU."""
    preview, step, count = LatentPreview(codec), codec.temporal, latent.shape[2]
    for part, known in warmed_up(count, COMPARED, step):
        share = agreed(preview, latent[:, :, part], expected, part)[known:]
        if not known:
            yield share[:1]
            share = share[1:]
        yield from share.split(step)


def agreed(preview: LatentPreview, latent: Tensor, expected: Draft, part: slice) -> Tensor:
    """How far the latent frames `part` of a video show the expected frames: [4n-3,h,w,1] in 0..1, small, on the CPU."""
    codec, step = preview.codec, preview.codec.temporal
    if expected.latent is not None:
        own = expected.latent[:, :, part]
    else:  # a latent frame's last frame has the number of a multiple of `step`
        frames = (part.stop - 1 - part.start) * step + 1
        own = expected.window(part.start * step, frames).encoded(codec, latent.device).latent
    assert own is not None
    return agreement(preview(latent), preview(own.to(latent.device, latent.dtype))).cpu()


class _InOrder:
    """The frames [n,H,W,3] of latent frames, asked for in rising order; after a gap decoding begins anew before it."""

    def __init__(self, codec: Codec, latent: Tensor, processes: Processes | None):
        self.codec, self.latent, self.processes = codec, latent, processes
        self.at = 0  # the stream's next latent frame
        self.stream = decoded(codec, latent, processes)

    def __call__(self, i: int) -> Tensor:
        """The frames of latent frame i."""
        if i - self.at > WARM_UP:
            self.at = i - WARM_UP
            self.stream = decoded(self.codec, self.latent[:, :, self.at :], self.processes)
        while self.at < i:
            next(self.stream)
            self.at += 1
        self.at += 1
        return next(self.stream)[0].clamp(0.0, 1.0)
