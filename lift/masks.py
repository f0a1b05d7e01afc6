"""The masks of a picture's objects: checked, softened, and told apart where they overlap, touch or hide each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..world.scene import MATERIALS, SceneError
from .images import convex_hull, dilated, eroded, painted, pieces
from .objects import PictureObject
from .select import RADIUS, soften

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..world.arrays import Bools, Bytes, Floats

MIN_AREA = 12  # pixels
WHOLE = 0.98  # share of the picture that objects may cover: beyond, no ground and no backdrop is left to see
BORDER, EACH = 0.75, 0.3  # shares of the picture's border, and of each edge, that a mask of what is around a thing has
APART, PIECE = 0.01, 0.1  # picture widths between things apart; share of the largest thing that another one must have
OPAQUE = 0.5
TRUSTED = 0.9  # share of a mask that its softened form must keep
INSIDE = 0.6  # share of a foot within the outline of another object from which it is taken to stand on or before it
OVERLAP = 0.02  # share of the smaller mask from which an overlap is worth a remark
UNDER = 0.012  # picture heights under a foot in which what carries it is looked for
CARRIES = 0.4  # share of the pixels under a foot that show what carries it
CONVEX = 0.85  # share of its convex hull that an object must fill before its hidden part is completed by the hull
BOXED = 0.99  # share of its bounding box that an upright box fills, with what hides it; a disc fills .79


@dataclass(frozen=True, eq=False)
class Layer:
    """An object's own pixels. seen [H, W]: its alpha in the picture. whole [H, W]: also what others hide of it.

    on: number of the layer that it stands on, None: the ground. edges: of the picture's border that it touches.
    """

    object: PictureObject
    seen: Floats
    whole: Floats
    on: int | None
    edges: tuple[str, ...]

    @property
    def foot(self) -> int:
        """Row below its lowest pixel."""
        return _foot(self.seen)

    @property
    def across(self) -> Bools:
        """Columns [W] in which it is."""
        return np.asarray((self.whole > 0).any(0))


def checked(picture: Bytes, objects: Sequence[PictureObject]) -> tuple[list[tuple[PictureObject, Floats]], list[str]]:
    """The objects of a picture uint8 [H, W, 3] with soft masks, and remarks on those that are left out.

    Raises SceneError where nothing is masked, a mask has another size or other values or is of what is around an
    object, two have one name, or nothing but objects is left of the picture.
    """
    remarks: list[str] = []
    kept: list[tuple[PictureObject, Floats]] = []
    for found in objects:
        mask = _checked(found, picture)
        area = float(mask.sum())
        if area < MIN_AREA:
            remarks.append(f"{found.name!r} covers {area:.0f} pixels; under {MIN_AREA} it is left out")
            continue
        if _surrounds(mask):
            raise SceneError(
                f"the mask of {found.name!r} covers {mask.mean():.0%} of the picture and all its edges: it is of what "
                "is around an object; invert it (the MASK of Load Image is 1 where a picture is transparent)"
            )
        kept.append((found, _softened(picture, mask)))
    names = [found.name for found, _ in kept]
    if not kept:
        raise SceneError(
            f"nothing is masked in the picture ({len(objects)} objects, none with {MIN_AREA} pixels or more): "
            "draw a box around an object, paint over it, or wire a MASK"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SceneError(f"two objects are named {twice!r}; expected a name of its own for each")
    covered = float(np.max([mask for _, mask in kept], axis=0).mean())
    if covered > WHOLE:
        raise SceneError(
            f"the masks cover {covered:.1%} of the picture; expected something else to be seen around the objects: "
            "mask less, or wire a picture with room around them"
        )
    return kept, remarks


def layers(
    masks: list[tuple[PictureObject, Floats]], remarks: list[str], nearness: Floats | None = None
) -> tuple[Layer, ...]:
    """Layers of checked masks, nearest first; what is unusual is added to the remarks.

    nearness [H, W]: larger is nearer; without it, the lower foot is nearer.
    """
    return _told_apart(_nearest_first(masks, nearness), remarks)


def _nearest_first(
    kept: list[tuple[PictureObject, Floats]], nearness: Floats | None
) -> list[tuple[PictureObject, Floats]]:
    """By nearness; but what stands on another is as near as that, and what lies inside its mask is before it."""
    masks = [mask for _, mask in kept]
    on = [_carrier(i, masks) for i in range(len(masks))]
    near = [_near(mask, nearness) for mask in masks]
    for _ in masks if nearness is None else ():  # piles, from their lowest upwards
        near = [n if (j := on[i]) is None else max(n, near[j]) for i, n in enumerate(near)]
    left = [kept[i] for i in sorted(range(len(kept)), key=lambda i: -near[i])]
    out: list[tuple[PictureObject, Floats]] = []
    while left:
        inner = (
            pair
            for pair in left
            if not any(_inside(other[1], pair[1]) and not _inside(pair[1], other[1]) for other in left)
        )
        chosen = next(inner, left[0])
        left = [pair for pair in left if pair is not chosen]
        out.append(chosen)
    return out


def _inside(mask: Floats, other: Floats) -> bool:
    """Whether a mask's foot lies within the outline of another, as a cup's on its saucer."""
    foot = _foot(mask)
    solid = mask >= min(OPAQUE, float(mask.max()))
    columns = np.flatnonzero(solid[max(0, foot - 2) : foot].any(0))
    hull = _hull(other)
    return bool(foot < len(mask) and hull[foot, columns].mean() > INSIDE)


def _hull(mask: Floats) -> Bools:
    rows, columns = np.nonzero(mask >= min(OPAQUE, float(mask.max())))
    return painted(convex_hull(np.stack((columns, rows), -1) + 0.5), mask.shape[1], mask.shape[0])


def _told_apart(kept: list[tuple[PictureObject, Floats]], remarks: list[str]) -> tuple[Layer, ...]:
    """The one in front keeps the pixels that two share."""
    seen: list[Floats] = []
    for i, (found, mask) in enumerate(kept):
        own = mask
        for j in range(i):
            shared = float(np.minimum(mask, kept[j][1]).sum())
            if shared > OVERLAP * min(float(mask.sum()), float(kept[j][1].sum())):
                remarks.append(
                    f"{found.name!r} and {kept[j][0].name!r} overlap: the pixels stay with the latter, in front"
                )
            own = own * (1 - kept[j][1])
        if own.sum() < MIN_AREA:
            raise SceneError(f"{found.name!r} is hidden by other objects; expected a mask with pixels of its own")
        seen.append(own)
    on = [_carrier(i, seen) for i in range(len(seen))]
    out: list[Layer] = []
    for i, (found, _) in enumerate(kept):
        edges = _edges(seen[i])
        if edges:
            remarks.append(
                f"{found.name!r} touches the picture's {' and '.join(edges)} edge: what lies beyond is not known"
            )
        front = [j for j in range(len(seen)) if j != i and (on[j] == i or (j < i and on[i] != j))]
        whole = _completed(seen[i], [seen[j] for j in front])
        things = _things(whole)
        if things > 1:
            remarks.append(
                f"{found.name!r} is {things} things apart, which move as one body: mask each by itself to move it alone"
            )
        out.append(Layer(found, seen[i], whole, on[i], edges))
    return tuple(out)


def _checked(found: PictureObject, picture: Bytes) -> Floats:
    mask = np.asarray(found.mask, np.float32)
    height, width = picture.shape[:2]
    if mask.shape != (height, width):
        raise SceneError(
            f"the mask of {found.name!r} is {list(mask.shape)}; expected [{height}, {width}], the picture's own size"
        )
    low, high = (float(mask.min()), float(mask.max())) if np.isfinite(mask).all() else (float("nan"), float("nan"))
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise SceneError(f"the mask of {found.name!r} has values {low:.3g} to {high:.3g}; expected 0 to 1")
    if found.material not in MATERIALS:
        raise SceneError(f"{found.name!r} is of {found.material!r}; expected one of {', '.join(MATERIALS)}")
    if found.thickness is not None and not 0 < found.thickness < float("inf"):
        raise SceneError(f"{found.name!r} is {found.thickness:g} m thick; expected more than 0")
    return np.clip(mask, 0, 1)


def _softened(picture: Bytes, mask: Floats) -> Floats:
    """A mask of zeros and ones gets the soft edge that the picture shows."""
    if not np.isin(mask, (0, 1)).all():
        return np.where(mask < 1 / 255, np.float32(0), mask)
    soft = soften(picture, mask, max(2, round(RADIUS * picture.shape[1] / 2)))
    # Where nothing in the picture shows an edge, or the object is a hair's width, the mask stays as it was given.
    return soft if np.minimum(soft, mask).sum() > TRUSTED * mask.sum() else mask


def _near(mask: Floats, nearness: Floats | None) -> float:
    return float(_foot(mask)) if nearness is None else float(np.median(nearness[mask >= min(OPAQUE, mask.max())]))


def _foot(mask: Floats) -> int:
    return int(np.flatnonzero((mask >= min(OPAQUE, float(mask.max()))).any(1))[-1]) + 1


def _carrier(i: int, seen: list[Floats]) -> int | None:
    """The layer that shows right under layer i's foot and is wider than the foot; None: none is."""
    mask = seen[i] >= min(OPAQUE, float(seen[i].max()))
    height = mask.shape[0]
    foot = _foot(seen[i])
    reach = max(3, round(UNDER * height))
    columns = np.flatnonzero(mask[max(0, foot - reach) : foot].any(0))
    under = slice(foot, min(height, foot + reach))
    for j, other in enumerate(seen):
        if j != i and foot < height and (other[under][:, columns] > OPAQUE).mean() > CARRIES and _foot(other) > foot:
            across = np.flatnonzero((other > OPAQUE).any(0))
            if across[0] <= columns.mean() <= across[-1]:
                return j
    return None


def _completed(seen: Floats, front: list[Floats]) -> Floats:
    """An upright box's or a nearly convex object's alpha, continued behind what hides it."""
    if not front:
        return seen
    allowed = np.maximum(seen, np.minimum(1, seen + np.max(front, axis=0)))
    rows, columns = np.nonzero(seen >= min(OPAQUE, float(seen.max())))
    box = np.zeros(seen.shape, bool)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    for outline, filled in ((box, BOXED), (_hull(seen), CONVEX)):
        if (allowed[outline] > OPAQUE).mean() >= filled:
            return np.where(outline, allowed, seen)
    return seen


def _surrounds(mask: Floats) -> bool:
    """Whether a mask is of what surrounds an object, as that of a cut-out's transparency is; specks do not count."""
    solid = eroded(mask > OPAQUE, 2)
    edges = [solid[0], solid[-1], solid[:, 0], solid[:, -1]]
    return bool(not solid.all() and np.concatenate(edges).mean() > BORDER and min(e.mean() for e in edges) > EACH)


def _things(mask: Floats) -> int:
    """How many things apart from each other a mask shows; specks count as none."""
    solid = mask >= min(OPAQUE, float(mask.max()))
    labels, _ = pieces(dilated(solid, round(APART / 2 * mask.shape[1])))
    areas = np.bincount(labels[solid])
    return int((areas >= PIECE * areas.max()).sum())


def _edges(mask: Floats) -> tuple[str, ...]:
    rims = {"top": mask[0], "bottom": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
    return tuple(name for name, rim in rims.items() if (rim > OPAQUE).any())
