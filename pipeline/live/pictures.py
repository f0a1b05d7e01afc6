"""Moments of a session as pictures: drawn at a size, shown as colour, depth, masks or flow, and encoded."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ...world.drawing.drawer import Drawer, as_bytes, buffers_of
from ...world.drawing.flow import flow
from ...world.drawing.stage import grown
from .camera import seen_from, start
from .hand import Looked

if TYPE_CHECKING:
    from ...world.arrays import Bytes, Floats
    from ...world.drawing.drawer import Buffers
    from ...world.drawing.flow import Seen
    from ...world.motion import Moment
    from ...world.scene import Scene
    from .camera import Rig
    from .events import Shown

QUALITY = 88  # of JPEG: 36 dB and more of a drawn frame (bench/live.py)
FASTEST = 0.02  # of the width: motion in one frame that has the full colour of the wheel
GOLDEN = 0.618034  # of a turn between the hues of two instances that follow each other
NEAREST = 1.0  # percentile of the first frame's depth that is white


@dataclass(frozen=True, eq=False)
class Shot:
    """What is to be drawn: a moment seen by a camera, as so many pixels. first: the moment at 0 s of the same scene.

    number: of the picture, from 1. seen: the number of the newest message that it shows.
    """

    first: Moment
    moment: Moment
    rig: Rig
    width: int
    height: int
    show: Shown
    number: int
    seconds: float
    seen: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shot as pictures: rgb float32 [H, W, 3] in 0..1; pixels: what is shown of it, uint8 [H, W, 3] or [H, W]."""

    shot: Shot
    rgb: Floats
    pixels: Bytes
    looked: Looked


@dataclass(eq=False)
class _Size:
    """What is prepared for one size, and the frame drawn last."""

    drawer: Drawer
    buffers: Buffers
    count: int = 0
    last: tuple[int, Seen] | None = None  # its number


@dataclass(eq=False)
class Easel:
    """Draws the shots of a session, one after another, in one thread."""

    scene: Scene
    first: Moment | None = None
    sizes: dict[tuple[int, int], _Size] = field(default_factory=dict[tuple[int, int], "_Size"])
    near: float | None = None

    def prepare(self, shot: Shot) -> None:
        """What shots of this size have in common; after a reset all is prepared anew. Raises SceneError."""
        if self.first is not shot.first:
            self.first = shot.first
            self.sizes.clear()
        if (shot.width, shot.height) not in self.sizes:
            still = seen_from(self.scene, start(), shot.width, shot.height)
            drawer, buffers = Drawer(self.scene, shot.first, (still,)), buffers_of(2, shot.width, shot.height)
            self.sizes[shot.width, shot.height] = _Size(drawer, buffers)

    def draw(self, shot: Shot) -> Drawn:
        """The pictures of a shot; its rgb is overwritten by the one after the next of that size. Raises SceneError."""
        self.prepare(shot)
        camera = seen_from(self.scene, shot.rig, shot.width, shot.height)
        size = self.sizes[shot.width, shot.height]
        k, used = size.count % 2, size.count > 1
        seen = size.drawer.draw(shot.moment, size.drawer.prepared(shot.moment), camera, size.buffers, k, used)
        pixels = self._shown(shot, size, seen, k)
        size.count, size.last = size.count + 1, (shot.number, seen)
        looked = Looked(shot.moment, camera, seen.part, np.array(seen.depth))
        return Drawn(shot, size.buffers.rgb[k], pixels, looked)

    def _shown(self, shot: Shot, size: _Size, seen: Seen, k: int) -> Bytes:
        b = size.buffers
        if shot.show == "depth":
            if self.near is None:
                self.near = float(np.percentile(b.depth[k], NEAREST))
            return as_bytes(self.near / np.maximum(b.depth[k], 1e-6))
        if shot.show == "masks":
            return PALETTE[b.instance[k]]
        if shot.show == "flow":
            return self._flow(shot, size, seen)
        return as_bytes(b.rgb[k])

    def _flow(self, shot: Shot, size: _Size, seen: Seen) -> Bytes:
        """The motion from the frame before, at that frame's pixels; white after a frame that was left out."""
        import torch

        from ...control.flow import FlowField
        from ...control.flow_colors import to_colors

        moved = np.zeros((shot.height, shot.width, 2), np.float32)
        if size.last is not None and size.last[0] == shot.number - 1:
            before = size.last[1]
            if before.stage.surfaces is not seen.stage.surfaces:
                before = before._replace(stage=grown(before.stage, seen.stage.surfaces))
            flow(before, seen, moved, np.zeros((shot.height, shot.width), bool))
        colors = to_colors(FlowField(torch.from_numpy(moved)[None]), FASTEST * shot.width)
        return as_bytes(colors[0].numpy())


def encoded(pixels: Bytes) -> bytes:
    """A picture uint8 [H, W, 3] or [H, W] as JPEG."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _palette() -> Bytes:
    """Colours [256, 3] of instances: 0 is black, hues of neighbours lie far apart."""
    colors = [colorsys.hsv_to_rgb(i * GOLDEN % 1, 0.75, 1.0) for i in range(255)]
    return as_bytes(np.array([(0.0, 0.0, 0.0), *colors]))


PALETTE = _palette()
