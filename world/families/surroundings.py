"""What is around the bodies of a varied scene: a moving camera, light, gravity, ground and backdrop in any texture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...geometry.camera_numpy import axis_rotation, focal_length, look_at
from ..arrays import Bytes, Floats
from ..drawing.background import pixel_map, plane_depths, to_world
from ..drawing.camera import Camera
from ..footage import FAR
from ..scene import Light, Material, Plane, Plate, Scene, View, vector

WALLED = 0.7  # share of scenes with a backdrop
TEXTURED = 0.8  # share of scenes whose ground and backdrop have textures; the others are checkered, under the sky
MOVING = 0.35  # share of scenes whose camera moves
LEVEL_DEG, STEEP_DEG = 2.0, 45.0  # by which cameras look down, most of them little, as people take pictures
LOW_WALLS = 0.7  # share of textured backdrops above which the sky is seen: its lower edge is no horizon
ALIKE = 0.5  # share of textured backdrops of the ground's colour: where they meet, only the textures tell
SHADE = 0.35  # logarithm of brightness by which such a backdrop may differ, as two sides of one stuff in one light
PATCHED = 0.4  # share of textured grounds of two textures, as where a floor meets a carpet or a road its kerb


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A scene without bodies, and its camera's path c2w [T, 4, 4]."""

    scene: Scene
    c2w: Floats


def surroundings(
    rng: np.random.Generator, textures: Sequence[Bytes], material: Material, width: int, height: int, frames: int
) -> Surroundings:
    """Random surroundings of bodies that stand around the origin, up to two metres from it."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    fov = between(25.0, 65.0)
    c2w = _path(rng, fov, width / height, frames)
    tile = between(0.2, 1.5)
    pale, dark = rng.uniform(0.1, 0.9, 3), rng.uniform(-0.25, 0.25, 3) * (rng.random() < 0.7)
    wall = rng.uniform(0.1, 0.95, 3)
    backdrop = None
    if rng.random() < WALLED:
        yaw = math.radians(between(-25, 25))
        normal = (math.sin(yaw), -math.cos(yaw), 0.0)
        colors = (vector(wall), vector((wall + rng.uniform(-0.1, 0.1, 3)).clip(0, 1)))
        backdrop = Plane(
            normal=normal, offset=-between(2.0, 6.0), material=material, colors=colors, tile=between(0.3, 2)
        )
    azimuth, up = between(0, 2 * math.pi), between(0.45, 1.45)
    toward = (math.cos(azimuth) * math.cos(up), math.sin(azimuth) * math.cos(up), math.sin(up))
    light = Light(toward, shadow=between(0.15, 0.75), softness=between(0.02, 0.5), ambient=between(0.3, 0.7))
    scene = Scene(
        bodies=(),
        view=View(c2w[0], fov),
        width=width,
        height=height,
        ground=Plane(material=material, colors=(vector(pale), vector((pale + dark).clip(0, 1))), tile=tile),
        backdrop=backdrop,
        light=light,
        gravity=(0.0, 0.0, -float(np.exp(rng.uniform(math.log(3.0), math.log(11.0))))),
    )
    if textures and rng.random() < TEXTURED:
        image, depth = _textured(scene, rng, textures)
        scene = replace(scene, plate=Plate(image, image, np.zeros(image.shape[:2], bool), depth))
    return Surroundings(scene, c2w)


def _path(rng: np.random.Generator, fov_deg: float, aspect: float, frames: int) -> Floats:
    """Poses [T, 4, 4] of a camera that sees about four metres around the origin."""
    across = math.tan(math.radians(fov_deg) / 2) * min(1.0, aspect)
    distance = float(rng.uniform(1.3, 2.6)) / across
    tilt = math.radians(LEVEL_DEG + (STEEP_DEG - LEVEL_DEG) * float(rng.random()) ** 1.7)
    around = math.radians(float(rng.uniform(-50, 50)))
    away = np.array([math.sin(around) * math.cos(tilt), -math.cos(around) * math.cos(tilt), math.sin(tilt)])
    target = np.array([rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.8), rng.uniform(0.2, 0.9)])
    eye = target + distance * away
    eye[2] = max(eye[2], 0.35)
    eyes, targets = np.repeat(eye[None], frames, 0), np.repeat(target[None], frames, 0)
    if rng.random() < MOVING:
        time = np.arange(frames)[:, None] / 8.0
        eyes = eyes + time * rng.normal(0, 0.06 * distance, 3) * (1, 1, 0.4)
        eyes[:, 2] = np.maximum(eyes[:, 2], 0.3)
        targets = targets + time * rng.normal(0, 0.1, 3)
    c2w = look_at(eyes, targets)
    roll = axis_rotation(2, np.full(frames, rng.normal(0, 2.5)))
    c2w[:, :3, :3] = c2w[:, :3, :3] @ roll
    return c2w


def _textured(scene: Scene, rng: np.random.Generator, textures: Sequence[Bytes]) -> tuple[Bytes, Floats | None]:
    """Ground and backdrop in textures before a sky in another one, as the scene's first view sees them [H, W, 3], and
    their depth [H, W]; None: that of the planes, which no low wall ends."""
    camera = Camera(
        np.asarray(scene.view.c2w), float(focal_length(scene.view.fov_deg, scene.height)), scene.width, scene.height
    )
    depth, ground = plane_depths(scene, camera)
    direction = pixel_map(to_world(camera), camera)
    eye = camera.c2w[:3, 3].astype(np.float32)[:, None, None]
    low = scene.backdrop is not None and rng.random() < LOW_WALLS
    if low:
        over = ~ground & (direction[2] * depth + eye[2] > float(rng.uniform(0.4, 3.5)))
        behind, _ = plane_depths(replace(scene, backdrop=None), camera)
        depth, ground = np.where(over, behind, depth), ground | over
    points = direction * depth + eye
    sky = np.stack((direction[0], direction[2]), -1) / np.linalg.norm(direction, axis=0)[..., None]
    out = _sampled(rng, textures, sky, np.full(depth.shape, 1 / camera.focal), (0.8, 3.0))
    if rng.random() < 0.6:
        out = out * 0.25 + 0.75 * rng.uniform(0.5, 1.0, 3)
    haze = np.exp(-depth / 60.0)[..., None]
    floor = ground & (depth < FAR)
    covered = [(scene.ground, floor), (scene.backdrop, ~ground & (depth < FAR))]
    if rng.random() < PATCHED:
        around, away = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(-1.0, 3.0))
        beyond = math.cos(around) * points[0] + math.sin(around) * points[1] > away
        covered.append((scene.ground, floor & beyond))
    alike, shade = bool(rng.random() < ALIKE), math.exp(float(rng.uniform(-SHADE, SHADE)))
    for plane, here in covered:
        if plane is not None and here.any():
            normal = np.asarray(plane.normal)
            first = np.cross((0.0, 1.0, 0.0) if abs(normal[1]) < 0.5 else (0.0, 0.0, 1.0), normal)
            first /= np.linalg.norm(first)
            second = np.cross(normal, first)
            flat = np.stack((np.tensordot(first, points, 1), np.tensordot(second, points, 1)), -1)
            slant = np.abs(np.tensordot(normal, direction, 1)) / np.linalg.norm(direction, axis=0)
            found = _sampled(rng, textures, flat, depth / camera.focal / np.maximum(slant, 0.05), (0.7, 6.0))
            if alike and plane is scene.backdrop and floor.any():
                found = (found + out[floor].mean(0) * shade - found[here].mean(0)).clip(0, 1)
            out = np.where(here[..., None], found * haze + out.mean((0, 1)) * (1 - haze), out)
    return (out * 255).clip(0, 255).astype(np.uint8), depth if low else None


def _sampled(
    rng: np.random.Generator, textures: Sequence[Bytes], at: Floats, footprint: Floats, size: tuple[float, float]
) -> Floats:
    """Colours [H, W, 3] in 0..1 of a tiled texture at positions [H, W, 2], averaged over footprints [H, W]."""
    texture = textures[int(rng.integers(len(textures)))].astype(np.float32) / 255
    if rng.random() < 0.5:  # tinted, flatter
        texture = texture.mean(2, keepdims=True) * rng.uniform(0.3, 1.1, 3).astype(np.float32)
    keep, pale = (
        0.1 + 0.9 * float(rng.random()) ** 1.5,
        float(rng.random()),
    )  # floors and walls are often plain and grey
    texture = texture * keep + texture.mean((0, 1)) * (1 - keep)
    texture = texture * (1 - pale) + texture.mean(2, keepdims=True) * pale
    metres = float(rng.uniform(*size))
    angle = float(rng.uniform(0, 2 * math.pi))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    place = at @ turn / metres + rng.random(2)
    place = np.abs(place % 2 - 1)  # mirrored tiles have no seams
    levels = [texture]
    while min(levels[-1].shape[:2]) > 4:
        t = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2]
        levels.append((t[::2, ::2] + t[1::2, ::2] + t[::2, 1::2] + t[1::2, 1::2]) / 4)
    level = np.log2(np.maximum(footprint / metres * min(texture.shape[:2]), 1.0)).round().astype(int)
    level = level.clip(0, len(levels) - 1)
    out = np.empty((*at.shape[:2], 3), np.float32)
    for k in np.unique(level):
        here, t = level == k, levels[k]
        y, x = (np.minimum((place[here][:, i] * n).astype(int), n - 1) for i, n in ((1, t.shape[0]), (0, t.shape[1])))
        out[here] = t[y, x]
    return out
