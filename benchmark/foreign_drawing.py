"""The second world's renderer: Embree's rays through trimesh, textures of noise, soft shadows of a round light.

It shares no line with world/drawing: another shading, other edges, other shadows.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingModuleSource=false
# trimesh is an extra, and typed only in part.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ..geometry.camera_numpy import focal_length
from ..world.arrays import Bools, Floats, Ints
from .foreign_world import EXTRA, ForeignScene, Thing

SAMPLES = 2  # rays along each side of a pixel
LIGHT_RAYS = 4  # towards random points of the light, for each ray that hits
AMBIENT, FACING = 0.42, 0.58  # shares of light from everywhere, and of the lamp's on a surface that faces it
HIGHLIGHT, SHARPNESS = 0.25, 24.0  # Blinn-Phong, of things
LIFT = 1e-3  # m, by which rays start off their surface
SKY = (0.62, 0.72, 0.85)
WALL_HEIGHT, FLOOR_SIDE = 2.6, 60.0  # m
OCTAVES = 4  # of the noise
FAR = 1000.0  # m, where nothing is hit


@dataclass(frozen=True, eq=False)
class ForeignFootage:
    """What the camera sees: rgb [T, H, W, 3] 0..1 float32; depth [T, H, W] m along the axis; instance [T, H, W]: 0 or
    1 + a thing's number."""

    rgb: Floats
    depth: Floats
    instance: Ints


class Tracer(Protocol):
    """What is asked of trimesh's door to Embree: rays from origins [R, 3] along unit ways [R, 3]."""

    def intersects_first(self, ray_origins: Floats, ray_directions: Floats) -> Ints:
        """The first face that each meets [R], or -1."""
        ...

    def intersects_any(self, ray_origins: Floats, ray_directions: Floats) -> Bools:
        """Whether each meets a face [R]."""
        ...


def draw_foreign(
    scene: ForeignScene, poses: Floats, width: int, height: int, check: Callable[[], None] = lambda: None
) -> ForeignFootage:
    """Draw things in poses [T, N, 4, 4] (N may be 0: the empty room). Raises ValueError without trimesh and Embree.

    check: called before each frame, may raise to cancel.
    """
    if find_spec("trimesh") is None or find_spec("embreex") is None:
        raise ValueError(f"the foreign world needs more than is installed; {EXTRA}")
    surfaces = [_surface(thing) for thing in scene.things[: poses.shape[1]]]
    origin, ways, axis = _rays(scene, width, height)
    frames = [_frame(scene, surfaces, pose, origin, ways, axis, check) for pose in poses]
    shape = (height * SAMPLES, width * SAMPLES)
    rgb = np.stack([_averaged(f[0].reshape(*shape, 3), SAMPLES) for f in frames]).astype(np.float32)
    middle = (slice(None), slice(SAMPLES // 2, None, SAMPLES), slice(SAMPLES // 2, None, SAMPLES))
    depth = np.stack([f[1].reshape(shape) for f in frames])[middle]
    instance = np.stack([f[2].reshape(shape) for f in frames])[middle]
    return ForeignFootage(rgb, depth, instance)


def _rays(scene: ForeignScene, width: int, height: int) -> tuple[Floats, Floats, Floats]:
    """The eye [3], unit ways [R, 3] of all samples in rows, and their shares along the camera's axis [R]."""
    focal = focal_length(scene.fov_deg, height) * SAMPLES
    rows, columns = np.mgrid[0 : height * SAMPLES, 0 : width * SAMPLES] + 0.5
    x = (columns - width * SAMPLES / 2) / focal
    y = (rows - height * SAMPLES / 2) / focal
    local = np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    return scene.c2w[:3, 3], local @ scene.c2w[:3, :3].T, local[:, 2]


def _surface(thing: Thing) -> tuple[Floats, Ints]:
    """Corners [V, 3] and faces [F, 3] in the thing's axes."""
    import trimesh.creation as creation

    if thing.kind == "ball":
        mesh = creation.icosphere(subdivisions=4, radius=thing.size[0])
    elif thing.kind == "box":
        mesh = creation.box(extents=[2 * h for h in thing.size])
    else:
        mesh = creation.cylinder(radius=thing.size[0], height=2 * thing.size[1], sections=64)
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces)


def _frame(
    scene: ForeignScene,
    surfaces: list[tuple[Floats, Ints]],
    poses: Floats,
    origin: Floats,
    ways: Floats,
    axis: Floats,
    check: Callable[[], None],
) -> tuple[Floats, Floats, Ints]:
    """Colours [R, 3], depths [R] and instances [R] of one frame's samples."""
    check()
    rng = np.random.default_rng([scene.grain, 1])  # the same in every frame: the picture's noise stands still
    tracer, owner, normals, corners = _tracer(scene, surfaces, poses)
    face = tracer.intersects_first(np.broadcast_to(origin, ways.shape), ways)
    hit = face >= 0
    points, normal = np.zeros_like(ways), np.zeros_like(ways)
    distance = np.full(len(ways), FAR)
    corner = corners[face[hit]]
    n = normals[face[hit]]
    distance[hit] = ((corner - origin) * n).sum(1) / (ways[hit] * n).sum(1)
    points[hit] = origin + distance[hit, None] * ways[hit]
    of = np.where(hit, owner[face], -2)  # -1: the room
    normal[hit] = n
    base = np.broadcast_to(np.array(SKY), ways.shape).copy()
    gloss = np.zeros(len(ways))
    room = of == -1
    base[room] = _room(scene, points[room], normal[room])
    for i, thing in enumerate(scene.things[: len(surfaces)]):
        own = of == i
        local = (points[own] - poses[i, :3, 3]) @ poses[i, :3, :3]
        if thing.kind == "ball":
            normal[own] = (points[own] - poses[i, :3, 3]) / thing.size[0]
        base[own] = np.array(thing.rgb) * (0.8 + 0.35 * _noise(local * 5 + i, scene.grain + 7)[:, None])
        gloss[own] = HIGHLIGHT
    normal *= -np.sign((normal * ways).sum(1, keepdims=True))
    rgb = base
    rgb[hit] = _lit(scene, tracer, points[hit], normal[hit], ways[hit], base[hit], gloss[hit], rng)
    return rgb.clip(0, 1), distance * axis, np.maximum(of, -1).astype(np.uint8) + np.uint8(1)


def _tracer(
    scene: ForeignScene, surfaces: list[tuple[Floats, Ints]], poses: Floats
) -> tuple[Tracer, Ints, Floats, Floats]:
    """Embree over the room and the things in their poses; owner [F] (-1: the room), normal and a corner [F, 3] of its
    faces."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    s, y, z = FLOOR_SIDE, scene.wall_y, WALL_HEIGHT
    corners = [np.array([[-s, -s, 0], [s, -s, 0], [s, y, 0], [-s, y, 0], [s, y, z], [-s, y, z]], float)]
    faces, owner, start = [np.array([[0, 1, 2], [0, 2, 3], [3, 2, 4], [3, 4, 5]])], [np.full(4, -1)], 6
    for i, ((vertices, triangles), pose) in enumerate(zip(surfaces, poses, strict=True)):
        corners.append(vertices @ pose[:3, :3].T + pose[:3, 3])
        faces.append(triangles + start)
        owner.append(np.full(len(triangles), i))
        start += len(vertices)
    mesh = trimesh.Trimesh(np.concatenate(corners), np.concatenate(faces), process=False)
    first = np.asarray(mesh.triangles)[:, 0]
    return RayMeshIntersector(mesh), np.concatenate(owner), np.asarray(mesh.face_normals), first


def _room(scene: ForeignScene, points: Floats, normal: Floats) -> Floats:
    """Colours [P, 3] of floor and wall: two shades of noise each, and planks on the floor."""
    rng = np.random.default_rng([scene.grain, 2])
    floor, wall = rng.uniform(0.35, 0.6) * rng.uniform(0.9, 1.1, (2, 3))
    upright = np.abs(normal[:, 2]) < 0.5
    flat = np.where(upright[:, None], points[:, [0, 2, 1]], points)
    grain = _noise(flat * (2.5, 2.5, 0.0), scene.grain)
    planks = 0.06 * ((np.floor(flat[:, 0] / 0.8) % 2) - 0.5) * ~upright
    return np.where(upright[:, None], wall, floor) * (0.85 + 0.3 * grain + planks)[:, None]


def _lit(
    scene: ForeignScene,
    tracer: Tracer,
    points: Floats,
    normal: Floats,
    ways: Floats,
    base: Floats,
    gloss: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Colours [P, 3] in the light of a round lamp, whose shadows are soft."""
    lamp = np.zeros(len(points))
    start = points + LIFT * normal
    for _ in range(LIGHT_RAYS):
        ball = rng.normal(size=points.shape)
        ball *= scene.light_radius / np.linalg.norm(ball, axis=1, keepdims=True)
        way = scene.light + ball - start
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        free: Bools = ~tracer.intersects_any(start, way)
        lamp += free / LIGHT_RAYS
    toward = scene.light - points
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    facing = np.maximum((normal * toward).sum(1), 0)
    half = toward - ways
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = gloss * np.maximum((normal * half).sum(1), 0) ** SHARPNESS * lamp
    return base * (AMBIENT + FACING * facing * lamp)[:, None] + shine[:, None]


def _noise(points: Floats, seed: int) -> Floats:
    """Value noise [P] in 0..1 of points [P, 3], OCTAVES octaves of it."""
    table = np.random.default_rng([seed, 3]).random(4096)
    total = np.zeros(len(points))
    for octave in range(OCTAVES):
        at = points * 2.0**octave + 17.0 * octave
        cell = np.floor(at).astype(np.int64)
        part = at - cell
        part = part * part * (3 - 2 * part)
        value = np.zeros(len(points))
        for corner in np.ndindex(2, 2, 2):
            i = cell + corner
            entry = table[(i[:, 0] * 73856093 ^ i[:, 1] * 19349663 ^ i[:, 2] * 83492791) % 4096]
            value += entry * np.where(np.array(corner) == 1, part, 1 - part).prod(1)
        total += value * 0.5 ** (octave + 1)
    return total / (1 - 0.5**OCTAVES)


def _averaged(picture: Floats, by: int) -> Floats:
    """A picture [H, W, 3] at 1/by of its size."""
    height, width = picture.shape[0] // by, picture.shape[1] // by
    return picture.reshape(height, by, width, by, 3).mean((1, 3))
