"""How far bodies came since earlier pictures, by the masks that the network sees in each of them.

Optical flow is worked out coarse to fine: what is small and fast, or half hidden in the last picture, it drags along
with what lies beside. A mask tells where a body is in a picture by itself, to a fifth of a pixel where it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .cells import MASK_CELL, cell_places

SHOWN = 0.5  # of a mask, from which on a cell shows the body
TOUCH = 1, 4  # cells beside another body, from which on that may hide some of it: in the latest picture, in others
ENTIRE = 0.93  # of its largest area: a body that shows so much is not hidden, it only touches another one
UNLIKE = 0.45  # from which on two masks are not of one body: differences of colours in 0..1,
SIZE, FAR = 0.3, 0.3  # of the logarithm of area, and ways in picture heights


class _Looks(NamedTuple):
    """Masks of a picture: middles [K, 2] in picture heights, areas [K] in cells, colours [K, 3]."""

    middle: Tensor
    area: Tensor
    color: Tensor
    beside: Tensor  # [K]: cells of it beside others, which may hide some of it; infinite of what the border cuts


class Tracked(NamedTuple):
    """How far K bodies came since each of n pictures before, in picture heights, by their masks."""

    came: Tensor  # [K, n, 2], NaN where that is not seen
    guessed: Tensor  # [K]: of the latest pictures, those in which a body is partly hidden: it went on as it came


def came_by_masks(pictures: Tensor, masks: Sequence[Tensor]) -> Tracked:
    """How far bodies came since each picture before.

    pictures [1 + n, 3, h, w] in 0..1, the latest first; masks: of each picture, [K, h, w] of the latest.
    """
    looks = [_looks(mask, picture) for mask, picture in zip(masks, pictures, strict=True)]
    own, found = looks[0], [looks[0]]
    for there in looks[1:]:
        found.append(_alike(own, there))
    place = torch.stack([look.middle for look in found], 1)  # [K, 1 + n, 2]
    beside = torch.stack([look.beside for look in found], 1)
    area = torch.stack([look.area for look in found], 1)
    whole = torch.cat((beside[:, :1] < TOUCH[0], beside[:, 1:] < TOUCH[1]), 1)
    whole |= beside.isfinite() & (area > ENTIRE * area.amax(1, keepdim=True))
    place = place.masked_fill(~whole[..., None], torch.nan)
    guessed = torch.where(whole[:, 0], 0, torch.where(whole[:, 1], 1, 2))
    if place.shape[1] < 5:
        return Tracked(place[:, :1] - place[:, 1:], guessed)
    # What begins to be hidden goes on as it came, with an even acceleration.
    place[:, 1] = torch.where(whole[:, 1:2], place[:, 1], _ahead(place[:, 2:5]))
    place[:, 0] = torch.where(whole[:, :1], place[:, 0], _ahead(place[:, 1:5]))
    return Tracked(place[:, :1] - place[:, 1:], guessed)


def _ahead(place: Tensor) -> Tensor:
    """Where bodies are [K, 2] a frame later than at places [K, n, 2], n above 2, the latest first."""
    steps = place[:, :-1] - place[:, 1:]
    return place[:, 0] + steps[:, 0] + (steps[:, 0] - steps[:, -1]) / (steps.shape[1] - 1)


def _looks(masks: Tensor, picture: Tensor) -> _Looks:
    height, width = masks.shape[1:]
    places = cell_places(height * MASK_CELL, width * MASK_CELL, MASK_CELL, masks.device).flatten(0, 1)  # [P, 2]
    flat = masks.float().flatten(1)
    area = flat.sum(1)
    share = flat / area[:, None].clamp_min(1e-6)
    solid = (masks > SHOWN).float()
    near = F.max_pool2d(F.pad(solid, (1, 1, 1, 1), value=0)[:, None], 3, 1)[:, 0]
    others = solid.sum(0, keepdim=True) - solid
    edge = torch.cat((masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]), 1)
    beside = (near * others).sum((1, 2)).masked_fill((edge > SHOWN).any(1), torch.inf)
    color = (share[:, None] * picture.float().flatten(1)).sum(2)
    return _Looks((share[..., None] * places).sum(1), area, color, beside)


def _alike(own: _Looks, there: _Looks) -> _Looks:
    """Of what is seen in another picture, what is most like each body [K]."""
    if not len(there.area):
        return own._replace(beside=torch.full_like(own.beside, torch.inf))
    unlike = (own.color[:, None] - there.color).norm(dim=2) + FAR * (own.middle[:, None] - there.middle).norm(dim=2)
    unlike = unlike + SIZE * (own.area[:, None] / there.area.clamp_min(1e-6)).log().abs()
    least, best = unlike.min(1)
    beside = there.beside[best].masked_fill(least > UNLIKE, torch.inf)
    return _Looks(there.middle[best], there.area[best], there.color[best], beside)
