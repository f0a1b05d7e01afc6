"""A perceived scene looks like its picture: bodies carry their cut-outs, and the picture is filled behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..world.scene import Plate, Scene, SceneError
from .camera import Camera
from .cutout import projected
from .images import dilated
from .plate import filled
from .scene import RIM
from .shadow import contact_shadow

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

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
    hole = dilated(np.any(covered, axis=0), max(2, round(RIM * width)))
    for i, body in enumerate(scene.bodies):
        if not body.fixed and covered[i].any():  # the shadow at its foot goes with it
            hole |= contact_shadow(picture, covered[i], np.any(np.delete(covered, i, 0), axis=0))
    if hole.all():
        raise SceneError("the masks leave no pixel from which to fill what they hide")
    check()
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    below = np.isfinite(Camera(scene.view, width, height).on_ground(np.stack((columns, rows), -1)))
    behind = filled(picture, hole, below.astype(np.int64), check)
    bodies = tuple(
        replace(body, appearance=projected(picture, mask, behind, scene.view, body.material.name))
        for body, mask in zip(scene.bodies, masks, strict=True)
    )
    return replace(scene, bodies=bodies, plate=Plate(behind, picture, hole))
