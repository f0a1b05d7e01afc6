"""Point tracks as a control: where points of the start picture are in every frame, and whether they are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypedDict, cast

import torch
from torch import Tensor

from .depth import all_finite, check_same_shape
from .span import ControlError

MAX_POINTS = 4096  # with more, the weights of one latent frame of 832x480 take over 200 MB
METHODS = ("ati", "wanmove")
MAKERS = "draw strokes on VDiT Motion Brush, write points on VDiT Tracks, or take the tracks of VDiT Simulate"


class CoreTracks(TypedDict, total=False):
    """ComfyUI's TRACKS: track_path [T,N,2] in pixels, track_visibility [T,N] or [T,1] bool.

    width, height, fps are this pack's own and optional: of the frames that the points are on.
    """

    track_path: Tensor
    track_visibility: Tensor
    width: int
    height: int
    fps: float


@dataclass(frozen=True, eq=False)
class PointTracks:
    """N points followed through T frames.

    at [T,N,2] float32: pixels, x right and y down, the first pixel's centre at (0.5, 0.5). visible [T,N] bool: where
    it is False, `at` counts for nothing. size: (width, height) of the frames, None: the video's, whatever it is; fps:
    None where it is not known. Raises ControlError for other shapes, fewer than 2 frames, too many points, NaN.
    """

    at: Tensor
    visible: Tensor
    size: tuple[int, int] | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        at = torch.as_tensor(self.at, dtype=torch.float32).detach().cpu()
        visible = torch.as_tensor(self.visible).detach().cpu().bool()
        if at.ndim != 3 or at.shape[-1] != 2:
            raise ControlError(f"tracks are {list(at.shape)}; expected [frames, points, 2] in pixels, x then y")
        if visible.ndim == 2 and visible.shape[0] == len(at) and visible.shape[1] == 1:  # one for all points
            visible = visible.expand(at.shape[:2])
        if visible.shape != at.shape[:2]:
            raise ControlError(
                f"tracks are {list(at.shape)} but their visibility {list(visible.shape)}; expected {list(at.shape[:2])}"
            )
        if len(at) < 2:
            raise ControlError(f"tracks have {len(at)} frame(s); expected at least 2: one place is no motion")
        if at.shape[1] > MAX_POINTS:
            raise ControlError(f"there are {at.shape[1]:,} tracks; expected at most {MAX_POINTS:,}: leave some out")
        seen = torch.where(visible[..., None], at, 0.0)
        if seen.numel() and not all_finite(seen):
            t, n = (int(i) for i in (~torch.isfinite(seen)).any(-1).nonzero()[0])
            raise ControlError(
                f"track {n}, frame {t}: {at[t, n].tolist()} is no place in pixels; give numbers, or mark the point as "
                "not seen there"
            )
        if self.size is not None and min(self.size) < 1:
            raise ControlError(f"tracks: their frames are {self.size[0]}x{self.size[1]} pixels; expected at least 1x1")
        # Hidden places may be NaN, which would spoil sums in which they have no weight.
        object.__setattr__(self, "at", torch.where(torch.isfinite(at), at, 0.0))
        object.__setattr__(self, "visible", visible.clone())

    @property
    def frames(self) -> int:
        """Frames that the points are followed through."""
        return len(self.at)

    @property
    def count(self) -> int:
        """Number of points."""
        return self.at.shape[1]

    def resampled(self, frames: int) -> PointTracks:
        """Stretched or compressed to another number of frames, first and last stay; places in between are linear.

        A point is seen between two frames where it is seen in both.
        """
        if frames < 2:
            raise ControlError(f"tracks cannot be resampled to {frames} frame(s); expected at least 2")
        if frames == self.frames:
            return self
        last = self.frames - 1
        # In whole numbers, so that times which are frames of the source give its places to the bit.
        time = torch.arange(frames) * last
        before, rest = time // (frames - 1), time % (frames - 1)
        after = (before + 1).clamp(max=last)
        share = (rest.double() / (frames - 1)).float()[:, None, None]
        start, end = self.at[before], self.at[after]
        at = torch.where(share == 0, start, start + (end - start) * share)
        visible = self.visible[before] & (self.visible[after] | (rest == 0)[:, None])
        fps = None if self.fps is None else self.fps * (frames - 1) / last
        return replace(self, at=at, visible=visible, fps=fps)

    def resized(self, width: int, height: int) -> PointTracks:
        """For frames of another size. Raises ControlError for another shape."""
        if self.size is None or self.size == (width, height):
            return replace(self, size=(width, height))
        w, h = self.size
        check_same_shape("tracks", w, h, width, height)
        return replace(self, at=self.at * torch.tensor([width / w, height / h]), size=(width, height))

    def inside(self, width: int, height: int) -> Tensor:
        """Where [T,N] a point is seen and within frames of this size."""
        return self.visible & (self.at >= 0).all(-1) & (self.at < torch.tensor([width, height])).all(-1)

    def then(self, other: PointTracks) -> PointTracks:
        """These points and those of another value, which is resampled and resized to this one."""
        if other.size is not None and self.size is not None:
            other = other.resized(*self.size)
        other = other.resampled(self.frames)
        at, visible = torch.cat((self.at, other.at), 1), torch.cat((self.visible, other.visible), 1)
        return replace(self, at=at, visible=visible, size=self.size or other.size)


def fitted(tracks: PointTracks, frames: int, width: int, height: int) -> PointTracks:
    """Those tracks that begin in the start picture, for a clip of this length and size.

    Both ways of conditioning carry what a point shows in the first frame: one that is not seen there has nothing to
    carry. Raises ControlError for another shape, and where no track is left.
    """
    tracks = tracks.resized(width, height).resampled(frames)
    if not tracks.visible.any():
        raise ControlError(f"tracks: no point is ever seen; {MAKERS}")
    inside = tracks.inside(width, height)
    if not inside.any():
        seen = tracks.at[tracks.visible]
        (left, right), (top, bottom) = ((float(axis.min()), float(axis.max())) for axis in seen.unbind(-1))
        raise ControlError(
            f"tracks: all points lie outside the video ({width}x{height}) in every frame, at x {left:.0f} to "
            f"{right:.0f}, y {top:.0f} to {bottom:.0f}; give positions in the video's pixels, or set width and "
            "height on VDiT Tracks to those of the picture that they were drawn on"
        )
    begins = inside[0]
    if not begins.any():
        raise ControlError(
            "tracks: no point is seen within the first frame, so there is nothing of the start picture to carry; let "
            "tracks begin in the first frame"
        )
    return replace(tracks, at=tracks.at[:, begins], visible=tracks.visible[:, begins])


def from_core(value: object, name: str = "tracks") -> PointTracks:
    """TRACKS of ComfyUI's nodes or ours. Raises ControlError for what is none, or holds no point."""
    if isinstance(value, PointTracks):
        return value
    given: Mapping[str, object] = {}
    kind = type(value).__name__
    if isinstance(value, Mapping):
        given = cast("Mapping[str, object]", value)
    path, seen = given.get("track_path"), given.get("track_visibility")
    if not isinstance(path, Tensor):
        raise ControlError(f"{name} is {kind} without a tensor “track_path”; expected TRACKS: {MAKERS}")
    if path.ndim == 3 and 0 in path.shape[:2]:
        raise ControlError(f"{name} holds no points; {MAKERS}")
    visible = seen if isinstance(seen, Tensor) else torch.ones(path.shape[:2], dtype=torch.bool)
    width, height, fps = given.get("width"), given.get("height"), given.get("fps")
    size = (int(width), int(height)) if isinstance(width, (int, float)) and isinstance(height, (int, float)) else None
    return PointTracks(path, visible, size, float(fps) if isinstance(fps, (int, float)) and fps > 0 else None)


def to_core(tracks: PointTracks) -> CoreTracks:
    """TRACKS as ComfyUI's own nodes take them, with size and rate where they are known."""
    made = CoreTracks(track_path=tracks.at, track_visibility=tracks.visible)
    if tracks.size is not None:
        made["width"], made["height"] = tracks.size
    if tracks.fps is not None:
        made["fps"] = tracks.fps
    return made
