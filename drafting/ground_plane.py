"""The floor plane of a picture. It occludes no ball: balls lie above it, however rough its and their depths are."""

from __future__ import annotations

from torch import Tensor

from ..geometry.camera import pixel_rays
from ..geometry.linalg import norm, solve
from .lighting import tangent_planes

MIN_UPWARD = 0.6  # vertical component of the unit normal of a pixel on the floor
MIN_SHARE = 0.05  # a floor is assumed only where at least this share of the picture shows it
ERROR_SCALE = 0.03  # relative depth error at which a pixel's weight in the fit falls to a quarter
ITERATIONS = 8  # of the reweighted least squares
FLOOR_TOLERANCE = 0.04  # relative inverse depth within which a pixel belongs to the floor


def fit_floor(inverse_depth: Tensor, focal: Tensor) -> Tensor | None:
    """The floor plane [3] (see tangent_planes) of inverse depth [h,w], focal length in its pixels; None without one.

    Iteratively reweighted least squares over the pixels whose tangent plane faces up.
    """
    rays = pixel_rays(inverse_depth.shape[1], inverse_depth.shape[0], focal)
    planes = tangent_planes(inverse_depth, rays, focal)
    level = planes[..., 1] > MIN_UPWARD * norm(planes)
    if level.float().mean() < MIN_SHARE:
        return None
    points = (rays[level] / inverse_depth[level][:, None]).double()  # float32 sums depend on memory alignment
    plane = planes[level].median(0).values.double()
    for _ in range(ITERATIONS):
        weighted = points / (1 + ((points @ plane - 1) / ERROR_SCALE).square()).square()[:, None]
        plane = solve(weighted.T @ points, weighted.sum(0))
    plane = plane.float()
    near_plane = ((rays @ plane) / inverse_depth - 1).abs() < ERROR_SCALE
    return plane if near_plane.float().mean() > MIN_SHARE else None


def without_floor(inverse_depth: Tensor, floor: Tensor) -> Tensor:
    """Inverse depth [F,H,W], but 0 where it is that of a floor [F,H,W]."""
    return inverse_depth.masked_fill((floor - inverse_depth).abs() < FLOOR_TOLERANCE * inverse_depth, 0)


def plane_inverse_depth(plane: Tensor, focal: Tensor, size: tuple[int, int]) -> Tensor:
    """Inverse depth [F,H,W] of planes [F,3], or of one [3], in cameras of focal lengths [F]; size: width, height."""
    return (pixel_rays(*size, focal) * plane.view(-1, 1, 1, 3)).sum(-1)
