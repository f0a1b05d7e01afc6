"""Rotations and poses on tensors: axis and angle, yaw-pitch-roll, interpolation."""

from __future__ import annotations

import torch
from torch import Tensor

from .linalg import norm


def rotation_about(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations [N, 3, 3] by angles [N] in radians about unit axes [N, 3] (Rodrigues' formula)."""
    x, y, z = axis.unbind(-1)
    o = torch.zeros_like(x)
    k = torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).view(-1, 3, 3)
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return torch.eye(3, dtype=axis.dtype) + sin * k + (1 - cos) * (k @ k)


def axis_angle(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Unit axes [N, 3] and angles [N] in 0..pi of rotations [N, 3, 3]: the inverse of rotation_about."""
    cos = ((rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    skew = torch.stack(
        (
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ),
        -1,
    )
    angle = torch.atan2(norm(skew) / 2, cos)
    # At half a turn the skew part vanishes; there (1 + rotation) / 2 is the outer product of the axis with itself.
    outer = (rotation + torch.eye(3, dtype=rotation.dtype)) / 2
    column = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    half_turn_axis = outer[torch.arange(len(rotation)), :, column]
    axis = torch.where((cos < -1 + 1e-9)[:, None], half_turn_axis, skew)
    return axis / norm(axis)[:, None].clamp_min(1e-300), angle


def slerp(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    """Rotations [N, 3, 3] on the shortest arc from a to b, at fractions s [N] of it: a exp(s log(a^T b))."""
    axis, angle = axis_angle(a.transpose(-1, -2) @ b)
    return a @ rotation_about(axis, s * angle)


def yaw_pitch_roll(yaw_deg: Tensor, pitch_deg: Tensor, roll_deg: Tensor) -> Tensor:
    """Rotations [N, 3, 3] of a camera in OpenCV axes: yaw to the right, then pitch up, then roll clockwise, all [N]."""
    x, y, z = torch.eye(3, dtype=torch.float64)
    yaw, pitch, roll = (torch.deg2rad(torch.as_tensor(d, dtype=torch.float64)) for d in (yaw_deg, pitch_deg, roll_deg))
    return (
        rotation_about(y.expand(len(yaw), 3), yaw)
        @ rotation_about(x.expand(len(yaw), 3), pitch)
        @ rotation_about(z.expand(len(yaw), 3), roll)
    )


def yaw_pitch_roll_of(rotation: Tensor) -> Tensor:
    """Yaw, pitch and roll [N, 3] in degrees of rotations [N, 3, 3]: the inverse of yaw_pitch_roll, |pitch| < 90."""
    yaw = torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = torch.asin(-rotation[:, 1, 2].clamp(-1, 1))
    roll = torch.atan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return torch.rad2deg(torch.stack((yaw, pitch, roll), 1))


def poses_from_vectors(vectors: Tensor) -> Tensor:
    """Rigid transforms [N, 4, 4] of vectors [N, 6]: translation, then rotation as its axis times its angle."""
    translation, rotation = vectors[:, :3], vectors[:, 3:]
    angle = norm(rotation)
    poses = torch.eye(4, dtype=vectors.dtype).repeat(len(vectors), 1, 1)
    poses[:, :3, :3] = rotation_about(rotation / angle.clamp_min(1e-12)[:, None], angle)
    poses[:, :3, 3] = translation
    return poses


def interpolate_poses(c2w: Tensor, focal: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Poses [N, 4, 4] and focal lengths [N] at fractional indices `at` [N] of a sequence [T, 4, 4], [T].

    Positions and focal lengths are interpolated linearly, rotations by slerp. float64.
    """
    low = at.floor().long().clamp(0, max(0, len(c2w) - 2))
    high = (low + 1).clamp(max=len(c2w) - 1)
    s = (at - low).clamp(0, 1)
    pose = torch.eye(4, dtype=torch.float64).repeat(len(at), 1, 1)
    pose[:, :3, :3] = slerp(c2w[low, :3, :3], c2w[high, :3, :3], s)
    pose[:, :3, 3] = torch.lerp(c2w[low, :3, 3], c2w[high, :3, 3], s[:, None])
    return pose, torch.lerp(focal[low], focal[high], s)
