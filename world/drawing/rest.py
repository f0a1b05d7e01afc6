"""What has not moved looks as in the picture: the difference between picture and drawing, faded as bodies leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .pictures import framed, nearest_known
from .surfaces import moved_pixels

if TYPE_CHECKING:
    from ..arrays import Floats, Ints
    from ..scene import Plate
    from .stage import Stage
    from .surfaces import Surfaces

FADE_PIXELS = 2.0  # way of a body by which the picture's own pixels have given way to the drawn ones
SHADOW_SHARE = 0.25  # way of a body, as a share of its size, by which its new shadow has faded in


class RestPicture:
    """Corrects frames of the scene's still view; made from its bodies at rest as drawn, rgb [H, W, 3], part [H, W]."""

    def __init__(self, plate: Plate, stage: Stage, rgb: Floats, part: Ints):
        self.camera, self.poses, self.present = stage.camera, stage.poses, frozenset(stage.present)
        height, width = part.shape
        picture = framed(plate.picture, width, height).reshape(-1, 3).astype(np.float32) / 255
        difference = picture - rgb.reshape(-1, 3)
        self.pixel = np.flatnonzero(np.abs(difference).max(1) > 1e-4)
        self.difference, self.picture = difference[self.pixel], picture[self.pixel]
        self.part = part.ravel()[self.pixel]
        # A made-up pixel beside a body, in its shadow say, goes with the nearest body.
        owner = part.ravel()[nearest_known(part >= 0)] if (part >= 0).any() else part
        self.owner = owner.ravel()[self.pixel]
        cutouts = [s.cutout for s in stage.surfaces.parts]
        # Through a part that is seen through, something else may be seen now.
        self.seen_through = np.isin(self.part, [p for p, cut in enumerate(cutouts) if cut is not None and cut.opacity])

    def correct(self, stage: Stage, rgb: Floats, part: Ints) -> None:
        """Bring a frame rgb [H, W, 3], in place, to the picture where it shows what it showed at rest."""
        if not len(self.pixel) or not stage.camera.same(self.camera):
            return
        weights = np.zeros(len(stage.surfaces.parts) + 1, np.float32)
        weights[-1] = 1.0
        for p in self.present.intersection(stage.present):
            moved = moved_pixels(stage.surfaces.parts[p], stage.camera, stage.poses[p], self.camera, self.poses[p])
            weights[p] = max(1 - moved / FADE_PIXELS, 0)
        weight = weights[self.owner] * (part.ravel()[self.pixel] == self.part)
        at = np.flatnonzero(weight > 0)
        flat = rgb.reshape(-1, 3)
        pixel, share = self.pixel[at], weight[at, None]
        changed = (flat[pixel] + self.difference[at] * share).clip(0, 1)
        through = self.seen_through[at, None]
        flat[pixel] = np.where((share == 1) & ~through, self.picture[at], changed)


def shadow_weights(surfaces: Surfaces, poses: Floats, present: tuple[int, ...], in_picture: bool) -> Floats:
    """How much of each part's shadow is drawn [P]; a picture shows the shadow of what is projected from it at rest."""
    out = np.zeros(len(surfaces.parts))
    out[list(present)] = 1.0
    cut = [p for p in present if in_picture and surfaces.parts[p].cutout is not None]
    if cut:
        some = [surfaces.parts[p] for p in cut]
        ends = np.stack([(s.low, s.high, (s.low + s.high) / 2) for s in some])  # [K, 3, 3]
        change = poses[cut] - np.stack([np.asarray(s.part.rest, np.float64) for s in some])
        moved = np.linalg.norm(ends @ np.swapaxes(change[:, :3, :3], 1, 2) + change[:, None, :3, 3], axis=2).max(1)
        share = np.clip(moved / np.maximum(SHADOW_SHARE * np.array([s.size for s in some]), 1e-9), 0, 1)
        out[cut] = share * share * (3 - 2 * share)
    for p in present:
        cutout = surfaces.parts[p].cutout
        if cutout is not None:
            out[p] *= cutout.mean_opacity
    return out
