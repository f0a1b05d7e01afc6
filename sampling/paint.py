"""Paints a draft: the last picture with its balls cut out and put where they will be, hidden where something nearer is, and
all of it as a camera path sees it; where the picture shows their shadows, these go with them, and balls are lit as they turn.

It knows nothing of what no picture has shown. (The like from a cloud of points: GEN3C, arXiv 2503.03751.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .floor import plane_near, without
from .stage import EDGE, HIDES, Setting, Stage, disc
from .views import Views

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from .looked import Look

SINKS = 1.1  # times as far as the floor that a ball may be told to be
FINELY = 50  # steps in which that is made up for, to 1: few, so that drafts of a shot share a stage


def drafted(
    pictures: Tensor, tracks: Tensor, near: Tensor, light: Tensor, camera: CameraPath | None = None,
    look: Look | None = None, soft: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A draft [T,H,W,3] of the video that begins with pictures [k,H,W,3], whose balls go along tracks [T,N,4]; and where in
    it balls are painted [T,H,W], 0 to 1.

    near [H/4,W/4]: 1 / metres of what is no ball in the last picture, which hides balls behind it; light [3]: about where it
    comes from, see Sunlight; camera: the path from the last picture on, along which it is seen; look: where near and light come
    from, and what drafts share is kept; soft: the pictures' edges are.
    """
    import torch

    once = (lambda make, *of: make()) if look is None else look.once
    count, height, width = pictures.shape[:3]
    last = tracks[count - 1]
    there = last[:, 2] > 0
    tracks = tracks[:, there][:, torch.argsort(last[there, 3], descending=True)]  # far ones first
    views = Views(camera, width, height)
    setting = once(lambda: Setting(near, pictures[-1], views.focal[0]), views.focal[0])
    if setting.floor is not None and tracks.shape[1]:
        tracks = _afloat(tracks, count, views, setting.floor)
    known, later = tracks[:count], tracks[count:]
    stage = once(lambda: Stage(setting, pictures, known, light, views, soft), views.focal[0], known, camera is None, soft)
    video = torch.cat((pictures, stage.plate.expand(len(later), -1, -1, -1)))
    made = video[count:]
    if stage.sun is not None:
        stage.sun.shade(made, stage.sun.hidden(*views.balls(later)))
    nears = stage.hides.expand(len(later), -1, -1)
    if camera is not None:
        made[:], nears = views.walked(made, setting.hides)
        if setting.floor is not None:
            nears = without(nears, plane_near(views.planes(setting.floor), views.focal[1:], (width, height)))
    balls = torch.zeros(len(tracks), height, width)
    for sprite, ball in zip(stage.sprites, later.transpose(0, 1)):
        lit = stage.lit(ball, views, later=True)
        _paint((sprite * lit[:, None]).clamp_max(1), ball, made, nears, balls[count:])
    return video, balls


def _afloat(tracks: Tensor, count: int, views: Views, floor: Tensor) -> Tensor:
    """Tracks [T,N,4], the last of `count` known pictures among them, of balls as much nearer as none sinks into the floor in a
    picture that shows it: where a ball is in the picture is told better than how far away."""
    import torch

    centres, radii = views.balls(tracks[count:])
    sunk = centres @ floor + radii * floor.norm()
    place = tracks[count:, :, :2]
    there = (tracks[count:, :, 2] > 0) & (place > 0).all(-1) & (place < 2 * views.centre).all(-1)
    nearer = (sunk.where(there, torch.zeros(())).amax(0).clamp_min(1) * FINELY).ceil() / FINELY
    nearer = nearer.clamp_max(SINKS)
    return torch.cat((tracks[..., :3], tracks[..., 3:] / nearer[:, None]), -1)


def _paint(sprite: Tensor, ball: Tensor, video: Tensor, nears: Tensor, balls: Tensor) -> None:
    """Paint a ball [F,3,SPRITE,SPRITE] into each frame of a video [F,H,W,3] where it is then [F,4], as far as nothing nearer
    [F,H,W] hides it, and note in `balls` [F,H,W] where."""
    import torch
    from torch.nn import functional as F

    height, width = video.shape[1:3]
    reach = int(ball[:, 2].max()) + 2
    row = torch.arange(-reach, reach + 1) + 0.5
    corner = ball[:, :2].floor()  # only what is near the ball is painted
    off = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1) + (corner - ball[:, :2])[:, None, None]
    size = ball[:, 2, None, None]
    at = off / size[..., None].clamp_min(1e-3) / EDGE
    painted = F.grid_sample(sprite, at, padding_mode="border", align_corners=False)
    painted, shares = painted.permute(0, 2, 3, 1), disc(*off.unbind(-1), size)
    x, y = (corner.long()[:, i, None] + row.floor().long() for i in (0, 1))  # [F, 2 reach + 1]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None] & (shares > 0)
    frame, i, j = inside.nonzero(as_tuple=True)
    there = frame, y[frame, i], x[frame, j]
    bare = ((HIDES[1] - nears[there] * ball[frame, 3]) / (HIDES[1] - HIDES[0])).clamp(0, 1)
    share = shares[inside] * bare
    video[there] = video[there].lerp(painted[inside], share[:, None])
    balls[there] = balls[there].maximum(share)
