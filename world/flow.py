"""Forward optical flow of a rendered clip, exact: each pixel's point is moved with its body and projected again.

Balls carry one colour, so nobody can see them spin: their flow is that of the centre's displacement. Boxes move rigidly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dynamics import Motion
from .render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID, Render, camera_rays
from .scene import Scene


def forward_flow(scene: Scene, motion: Motion, images: Render) -> tuple[Tensor, Tensor]:
    """flow [T-1, H, W, 2] in pixels a frame (x right, y down) at frame t's pixels, and visible [T-1, H, W] bool.

    Visible: the same point is still seen at its new place in frame t+1, neither hidden nor outside the picture.
    """
    depth, instance = images.depth, images.instance
    frames, height, width = depth.shape
    c2w, fov = torch.tensor(scene.c2w, dtype=torch.float32), torch.tensor(scene.fov_deg, dtype=torch.float32)
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    o, d = camera_rays(c2w[:-1, None, None], u, v, width, height, fov[:-1, None, None])
    point = o + d * depth[:-1, ..., None]  # [T-1, H, W, 3]
    ids = instance[:-1].long()
    centers = torch.tensor(motion.centers, dtype=torch.float32)
    for i in range(centers.shape[1]):
        step = (centers[1:, i] - centers[:-1, i])[:, None, None]
        point = torch.where((ids == FIRST_BALL_ID + i)[..., None], point + step, point)
    poses = torch.tensor(motion.box_poses, dtype=torch.float32)
    for i, box in enumerate(scene.boxes):
        if box.mass is not None:
            move = poses[1:, i] @ torch.linalg.inv(poses[:-1, i])
            moved = torch.einsum("tij,tyxj->tyxi", move[:, :3, :3], point) + move[:, None, None, :3, 3]
            point = torch.where((ids == FIRST_BOX_ID + i)[..., None], moved, point)
    local = torch.einsum("tji,tyxj->tyxi", c2w[1:, :3, :3], point - c2w[1:, None, None, :3, 3])
    z = local[..., 2].clamp_min(1e-3)
    focal = (0.5 * height / torch.tan(torch.deg2rad(fov[1:]) / 2))[:, None, None]
    u2, v2 = local[..., 0] / z * focal + width / 2, local[..., 1] / z * focal + height / 2
    flow = torch.stack((u2 - u, v2 - v), -1)

    inside = (u2 >= 0) & (u2 < width) & (v2 >= 0) & (v2 < height) & (local[..., 2] > 0)
    column, row = u2.long().clamp(0, width - 1), v2.long().clamp(0, height - 1)
    t = torch.arange(1, frames)[:, None, None]
    same = instance[t, row, column] == instance[:-1]
    plane = (ids == FLOOR_ID) | (ids == WALL_ID)  # a ray meets a plane once: the same plane is the same point
    near = (depth[t, row, column] - z).abs() < 0.1 + 0.02 * z
    return flow, inside & same & (plane | near)
