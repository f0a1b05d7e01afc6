"""From a latent video to pictures, streamed through the codec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

from ..control.pictures import cover
from ..drafting.draft import Draft, agreement
from .quick_decode import quick_decode, resized
from .settings import is_wan

if TYPE_CHECKING:
    from torch import Tensor


LEAD = 2  # latent frames decoded ahead of one, where none before are: without them it is off by up to .5, so by .001


def expected(model: Any, conditioning: Any, frames: int, width: int, height: int) -> Draft | None:
    """The draft of a conditioning, or else its start pictures, of which the last stands still; None without any, and for
    Wan models, whose codecs blur little and take long."""
    if conditioning.draft is not None or conditioning.start is None or is_wan(model):
        return conditioning.draft
    return Draft(cover(conditioning.start, width, height)).part(0, frames)


def check_latent(codec: Any, latent: Tensor) -> None:
    """Raise ValueError unless this is one finite latent video [1,C,T,h,w] of the codec's kind."""
    import torch

    shape = list(latent.shape)
    if latent.ndim != 5 or latent.shape[1] != codec.channels or 0 in shape:
        raise ValueError(
            f"the latent is {shape}; this model's codec decodes [1, {codec.channels}, T, h, w]: "
            "it was made for another model, or for still pictures"
        )
    if latent.shape[0] != 1:
        raise ValueError(f"the latent holds {latent.shape[0]} videos; expected 1: decode them one by one")
    if not torch.isfinite(latent).all():
        raise ValueError("the latent holds NaN or infinity; the node that made it has failed")


def decode_frames(
    codec: Any,
    latent: Tensor,
    device: Any = "cpu",
    on_latent_frame: Callable[[int], None] | None = None,
    on_frames: Callable[[int, Tensor], None] | None = None,
    draft: Draft | None = None,
) -> Tensor:
    """Raw-scale latent [1,C,T,h,w] -> frames [4T-3,H,W,3] fp32 in 0..1 on the CPU, one latent frame at a time.

    draft: what the frames are expected to show; where they do, they are it, and what is wholly so is not decoded. One of
    another size or length is left aside. Beside the frames themselves, memory does not grow with their number.
    on_latent_frame(done) may raise to stop; on_frames(done, frames so far) as well, which must leave the frames as they are.
    """
    import torch

    check_latent(codec, latent)
    _, _, count, h, w = latent.shape
    frames = torch.empty((count - 1) * codec.temporal + 1, h * codec.spatial, w * codec.spatial, 3)
    at, latent = 0, latent.to(device)
    if draft is not None and draft.frames.shape != frames.shape:
        draft = None
    with torch.no_grad():
        same = None if draft is None else _same(codec, latent, draft)
        wanted = [True] * count if same is None else _differing(same, codec.temporal)
        for done, chunk in enumerate(_decoded(codec, latent, wanted), start=1):
            length = len(chunk) if chunk is not None else codec.temporal if at else 1
            here = slice(at, at + length)
            if same is None:
                frames[here] = chunk
            elif chunk is None:
                frames[here] = draft.frames[here]
            else:
                share = resized(same[here], frames.shape[1:3], "bilinear")
                frames[here] = chunk.cpu().lerp(draft.frames[here].float(), share)
            at += length
            if on_latent_frame is not None:
                on_latent_frame(done)
            if on_frames is not None:
                on_frames(done, frames[:at])
    if at != len(frames):
        raise ValueError(f"the codec gave {at} frames for {count} latent frames; expected {len(frames)}")
    return frames


def _same(codec: Any, latent: Tensor, draft: Draft) -> Tensor:
    """How far a latent shows the draft: [T,h,w,1], small, on the CPU."""
    return agreement(
        *(quick_decode(codec, x) for x in (latent, draft.encoded(codec, latent.device).to(latent.dtype)))
    ).cpu()


def _differing(same: Tensor, temporal: int) -> list[bool]:
    """Whether a latent frame shows anything but the draft."""
    differs = (same < 1).flatten(1).any(1)
    return [bool(differs[0]), *differs[1:].view(-1, temporal).any(1).tolist()]


def _decoded(codec: Any, latent: Tensor, wanted: list[bool]) -> Iterator[Tensor | None]:
    """The frames [n,H,W,3] of each latent frame; None where they are not wanted."""
    at, stream = 0, None
    for i, want in enumerate(wanted):
        if not want:
            yield None
            continue
        if stream is None or i - at > LEAD:
            at = max(0, i - LEAD)
            stream = codec.decode_stream(latent[:, :, at:])
        while at <= i:
            chunk = next(stream)[0].clamp(0.0, 1.0)
            at += 1
        yield chunk
