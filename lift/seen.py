"""A perceived scene looks like its picture: bodies carry their cut-outs, and the picture is filled behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..world.scene import Plate, Scene, SceneError
from .behind import filled_behind, hole_of
from .camera import Camera
from .cutout import projected

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
    hole = hole_of(picture, list(covered), [not body.fixed for body in scene.bodies])
    if hole.all():
        raise SceneError("the masks leave no pixel from which to fill what they hide")
    check()
    behind = filled_behind(picture, hole, Camera(scene.view, width, height), check)
    bodies = tuple(
        replace(body, appearance=projected(picture, mask, behind, scene.view, body.material.name))
        for body, mask in zip(scene.bodies, masks, strict=True)
    )
    return replace(scene, bodies=bodies, plate=Plate(behind, picture, hole))
