"""A camera path as ComfyUI's WAN_CAMERA_EMBEDDING, and the nine moves of its own node."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..geometry.camera import focal_length, fov_from_focal, plucker_rays
from ..geometry.rotation import rotation_about
from .camera import CameraPath
from .signals import RAY_CHANNELS, SUBFRAMES
from .span import ControlError

# Turn clockwise about the axis of view, and the way (right, down, forward), both as shares of a full move.
MOVES: dict[str, tuple[float, tuple[float, float, float]]] = {
    "Static": (0.0, (0.0, 0.0, 0.0)),
    "Pan Up": (0.0, (0.0, -1.0, 0.0)),
    "Pan Down": (0.0, (0.0, 1.0, 0.0)),
    "Pan Left": (0.0, (-1.0, 0.0, 0.0)),
    "Pan Right": (0.0, (1.0, 0.0, 0.0)),
    "Zoom In": (0.0, (0.0, 0.0, 2.0)),
    "Zoom Out": (0.0, (0.0, 0.0, -2.0)),
    "Anti Clockwise (ACW)": (-1.0, (0.0, 0.0, 0.0)),
    "ClockWise (CW)": (1.0, (0.0, 0.0, 0.0)),
}
PATHS_LENS = "the path's"
CORE_LENS = "as WanCameraEmbedding"
LENSES = (PATHS_LENS, CORE_LENS)
CORE_DISTANCE = 1.5  # a move's way at speed 1, in its own unit (comfy_extras/nodes_camera_trajectory.py, base_T_norm)
CORE_ANGLE = math.pi / 3  # its turn (base_angle)
CORE_ASPECT = 16 / 9  # of the picture that its focal lengths 0.5, 0.5 are shares of


def core_move(name: str, frames: int, speed: float = 1.0) -> CameraPath:
    """One of MOVES as WanCameraEmbedding makes it: evenly, and short of the last step. Raises ControlError."""
    if name not in MOVES:
        raise ControlError(f"camera move {name!r} is unknown; expected one of {', '.join(MOVES)}")
    turn, way = MOVES[name]
    s = torch.arange(frames, dtype=torch.float64) / frames * speed
    c2w = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    c2w[:, :3, :3] = rotation_about(torch.tensor([[0.0, 0.0, 1.0]]).double().expand(frames, 3), CORE_ANGLE * turn * s)
    c2w[:, :3, 3] = CORE_DISTANCE * s[:, None] * torch.tensor(way, dtype=torch.float64)
    return CameraPath(c2w, torch.tensor(40.0), stretch=True)


def camera_embedding(path: CameraPath, width: int, height: int, lens: str = PATHS_LENS) -> Tensor:
    """Pluecker rays float32 [1, 24, T', H, W] of a path of 4k + 1 poses; T' = k + 1, channel * 4 + frame.

    lens: PATHS_LENS: square pixels and the path's field of view; CORE_LENS: WanCameraEmbedding's own, whose pixels are
    not square, with the path's zoom. Raises ControlError for another count of poses or odd sizes.
    """
    if (path.frames - 1) % SUBFRAMES:
        below = max(1, (path.frames - 1) // SUBFRAMES * SUBFRAMES + 1)
        raise ControlError(
            f"camera embedding: the path has {path.frames} poses; Wan takes 4k + 1: make it {below} or {below + 4}"
        )
    if width % 16 or height % 16 or min(width, height) < 16:
        raise ControlError(f"camera embedding: {width}x{height} pixels; expected multiples of 16")
    fov, aspect = path.fov_deg, 1.0
    if lens == CORE_LENS:
        focal = 0.5 * max(height, width / CORE_ASPECT) * focal_length(path.fov_deg) / focal_length(path.fov_deg[0])
        fov, aspect = fov_from_focal(focal, height), CORE_ASPECT
    elif lens != PATHS_LENS:
        raise ControlError(f"camera embedding: no lens is named {lens!r}; expected {PATHS_LENS} or {CORE_LENS}")
    latent_frames = (path.frames - 1) // SUBFRAMES + 1
    out = torch.empty(1, RAY_CHANNELS, latent_frames, height, width)
    for t in range(latent_frames):  # one at a time: rays of all frames at once take nine times the memory of the result
        at = [0] * SUBFRAMES if t == 0 else list(range(SUBFRAMES * t - 3, SUBFRAMES * t + 1))
        rays = plucker_rays(path.c2w[[0, *at]], fov[[0, *at]], width, height, aspect=aspect)[1:]
        out[0, :, t] = rays.transpose(0, 1).flatten(0, 1)
    return out
