"""What is wired into Scene From Picture becomes a scene: masks with names, marked objects, depth, all of one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..control.pictures import as_masks, as_pictures, cover
from ..world.engine import import_ahead
from ..world.scene import MATERIALS, SceneError
from .objects import PictureObject, Selection
from .scene import Lifted, scene_from_picture
from .select import doubts, picture_objects

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1920  # pixels of a side: what is larger is reduced; videos are seldom larger


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """A picture IMAGE [1, H, W, 3] and what is known of it: marked objects, MASK [N, H, W] with names ("cup: glass,
    plate"), depth IMAGE [1, H, W, 3] (metres, or inverse without a scale), the field of view, a plate IMAGE.
    """

    image: Tensor
    selection: Selection = Selection()
    masks: Tensor | None = None
    names: str = ""
    depth: Tensor | None = None
    depth_in_metres: bool = False
    fov_deg: float | None = None
    plate: Tensor | None = None


def lift(given: Given, check: Callable[[], None] = lambda: None) -> Lifted:
    """The scene of a picture. check: called between the steps of the work, may raise to cancel. Raises SceneError,
    PictureError or ControlError for what cannot be used.
    """
    import_ahead()
    image, remarks = as_pictures(given.image, "image")
    if len(image) != 1:
        raise SceneError(f"image holds {len(image)} pictures; expected one: choose it with ImageFromBatch")
    height, width = image.shape[1:3]
    scale = min(1.0, LARGEST / max(height, width))
    size = (round(width * scale), round(height * scale))
    if scale < 1:
        remarks.append(f"the picture of {width}x{height} pixels was reduced to {size[0]}x{size[1]}")
    picture = cover(image, *size)
    pixels = (picture[0] * 255).round().byte().numpy()
    marked = picture_objects(pixels, given.selection, check)
    remarks += doubts(pixels, given.selection, marked)
    found = (*marked, *_masked(given, (width, height), size))
    lifted = scene_from_picture(
        picture[0],
        found,
        depth=given.depth,
        reading="metres" if given.depth_in_metres else "inverse",
        fov_deg=given.fov_deg,
        ground=given.selection.ground,
        light=given.selection.light,
        plate=None if given.plate is None else _alike(given.plate, "plate", (width, height), size),
        check=check,
    )
    return replace(lifted, remarks=(*remarks, *lifted.remarks))


def _alike(image: Tensor, name: str, expected: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A companion [H, W, 3] of the picture, reduced as it is. Raises SceneError for another size."""
    pictures, _ = as_pictures(image, name)
    found = (pictures.shape[2], pictures.shape[1])
    if found not in (expected, size) or len(pictures) != 1:
        raise SceneError(
            f"{name} holds {len(pictures)} of {found[0]}x{found[1]} pixels; expected one of "
            f"{expected[0]}x{expected[1]}, the picture's own size"
        )
    return cover(pictures, *size)[0]


def _masked(given: Given, expected: tuple[int, int], size: tuple[int, int]) -> tuple[PictureObject, ...]:
    """An object for each mask."""
    from torch.nn.functional import interpolate

    if given.masks is None:
        if given.names.strip():
            raise SceneError(
                f"names ({given.names.strip()}) are of masks, and none are connected; clear one of the two"
            )
        return ()
    masks = as_masks(given.masks, "masks", "0 (not the object) to 1 (the object)")
    found = (masks.shape[2], masks.shape[1])
    if found not in (expected, size):
        empty = "; they are empty: Load Image gives such a MASK where a picture has no transparency"
        raise SceneError(
            f"masks are {found[0]}x{found[1]} pixels; expected {expected[0]}x{expected[1]}, the picture's own size"
            f"{'' if masks.any() else empty}"
        )
    if found != size:
        masks = interpolate(masks[None], (size[1], size[0]), mode="area")[0]
    names = [part.strip() for part in given.names.split(",")] if given.names.strip() else []
    if names and len(names) != len(masks):
        raise SceneError(f"{len(names)} names ({', '.join(names)}) for {len(masks)} masks; expected a name for each")
    taken = {marked.name for marked in given.selection.objects}
    objects: list[PictureObject] = []
    for i, mask in enumerate(masks):
        name, _, material = names[i].partition(":") if names else (f"object {i + 1}", "", "")
        name, material = name.strip(), material.strip()
        if material and material not in MATERIALS:
            raise SceneError(f"names: no material is named {material!r}; there are {', '.join(MATERIALS)}")
        if not name or name in taken:
            raise SceneError(f"names: {name!r} for mask {i + 1}; expected a name of its own for each object")
        taken.add(name)
        pixels = mask.numpy()
        objects.append(
            PictureObject(mask=pixels, name=name, material=material)
            if material
            else PictureObject(mask=pixels, name=name)
        )
    return tuple(objects)
