"""The distance of a flying body, from how its shadow moves.

A picture shows in which direction a body flies, but not how far away it is. Its shadow lies on the ground, and meets
the body where it lands. How the shadow moves while the body rises or falls therefore tells the distance. Distance and
direction of the light are searched together, for the soft discs on the ground whose positions correlate best with the
changes of brightness over five pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ..geometry.camera_numpy import focal_length
from .images import between, dilated, resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

ROWS = 128  # Larger pictures are reduced to this height.
RIM = 2  # Pixels around a body that may show it and are left out.
LEAST_SEEN = 3  # A place on the ground counts if so many pictures show it.

FARTHER = np.linspace(-0.6, 0.6, 25)  # Logarithms of the factors of distance that are tried.
PRIOR = 0.2  # Standard deviation of the perceived distance (logarithm).
SLANT_ERROR = 0.3  # Standard deviation of the perceived slant of the light: horizontal way per height.
SLANTS = 1.5  # Largest slant that is tried, along either axis of the ground.
FINE = 1.5  # Slants tried for each radius by which they move the last shadow.
MOST_SLANTS = 41  # along each axis
LOWEST = 0.2  # Sine of the lowest light.
LEAST_OWN = 0.05  # Shadows that change less of a disc's area than this stand still, and are not compared.
NEAREST, ASIDE = 1e-3, 9.0  # Nearest point that is seen, in heights of the eye; pixels beside a picture.
WHOLLY = 0.99  # A pixel shows the ground if no body hides this share of it.
STEPS = 3  # Cells of the map of the ground for each radius of the body,
MOST_CELLS = 160  # and along a side of the map.
DARK = 0.02  # Added to brightness before its logarithm is taken.
CHANGE = 0.5  # Larger changes of the logarithm of brightness are cut.
SOFT = 0.7, 1.5  # A shadow is full up to the first radius and ends at the second.
LIKE = 30.0  # Weight of the correlations against the two priors.
SURE = 0.5  # Smallest correlation that counts as a shadow.
TRUST = 0.7  # Weight of the shadow's distance; the perceived one has the rest.


def farther_by_shadows(
    pictures: Bytes, covered: Bools, flights: Floats, radii: Floats, *, up: Floats, light: Floats, fov_deg: float
) -> Floats:
    """Logarithms [N] of the factors by which flying bodies are farther from the eye than assumed; 0 where no moving
    shadow is seen.

    pictures uint8 [K, H, W, 3] and covered [K, H, W], the pixels of bodies, the last picture last; flights [N, K, 3]:
    centres, the last one first; radii [N]; up, light [3]: unit vectors of the ground's normal and towards the light.
    All in the camera's axes; lengths in heights of the eye.
    """
    seen = [resized(picture, *_size(picture)) for picture in pictures[::-1].astype(np.float32)]
    bright: Floats = np.stack([np.log(picture.mean(-1) / 255 + DARK) for picture in seen])
    hidden = [resized(dilated(mask, RIM).astype(np.float32), *_size(mask)) for mask in covered[::-1]]
    ground = _Ground(bright, 1 - np.stack(hidden), up, _axes(up), float(focal_length(fov_deg, bright.shape[1])))
    usual: Floats = light @ ground.axes / max(float(light @ up), LOWEST)
    return np.array([_farther(ground, flight, float(r), usual) for flight, r in zip(flights, radii, strict=True)])


@dataclass(frozen=True, eq=False)
class _Ground:
    """The ground in pictures, the latest first: logarithms of brightness and shares not hidden [K, H, W]; its normal
    [3] and two axes [3, 2]; the focal length in pixels."""

    bright: Floats
    free: Floats
    up: Floats
    axes: Floats
    focal: float


def _farther(ground: _Ground, flight: Floats, radius: float, usual: Floats) -> float:
    """As farther_by_shadows, of one body. usual [2]: the perceived slant of the light along the axes of the ground."""
    factors: Floats = np.exp(FARTHER)
    over: Floats = 1 + factors[:, None] * (flight @ ground.up)  # [S, K] heights over the ground
    clear = over.min(1) > SOFT[0] * radius * factors
    if not clear.any():
        return 0.0
    factors, over = factors[clear], over[clear]
    count = min(2 * math.ceil(FINE * SLANTS * float(np.median(over[:, 0])) / radius) + 1, MOST_SLANTS)
    side = np.linspace(-SLANTS, SLANTS, count)
    slants: Floats = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)  # [L, 2]
    feet: Floats = factors[:, None, None] * (flight @ ground.axes)  # [S, K, 2]
    places: Floats = feet[:, None] - over[:, None, :, None] * slants[:, None]  # [S, L, K, 2] of shadows on the ground
    changes, corner, cell = _changes(ground, places, radius)
    alike = _alike(changes, (places - corner) / cell, radius / cell)
    odds: Floats = -LIKE * np.log1p(-np.minimum(np.maximum(alike, 0) ** 2, 0.999))
    odds -= (np.log(factors)[:, None] / PRIOR) ** 2 / 2 + ((slants - usual) ** 2).sum(1) / SLANT_ERROR**2 / 2
    if float(alike.ravel()[int(odds.argmax())]) < SURE:
        return 0.0
    weight: Floats = np.exp(odds - odds.max()).sum(1)
    return TRUST * float(weight @ np.log(factors)) / float(weight.sum())


def _axes(up: Floats) -> Floats:
    """Two axes [3, 2] of the ground across the unit vector up [3]."""
    other = np.array([0.0, 0.0, 1.0]) if abs(up[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = cast("Floats", np.cross(up, other))
    first = first / np.linalg.norm(first)
    return np.stack((first, cast("Floats", np.cross(first, up))), 1)


def _changes(ground: _Ground, places: Floats, radius: float) -> tuple[Floats, Floats, float]:
    """Maps [K, h, w] of how much darker the ground is in each picture than in their mean (logarithm), 0 where it is
    hidden; the ground's point [2] of the first cell; the side of a cell. places [..., 2]: of shadows on the ground."""
    corner: Floats = places.reshape(-1, 2).min(0) - SOFT[1] * radius
    extent: Floats = places.reshape(-1, 2).max(0) + SOFT[1] * radius - corner
    cell = max(radius / STEPS, float(extent.max()) / MOST_CELLS)
    columns, rows = (math.ceil(float(n) / cell) + 1 for n in extent)
    level: Floats = corner + cell * np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)
    points = cast("Floats", level @ ground.axes.T - ground.up)
    height, width = ground.bright.shape[1:]
    ahead = points[..., 2] > NEAREST
    scale: Floats = ground.focal / np.where(ahead, points[..., 2], 1.0)
    at: Floats = points[..., :2] * scale[..., None] + (width / 2, height / 2)
    at[~ahead] = -ASIDE
    at = at.clip(-ASIDE, 2 * max(width, height) + ASIDE)
    bright: Floats = np.stack([between(each, at) for each in ground.bright])
    shown: Bools = np.stack([between(each, at, zero_outside=True) for each in ground.free]) > WHOLLY
    count = shown.sum(0)
    mean: Floats = (bright * shown).sum(0) / np.maximum(count, 1)
    return np.clip(mean - bright, -CHANGE, CHANGE) * (shown & (count >= LEAST_SEEN)), corner, cell


def _alike(changes: Floats, cells: Floats, radius: float) -> Floats:
    """Correlations [S, L] of changes [K, h, w] with those by shadows of this radius at cells [S, L, K, 2] (x, y), one
    in each map."""
    import cv2

    reach = math.ceil(SOFT[1] * radius)
    around = np.arange(-reach, reach + 1)
    away = np.hypot(around[:, None], around) / radius
    disc = np.clip((SOFT[1] - away) / (SOFT[1] - SOFT[0]), 0, 1).astype(np.float32)

    def under(values: Floats) -> Floats:
        return cast("Floats", cv2.filter2D(values.astype(np.float32), -1, disc, borderType=cv2.BORDER_CONSTANT))

    told = np.zeros(cells.shape[:2])
    for k, change in enumerate(changes):
        told += between(under(change), cells[:, :, k] + 0.5, zero_outside=True)
    shared = under(np.pad(disc, len(disc)))[len(disc) + reach, len(disc) + reach :]  # by discs 0, 1, 2... cells apart
    apart: Floats = np.linalg.norm(cells[..., :, None, :] - cells[..., None, :, :], axis=-1)  # [S, L, K, K]
    both: Floats = np.interp(apart, np.arange(len(shared)), shared)
    own = shared[0] * len(changes) - both.mean(-1).sum(-1)  # of changes from the mean of all pictures
    return told / np.sqrt(np.maximum(own, LEAST_OWN * shared[0]) * max(float((changes**2).sum()), 1e-9))


def _size(image: Floats | Bools | Bytes) -> tuple[int, int]:
    """Width and height of an image [H, W, ...] at up to ROWS rows."""
    height, width = image.shape[:2]
    rows = min(ROWS, height)
    return max(1, round(width * rows / height)), rows
