"""What a camera sees behind the parts: the plate that a picture leaves, or ground, backdrop and sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footage import FAR
from .camera import Camera, scene_camera
from .pictures import Extended, at_resolution, framed, framed_positions
from .plate_depth import DepthPlate
from .raster import nearest, spans, triangles
from .stage import set_stage

if TYPE_CHECKING:
    from ..arrays import Bools, Floats
    from ..motion import Moment
    from ..scene import Plane, Scene
    from .surfaces import Surfaces

SKY = ((0.93, 0.95, 0.97), (0.56, 0.70, 0.88))  # at the horizon, and overhead
SOLID_SLACK, DEPTH_SLACK = 0.004, 0.02  # relative depth by which undrawn bodies, and depth of a picture, may be off
HAZE = 60.0  # metres after which the ground has two thirds of the horizon's colour


@dataclass(frozen=True, eq=False)
class Background:
    """rgb float32 [H, W, 3] and depth float32 [H, W] in metres, as a camera sees them.

    hides float32 [H, W]: depth from which on parts are hidden by what the picture shows; None: by nothing.
    """

    rgb: Floats
    depth: Floats
    camera: Camera
    hides: Floats | None


class Backgrounds:
    """Draws the background of a scene; the last one is kept while the camera stands still.

    Parts without appearance are what the picture shows already: they only lend it their depth, where they stood first.
    """

    def __init__(self, scene: Scene, surfaces: Surfaces, first: Moment, width: int, height: int):
        self.scene, self.still = scene, scene_camera(scene, width, height)[0]
        self.surfaces, self.first = surfaces, first
        plate = scene.plate
        self.source = None if plate is None else Camera(self.still.c2w, _focal(scene), scene.width, scene.height)
        self.plate: Extended | None = None
        self.depth_plate: DepthPlate | None = None
        if plate is not None and self.source is not None:
            ratio = scene.width / plate.image.shape[1]
            whole = at_resolution(plate.image, self.still.focal / self.source.focal * ratio)
            self.plate = Extended(whole.image, (whole.scale[0] / ratio, whole.scale[1] / ratio))
            if plate.depth is not None:
                self.depth_plate = DepthPlate(plate.depth, self.plate, self.source)
        self.last: tuple[Camera, Background] | None = None

    def seen_by(self, camera: Camera) -> Background:
        """The background in one camera."""
        last = self.last  # read once: frames are drawn in several threads
        if last is None or not camera.same(last[0]):
            last = self.last = camera, self._draw(camera)
        return last[1]

    def _draw(self, camera: Camera) -> Background:
        plate, home = self.scene.plate, camera.same(self.still)
        rgb = None
        if plate is not None and home:
            rgb = framed(plate.image, camera.width, camera.height).astype(np.float32) / 255
        if plate is not None and plate.depth is not None and self.depth_plate is not None:
            if rgb is None:
                rgb, depth = self.depth_plate.seen_by(camera)
            else:
                u, v = framed_positions(plate.depth.shape[1], plate.depth.shape[0], camera.width, camera.height)
                depth = plate.depth[v.astype(int)[:, None], u.astype(int)].astype(np.float32)
            return Background(rgb, depth, camera, depth * np.float32(1 + DEPTH_SLACK))
        depth, ground = plane_depths(self.scene, camera)
        solid = self._solid_depth(camera)
        if solid is not None:
            depth = np.minimum(depth, solid)
        if self.plate is not None and self.source is not None:
            rgb = plate_colors(self.plate, self.source, camera, depth) if rgb is None else rgb
        else:
            rgb = self._planes(camera, depth, ground)
        hides = None if solid is None else solid * np.float32(1 + SOLID_SLACK)
        return Background(rgb, np.minimum(depth, np.float32(FAR)), camera, hides)

    def _solid_depth(self, camera: Camera) -> Floats | None:
        """Depth [H, W] of the parts that are not drawn, infinite where there is none; None: there are no such parts."""
        all_of = self.surfaces
        undrawn = np.array([s.part.appearance is None for s in all_of.parts], bool) & self.first.present
        if not undrawn.any():
            return None
        present = tuple(np.flatnonzero(undrawn).tolist())
        points = set_stage(all_of, self.scene.light, camera, self.first.poses, present).points
        faces = np.flatnonzero(undrawn[all_of.part])
        ready = triangles(points, all_of.faces[faces], faces, camera.width, camera.height)
        hits = spans(ready, camera.width, camera.height)
        return nearest(hits, camera.width * camera.height)[1].reshape(camera.height, camera.width)

    def _planes(self, camera: Camera, depth: Floats, ground: Bools) -> Floats:
        """Checkered planes in haze below a sky."""
        direction = pixel_map(to_world(camera), camera)
        points = direction * depth + camera.c2w[:3, 3].astype(np.float32)[:, None, None]
        length = np.linalg.norm(direction, axis=0)  # of a way of 1 m along the axis
        rise = np.clip(direction[2] / length, 0, 1)[..., None] ** 0.6
        rgb: Floats = np.asarray(SKY[0]) * (1 - rise) + np.asarray(SKY[1]) * rise
        for plane, here in ((self.scene.ground, ground), (self.scene.backdrop, ~ground)):
            if plane is not None:
                seen = here & (depth < FAR)
                haze = np.exp(-length * depth / HAZE)[..., None]
                color = _checker(plane, points, depth / camera.focal, direction / length)
                np.copyto(rgb, color * haze + np.asarray(SKY[0]) * (1 - haze), where=seen[..., None])
        return rgb.astype(np.float32)


def to_world(camera: Camera) -> Floats:
    """[3, 3]: homogeneous pixel positions to world directions of depth 1."""
    return camera.c2w[:3, :3] @ np.linalg.inv(camera.to_pixels)


def pixel_map(matrix: Floats, camera: Camera) -> Floats:
    """Matrix [K, 3] times (x, y, 1) at each pixel of a camera, float32 [K, H, W]."""
    m = matrix.astype(np.float32)[:, :, None, None]
    x = np.arange(camera.width, dtype=np.float32) + np.float32(0.5)
    y = np.arange(camera.height, dtype=np.float32)[:, None] + np.float32(0.5)
    return m[:, 0] * x + (m[:, 1] * y + m[:, 2])


def plane_depths(scene: Scene, camera: Camera) -> tuple[Floats, Bools]:
    """Depth [H, W] of ground and backdrop, FAR where neither is met, and where it is the ground's, bool [H, W]."""
    eye = camera.c2w[:3, 3]
    depths: list[Floats] = []
    for plane in (scene.ground, scene.backdrop):
        depth = np.full((camera.height, camera.width), FAR, np.float32)
        if plane is not None:
            normal = np.asarray(plane.normal)
            toward = pixel_map((normal @ to_world(camera))[None], camera)[0]
            with np.errstate(divide="ignore", invalid="ignore"):
                z = np.float32(plane.offset - normal @ eye) / toward
            depth = np.where((z > 0) & (z < FAR), z, depth)
        depths.append(depth)
    return np.minimum(*depths), depths[0] <= depths[1]


def plate_colors(plate: Extended, source: Camera, camera: Camera, depth: Floats) -> Floats:
    """Colours float32 [H, W, 3] of what a camera sees at depth [H, W], in a plate that `source` sees."""
    matrix = source.to_pixels @ source.w2c[:3]
    eye = matrix[:, :3] @ camera.c2w[:3, 3] + matrix[:, 3]
    q = pixel_map(matrix[:, :3] @ to_world(camera), camera)
    q *= depth
    q += eye.astype(np.float32)[:, None, None]
    z = np.maximum(q[2], np.float32(1e-6))
    return plate.seen(q[0] / z * np.float32(plate.scale[0]), q[1] / z * np.float32(plate.scale[1]))


def _focal(scene: Scene) -> float:
    from ...geometry.camera_numpy import focal_length

    return float(focal_length(scene.view.fov_deg, scene.height))


def _checker(plane: Plane, points: Floats, pixel: Floats, direction: Floats) -> Floats:
    """Colours [H, W, 3] of a plane's tiles, anti-aliased over the footprint of a pixel (pixel: its size in metres)."""
    normal = np.asarray(plane.normal)
    first = np.cross((0.0, 1.0, 0.0) if abs(normal[1]) < 0.9 else (1.0, 0.0, 0.0), normal)
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    tilt = np.maximum(np.abs(np.tensordot(normal, direction, 1)), 1e-3)
    waves: list[Floats] = []
    for axis in (first, second):
        along = np.abs(np.tensordot(axis, direction, 1))
        footprint = pixel * np.sqrt(1 + (along / tilt) ** 2)
        phase = np.tensordot(axis, points, 1) / plane.tile
        triangle = 1 - np.abs(phase % 2 - 1) * 2
        edge = np.clip(triangle * plane.tile / (2 * footprint), -1, 1)
        waves.append(edge * np.clip(1.5 - 2 * footprint / plane.tile, 0, 1))
    tile = (0.5 + 0.5 * waves[0] * waves[1])[..., None]
    return np.asarray(plane.colors[0]) * tile + np.asarray(plane.colors[1]) * (1 - tile)
