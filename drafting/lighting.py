"""Light and shadows: the direction of the light, the shadows that balls cast, and the shading of surfaces.

The light that the object dynamics estimate is rough; the shadows in the picture make it exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.camera import pixel_rays
from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid
from .camera_views import Cosines, spheres_of

PENUMBRA = 0.7  # pixels over which a shadow's edge fades, to each side
SEARCH_ANGLES = (0.3, 0.1)  # radians to each side searched for the light: around the estimate, then around the best
SEARCH_STEPS = 7  # directions tried along each of two axes
RING = 3  # pixels around a shadow with which its brightness is compared, at half size
MIN_CONTRAST = 0.3  # difference in log brightness between a shadow and the ring around it
MIN_SHADOW = 6  # pixels at half size that a shadow needs to be compared
ANGLE_PENALTY = 0.3  # loss of contrast for a squared radian away from the estimate
FLOOR_AMBIENT = 0.5  # share of the ambient light from above that is missing from below, above a floor

Box = tuple[slice, slice]  # rows and columns


class ShadowReceiver:
    """The surface that a camera sees in directional light; balls cast shadows on it.

    inverse_depth [H,W] in 1 / metres, smooth [H,W] without its noise at edges, for normals; light [3] in OpenCV camera
    axes, towards the source, its length the ratio of direct to ambient light; focal length in pixels.
    """

    def __init__(self, inverse_depth: Tensor, smooth: Tensor, light: Tensor, focal: Tensor):
        rays = pixel_rays(inverse_depth.shape[1], inverse_depth.shape[0], focal)
        self.direction = light / norm(light).clamp_min(1e-6)
        self.points = rays / inverse_depth[..., None]  # [H,W,3] metres
        self.penumbra = PENUMBRA / inverse_depth / focal  # [H,W] metres
        plane = tangent_planes(smooth, rays, focal)
        normals = -plane / norm(plane)[..., None].clamp_min(1e-6)  # towards the camera
        self.brightness = shading(lambda direction: normals @ direction, light, None)  # [H,W] 1 in a shadow

    def shadows(
        self, centres: Tensor, radii: Tensor, directions: Tensor | None = None, check: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Share [F,H,W] of the light that balls block at each pixel; directions [F,3]: of other lights than its own.

        centres [F,N,3] and radii [F,N] in metres, radius 0 where there is no ball. check: called for each
        ball, may raise to cancel.
        """
        shadow = torch.zeros(len(centres), *self.penumbra.shape)
        for centre, radius in zip(centres.unbind(1), radii[..., None].unbind(1), strict=True):
            check()
            box = bounding_box(self._near_shadows(centre, radius.max(), directions))
            each = self.direction.expand(len(centre), 3) if directions is None else directions
            points, penumbra = self.points[box].flatten(0, 1), self.penumbra[box].flatten()
            ahead = (centre * each).sum(-1, keepdim=True) - each @ points.T
            off = torch.addmm(points.square().sum(-1), centre, points.T, alpha=-2)
            off = off.add_(centre.square().sum(-1, keepdim=True)).addcmul_(ahead, ahead, value=-1).clamp_(min=0).sqrt_()
            off = off.sub_(radius.masked_fill(radius <= 0, -torch.inf))  # metres outside of the shadow
            share = off.mul_(-0.5 / penumbra).add_(0.5).clamp_(0, 1).masked_fill_(ahead <= 0, 0)
            part = shadow[:, box[0], box[1]]
            torch.maximum(part, share.view(part.shape), out=part)
        return shadow

    def _near_shadows(self, centre: Tensor, radius: Tensor, directions: Tensor | None) -> Tensor:
        """Mask [H,W] that covers the shadows of a ball at centres [F,3], and perhaps more."""
        if directions is None:
            mean, spread = self.direction, 0.0
            across, at, along = self._own_coordinates
        else:
            mean = directions.mean(0)
            across, at, along = self._coordinates(mean)
            middle = centre.mean(0)
            deviation, wander = norm(directions - mean).max(), norm(centre - middle).max()
            spread = (norm(self.points - middle) + wander) * deviation  # bounds how far apart the shadows are
        reach, shadow = (radius + self.penumbra + spread)[..., None], centre @ across.T
        within = (at > shadow.amin(0) - reach) & (at < shadow.amax(0) + reach)
        return within.all(-1) & (along < (centre @ mean).max() + spread)

    @cached_property
    def _own_coordinates(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._coordinates(self.direction)

    def _coordinates(self, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two axes [2,3] across a direction, and the surface's coordinates along these [H,W,2] and along it [H,W]."""
        across = _perpendicular(direction)
        return across, self.points @ across.T, self.points @ direction

    def add_shadows(self, video: Tensor, shadow: Tensor) -> None:
        """Darken, in place, a video [F,H,W,3] without shadows by `shadow` [F,H,W]."""
        box = bounding_box(shadow.amax(0) > 0)
        video[:, box[0], box[1]] *= self._darkening(shadow[..., box[0], box[1]], self.brightness[box])

    def remove_shadow(self, picture: Tensor, shadow: Tensor) -> Tensor:
        """A picture [H,W,3] with the shadow [H,W], without it."""
        return (picture / self._darkening(shadow, self.brightness)).clamp_max(1)

    @staticmethod
    def _darkening(shadow: Tensor, brightness: Tensor) -> Tensor:
        """Factor [...,h,w,1] of a pixel's brightness in shadow [...,h,w]."""
        return (1 - shadow * ((brightness - 1) / brightness))[..., None]


def estimate_light(
    picture: Tensor, inverse_depth: Tensor, estimate: Tensor, focal: Tensor, track: Tensor
) -> Tensor | None:
    """The light [3] (see ShadowReceiver) near an estimate with which shadows in a picture [H,W,3] have most contrast.

    The shadows are those of balls at track [N,4]; None where the picture shows none. inverse_depth [H,W].
    """
    inverse_depth, bright = _halved(inverse_depth), _halved(picture.mean(-1)).clamp_min(0.02).log()
    height, width = inverse_depth.shape
    track = torch.cat((track[:, :3] / 2, track[:, 3:]), -1)
    away = norm(pixel_grid(width, height) - track[:, None, None, :2])
    uncovered = (away > track[:, 2, None, None] + 1).all(0)
    centres, radii = spheres_of(track, torch.tensor([width / 2, height / 2]), focal / 2)
    receiver = ShadowReceiver(inverse_depth, inverse_depth, estimate, focal / 2)
    direction, contrast = receiver.direction, torch.tensor(-torch.inf)
    for angle in SEARCH_ANGLES:
        across = _perpendicular(direction)
        step = torch.linspace(-angle, angle, SEARCH_STEPS)
        tried = (direction + step[:, None, None] * across[0] + step[:, None] * across[1]).flatten(0, 1)
        tried = tried / norm(tried)[:, None].clamp_min(1e-6)
        shadow = receiver.shadows(centres.expand(len(tried), -1, -1), radii.expand(len(tried), -1), tried)
        box = bounding_box(shadow.amax(0) > 0, RING)
        shadow, mask, light = shadow[:, box[0], box[1]], uncovered[box], bright[box].flatten()
        inside, ring = (shadow * mask).flatten(1), ((dilate(shadow, RING) - shadow) * mask).flatten(1)
        darker = torch.where(inside.sum(1) > MIN_SHADOW, _mean(light, ring) - _mean(light, inside), -torch.inf)
        best = (darker - ANGLE_PENALTY * (tried - receiver.direction).square().sum(-1)).max(0).indices
        direction, contrast = tried[best], darker[best]
    return direction * norm(estimate) if contrast > MIN_CONTRAST else None


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x[None, None], 2)[0, 0]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means [K] of values [N]; weights [K,N]."""
    return (weights @ values) / weights.sum(1).clamp_min(1e-3)


def shading(cosines: Cosines, light: Tensor, floor: Tensor | None) -> Tensor:
    """Brightness of a surface in a light [3] (see ShadowReceiver), where 1 is an upward face in shadow.

    floor [3]: the plane that reflects less ambient light than comes from above; None: there is none.
    """
    ambient = 1.0 if floor is None else 1 - FLOOR_AMBIENT / 2 * (1 + cosines(floor / norm(floor)))
    return ambient + cosines(light).clamp_min(0)


def dilate(maps: Tensor, by: int) -> Tensor:
    """Grey dilation of maps [N,H,W] by a square that reaches `by` pixels each way."""
    rows = F.max_pool2d(maps[:, None], (2 * by + 1, 1), 1, (by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), 1, (0, by))[:, 0]


def bounding_box(mask: Tensor, margin: int = 0) -> Box:
    """Rows and columns of the pixels in a mask [H,W], and `margin` beyond; one pixel where the mask is empty."""
    rows, columns = (_extent(lines, margin) for lines in (mask.any(1), mask.any(0)))
    return rows, columns


def _extent(lines: Tensor, margin: int) -> slice:
    at = lines.nonzero()
    first, last = (int(at[0]), int(at[-1])) if len(at) else (0, 0)
    return slice(max(0, first - margin), min(len(lines), last + 1 + margin))


def _perpendicular(direction: Tensor) -> Tensor:
    """Two unit vectors [2,3] perpendicular to a unit direction [3] and to each other."""
    first = torch.cross(direction, torch.tensor([0.0, 0.0, 1.0]), dim=-1)
    first = first / norm(first).clamp_min(1e-6)
    return torch.stack((first, torch.cross(direction, first, dim=-1)))


def tangent_planes(inverse_depth: Tensor, rays: Tensor, focal: Tensor) -> Tensor:
    """The tangent plane [H,W,3] of each pixel of inverse depth [H,W], seen along rays [H,W,3]; focal length in pixels.

    A plane p holds the points x with p @ x = 1, in metres and camera axes; p @ ray is its inverse depth.
    """
    gradients: Sequence[Tensor] = torch.gradient(inverse_depth * focal)
    down, right = gradients
    return torch.stack((right, down, inverse_depth - right * rays[..., 0] - down * rays[..., 1]), -1)
