"""Where point tracks come from: brush strokes, points of a background that holds still, and a moving camera."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..geometry.camera import NEAREST, focal_length, project, unproject
from ..geometry.linalg import norm
from ..geometry.reproject import DEPTH_TOLERANCE, FARTHEST, splat_depth
from .brush import BACKGROUNDS, Stroke, place_at
from .camera import CameraPath
from .depth import DepthMaps
from .fit import check_length
from .span import ControlError
from .tracks import MAX_POINTS, PointTracks

CELL = 16.0  # pixels between points of a stroke, at least: two latent cells, as far as one track of ATI reaches
ACROSS = 3.0  # points along the radius of a wide stroke
RIM = 0.9  # share of a stroke's radius that points are laid in: at its edge two things may meet
STILL_POINTS = 12  # points of a still background along the longer side
ROUNDING = 1e-6  # of the clip: times of frames are float32
OCCLUSION_SIDE = 256  # pixels of the longer side at which it is looked up whether something nearer hides a point


def from_strokes(
    strokes: Sequence[Stroke], frames: int, width: int, height: int, background: str = "free"
) -> PointTracks:
    """Points spread over the disc of each stroke, which travel along it; still ones between them, where wanted.

    Before and after its own time a stroke's points are not seen, except in the first frame, where they begin. A stroke
    of one point holds what it covers. background: see with_background. Moving points come last: where two meet, the
    later one wins in Wan-Move. Raises ControlError.
    """
    _check(frames, background)
    time = torch.linspace(0, 1, frames).double()
    wide, parts, seen = 1.0, list[Tensor](), list[Tensor]()
    offsets = [_disc(stroke.radius * width, wide) for stroke in strokes]
    while sum(map(len, offsets)) > MAX_POINTS // 2:  # many strokes have fewer points each
        wide *= 1.25
        offsets = [_disc(stroke.radius * width, wide) for stroke in strokes]
    for stroke, disc in zip(strokes, offsets, strict=True):
        at = place_at(stroke, time, width, height)[:, None] + disc
        acts = (time >= stroke.start - ROUNDING) & (time <= stroke.end + ROUNDING)
        acts[0] = True
        begins = _inside(at[0], width, height)
        parts.append(at[:, begins])
        seen.append(acts[:, None].expand(-1, int(begins.sum())))
    empty = torch.zeros(frames, 0, 2)
    at, visible = torch.cat((empty, *parts), 1), torch.cat((empty[..., 0].bool(), *seen), 1)
    return with_background(PointTracks(at, visible, (width, height)), background)


def with_background(tracks: PointTracks, background: str) -> PointTracks:
    """Before the tracks, "still" ones on a grid over the picture wherever none passes; or, "free", the tracks alone.

    The size of their frames must be known.
    """
    if background == "free":
        return tracks
    assert tracks.size is not None, "the size of the picture"
    grid, step = _grid(*tracks.size)
    places = tracks.at[tracks.visible]
    if len(places):
        grid = grid[torch.stack([norm(places - point).amin() for point in grid]) >= step / 2]
    still = PointTracks(grid.expand(tracks.frames, -1, -1), torch.ones(tracks.frames, len(grid)), tracks.size)
    return still.then(tracks)


def carried(
    tracks: PointTracks, camera: CameraPath, depth: DepthMaps | float, check: Callable[[], None] = lambda: None
) -> PointTracks:
    """The tracks as a moving camera sees them: their motion, drawn over the first picture, is one in the scene.

    Each point keeps the depth of the place where it begins: the first of the maps there, or a plane that many metres
    away. A point that something nearer hides, or that is behind the camera, is not seen. check: called for each frame,
    may raise to cancel. Raises ControlError for another length or shape, and for depth without metres.
    """
    if tracks.size is None:
        raise ControlError("tracks: the size of their frames must be known before a camera can carry them")
    width, height = tracks.size
    path = camera.resampled(tracks.frames) if camera.stretch else camera
    check_length("the camera path", path.frames, tracks.frames, "give a path with a pose for every frame of the tracks")
    path = path.relative()
    focal = focal_length(path.fov_deg, height)
    at = tracks.at.double()
    metres = _metres(depth, width, height)
    x, y = (at[0, :, i].floor().long().clamp(0, n - 1) for i, n in ((0, width), (1, height)))
    z = metres[y, x]  # not between pixels, where the depths of two things would mix
    points = unproject(at, z.expand(at.shape[:2]), focal[0], width, height)  # [T, N, 3] before the first camera
    local = (points - path.c2w[:, None, :3, 3]) @ path.c2w[:, :3, :3]
    moved = project(local, focal[:, None], width, height)
    visible = tracks.visible & (local[..., 2] > NEAREST)
    if isinstance(depth, DepthMaps):
        visible &= _unoccluded(metres, path, moved, local[..., 2], check)
    return replace(tracks, at=moved.float(), visible=visible)


def _metres(depth: DepthMaps | float, width: int, height: int) -> Tensor:
    """Depth [H, W] of the first frame, float64."""
    if isinstance(depth, DepthMaps):
        return depth.resized(width, height).metres()[0].double()
    if not 0 < depth <= FARTHEST:
        raise ControlError(f"distance is {depth:g} m; expected more than 0, up to {FARTHEST:g}")
    return torch.full((height, width), float(depth), dtype=torch.float64)


def _unoccluded(metres: Tensor, path: CameraPath, at: Tensor, z: Tensor, check: Callable[[], None]) -> Tensor:
    """Whether [T,N] nothing nearer than a point of depth z lies where it is seen."""
    height, width = metres.shape
    share = min(1.0, OCCLUSION_SIDE / max(width, height))
    small = (max(1, round(height * share)), max(1, round(width * share)))
    coarse = torch.nn.functional.interpolate(metres[None, None], size=small, mode="nearest")[0, 0]
    scale = at.new_tensor([small[1] / width, small[0] / height])
    clear = [torch.ones(at.shape[1], dtype=torch.bool)]
    for t in range(1, len(at)):
        check()
        there = splat_depth(coarse, path.c2w[[0, t]], path.fov_deg[[0, t]])[1]
        x, y = (at[t] * scale).floor().long().unbind(-1)
        x, y = x.clamp(0, small[1] - 1), y.clamp(0, small[0] - 1)
        clear.append(z[t] <= there[y, x] * (1 + DEPTH_TOLERANCE))
    return torch.stack(clear)


def _check(frames: int, background: str) -> None:
    if not 2 <= frames <= 1001:
        raise ControlError(f"tracks: frames is {frames}; expected 2 to 1001")
    if background not in BACKGROUNDS:
        raise ControlError(f"tracks: background is {background!r}; expected one of {', '.join(BACKGROUNDS)}")


def _disc(radius: float, wide: float) -> Tensor:
    """Offsets [N, 2] in pixels of points in rows of triangles within a disc, its centre first."""
    step = max(CELL, radius / ACROSS) * wide
    count = math.ceil(radius / step) + 1
    rows, columns = torch.meshgrid(torch.arange(-count, count + 1), torch.arange(-count, count + 1), indexing="ij")
    x, y = (columns + 0.5 * (rows % 2)) * step, rows * (step * math.sqrt(0.75))
    points = torch.stack((x, y), -1).double().reshape(-1, 2)
    points = points[norm(points) <= RIM * radius]
    if not len(points):
        return torch.zeros(1, 2, dtype=torch.float64)
    return points[norm(points).argsort(stable=True)]


def _grid(width: int, height: int) -> tuple[Tensor, float]:
    """Points [N, 2] in the middles of square fields over the picture, and the side of a field in pixels."""
    step = max(width, height) / STILL_POINTS
    columns, rows = (max(1, round(n / step)) for n in (width, height))
    x, y = ((torch.arange(n) + 0.5) * (side / n) for n, side in ((columns, width), (rows, height)))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2), step


def _inside(at: Tensor, width: int, height: int) -> Tensor:
    return (at >= 0).all(-1) & (at < at.new_tensor([width, height])).all(-1)
