"""Pinhole cameras on tensors: focal length, rays through pixels, projection, Pluecker rays."""

from __future__ import annotations

import torch
from torch import Tensor

from .linalg import norm
from .pixels import pixel_grid

FOV_RANGE_DEG = (1.0, 170.0)  # vertical fields of view that a pinhole camera is allowed here
NEAREST = 1e-3  # metres: points nearer than this, or behind the camera, are projected from here


def focal_length(fov_deg: Tensor, height: float = 2.0) -> Tensor:
    """Focal length in the unit in which the picture is `height` high: pixels, or half picture heights when left out."""
    return 0.5 * height / torch.tan(torch.deg2rad(fov_deg) / 2)


def fov_from_focal(focal: Tensor, height: float = 2.0) -> Tensor:
    """Vertical field of view in degrees: the inverse of focal_length."""
    return torch.rad2deg(2 * torch.atan(0.5 * height / focal))


def rays_through(at: Tensor, focal: Tensor, width: float, height: float) -> Tensor:
    """Directions [..., 3] in camera axes, of depth 1, through pixel positions at [..., 2]; focal [...] in pixels."""
    return torch.nn.functional.pad((at - at.new_tensor([width / 2, height / 2])) / focal[..., None], (0, 1), value=1.0)


def pixel_rays(width: int, height: int, focal: Tensor) -> Tensor:
    """Directions [..., H, W, 3] in camera axes, of depth 1, through each pixel; focal [...] in pixels."""
    return rays_through(pixel_grid(width, height).to(focal), focal[..., None, None], width, height)


def world_rays(c2w: Tensor, fov_deg: Tensor, at: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Origins [..., 3] and directions [..., 3] in the world, of depth 1, through pixel positions at [..., 2].

    c2w [..., 4, 4], fov_deg [...] and the leading axes of `at` broadcast.
    """
    local = rays_through(at, focal_length(fov_deg, height), width, height)
    return c2w[..., :3, 3], (c2w[..., :3, :3] @ local[..., None])[..., 0]


def project(points: Tensor, focal: Tensor, width: float, height: float, nearest: float = NEAREST) -> Tensor:
    """Pixel positions [..., 2] of points [..., 3] in camera axes, metres; focal [...] in pixels.

    Points of less depth than `nearest` are projected as if they had it: their positions are not meant to be used.
    """
    uv = points[..., :2] / points[..., 2:].clamp_min(nearest) * focal[..., None]
    return uv + uv.new_tensor([width / 2, height / 2])


def unproject(at: Tensor, depth: Tensor, focal: Tensor, width: float, height: float) -> Tensor:
    """Points [..., 3] in camera axes, metres, of pixel positions [..., 2] and depths [...]; focal [...] in pixels."""
    return rays_through(at, focal, width, height) * depth[..., None]


def relative_poses(c2w: Tensor) -> Tensor:
    """The poses [T, 4, 4] in the axes of the first one, which becomes the identity."""
    return torch.inverse(c2w[0]) @ c2w


def plucker_rays(
    c2w: Tensor, fov_deg: Tensor, width: int, height: int, step: float = 1.0, aspect: float = 1.0
) -> Tensor:
    """Pluecker coordinates (o x d, d) float64 [T, 6, H / step, W / step] of rays `step` pixels apart, d of length 1.

    c2w [T, 4, 4], fov_deg [T]; aspect: focal length across over that down, 1 where pixels are square. Origins o are
    relative to the first pose, as in the camera adapter of Wan-Fun (aigc-apps/VideoX-Fun, wan_camera_adapter.py).
    """
    pose = relative_poses(c2w.double())
    at = pixel_grid(round(width / step), round(height / step), step, torch.float64)
    local = rays_through(at, focal_length(fov_deg.double(), height)[:, None, None], width, height)
    if aspect != 1:
        local = local / local.new_tensor([aspect, 1.0, 1.0])
    d = torch.einsum("tij,tyxj->tyxi", pose[:, :3, :3], local / norm(local)[..., None])
    o = pose[:, None, None, :3, 3].expand_as(d)
    return torch.cat((torch.cross(o, d, dim=-1), d), -1).permute(0, 3, 1, 2)
