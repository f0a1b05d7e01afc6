"""Forward optical flow of a rendered clip, exact: each pixel's point is moved with its body and projected again.

Balls carry one colour, so nobody can see them spin: their flow is that of the centre's displacement. Boxes move rigidly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID, Render, camera_rays
from .scene import Scene
from .simulate import Motion


def forward_flow(scene: Scene, motion: Motion, images: Render) -> tuple[Tensor, Tensor]:
    """flow [T-1, H, W, 2] in pixels a frame (x right, y down) at frame t's pixels, and visible [T-1, H, W] bool.

    Visible: the same point is still seen at its new place in frame t+1, neither hidden nor outside the picture.
    """
    depth, instance = images.depth, images.instance
    _, height, width = depth.shape
    c2w, fov = torch.tensor(scene.c2w, dtype=torch.float32), torch.tensor(scene.fov_deg, dtype=torch.float32)
    moving = (c2w[1:] != c2w[:-1]).flatten(1).any(1) | (fov[1:] != fov[:-1])
    # What stands still before a still camera flows nowhere; all other pixels are worked out one by one.
    flow = torch.zeros(*instance[1:].shape, 2)
    visible = instance[1:] == instance[:-1]
    t, y, x = where = (moving[:, None, None] | (instance[:-1] >= FIRST_BALL_ID)).nonzero(as_tuple=True)
    ids, u, v = instance[where].long(), x + 0.5, y + 0.5
    o, d = camera_rays(c2w[t], u, v, width, height, fov[t])
    point = o + d * depth[where][:, None]
    centers = torch.tensor(motion.centers, dtype=torch.float32)
    for i in range(centers.shape[1]):
        own = ids == FIRST_BALL_ID + i
        point[own] += (centers[1:, i] - centers[:-1, i])[t[own]]
    poses = torch.tensor(motion.box_poses, dtype=torch.float32)
    for i, box in enumerate(scene.boxes):
        if box.mass is not None:
            own = ids == FIRST_BOX_ID + i
            move = (poses[1:, i] @ torch.linalg.inv(poses[:-1, i]))[t[own]]
            point[own] = (move[:, :3, :3] @ point[own][..., None])[..., 0] + move[:, :3, 3]
    after = c2w[t + 1]
    local = ((point - after[:, :3, 3])[:, None] @ after[:, :3, :3])[:, 0]  # world to camera
    z = local[:, 2].clamp_min(1e-3)
    focal = 0.5 * height / torch.tan(torch.deg2rad(fov[t + 1]) / 2)
    u2, v2 = local[:, 0] / z * focal + width / 2, local[:, 1] / z * focal + height / 2
    flow[where] = torch.stack((u2 - u, v2 - v), -1)

    inside = (u2 >= 0) & (u2 < width) & (v2 >= 0) & (v2 < height) & (local[:, 2] > 0)
    there = (t + 1, v2.long().clamp(0, height - 1), u2.long().clamp(0, width - 1))
    plane = (ids == FLOOR_ID) | (ids == WALL_ID)  # a ray meets a plane once: the same plane is the same point
    near = (depth[there] - z).abs() < 0.1 + 0.02 * z
    visible[where] = inside & (instance[there] == ids) & (plane | near)
    return flow, visible
