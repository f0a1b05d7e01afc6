"""The flow that a moving camera alone causes in a still scene, from its path and the scene's depth."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import CameraPath, focal_of
from .depth import DepthMaps
from .flow import FlowField, grid
from .span import ControlError

FAR = 1000.0  # metres: what lies behind a wall that is not there


def flow_from_camera(
    camera: CameraPath, depth: DepthMaps | float, width: int | None = None, height: int | None = None
) -> FlowField:
    """Flow [T-1,H,W,2] of a still scene seen from `camera`; strength, start and end are the camera's.

    depth: DepthMaps that know their metres ([T] maps, or one for the first frame alone), or the distance in metres of
    a wall that faces the first camera; then width and height in pixels are needed. Raises ControlError.
    """
    path = camera.relative()
    if isinstance(depth, DepthMaps):
        metres = depth.metres().double()
        height, width = metres.shape[1:]
        if camera.stretch and depth.frames > 1:
            path = path.resampled(depth.frames)
        if depth.frames not in (1, path.frames):
            raise ControlError(
                f"the depth has {depth.frames} frames and the camera path {path.frames}; expected as many, or 1 map"
            )
        if depth.frames == 1:
            metres = _seen_later(metres[0], path, width, height)
    else:
        if width is None or height is None:
            raise ValueError("flow_from_camera needs width and height when depth is a distance")
        metres = _wall(path, float(depth), width, height)
    if path.frames < 2:
        raise ControlError("the camera path has 1 frame; expected at least 2, so that something can move")
    flow, valid = [], []
    for t in range(path.frames - 1):
        points = _points(path, t, metres[t], width, height)
        u, v, z = _project(path, t + 1, points, width, height)
        flow.append(torch.stack((u, v), -1) - grid(width, height))
        valid.append(z > 1e-3)
    valid = torch.stack(valid)
    flow = torch.where(valid[..., None], torch.stack(flow), 0.0)
    return FlowField(flow.float(), valid.float(), camera.strength, camera.start, camera.end)


def _rays(path: CameraPath, t: int, width: int, height: int) -> Tensor:
    """Directions [H,W,3] in the world, of length 1 along the optical axis."""
    focal = focal_of(path.fov_deg[t]) * height / 2
    at = grid(width, height).double() - torch.tensor([width / 2, height / 2])
    local = torch.cat((at / focal, torch.ones(height, width, 1, dtype=torch.float64)), -1)
    return local @ path.c2w[t, :3, :3].T


def _points(path: CameraPath, t: int, metres: Tensor, width: int, height: int) -> Tensor:
    return path.c2w[t, :3, 3] + _rays(path, t, width, height) * metres[..., None]


def _project(path: CameraPath, t: int, points: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    local = (points - path.c2w[t, :3, 3]) @ path.c2w[t, :3, :3]
    z = local[..., 2]
    focal = focal_of(path.fov_deg[t]) * height / 2 / z.clamp_min(1e-3)
    return local[..., 0] * focal + width / 2, local[..., 1] * focal + height / 2, z


def _wall(path: CameraPath, distance: float, width: int, height: int) -> Tensor:
    """Depth [T,H,W] of the plane z = distance of the first camera; FAR where a ray misses it."""
    if not 0 < distance <= FAR:
        raise ControlError(f"distance is {distance:g} m; expected more than 0, up to {FAR:g}")
    maps = []
    for t in range(path.frames):
        along = _rays(path, t, width, height)[..., 2]
        ahead = (distance - path.c2w[t, 2, 3]) / along
        maps.append(torch.where((along > 1e-6) & (ahead > 1e-3), ahead, FAR).clamp(max=FAR))
    return torch.stack(maps)


def _seen_later(first: Tensor, path: CameraPath, width: int, height: int) -> Tensor:
    """Depth [T,H,W] from the first frame's map: its points seen from each pose, the nearest first, holes filled."""
    points = _points(path, 0, first, width, height)
    maps = [first]
    for t in range(1, path.frames):
        u, v, z = _project(path, t, points, width, height)
        x, y = u.floor().long(), v.floor().long()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 1e-3)
        seen = torch.full((height * width,), torch.inf, dtype=torch.float64)
        seen.scatter_reduce_(0, (y * width + x)[inside], z[inside], "amin")
        maps.append(_filled(seen.view(height, width), maps[-1]))
    return torch.stack(maps)


def _filled(depth: Tensor, before: Tensor) -> Tensor:
    """Holes (infinity) take the farthest of their neighbours: what comes to light lies behind. Else the map before."""
    for _ in range(max(depth.shape)):
        holes = torch.isinf(depth)
        if not holes.any() or holes.all():
            break
        known = torch.where(holes, -1.0, depth)
        grown = torch.nn.functional.max_pool2d(known[None, None], 3, 1, 1)[0, 0]
        depth = torch.where(holes & (grown > 0), grown, depth)
    return torch.where(torch.isinf(depth), before, depth)
