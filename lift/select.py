"""Selecting an object without a network: a box, brush strokes and clicks become a soft mask, by graph cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..control.span import ControlError
from .images import box_mean, dilated, eroded, pieces, resized, resized_bytes
from .objects import Marked, PictureObject, Selection, Stroke
from .segment import FINE, place_in_box, place_near, segmented

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

BOX_MARGIN = 0.2  # of the sides: what is seen around a box; by bench/lift.py select 0.1 did as well, 0.35 worse
STROKE_MARGIN = 1.0  # the same around strokes alone, which tell less of where the object ends
CLICK_MARGIN = 0.22  # picture widths around a click; a guess, as is the margin of strokes
# So far from its strokes an object is as likely as not; chosen on the tuned photographs of bench/lift.py.
STROKE_REACH, CLICK_REACH = 0.3, 0.11  # of the strokes' extent, and at least in picture widths
GROWN, FURTHER = 3.0, 2.5  # less than so many times a click is no object: it is sought so much further away
SMALL_PIECE = 0.04  # of the largest piece's area: smaller pieces that no stroke touches are specks
LITTLE = 0.35  # share of its box below which an object may have been missed; a disc has 0.79, an upright bar 0.2 to 1
BEYOND = 0.004  # picture widths inside and outside of a box's side between which an object that goes on looks alike
ALIKE, CUT = 16.0, 0.06  # levels of 255 that it differs at most; share of the side along which it does
PINHOLE = 0.002  # of the object's area: smaller holes are closed
MIN_AREA = 12  # pixels: a smaller object cannot be told from noise
RADIUS = 0.006  # picture widths: radius of the guided filter, about the width of a photograph's blurred edges
COARSEST = 8  # pixels of radius that are kept where slopes are worked out at a coarser size
LEAK = 0.08  # share of the guided filter's answer that bleeds from the other side; chosen by eye
EPSILON = 2e-4  # guided filter: variance of colour (0..1) below which a window counts as flat


class NothingFound(ControlError):
    """A box or strokes in which no object stands out."""


def select(
    picture: Bytes,
    box: tuple[float, float, float, float] | None,
    strokes: Sequence[Stroke],
    check: Callable[[], None] = lambda: None,
) -> Floats:
    """Soft mask float32 [H, W] of the object in a picture uint8 [H, W, 3] that a box or strokes (shares) mark.

    Erasing strokes take away. Graph cuts vote (segment.py); the edge comes from a guided filter (He et al. 2010) at
    full size. check: called between cuts, may raise to cancel. Raises NothingFound, or ControlError where nothing is
    marked.
    """
    height, width = picture.shape[:2]
    drawn = [s for s in strokes if not s.erase]
    if box is None and not drawn:
        raise ControlError("nothing is marked: draw a box around the object, paint over it, or click on it")
    x0, y0, x1, y1 = _window(box, drawn, width, height)
    crop = picture[y0:y1, x0:x1]
    scale = min(1.0, FINE / max(crop.shape[:2]))
    small = resized_bytes(crop, max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale)))
    shape = (small.shape[0], small.shape[1])
    place = _Placement(x0, y0, small.shape[1] / crop.shape[1], small.shape[0] / crop.shape[0], width, height)
    add, erase = place.painted(drawn, shape), place.painted([s for s in strokes if s.erase], shape)
    small = np.ascontiguousarray(small)

    def found_by(likely: Floats, outside: Bools) -> Bools:
        return _main_pieces((segmented(small, likely, outside | erase, add & ~erase, check) | add) & ~erase, add)

    if box is None:
        reach = max(STROKE_REACH * _extent(drawn), CLICK_REACH)
        found = found_by(*place_near(add, reach * width * place.sx))
        if reach == CLICK_REACH and found.sum() < GROWN * add.sum():
            found = found_by(*place_near(add, FURTHER * reach * width * place.sx))
    else:
        found = found_by(*place_in_box(shape, (*place.at(*box[:2]), *place.at(*box[2:]))))
    if found.sum() < MIN_AREA * min(1.0, scale * scale) or found.all():
        what = "all of it looks alike" if found.any() else "nothing in it differs from what is around"
        raise NothingFound(
            f"no object stands out where you marked ({what}): paint over the object with a brush stroke, "
            "or draw the box a little larger than the object"
        )
    check()
    hard = resized(found.astype(np.float32), crop.shape[1], crop.shape[0])
    alpha = soften(crop, hard, max(2, round(RADIUS * width)))
    check()
    big = _Placement(x0, y0, 1.0, 1.0, width, height)
    size = (crop.shape[0], crop.shape[1])
    alpha[big.painted(drawn, size)] = 1.0
    alpha[big.painted([s for s in strokes if s.erase], size)] = 0.0
    mask = np.zeros((height, width), np.float32)
    mask[y0:y1, x0:x1] = alpha
    return mask


def picture_objects(
    picture: Bytes, selection: Selection, check: Callable[[], None] = lambda: None
) -> tuple[PictureObject, ...]:
    """The marked objects of a picture uint8 [H, W, 3], each with its mask. check: called between cuts, may raise
    to cancel. Raises ControlError naming the object.
    """

    def one(marked: Marked) -> PictureObject:
        check()
        return _selected(picture, marked, check)

    return tuple(one(marked) for marked in selection.objects)


def doubts(picture: Bytes, selection: Selection, objects: Sequence[PictureObject]) -> list[str]:
    """Remarks on objects of a picture uint8 [H, W, 3] that fill little of their box, as of a cat's head only the eyes,
    or that go on beyond it.
    """
    remarks: list[str] = []
    for marked, found in zip(selection.objects, objects, strict=True):
        if marked.box is None or any(not s.erase for s in marked.strokes):
            continue
        cut = _cut_off(picture, found.mask > 0.5, marked.box)
        if cut:
            remarks.append(
                f"{marked.name!r} seems to go on beyond the {' and '.join(cut)} of its box, where it is cut off: draw "
                "the box a little larger than the object"
            )
        sides = np.clip(marked.box[2:], 0, 1) - np.clip(marked.box[:2], 0, 1)
        share = float((found.mask > 0.5).mean() / sides.prod())
        if share < LITTLE:
            remarks.append(
                f"only {share:.0%} of the box around {marked.name!r} is taken: if the outline misses parts, paint over "
                "them; if the box is wide, all is well"
            )
    return remarks


def _cut_off(picture: Bytes, mask: Bools, box: tuple[float, float, float, float]) -> list[str]:
    """The sides of a box (shares of the picture) on which what a mask [H, W] takes looks alike within and beyond."""
    height, width = mask.shape
    x0, y0, x1, y1 = np.round(np.array(box) * (width, height, width, height)).astype(int)
    step = max(2, round(BEYOND * width))
    upright = np.transpose(mask), np.swapaxes(picture, 0, 1), slice(max(0, y0), y1)
    level = mask, picture, slice(max(0, x0), x1)
    sides = [("left", x0, 1, upright), ("right", x1 - 1, -1, upright)]
    sides += [("top", y0, 1, level), ("bottom", y1 - 1, -1, level)]
    found: list[str] = []
    for name, at, inwards, (taken, colours, along) in sides:
        inside, outside = at + inwards * step, at - inwards * step
        if min(inside, outside) >= 0 and max(inside, outside) < len(taken):
            differs = np.abs(colours[inside, along].astype(np.float32) - colours[outside, along]).mean(-1)
            if (taken[inside, along] & (differs < ALIKE)).mean() > CUT:
                found.append(name)
    return found


def soften(picture: Bytes, mask: Floats, radius: int) -> Floats:
    """A hard mask [h, w] follows the edges of a picture uint8 [h, w, 3] softly: guided filter with colour as guide.

    Only within `radius` of the mask's edge; float32 in 0..1. Source: He, Sun, Tang, "Guided image filtering" (2010).
    """
    solid = mask > 0.5
    inner, outer = eroded(solid, radius), dilated(solid, radius)
    rows, columns = (np.flatnonzero((outer & ~inner).any(axis)) for axis in (1, 0))
    alpha = solid.astype(np.float32)
    if not len(rows):
        return alpha
    # Only surroundings of the edge are worked on: what the filter's two windows reach from there.
    top, left = max(0, int(rows[0]) - 2 * radius), max(0, int(columns[0]) - 2 * radius)
    part = slice(top, int(rows[-1]) + 2 * radius + 1), slice(left, int(columns[-1]) + 2 * radius + 1)
    inner, outer = inner[part], outer[part]
    alpha[part] = np.where(inner, 1, np.where(outer, _guided(picture[part], mask[part], radius), 0))
    return alpha


def _guided(picture: Bytes, mask: Floats, radius: int) -> Floats:
    """The guided filter's answer, its slopes worked out at a coarser size where the radius allows (He and Sun 2015)."""
    height, width = mask.shape
    coarser = max(1, radius // COARSEST)
    size = max(2, round(width / coarser)), max(2, round(height / coarser))
    guide = resized_bytes(picture, *size).astype(np.float32) / 255
    hard = resized(mask.astype(np.float32), *size)
    radius = max(1, round(radius / coarser))
    average, level = box_mean(guide, radius), box_mean(hard, radius)
    covariance = np.stack([box_mean(guide * guide[..., i, None], radius) for i in range(3)], -2)
    covariance -= average[..., :, None] * average[..., None, :]
    covariance += EPSILON * np.eye(3, dtype=np.float32)
    cross = box_mean(guide * hard[..., None], radius) - average * level[..., None]
    # Where a window sees one side alone the slope is 0.
    some = np.abs(level - 0.5) < 0.5 - 1e-6
    slope = np.zeros_like(guide)
    slope[some] = np.linalg.solve(covariance[some], cross[some][..., None])[..., 0]
    offset = level - (slope * average).sum(-1)
    slope, offset = resized(box_mean(slope, radius), width, height), resized(box_mean(offset, radius), width, height)
    alpha = np.einsum("ijk,ijk->ij", slope, picture, dtype=np.float32) / 255 + offset
    # The filter leaks a few percent into both sides; they are cut off, and the rest is stretched over 0..1.
    return np.clip((alpha - LEAK) / (1 - 2 * LEAK), 0, 1).astype(np.float32)


class _Placement:
    """Where shares of the picture lie in a crop that begins at (x0, y0) and is scaled by (sx, sy)."""

    def __init__(self, x0: int, y0: int, sx: float, sy: float, width: int, height: int) -> None:
        self.x0, self.y0, self.sx, self.sy, self.width, self.height = x0, y0, sx, sy, width, height

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (x * self.width - self.x0) * self.sx, (y * self.height - self.y0) * self.sy

    def painted(self, strokes: Sequence[Stroke], shape: tuple[int, int]) -> Bools:
        import cv2

        canvas = np.zeros(shape, np.uint8)
        for stroke in strokes:
            points = np.array([self.at(x, y) for x, y in stroke.points]) - 0.5
            path = np.round(points).astype(np.int32)
            diameter = max(1, round(stroke.size * self.width * self.sx))
            for start, end in zip(path[:-1], path[1:], strict=True):
                cv2.line(canvas, start.tolist(), end.tolist(), (1.0,), diameter)
            for point in (path[0], path[-1]):
                cv2.circle(canvas, point.tolist(), diameter // 2, (1.0,), -1)
        return canvas > 0


def _selected(picture: Bytes, marked: Marked, check: Callable[[], None]) -> PictureObject:
    try:
        mask = select(picture, marked.box, marked.strokes, check)
    except ControlError as e:
        raise type(e)(f"{marked.name}: {e}") from e
    return PictureObject(
        mask=mask, name=marked.name, material=marked.material, fixed=marked.fixed, thickness=marked.thickness
    )


def _window(
    box: tuple[float, float, float, float] | None, strokes: Sequence[Stroke], width: int, height: int
) -> tuple[int, int, int, int]:
    """Pixels of the picture that the cuts see: what is marked, and background around it."""
    points = np.array([p for s in strokes for p in s.points] or [(0.5, 0.5)])
    if box is not None:
        low, high = np.array(box[:2]), np.array(box[2:])
        margin = BOX_MARGIN * (high - low)
        if strokes:
            low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    else:
        low, high = points.min(0), points.max(0)
        shape = np.array([1.0, width / height])
        margin = max(STROKE_MARGIN * _extent(strokes), CLICK_MARGIN) * shape
    low, high = np.clip(low - margin, 0, 1), np.clip(high + margin, 0, 1)
    size = np.array([width, height])
    (x0, y0), (x1, y1) = np.floor(low * size).astype(int), np.ceil(high * size).astype(int)
    return min(int(x0), width - 2), min(int(y0), height - 2), max(int(x1), int(x0) + 2), max(int(y1), int(y0) + 2)


def _extent(strokes: Sequence[Stroke]) -> float:
    """The longer side of what strokes cover, in shares of the picture."""
    return float(np.ptp([p for s in strokes for p in s.points], axis=0).max())


def _main_pieces(mask: Bools, seeds: Bools) -> Bools:
    """Without specks: pieces that a stroke touches, or, without strokes, those that are not small. Pinholes close."""
    solid = dilated(eroded(mask, 1), 1) & mask
    labels, areas = pieces(solid | (mask & seeds) if solid.any() else mask)
    touched = np.unique(labels[seeds & (labels > 0)])
    keep = areas >= max(1, SMALL_PIECE * int(areas.max()))
    if len(touched):
        keep = np.isin(np.arange(len(areas)), touched)
    keep[0] = False
    kept = keep[labels]
    holes, areas = pieces(~kept, diagonal=False)
    pinhole = areas < PINHOLE * int(kept.sum())
    pinhole[0] = False
    return kept | pinhole[holes]
