"""What object dynamics foretell and drafts show of a clip: where every ball is, seen or hidden, and how far all else is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.signals import fold
from ..model.codec.tiny import TinyCodec
from ..model.object_dynamics import CELL
from ..geometry.camera_numpy import project_sphere
from ..world.clip import Clip
from ..world.simulate import Motion
from ..world.render import AMBIENT, FIRST_BALL_ID, SUN, render
from ..world.scene import Scene

TRACKED = 3  # balls whose tracks are kept; no scene has more
SHOWS = 0.3  # share of a ball's disc from which on it is to be found in a picture


def ball_tracks(clip: Clip) -> Tensor:
    """Tracks [T, TRACKED, 4]: centre u, v and radius in pixels, depth in metres; radius 0: there is none."""
    scene, (height, width) = clip.scene, clip.render.depth.shape[1:]
    tracks = torch.zeros(scene.frames, TRACKED, 4)
    for i, ball in enumerate(scene.balls):
        u, v, depth, radius = project_sphere(clip.centers[:, i], ball.radius, scene.c2w, scene.fov_deg, width, height)
        tracks[:, i] = torch.from_numpy(np.stack((u, v, np.where(depth > ball.radius, radius, 0.0), depth), -1))
    return tracks


def showing(clip: Clip, tracks: Tensor, frame: int) -> Tensor:
    """Which of the balls [TRACKED] of a clip and its tracks show in a frame."""
    seen = torch.stack([(clip.render.instance[frame] == FIRST_BALL_ID + i).sum() for i in range(TRACKED)])
    return seen > SHOWS * np.pi * tracks[frame, :, 2].square().clamp_min(1.0)


def ground_of(scene: Scene, motion: Motion, frames: Sequence[int], size: tuple[int, int]) -> Tensor:
    """[frames, H/CELL, W/CELL] 1 / metres of what is no ball, behind them too; size: w, h."""
    at = list(frames)
    empty = replace(scene, balls=(), c2w=scene.c2w[at], fov_deg=scene.fov_deg[at])
    drawn = render(empty, Motion(motion.centers[at, :0], motion.box_poses[at]), *size)
    return F.avg_pool2d(1 / drawn.depth, CELL)


def ground_behind(clip: Clip, frame: int) -> Tensor:
    """[H/CELL, W/CELL] as ground_of, of a clip's frame."""
    return ground_of(clip.scene, clip.motion, [frame], tuple(clip.render.depth.shape[:0:-1]))[0]


def light_seen(clip: Clip, frame: int) -> Tensor:
    """[3] the way to the light in a frame's camera (OpenCV axes), as long as it is strong: see model.ground.Ground."""
    return SUN / AMBIENT * torch.tensor(np.array(clip.scene.light) @ clip.scene.c2w[frame, :3, :3]).float()


def touched(tracks: Tensor, size: tuple[int, int]) -> Tensor:
    """Latent cells [B, k+1, h, w] that a ball of tracks [B, 4k+1, N, 4] touches in some frame of theirs; size: w, h."""
    spatial = TinyCodec.spatial
    v, u = ((torch.arange(n // spatial, device=tracks.device) + 0.5) * spatial for n in size[::-1])
    right, down = u - tracks[..., 0, None, None], v[:, None] - tracks[..., 1, None, None]
    beyond = [(x.abs() - spatial / 2).clamp_min(0).square() for x in (right, down)]
    inside = (beyond[0] + beyond[1]).sqrt() < tracks[..., 2, None, None]
    return fold(inside.any(2)[:, :, None].float(), 1).amax(1) > 0
