"""A perceived scene looks like its picture: bodies carry their cut-outs, and the picture is filled behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..world.drawing.film import film
from ..world.scene import GREY, Colored, Plate, Scene, SceneError
from ..world.simulate import simulate
from .behind import filled_behind, hole_of
from .camera import Camera
from .cutout import projected
from .images import eroded, nearest_outside

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats
    from ..world.scene import Body

MASKED = 0.1  # of a mask, from which on the picture shows too much of a body to be taken for what is behind it


def looks_like(scene: Scene, picture: Bytes, masks: Floats, check: Callable[[], None] = lambda: None) -> Scene:
    """The scene with the looks of its picture uint8 [H, W, 3], in which its bodies have masks [N, H, W] in 0..1.

    check: may raise to cancel. Raises SceneError where sizes or numbers do not agree.
    """
    height, width = picture.shape[:2]
    if masks.shape != (len(scene.bodies), height, width) or (scene.width, scene.height) != (width, height):
        raise SceneError(
            f"masks {list(masks.shape)} and a picture of {width}x{height} do not fit a scene of {len(scene.bodies)} "
            f"bodies, {scene.width}x{scene.height}: expected one mask a body, all of one size"
        )
    covered: Bools = masks > MASKED
    hole = hole_of(picture, list(covered), [not body.fixed for body in scene.bodies])
    if hole.all():
        raise SceneError("the masks leave no pixel from which to fill what they hide")
    check()
    light = _light_on_bodies(scene)
    behind = filled_behind(picture, hole, Camera(scene.view, width, height), check)
    bodies: list[Body] = []
    for body, mask, bright in zip(scene.bodies, masks, light, strict=True):
        look = projected(picture, mask, behind, scene.view, body.material.name)
        bodies.append(replace(body, appearance=replace(look, brightness=bright)))
    return replace(scene, bodies=tuple(bodies), plate=Plate(behind, picture, hole))


def _light_on_bodies(scene: Scene) -> list[Bytes | None]:
    """How bright each body [H, W] would be, if it were grey; beyond its outline as at the nearest pixel within. None of
    what never moves, or is hidden by others."""
    grey = Colored((GREY, GREY, GREY))
    plain = replace(scene, bodies=tuple(replace(body, appearance=grey) for body in scene.bodies), plate=None)
    drawn = film(simulate(plain, seconds=1.0, fps=1.0), width=scene.width, height=scene.height)
    shown: Floats = drawn.rgb[0].numpy()
    bright: Bytes = np.asarray(np.round(255 * shown.mean(-1)), np.uint8)
    owner: Bytes = drawn.instance[0].numpy()
    out: list[Bytes | None] = []
    for i, body in enumerate(scene.bodies):
        own = owner == i + 1
        within = eroded(own, 1)  # along the outline there is something of what is behind
        own = within if within.any() else own
        out.append(bright[nearest_outside(~own)] if own.any() and not body.fixed else None)
    return out
