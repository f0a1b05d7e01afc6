"""Closed triangle meshes of shapes and bodies: surfaces, volumes, centres of mass, convex hulls, poses as matrices."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# NumPy's annotations leave products of arrays of any float type without a type.

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.camera_numpy import quaternion_rotation
from .scene import Mesh, SceneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arrays import Floats, Ints
    from .scene import Body, Quaternion, Shape, Vector

SEGMENTS = 48  # around a round shape: its outline is then within 0.2% of the radius


def rotation_matrix(quaternion: Quaternion | Floats) -> Floats:
    """Rotation [3, 3] of a quaternion (w, x, y, z) of any length. Raises SceneError at zero length."""
    q = np.asarray(quaternion, float)
    length = np.linalg.norm(q)
    if not (np.isfinite(length) and length > 1e-9):
        raise SceneError(f"the rotation {tuple(q)} is no quaternion: its length is {length}, expected 1")
    return quaternion_rotation(q / length)


def pose_matrix(position: Vector | Floats, rotation: Quaternion | Floats) -> Floats:
    """Transform [4, 4] from the axes of a thing at this position and rotation to those around it."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_matrix(rotation), position
    return pose


def transformed(points: Floats, pose: Floats) -> Floats:
    """Points [N, 3] moved by a transform [4, 4]."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def surface_of(body: Body) -> Mesh:
    """What of a body is drawn, in its axes: its `surface`, or the shapes' surfaces together."""
    if body.surface is not None:
        return body.surface
    return joined([shape_mesh(s) for s in body.shapes])


def shape_mesh(shape: Shape, segments: int = SEGMENTS) -> Mesh:
    """A shape's closed surface in the body's axes, with `segments` around what is round."""
    if shape.kind == "box":
        mesh = _box(shape)
    elif shape.kind == "hull":
        mesh = _hull(shape)
    else:
        mesh = _turned(shape, segments) if shape.kind in ("cylinder", "capsule") else _ball(shape, segments)
    pose = pose_matrix(shape.position, shape.rotation)
    return Mesh(transformed(mesh.vertices, pose), mesh.faces, mesh.uv)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one; uv is kept if each has it."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    uv = [m.uv for m in meshes if m.uv is not None]
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=False)]),
        np.concatenate(uv) if len(uv) == len(meshes) else None,
    )


def volume(mesh: Mesh) -> float:
    """Volume in m^3 of a closed mesh, by the divergence theorem; negative if its faces look inwards."""
    a, b, c = corners(mesh.vertices - mesh.vertices.mean(0), mesh.faces)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def centroid(mesh: Mesh) -> Floats:
    """Centre [3] of the volume of a closed mesh."""
    origin = mesh.vertices.mean(0)
    a, b, c = corners(mesh.vertices - origin, mesh.faces)
    tetrahedra = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    return origin + tetrahedra @ (a + b + c) / 4 / tetrahedra.sum()


def corners(vertices: Floats, faces: Ints) -> tuple[Floats, Floats, Floats]:
    """First, second and third corner [F, 3] of each triangle."""
    return vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]


def shape_volume(shape: Shape) -> float:
    """Volume of a shape in m^3."""
    s = shape.size
    if shape.kind == "sphere":
        return 4 / 3 * math.pi * s[0] ** 3
    if shape.kind == "ellipsoid":
        return 4 / 3 * math.pi * s[0] * s[1] * s[2]
    if shape.kind == "box":
        return 8 * s[0] * s[1] * s[2]
    if shape.kind == "cylinder":
        return 2 * math.pi * s[0] ** 2 * s[1]
    if shape.kind == "capsule":
        return math.pi * s[0] ** 2 * (2 * s[1] + 4 / 3 * s[0])
    return volume(_hull(shape))


def body_volume(body: Body) -> float:
    """Sum of the volumes of a body's shapes in m^3."""
    return float(sum(shape_volume(s) for s in body.shapes))


def body_mass(body: Body) -> float:
    """A body's mass in kilograms: its own, or density times volume."""
    return body.mass if body.mass is not None else body.material.density * body_volume(body)


def body_center(body: Body) -> Floats:
    """Centre of mass [3] in the body's axes."""
    if not body.shapes:
        return np.zeros(3)
    volumes = np.array([shape_volume(s) for s in body.shapes])
    return volumes @ np.array([_shape_center(s) for s in body.shapes]) / volumes.sum()


def convex_hull(points: Floats) -> Mesh:
    """The convex hull of points [N, 3], faces outwards. Raises SceneError if they span no volume."""
    from scipy.spatial import ConvexHull, QhullError

    extent = np.ptp(points, axis=0) if len(points) else np.zeros(3)
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as e:
        raise SceneError(
            f"a hull of {len(points)} points with extent {tuple(np.round(extent, 6))} m spans no volume; "
            "expected 4 or more points that do not lie in a plane"
        ) from e
    keep = np.asarray(hull.vertices)
    number = np.zeros(len(points), np.int64)
    number[keep] = np.arange(len(keep))
    faces, vertices = np.asarray(hull.simplices, np.int64), points
    a, b, c = corners(vertices, faces)
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), np.asarray(hull.equations)[:, :3]) < 0
    faces = np.where(inward[:, None], faces[:, ::-1], faces)
    return Mesh(vertices[keep], number[faces])


def _shape_center(shape: Shape) -> Floats:
    if shape.kind == "hull":
        return centroid(shape_mesh(shape))
    return np.asarray(shape.position, float)


def _hull(shape: Shape) -> Mesh:
    if shape.vertices is None:
        raise SceneError("a shape of kind 'hull' has no vertices; expected an array [N, 3] in metres")
    return convex_hull(np.asarray(shape.vertices, float))


def _box(shape: Shape) -> Mesh:
    """Each face has its own corners, so that a texture covers each face."""
    square = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float)
    x, y, z = np.eye(3)
    # Rows are where a face's own x, y and z (outwards) point: rotations, so that faces keep their winding.
    sides = [(x, y, z), (x, -y, -z), (y, z, x), (-y, z, -x), (-x, z, y), (x, z, -y)]
    vertices = np.concatenate([square @ np.array(s) for s in sides]) * np.asarray(shape.size, float)
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(6)])
    return Mesh(vertices, faces, np.tile(uv, (6, 1)))


def _ball(shape: Shape, segments: int) -> Mesh:
    radii = np.asarray(shape.size, float) * np.ones(3)
    polar = np.linspace(0, math.pi, segments // 2 + 1)
    mesh = _revolved(np.sin(polar), np.cos(polar), segments)
    return Mesh(mesh.vertices * radii, mesh.faces, mesh.uv)


def _turned(shape: Shape, segments: int) -> Mesh:
    """A cylinder or a capsule along z."""
    radius, half = shape.size
    if shape.kind == "cylinder":
        return _revolved(np.array([0, radius, radius, 0]), np.array([half, half, -half, -half]), segments)
    polar = np.linspace(0, math.pi / 2, segments // 4 + 1)
    r, z = radius * np.sin(polar), half + radius * np.cos(polar)
    return _revolved(np.concatenate((r, r[::-1])), np.concatenate((z, -z[::-1])), segments)


def _revolved(radius: Floats, height: Floats, segments: int) -> Mesh:
    """The surface of a profile from the top pole to the bottom pole, turned about z; uv is (angle, way down)."""
    turn = np.linspace(0, 2 * math.pi, segments + 1)
    rings, columns = len(radius), segments + 1
    way = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(radius), np.diff(height)))))
    # The seam's two columns are the same points, so that the mesh is closed to the last bit.
    cos, sin = np.append(np.cos(turn[:-1]), 1.0), np.append(np.sin(turn[:-1]), 0.0)
    vertices = np.stack((np.outer(radius, cos), np.outer(radius, sin), np.repeat(height[:, None], columns, 1)), -1)
    uv = np.stack(np.broadcast_arrays(turn / (2 * math.pi), way[:, None] / way[-1]), -1)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
    a, b, c, d = i * columns + j, i * columns + j + 1, (i + 1) * columns + j, (i + 1) * columns + j + 1
    faces = np.stack((np.stack((a, c, d), -1), np.stack((a, d, b), -1)), 2).reshape(-1, 3)
    solid = _double_areas(vertices.reshape(-1, 3), faces) > 1e-12 * way[-1] ** 2
    return Mesh(vertices.reshape(-1, 3), faces[solid], uv.reshape(-1, 2))


def _double_areas(vertices: Floats, faces: Ints) -> Floats:
    a, b, c = corners(vertices, faces)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)
