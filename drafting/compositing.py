"""Paints a draft: the last picture with its balls cut out and put where they will be, hidden where something nearer is, and
all of it as a camera path sees it; where the picture shows their shadows, these go with them, and balls are lit as they turn.

It knows nothing of what no picture has shown. (The like from a cloud of points: GEN3C, arXiv 2503.03751.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple

from .ground_plane import plane_near, without
from .layers import EDGE, HIDES, Setting, Stage, disc
from .camera_views import Views, Walk

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from .perception import Look

SINKS = 1.1  # times as far as the floor that a ball may be told to be
FINELY = 50  # steps in which that is made up for, to 1: few, so that drafts of a shot share a stage
UNSEEN = 1e-3  # what weighs what no picture shows, beside what one does


class End(NamedTuple):
    """An end picture [H,W,3], its balls [N,4], and what else is in it, as of the last known one: see drafted()."""

    picture: Tensor
    tracks: Tensor
    near: Tensor
    light: Tensor
    look: Look


def drafted(
    pictures: Tensor, tracks: Tensor, near: Tensor, light: Tensor, camera: CameraPath | None = None,
    look: Look | None = None, end: End | None = None, soft: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A draft [T,H,W,3] of the video that begins with pictures [k,H,W,3], whose balls go along tracks [T,N,4]; and where in
    it balls are painted [T,H,W], 0 to 1.

    near [H/4,W/4]: 1 / metres of what is no ball in the last picture, which hides balls behind it; light [3]: about where it
    comes from, see Sunlight; camera: the path from the last picture on, along which it is seen; look: where near and light come
    from, and what drafts share is kept; end: what is seen where the path ends, which shows what comes into view on the way; soft:
    the pictures' edges are.
    """
    import torch

    once = (lambda what, make, *of, **size: make()) if look is None else look.once
    count, height, width = pictures.shape[:3]
    last = tracks[count - 1]
    there = last[:, 2] > 0
    tracks = tracks[:, there][:, torch.argsort(last[there, 3], descending=True)]  # far ones first
    views = Views(camera, width, height)
    setting = once("setting", lambda: Setting(near, pictures[-1], views.focal[0]), views.focal[0])
    if setting.floor is not None and tracks.shape[1]:
        tracks = _afloat(tracks, count, views, setting.floor)
    known, later = tracks[:count], tracks[count:]
    rests = camera is None
    stage = once(
        "stage", lambda: Stage(setting, pictures, known, light, views, soft), views.focal[0], known, rests, soft
    )
    video = torch.cat((pictures, stage.plate.expand(len(later), -1, -1, -1)))
    made = video[count:]
    if stage.sun is not None:
        stage.sun.shade(made, stage.sun.hidden(*views.balls(later)))
    nears = stage.hides.expand(len(later), -1, -1)
    if camera is not None:
        walk = _walk(once, views, setting)
        made[:], nears = walk.seen(made), walk.nears
        if end is not None:
            nears = _joined(made, nears, walk.shows, *_from_the_end(end, views, later))
        if setting.floor is not None:
            nears = without(nears, plane_near(views.planes(setting.floor), views.focal[1:], (width, height)))
    balls = torch.zeros(len(tracks), height, width)
    for sprite, ball in zip(stage.sprites, later.transpose(0, 1)):
        lit = stage.lit(ball, views, later=True)
        _paint((sprite * lit[:, None]).clamp_max(1), ball, made, nears, balls[count:])
    return video, balls


def _walk(once: Callable, views: Views, setting: Setting) -> Walk:
    camera = views.camera
    return once("walk", lambda: Walk(views, setting.hides), camera.c2w, camera.fov_deg, pictures=len(camera.c2w))


def _from_the_end(end: End, views: Views, later: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the end picture shows, as a path's cameras see it in frames behind the first, with the shadows of balls at tracks
    [F,N,4]: the video [F,H,W,3], 1 / metres and whether it is in the picture [F,H,W]."""
    import torch

    back, once = views.turned(), end.look.once
    setting = once("setting", lambda: Setting(end.near, end.picture, back.focal[0]), back.focal[0])
    tracks = end.tracks[torch.argsort(end.tracks[:, 3], descending=True)]
    make = lambda: Stage(setting, end.picture[None], tracks[None], end.light, back, soft=False)  # noqa: E731
    stage = once("stage", make, back.focal[0], tracks)
    made = stage.plate.repeat(len(later), 1, 1, 1)
    if stage.sun is not None:
        centres, radii = views.balls(later)
        stage.sun.shade(made, stage.sun.hidden(views.at_the_end(centres), radii))
    walk = _walk(once, back, setting)
    last, before = made[-1:], made[:-1].flip(0)  # from the path's end back, up to the frame behind its first one
    video = walk.seen(torch.cat((before, made[:1])))[:-1].flip(0)
    nears, shows = (x[:-1].flip(0) for x in (walk.nears, walk.shows))
    return (
        torch.cat((video, last)), torch.cat((nears, setting.hides[None])), torch.cat((shows, torch.ones_like(walk.shows[:1]))),
    )  # fmt: skip


def _joined(
    made: Tensor, nears: Tensor, shows: Tensor, other: Tensor, other_nears: Tensor, other_shows: Tensor
) -> Tensor:  # fmt: skip
    """Blend into a video [F,H,W,3] another, which is sure at its end as it is at its start, each where a picture shows it
    [F,H,W]; and 1 / metres [F,H,W], of the surer one."""
    import torch

    time = torch.linspace(0, 1, len(made) + 1)[1:, None, None]
    own, others = (1 - time) * (shows + UNSEEN), time * (other_shows + UNSEEN)
    share = others / (own + others)
    made.lerp_(other, share[..., None])
    return torch.where(share > 0.5, other_nears, nears)


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
