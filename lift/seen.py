"""A perceived scene looks like its picture: bodies carry their cut-outs, and the picture is filled behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..world.drawing.film import looks
from ..world.scene import Colored, Plate, Projected, Scene, SceneError
from ..world.simulate import still
from .before import with_rim
from .behind import filled_behind, hole_of
from .camera import Camera
from .cutout import cut_out, projected
from .images import dilated, eroded, nearest_outside
from .shadow import rest_of_shadow

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats
    from ..world.scene import Body
    from .before import Uncovered
    from .rod import Rod

SHOWN = 0.5  # of a mask, from which on a pixel shows the body
GREY = 0.6  # so bright a colour that no light makes it white
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the perceived light that a picture may show on a body
DARKEST = 0.1  # of a white light: what is darker tells no colour
MASKED = 0.1  # of a mask, from which on the picture shows too much of a body to be taken for what is behind it


def looks_like(
    scene: Scene,
    picture: Bytes,
    masks: Floats,
    check: Callable[[], None] = lambda: None,
    before: Uncovered | None = None,
    rods: Mapping[int, Rod] | None = None,
) -> Scene:
    """The scene with the looks of its picture uint8 [H, W, 3], in which its bodies have masks [N, H, W] in 0..1.

    before: what earlier pictures show where bodies are now; what none shows is made up. rods: what bodies hang on, by
    their number. check: may raise to cancel.
    Raises SceneError where sizes or numbers do not agree.
    """
    height, width = picture.shape[:2]
    if masks.shape != (len(scene.bodies), height, width) or (scene.width, scene.height) != (width, height):
        raise SceneError(
            f"masks {list(masks.shape)} and a picture of {width}x{height} do not fit a scene of {len(scene.bodies)} "
            f"bodies, {scene.width}x{scene.height}: expected one mask a body, all of one size"
        )
    hang = rods or {}
    covered: Bools = masks > MASKED
    for i, rod in hang.items():
        covered[i] |= rod.mask(height, width)
    hole = hole_of(picture, list(covered), [not body.fixed for body in scene.bodies])
    if hole.all():
        raise SceneError("the masks leave no pixel from which to fill what they hide")
    check()
    camera = Camera(scene.view, width, height)
    known, shown = np.zeros_like(hole), picture
    if before is not None:  # in five pictures a body hardly leaves the shadow at its foot: that is filled
        there = with_rim(np.asarray(covered.any(0)))
        known = before.known & (~hole | there)
        shown = np.where(known[..., None], before.picture, picture)
        dark = rest_of_shadow(shown, known & ~there, there)
        hole, known = hole | known | dark, known & ~dark
    behind = filled_behind(shown, hole & ~known, camera, check)
    drawn = _grey(scene)
    bodies: list[Body] = []
    for i, (body, mask) in enumerate(zip(scene.bodies, masks, strict=True)):
        check()
        material, light = body.material.name, np.ones(hole.shape)
        if body.fixed or material == "glass" or mask.max() <= SHOWN:
            look = projected(picture, mask, behind, scene.view, material)
        else:
            light, hidden = _light_on(scene, i, masks, drawn)
            lit = _share(picture, mask, light)
            light = 1 - lit + lit * light
            look = Projected(_unlit(picture, mask, behind, light, hidden), scene.view, lit=lit)
        if i in hang:
            look = replace(look, image=_with_rod(look.image, hang[i], light))
        bodies.append(replace(body, appearance=look))
    return replace(scene, bodies=tuple(bodies), plate=Plate(behind, picture, hole))


def _grey(scene: Scene) -> tuple[Floats, Bytes]:
    """How bright a white light is on the bodies of a scene, and which one, counted from 1, is seen [H, W]."""
    grey = Colored((GREY, GREY, GREY))
    bodies = tuple(replace(body, appearance=grey) for body in scene.bodies)
    plain = replace(scene, bodies=bodies, plate=None, light=replace(scene.light, shadow=0.0))
    drawn = looks(still(plain), width=scene.width, height=scene.height)
    shown: Floats = drawn.rgb[0].numpy()
    return shown.mean(-1) / GREY, drawn.instance[0].numpy()


def _light_on(scene: Scene, i: int, masks: Floats, drawn: tuple[Floats, Bytes]) -> tuple[Floats, Bools]:
    """How bright the light is on body i [H, W], beyond its outline as at the nearest pixel within, and where another
    one hides it [H, W]. drawn: _grey of the scene."""
    (bright, owner), mask = drawn, masks[i]
    own: Bools = owner == i + 1
    others: Bools = np.delete(masks, i, 0).max(0, initial=0) > MASKED
    hidden = np.zeros_like(own)
    if (dilated(mask > MASKED, 2) & others).any():
        bright, alone = _grey(replace(scene, bodies=(scene.bodies[i],)))
        hidden = dilated((alone > 0) & ~own & (mask < SHOWN), 1) & (alone > 0)
        own = alone > 0
    light = bright[nearest_outside(~_within(own))] if own.any() else np.ones_like(bright)
    return np.maximum(light, DARKEST), hidden


def _share(picture: Bytes, mask: Floats, light: Floats) -> float:
    """The share of a light [H, W] that makes the colours of a body vary least when they are divided by it. It is small
    where the light is perceived wrongly."""
    seen = _within(mask > SHOWN)
    shown = np.log(np.maximum(picture[seen].mean(-1), 1.0))
    return min(SHARES, key=lambda share: float(np.std(shown - np.log(1 - share + share * light[seen]))))


def _unlit(picture: Bytes, mask: Floats, behind: Bytes, light: Floats, hidden: Bools) -> Bytes:
    """The cut-out [H, W, 4] of a body with a mask [H, W] in a white light; what is hidden has the median colour of what
    is seen. behind [H, W, 3]: what the picture would show without it."""
    white, plate = picture / light[..., None], behind / light[..., None]
    seen = _within((mask > SHOWN) & ~hidden)
    if hidden.any() and seen.any():
        white[hidden] = np.median(white[seen], axis=0)
        mask = np.where(hidden, 1.0, mask)
    return cut_out(white, mask, plate)


def _with_rod(image: Bytes, rod: Rod, light: Floats) -> Bytes:
    """The cut-out [H, W, 4] of a body with the rod it hangs on, in one colour: of its pixels few show nothing else.
    What is no thicker than the rod in the body's mask is the rod, or beside it. light [H, W]: in which it is seen."""
    own = image[..., 3] > 255 * SHOWN
    thin = math.ceil(rod.width / 2) + 1
    thick = dilated(eroded(own, thin), thin) & own
    body = thick if thick.any() else own
    line: Bools = rod.mask(*image.shape[:2]) & ~body
    beside: Bools = dilated(line, thin + 1) & ~dilated(body, 1)
    out: Bytes = np.array(image)
    if line.any():
        out[line | beside, :3] = np.round(np.minimum(rod.color / np.median(light[line]), 255))
    out[beside, 3] = 0
    out[line, 3] = 255
    return out


def _within(mask: Bools) -> Bools:
    """A mask [H, W] without its rim, where there is something of what lies behind; of what is all rim, itself."""
    inside = eroded(mask, 1)
    return inside if inside.any() else mask
