"""Where the viewer stands: poses, moves and projection. Camera-to-world matrices in OpenCV axes (x right, y down, z forward)."""

from __future__ import annotations

import numpy as np

# Each move is one of these at its largest: degrees, metres, or the factor of the field of view.
MOVES = {
    "still": {},
    "orbit left": {"orbit": -30.0}, "orbit right": {"orbit": 30.0},
    "pan left": {"pan": -12.0}, "pan right": {"pan": 12.0},
    "tilt up": {"tilt": 8.0}, "tilt down": {"tilt": -8.0},
    "roll left": {"roll": -14.0}, "roll right": {"roll": 14.0},
    "move in": {"dolly": 2.0}, "move out": {"dolly": -2.0},
    "slide left": {"truck": -1.4}, "slide right": {"truck": 1.4},
    "rise": {"pedestal": 1.2}, "sink": {"pedestal": -0.8},
    "zoom in": {"zoom": 0.7}, "zoom out": {"zoom": 1.35},
}  # fmt: skip
CAMERA_MOVES = (*MOVES, "free")  # free: several at once, which words cannot tell


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Camera-to-world matrix [..., 4, 4], OpenCV axes, for eye and target [..., 3] in metres."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    c2w = np.zeros(eye.shape[:-1] + (4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2], c2w[..., :3, 3] = right, down, forward, eye
    c2w[..., 3, 3] = 1.0
    return c2w


def turn(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] about axis 0, 1 or 2."""
    a = np.radians(degrees)
    out = np.zeros(a.shape + (3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1.0
    out[..., i, i] = out[..., j, j] = np.cos(a)
    out[..., i, j], out[..., j, i] = -np.sin(a), np.sin(a)
    return out


def camera_path(
    amounts: dict[str, float], frames: int, eye: np.ndarray, target: np.ndarray, fov_deg: float, *, eased: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Poses [frames, 4, 4] and vertical fields of view [frames] from `eye` looking at `target`, both in metres.

    amounts, at the last frame: orbit, pan, tilt, roll in degrees; dolly, truck, pedestal in metres; zoom as a factor.
    """
    s = np.linspace(0.0, 1.0, frames)
    s = s * s * (3 - 2 * s) if eased else s
    get = lambda name: amounts.get(name, 0.0) * s  # noqa: E731
    pivot = np.array([target[0], target[1], 0.0])
    round_target = turn(2, get("orbit"))
    eyes = pivot + np.einsum("tij,j->ti", round_target, eye - pivot)
    targets = pivot + np.einsum("tij,j->ti", round_target, target - pivot)
    pose = look_at(eyes, targets)
    right, forward = pose[:, :3, 0], pose[:, :3, 2]
    pose[:, :3, 3] += right * get("truck")[:, None] + forward * get("dolly")[:, None]
    pose[:, 2, 3] = np.maximum(pose[:, 2, 3] + get("pedestal"), 0.5)  # never under the floor
    pose[:, :3, :3] = pose[:, :3, :3] @ turn(1, get("pan")) @ turn(0, get("tilt")) @ turn(2, get("roll"))
    return pose, fov_deg * (1 + (amounts.get("zoom", 1.0) - 1) * s)


def project_ball(
    centers: np.ndarray, radius: float, c2w: np.ndarray, fov_deg: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As `project`, of a ball whose radius is in metres: u, v, depth, and its radius in pixels, all [T]."""
    u, v, depth = project(centers, c2w, fov_deg, width, height)
    focal = 0.5 * height / np.tan(np.radians(fov_deg) / 2)
    return u, v, depth, focal * radius / np.sqrt(np.maximum(depth**2 - radius**2, 1e-6))


def project(
    points: np.ndarray, c2w: np.ndarray, fov_deg: np.ndarray | float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel positions u, v (centres at +0.5) and depth in metres of world points [..., 3]; c2w [..., 4, 4] broadcasts."""
    local = np.einsum("...ji,...j->...i", c2w[..., :3, :3], points - c2w[..., :3, 3])
    focal = 0.5 * height / np.tan(np.radians(fov_deg) / 2)
    depth = local[..., 2]
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    return local[..., 0] / safe * focal + width / 2, local[..., 1] / safe * focal + height / 2, depth
