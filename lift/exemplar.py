"""A hole filled with patches from elsewhere in the picture, coarse to fine: PatchMatch with patches that vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .images import box_mean, dilated, distance_inside, product, resized
from .membrane import membrane

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..world.arrays import Bools, Floats, Ints

RADIUS = 3  # pixels: patches of 7 x 7, as in Wexler et al. (2007)
SIZE = 2 * RADIUS + 1
SYNTHESIS_SIDE = 280  # pixels of the longer side at which patches are searched; the full size copies what was found
COARSEST_HOLE = 3.0  # pixels: radius of the hole at the coarsest level, under a patch's own
EXHAUSTIVE = 1_000_000  # pairs of target and source up to which all are compared
ROUNDS = 6, 3  # of search and vote: at the coarsest level, at the others
STEPS = 3, 1  # pixels between a target and the neighbours whose shifts it tries; no more than RADIUS
RANDOM_TRIES = 3  # random sources a round, at shrinking distances
OTHER_SIDE = 1e3  # cost of a source on another side: more than any difference of patches
FAR_COST = 0.15, 0.6  # cost, in squared colour steps, of a source one picture width away, and above or below
OFTEN = 0.2, 0.05  # cost of a source that is used as often as all are on average: at the coarsest level, at the others
SEAM = 0.02  # cost of each neighbour, of four, with another shift: copies are of one piece
TEXTURE = 1.0  # weight of the mean size of gradients beside colours: else blurred places look like all others
GUIDED = 0.3  # weight of the difference between a source's colour and the guide's, beside that of patches
AXES = np.array([[1, 1, 1, 0], [1, 0, -1, 0], [1, -2, 1, 0], [0, 0, 0, TEXTURE]]) / np.sqrt([[3], [2], [6], [1]])
LIGHT_STEP = 0.12  # the largest difference in light, of 1, that is evened out at the hole's edge


def exemplar_fill(
    values: Floats,
    hole: Bools,
    guide: Floats,
    sides: Ints,
    generator: np.random.Generator,
    check: Callable[[], None] = lambda: None,
) -> Floats:
    """values [H, W, 3] float32 with `hole` [H, W] filled from patches on the same side (equal number in `sides`).

    guide [H, W, 3]: colours to be expected, in the hole too: patches come from where they are alike. check: called
    before each round, may raise to cancel.
    Sources: Wexler, Shechtman, Irani, "Space-time completion of video" (2007); Barnes et al., "PatchMatch" (2009);
    Newson et al., "Video inpainting of complex scenes" (2014): start from the rim, texture features; Kaspar et al.,
    "Self tuning texture optimization" (2015): no source is used too often.
    """
    h, w = hole.shape
    radius = float(distance_inside(hole).max())
    finest = max(0, int(np.ceil(np.log2(max(h, w) / SYNTHESIS_SIDE))))
    coarsest = max(finest, int(np.ceil(np.log2(max(1.0, radius / COARSEST_HOLE)))))
    while coarsest > finest and min(h, w) / 2**coarsest < 6 * RADIUS:
        coarsest -= 1
    start, gap = _reduced(_with_texture(values, hole), hole, _size(w, h, finest))
    start = membrane(start, gap)
    level: _Level | None = None
    for number in range(coarsest, finest - 1, -1):
        size = _size(w, h, number)
        gap = _covered(hole, size)
        if gap.all():  # so coarse that nothing is left to copy from
            continue
        side = sides[_nearest(h, size[1])][:, _nearest(w, size[0])]
        coarser, level = level, _Level.of(np.array(resized(start, *size)), gap, side, resized(guide, *size))
        if coarser is None:
            level.peel(check)
        else:
            level.grow(coarser)
        later = coarser is not None
        for _ in range(ROUNDS[later]):
            check()
            level.search(generator, OFTEN[later])
            level.vote()
    return membrane(values, hole) if level is None else _copied(values, hole, level.sources())


@dataclass(eq=False)
class _Level:
    """The picture at one size. Pixels are numbered row by row; a target's source is its number plus its shift."""

    image: Floats  # [h, w, C] colours and texture
    gap: Bools  # [h, w] to be filled
    side: Ints  # [h * w]
    valid: Bools  # [h * w] middles of patches that may be copied
    targets: Ints  # [N] middles of patches that touch the gap
    shift: Ints  # [h * w]
    guide: Floats  # [h * w, 3] colours to be expected, weighted as features are
    depth: Floats  # [h * w] pixels from the gap's rim

    @classmethod
    def of(cls, image: Floats, gap: Bools, side: Ints, guide: Floats) -> _Level:
        h, w = gap.shape
        valid = ~dilated(gap, RADIUS + 1)
        valid[:RADIUS], valid[h - RADIUS :], valid[:, :RADIUS], valid[:, w - RADIUS :] = False, False, False, False
        if not valid.any():
            valid = ~gap
        targets = np.flatnonzero(dilated(gap, RADIUS))
        shift = np.zeros(h * w, np.int64)
        guide = np.sqrt(GUIDED) * SIZE * box_mean(guide, RADIUS).reshape(h * w, 3)
        return cls(image, gap, side.ravel(), valid.ravel(), targets, shift, guide, distance_inside(gap).ravel())

    def peel(self, check: Callable[[], None]) -> None:
        """Fill from the rim inwards: each pixel is the middle of the patch that fits best to what is known around."""
        h, w = self.gap.shape
        pool, known = np.flatnonzero(self.valid), ~self.gap
        sources = _patches(self.image, pool)
        squared = sources**2
        while not known.all():
            check()
            ring = np.flatnonzero(dilated(known, 1) & ~known)
            now = _patches(self.image, ring)
            seen = _patches(known[..., None].astype(np.float32), ring)
            count = seen.sum(1, keepdims=True)
            seen = np.tile(seen, self.image.shape[2])
            cost = (product(seen, squared) - 2 * product(seen * now, sources)) * (SIZE**2 / count)
            cost += (self.guide[pool] ** 2).sum(1) - 2 * product(self.guide[ring], self.guide[pool])
            best = pool[(cost + self.away(ring[:, None], pool[None])).argmin(1)]
            self.image.reshape(h * w, -1)[ring] = self.image.reshape(h * w, -1)[best]
            self.shift[ring] = best - ring
            known.ravel()[ring] = True

    def grow(self, coarser: _Level) -> None:
        """Begin with a coarser level's shifts and colours."""
        h, w = self.gap.shape
        few_h, few_w = coarser.gap.shape
        rows, columns = _nearest(few_h, h), _nearest(few_w, w)
        cell = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
        here, move = _positions(h, w), coarser.sources()[rows][:, columns] - cell
        to = np.clip(np.round(here + move * np.array((h / few_h, w / few_w))).astype(np.int64), 0, (h - 1, w - 1))
        self.shift = ((to - here) @ np.array((w, 1))).ravel()
        self.image[self.gap] = resized(coarser.image, w, h)[self.gap]

    def away(self, targets: Ints, sources: Ints) -> Floats:
        """What sources cost for where they are, whatever they show."""
        w = self.gap.shape[1]
        across, down = (sources % w - targets % w) / w, (sources // w - targets // w) / w
        other = self.side[sources] != self.side[targets]
        return FAR_COST[0] * across**2 + FAR_COST[1] * down**2 + OTHER_SIDE * other

    def search(self, generator: np.random.Generator, dearer: float) -> None:
        """Find a source for each target: that of a neighbour, moved along, or a random one, where it costs less.

        dearer: cost of a source for each average number of uses.
        """
        (h, w), targets = self.gap.shape, self.targets
        features = _features(self.image)
        wanted = np.concatenate((features[targets], self.guide[targets]), 1)
        features = np.concatenate((features, self.guide), 1)
        pool = np.flatnonzero(self.valid)
        lost = ~self.valid[targets + self.shift[targets]]
        fresh = pool[generator.integers(len(pool), size=len(targets))]
        self.shift[targets] = np.where(lost, fresh - targets, self.shift[targets])
        if len(pool) * len(targets) <= EXHAUSTIVE:
            cost = (features[pool] ** 2).sum(1) - 2 * product(wanted, features[pool])
            self.shift[targets] = pool[(cost + self.away(targets[:, None], pool[None])).argmin(1)] - targets
        uses = np.bincount(targets + self.shift[targets], minlength=h * w).reshape(h, w).astype(np.float32)
        often = (dearer * len(pool) / len(targets) * box_mean(uses, RADIUS)).ravel()
        beside = [np.clip(targets + step, 0, h * w - 1) for step in (-1, 1, -w, w)]

        def cost_of(shift: Ints) -> Floats:
            source = targets + shift
            unlike = ((features[source] - wanted) ** 2).sum(1) + often[source] + self.away(targets, source)
            return unlike + SEAM * sum((self.shift[other] != shift).astype(np.float32) for other in beside)

        def tried(shift: Ints) -> None:
            nonlocal best
            source = np.clip(targets + shift, 0, h * w - 1)
            now = self.shift[targets]
            shift = np.where(self.valid[source], source - targets, now)
            price = cost_of(shift)
            self.shift[targets] = np.where(price < best, shift, now)
            best = np.minimum(price, best)

        best = cost_of(self.shift[targets])
        for step in STEPS:
            for move in (1, w, -1, -w):
                tried(self.shift[np.clip(targets + step * move, 0, h * w - 1)])
        for i in range(RANDOM_TRIES):
            width = max(2.0, max(h, w) / 4.0**i)
            now = targets + self.shift[targets]
            down, right = np.round(generator.uniform(-width, width, (2, len(targets)))).astype(int)
            row, column = np.clip(now // w + down, 0, h - 1), np.clip(now % w + right, 0, w - 1)
            tried(row * w + column - targets)

    def vote(self) -> None:
        """Each pixel of the gap becomes the mean of what the patches around it say; those near the rim count more."""
        (h, w), targets = self.gap.shape, np.flatnonzero(self.gap)
        flat = self.image.reshape(h * w, -1)
        total, weights = np.zeros((len(targets), flat.shape[1]), np.float32), np.zeros((len(targets), 1), np.float32)
        trust = (1.3 ** -np.minimum(self.depth, 30)).astype(np.float32)
        rows, columns = targets // w, targets % w
        for dy in range(-RADIUS, RADIUS + 1):
            for dx in range(-RADIUS + (dy + RADIUS) % 2, RADIUS + 1, 2):  # every other patch: they overlap enough
                beside = np.clip(rows + dy, 0, h - 1) * w + np.clip(columns + dx, 0, w - 1)
                weight = trust[beside][:, None]
                total += weight * np.take(flat, targets + self.shift[beside], axis=0, mode="clip")
                weights += weight
        self.image = np.array(self.image)
        self.image[self.gap] = total / weights

    def sources(self) -> Ints:
        """[h, w, 2]: row and column that each pixel looks like."""
        h, w = self.gap.shape
        source = np.asarray(np.arange(h * w) + self.shift, np.int64)
        return np.stack((source // w, source % w), -1).reshape(h, w, 2)


def _positions(h: int, w: int) -> Ints:
    """[h, w, 2]: row and column of each pixel."""
    return np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1)


def _copied(values: Floats, hole: Bools, sources: Ints) -> Floats:
    """The full-size picture: each pixel from where its cell of the searched level points, cells blended at seams."""
    (h, w), (few_h, few_w) = hole.shape, sources.shape[:2]
    rows, columns = np.nonzero(dilated(hole, 2))
    moves = np.round((sources - _positions(few_h, few_w)) * np.array((h / few_h, w / few_w))).astype(np.int32)
    down, right = moves[..., 0].ravel(), moves[..., 1].ravel()
    total, weights = np.zeros((len(rows), values.shape[2]), np.float32), np.zeros((len(rows), 1), np.float32)
    flat, known = values.reshape(h * w, -1), (~hole).ravel()
    for upper, row_share in _cells(h, few_h):
        for left, column_share in _cells(w, few_w):
            cell = upper[rows] * few_w + left[columns]
            source = np.clip(rows + down[cell], 0, h - 1) * w + np.clip(columns + right[cell], 0, w - 1)
            share = (row_share[rows] * column_share[columns] * known[source])[:, None]
            total += share * flat[source]
            weights += share
    out, lost = np.array(values), np.zeros_like(hole)
    out[rows, columns] = total / np.maximum(weights, 1e-6)
    lost[rows, columns] = weights[:, 0] <= 0
    # What the patches say of known pixels around the hole is off by their difference in light: it is taken off inside.
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    inside, ring = hole[window], dilated(hole, 2)[window] & ~hole[window]
    off = np.clip(values[window] - out[window], -LIGHT_STEP, LIGHT_STEP) * ring[..., None]
    quarter = max(2, inside.shape[1] // 4), max(2, inside.shape[0] // 4)
    share = np.atleast_3d(resized(ring.astype(np.float32), *quarter))
    mean = resized(off, *quarter) / np.maximum(share, 1e-6)
    smooth = resized(membrane(mean, share[..., 0] <= 0), *inside.shape[::-1])
    out[window] = np.where(inside[..., None], out[window] + smooth, values[window])
    return membrane(out, lost & hole)


def _cells(full: int, few: int) -> list[tuple[Ints, Floats]]:
    """For each pixel of a side the cell before and the one after its middle, and their shares."""
    at = (np.arange(full) + 0.5) * few / full - 0.5
    low = np.floor(at)
    return [
        (np.clip(low + i, 0, few - 1).astype(np.int32), (1 - np.abs(at - low - i) + 1e-4).astype(np.float32))
        for i in (0, 1)
    ]


def _with_texture(values: Floats, hole: Bools) -> Floats:
    """[H, W, 4]: colours, and how much brightness changes from a pixel to the next, but for the edge of the hole."""
    grey: Floats = values.sum(-1) / 3
    across, down = np.diff(grey, axis=1, append=grey[:, -1:]), np.diff(grey, axis=0, append=grey[-1:])
    change = np.where(dilated(hole, 1), 0, np.abs(across) + np.abs(down))
    return np.concatenate((values, change[..., None]), -1).astype(np.float32)


def _features(image: Floats) -> Floats:
    """[h * w, F] of each pixel's patch: six cosines of its brightness, three of each colour axis, its mean texture."""
    import cv2

    at = (np.arange(SIZE) + 0.5) * np.pi / SIZE
    waves = [np.cos(k * at) / np.linalg.norm(np.cos(k * at)) for k in range(3)]
    pairs = sorted(((u, v) for u in range(3) for v in range(3 - u)), key=sum)
    planes = cv2.split(cv2.transform(image, AXES))
    plans = [(plane, pairs[:count]) for plane, count in zip(planes, (6, 3, 3, 1), strict=True)]
    found = [cv2.sepFilter2D(plane, -1, waves[v], waves[u]) for plane, some in plans for u, v in some]
    return cast("Floats", np.stack(found, -1).reshape(image.shape[0] * image.shape[1], -1))


def _patches(image: Floats, at: Ints) -> Floats:
    """[N, C * 49]: the surroundings of the pixels with these numbers [N]; the border is reflected."""
    padded = np.pad(image, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="reflect")
    rows, columns = np.divmod(at, image.shape[1])
    return sliding_window_view(padded, (SIZE, SIZE), axis=(0, 1))[rows, columns].reshape(len(at), -1)


def _size(w: int, h: int, level: int) -> tuple[int, int]:
    """Width and height of a level: halved so many times, but with room for a patch."""
    return max(2 * RADIUS + 2, -(-w // 2**level)), max(2 * RADIUS + 2, -(-h // 2**level))


def _reduced(values: Floats, hole: Bools, size: tuple[int, int]) -> tuple[Floats, Bools]:
    """An image of another size, averaged over what is known, and its hole."""
    known = (~hole)[..., None].astype(np.float32)
    share = np.atleast_3d(resized(known[..., 0], *size))
    return resized(values * known, *size) / np.maximum(share, 1e-6), _covered(hole, size)


def _covered(hole: Bools, size: tuple[int, int]) -> Bools:
    """A hole at another size; a pixel that holds any of it belongs to it."""
    return resized(hole.astype(np.float32), *size) > 1e-3


def _nearest(full: int, few: int) -> Ints:
    return np.minimum(((np.arange(few) + 0.5) * full / few).astype(np.int64), full - 1)
