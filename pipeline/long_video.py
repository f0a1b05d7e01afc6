"""Videos longer than a model was trained on: made in windows, each starting from the last frames of the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .drafts import begun, predict, wants_first_picture
from .family import family_of
from .generate import with_first_picture
from .takes import take
from .values import Continuation, Run, ignore

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..control.conditioning import Conditioning
    from ..control.depth import DepthMaps
    from ..control.flow import FlowField

OVERLAP = 5  # frames a window is given of the one before: two latent frames, which show how fast things move


@dataclass(frozen=True)
class Windows:
    """How a long video is cut: frames made at once (None: as many as the model was trained on), frames shared by two
    neighbours, and on_window(done, total), which may raise to stop.
    """

    frames: int | None = None
    overlap: int = OVERLAP
    on_window: Callable[[int, int], None] = ignore


def window_starts(frames: int, window: int, overlap: int = OVERLAP) -> list[int]:
    """First frames of the windows that cover a video; the last window may reach beyond its end, and is cut there."""
    if overlap >= window:
        raise ValueError(f"windows of {window} frames cannot overlap by {overlap}; expected fewer")
    starts = [0]
    while starts[-1] + window < frames:
        starts.append(starts[-1] + window - overlap)
    return starts


def long_video(run: Run, windows: Windows = Windows()) -> Tensor:
    """Frames [T,H,W,3] in 0..1 of any length; errors as generate()'s.

    A video no longer than a window, and a causal model's, is made in one piece. Window i has seed + i. An end picture
    ends the last window.
    """
    import torch

    model, clip, seed = run.model, run.clip, run.seed or 0
    window = windows.frames or model.defaults["frames"]
    if clip.frames <= window or model.causal is not None:  # whose own window moves on by itself
        return take(run).frames
    piece = replace(clip, frames=window)
    if wants_first_picture(run):
        first = with_first_picture(replace(run, clip=piece, conditioning=_cut(run.conditioning, 0, window)))
        run = begun(replace(run, continuation=Continuation(first_picture=first.first_picture)))
    draft = predict(run).draft
    video = torch.empty(0, clip.height, clip.width, 3)
    starts = window_starts(clip.frames, window, windows.overlap)
    latent = None
    for i, at in enumerate(starts):
        end = run.conditioning.end if i == len(starts) - 1 and at + window == clip.frames else None
        part = replace(_cut(run.conditioning, at, window), end=end)
        continuation = replace(run.continuation, draft=None if draft is None else draft.window(at, window))
        if latent is not None:
            start, past = family_of(model).after_window(model, video[at : at + windows.overlap], latent)
            part, continuation = replace(part, start=start, strength=1.0), replace(continuation, past=past)
        made = take(replace(run, conditioning=part, clip=piece, seed=seed + i, continuation=continuation))
        latent = made.result.latent
        video = torch.cat((video, made.frames[windows.overlap if i else 0 :]))
        windows.on_window(i + 1, len(starts))
    return video[: clip.frames]


def _cut(conditioning: Conditioning, at: int, window: int) -> Conditioning:
    """The conditioning with the controls of the frames from `at` on; beyond their end the last frame stands still."""
    if conditioning.tracks is not None:
        raise ValueError(
            "tracks carry what the first frame shows, so they cannot be cut into windows: make a video of one window"
        )
    camera, depth, flow = conditioning.controls
    return replace(
        conditioning,
        camera=_cut_camera(camera, at, window),
        depth=_cut_depth(depth, at, window),
        flow=_cut_flow(flow, at, window),
    )


def _cut_camera(camera: CameraPath | None, at: int, window: int) -> CameraPath | None:
    if camera is None:
        return None
    if camera.stretch:
        raise ValueError(
            "a camera path that is stretched over the video cannot be cut into windows; give it a pose for every frame"
        )
    return replace(camera, c2w=_frames(camera.c2w, at, window), fov_deg=_frames(camera.fov_deg, at, window))


def _cut_depth(depth: DepthMaps | None, at: int, window: int) -> DepthMaps | None:
    return None if depth is None else replace(depth, inverse=_frames(depth.inverse, at, window))


def _cut_flow(flow: FlowField | None, at: int, window: int) -> FlowField | None:
    if flow is None:
        return None
    return replace(
        flow, flow=_frames(flow.flow, at, window - 1, still=True), valid=_frames(flow.valid, at, window - 1, still=True)
    )


def _frames(x: Tensor, at: int, count: int, still: bool = False) -> Tensor:
    """`count` rows of x [T, ...] from `at` on; missing ones repeat the last, or are 0 (still)."""
    import torch

    part = x[at : at + count]
    missing = count - len(part)
    rest = torch.zeros_like(x[-1:]) if still else x[-1:]
    return torch.cat((part, rest.expand(missing, *x.shape[1:]))) if missing else part
