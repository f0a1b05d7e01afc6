"""Soft shadows of the parts on ground and backdrop: points spread over their surfaces, seen along the light.

The points are counted into a picture in the plane square to the light, in bands by their distance from what they
shade; each band is blurred by the light's softness times that distance, as a wide light does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..footage import FAR
from .background import pixel_map, to_world
from .pictures import nearest_known

if TYPE_CHECKING:
    from ..arrays import Floats
    from ..motion import Moment
    from ..scene import Scene
    from .background import Background
    from .surfaces import Surfaces

CELLS_A_BODY = 56  # cells of the shadow's picture along a body's diagonal
POINTS_A_CELL = 3.0  # mean number of points of a surface in an area of one cell
MOST_POINTS = 24000  # on one part
MOST_CELLS = 640  # along the side of the shadow's picture; beyond, its cells grow
BANDS = (1.0, 3.0, 8.0, 20.0, 48.0)  # cells: greatest blur (standard deviation) of each band
LEAST_BLUR = 0.8  # cells: hides the grain of the points


class Shadows:
    """The shadows of a motion's parts under the scene's light."""

    def __init__(self, scene: Scene, surfaces: Surfaces, first: Moment):
        self.scene = scene
        light = np.asarray(scene.light.direction, np.float64)
        self.toward = light / np.linalg.norm(light)
        side = np.cross(self.toward, (0.0, 1.0, 0.0) if abs(self.toward[1]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        # [3, 3] two axes square to the light, and the way towards it.
        self.axes = np.stack((side, np.cross(self.toward, side), self.toward))
        self.deep = scene.plate is not None and scene.plate.depth is not None
        # A broken body's shards do not make the cells finer: the largest of the first parts says how fine a shadow is.
        there = zip(surfaces.parts, first.present, strict=True)
        sizes = [s.size for s, here in there if here and s.part.appearance is not None]
        self.cell = max(sizes, default=1.0) / CELLS_A_BODY
        self.planes = [plane for plane in (scene.ground, scene.backdrop) if plane is not None]
        self.points: list[Floats] = []  # [3, n] over each part, in its axes
        self.cast_by(surfaces)
        self.seen: tuple[Background, Floats] | None = None

    def cast_by(self, surfaces: Surfaces) -> None:
        """Let parts that have appeared after those so far cast shadows too."""
        new = range(len(self.points), len(surfaces.parts))
        cast = self.scene.light.shadow > 0
        points = (self._spread(surfaces, p) if cast else np.zeros((0, 3)) for p in new)
        self.points += [np.ascontiguousarray(spread.T, np.float32) for spread in points]

    def darken(self, rgb: Floats, background: Background, poses: Floats, weights: Floats) -> None:
        """Darken a frame rgb [H, W, 3] of the background, in place, by parts at poses [P, 4, 4], weights [P]."""
        import cv2

        strength = self.scene.light.shadow
        picture = self._picture(poses, weights) if strength > 0 else None
        if picture is None:
            return
        grid, origin, cell, highest = picture
        seen = self.seen  # read once: frames are drawn in several threads
        if seen is None or seen[0] is not background:
            camera = background.camera
            flat = pixel_map(self.axes @ to_world(camera), camera) * background.depth
            flat += (self.axes @ camera.c2w[:3, 3]).astype(np.float32)[:, None, None]
            flat[:, background.depth >= FAR] = np.inf
            seen = self.seen = background, np.ascontiguousarray(np.moveaxis(flat, 0, -1))  # [H, W, 3]
        flat = seen[1]
        end = origin + np.array(grid.shape[::-1]) * cell
        inside = cv2.inRange(flat, np.append(origin, -FAR), np.append(end, FAR))
        left, top, columns, rows = cv2.boundingRect(inside)
        if not rows:
            return
        box = slice(top, top + rows), slice(left, left + columns)
        x, y = ((flat[box][..., i] - np.float32(origin[i])) * np.float32(1 / cell) - np.float32(0.5) for i in (0, 1))
        shade = cv2.remap(grid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if highest is not None:  # what a picture shows between a body and the light is not in its shadow
            least = cv2.remap(highest, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            shade = np.where(flat[box][..., 2] < np.asarray(least) + cell, shade, 0)
        rgb[box] *= (1 - strength * np.asarray(shade))[..., None]

    def _picture(self, poses: Floats, weights: Floats) -> tuple[Floats, Floats, float, Floats | None] | None:
        """The shadows [h, w] as the light sees them, the origin [2] and the size of a cell in metres; and before a
        plate with depth how far towards the light what casts them reaches [h, w], metres.
        """
        import cv2

        order: list[int] = np.argsort(weights, kind="stable").tolist()  # the darker one comes last and wins
        casting = [p for p in order if weights[p] > 0 and self.points[p].shape[1]]
        if not casting:
            return None
        # Axes of the light, then ways above the planes: all are rows of one product a part. Parts are multiplied one
        # by one: a large product would wake BLAS's threads for nothing.
        axes = np.array([*self.axes, *(plane.normal for plane in self.planes)])
        onto: Floats = (axes @ poses[casting, :3]).astype(np.float32)  # [P, 3 + planes, 4]
        each = [m[:, :3] @ self.points[p] + m[:, 3:] for p, m in zip(casting, onto, strict=True)]
        ways: Floats = np.concatenate(each, axis=1)  # [3 + planes, N]
        reach = self._reach(ways[3:])
        value = np.repeat(weights[casting].astype(np.float32), [self.points[p].shape[1] for p in casting])
        falls = np.isfinite(reach)
        if not falls.any():
            return None
        if not falls.all():
            ways, reach, value = ways[:, falls], reach[falls], value[falls]
        at, toward = ways[:2], ways[2]
        spread = self.scene.light.softness * reach * 0.5  # the rim is two standard deviations wide
        cell = self.cell
        least, most = at.min(1).astype(float), at.max(1).astype(float)
        while (most - least).max() / cell > MOST_CELLS:
            cell *= 2
        blur = np.minimum(spread / cell, BANDS[-1])
        margin = 3 * max(float(blur.max()), LEAST_BLUR) + 2
        origin = (np.floor(least / cell) - np.ceil(margin)) * cell
        columns, rows = (np.ceil((most - origin) / cell + margin)).astype(int)
        column, row = ((at[i] - np.float32(origin[i])) * np.float32(1 / cell) for i in (0, 1))
        flat_index = row.astype(np.int64) * columns + column.astype(np.int64)
        clear = np.ones((rows, columns), np.float32)
        for low, high in zip((0.0, *BANDS), BANDS, strict=False):
            here = (blur >= low) & ((blur < high) | (high == BANDS[-1]))
            if not here.any():
                continue
            band = np.zeros(rows * columns, np.float32)
            band[flat_index[here]] = value[here]
            band = cv2.morphologyEx(band.reshape(rows, columns), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
            sigma = max(float(blur[here].mean()), LEAST_BLUR)
            # Bands meet where a body crosses from one to the next: the darker one counts, so that no seam is seen.
            clear = np.minimum(clear, 1 - np.asarray(cv2.GaussianBlur(band, (0, 0), sigma)))
        if not self.deep:
            return 1 - clear, origin, cell, None
        highest = np.full(rows * columns, -FAR, np.float32)
        np.maximum.at(highest, flat_index, toward)
        highest = highest[nearest_known(highest.reshape(rows, columns) > -FAR)]  # beyond its points a shadow is blurred
        return 1 - clear, origin, cell, np.asarray(cv2.dilate(highest, np.ones((5, 5), np.uint8)), np.float32)

    def _reach(self, above: Floats) -> Floats:
        """Way in metres [N] along the light from points to the plane that they shade; infinite where there is none.

        above [planes, N]: their ways along the normals of the planes, from the origin.
        """
        way = np.full(above.shape[1], np.inf, np.float32)
        for plane, height in zip(self.planes, above, strict=True):
            slope = float(np.asarray(plane.normal) @ self.toward)
            if slope > 1e-3:
                way = np.minimum(way, np.maximum((height - np.float32(plane.offset)) * np.float32(1 / slope), 0.0))
        return way

    def _spread(self, surfaces: Surfaces, p: int) -> Floats:
        """Points [n, 3] over a part's surface, in its axes, evenly by area; of a cut-out only where it is opaque."""
        surface = surfaces.parts[p]
        if surface.part.appearance is None:
            return np.zeros((0, 3))
        mesh = surface.part.surface
        a, b, c = (np.asarray(mesh.vertices, np.float64)[mesh.faces[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        total = float(area.sum())
        if total <= 0:
            return np.zeros((0, 3))
        count = int(min(max(POINTS_A_CELL * total / self.cell**2, 16), MOST_POINTS))
        # Halton-like sequence (Roberts's R3): even without clumps, the same for each run.
        steps = (np.arange(count)[:, None] + 0.5) * np.array([1 / count, 0.7548776662466927, 0.5698402909980532]) % 1
        face = np.searchsorted(np.cumsum(area) / total, steps[:, 0]).clip(0, len(area) - 1)
        u, v = np.sqrt(steps[:, 1:2]), steps[:, 2:3]
        points = a[face] * (1 - u) + b[face] * (u * (1 - v)) + c[face] * (u * v)
        cut = surface.cutout
        if cut is not None and not cut.hard:
            rest = np.asarray(surface.part.rest, np.float64)
            world = points @ np.transpose(rest[:3, :3]) + rest[:3, 3]
            q = world @ np.transpose(cut.to_picture[:, :3]) + cut.to_picture[:, 3]
            points = points[cut.sharp.at(q[:, 0] / q[:, 2], q[:, 1] / q[:, 2])[:, 3] > 127]
        return points
