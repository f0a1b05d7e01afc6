"""Pinhole cameras on NumPy arrays: what camera.py is for tensors, for code that runs without torch (random scenes)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def focal_length(fov_deg: Floats | float, height: float) -> Floats:
    """Focal length in pixels of a picture `height` pixels high, for a vertical field of view in degrees."""
    return 0.5 * height / np.tan(np.radians(fov_deg) / 2)


def pixel_size(fov_deg: float, height: float) -> float:
    """Size of a pixel in metres at 1 m of depth.

    This is 1 / focal_length, in the order of operations by which the training clips were drawn (last bits differ).
    """
    return 2 * np.tan(np.radians(fov_deg) / 2) / height


def look_at(eye: Floats, target: Floats) -> Floats:
    """Pose c2w [..., 4, 4] of a level camera at `eye` that looks at `target`, both [..., 3] in metres, world z up."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    c2w = np.zeros(eye.shape[:-1] + (4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2], c2w[..., :3, 3] = right, down, forward, eye
    c2w[..., 3, 3] = 1.0
    return c2w


def axis_rotation(axis: int, degrees: Floats) -> Floats:
    """Rotation matrices [..., 3, 3] about coordinate axis 0, 1 or 2, counter-clockwise seen from its positive end."""
    a = np.radians(degrees)
    out = np.zeros(a.shape + (3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1.0
    out[..., i, i] = out[..., j, j] = np.cos(a)
    out[..., i, j], out[..., j, i] = -np.sin(a), np.sin(a)
    return out


def quaternion_rotation(quaternion: Floats) -> Floats:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4], w first."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(r, -1) for r in rows], -2)


def project(
    points: Floats, c2w: Floats, fov_deg: Floats | float, width: int, height: int
) -> tuple[Floats, Floats, Floats]:
    """Pixel positions u, v and depth in metres, all [...], of world points [..., 3]; c2w [..., 4, 4] broadcasts."""
    local = np.einsum("...ji,...j->...i", c2w[..., :3, :3], points - c2w[..., :3, 3])
    focal = focal_length(fov_deg, height)
    depth = local[..., 2]
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    return local[..., 0] / safe * focal + width / 2, local[..., 1] / safe * focal + height / 2, depth


def project_sphere(
    centers: Floats, radius: float, c2w: Floats, fov_deg: Floats, width: int, height: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """As project, for spheres of a radius in metres: u, v, depth, and the radius in pixels, all [T]."""
    u, v, depth = project(centers, c2w, fov_deg, width, height)
    focal = focal_length(fov_deg, height)
    return u, v, depth, focal * radius / np.sqrt(np.maximum(depth**2 - radius**2, 1e-6))
