"""The simulator's truth of a clip beside its pictures: tracks of balls, distance of the background, light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...control.signals import fold
from ...geometry.camera_numpy import project_sphere
from ...model.codec.tiny import SPATIAL
from ...model.object_dynamics import CELL
from ...world.families.clip import Clip
from ...world.families.render import AMBIENT, FIRST_BALL_ID, SUN, render
from ...world.families.scene import Scene
from ...world.families.simulate import Motion

TRACKED = 3  # balls whose tracks are stored; no scene has more
VISIBLE_SHARE = 0.3  # share of a ball's disc from which on it is to be found in a picture


def ball_tracks(clip: Clip) -> Tensor:
    """Tracks [T, TRACKED, 4]: centre u, v and radius in pixels, depth in metres; radius 0: there is none."""
    scene, (height, width) = clip.scene, clip.render.depth.shape[1:]
    tracks = torch.zeros(scene.frames, TRACKED, 4)
    for i, ball in enumerate(scene.balls):
        u, v, depth, radius = project_sphere(clip.centers[:, i], ball.radius, scene.c2w, scene.fov_deg, width, height)
        tracks[:, i] = torch.from_numpy(np.stack((u, v, np.where(depth > ball.radius, radius, 0.0), depth), -1))
    return tracks


def visible_balls(clip: Clip, tracks: Tensor, frame: int) -> Tensor:
    """Which of the balls [TRACKED] of a clip and its tracks show in a frame."""
    pixels = torch.stack([(clip.render.instance[frame] == FIRST_BALL_ID + i).sum() for i in range(TRACKED)])
    return pixels > VISIBLE_SHARE * np.pi * tracks[frame, :, 2].square().clamp_min(1.0)


def background_inverse_depth(scene: Scene, motion: Motion, frames: Sequence[int], size: tuple[int, int]) -> Tensor:
    """[frames, H/CELL, W/CELL] 1 / metres of all but balls, behind them too; size: width, height."""
    at = list(frames)
    empty = replace(scene, balls=(), c2w=scene.c2w[at], fov_deg=scene.fov_deg[at])
    drawn = render(empty, Motion(motion.centers[at, :0], motion.box_poses[at]), *size)
    return F.avg_pool2d(1 / drawn.depth, CELL)


def clip_background(clip: Clip, frame: int) -> Tensor:
    """[H/CELL, W/CELL] as background_inverse_depth, of a clip's frame."""
    height, width = clip.render.depth.shape[1:]
    return background_inverse_depth(clip.scene, clip.motion, [frame], (width, height))[0]


def light_in_camera(clip: Clip, frame: int) -> Tensor:
    """[3] the direction to the light in a frame's camera (OpenCV axes), as long as it is strong: see
    model.ground.Ground."""
    return SUN / AMBIENT * torch.tensor(np.array(clip.scene.light) @ clip.scene.c2w[frame, :3, :3]).float()


def cells_with_balls(tracks: Tensor, size: tuple[int, int]) -> Tensor:
    """Latent cells [B, k+1, h, w] that a ball of tracks [B, 4k+1, N, 4] touches in some frame of theirs; size: width,
    height."""
    v, u = ((torch.arange(n // SPATIAL, device=tracks.device) + 0.5) * SPATIAL for n in size[::-1])
    right, down = u - tracks[..., 0, None, None], v[:, None] - tracks[..., 1, None, None]
    beyond = [(x.abs() - SPATIAL / 2).clamp_min(0).square() for x in (right, down)]
    inside = (beyond[0] + beyond[1]).sqrt() < tracks[..., 2, None, None]
    return fold(inside.any(2)[:, :, None].float(), 1).amax(1) > 0
