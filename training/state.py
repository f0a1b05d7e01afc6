"""Where every ball is, seen or hidden, as channels of the latent behind those of pictures: what a frame hands on.

What is made from the frames before it cannot see a ball behind a box there. In these channels it can: the model makes
them as it makes the others. Of frames that come from pictures the codec reads them, as far as balls show, and so tells
their speeds to a part of a pixel; it decodes nothing of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..control.signals import SUBFRAMES, fold
from ..model.codec.tiny import TinyCodec
from ..world.camera import project_ball
from ..world.clip import Clip
from ..world.render import FIRST_BALL_ID

TRACKED = 3  # balls whose tracks are kept; no scene has more
CHANNELS = SUBFRAMES  # one for each video frame of a latent frame
WIDTH = 12.0  # pixels: a ball's bump over the latent cells around it; as narrow as cells of 16 can hold to a pixel's part
HEIGHT = 6.0  # of a bump; the channels then vary about as much as the others do
SHOWS = 0.3  # share of a ball from which on a picture tells where it is
JITTER = 0.35  # pixels by which a reader of pictures is off, each way


def ball_tracks(clip: Clip) -> tuple[Tensor, Tensor]:
    """Where every ball is, seen or hidden: [T, TRACKED, 3] centre u, v and radius in pixels; radius 0: there is none. And
    the share of its disc that shows, [T, TRACKED] in 0..1."""
    scene, (height, width) = clip.scene, clip.render.depth.shape[1:]
    tracks, seen = torch.zeros(scene.frames, TRACKED, 3), torch.zeros(scene.frames, TRACKED)
    for i, ball in enumerate(scene.balls):
        u, v, depth, radius = project_ball(clip.centers[:, i], ball.radius, scene.c2w, scene.fov_deg, width, height)
        tracks[:, i] = torch.from_numpy(np.stack((u, v, np.where(depth > ball.radius, radius, 0.0)), -1))
        shows = (clip.render.instance == FIRST_BALL_ID + i).flatten(1).sum(1)
        seen[:, i] = (shows / (np.pi * tracks[:, i, 2].square()).clamp_min(1.0)).clamp_max(1.0)
    return tracks, seen


def _offsets(tracks: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels right [B, T, N, 1, w] and down [B, T, N, h, 1] from each ball's centre to the latent cells'."""
    width, height = size
    spatial = TinyCodec.spatial
    v, u = ((torch.arange(n // spatial, device=tracks.device) + 0.5) * spatial for n in (height, width))
    return u - tracks[..., 0, None, None], v[:, None] - tracks[..., 1, None, None]


def ball_state(tracks: Tensor, size: tuple[int, int]) -> Tensor:
    """The channels [B, CHANNELS, k+1, h, w] of tracks [B, 4k+1, N, 3]: centre u, v and radius in pixels (0: no ball).

    size: width, height. Each ball is a bump around its centre; balls that are close share one.
    """
    right, down = _offsets(tracks, size)
    bump = torch.exp(-(right.square() + down.square()) / (2 * WIDTH**2)) * (tracks[..., 2, None, None] > 0)
    return fold(HEIGHT * bump.amax(2)[:, :, None], 1)


def touched(tracks: Tensor, size: tuple[int, int]) -> Tensor:
    """Latent cells [B, k+1, h, w] that a ball, seen or hidden, touches in some frame of theirs."""
    beyond = [(x.abs() - TinyCodec.spatial / 2).clamp_min(0).square() for x in _offsets(tracks, size)]
    inside = (beyond[0] + beyond[1]).sqrt() < tracks[..., 2, None, None]
    return fold(inside.any(2)[:, :, None].float(), 1).amax(1) > 0


def as_shown(tracks: Tensor, seen: Tensor, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """As ball_state, of the balls that show (seen [B, T, N]: share of each); with a generator, as a reader finds them."""
    if generator is not None:
        off = JITTER * torch.randn(tracks[..., :2].shape, generator=generator)
        tracks = torch.cat((tracks[..., :2] + off, tracks[..., 2:]), -1)
    return ball_state(tracks * (seen > SHOWS)[..., None], size)


def with_state(x: Tensor, state: Tensor, where: Tensor) -> Tensor:
    """Latents x [B, C, T, h, w] with another state [B, CHANNELS, T, h, w] in some frames, where [B, T]."""
    return torch.cat((x[:, :-CHANNELS], state.where(where[:, None, :, None, None], x[:, -CHANNELS:])), 1)
