"""What a moving camera alone makes of a still scene, from its path and the scene's depth: flow, and later views."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .camera import CameraPath, focal_of
from .depth import DepthMaps
from .flow import FlowField, grid
from .span import ControlError

REACHES = (1, 1, 2, 4, 8, 16, 32, 64)  # pixels over which holes in a depth map are filled, one after the other
CLOSER, SLACK = 3, 0.1  # times that a later view is looked at again, and by how much its distances may change in that
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
    return replace(flow_along(path, metres), strength=camera.strength, start=camera.start, end=camera.end)


def flow_along(path: CameraPath, metres: Tensor) -> FlowField:
    """Flow of a still scene that is so far away, metres [T,H,W], in each of a path's poses."""
    height, width = metres.shape[1:]
    flow, valid = [], []
    for t in range(path.frames - 1):
        points = _points(path, t, metres[t], width, height)
        u, v, z = _project(path, t + 1, points, width, height)
        flow.append(torch.stack((u, v), -1) - grid(width, height))
        valid.append(z > 1e-3)
    valid = torch.stack(valid)
    return FlowField(torch.where(valid[..., None], torch.stack(flow), 0.0).float(), valid.float())


def seen_along(metres: Tensor, camera: CameraPath) -> tuple[Tensor, Tensor, Tensor]:
    """What a still scene, metres [H,W] away in a path's first pose, is in the others: metres [T-1,H,W], the place (u, v)
    [T-1,H,W,2] in the first picture of what each pixel shows, in the dtype of metres, and whether it is what that picture shows
    there [T-1,H,W], and not behind something nearer."""
    path, (height, width) = camera.relative(), metres.shape
    maps = _seen_later(metres, path, width, height)[1:]
    back, focal = path.c2w[1:].to(metres), (focal_of(path.fov_deg) * height / 2).to(metres)
    to, centre = torch.linalg.inv(path.c2w[1:]).to(metres), metres.new_tensor([width / 2, height / 2])
    nearness = (1 / metres)[None, None]
    rays = torch.einsum("tij,thwj->thwi", back[:, :3, :3], directions(width, height, focal[1:]))
    across, down, ahead, start = to[:, 2, :, None, None].unbind(
        1
    )  # metres along the optical axes, of the first camera's points
    for _ in range(CLOSER):  # a map of pixels is coarse: what lies in the first picture where they come from is finer
        points = torch.addcmul(back[:, None, None, :3, 3], rays, maps[..., None])
        at = points[..., :2] / points[..., 2:].clamp_min(1e-3)
        u, v = at.unbind(-1)
        at = at * (focal[0] / centre)
        near = torch.nn.functional.grid_sample(
            nearness, at.flatten(0, 1)[None], padding_mode="border", align_corners=False
        )
        z = torch.addcmul(torch.addcmul(ahead, u, across), v, down) / near[0, 0].view_as(maps) + start
        fits = (z / maps - 1).abs() < SLACK
        maps = torch.where(fits, z, maps)
    places = (at + 1) * centre
    return maps, places, fits


def directions(width: int, height: int, focal: Tensor) -> Tensor:
    """Directions [T,H,W,3] in cameras of focal lengths [T] in pixels, of length 1 along the optical axis."""
    at = grid(width, height).to(focal) - focal.new_tensor([width / 2, height / 2])
    return torch.nn.functional.pad(at / focal.view(-1, 1, 1, 1), (0, 1), value=1.0)


def _rays(path: CameraPath, t: int, width: int, height: int) -> Tensor:
    """Directions [H,W,3] in the world, of length 1 along the optical axis."""
    focal = focal_of(path.fov_deg[t]) * height / 2
    return directions(width, height, focal[None])[0] @ path.c2w[t, :3, :3].T


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
    to = torch.linalg.inv(path.c2w)[1:].to(first)
    focal = (focal_of(path.fov_deg) * height / 2).to(first)
    points = directions(width, height, focal[:1])[0] * first[..., None]
    local = torch.einsum("tij,hwj->thwi", to[:, :3, :3], points) + to[:, None, None, :3, 3]
    z = local[..., 2]
    at = local[..., :2] * (focal[1:, None, None] / z.clamp_min(1e-3))[..., None]
    x, y = (at + first.new_tensor([width / 2, height / 2])).floor().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 1e-3)
    frame = torch.arange(len(z)).view(-1, 1, 1).expand_as(x)
    seen = first.new_full((len(z) * height * width,), torch.inf)
    seen.scatter_reduce_(0, ((frame * height + y) * width + x)[inside], z[inside], "amin")
    seen = _filled(seen.view(-1, height, width))
    maps = [first]
    for one in seen:
        maps.append(torch.where(torch.isinf(one), maps[-1], one))
    return torch.stack(maps)


def _filled(depth: Tensor) -> Tensor:
    """Holes (infinity) of maps [T,H,W] take the farthest of their neighbours: what comes to light lies behind. Of wide
    holes, what is farther inside takes that of a wider neighbourhood."""
    known = torch.where(torch.isinf(depth), -1.0, depth)
    for reach in REACHES:
        if not (known < 0).any():
            break
        known = torch.where(known < 0, _largest(_largest(known, reach).mT, reach).mT, known)
    return torch.where(known < 0, torch.inf, known)


def _largest(x: Tensor, reach: int) -> Tensor:
    """The largest of so many pixels to each side in each line of x [T,H,W], none of which is below -1. Of three at a time, ever
    farther apart: a fourth of max_pool2d's time for many."""
    x, done = torch.nn.functional.pad(x, (reach, reach), value=-1.0), 0
    while done < reach:
        step = min(2 * done + 1, reach - done)
        x = torch.maximum(torch.maximum(x[..., : -2 * step], x[..., step:-step]), x[..., 2 * step :])
        done += step
    return x
