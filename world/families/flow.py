"""Forward optical flow of a rendered clip, exact: each pixel's point is moved with its body and projected again.

Balls carry one colour, so that their spin cannot be seen: their flow is that of the centre's displacement. Boxes move
rigidly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...geometry.camera import NEAREST, focal_length, project, world_rays
from .render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID, Render
from .scene import Scene
from .simulate import Motion


def forward_flow(
    scene: Scene, motion: Motion, images: Render, check: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """flow [T-1, H, W, 2] in pixels a frame (x right, y down) at frame t's pixels, and visible [T-1, H, W] bool.

    Visible: the same point is still seen at its new place in frame t+1, neither hidden nor outside the picture.
    check: called between its parts, may raise to cancel.
    """
    depth, instance = images.depth, images.instance
    _, height, width = depth.shape
    c2w, fov = torch.tensor(scene.c2w, dtype=torch.float32), torch.tensor(scene.fov_deg, dtype=torch.float32)
    moving = (c2w[1:] != c2w[:-1]).flatten(1).any(1) | (fov[1:] != fov[:-1])
    # What stands still before a still camera flows nowhere; all other pixels are worked out one by one.
    flow = torch.zeros(*instance[1:].shape, 2)
    visible = instance[1:] == instance[:-1]
    check()
    t, y, x = where = (moving[:, None, None] | (instance[:-1] >= FIRST_BALL_ID)).nonzero(as_tuple=True)
    ids, before = instance[where].long(), torch.stack((x, y), -1) + 0.5
    o, d = world_rays(c2w[t], fov[t], before, width, height)
    check()
    point = o + d * depth[where][:, None]
    centers = torch.tensor(motion.centers, dtype=torch.float32)
    for i in range(centers.shape[1]):
        check()
        own = ids == FIRST_BALL_ID + i
        point[own] += (centers[1:, i] - centers[:-1, i])[t[own]]
    poses = torch.tensor(motion.box_poses, dtype=torch.float32)
    for i, box in enumerate(scene.boxes):
        check()
        if box.mass is not None:
            own = ids == FIRST_BOX_ID + i
            move = (poses[1:, i] @ torch.inverse(poses[:-1, i]))[t[own]]
            point[own] = (move[:, :3, :3] @ point[own][..., None])[..., 0] + move[:, :3, 3]
    check()
    next_c2w = c2w[t + 1]
    local = ((point - next_c2w[:, :3, 3])[:, None] @ next_c2w[:, :3, :3])[:, 0]
    check()
    after = project(local, focal_length(fov[t + 1], height), width, height)
    flow[where] = after - before
    check()

    inside = ((after >= 0) & (after < torch.tensor([width, height]))).all(-1) & (local[:, 2] > 0)
    u, v = after.long().unbind(-1)
    target = (t + 1, v.clamp(0, height - 1), u.clamp(0, width - 1))
    plane = (ids == FLOOR_ID) | (ids == WALL_ID)  # a ray meets a plane once: the same plane is the same point
    z = local[:, 2].clamp_min(NEAREST)
    same_depth = (depth[target] - z).abs() < 0.1 + 0.02 * z
    visible[where] = inside & (instance[target] == ids) & (plane | same_depth)
    return flow, visible
