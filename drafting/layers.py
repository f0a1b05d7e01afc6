"""What a shot's known pictures show, made ready for balls to move on: the same for all drafts of the shot, and kept for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ground_plane import floor_of, plane_near, without
from .lighting import Sunlight, brightness, grown, light_of
from .camera_views import Views, balls_of

if TYPE_CHECKING:
    from torch import Tensor

RIM, SOFT_RIM = (
    2.5,
    6.0,
)  # pixels beyond a ball's disc that are taken for it where it is cut out; of a soft picture 128 high
TOLD_AT = (
    128  # pixels of height at which places are told: in a picture so many times as high they are off by more pixels
)
AROUND = 2  # pixels of it around where a shadow is thought to end, that may be in it or not
HIDES = 1.02, 1.06  # nearer by so much than a ball's centre, the ground hides nothing of it, and all
HIDDEN = sum(HIDES) / 2
LEAST_NEAR = 1e-3  # 1 / metres
BENDS, ALIKE = (
    0.03,
    0.05,
)  # nearer by so much than the plane of its neighbours it is another thing; colours of one thing
STEADY = 2, 0.08  # cells on each side over which distances are evened out, and by how much they may differ for that
ASIDE = 0.01  # how little what is above and below a hole counts, to fill it, beside what is to its left and right
AS_NEAR, LEAST_ALIKE = (
    0.1,
    1e-3,
)  # share by which it may be nearer or farther than what is behind the hole; what any counts
SHADE = 0.02  # share of the light that is hidden from which on a pixel is in a shadow
PIECE = 4096  # pixels of a hole that are filled at once
SPRITE, EDGE = 48, 1.2  # pixels a side of a ball's own picture, and the radii that it holds each way
MIXED = 1.0  # pixels inside of a ball's rim in which its colour is mixed with that of what is behind it


class Setting:
    """What a picture [H,W,3] shows beside its balls, 1 / metres near [H/4,W/4] along the optical axis of a camera (focal length
    in pixels of the picture): `even` over all of it, and sharp at edges, as it `hides` things [H,W]; and the `floor`, if there is
    one (see floor_of)."""

    def __init__(self, near: Tensor, picture: Tensor, focal: Tensor):
        from torch.nn import functional as F

        near = _steady(near.clamp_min(LEAST_NEAR))
        self.floor = floor_of(near, focal * near.shape[0] / len(picture))
        self.even = F.interpolate(near[None, None], size=picture.shape[:2], mode="bilinear")[0, 0]
        self.hides = _sharp(near, self.even, picture)


class Stage:
    """Pictures [k,H,W,3] with balls at tracks [k,N,4], far ones first, in a setting, with the light about from `light` [3].

    `plate` [H,W,3] is the last one without balls, whose light is `sun`, if any; `hides` [H,W] how near what may hide balls is,
    and `sprites` their own colours [1,3,SPRITE,SPRITE] in light as even. views: the cameras from the last picture on; soft: the
    pictures' edges are.
    """

    def __init__(self, setting: Setting, pictures: Tensor, tracks: Tensor, light: Tensor, views: Views, soft: bool):
        import torch

        height, width = pictures.shape[1:3]
        focal, last, near = views.focal[0], tracks[-1], (setting.hides, setting.even)
        self.setting = setting
        self.light = light_of(pictures[-1], setting.hides, light, focal, last) if len(last) else None
        seen, shown = (pictures, tracks) if views.camera is None else (pictures[-1:], last[None])
        self.sun = dark = None
        if self.light is not None:
            self.sun = Sunlight(*near, self.light, focal)
            dark = self.sun.hidden(*balls_of(shown, views.centre, focal))
        rim = SOFT_RIM * height / TOLD_AT if soft else RIM
        self.hides, behind = near
        if setting.floor is not None:
            below = plane_near(setting.floor, views.focal[:1], (width, height))[0]
            self.hides, behind = without(self.hides, below), behind.maximum(below)
        self.plate = _plate(seen, shown, rim, (setting.hides, behind), self.sun, dark)
        if soft:  # distances in it are rough: what hides a ball has no holes
            self.hides = -grown(-grown(self.hides[None], round(rim)), round(rim))[0]
        row = ((torch.arange(SPRITE) + 0.5) * 2 / SPRITE - 1) * EDGE
        self.spots = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1)  # in radii
        tracked = tracks[:, 0, 2] > 0 if len(last) else slice(0)
        self.sprites = [
            _sprite(pictures[tracked], ball, self.hides, self.spots, self.lit(ball, views, later=False))
            for ball in tracks[tracked].transpose(0, 1)
        ]

    def lit(self, ball: Tensor, views: Views, later: bool) -> Tensor:
        """How bright a ball at tracks [F,4] is at its spots [F,SPRITE,SPRITE]; later: see Views.facing."""
        import torch

        light = torch.zeros(3) if self.light is None else self.light
        return brightness(views.facing(ball, self.spots, later), light, self.setting.floor)


def _sprite(pictures: Tensor, seen: Tensor, near: Tensor, spots: Tensor, lit: Tensor) -> Tensor:
    """A ball's own colours [1,3,SPRITE,SPRITE] at spots [SPRITE,SPRITE,2] in radii, of pictures [k,H,W,3] in which it is at
    seen [k,4] and lit [k,SPRITE,SPRITE]: the median of what they show and nothing nearer (near [H,W]) hides; their
    mean where none does."""
    import torch
    from torch.nn import functional as F

    radius = seen[:, 2, None, None, None]
    clear = 1 - MIXED / radius.clamp_min(2 * MIXED)  # from there on outwards colours stay what they are
    at = seen[:, None, None, :2] + radius * spots * (
        clear / spots.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    ).clamp_max(1)
    at = 2 * at / torch.tensor([pictures.shape[2], pictures.shape[1]]) - 1
    look = lambda maps: F.grid_sample(maps, at, padding_mode="border", align_corners=False)  # noqa: E731
    hidden = look(near.expand(len(at), 1, -1, -1)) * seen[:, 3, None, None, None] > HIDDEN
    hidden |= (at.abs() > 1).any(-1)[:, None]
    colours = (look(pictures.permute(0, 3, 1, 2)) / lit[:, None]).masked_fill(hidden, torch.nan)
    sprite = colours.nanmedian(0, keepdim=True).values
    inside = (spots.norm(dim=-1) < 1) & ~sprite.isnan().any(1)
    mean = sprite[..., inside[0]].mean(-1).nan_to_num(0.5)
    return torch.where(sprite.isnan(), mean[..., None, None], sprite)


def _plate(
    pictures: Tensor, tracks: Tensor, rim: float, near: tuple[Tensor, Tensor], sun: Sunlight | None = None,
    dark: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What is no ball, [H,W,3], of pictures [k,H,W,3] in which balls are at tracks [k,N,4], cut out with so many pixels around
    them, and hide so much of the sun's light [k,H,W]: the latest that shows it, else a shadow made as bright as all else, else
    what is around; near: see _filled."""
    import torch

    height, width = pictures.shape[1:3]
    if not tracks.shape[1]:
        return pictures[-1]
    tracked = tracks[:, 0, 2] > 0
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y, radius, _ = tracks[tracked][..., None, None].unbind(2)  # [k, N, 1, 1]
    free = 1 - disc(u - x, v - y, radius, rim).amax(1)  # [k, H, W]
    ground, sure = torch.zeros(height, width, 3), torch.zeros(height, width, 1)
    shows = list(zip(pictures[tracked].flip(0), free.flip(0)[..., None]))
    if sun is not None:
        dark = dark[tracked].flip(0)
        around = round(AROUND * max(1.0, height / TOLD_AT))
        beside, within = grown(dark, around), grown(1 - dark, around)
        bright, deep = (x[..., None].float() for x in (beside < SHADE, within < SHADE))
        relit = [(sun.cleared(picture, d), clear * x) for (picture, clear), d, x in zip(shows, dark, deep)]
        shows = [(picture, clear * x) for (picture, clear), x in zip(shows, bright)] + relit
    for picture, clear in shows:
        ground, sure = ground + (1 - sure) * clear * picture, sure + (1 - sure) * clear
    hole = sure[..., 0] < 1
    ground[hole] += (1 - sure[hole]) * _filled(ground, sure, near, hole, 2 * round(float(tracks[-1, :, 2].max()) + rim))
    return ground


def _filled(ground: Tensor, sure: Tensor, near: tuple[Tensor, Tensor], hole: Tensor, far: int) -> Tensor:
    """Colours [n,3] for the n pixels of a hole [H,W], of what is up to so many pixels beside, above and below them in ground
    [H,W,3], as far as that is known (sure [H,W,1], with which it is multiplied) and as near as what is behind the hole; near:
    1 / metres [H,W] of what is seen, and of what is behind balls."""
    import torch

    step = torch.cat((torch.arange(-far, 0), torch.arange(1, far + 1)))
    share = step.square().reciprocal().float()
    share = torch.cat((share, ASIDE * share))  # most edges of a scene lie across
    across = torch.stack((torch.zeros_like(step), step), -1)
    steps, filled = torch.cat((across, across.flip(-1))), []
    for at, behind in zip(hole.nonzero().split(PIECE), near[1][hole].split(PIECE)):
        there = at[:, None] + steps  # [n, 4 far, 2]
        rows, columns = (there[..., i].clamp(0, n - 1) for i, n in enumerate(hole.shape))
        inside = (rows == there[..., 0]) & (columns == there[..., 1])
        off = near[0][rows, columns] / behind[:, None] - 1
        weight = (share * inside * ((-(off / AS_NEAR).square()).exp() + LEAST_ALIKE))[..., None]
        known = (weight * sure[rows, columns]).sum(1)
        filled.append((weight * ground[rows, columns]).sum(1) / known.clamp_min(1e-12))
    return torch.cat(filled)


def _sharp(near: Tensor, even: Tensor, picture: Tensor) -> Tensor:
    """1 / metres [h,w] of cells of a picture [H,W,3] as those of its pixels [H,W]: `even`, but between one thing and another
    that of the neighbours whose colour a pixel has."""
    import torch
    from torch.nn import functional as F

    (h, w), size = near.shape, picture.shape[:2]
    colours = F.interpolate(picture.permute(2, 0, 1)[None], size=(h, w), mode="area")
    around = F.unfold(F.pad(torch.cat((near[None, None], colours), 1), (1,) * 4, mode="replicate"), 3).view(1, 36, h, w)
    each = F.interpolate(around, size=size, mode="nearest")[0].view(4, 9, *size)
    alike = (-(each[1:] - picture.permute(2, 0, 1)[:, None]).square().sum(0) / ALIKE**2).softmax(0)
    bend = near - F.avg_pool2d(F.pad(near[None, None], (1,) * 4, mode="replicate"), 3, 1)[0, 0]
    edge = F.max_pool2d((bend.abs() > BENDS * near)[None, None].float(), 3, 1, 1)
    edge = F.interpolate(edge, size=size, mode="nearest")[0, 0] > 0
    return torch.where(edge, (each[0] * alike).sum(0), even)


def _steady(near: Tensor) -> Tensor:
    """1 / metres [h,w], evened out over what is about as near: on a plane they change evenly."""
    from torch.nn import functional as F

    reach, differ = STEADY
    around = F.unfold(F.pad(near[None, None], (reach,) * 4, mode="reflect"), 2 * reach + 1).view(-1, *near.shape)
    weight = (-((around / near - 1) / differ).square()).exp()
    weight = weight * weight.flip(0)  # as much on one side as on the other
    return (around * weight).sum(0) / weight.sum(0)


def disc(right: Tensor, down: Tensor, radius: Tensor, beyond: float = 0.0) -> Tensor:
    """How far balls cover pixels so far from their centres; radius 0: no ball."""
    return (radius + beyond - (right.square() + down.square()).sqrt() + 0.5).clamp(0, 1) * (radius > 0)
