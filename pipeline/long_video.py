"""Videos longer than a model was trained on: made in windows, each starting from the last frames of the one before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from ..drafting.predict import foretold
from .generate import opened
from .first_picture import begun_with
from .settings import is_wan
from .takes import take

if TYPE_CHECKING:
    from torch import Tensor

OVERLAP = 5  # frames a window knows of the one before: two latent frames, from which speeds can be told


def windows(frames: int, window: int, overlap: int = OVERLAP) -> list[int]:
    """First frames of the windows that cover a video; the last window may reach beyond its end, and is cut there."""
    if overlap >= window:
        raise ValueError(f"windows of {window} frames cannot overlap by {overlap}; expected fewer")
    starts = [0]
    while starts[-1] + window < frames:
        starts.append(starts[-1] + window - overlap)
    return starts


def long_video(
    model: Any,
    conditioning: Any,
    *,
    seed: int,
    frames: int,
    width: int,
    height: int,
    window: int | None = None,
    overlap: int = OVERLAP,
    device: Any = "cpu",
    on_window: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Tensor:
    """Frames [T,H,W,3] in 0..1 of any length; settings as for `generate` (steps, guidance, shift, solver, check).

    window: frames made at once, by default as many as the model was trained on; a video no longer than that is made in
    one piece. Window i has seed + i. on_window(done, total) may raise to stop. An end picture ends the last window.
    """
    import torch

    window = window or model.defaults["frames"]
    run = {"width": width, "height": height, "device": device, **settings}
    if frames <= window:
        return take(model, conditioning, seed=seed, frames=frames, **run).frames

    def cut(shot: Any, at: int) -> Any:
        told = ("camera", "depth", "flow", "draft")
        return replace(shot, **{name: _part(getattr(shot, name, None), at, window) for name in told})

    begun = opened(
        model, cut(conditioning, 0), seed=seed, frames=window, width=width, height=height, device=device,
        guidance=settings.get("guidance"), check=settings.get("check"),
    )  # fmt: skip
    conditioning = begun_with(conditioning, begun.start)
    conditioning = foretold(model, conditioning, frames, width, height, seed)
    video = torch.empty(0, height, width, 3)
    starts = windows(frames, window, overlap)
    made = None
    for i, at in enumerate(starts):
        last = i == len(starts) - 1
        end = conditioning.end if last and at + window == frames else None
        told = replace(cut(conditioning, at), end=end, unforeseen=False)
        if made is not None:
            told = replace(told, strength=1.0, **_known(model, video[at : at + overlap], made.latent))
        made = take(model, told, seed=seed + i, frames=window, **run)
        video = torch.cat((video, made.frames[overlap if i else 0 :]))
        if on_window is not None:
            on_window(i + 1, len(starts))
    return video[:frames]


def _known(model: Any, frames: Tensor, before: Tensor) -> dict[str, Any]:
    """What a window is told of the last frames [n,H,W,3] of the one before, whose latents are `before`.

    All but the first as those latents: encoded anew they would be softer each time, and hold no state. Wan models read
    pictures.
    """
    behind = (len(frames) - 1) // model.codec.temporal
    if is_wan(model) or not behind:
        return {"start": frames}
    return {"start": frames[:1], "past": before[:, :, -behind:]}


def _part(control: Any, at: int, window: int) -> Any:
    """A control's frames at .. at+window; beyond its end the last one stands still."""
    import torch

    if control is None or getattr(control, "stretch", False):
        if control is not None:
            raise ValueError(
                "a camera path that is stretched over the video cannot be cut into windows; "
                "give it a pose for every frame"
            )
        return None

    def cut(x: Tensor, count: int, still: bool) -> Tensor:
        part = x[at : at + count]
        missing = count - len(part)
        rest = torch.zeros_like(x[-1:]) if still else x[-1:]
        return torch.cat((part, rest.expand(missing, *x.shape[1:]))) if missing else part

    if hasattr(control, "part"):
        return control.part(at, window)
    if hasattr(control, "c2w"):
        return replace(control, c2w=cut(control.c2w, window, False), fov_deg=cut(control.fov_deg, window, False))
    if hasattr(control, "inverse"):
        return replace(control, inverse=cut(control.inverse, window, False))
    return replace(control, flow=cut(control.flow, window - 1, True), valid=cut(control.valid, window - 1, True))
