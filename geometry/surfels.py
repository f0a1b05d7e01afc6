"""A picture with depth as surface elements, and what another camera sees of them: exact holes, no stretched edges.

Each pixel is a small square on the plane that its own surface has there. Squares are drawn by the centres of the new
view's pixels with a depth buffer. Between two surfaces at different depth there is no square, so nothing is stretched
over what the first camera did not see. Positions are in pixels with centres at +0.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .camera import NEAREST
from .pixels import from_nearest

OVERLAP = 0.25  # pixels by which squares of one surface overlap, so that planes that differ a little leave no crack
SAME_SURFACE = 0.01  # share of the range of inverse depth: neighbours whose planes meet within it are one surface
DENSITIES = (2, 3, 4, 6, 8, 12, 16, 24, 32)  # samples along the side of a square, chosen by how large it is drawn
CHUNK = 16384  # squares drawn at a time: their numbers stay in the processor's cache, thrice as fast as all at once
TAPS = ((0, 0), (0, 1), (1, 0), (1, 1))
CRACK, NEIGHBOURS = 4, 3  # pixels: the widest half of a crack in a view, the farthest sides of one in the first picture
INDEX = 0xFFFFFFFF  # the lower 32 bits of an entry of the depth buffer
Row: TypeAlias = "tuple[Tensor, Tensor, Tensor]"


@dataclass(frozen=True, eq=False)
class Surfels:
    """inverse [H, W]: 1 / depth in 1/metres; slope [2, H, W]: its change per pixel to the right and down.

    reach [4, H, W]: how far each square extends left, right, up and down of its centre, in pixels. same: how much
    inverse depth differs at most on one surface. focal in pixels.
    """

    inverse: Tensor
    slope: Tensor
    reach: Tensor
    focal: float
    same: float


class Seen(NamedTuple):
    """What a view shows: at [H, W, 2]: its place in the first picture; depth [H, W] in metres; visible [H, W]."""

    at: Tensor
    depth: Tensor
    visible: Tensor


def surfels(depth: Tensor, focal: float, edge: float) -> Surfels:
    """The surface elements of depth [H, W] in metres; focal in pixels.

    edge: where inverse depth changes by more than this share of its range from pixel to pixel, on both sides, the pixel
    lies on a ramp between two surfaces, and takes the depth of the nearest pixel that does not.
    """
    inverse = 1 / depth.float()
    low, high = (float(v) for v in inverse.aminmax())
    span = max(high - low, 1e-3 * high)  # a wall that faces the camera has no range of its own
    ramp = (_slope(*_differences(inverse)).abs() > edge * span).any(0)
    if ramp.any() and not ramp.all():
        inverse = from_nearest(inverse, ramp)
    before, after = _differences(inverse)
    slope, same = _slope(before, after), SAME_SURFACE * span
    slope = slope * (slope.abs() <= edge * span)
    back, on = (before - slope).abs() < same, (after - slope).abs() < same
    back[0, :, 0] = on[0, :, -1] = back[1, 0] = on[1, -1] = False  # beyond the picture nothing is known
    reach = 0.5 + OVERLAP * torch.stack((back[0], on[0], back[1], on[1]))
    return Surfels(inverse, slope, reach, float(focal), same)


def _slope(before: Tensor, after: Tensor) -> Tensor:
    """The smaller of two steps of one sign is the surface's own; of two signs (a ridge, a thin thing) neither is."""
    return torch.where(before.abs() < after.abs(), before, after) * (before * after > 0)


def _differences(values: Tensor) -> tuple[Tensor, Tensor]:
    """Steps [2, H, W] from the pixel before and to the pixel after, along rows and columns; at the border the other."""
    right, down = values.diff(dim=1), values.diff(dim=0)
    before = torch.stack((torch.cat((right[:, :1], right), 1), torch.cat((down[:1], down), 0)))
    after = torch.stack((torch.cat((right, right[:, -1:]), 1), torch.cat((down, down[-1:]), 0)))
    return before, after


def seen_from(surface: Surfels, w2c: Tensor, focal: float, check: Callable[[], None] | None = None) -> Seen:
    """What a camera w2c [4, 4] (from the first camera's axes to its own) with a focal length in pixels sees.

    check is called every few milliseconds, and may raise to cancel.
    """
    height, width = surface.inverse.shape
    to_view = _to_view(surface.focal, focal, w2c, width, height)
    squares = _squares(surface, torch.arange(height * width), to_view)
    facing, size = _facing_and_size(squares)
    nearest = torch.full((height * width + 1,), torch.iinfo(torch.int64).max)
    done = ~facing
    for density in DENSITIES:
        # A square's samples are closer than a pixel, so that each pixel's centre inside it has one in the same pixel.
        fine = (size * (1 + 2 * OVERLAP) <= density) if density < DENSITIES[-1] else torch.ones_like(done)
        here = (fine & ~done).nonzero()[:, 0]
        done |= fine
        for start in range(0, len(here), CHUNK):
            if check is not None:
                check()
            _draw(_squares(surface, here[start : start + CHUNK], to_view), surface, nearest, density)
    nearest = nearest[:-1]
    visible = (nearest < torch.iinfo(torch.int64).max).view(height, width)
    squares = _squares(surface, (nearest & INDEX).clamp_max(height * width - 1), to_view)
    pixels = torch.arange(height * width)
    u, v = _position(squares, pixels % width + 0.5, pixels // width + 0.5)
    depth = (nearest >> 32).int().view(torch.float32).view(height, width)
    depth = torch.where(visible, depth, torch.inf)
    return _closed(surface, Seen(torch.stack((u, v), -1).view(height, width, 2), depth, visible))


def _closed(surface: Surfels, seen: Seen) -> Seen:
    """The view without cracks between squares of one surface, which depth in coarse steps (8 bits) leaves open.

    A pixel is in a crack where what is seen on both sides of it, within CRACK pixels in a row or a column, are near
    neighbours on one surface in the first picture; it shows what lies between them there.
    """
    height, width = seen.visible.shape
    at, depth, visible = seen.at.clone().view(-1, 2), seen.depth.clone().view(-1), seen.visible.clone().view(-1)
    for step in (1, width):
        hole = (~visible).nonzero()[:, 0]
        place, size = (hole % width, width) if step == 1 else (hole // width, height)
        near = [torch.zeros_like(hole), torch.zeros_like(hole)]  # pixels to what is seen before and after; 0: nothing
        for away in range(CRACK, 0, -1):
            for side, sign in enumerate((-1, 1)):
                there = place + sign * away
                inside = (there >= 0) & (there < size)
                shows = inside & visible[torch.where(inside, hole + sign * away * step, hole)]
                near[side] = torch.where(shows, away, near[side])
        both = (near[0] > 0) & (near[1] > 0)
        hole, before, after = hole[both], near[0][both], near[1][both]
        one, other = hole - before * step, hole + after * step
        crack = _on_one_surface(surface, at[one], at[other])
        hole, one, other = hole[crack], one[crack], other[crack]
        share = (before / (before + after))[crack]
        at[hole] = torch.lerp(at[one], at[other], share[:, None])
        depth[hole] = torch.lerp(depth[one], depth[other], share)
        visible[hole] = True
    return Seen(at.view_as(seen.at), depth.view_as(seen.depth), visible.view_as(seen.visible))


def _on_one_surface(surface: Surfels, one: Tensor, other: Tensor) -> Tensor:
    """Whether positions [N, 2] in the first picture are near neighbours, on planes that meet."""
    height, width = surface.inverse.shape
    largest = one.new_tensor([width - 1, height - 1])
    a, b = one.floor().clamp_min(0).minimum(largest).long(), other.floor().clamp_min(0).minimum(largest).long()
    index, far = a[:, 1] * width + a[:, 0], b[:, 1] * width + b[:, 0]
    inverse, slope = surface.inverse.flatten(), surface.slope.flatten(1)
    step = b - a
    mean = (slope[:, index] + slope[:, far]) / 2  # curved surfaces bend between the two
    off = inverse[far] - inverse[index] - mean[0] * step[:, 0] - mean[1] * step[:, 1]
    return (step.abs() <= NEIGHBOURS).all(1) & (off.abs() < surface.same)


def colors_at(surface: Surfels, picture: Tensor, seen: Seen) -> Tensor:
    """Colours [H, W, C] of a view from the first picture [H, W, C], bilinear within one surface; 0 in holes."""
    height, width = surface.inverse.shape
    u, v = (seen.at - 0.5).flatten(0, 1)[seen.visible.flatten()].unbind(-1)
    x, y = u.floor(), v.floor()
    nearest = (v.round().clamp(0, height - 1) * width + u.round().clamp(0, width - 1)).long()
    inverse, slope = surface.inverse.flatten(), surface.slope.flatten(1)
    own, own_u, own_v = inverse[nearest], *slope[:, nearest]
    flat = picture.reshape(height * width, -1)
    total, color = torch.zeros_like(u), torch.zeros(len(u), flat.shape[1])
    for dy, dx in TAPS:
        column, row = (x + dx).clamp(0, width - 1), (y + dy).clamp(0, height - 1)
        index = (row * width + column).long()
        expected = own + own_u * (column - nearest % width) + own_v * (row - nearest // width)
        weight = (1 - (u - x - dx).abs()) * (1 - (v - y - dy).abs())
        weight = weight * ((inverse[index] - expected).abs() < surface.same) + 1e-6 * (index == nearest)
        total += weight
        color += weight[:, None] * flat[index]
    out = torch.zeros(height, width, flat.shape[1])
    out[seen.visible] = color / total[:, None]
    return out


def _to_view(focal: float, to_focal: float, w2c: Tensor, width: int, height: int) -> list[list[float]]:
    """3x4: what takes (u, v, 1, inverse depth) of the first picture to the view's homogeneous pixel position."""
    centre = torch.tensor([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]], dtype=torch.float64)
    lens = centre @ torch.diag(torch.tensor([to_focal, to_focal, 1.0], dtype=torch.float64))
    first = centre @ torch.diag(torch.tensor([focal, focal, 1.0], dtype=torch.float64))
    w2c = w2c.double()
    rows = torch.cat((lens @ w2c[:3, :3] @ torch.inverse(first), lens @ w2c[:3, 3:]), 1)
    return [[float(value) for value in row] for row in rows]


@dataclass(frozen=True, eq=False)
class _Squares:
    """Chosen pixels [N]: index, centre u, v, inverse depth and its slopes; rows: the homography of each one's plane."""

    index: Tensor
    u: Tensor
    v: Tensor
    inverse: Tensor
    along_u: Tensor
    along_v: Tensor
    rows: tuple[Row, Row, Row]


def _squares(surface: Surfels, index: Tensor, to_view: list[list[float]]) -> _Squares:
    width = surface.inverse.shape[1]
    u, v = (index % width).float() + 0.5, (index // width).float() + 0.5
    inverse = surface.inverse.flatten()[index]
    along_u, along_v = surface.slope.flatten(1)[:, index].unbind()
    constant = inverse - along_u * u - along_v * v
    x, y, z = ((a + d * along_u, b + d * along_v, c + d * constant) for a, b, c, d in to_view)
    return _Squares(index, u, v, inverse, along_u, along_v, (x, y, z))


def _at(row: Row, u: Tensor, v: Tensor) -> Tensor:
    return row[0] * u + row[1] * v + row[2]


def _facing_and_size(squares: _Squares) -> tuple[Tensor, Tensor]:
    """Whether each square shows its front and lies before the camera, and how many pixels it is wide or high."""
    (a, b, _), (c, d, _), (e, f, _) = squares.rows
    x, y, z = (_at(row, squares.u, squares.v) for row in squares.rows)
    w = z.clamp_min(1e-9)
    x, y = x / w, y / w
    xu, xv, yu, yv = (a - x * e) / w, (b - x * f) / w, (c - y * e) / w, (d - y * f) / w
    facing = (z > NEAREST * squares.inverse) & (xu * yv - xv * yu > 0)
    return facing, torch.maximum(xu.abs() + xv.abs(), yu.abs() + yv.abs())


def _position(squares: _Squares, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where on its plane, in the first picture's pixels, the view's positions x, y [N] lie."""
    (a, b, c), (d, e, f), (g, h, i) = squares.rows
    # Rows of (row_x - x row_z) and (row_y - y row_z) vanish at (u, v, 1): their cross product is that point.
    p, q, r = a - x * g, b - x * h, c - x * i
    s, t, w = d - y * g, e - y * h, f - y * i
    scale = p * t - q * s
    scale = torch.where(scale.abs() < 1e-20, 1e-20, scale)
    return (q * w - r * t) / scale, (r * s - p * w) / scale


def _draw(squares: _Squares, surface: Surfels, nearest: Tensor, density: int) -> None:
    """Enter squares into the depth buffer [H * W + 1]: depth in the upper 32 bits, the pixel's index in the lower.

    density: samples along a side. What falls nowhere goes to the last entry.
    """
    height, width = surface.inverse.shape
    left, right, up, down = surface.reach.flatten(1)[:, squares.index].unbind()
    row_x, row_y, row_z = squares.rows
    steps = [((i + 0.5) / density * 2 - 1) * (0.5 + OVERLAP) for i in range(density)]
    for du, dv in itertools.product(steps, steps):
        u, v = squares.u + du, squares.v + dv
        z = _at(row_z, u, v)
        w = 1 / z.clamp_min(1e-9)
        x, y = (_at(row_x, u, v) * w).floor(), (_at(row_y, u, v) * w).floor()
        inside = (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        at_u, at_v = _position(squares, x + 0.5, y + 0.5)
        ou, ov = at_u - squares.u, at_v - squares.v
        inside &= (ou >= -left) & (ou < right) & (ov >= -up) & (ov < down)
        inverse = squares.inverse + squares.along_u * ou + squares.along_v * ov
        depth = _at(row_z, at_u, at_v) / inverse
        inside &= (inverse > 0) & (depth > NEAREST)
        # Positive floats keep their order as integers.
        key = (depth.contiguous().view(torch.int32).long() << 32) | squares.index
        cell = torch.where(inside, y * width + x, float(height * width)).long()
        nearest.scatter_reduce_(0, cell, key, "amin")
