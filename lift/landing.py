"""Where what flies will land, by the shadow that it throws: on the ground both meet.

A picture tells in which direction a body flies, not how far away it is. Its shadow, though, lies on the ground, and how
it moves while the body rises or falls tells where the two will touch. Light and distance are looked for together: those
with which the shadows of a disc, one in each picture, explain best how dark the ground is now and then.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from ..geometry.camera_numpy import focal_length
from .images import dilated, resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

ROWS = 128  # The pictures are read with so many rows at most.
RIM = 2  # pixels around bodies that tell nothing of the ground
LEAST_SEEN = 3  # pictures in which a place is seen, for its brightness to tell something

FARTHER = np.linspace(-0.6, 0.6, 25)  # logarithms of factors of the distance that are tried
PRIOR = 0.2  # of that logarithm: error of a distance that is perceived
SLANTS, SLANT_ERROR = 1.5, 0.3  # of light: level way for each height, at most, and error of what is perceived of it
FINE = 1.5  # slants that are tried for each of which the shadow moves by a radius, in the last picture
MOST_SLANTS = 41  # along each axis of the ground
LOWEST = 0.2  # sine of a light's height, at least
LEAST_OWN = 0.05  # of a disc, that shadows must change, at least, to be compared: else they stand still
NEAREST, ASIDE = 1e-3, 9.0  # heights of the eye, from which on a point is seen; pixels beside a picture
WHOLLY = 0.99  # share of a pixel that no body hides
STEPS = 3  # cells of the map of the ground across a radius of the body
MOST_CELLS = 160  # a side of that map
DARK = 0.02  # added to brightness: below it all is black
CHANGE = 0.5  # of the logarithm of brightness: stronger changes count as this one
SOFT = 0.7, 1.5  # radii: the shadow is whole up to the first, and ends at the second
LIKE, SURE = 30.0, 0.5  # how much a correlation counts against PRIOR; the least that is a shadow's
TRUST = 0.7  # in what the shadow tells; what is left is trusted in the distance that is perceived


def farther_by_shadow(
    pictures: Bytes, covered: Bools, flight: Floats, radius: float, *, up: Floats, light: Floats, fov_deg: float
) -> float:
    """The logarithm of the factor by which what flies is farther from the eye than it is taken to be; 0 where its
    shadow is not seen to move.

    pictures uint8 [K, H, W, 3] and covered [K, H, W], where bodies are in them, the last one last; flight [K, 3]: its
    centres, the last one first; up, light [3]: of the ground and towards the light, unit vectors; all in the camera's
    axes, lengths in heights of the eye.
    """
    plane = _axes(up)
    factors: Floats = np.exp(FARTHER)
    over: Floats = 1 + factors[:, None] * (flight @ up)  # [S, K] heights over the ground
    clear = over.min(1) > SOFT[0] * radius * factors
    if not clear.any():
        return 0.0
    factors, over = factors[clear], over[clear]
    count = min(2 * math.ceil(FINE * SLANTS * float(np.median(over[:, 0])) / radius) + 1, MOST_SLANTS)
    side = np.linspace(-SLANTS, SLANTS, count)
    slants: Floats = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)  # [L, 2]
    feet: Floats = factors[:, None, None] * (flight @ plane)  # [S, K, 2]
    places: Floats = feet[:, None] - over[:, None, :, None] * slants[:, None]  # [S, L, K, 2] of shadows on the ground
    changes, corner, cell = _changes(pictures, covered, places, radius, up, plane, fov_deg)
    alike = _alike(changes, (places - corner) / cell, radius / cell)
    usual: Floats = light @ plane / max(float(light @ up), LOWEST)
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


def _changes(
    pictures: Bytes, covered: Bools, places: Floats, radius: float, up: Floats, plane: Floats, fov_deg: float
) -> tuple[Floats, Floats, float]:
    """Maps of the ground [K, h, w], the latest first: by how much darker than in the mean of all pictures it is where
    and when no body hides it (logarithm); the ground's point [2] of their first cell; a cell's side.

    places [..., 2]: of shadows on the ground, along `plane` [3, 2]; they may lie beside the maps, which go as far as
    the pictures show it.
    """
    seen = [resized(picture, *_size(picture)) for picture in pictures[::-1].astype(np.float32)]
    hidden = [resized(dilated(mask, RIM).astype(np.float32), *_size(mask)) for mask in covered[::-1]]
    corner: Floats = places.reshape(-1, 2).min(0) - SOFT[1] * radius
    extent: Floats = places.reshape(-1, 2).max(0) + SOFT[1] * radius - corner
    cell = max(radius / STEPS, float(extent.max()) / MOST_CELLS)
    columns, rows = (math.ceil(float(n) / cell) + 1 for n in extent)
    level: Floats = corner + cell * np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)
    points = cast("Floats", level @ plane.T - up)
    height, width = seen[0].shape[:2]
    ahead = points[..., 2] > NEAREST
    focal = float(focal_length(fov_deg, height))
    at: Floats = points[..., :2] * (focal / np.where(ahead, points[..., 2], 1.0))[..., None] + (width / 2, height / 2)
    at[~ahead] = -ASIDE
    at = at.clip(-ASIDE, 2 * max(width, height) + ASIDE)
    bright: Floats = np.stack([_at(np.log(picture.mean(-1) / 255 + DARK), at) for picture in seen])
    shown: Bools = np.stack([_at(1 - mask, at) for mask in hidden]) > WHOLLY  # beside a picture it is 0
    count = shown.sum(0)
    mean: Floats = (bright * shown).sum(0) / np.maximum(count, 1)
    return np.clip(mean - bright, -CHANGE, CHANGE) * (shown & (count >= LEAST_SEEN)), corner, cell


def _alike(changes: Floats, cells: Floats, radius: float) -> Floats:
    """Correlations [S, L] of changes [K, h, w] with what shadows of this radius about cells [S, L, K, 2] (x, y), one in
    each map, would change."""
    import cv2

    reach = math.ceil(SOFT[1] * radius)
    around = np.arange(-reach, reach + 1)
    away = np.hypot(around[:, None], around) / radius
    disc = np.clip((SOFT[1] - away) / (SOFT[1] - SOFT[0]), 0, 1).astype(np.float32)

    def under(values: Floats) -> Floats:
        return cast("Floats", cv2.filter2D(values.astype(np.float32), -1, disc, borderType=cv2.BORDER_CONSTANT))

    told = np.zeros(cells.shape[:2])
    for k, change in enumerate(changes):
        told += _at(under(change), cells[:, :, k] + 0.5)
    shared = under(np.pad(disc, len(disc)))[len(disc) + reach, len(disc) + reach :]  # by discs 0, 1, 2... cells apart
    apart: Floats = np.linalg.norm(cells[..., :, None, :] - cells[..., None, :, :], axis=-1)  # [S, L, K, K]
    both: Floats = np.interp(apart, np.arange(len(shared)), shared)
    own = shared[0] * len(changes) - both.mean(-1).sum(-1)  # of changes from the mean of all pictures
    return told / np.sqrt(np.maximum(own, LEAST_OWN * shared[0]) * max(float((changes**2).sum()), 1e-9))


def _at(values: Floats, at: Floats) -> Floats:
    """Values [h, w] at places [..., 2] (x, y; in pixels from the corner), between pixels; 0 beside them."""
    import cv2

    x, y = (np.ascontiguousarray(at[..., k] - 0.5, np.float32) for k in (0, 1))
    return cast("Floats", cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR))


def _size(image: Floats | Bools | Bytes) -> tuple[int, int]:
    """Width and height of an image [H, W, ...] at up to ROWS rows."""
    height, width = image.shape[:2]
    rows = min(ROWS, height)
    return max(1, round(width * rows / height)), rows
