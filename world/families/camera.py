"""The camera of a random scene: a pose that looks at a target, and the moves that start from it."""

from __future__ import annotations

import numpy as np

from ...geometry.camera_numpy import Floats, axis_rotation, look_at
from ...geometry.moves import EASINGS


def camera_path(
    amounts: dict[str, float], frames: int, eye: Floats, target: Floats, fov_deg: float, *, eased: bool = True
) -> tuple[Floats, Floats]:
    """Poses [frames, 4, 4] and vertical fields of view [frames] from `eye` looking at `target`, both in metres.

    amounts, at the last frame: orbit, pan, tilt, roll in degrees; dolly, truck, pedestal in metres; zoom as a factor.
    """
    s = np.linspace(0.0, 1.0, frames)
    s = EASINGS["smooth"](s) if eased else s

    def get(name: str) -> Floats:
        return amounts.get(name, 0.0) * s

    pivot = np.array([target[0], target[1], 0.0])
    round_target = axis_rotation(2, get("orbit"))
    eyes = pivot + np.einsum("tij,j->ti", round_target, eye - pivot)
    targets = pivot + np.einsum("tij,j->ti", round_target, target - pivot)
    pose = look_at(eyes, targets)
    right, forward = pose[:, :3, 0], pose[:, :3, 2]
    pose[:, :3, 3] += right * get("truck")[:, None] + forward * get("dolly")[:, None]
    pose[:, 2, 3] = np.maximum(pose[:, 2, 3] + get("pedestal"), 0.5)  # never under the floor
    pose[:, :3, :3] = (
        pose[:, :3, :3] @ axis_rotation(1, get("pan")) @ axis_rotation(0, get("tilt")) @ axis_rotation(2, get("roll"))
    )
    return pose, fov_deg * (1 + (amounts.get("zoom", 1.0) - 1) * s)
