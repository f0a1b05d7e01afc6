"""Paints a draft: the last picture with its balls cut out and put where they will be, hidden where something nearer is, and
all of it as a camera path sees it.

It knows nothing of shadows, and of what no picture has shown. (The like from a cloud of points: GEN3C, arXiv 2503.03751.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..control.reproject import seen_along

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath

RIM = 2.5  # pixels beyond a ball's disc that are taken for it where it is cut out
HIDES = 1.02, 1.06  # nearer by so much than a ball's centre, the ground hides nothing of it, and all
HIDDEN = sum(HIDES) / 2
LEAST_NEAR = 1e-3  # 1 / metres
BENDS, ALIKE = 0.03, 0.05  # nearer by so much than the plane of its neighbours it is another thing; colours of one thing
STEADY = 2, 0.08  # cells on each side over which distances are evened out, and by how much they may differ for that
ASIDE = 0.01  # how little what is above and below a hole counts, to fill it, beside what is to its left and right
SPRITE, EDGE = 48, 1.2  # pixels a side of a ball's own picture, and the radii that it holds each way


def _walked(plate: Tensor, near: Tensor, camera: CameraPath) -> tuple[Tensor, Tensor]:
    """What a still scene, whose picture [H,W,3] and 1 / metres [H,W] are told in a path's first camera, looks like in those
    behind it: pictures [F,H,W,3] and 1 / metres [F,H,W]. What lies outside of the picture is as at its edge."""
    import torch
    from torch.nn import functional as F

    metres, came_from = seen_along(1 / near, camera)
    at = came_from / torch.tensor([near.shape[1] / 2, near.shape[0] / 2]) - 1
    pictures = plate.permute(2, 0, 1)[None].expand(len(at), -1, -1, -1)
    pictures = F.grid_sample(pictures, at, padding_mode="border", align_corners=False)
    return pictures.permute(0, 2, 3, 1), 1 / metres


def drafted(
    pictures: Tensor, tracks: Tensor, near: Tensor, camera: CameraPath | None = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A draft [T,H,W,3] of the video that begins with pictures [k,H,W,3], whose balls go along tracks [T,N,4]; and where in
    it balls are painted [T,H,W], 0 to 1.

    near [H/4,W/4]: 1 / metres of what is no ball in the last picture, which hides balls behind it; camera: the path from
    the last picture on, along which it is seen.
    """
    import torch

    count, height, width = pictures.shape[:3]
    last = tracks[count - 1]
    there = last[:, 2] > 0
    order = torch.argsort(last[there, 3], descending=True)  # far ones first
    tracks, last = tracks[:, there][:, order], last[there][order]
    near = _sharp(near, pictures[-1]).clamp_min(LEAST_NEAR)
    if camera is None:
        video = _plate(pictures, tracks[:count]).repeat(len(tracks) - count, 1, 1, 1)
        nears = near.expand(len(video), -1, -1)
    else:
        video, nears = _walked(_plate(pictures[-1:], last[None]), near, camera)
    balls = torch.zeros(len(tracks), height, width)
    tracked = tracks[:count, 0, 2] > 0 if len(last) else slice(0)
    for then, ball in zip(tracks[:count][tracked].transpose(0, 1), tracks[count:].transpose(0, 1)):
        _paint(_sprite(pictures[tracked], then, near), ball, video, nears, balls[count:])
    return torch.cat((pictures, video)), balls


def _sprite(pictures: Tensor, seen: Tensor, near: Tensor) -> Tensor:
    """A ball's own picture [1,3,SPRITE,SPRITE], EDGE radii to each side, of those [k,H,W,3] in which it is at seen [k,4]:
    the median of what nothing nearer (near [H,W]) hides; its mean colour where all of them do."""
    import torch
    from torch.nn import functional as F

    pixel = (torch.arange(SPRITE) + 0.5) * 2 / SPRITE - 1
    square = torch.stack(torch.meshgrid(pixel, pixel, indexing="xy"), -1) * EDGE  # in radii
    at = seen[:, None, None, :2] + square * seen[:, 2, None, None, None]
    at = 2 * at / torch.tensor([pictures.shape[2], pictures.shape[1]]) - 1
    look = lambda maps: F.grid_sample(maps, at, padding_mode="border", align_corners=False)  # noqa: E731
    hidden = look(near.expand(len(at), 1, -1, -1)) * seen[:, 3, None, None, None] > HIDDEN
    sprite = look(pictures.permute(0, 3, 1, 2)).masked_fill(hidden, torch.nan).nanmedian(0, keepdim=True).values
    inside = (square.norm(dim=-1) < 1) & ~sprite.isnan().any(1)
    mean = sprite[..., inside[0]].mean(-1).nan_to_num(0.5)
    return torch.where(sprite.isnan(), mean[..., None, None], sprite)


def _paint(sprite: Tensor, ball: Tensor, video: Tensor, nears: Tensor, balls: Tensor) -> None:
    """Paint a ball into each frame of a video [F,H,W,3] where it is then [F,4], as far as nothing nearer [F,H,W] hides it,
    and note in `balls` [F,H,W] where."""
    import torch
    from torch.nn import functional as F

    height, width = video.shape[1:3]
    reach = int(ball[:, 2].max()) + 2
    row = torch.arange(-reach, reach + 1) + 0.5
    corner = ball[:, :2].floor()  # only what is near the ball is painted
    off = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1) + (corner - ball[:, :2])[:, None, None]
    size = ball[:, 2, None, None]
    at = off / size[..., None].clamp_min(1e-3) / EDGE
    painted = F.grid_sample(sprite.expand(len(at), -1, -1, -1), at, padding_mode="border", align_corners=False)
    painted, shares = painted.permute(0, 2, 3, 1), _disc(*off.unbind(-1), size)
    for t, (x, y) in enumerate((corner.long() - reach).tolist()):
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + len(row), width), min(y + len(row), height)
        if left < right and top < bottom:
            there = t, slice(top, bottom), slice(left, right)
            inside = t, slice(top - y, bottom - y), slice(left - x, right - x)
            share = shares[inside] * ((HIDES[1] - nears[there] * ball[t, 3]) / (HIDES[1] - HIDES[0])).clamp(0, 1)
            video[there] = video[there].lerp(painted[inside], share[..., None])
            balls[there] = balls[there].maximum(share)


def _disc(right: Tensor, down: Tensor, radius: Tensor, beyond: float = 0.0) -> Tensor:
    """How far balls cover pixels so far from their centres; radius 0: no ball."""
    return (radius + beyond - (right.square() + down.square()).sqrt() + 0.5).clamp(0, 1) * (radius > 0)


def _plate(pictures: Tensor, tracks: Tensor) -> Tensor:
    """What is no ball, [H,W,3], of pictures [k,H,W,3] in which balls are at tracks [k,N,4]: the latest that shows it, else
    what is around."""
    import torch
    from torch.nn import functional as F

    height, width = pictures.shape[1:3]
    if not tracks.shape[1]:
        return pictures[-1]
    tracked = tracks[:, 0, 2] > 0
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y, radius, _ = tracks[tracked][..., None, None].unbind(2)  # [k, N, 1, 1]
    free = 1 - _disc(u - x, v - y, radius, RIM).amax(1)  # [k, H, W]
    ground, sure = torch.zeros(height, width, 3), torch.zeros(height, width, 1)
    for picture, clear in zip(pictures[tracked].flip(0), free.flip(0)[..., None]):
        ground, sure = ground + (1 - sure) * clear * picture, sure + (1 - sure) * clear
    far = int(tracks[-1, :, 2].max() + 2 * RIM)  # from where what no picture shows is filled
    box, both = 2 * far + 1, torch.cat((ground, sure), -1).permute(2, 0, 1)[None]
    beside = F.avg_pool2d(F.pad(both, (far,) * 4), (1, box), 1)  # most edges of a scene lie across
    both = beside[:, :, far:-far] + ASIDE * F.avg_pool2d(beside, (box, 1), 1)
    fill = both[0].permute(1, 2, 0)
    return ground + (1 - sure) * fill[..., :3] / fill[..., 3:].clamp_min(1e-3)


def _sharp(near: Tensor, picture: Tensor) -> Tensor:
    """1 / metres [h,w] of cells of a picture [H,W,3] as those of its pixels [H,W]: between one thing and another, that of
    the neighbours whose colour a pixel has."""
    import torch
    from torch.nn import functional as F

    (h, w), size = near.shape, picture.shape[:2]
    near = _steady(near)
    colours = F.interpolate(picture.permute(2, 0, 1)[None], size=(h, w), mode="area")
    around = F.unfold(F.pad(torch.cat((near[None, None], colours), 1), (1,) * 4, mode="replicate"), 3).view(1, 36, h, w)
    each = F.interpolate(around, size=size, mode="nearest")[0].view(4, 9, *size)
    alike = (-(each[1:] - picture.permute(2, 0, 1)[:, None]).square().sum(0) / ALIKE**2).softmax(0)
    smooth = F.interpolate(near[None, None], size=size, mode="bilinear")[0, 0]
    bend = near - F.avg_pool2d(F.pad(near[None, None], (1,) * 4, mode="replicate"), 3, 1)[0, 0]
    edge = F.max_pool2d((bend.abs() > BENDS * near)[None, None].float(), 3, 1, 1)
    edge = F.interpolate(edge, size=size, mode="nearest")[0, 0] > 0
    return torch.where(edge, (each[0] * alike).sum(0), smooth)


def _steady(near: Tensor) -> Tensor:
    """1 / metres [h,w], evened out over what is about as near: on a plane they change evenly."""
    from torch.nn import functional as F

    reach, differ = STEADY
    around = F.unfold(F.pad(near[None, None], (reach,) * 4, mode="reflect"), 2 * reach + 1).view(-1, *near.shape)
    weight = (-((around / near - 1) / differ).square()).exp()
    weight = weight * weight.flip(0)  # as much on one side as on the other
    return (around * weight).sum(0) / weight.sum(0)
