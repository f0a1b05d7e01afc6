"""One moment of a scene becomes a picture: what is prepared once for all of them, and for parts when they appear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..scene import SceneError
from .background import Backgrounds
from .flow import Seen
from .layers import draw_parts
from .rest import RestPicture, shadow_weights
from .shadows import Shadows
from .stage import set_stage
from .surfaces import surfaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..arrays import Bools, Bytes, Floats
    from ..motion import Moment, Part
    from ..scene import Scene
    from .background import Background
    from .camera import Camera
    from .stage import Stage
    from .surfaces import Surfaces

MOST_INSTANCES = 255  # instances are bytes
SMALLEST, LARGEST = 16, 8192  # pixels along a side


@dataclass(frozen=True, eq=False)
class Buffers:
    """Where frames are written: one array [K, H, W, ...] for each output."""

    rgb: Floats
    depth: Floats
    instance: Bytes
    mask: Floats
    flow: Floats
    visible: Bools


def buffers_of(frames: int, width: int, height: int) -> Buffers:
    """Zeros that take memory only where they are written: a still camera's background has no flow and no mask."""
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise SceneError(
            f"a picture of {width}x{height} cannot be drawn: each side takes {SMALLEST} to {LARGEST} pixels"
        )
    shape = (frames, height, width)
    return Buffers(
        np.empty((*shape, 3), np.float32),
        np.empty(shape, np.float32),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.float32),
        np.zeros((*shape, 2), np.float32),
        np.zeros(shape, bool),
    )


def as_bytes(values: Floats) -> Bytes:
    """Colours of any shape as uint8: 0 to 0, 1 to 255; what is beyond is cut."""
    return np.asarray((values.clip(0, 1) * 255).round(), np.uint8)


class Drawer:
    """Draws moments of a scene. first: the one at time 0; seen_from: the cameras that will see it, of one size.

    Raises SceneError where a mesh cannot be drawn, for poses that are not finite, and for more bodies and links than
    can be told apart. check may raise to cancel.
    """

    def __init__(
        self, scene: Scene, first: Moment, seen_from: Sequence[Camera], check: Callable[[], None] = lambda: None
    ):
        self.scene, self.camera = scene, seen_from[0]
        camera = self.camera
        check()
        self.surfaces = surfaces(_finite(first).parts, camera)
        self.background = Backgrounds(scene, self.surfaces, first, camera.width, camera.height)
        check()
        self.shadows = Shadows(scene, self.surfaces, first)
        self.names = _names(scene, first.parts)
        self.instances = _instances(self.names, first.parts)
        check()
        self.rest: RestPicture | None = None
        if scene.plate is not None and any(c.same(self.background.still) for c in seen_from):
            # Only what was cut out of the picture is in the picture.
            parts = self.surfaces.parts
            rest = np.stack([np.asarray(s.part.rest, np.float64) for s in parts] or [np.zeros((4, 4))])
            cut = [p for p, s in enumerate(parts) if s.cutout is not None and first.present[p]]
            stage = set_stage(self.surfaces, scene.light, self.background.still, rest, tuple(cut))
            background = self.background.seen_by(stage.camera)
            check()
            rgb = np.array(background.rgb)
            part = self._compose(stage, background, rgb)[1]
            self.rest = RestPicture(scene.plate, stage, rgb, part)

    def prepared(self, moment: Moment) -> Surfaces:
        """The parts of a moment, the new ones prepared; to be asked for moment after moment, before each is drawn."""
        _finite(moment)
        if len(moment.parts) > len(self.surfaces.parts):
            self.surfaces = surfaces(moment.parts, self.camera, self.surfaces)
            self.shadows.cast_by(self.surfaces)
            self.instances = _instances(self.names, moment.parts)
        return self.surfaces

    def draw(self, moment: Moment, among: Surfaces, camera: Camera, b: Buffers, k: int, used: bool) -> Seen:
        """Draw a moment with its prepared parts into the buffers, as their frame k; several threads may at once.

        used: whether that frame may hold another one already. Unused, it takes memory only where something is.
        """
        drawn = np.array([s.part.appearance is not None for s in among.parts], bool)
        poses = np.asarray(moment.poses, np.float64)
        present = tuple(np.flatnonzero(moment.present & drawn).tolist())
        stage = set_stage(among, self.scene.light, camera, poses, present)
        background = self.background.seen_by(stage.camera)
        rgb, depth = b.rgb[k], b.depth[k]
        rgb[...] = background.rgb
        depth[...] = background.depth
        # From elsewhere the plate is seen, from which the shadows at the feet of the bodies were taken.
        in_picture = self.scene.plate is not None and stage.camera.same(self.background.still)
        weights = shadow_weights(among, stage.poses, stage.present, in_picture)
        self.shadows.darken(rgb, background, stage.poses, weights)
        at, part, z, mask = self._compose(stage, background, rgb)
        if self.rest is not None:
            self.rest.correct(stage, rgb, part)
        on = np.flatnonzero(part.ravel() >= 0)
        depth.ravel()[on] = z
        if used:
            b.mask[k][...], b.instance[k][...] = 0, 0
        b.mask[k].ravel()[at] = mask
        b.instance[k].ravel()[on] = self.instances[part.ravel()[on]]
        return Seen(stage, part, depth)

    def _compose(self, stage: Stage, background: Background, rgb: Floats):
        """Lay the parts over rgb [H, W, 3] in place; gives hit pixels, part [H, W], depths of those, masks of hits."""
        layers, at = draw_parts(stage, background.hides)
        flat = rgb.reshape(-1, 3)
        flat[at] = (flat[at] * layers.through[:, None] + layers.rgb).clip(0, 1)  # pictures are lit anew, beyond white
        part = np.full(rgb.shape[:2], -1, np.int16)
        part.ravel()[at] = layers.part
        return at, part, layers.depth[layers.part >= 0], layers.mask


def _names(scene: Scene, parts: tuple[Part, ...]) -> tuple[str, ...]:
    """Names of the instances 1, 2, ...: bodies, then links. Raises SceneError for more than are told apart."""
    names = [b.name for b in scene.bodies]
    names += [n for n in dict.fromkeys(p.body for p in parts) if n not in set(names)]
    if len(names) > MOST_INSTANCES:
        raise SceneError(f"the scene has {len(names)} bodies and links; at most {MOST_INSTANCES} are told apart")
    return tuple(names)


def _instances(names: tuple[str, ...], parts: tuple[Part, ...]) -> Bytes:
    """The instance of each part [P]."""
    number = {name: i + 1 for i, name in enumerate(names)}
    return np.array([number[p.body] for p in parts], np.uint8)


def _finite(moment: Moment) -> Moment:
    if not np.isfinite(moment.poses[moment.present]).all():
        raise SceneError("the motion has poses that are not finite: the simulation has come apart")
    return moment
