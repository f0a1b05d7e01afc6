"""A still scene under a moving camera: its optical flow, and its depth and picture in other views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .camera import NEAREST, focal_length, pixel_rays, relative_poses
from .pixels import pixel_grid

HOLE_RADII = (1, 1, 2, 4, 8, 16, 32, 64)  # pixels from which holes of splatted depth are filled, one after the other
REFINEMENTS = 3  # fixed-point steps that refine splatted depth to less than a pixel
DEPTH_TOLERANCE = 0.1  # relative change of depth up to which a refinement step stays on the same surface
FARTHEST = 1000.0  # metres: the depth where a ray misses the plane of plane_depth


def rigid_flow(c2w: Tensor, fov_deg: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Flow float32 [T-1, H, W, 2] of a still scene, and where it is valid, bool [T-1, H, W].

    c2w [T, 4, 4], fov_deg [T], depth [T, H, W] in metres. Valid: the point lies in front of the next frame's camera;
    elsewhere the flow is 0.
    """
    height, width = depth.shape[1:]
    focal = focal_length(fov_deg, height)
    flow: list[Tensor] = []
    valid: list[Tensor] = []
    for t in range(len(c2w) - 1):
        points = c2w[t, :3, 3] + _world_directions(c2w[t], focal[t], width, height) * depth[t, ..., None]
        local = (points - c2w[t + 1, :3, 3]) @ c2w[t + 1, :3, :3]
        uv, z = _project(local, focal[t + 1]) + local.new_tensor([width / 2, height / 2]), local[..., 2]
        flow.append(uv - pixel_grid(width, height))
        valid.append(z > NEAREST)
    in_front = torch.stack(valid)
    return torch.where(in_front[..., None], torch.stack(flow), 0.0).float(), in_front


def plane_depth(c2w: Tensor, fov_deg: Tensor, distance: float, width: int, height: int) -> Tensor:
    """Depth [T, H, W] in metres of the world plane z = `distance`; FARTHEST where a ray misses it."""
    focal = focal_length(fov_deg, height)
    maps: list[Tensor] = []
    for t in range(len(c2w)):
        along_z = _world_directions(c2w[t], focal[t], width, height)[..., 2]
        depth = (distance - c2w[t, 2, 3]) / along_z
        maps.append(torch.where((along_z > 1e-6) & (depth > NEAREST), depth, FARTHEST).clamp(max=FARTHEST))
    return torch.stack(maps)


def splat_depth(depth: Tensor, c2w: Tensor, fov_deg: Tensor) -> Tensor:
    """Depth [T, H, W] in every view of a scene that the first view sees at depth [H, W]; c2w[0] is the identity.

    Each pixel's point goes to the pixel that it falls on, the nearest point wins, and holes are filled with the
    farthest depth around them, since what is disoccluded lies behind; what no view reaches keeps the previous depth.
    """
    height, width = depth.shape
    w2c = torch.inverse(c2w)[1:].to(depth)
    focal = focal_length(fov_deg, height).to(depth)
    points = pixel_rays(width, height, focal[0]) * depth[..., None]
    local = torch.einsum("tij,hwj->thwi", w2c[:, :3, :3], points) + w2c[:, None, None, :3, 3]
    z = local[..., 2]
    uv = _project(local, focal[1:, None, None]) + depth.new_tensor([width / 2, height / 2])
    x, y = uv.floor().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > NEAREST)
    frame = torch.arange(len(z)).view(-1, 1, 1).expand_as(x)
    splatted = depth.new_full((len(z) * height * width,), torch.inf)
    splatted.scatter_reduce_(0, ((frame * height + y) * width + x)[inside], z[inside], "amin")
    maps = [depth]
    for view in _fill_holes(splatted.view(-1, height, width)):
        maps.append(torch.where(torch.isinf(view), maps[-1], view))
    return torch.stack(maps)


def reproject(depth: Tensor, c2w: Tensor, fov_deg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How the views after the first one see a scene that the first one sees at depth [H, W] in metres.

    c2w [T, 4, 4], fov_deg [T]. Returns, in the dtype of depth: the depth [T-1, H, W] in those views; the pixel
    positions (u, v) [T-1, H, W, 2] in the first view of what each pixel shows; and whether the first view really shows
    it [T-1, H, W] rather than something nearer.
    """
    height, width = depth.shape
    c2w = relative_poses(c2w)
    maps = splat_depth(depth, c2w, fov_deg)[1:]
    to_first, focal = c2w[1:].to(depth), focal_length(fov_deg, height).to(depth)
    from_first = torch.inverse(c2w[1:]).to(depth)
    centre = depth.new_tensor([width / 2, height / 2])
    inverse_depth = (1 / depth)[None, None]
    rays = torch.einsum("tij,thwj->thwi", to_first[:, :3, :3], pixel_rays(width, height, focal[1:]))
    # Depth in a later view of the first view's point (x, y, z): z (a x/z + b y/z + c) + d, the pose's third row.
    a, b, c, d = from_first[:, 2, :, None, None].unbind(1)
    uv, visible = torch.zeros(*maps.shape, 2), torch.zeros_like(maps, dtype=torch.bool)
    for _ in range(REFINEMENTS):  # splatted depth is one value a pixel; the first view's depth is finer in between
        points = torch.addcmul(to_first[:, None, None, :3, 3], rays, maps[..., None])
        uv = points[..., :2] / points[..., 2:].clamp_min(NEAREST)
        x, y = uv.unbind(-1)
        uv = uv * (focal[0] / centre)
        sampled = F.grid_sample(inverse_depth, uv.flatten(0, 1)[None], padding_mode="border", align_corners=False)
        z = torch.addcmul(torch.addcmul(c, x, a), y, b) / sampled[0, 0].view_as(maps) + d
        visible = (z / maps - 1).abs() < DEPTH_TOLERANCE
        maps = torch.where(visible, z, maps)
    return maps, (uv + 1) * centre, visible


def _world_directions(c2w: Tensor, focal: Tensor, width: int, height: int) -> Tensor:
    """Directions [H, W, 3] in the world, of depth 1, of the pixels of one camera."""
    return pixel_rays(width, height, focal) @ c2w[:3, :3].T


def _project(local: Tensor, focal: Tensor) -> Tensor:
    """Pixel positions [..., 2] from the principal point; camera.project divides first, and rounds otherwise."""
    return local[..., :2] * (focal / local[..., 2].clamp_min(NEAREST))[..., None]


def _fill_holes(depth: Tensor) -> Tensor:
    """Depth [T, H, W] with holes (infinity) filled from the farthest depth around; wide holes from farther away."""
    known = torch.where(torch.isinf(depth), -1.0, depth)
    for radius in HOLE_RADII:
        if not (known < 0).any():
            break
        known = torch.where(known < 0, _dilate_rows(_dilate_rows(known, radius).mT, radius).mT, known)
    return torch.where(known < 0, torch.inf, known)


def _dilate_rows(x: Tensor, radius: int) -> Tensor:
    """Maximum within `radius` pixels to either side in each row of x [T, H, W], all of which is at least -1.

    Windows are doubled from three values at a time, which takes a quarter of the time of max_pool2d for large radii.
    """
    x, done = F.pad(x, (radius, radius), value=-1.0), 0
    while done < radius:
        step = min(2 * done + 1, radius - done)
        x = torch.maximum(torch.maximum(x[..., : -2 * step], x[..., step:-step]), x[..., 2 * step :])
        done += step
    return x
