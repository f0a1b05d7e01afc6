"""A picture with masks becomes a scene: bodies that stand on the ground before a plate, under a guessed camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..control.pictures import as_pictures
from ..world.scene import MATERIALS, Body, Plane, Plate, Projected, Scene, SceneError
from .body import Form, form
from .camera import Camera, camera_over_ground
from .cutout import cut_out
from .images import dilated
from .light import light_of
from .masks import Layer, layers
from .objects import GroundHint, LightHint, PictureObject
from .plate import filled

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.arrays import Bytes, Floats

RIM = 0.006  # picture widths around a body that are filled too: they hold its blur
FARTHEST = 60.0  # camera heights: a foot nearer to the horizon than this stands too far away to tell
MIN_GAP = 1e-3  # metres by which bodies that stand on each other are apart at the start


@dataclass(frozen=True, eq=False)
class Lifted:
    """A scene, what was guessed or is unusual, and the masks [N, H, W] of its bodies as the picture shows them."""

    scene: Scene
    remarks: tuple[str, ...]
    masks: Floats


def scene_from_picture(
    picture: Tensor | Floats,
    objects: Sequence[PictureObject],
    *,
    ground: GroundHint | None = None,
    light: LightHint | None = None,
    plate: Tensor | Floats | None = None,
) -> Lifted:
    """The scene of a picture [H, W, 3] in 0..1 and the objects masked in it, at rest as the picture shows them.

    plate: the picture without the objects; None: it is filled. Raises SceneError or PictureError where something
    cannot be used.
    """
    image = _bytes(picture, "the picture")
    parts, remarks = layers(image, objects)
    camera = camera_over_ground(image, [part.seen > 0.5 for part in parts], ground)
    remarks = [*camera.remarks, *remarks]
    forms = _forms(parts, camera, remarks)
    hole = dilated(np.max([part.seen for part in parts], axis=0) > 0, max(2, round(RIM * image.shape[1])))
    behind = filled(image, hole) if plate is None else _same_size(_bytes(plate, "the plate"), image)
    bodies = tuple(
        Body(
            name=part.object.name,
            shapes=shape.shapes,
            position=(float(shape.origin[0]), float(shape.origin[1]), float(shape.origin[2])),
            material=MATERIALS[part.object.material],
            appearance=Projected(_cut_out(image, part, parts, behind), camera.view),
            surface=shape.surface,
            fixed=part.object.fixed,
        )
        for part, shape in zip(parts, forms, strict=True)
    )
    scene = Scene(
        bodies=bodies,
        view=camera.view,
        width=camera.width,
        height=camera.height,
        ground=Plane(),
        plate=Plate(behind, image, hole),
        light=light_of(image, [part.seen for part in parts], light),
    )
    return Lifted(scene, tuple(remarks), np.stack([part.seen for part in parts]))


def _forms(parts: tuple[Layer, ...], camera: Camera, remarks: list[str]) -> list[Form]:
    """The form of each layer; what carries another comes before it."""
    forms: dict[int, Form] = {}
    while len(forms) < len(parts):
        ready = [i for i, part in enumerate(parts) if i not in forms and (part.on is None or part.on in forms)]
        # Two layers that would carry each other, as interlocked things can: the nearer one stands on the ground.
        i = ready[0] if ready else next(i for i in range(len(parts)) if i not in forms)
        part = parts[i]
        carrier = forms.get(part.on) if part.on is not None else None
        level = 0.0 if carrier is None else _top_under(part, carrier, camera)
        forms[i] = _stood(part, camera, level, forms, remarks)
        if carrier is not None and part.on is not None:
            remarks.append(f"{part.object.name!r} stands on {parts[part.on].object.name!r}")
    return [forms[i] for i in range(len(parts))]


def _stood(part: Layer, camera: Camera, level: float, forms: dict[int, Form], remarks: list[str]) -> Form:
    thickness = part.object.thickness
    rows, columns = np.nonzero(part.whole > 0)
    foot = np.array([columns[rows == rows.max()].mean() + 0.5, rows.max() + 1.0])
    reached = float(camera.on_ground(foot, level))
    if np.isfinite(reached) and reached < FARTHEST * camera.eye[2]:
        return form(part.whole, camera, level, None, thickness, None)
    others = [float((f.origin - camera.eye) @ camera.view.c2w[:3, 2]) for f in forms.values()]
    middle_row = np.array([camera.width / 2, 0.75 * camera.height])
    distance = min(float(np.median(others)) if others else float(camera.on_ground(middle_row)), 20 * camera.eye[2])
    shape = form(part.whole, camera, level, distance, thickness, None)
    if not part.object.fixed:
        remarks.append(
            f"{part.object.name!r} stands on nothing that is seen: it floats {shape.lowest:.2g} m over the ground, "
            "and falls unless it is fixed"
        )
    return shape


def _top_under(part: Layer, carrier: Form, camera: Camera) -> float:
    """Height of the carrier's part whose top is nearest to where the foot is seen."""
    tops = [
        carrier.origin[2] + (s.position[2] + s.size[0] if s.vertices is None else float(s.vertices[:, 2].max()))
        for s in carrier.shapes
    ]
    columns = np.flatnonzero(part.seen[part.foot - 1] > 0.5)
    ray = camera.rays(np.array([columns.mean() + 0.5 if len(columns) else camera.width / 2, float(part.foot)]))
    forward = camera.view.c2w[:3, 2]
    seen = camera.eye[2] + ray[2] * float((carrier.origin - camera.eye) @ forward)
    return min(tops, key=lambda top: abs(top - seen)) + MIN_GAP


def _cut_out(image: Bytes, part: Layer, parts: tuple[Layer, ...], behind: Bytes) -> Bytes:
    """The layer's RGBA; where others hide it, its own colours are continued."""
    hidden = dilated((part.whole - part.seen) > 0.02, 2)
    if not hidden.any():
        return cut_out(image, part.seen, behind)
    others = np.max([p.seen for p in parts if p is not part], axis=0) > 0
    unknown = (dilated(others, 2) | (part.seen < 0.9)) & (dilated(hidden, 2) | (part.seen < 0.9))
    own = filled(image, unknown)
    return cut_out(np.where(hidden[..., None], own, image), part.whole, behind)


def _bytes(picture: Tensor | Floats, name: str) -> Bytes:
    """uint8 [H, W, 3] of a picture [H, W, 3] or an IMAGE [1, H, W, 3] in 0..1."""
    import torch

    values = torch.as_tensor(picture)
    values = values[None] if values.ndim == 3 else values
    if values.dtype == torch.uint8:
        values = values.float() / 255
    pictures, _ = as_pictures(values, name)
    if len(pictures) != 1:
        raise SceneError(f"{name} holds {len(pictures)} pictures; expected one")
    return (pictures[0] * 255).round().to(torch.uint8).numpy()


def _same_size(plate: Bytes, image: Bytes) -> Bytes:
    if plate.shape != image.shape:
        (h, w), (height, width) = plate.shape[:2], image.shape[:2]
        raise SceneError(f"the plate is {w}x{h}; expected {width}x{height}, the picture's own size")
    return plate
