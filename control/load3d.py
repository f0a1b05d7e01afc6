"""Cameras of ComfyUI's 3D viewers (LOAD3D_CAMERA) as a path: from view to view, around what they look at.

Their world is that of three.js: x right, y up, z towards the viewer, right-handed; a camera looks along its own -z.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import FOV_RANGE_DEG, focal_length, fov_from_focal
from ..geometry.camera_numpy import quaternion_rotation
from ..geometry.linalg import norm
from ..geometry.moves import EASINGS
from ..geometry.rotation import rotation_about, slerp
from ..machine.fields import is_number
from .camera import CameraPath
from .json_text import Json
from .moves import MAX_FRAMES
from .span import ControlError

GL_TO_CV = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
UP = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
RIGHT = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
NEAREST_TARGET = 1e-6  # scene units between a camera and what it looks at


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """One camera of a viewer: yaw and pitch in radians of the way from its target to it, its distance in scene units.

    turned [3, 3]: its rotation over that of a level camera that looks at the target. fov_deg: vertical, zoom included.
    """

    target: Tensor
    yaw: float
    pitch: float
    distance: float
    turned: Tensor
    fov_deg: float


def viewpoint(info: Mapping[str, Json], name: str, fov_deg: float) -> Viewpoint:
    """A camera as ComfyUI's 3D nodes hand it out: position, target, zoom, cameraType; quaternion and fov if any.

    fov_deg: where it says none. Raises ControlError naming the field.
    """
    if not isinstance(info, Mapping):
        raise ControlError(f"{name} is {type(info).__name__}; expected the camera_info of a 3D viewer")
    if str(info.get("cameraType", "perspective")).lower().startswith("ortho"):
        raise ControlError(f"{name} is an orthographic camera, which has no path of rays; switch it to perspective")
    position, target = _vector(info, "position", "xyz", name), _vector(info, "target", "xyz", name, (0.0, 0.0, 0.0))
    offset = position - target
    distance = float(norm(offset))
    if distance < NEAREST_TARGET:
        raise ControlError(f"{name}: position and target are the same point; move the camera away from its target")
    yaw, pitch = math.atan2(float(offset[0]), float(offset[2])), math.asin(float(offset[1]) / distance)
    turned = torch.eye(3, dtype=torch.float64)
    if info.get("quaternion"):
        q = _vector(info, "quaternion", "xyzw", name)
        if abs(float(norm(q)) - 1) > 0.01:
            raise ControlError(f"{name}: the quaternion has length {float(norm(q)):g}; expected 1")
        rotation = torch.from_numpy(quaternion_rotation(np.array([q[3], q[0], q[1], q[2]]) / float(norm(q))))
        turned = _level(torch.tensor([yaw]), torch.tensor([pitch]))[0].T @ rotation
    zoom, fov = info.get("zoom", 1.0), info.get("fov") or fov_deg
    if not is_number(zoom) or not zoom > 0:
        raise ControlError(f"{name}: zoom is {zoom!r:.40}; expected a number above 0")
    if not is_number(fov) or not FOV_RANGE_DEG[0] <= fov <= FOV_RANGE_DEG[1]:
        raise ControlError(f"{name}: fov is {fov!r:.40}; expected {FOV_RANGE_DEG[0]:g} to {FOV_RANGE_DEG[1]:g} degrees")
    seen = 2 * math.degrees(math.atan(math.tan(math.radians(fov) / 2) / zoom))
    return Viewpoint(target, yaw, pitch, distance, turned, seen)


def path_through(
    views: Sequence[Viewpoint], frames: int, easing: str = "smooth", orbit_deg: float = 0.0, metres: float = 1.0
) -> CameraPath:
    """A path from view to view that stretches; between two the camera goes around their targets, its horizon level.

    orbit_deg: by how much it turns round the target to the right meanwhile. metres: of a scene unit.
    Raises ControlError for numbers out of range.
    """
    if easing not in EASINGS:
        raise ControlError(f"easing {easing!r} is unknown; expected one of {', '.join(EASINGS)}")
    if not 1 <= frames <= MAX_FRAMES or not views:
        raise ControlError(f"a path of {frames} frames through {len(views)} views; expected 1 to {MAX_FRAMES}")
    s = EASINGS[easing](torch.linspace(0, 1, frames).double())
    at = s * (len(views) - 1)
    low = at.floor().long().clamp(max=max(0, len(views) - 2))
    high = (low + 1).clamp(max=len(views) - 1)
    part = at - low
    yaws = torch.tensor(_unwound([view.yaw for view in views]), dtype=torch.float64)
    pitches = torch.tensor([view.pitch for view in views], dtype=torch.float64)
    logs = torch.tensor([math.log(view.distance) for view in views], dtype=torch.float64)
    focal = focal_length(torch.tensor([view.fov_deg for view in views], dtype=torch.float64))
    targets, turned = torch.stack([view.target for view in views]), torch.stack([view.turned for view in views])

    def between(values: Tensor) -> Tensor:
        share = part.view(-1, *(1,) * (values.ndim - 1))
        return torch.lerp(values[low], values[high], share)

    level = _level(between(yaws) + math.radians(orbit_deg) * s, between(pitches))
    c2w = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    c2w[:, :3, :3] = level @ slerp(turned[low], turned[high], part) @ GL_TO_CV
    c2w[:, :3, 3] = metres * (between(targets) + between(logs).exp()[:, None] * level[:, :, 2])
    return CameraPath(c2w, fov_from_focal(between(focal)), stretch=True).relative()


def _level(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Rotations [N, 3, 3] of level cameras that look back along the way that yaw and pitch [N] in radians describe."""
    count = len(yaw)
    about_up = rotation_about(UP.expand(count, 3), yaw.double())
    return about_up @ rotation_about(RIGHT.expand(count, 3), -pitch.double())


def _unwound(yaws: Sequence[float]) -> list[float]:
    """The same angles, each within half a turn of the one before: the camera takes the shorter way round."""
    return np.unwrap(np.asarray(yaws)).tolist()


def _vector(
    info: Mapping[str, Json], field: str, axes: str, name: str, default: tuple[float, ...] | None = None
) -> Tensor:
    """The numbers of {"x": ..., "y": ...}. Raises ControlError."""
    found = info.get(field)
    if found is None and default is not None:
        return torch.tensor(default, dtype=torch.float64)
    values = [found.get(axis) for axis in axes] if isinstance(found, dict) else []
    numbers = [float(value) for value in values if is_number(value)]
    if len(numbers) != len(axes):
        raise ControlError(f"{name}: {field} is {found!r:.60}; expected numbers {', '.join(axes)}")
    return torch.tensor(numbers, dtype=torch.float64)
