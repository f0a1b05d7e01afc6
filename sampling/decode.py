"""From a latent video to pictures, streamed through the codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from .draft import restored

if TYPE_CHECKING:
    from torch import Tensor

    from .draft import Draft


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

    draft: what the frames are expected to show; where they do, they are as sharp as it (sampling.draft). One of another
    size or length is left aside. Beside the frames themselves, memory does not grow with their number.
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
        both = latent if draft is None else torch.cat((latent, draft.encoded(codec, device).to(latent.dtype)))
        for done, chunks in enumerate(codec.decode_stream(both), start=1):
            chunk, *again = chunks.clamp(0.0, 1.0)
            if draft is not None:
                chunk = restored(chunk, *again, draft.frames[at : at + len(chunk)].to(chunk))
            frames[at : at + len(chunk)] = chunk
            at += len(chunk)
            if on_latent_frame is not None:
                on_latent_frame(done)
            if on_frames is not None:
                on_frames(done, frames[:at])
    if at != len(frames):
        raise ValueError(f"the codec gave {at} frames for {count} latent frames; expected {len(frames)}")
    return frames
