"""The main thing in a box or at strokes: graph cuts with different leanings vote on each pixel of a picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, cast

import numpy as np

from .images import resized, resized_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..world.arrays import Bools, Bytes, Floats, Ints

# FINE, VOTE, COLOUR, PLACE, LEANING, ROUNDS and REACH were compared on the tuned half of `python -m vdit.bench.lift
# select`; the others were tried once there and kept.
SIDE = 160  # pixels of the longer side on which the cuts vote; 200 scored the same and took 1.4 times as long
FINE = 300  # pixels of the longer side of the last cut, which thin parts need
VOTE = 1.0  # log-odds in the last cut where all cuts agree
COLOUR = (1.0, 2.0)  # weights of the colours' log-odds in the cuts
PLACE = (0.5, 2.0)  # log-odds where the object is likeliest
LEANING = (0.0, 1.0)  # log-odds by which a cut takes more
ROUNDS = 2  # of colours from the last cut, cut by these colours
SHARED = 0.5  # share of the box whose colours the first round takes to be those around it
BINS = 20  # of each of the three colour axes
RARE = 5e-5  # density of a colour below which nothing follows from it: 0.4 of an even spread
MOST = 4.0  # log-odds that a colour alone may give
STEP = 0.25  # log-odds in one of the 256 levels of an image
STROKE = 20.0  # pixels that one painted pixel counts as
FLAT, REACH = 18.0, 5.0  # bilateral filter before colours are counted: levels of Lab, pixels at SIDE
ROUND = 2.5  # exponent of the curve in a box on which an object is as likely as not: 2 is an ellipse
RIM = 0.02  # of the sides: what is so near to the edge of the window around strokes is no object; a guess
ALIKE = 0.97  # overlap (Bhattacharyya) of the colours inside and outside from which nothing stands out


@dataclass(frozen=True, eq=False)
class Scene:
    """What a cut sees. cells [h, w]: bins of colour. guide [h, w, 2]: edges. place [h, w]: 1 where the object is likely
    to be, to -1. outside, add [h, w]: what is not object, and what is, without doubt.
    """

    cells: Ints
    guide: Floats
    place: Floats
    outside: Bools
    add: Bools


def place_in_box(shape: tuple[int, int], box: tuple[float, float, float, float]) -> tuple[Floats, Bools]:
    """How likely an object is by where it is in its box (x0, y0, x1, y1; pixels): 1 to -1 [h, w]; what is outside."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    across, down = np.abs(2 * x - x0 - x1) / (x1 - x0), np.abs(2 * y - y0 - y1) / (y1 - y0)
    return np.clip(1 - across**ROUND - down**ROUND, -1, 1), (across > 1) | (down > 1)


def place_near(add: Bools, reach: float) -> tuple[Floats, Bools]:
    """How likely an object is by its distance from strokes add [h, w]: 1 to -1, 0 at `reach` pixels; what is outside:
    the rim of the picture.
    """
    import cv2

    rim = max(1, round(RIM * max(add.shape)))
    outside = np.ones(add.shape, bool)
    outside[rim:-rim, rim:-rim] = False
    away = cast("Floats", cv2.distanceTransform((~add).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    return np.clip(1 - away / reach, -1, 1), outside & ~add


def segmented(
    picture: Bytes, place: Floats, outside: Bools, add: Bools, check: Callable[[], None] = lambda: None
) -> Bools:
    """Pixels [h, w] of an object in a picture uint8 [h, w, 3] of at most FINE a side; those of add if none stands out.

    place, outside, add [h, w]: as in Scene. Cuts: Boykov and Jolly 2001. The object's colours are those of where it is
    likely, less those outside. check: called between cuts, may raise to cancel.
    """
    fine = _scene(picture, place, outside, add)
    scale = min(1.0, SIDE / max(add.shape))
    size = max(2, round(add.shape[1] * scale)), max(2, round(add.shape[0] * scale))
    few = [resized(m.astype(np.float32), *size) for m in (place, outside, add)]
    small = _scene(resized_bytes(picture, *size), few[0], few[1] > 0.5, few[2] > 0.3)
    check()
    cuts: list[Bools] = []
    pool = ThreadPoolExecutor(2)
    try:
        for cut in pool.map(partial(_cut_by_colours, small), *zip(*product(COLOUR, PLACE, LEANING), strict=True)):
            check()
            cuts.append(cut)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a cut that has begun ends by itself, in some .1 s
    found = [cut for cut in cuts if cut.any()]
    if not found:
        return add
    votes = resized(np.stack(found).astype(np.float32).mean(0), add.shape[1], add.shape[0])
    check()
    cut = _cut(COLOUR[-1] * _colour_odds(fine, votes > 0.5) + VOTE * (2 * votes - 1), fine)
    alike = np.sqrt(
        _density(fine.cells, cut.astype(np.float64)) * _density(fine.cells, (~cut).astype(np.float64))
    ).sum()
    return add if alike > ALIKE else cut


def _scene(picture: Bytes, place: Floats, outside: Bools, add: Bools) -> Scene:
    import cv2

    lab = cast("Floats", cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)).astype(np.float32)
    smooth = cast("Floats", cv2.bilateralFilter(lab, -1, FLAT, REACH * max(1.0, max(add.shape) / SIDE)))
    # The two colour channels of photographs take up the middle 60% of their range.
    bins = np.clip(BINS * (smooth / 256 * (1, 1.6, 1.6) - (0, 0.3, 0.3)), 0, BINS - 1).astype(np.int64)
    flat = lab.reshape(-1, 3) - lab.reshape(-1, 3).mean(0)
    axes = np.linalg.eigh(flat.T @ flat)[1][:, :0:-1]
    guide = np.clip(128 + (flat @ axes).reshape(*add.shape, 2), 0, 255)
    cells = (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]
    return Scene(cells, guide, place, outside & ~add, add)


def _density(cells: Ints, weights: Floats) -> Floats:
    """Smoothed histogram [BINS^3] of colours."""
    from scipy import ndimage

    counts = np.bincount(cells.ravel(), weights.ravel(), BINS**3).reshape(BINS, BINS, BINS)
    smooth = cast("Floats", ndimage.gaussian_filter(counts, 1.0, mode="nearest"))
    return smooth.ravel() / max(float(smooth.sum()), 1e-9)


def _log_odds(scene: Scene, inner: Floats, outer: Floats) -> Floats:
    return np.clip(np.log((inner + RARE) / (outer + RARE)), -MOST, MOST)[scene.cells]


def _colour_odds(scene: Scene, mask: Bools) -> Floats:
    """Log-odds [h, w] by the colours inside and outside a mask."""
    inner = _density(scene.cells, mask + STROKE * scene.add)
    outer = _density(scene.cells, np.where(mask, 0.0, np.where(scene.outside, 1.0, 0.5)))
    return _log_odds(scene, inner, outer)


def _cut_by_colours(scene: Scene, colour: float, place: float, leaning: float) -> Bools:
    # The corners of a box mostly show what is around it, and are all that does where it covers the picture.
    around = _density(scene.cells, np.where(scene.outside, 1, (-scene.place).clip(0)))
    inside = _density(scene.cells, np.where(scene.outside, 0, 0.5 + 0.5 * scene.place.clip(0)) + STROKE * scene.add)
    odds = _log_odds(scene, np.maximum(inside - SHARED * around, 0) / (1 - SHARED), around)
    mask = scene.add
    for _ in range(ROUNDS):
        mask = _cut(colour * odds + place * scene.place + leaning, scene)
        if not mask.any() or mask.all():
            break
        odds = _colour_odds(scene, mask)
    return mask


def _cut(odds: Floats, scene: Scene) -> Bools:
    """The cut between object and background of least cost: log-odds [h, w] of each pixel, and edges of the guide.

    OpenCV's GrabCut solves it: the first channel of its image holds the log-odds, and its two colour models are
    Gaussians of one width whose log-ratio is linear in that channel and flat in the others.
    """
    import cv2

    image = np.dstack((np.clip(128 + odds / STEP, 0, 255), scene.guide)).astype(np.uint8)
    labels = np.where(scene.add, 1, np.where(scene.outside, 0, np.where(odds > 0, 3, 2))).astype(np.uint8)
    if not ((labels == 0) | (labels == 2)).any() or not ((labels == 1) | (labels == 3)).any():
        return (labels == 1) | (labels == 3)
    apart = 64.0
    background, thing = _model(128 - apart, 2 * apart / STEP), _model(128 + apart, 2 * apart / STEP)
    image = np.ascontiguousarray(image)
    cv2.grabCut(image, labels, (0, 0, 1, 1), background, thing, 1, cv2.GC_EVAL_FREEZE_MODEL)  # the box is not read
    return (labels == 1) | (labels == 3)


def _model(mean: float, variance: float) -> Floats:
    """GrabCut's mixture [1, 65] (5 weights, 5 means, 5 covariances) of one Gaussian over the first channel."""
    model = np.zeros((1, 65))
    model[0, 0], model[0, 5:8], model[0, 20:29:4] = 1, (mean, 128, 128), (variance, 1e7, 1e7)
    return model
