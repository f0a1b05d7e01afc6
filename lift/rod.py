"""The rod, rope or chain that a swinging body hangs on: a thin line in the pictures that turns about one point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from .images import between, dilated, eroded, resized

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

ROWS = 128  # Lines are detected in pictures of this height, where they are one or two pixels wide.
SHOWN = 0.5  # of a mask, from which on a pixel shows the body
THIN = 2  # pixels: parts of a mask that are not wider than twice that may be the line
ASIDE = 2.0  # The background is sampled at this distance in pixels on both sides of a line.
CLEAR = 0.06  # difference of colours in 0..1 from which on a line is seen for sure
ANGLES, LINES = 360, 10  # directions that are searched in the last picture, and candidates checked in the others
ALIKE = 5  # directions between two that count as different
SHORTEST = 5.0  # pixels of a line
SEEN = 0.8  # of the half towards its end, in each picture; edges of tiles have at most .79
SURE = 0.95  # A line of which this share is visible in every picture ends the search.
CAME = 3.0  # pixels: what came by less in all does not show about which point it turns
HALF = 0.5  # of a line, towards its end: less is changed there by an error of where the body is
GRIDS = (4.0, 1.0), (1.0, 0.25)  # pixels around a guess of the end, and between those that are tried
AROUND, ROUNDS = 2.5, 3  # pixels beside a line where the true one is looked for, and how often
FIRM = 0.3  # Weight of the previous end in the least squares that intersect the lines; each line weighs 1.
STEP = 0.5  # pixels between points of a line
WIDEST = 4.0  # pixels, of a line in a picture of ROWS


@dataclass(frozen=True, eq=False, kw_only=True)
class Rod:
    """What a body hangs on, in pixels (x, y) of its pictures.

    end [2]: of the line, away from the body; bodies [K, 2]: where the body is in each picture, the last one first, on
    the line; begin: of the line, in pixels from the body's middle; width; color [3] in 0..255.
    """

    end: Floats
    bodies: Floats
    begin: float
    width: float
    color: Floats

    def mask(self, height: int, width: int, picture: int = 0) -> Bools:
        """Pixels [H, W] that it touches in a picture, counted from the last one."""
        rows, columns = np.mgrid[0:height, 0:width] + 0.5
        way = self.end - self.bodies[picture]
        length = float(np.linalg.norm(way))
        x, y = (way / length).tolist()
        right, down = columns - self.bodies[picture, 0], rows - self.bodies[picture, 1]
        along, aside = right * x + down * y, np.abs(right * y - down * x)
        return np.asarray((along > 0) & (along < length + self.width / 2) & (aside < self.width / 2 + 0.5))


def rod_of(pictures: Bytes, mask: Floats, came: Floats) -> Rod | None:
    """What a body hangs on; None where no line is seen that turns with it.

    pictures uint8 [K, H, W, 3]; mask [H, W] of the body in the last one, 0..1; came [K - 1, 2]: how far it came since
    each picture before, the latest first, in picture heights.
    """
    scale = ROWS / pictures.shape[1]
    width = round(pictures.shape[2] * scale)
    small = [resized(picture.astype(np.float32) / 255, width, ROWS) for picture in pictures[::-1]]
    cover = resized(mask.astype(np.float32), width, ROWS) >= SHOWN
    thick = dilated(eroded(cover, THIN), THIN) & cover
    cover = thick if thick.any() else cover
    if not cover.any() or not np.isfinite(came).all():
        return None
    rows, columns = np.nonzero(cover)
    middle = np.array([columns.mean(), rows.mean()]) + 0.5
    bodies = np.concatenate((middle[None], middle - came * ROWS))
    if np.linalg.norm(bodies - middle, axis=1).max() < CAME:
        return None
    found = _end_of_line(small, cover, bodies)
    if found is None:
        return None
    end, begin = found
    end, bodies = _straightened(small, end, bodies, begin)
    color, wide = _looks(small[0], end, bodies[0], begin)
    return Rod(end=end / scale, bodies=bodies / scale, begin=begin / scale, width=wide / scale, color=color)


def _end_of_line(pictures: list[Floats], cover: Bools, bodies: Floats) -> tuple[Floats, float] | None:
    """The end [2] of the line that turns with the body, and how far from the body's middle it begins."""
    reach = STEP * np.arange(1, int(math.hypot(*cover.shape) / STEP))
    angle = np.arange(ANGLES) * (2 * math.pi / ANGLES)
    ways = np.stack((np.cos(angle), np.sin(angle)), 1)
    points = bodies[0] + ways[:, None] * reach[:, None]  # [ANGLES, S, 2]
    covered = between(cover.astype(np.float32), points) >= SHOWN
    begins = np.where(covered, np.arange(1, len(reach) + 1), 0).max(1)  # after the last point that shows the body
    seen = _beside(pictures[0], points, ways[:, None])
    likely: list[tuple[float, int, int]] = []
    for i, (line, begin) in enumerate(zip(seen, begins, strict=True)):
        total = np.cumsum(line[begin:] - 0.5)
        if len(total) and total.max() > 0:
            likely.append((float(total.max()), i, begin + int(total.argmax())))
    best: tuple[float, Floats, float] | None = None
    tried: list[int] = []
    for _, i, last in sorted(likely, reverse=True):
        if any(min(abs(i - k), ANGLES - abs(i - k)) < ALIKE for k in tried):
            continue
        tried.append(i)
        begin = STEP * float(begins[i])
        end = _turning(pictures, bodies, bodies[0] + ways[i] * reach[last], begin)
        shown = [float(_along(p, body, end[None], begin)[0]) for p, body in zip(pictures, bodies, strict=True)]
        if min(shown) > SEEN and (best is None or sum(shown) > best[0]):
            best = sum(shown), end, begin
        if len(tried) == LINES or min(shown) > SURE:
            break
    return None if best is None else best[1:]


def _turning(pictures: list[Floats], bodies: Floats, end: Floats, begin: float) -> Floats:
    """The point near `end` [2] about which a line from the body turns in all pictures, moved to where lines end."""
    for around, step in GRIDS:
        steps = np.arange(-around, around + step / 2, step)
        tries = end + np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        score = np.sum([_along(picture, body, tries, begin) for picture, body in zip(pictures, bodies, strict=True)], 0)
        end = tries[int(score.argmax())]
        if score.max() < HALF * len(pictures):
            return end
    length = float(np.linalg.norm(end - bodies[0]))
    beyond = np.arange(-length * HALF, length, STEP)
    total = np.zeros(len(beyond))
    for picture, body in zip(pictures, bodies, strict=True):
        way = (end - body) / max(float(np.linalg.norm(end - body)), 1e-6)
        points = (end + way * beyond[:, None])[None]
        contrast = _contrast(picture, points, np.broadcast_to(way, points.shape))[0] * _inside(picture, points)[0]
        line = max(float(np.median(contrast[beyond < 0])), CLEAR / 2)
        total += np.minimum(contrast / line, 1.0) - 0.5  # halfway down from what it is on the line, it ends
    return end + (end - bodies[0]) / length * float(beyond[int(np.cumsum(total).argmax())])


def _along(picture: Floats, body: Floats, ends: Floats, begin: float) -> Floats:
    """How clearly the farther halves of lines from a body [2] to ends [N, 2] are seen [N], 0..1."""
    way = ends - body
    length = np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    first = np.maximum(begin / length, HALF)[:, None]
    count = max(4, int(length.max()))
    share = first + (1 - first) * (np.arange(count) + 0.5) / count
    seen = _clear(picture, body + way[:, None] * share[..., None], (way / length[:, None])[:, None])
    return np.asarray(seen.mean(1) * (length > begin + SHORTEST))


def _straightened(pictures: list[Floats], end: Floats, bodies: Floats, begin: float) -> tuple[Floats, Floats]:
    """End [2] and bodies [K, 2] moved onto the lines that are seen beside those between them."""
    for _ in range(ROUNDS):
        lines = [_line(picture, end, body, begin) for picture, body in zip(pictures, bodies, strict=True)]
        left = np.stack([_left((last - first) / np.linalg.norm(last - first)) for first, last in lines])
        aside = np.array([float(normal @ last) for normal, (_, last) in zip(left, lines, strict=True)])
        normals = np.concatenate((left, FIRM * np.eye(2)))
        # The point that is nearest to all lines.
        met = np.linalg.lstsq(normals, np.concatenate((aside, FIRM * end)), rcond=None)[0]
        ways = np.stack([first - last for first, last in lines])
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        bodies = met + ways * np.linalg.norm(bodies - end, axis=1, keepdims=True)
        end = met
    return end, bodies


def _line(picture: Floats, end: Floats, body: Floats, begin: float) -> tuple[Floats, Floats]:
    """Where a line is seen that is near the one from a body to an end: two points of it, beside these."""
    way = end - body
    length = float(np.linalg.norm(way))
    way = way / length
    along = np.arange(begin + 1, length)
    aside = np.arange(-AROUND, AROUND + 1e-6, STEP / 2)
    points = (body + way * along[:, None])[:, None] + _left(way) * aside[:, None]  # [S, A, 2]
    contrast = _contrast(picture, points, np.broadcast_to(way, points.shape))
    clear = contrast.max(1)
    weight = np.square(np.maximum(contrast - HALF * clear[:, None], 0)) + 1e-12
    middle = (weight * aside).sum(1) / weight.sum(1)
    sure = np.minimum(clear / CLEAR, 1.0)
    terms = np.stack((np.ones_like(along), along / length), 1)
    line = cast("Floats", np.linalg.lstsq(terms * sure[:, None], middle * sure, rcond=None)[0])
    return body + _left(way) * float(line[0]), end + _left(way) * float(line.sum())


def _looks(picture: Floats, end: Floats, body: Floats, begin: float) -> tuple[Floats, float]:
    """The colour [3] of a line in 0..255, and its width in pixels."""
    way = end - body
    length = float(np.linalg.norm(way))
    way = way / length
    points = body + way * np.arange(begin + 1, length - 1, STEP)[:, None]
    left = ASIDE * _left(way)
    behind = (between(picture, points + left) + between(picture, points - left)) / 2
    here = between(picture, points)
    apart = np.linalg.norm(here - behind, axis=1)
    clear = apart >= np.quantile(apart, 0.75)  # where the line covers whole pixels
    color, plate = np.median(here[clear], 0), np.median(behind[clear], 0)
    across = np.arange(-ASIDE, ASIDE + 1e-6, STEP / 2)
    profile = between(picture, points[clear][:, None] + across[:, None] * _left(way)).mean(0)  # [A, 3]
    share = ((profile - plate) @ (color - plate) / max(float(np.square(color - plate).sum()), 1e-9)).clip(0, 1)
    return 255 * color, float(np.clip(share.sum() * STEP / 2, 0.5, WIDEST))


def _beside(picture: Floats, points: Floats, ways: Floats) -> Floats:
    """How clearly a line along ways is seen at points [N, S, 2], or a pixel beside them."""
    ways = np.broadcast_to(ways, points.shape)
    return np.maximum.reduce([_clear(picture, points + aside * _left(ways), ways) for aside in (-1, 0, 1)])


def _clear(picture: Floats, points: Floats, ways: Floats) -> Floats:
    """How clearly a line along ways is seen [N, S] at points [N, S, 2], 0..1; beyond the picture not at all."""
    return np.minimum(_contrast(picture, points, ways) / CLEAR, 1.0) * _inside(picture, points)


def _inside(picture: Floats, points: Floats) -> Bools:
    return np.asarray(((points > 0) & (points < (picture.shape[1], picture.shape[0]))).all(-1))


def _contrast(picture: Floats, points: Floats, ways: Floats) -> Floats:
    """By how much [N, S] points [N, S, 2] of a line along ways differ from both of its sides, in the same colours."""
    left = ASIDE * _left(ways)
    here = between(picture, points)
    one, other = here - between(picture, points + left), here - between(picture, points - left)
    return np.sqrt(np.maximum((one * other).sum(-1), 0.0))


def _left(ways: Floats) -> Floats:
    return np.stack((ways[..., 1], -ways[..., 0]), -1)
