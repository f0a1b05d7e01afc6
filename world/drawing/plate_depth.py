"""A plate with depth in other views: reprojected, with what comes into sight filled from what lies behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .pictures import Picture, nearest_known

if TYPE_CHECKING:
    from ..arrays import Bytes, Floats
    from .camera import Camera

EDGE = 0.1  # relative step of depth that is an edge of something nearer
REACH = 0.06  # width from an edge over which what is nearer is replaced, as a share of the picture's height


class DepthPlate:
    """A plate as its own camera sees it, at depth [h, w] in metres, to be seen by others."""

    def __init__(self, depth: Floats, plate: Picture, source: Camera):
        import cv2

        self.source, self.plate = source, plate
        h, w = plate.image.shape[:2]
        # Depth is never averaged: between a thing and what is behind it there is nothing.
        whole = np.asarray(depth, np.float32)
        self.depth = np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_NEAREST), np.float32)
        self.behind = _without_edges(plate.image, self.depth)
        self.focal = source.focal * plate.scale[1]

    def seen_by(self, camera: Camera) -> tuple[Floats, Floats]:
        """Colours float32 [H, W, 3] and depth float32 [H, W] in a camera."""
        import cv2
        import torch

        from ...geometry.reproject import reproject

        height, width = camera.height, camera.width
        h, w = self.depth.shape
        at_home = np.allclose(camera.c2w, self.source.c2w, atol=1e-9, rtol=0) and abs(self.focal - camera.focal) < 1e-3
        if at_home and (h, w) == (height, width):
            return self.plate.image.astype(np.float32) / 255, self.depth
        # reproject keeps one size: the view is laid into the middle of the plate's size, or the plate into the view's.
        tall, wide = max(h, height), max(w, width)
        pads = ((tall - h) // 2, (tall - h + 1) // 2), ((wide - w) // 2, (wide - w + 1) // 2)
        padded = np.pad(self.depth, pads, mode="edge")
        fov = [float(np.degrees(2 * np.arctan(tall / 2 / f))) for f in (self.focal, camera.focal)]
        c2w = torch.from_numpy(np.stack((self.source.c2w, camera.c2w)))
        maps, uv, visible = reproject(torch.from_numpy(padded), c2w, torch.tensor(fov, dtype=torch.float64))
        top, left = (tall - height) // 2, (wide - width) // 2
        view = slice(top, top + height), slice(left, left + width)
        x = uv[0, view[0], view[1], 0].numpy() - 0.5 - pads[1][0]
        y = uv[0, view[0], view[1], 1].numpy() - 0.5 - pads[0][0]
        x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float32)
        colors, filled = (
            np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.float32)
            for image in (self.plate.image, self.behind)
        )
        hidden = (~visible[0, view[0], view[1]]).numpy().astype(np.float32)
        share = np.asarray(cv2.GaussianBlur(cv2.dilate(hidden, np.ones((3, 3))), (0, 0), 0.8))[..., None]
        rgb: Floats = (colors * (1 - share) + filled * share).astype(np.float32) / 255
        return rgb, np.ascontiguousarray(maps[0, view[0], view[1]].numpy(), np.float32)


def _without_edges(image: Bytes, depth: Floats) -> Bytes:
    """The picture with what is nearer than its surroundings replaced, near depth edges, by the colours behind it."""
    import cv2

    reach = max(int(REACH * len(depth)), 2)
    farthest = np.asarray(cv2.dilate(depth, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
    nearer = (depth < farthest * (1 - EDGE)).astype(np.uint8)
    nearer = np.asarray(cv2.dilate(nearer, np.ones((3, 3), np.uint8)), np.uint8)
    if not nearer.any() or nearer.all():
        return image
    filled: Bytes = image.reshape(-1, 3)[nearest_known(nearer == 0)]
    smooth = np.asarray(cv2.GaussianBlur(filled, (0, 0), 2.0), np.uint8)
    return np.where(nearer[..., None] > 0, smooth, image)
