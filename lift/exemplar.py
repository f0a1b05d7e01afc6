"""A hole filled with patches from elsewhere in the picture, coarse to fine: PatchMatch with patches that vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .images import dilated, distance_inside, resized
from .membrane import membrane

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats, Ints

RADIUS = 3  # pixels: patches of 7 x 7, as in Wexler et al. (2007)
SYNTHESIS_SIDE = 280  # pixels of the longer side at which patches are searched; finer levels copy what was found
COARSEST_HOLE = 3.0  # pixels: radius of the hole at the coarsest level, under a patch's own
EXHAUSTIVE = 3_000_000  # pairs of target and source up to which all are compared
ROUNDS = {0: 8, 1: 6}  # of search and vote a level, coarsest first; later levels: LATER
LATER = 3
OTHER_SIDE = 1e3  # cost of a source on another side: more than any difference of patches
LIGHT_STEP = 0.12  # the largest difference in light, of 1, that is evened out at the hole's edge
RANDOM_TRIES = 4  # random sources a round, at shrinking distances
FAR_COST = 0.15  # cost, in squared colour steps, of a source one picture width away: near ones are likelier


def exemplar_fill(values: Floats, hole: Bools, sides: Ints, generator: np.random.Generator) -> Floats:
    """values [H, W, 3] float32 with `hole` [H, W] filled from patches on the same side (equal number in `sides`).

    Sources: Wexler, Shechtman, Irani, "Space-time completion of video" (2007); Barnes et al., "PatchMatch" (2009).
    """
    h, w = hole.shape
    radius = float(distance_inside(hole).max())
    finest = max(0, int(np.ceil(np.log2(max(h, w) / SYNTHESIS_SIDE))))
    coarsest = max(finest, int(np.ceil(np.log2(max(1.0, radius / COARSEST_HOLE)))))
    while coarsest > finest and min(h, w) / 2**coarsest < 6 * RADIUS:
        coarsest -= 1
    sources: Ints | None = None
    current: Floats | None = None
    start, gap = _reduced(values, hole, _size(w, h, finest))
    start, basis = membrane(start, gap), _basis()
    for number, level in enumerate(range(coarsest, finest - 1, -1)):
        size = _size(w, h, level)
        image, gap = np.array(resized(start, *size)), _covered(hole, size)
        if gap.all():  # so coarse that nothing is left to copy from
            continue
        side = sides[_nearest(h, size[1])][:, _nearest(w, size[0])]
        if current is not None:
            image[gap] = resized(current, *size)[gap]
        sources = None if sources is None else _grown(sources, size)
        current, sources = _synthesised(image, gap, side, sources, basis, ROUNDS.get(number, LATER), generator)
    if sources is None:
        return membrane(values, hole)
    return _copied(values, hole, sources)


class _Round(NamedTuple):
    """One round of search: features [h, w, F] of patches, targets [N, 2], and which middles may be copied."""

    features: Floats
    targets: Ints
    valid: Bools
    side: Ints

    def cost(self, sources: Ints) -> Floats:
        """How unlike [N] the targets' patches the ones at sources [N, 2] are; other sides and far ones cost more."""
        rows, columns = self.targets[:, 0], self.targets[:, 1]
        difference = ((self.features[sources[:, 0], sources[:, 1]] - self.features[rows, columns]) ** 2).sum(1)
        far = ((sources - self.targets) ** 2).sum(1) / max(self.valid.shape) ** 2
        other = self.side[sources[:, 0], sources[:, 1]] != self.side[rows, columns]
        return difference * (1 + far) + FAR_COST * far + OTHER_SIDE * other

    def better(self, found: Ints, best: Floats, candidate: Ints) -> tuple[Ints, Floats]:
        """For each target the cheaper of the source found and a candidate."""
        h, w = self.valid.shape
        candidate = np.clip(candidate, RADIUS, (h - 1 - RADIUS, w - 1 - RADIUS))
        candidate = np.where(self.valid[candidate[:, 0], candidate[:, 1]][:, None], candidate, found)
        price = self.cost(candidate)
        return np.where((price < best)[:, None], candidate, found), np.minimum(price, best)


def _synthesised(
    image: Floats,
    hole: Bools,
    side: Ints,
    sources: Ints | None,
    basis: Floats,
    rounds: int,
    generator: np.random.Generator,
) -> tuple[Floats, Ints]:
    """The filled level [h, w, 3] and, for each pixel [h, w, 2], the middle (row, column) of the patch it looks like."""
    h, w = hole.shape
    valid = ~dilated(hole, RADIUS + 1)
    valid[:RADIUS], valid[h - RADIUS :], valid[:, :RADIUS], valid[:, w - RADIUS :] = False, False, False, False
    if not valid.any():
        valid = ~hole
    targets, gap, pool = np.argwhere(dilated(hole, RADIUS)), np.argwhere(hole), np.argwhere(valid)
    field = _positions(h, w) if sources is None else np.array(sources)
    found = field[targets[:, 0], targets[:, 1]]
    wrong = ~valid[found[:, 0], found[:, 1]]
    found[wrong] = pool[generator.integers(len(pool), size=int(wrong.sum()))]
    for _ in range(rounds):
        search = _Round(_features(image, basis), targets, valid, side)
        if len(pool) * len(targets) <= EXHAUSTIVE:
            found = _best_of_all(search, pool)
        best = search.cost(found)
        for step in (4, 1):
            for move in ((0, step), (step, 0), (0, -step), (-step, 0)):
                field[targets[:, 0], targets[:, 1]] = found
                beside = np.clip(targets + move, 0, (h - 1, w - 1))
                candidate = field[beside[:, 0], beside[:, 1]] - (beside - targets)
                found, best = search.better(found, best, candidate)
        for i in range(RANDOM_TRIES):
            width = max(2.0, max(h, w) / 3.0**i)
            move = np.round(generator.uniform(-width, width, found.shape)).astype(np.int64)
            found, best = search.better(found, best, found + move)
        field[targets[:, 0], targets[:, 1]] = found
        image = np.array(image)
        image[hole] = _votes(image, gap, field)
    return image, field


def _best_of_all(search: _Round, pool: Ints) -> Ints:
    """For each target the source of the pool [M, 2] on its side that looks most like it."""
    now = search.features[search.targets[:, 0], search.targets[:, 1]]
    known = search.features[pool[:, 0], pool[:, 1]]
    distance: Floats = (known**2).sum(1) - 2 * np.einsum("nf,mf->nm", now, known, optimize=True)
    own, sides = search.side[search.targets[:, 0], search.targets[:, 1]], search.side[pool[:, 0], pool[:, 1]]
    return pool[(distance + OTHER_SIDE * (own[:, None] != sides)).argmin(1)]


def _votes(image: Floats, targets: Ints, field: Ints) -> Floats:
    """Colours [N, 3]: the mean of what the patches around each target say of it."""
    h, w = image.shape[:2]
    total = np.zeros((len(targets), image.shape[2]), np.float32)
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            beside = np.clip(targets + (dy, dx), 0, (h - 1, w - 1))
            source = np.clip(field[beside[:, 0], beside[:, 1]] + (targets - beside), 0, (h - 1, w - 1))
            total += image[source[:, 0], source[:, 1]]
    return total / (2 * RADIUS + 1) ** 2


def _positions(h: int, w: int) -> Ints:
    """[h, w, 2]: row and column of each pixel."""
    return np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1)


def _copied(values: Floats, hole: Bools, sources: Ints) -> Floats:
    """The full-size picture: each pixel from where its cell of the searched level points, cells blended at seams."""
    h, w = hole.shape
    cells = np.array(sources.shape[:2])
    scale = np.array([h, w]) / cells
    ring = dilated(hole, 2) & ~hole
    targets = np.argwhere(dilated(hole, 2))
    at = (targets + 0.5) / scale - 0.5
    low = np.floor(at).astype(np.int64)
    total, weights = np.zeros((len(targets), values.shape[2]), np.float32), np.zeros((len(targets), 1), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            cell = np.clip(low + (dy, dx), 0, cells - 1)
            share = np.prod(1 - np.abs(at - (low + (dy, dx))), axis=1, keepdims=True).astype(np.float32) + 1e-4
            move = np.round((sources[cell[:, 0], cell[:, 1]] - cell) * scale).astype(np.int64)
            source = np.clip(targets + move, 0, (h - 1, w - 1))
            share = np.where(hole[source[:, 0], source[:, 1]][:, None], np.float32(0), share)
            total += share * values[source[:, 0], source[:, 1]]
            weights += share
    out, lost = np.array(values), np.zeros_like(hole)
    out[targets[:, 0], targets[:, 1]] = total / np.maximum(weights, 1e-6)
    lost[targets[:, 0], targets[:, 1]] = weights[:, 0] <= 0
    # What the patches say of known pixels around the hole is off by their difference in light: it is taken off inside.
    off = np.clip(values - out, -LIGHT_STEP, LIGHT_STEP)
    quarter = max(2, w // 4), max(2, h // 4)
    share = np.atleast_3d(resized(ring.astype(np.float32), *quarter))
    mean = resized(off * ring[..., None], *quarter) / np.maximum(share, 1e-6)
    smooth = resized(membrane(mean, share[..., 0] <= 0), w, h)
    out = np.where(hole[..., None], out + smooth, values)
    return membrane(out, lost & hole)


def _basis() -> Floats:
    """Weights [3 * 49, F] of a patch's low frequencies: ten cosines of its brightness, three of each colour axis."""
    size = 2 * RADIUS + 1
    at = (np.arange(size) + 0.5) * np.pi / size
    pairs = sorted(((u, v) for u in range(4) for v in range(4 - u)), key=sum)
    waves = [np.outer(np.cos(u * at), np.cos(v * at)) for u, v in pairs]
    waves = [wave / np.linalg.norm(wave) for wave in waves]
    axes = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    columns = [np.multiply.outer(axes[0], wave).ravel() for wave in waves]
    columns += [np.multiply.outer(axis, wave).ravel() for axis in axes[1:] for wave in waves[:3]]
    return np.stack(columns, -1).astype(np.float32)


def _features(image: Floats, basis: Floats) -> Floats:
    h, w = image.shape[:2]
    return (_patches(image).reshape(h * w, -1) @ basis).reshape(h, w, -1)


def _patches(image: Floats) -> Floats:
    """[h, w, C, 7, 7]: the surroundings of each pixel; the border is reflected."""
    padded = np.pad(image, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="reflect")
    return sliding_window_view(padded, (2 * RADIUS + 1, 2 * RADIUS + 1), axis=(0, 1))


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


def _grown(sources: Ints, size: tuple[int, int]) -> Ints:
    """A coarser level's sources at a finer size."""
    w, h = size
    ratio = np.array([h / sources.shape[0], w / sources.shape[1]])
    rows, columns = _nearest(sources.shape[0], h), _nearest(sources.shape[1], w)
    coarse = sources[rows][:, columns]
    cell = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    return np.clip(np.round(_positions(h, w) + (coarse - cell) * ratio).astype(np.int64), 0, (h - 1, w - 1))
