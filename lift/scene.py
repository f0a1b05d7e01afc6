"""A picture with masks becomes a scene: bodies that stand on the ground before a plate, under a guessed camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..control.pictures import as_pictures
from ..geometry.camera_numpy import focal_length
from ..world.scene import MATERIALS, Body, Plane, Plate, Projected, Scene, SceneError, View
from .behind import filled_behind, hole_of
from .body import Form, form
from .camera import LOW_GROUND, Camera, camera_over_ground
from .cutout import over, projected
from .depth import Reading, bulges, camera_over_depth
from .images import dilated, eroded, foot
from .light import light_of
from .masks import Layer, checked, layers
from .membrane import membrane
from .objects import GroundHint, LightHint, PictureObject
from .plate import filled

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.arrays import Bools, Bytes, Floats

FARTHEST = 60.0  # camera heights: a foot nearer to the horizon than this stands too far away to tell
FOOT_BAND = 0.12  # share of an object's height in which the depth of its foot, and of its top, is looked at
STANDS = 0.15  # relative difference between a foot's depth and the ground's there up to which it stands on the ground
CLEAR = 0.9  # share of the way to what it hides that a guessed thickness may take
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
    depth: Tensor | Floats | None = None,
    reading: Reading = "auto",
    fov_deg: float | None = None,
    ground: GroundHint | None = None,
    light: LightHint | None = None,
    plate: Tensor | Floats | None = None,
    check: Callable[[], None] = lambda: None,
) -> Lifted:
    """The scene of a picture [H, W, 3] in 0..1 and the objects masked in it, at rest as the picture shows them.

    depth [h, w] of the picture, metres or inverse (see depth.py), and fov_deg, its vertical field of view: what a
    network says. plate: the picture without the objects; None: it is filled. check: may raise to cancel.
    Raises SceneError or PictureError where something cannot be used.
    """
    image = _bytes(picture, "the picture")
    check()
    masks, small = checked(image, objects)
    solid = [mask >= min(0.5, float(mask.max())) for _, mask in masks]
    check()
    if depth is None:
        sounded = None
        camera = camera_over_ground(image, solid, ground, fov_deg)
        remarks = [*camera.remarks, *small]
    else:
        sounded = camera_over_depth(depth, solid, ground, fov_deg, reading)
        camera = sounded.camera
        remarks = [*sounded.remarks, *small]
    check()
    parts = layers(masks, remarks, None if sounded is None else 1 / sounded.metres)
    check()
    leaves = [part.on is None and not part.object.fixed for part in parts]
    hole = hole_of(image, [part.seen > 0 for part in parts], leaves)
    if hole.all():
        raise SceneError(
            "with their rims the masks leave no pixel from which to fill what they hide: mask less, without specks"
        )
    check()
    # Filling takes longest of all; forms are found beside it.
    with ThreadPoolExecutor(1, "vdit-plate") as aside:
        given = None if plate is None else _same_size(_bytes(plate, "the plate"), image)
        fill = lambda: filled_behind(image, hole, camera, check) if given is None else given  # noqa: E731
        filling = aside.submit(copy_context().run, fill)
        forms = _forms(parts, camera, None if sounded is None else sounded.metres, remarks)
        behind = filling.result()
    check()
    looks = _looks(image, parts, behind, camera.view)
    bodies = tuple(
        Body(
            name=part.object.name,
            shapes=shape.shapes,
            position=(float(shape.origin[0]), float(shape.origin[1]), float(shape.origin[2])),
            material=MATERIALS[part.object.material],
            appearance=look,
            surface=shape.surface,
            fixed=part.object.fixed,
        )
        for part, shape, look in zip(parts, forms, looks, strict=True)
    )
    scene = Scene(
        bodies=bodies,
        view=camera.view,
        width=camera.width,
        height=camera.height,
        ground=Plane(),
        plate=Plate(behind, image, hole, None if sounded is None else _depth_behind(sounded.metres, hole)),
        light=light_of(image, [part.seen for part in parts], light),
    )
    return Lifted(scene, tuple(remarks), np.stack([part.seen for part in parts]))


def _depth_behind(metres: Floats, hole: Bools) -> Floats:
    """Metres [H, W] without the bodies: inverse depth, which is linear on planes, continued into the hole."""
    return (1 / membrane((1 / metres)[..., None], dilated(hole, 2))[..., 0]).astype(np.float32)


def _forms(parts: tuple[Layer, ...], camera: Camera, metres: Floats | None, remarks: list[str]) -> list[Form]:
    """The form of each layer; what carries another comes before it."""
    forms: dict[int, Form] = {}
    while len(forms) < len(parts):
        ready = [i for i, part in enumerate(parts) if i not in forms and (part.on is None or part.on in forms)]
        # Two layers that would carry each other, as interlocked things can: the nearer one stands on the ground.
        i = ready[0] if ready else next(i for i in range(len(parts)) if i not in forms)
        part = parts[i]
        carrier = forms.get(part.on) if part.on is not None else None
        level = 0.0 if carrier is None else _top_under(part, carrier, camera)
        forms[i] = _stood(part, camera, level, metres, forms, remarks, _room(i, parts, camera, level))
        if carrier is not None and part.on is not None:
            remarks.append(f"{part.object.name!r} stands on {parts[part.on].object.name!r}")
    return [forms[i] for i in range(len(parts))]


def _room(i: int, parts: tuple[Layer, ...], camera: Camera, level: float) -> float:
    """Metres from a layer's foot to the nearest foot of what it hides on the ground; infinite without one."""
    start = float(camera.on_ground(foot(parts[i].whole > 0), level))
    own = parts[i].across
    hidden = (p for k, p in enumerate(parts) if k not in (i, parts[i].on) and p.on is None and (own & p.across).any())
    gaps = [float(camera.on_ground(foot(p.whole > 0))) - start for p in hidden]
    return min((CLEAR * gap for gap in gaps if gap > 0), default=np.inf)


def _stood(
    part: Layer,
    camera: Camera,
    level: float,
    metres: Floats | None,
    forms: dict[int, Form],
    remarks: list[str],
    room: float,
) -> Form:
    thickness = part.object.thickness
    reached = float(camera.on_ground(foot(part.whole > 0), level))
    stands = np.isfinite(reached) and reached < FARTHEST * camera.eye[2]
    lean, distance, flat = None, None, True
    if metres is not None:
        low, high = _measured(part, metres, 0.0, FOOT_BAND), _measured(part, metres, 1 - FOOT_BAND, 1.0)
        lean = max(0.0, high - low)
        solid = part.seen >= min(0.9, float(part.seen.max()))
        flat = not bulges(solid, metres, float(focal_length(camera.view.fov_deg, camera.height)))
        if low < (1 - STANDS) * reached and level == 0:
            stands, distance = False, low
        elif low > (1 + STANDS) * reached and level == 0:
            remarks.append(
                f"{part.object.name!r} is {low:.2g} m away by the depth, and the ground before it {reached:.2g} m: it "
                "is taken to stand there"
            )
    if stands:
        return form(part.whole, camera, level, None, thickness, lean, flat, room)
    if distance is None:
        others = [float((f.origin - camera.eye) @ camera.view.c2w[:3, 2]) for f in forms.values()]
        lower = np.array([camera.width / 2, LOW_GROUND * camera.height])
        distance = min(float(np.median(others)) if others else float(camera.on_ground(lower)), 20 * camera.eye[2])
    shape = form(part.whole, camera, level, distance, thickness, lean, flat)
    if not part.object.fixed:
        remarks.append(
            f"{part.object.name!r} stands on nothing that is seen: it floats {shape.lowest:.2g} m over the ground, "
            "and falls unless it is fixed; if it stands, draw the horizon above its foot"
        )
    return shape


def _measured(part: Layer, metres: Floats, start: float, end: float) -> float:
    """Median depth of a layer's rows between two shares of its height, from its foot up."""
    rows, columns = np.nonzero(part.seen >= min(0.9, float(part.seen.max())))
    lowest, highest = int(rows.max()), int(rows.min())
    share = (lowest - rows) / max(1, lowest - highest)
    band = (share >= start) & (share <= end)
    return float(np.median(metres[rows[band], columns[band]]))


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


def _looks(image: Bytes, parts: tuple[Layer, ...], plate: Bytes, view: View) -> list[Projected]:
    """The looks of each layer, nearest first; where others hide it, its own colours are continued."""
    looks: list[Projected] = []
    behind, through = plate, any(part.object.material == "glass" for part in parts)
    for part in reversed(parts):
        own, alpha = image, part.seen
        hidden = dilated((part.whole - part.seen) > 0.02, 2)
        if hidden.any():
            own, alpha = np.where(hidden[..., None], _own_colours(image, part), image), part.whole
        # Through glass the farther layers are seen; opaque cut-outs are freed of the plate at their rims alone.
        glass = part.object.material == "glass"
        looks.append(projected(own, alpha, behind if glass else plate, view, part.object.material))
        behind = over(looks[-1], behind) if through else behind
    return looks[::-1]


def _own_colours(image: Bytes, part: Layer) -> Bytes:
    """The picture with all around the layer made up from the layer's own pixels, within its surroundings."""
    rows, columns = np.nonzero(part.whole > 0)
    window = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
    own = eroded(part.seen[window] >= min(0.9, float(part.seen.max())), 1)
    out = np.array(image)
    if own.any():
        out[window] = filled(image[window], ~own)
    return out


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
