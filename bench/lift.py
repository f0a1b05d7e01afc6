"""How well objects are selected: python -m vdit.bench.lift select [FOLDER for pictures]

Objects of known outline (outlined.py) are marked as a person would, 832 wide, and selected. IoU of the masks
(mean; and the share of objects above .8), F of the boundary (precision and recall within 3 pixels), seconds on the
wall's clock; for each way of marking, over the half of the pictures that constants were chosen on and the other half.
Then a photograph of 12 megapixels.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from ..control.span import ControlError
from ..lift import select as selecting
from ..lift.images import dilated, distance_inside, eroded
from ..lift.objects import Stroke
from .outlined import HALVES, Truth, by_hand, composites

MARKS = ("loose box", "tight box", "stroke", "1 click", "3 clicks", "box, corrected")
COMPOSITES = 24  # of each half
CLICK = 0.02  # diameter in shares of the width: half of the brush that the widget starts with


def marks(truth: Truth, seed: int) -> dict[str, tuple[tuple | None, list[Stroke]]]:
    """Box and strokes, in shares of the picture, by way of marking; for "box, corrected" the box alone."""
    r = np.random.default_rng(seed)
    height, width = truth.alpha.shape
    x0, y0, x1, y1 = truth.box
    sides, size = np.array([x1 - x0, y1 - y0] * 2), np.array([width, height] * 2)
    outwards = np.array([-1, -1, 1, 1])
    loose, tight = (
        tuple(((truth.box + outwards * sides * r.uniform(*by, 4)) / size).clip(0, 1))
        for by in ((0.06, 0.2), (-0.005, 0.02))
    )
    deep = distance_inside((truth.alpha > 0.5) & ~truth.ignore)
    places = along(deep)
    dots = [Stroke((place,), CLICK) for place in (places[2], places[0], places[4])]
    return {
        "loose box": (loose, []),
        "tight box": (tight, []),
        "stroke": (None, [Stroke(tuple(places), 0.02)]),
        "1 click": (None, dots[:1]),
        "3 clicks": (None, dots),
        "box, corrected": (loose, []),
    }


def along(deep: np.ndarray) -> list[tuple[float, float]]:
    """Five places in the middle of an object along its longer axis, in shares of the picture."""
    rows, columns = np.nonzero(deep > 0)
    points = np.stack((columns, rows), -1)
    axis = np.linalg.eigh(np.cov(points.T))[1][:, 1]
    part = np.digitize(along := points @ axis, np.quantile(along, (0.2, 0.4, 0.6, 0.8)))
    best = [points[part == i][deep[rows, columns][part == i].argmax()] for i in range(5)]
    return [tuple((p + 0.5) / deep.shape[::-1]) for p in best]


def correction(mask: np.ndarray, truth: Truth) -> list[Stroke]:
    """A dab in the middle of the largest wrong piece."""
    wrong = ((mask > 0.5) != (truth.alpha > 0.5)) & ~truth.ignore
    deep = distance_inside(wrong)
    y, x = np.unravel_index(int(deep.argmax()), deep.shape)
    height, width = wrong.shape
    size = max(CLICK, 1.2 * float(deep.max()) / width)
    return [Stroke((((x + 0.5) / width, (y + 0.5) / height),), size, bool(truth.alpha[y, x] < 0.5))]


def scores(mask: np.ndarray, truth: Truth) -> tuple[float, float]:
    """IoU and F of the boundary within 3 pixels."""
    known = ~truth.ignore
    a, b = (mask > 0.5) & known, (truth.alpha > 0.5) & known
    iou = (a & b).sum() / max(1, (a | b).sum())
    edges = [m & ~eroded(m, 1) & eroded(known, 3) for m in (mask > 0.5, truth.alpha > 0.5)]
    near = [dilated(edge, 3) for edge in edges]
    hits = [(edges[i] & near[1 - i]).sum() / max(1, edges[i].sum()) for i in (0, 1)]
    return float(iou), float(2 * hits[0] * hits[1] / max(1e-9, sum(hits)))


def select(look: str | None) -> None:
    print(f"{'half':10}{'pictures':12}{'marked by':16}{'IoU':>6}{'> .8':>6}{'edge F':>8}{'seconds':>9}{'most':>7}")
    for half in HALVES:
        groups = {"photographs": [t for t in by_hand() if t.half == half], "composites": composites(half, COMPOSITES)}
        for group, truths in groups.items():
            for how in MARKS:
                rows = np.array([_selected(truth, i, how, look) for i, truth in enumerate(truths)])
                iou, edge, seconds = rows.T
                print(
                    f"{half:10}{group:12}{how:16}{iou.mean():6.3f}{(iou > 0.8).mean():6.2f}{edge.mean():8.3f}"
                    f"{seconds.mean():9.2f}{seconds.max():7.2f}",
                    flush=True,
                )
    large = next(t for t in by_hand(4000) if t.name == "officer")
    iou, edge, seconds = _selected(large, 0, "loose box", None)
    height, width = large.alpha.shape
    print(f"{width}x{height}, a box around most of it: IoU {iou:.3f}, {seconds:.2f} s")


def _selected(truth: Truth, seed: int, how: str, look: str | None) -> tuple[float, float, float]:
    box, strokes = marks(truth, seed)[how]
    mask = np.zeros(truth.alpha.shape, np.float32)
    start = time.perf_counter()
    try:
        mask = selecting.select(truth.picture, box, strokes)
        seconds = time.perf_counter() - start
        if how == "box, corrected":
            start = time.perf_counter()
            mask = selecting.select(truth.picture, box, correction(mask, truth))
    except ControlError:
        pass
    seconds = time.perf_counter() - start
    if look:
        Path(look).mkdir(parents=True, exist_ok=True)
        shown = truth.picture * (0.35 + 0.65 * mask[..., None])
        cv2.imwrite(f"{look}/{truth.half}-{truth.name}-{how}.jpg".replace(" ", "-"), shown[..., ::-1])
    return *scores(mask, truth), seconds


if __name__ == "__main__":
    {"select": select}[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else None)
