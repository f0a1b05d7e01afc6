"""A picture with depth as surface elements, and what another camera sees of them: exact holes, no stretched edges.

Each pixel is a small square on the plane that its own surface has there. Squares are drawn by the centres of the new
view's pixels with a depth buffer. Between two surfaces at different depth there is no square, so nothing is stretched
over what the first camera did not see. Positions are in pixels with centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .camera import NEAREST

OVERLAP = 0.25  # pixels by which squares of one surface overlap, so that planes that differ a little leave no crack
SAME_SURFACE = 0.01  # share of the range of inverse depth: neighbours whose planes meet within it are one surface
DENSITIES = (2, 3, 4, 6, 8, 12, 16, 24, 32)  # samples along the side of a square, chosen by how large it is drawn
CHUNK = 16384  # squares drawn at a time: their numbers stay in the processor's cache, thrice as fast as all at once
TAPS = ((0, 0), (0, 1), (1, 0), (1, 1))


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
        inverse = _from_nearest(inverse, ramp)
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


def _from_nearest(values: Tensor, unknown: Tensor) -> Tensor:
    """values [H, W] where each unknown one is that of the nearest known pixel."""
    from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

    nearest = ndimage.distance_transform_edt(unknown.numpy(), return_distances=False, return_indices=True)
    rows, columns = (torch.from_numpy(index).long() for index in nearest)
    return values[rows, columns]


def _differences(values: Tensor) -> tuple[Tensor, Tensor]:
    """Steps [2, H, W] from the pixel before and to the pixel after, along rows and columns; at the border the other."""
    right, down = values.diff(dim=1), values.diff(dim=0)
    before = torch.stack((torch.cat((right[:, :1], right), 1), torch.cat((down[:1], down), 0)))
    after = torch.stack((torch.cat((right, right[:, -1:]), 1), torch.cat((down, down[-1:]), 0)))
    return before, after


def seen_from(surface: Surfels, w2c: Tensor, focal: float) -> Seen:
    """What a camera w2c [4, 4] (from the first camera's axes to its own) with a focal length in pixels sees."""
    height, width = surface.inverse.shape
    to_view = _to_view(surface.focal, focal, w2c, width, height)
    planes = _Planes(surface, torch.arange(height * width), to_view)
    facing, size = planes.facing_and_size()
    nearest = torch.full((height * width + 1,), torch.iinfo(torch.int64).max)
    done = ~facing
    for density in DENSITIES:
        # A square's samples are closer than a pixel, so that each pixel's centre inside it has one in the same pixel.
        fine = (size * (1 + 2 * OVERLAP) <= density) if density < DENSITIES[-1] else torch.ones_like(done)
        here = (fine & ~done).nonzero()[:, 0]
        done |= fine
        for part in here.split(CHUNK) if len(here) else ():
            planes.subset(part).draw(nearest, density, width, height)
    nearest = nearest[:-1]
    visible = nearest < torch.iinfo(torch.int64).max
    which = (nearest & 0xFFFFFFFF).clamp_max(height * width - 1)
    centres = torch.arange(height * width)
    planes = _Planes(surface, which, to_view)
    u, v = planes.position(centres % width + 0.5, centres // width + 0.5)
    depth = (nearest >> 32).int().view(torch.float32)
    at = torch.stack((u, v), -1).view(height, width, 2)
    visible = visible.view(height, width)
    return Seen(at, torch.where(visible, depth.view(height, width), torch.inf), visible)


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


def _to_view(focal: float, to_focal: float, w2c: Tensor, width: int, height: int) -> tuple[list[list[float]], ...]:
    """(3x3 for pixel positions (u, v, 1), 3 for inverse depth) whose sum is the view's homogeneous pixel position."""
    w2c = w2c.double()
    centre = torch.tensor([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]], dtype=torch.float64)
    lens = centre @ torch.diag(torch.tensor([to_focal, to_focal, 1.0], dtype=torch.float64))
    first = centre @ torch.diag(torch.tensor([focal, focal, 1.0], dtype=torch.float64))
    turned = lens @ w2c[:3, :3] @ torch.inverse(first)
    moved = lens @ w2c[:3, 3]
    return turned.tolist(), moved.tolist()


class _Planes:
    """The planes of chosen pixels, each with its homography into the view: rows g [3][3] of tensors [N]."""

    def __init__(self, surface: Surfels, index: Tensor, to_view: tuple[list[list[float]], ...]):
        height, width = surface.inverse.shape
        self.surface, self.index, self.to_view = surface, index, to_view
        self.u, self.v = (index % width).float() + 0.5, (index // width).float() + 0.5
        self.inverse = surface.inverse.flatten()[index]
        self.along_u, self.along_v = surface.slope.flatten(1)[:, index]
        constant = self.inverse - self.along_u * self.u - self.along_v * self.v
        turned, moved = to_view
        self.g = [
            (t[0] + m * self.along_u, t[1] + m * self.along_v, t[2] + m * constant)
            for t, m in zip(turned, moved, strict=True)
        ]

    def subset(self, here: Tensor) -> _Planes:
        """Those of some of the pixels."""
        return _Planes(self.surface, self.index[here], self.to_view)

    def facing_and_size(self) -> tuple[Tensor, Tensor]:
        """Whether each square shows its front and lies before the camera, and how many pixels it is wide or high."""
        (a, b, _), (c, d, _), (e, f, _) = self.g
        x, y, z = (row[0] * self.u + row[1] * self.v + row[2] for row in self.g)
        w = z.clamp_min(1e-9)
        x, y = x / w, y / w
        xu, xv, yu, yv = (a - x * e) / w, (b - x * f) / w, (c - y * e) / w, (d - y * f) / w
        facing = (z > NEAREST * self.inverse) & (xu * yv - xv * yu > 0)
        return facing, torch.maximum(xu.abs() + xv.abs(), yu.abs() + yv.abs())

    def position(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where on its plane, in the first picture's pixels, the view's positions x, y [N] lie."""
        (a, b, c), (d, e, f), (g, h, i) = ([*row] for row in self.g)
        # Rows of (row_x - x row_z) and (row_y - y row_z) vanish at (u, v, 1): their cross product is that point.
        p, q, r = a - x * g, b - x * h, c - x * i
        s, t, w = d - y * g, e - y * h, f - y * i
        scale = p * t - q * s
        scale = torch.where(scale.abs() < 1e-20, 1e-20, scale)
        return (q * w - r * t) / scale, (r * s - p * w) / scale

    def draw(self, nearest: Tensor, density: int, width: int, height: int) -> None:
        """Enter the squares into the depth buffer: depth in the upper 32 bits, the pixel's index in the lower."""
        left, right, up, down = self.surface.reach.flatten(1)[:, self.index]
        steps = ((torch.arange(density) + 0.5) / density * 2 - 1) * (0.5 + OVERLAP)
        row_x, row_y, row_z = self.g
        for dv in steps.tolist():
            for du in steps.tolist():
                u, v = self.u + du, self.v + dv
                z = row_z[0] * u + row_z[1] * v + row_z[2]
                w = 1 / z.clamp_min(1e-9)
                x = ((row_x[0] * u + row_x[1] * v + row_x[2]) * w).floor()
                y = ((row_y[0] * u + row_y[1] * v + row_y[2]) * w).floor()
                inside = (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
                at_u, at_v = self.position(x + 0.5, y + 0.5)
                ou, ov = at_u - self.u, at_v - self.v
                inside &= (ou >= -left) & (ou < right) & (ov >= -up) & (ov < down)
                inverse = self.inverse + self.along_u * ou + self.along_v * ov
                depth = (row_z[0] * at_u + row_z[1] * at_v + row_z[2]) / inverse
                inside &= (inverse > 0) & (depth > NEAREST)
                # Positive floats keep their order as integers.
                key = (depth.contiguous().view(torch.int32).long() << 32) | self.index
                cell = torch.where(inside, y * width + x, float(height * width)).long()
                nearest.scatter_reduce_(0, cell, key, "amin")
