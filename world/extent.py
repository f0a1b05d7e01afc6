"""How large and heavy a body is: its farthest points, volume, centre of mass and mass."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Floats
from .scene import Body, Quaternion, SceneError, Shape


def rotation_matrix(q: Quaternion) -> Floats:
    """Rotation [3, 3] of a quaternion (w, x, y, z) of any length but 0."""
    w, x, y, z = np.asarray(q, float) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def farthest(body: Body, directions: Floats) -> Floats:
    """Points [N, 3] of the body, at time 0 in world axes, that lie farthest along directions [N, 3]."""
    turn = rotation_matrix(body.rotation)
    local = directions @ turn
    points = np.stack([_farthest(shape, local) for shape in body.shapes])  # [S, N, 3] in body axes
    best = np.einsum("snk,nk->sn", points, local).argmax(0)
    return points[best, np.arange(len(directions))] @ np.transpose(turn) + np.asarray(body.position, float)


def _farthest(shape: Shape, directions: Floats) -> Floats:
    turn = rotation_matrix(shape.rotation)
    d = directions @ turn
    return _own_farthest(shape, d) @ np.transpose(turn) + np.asarray(shape.position, float)


def _own_farthest(shape: Shape, d: Floats) -> Floats:
    """The same in the shape's own axes."""
    if shape.kind == "hull":
        vertices = _vertices(shape)
        return vertices[(d @ vertices.T).argmax(1)]
    size = np.asarray(shape.size, float)
    if shape.kind == "box":
        return np.sign(d) * size
    if shape.kind == "ellipsoid":
        return d * size**2 / np.maximum(np.linalg.norm(d * size, axis=1, keepdims=True), 1e-12)
    if shape.kind == "cylinder":
        rim = d[:, :2] / np.maximum(np.linalg.norm(d[:, :2], axis=1, keepdims=True), 1e-12)
        return np.concatenate((rim * size[0], np.sign(d[:, 2:]) * size[1]), 1)
    ball = d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12) * size[0]
    if shape.kind == "capsule":
        ball[:, 2] += np.sign(d[:, 2]) * size[1]
    return ball


def _vertices(shape: Shape) -> Floats:
    if shape.vertices is None or len(shape.vertices) < 4:
        found = 0 if shape.vertices is None else len(shape.vertices)
        raise SceneError(f"a hull has {found} vertices; expected at least 4 that enclose a volume")
    return np.asarray(shape.vertices, float)


def volume_and_center(shape: Shape) -> tuple[float, Floats]:
    """Volume in cubic metres and its centre [3] in the body's axes. Raises SceneError for a flat hull."""
    center = np.asarray(shape.position, float)
    if shape.kind == "hull":
        from scipy.spatial import ConvexHull, QhullError

        vertices = _vertices(shape)
        try:
            hull = ConvexHull(vertices)
        except QhullError as e:
            raise SceneError(f"a hull of {len(vertices)} vertices encloses no volume: make it thicker") from e
        inside = vertices.mean(0)
        corners = vertices[hull.simplices] - inside  # tetrahedra from a point inside
        volumes = np.abs(np.linalg.det(corners)) / 6
        centroid = inside + (volumes[:, None] * corners.sum(1) / 4).sum(0) / volumes.sum()
        return float(volumes.sum()), center + rotation_matrix(shape.rotation) @ centroid
    s = shape.size
    ball = 4 / 3 * math.pi
    volumes = {
        "sphere": lambda: ball * s[0] ** 3,
        "box": lambda: 8 * s[0] * s[1] * s[2],
        "ellipsoid": lambda: ball * s[0] * s[1] * s[2],
        "cylinder": lambda: 2 * math.pi * s[0] ** 2 * s[1],
        "capsule": lambda: 2 * math.pi * s[0] ** 2 * s[1] + ball * s[0] ** 3,
    }
    return float(volumes[shape.kind]()), center


def mass(body: Body) -> float:
    """Kilograms: as given, else density times the volumes of its shapes."""
    if body.mass is not None:
        return body.mass
    return body.material.density * sum(volume_and_center(shape)[0] for shape in body.shapes)


def center_of_mass(body: Body) -> Floats:
    """Centre of mass [3] in the world at time 0; shapes of a compound weigh by their volumes."""
    parts = [volume_and_center(shape) for shape in body.shapes]
    local = sum((v * c for v, c in parts), np.zeros(3)) / sum(v for v, _ in parts)
    return rotation_matrix(body.rotation) @ local + np.asarray(body.position, float)


def size(body: Body) -> float:
    """One length in metres: the mean of its extents along the world's axes."""
    axes = np.eye(3)
    return float((farthest(body, axes) - farthest(body, -axes)).diagonal().mean())
