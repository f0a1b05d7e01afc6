"""Camera paths in JSON files of other tools: nerfstudio's transforms.json and ReCamMaster's camera tables."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ..machine.fields import is_number
from .camera import CameraPath
from .json_text import Json
from .span import ControlError

GL_TO_CV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # y up, z back -> y down, z forward
# Unreal's axes (x forward, y right, z up; left-handed) as rows of ours (x right, y down, z forward).
UNREAL_TO_CV = torch.tensor([[0, 1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
CENTIMETRE = 0.01  # Unreal's unit, in metres
_ROW = re.compile(r"\[([^\[\]]*)\]")
_FRAME = re.compile(r"frame(\d+)")


def is_nerfstudio(data: Json) -> bool:
    """Whether this is a transforms.json of nerfstudio or instant-ngp."""
    return isinstance(data, dict) and isinstance(data.get("frames"), list)


def is_recammaster(data: Json) -> bool:
    """Whether this is a table of ReCamMaster's dataset: {"frame0": {"cam01": "[...] [...] [...] [...]"}, ...}."""
    return isinstance(data, dict) and bool(data) and all(_FRAME.fullmatch(key) for key in data)


def from_nerfstudio(data: dict[str, Json], name: str, fov_deg: float) -> CameraPath:
    """The poses in the order of the file: camera to world in OpenGL axes, in the file's unit taken as metres.

    Field of view from fl_y and h or camera_angle_x with w and h, of the frame or of the file, else fov_deg.
    """
    poses: list[Tensor] = []
    fovs: list[float] = []
    frames = data["frames"]
    assert isinstance(frames, list)
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or "transform_matrix" not in frame:
            raise ControlError(f'{name}, frames[{i}]: found no "transform_matrix"; expected a 4x4 matrix there')
        poses.append(_matrix(frame["transform_matrix"], f"{name}, frames[{i}]") @ GL_TO_CV)
        fovs.append(_nerfstudio_fov({**data, **frame}, fov_deg))
    return CameraPath(_stack(poses, name), torch.tensor(fovs, dtype=torch.float64))


def from_recammaster(data: dict[str, Json], name: str, fov_deg: float, camera: str = "") -> CameraPath:
    """The poses of one camera of the table: transposed camera-to-world matrices in Unreal's axes and centimetres."""
    numbers = sorted(data, key=lambda key: int(key[5:]))
    poses: list[Tensor] = []
    for key in numbers:
        row = data[key]
        if not isinstance(row, dict) or not row:
            raise ControlError(f'{name}, {key}: found {type(row).__name__}; expected {{"cam01": "[...] ..."}}')
        camera = camera or (next(iter(row)) if len(row) == 1 else "")
        if camera not in row:
            names = ", ".join(sorted(row))
            raise ControlError(f"{name}, {key}: it holds {names}; name one behind the file, as in {name}#{min(row)}")
        rows = [text.split() for text in _ROW.findall(str(row[camera]))]
        try:
            values: Json = [[float(word) for word in words] for words in rows]
        except ValueError as e:
            raise ControlError(f"{name}, {key}, {camera}: {e}; expected four rows of four numbers") from e
        pose = UNREAL_TO_CV @ _matrix(values, f"{name}, {key}, {camera}").T @ UNREAL_TO_CV.T
        pose[:3, 3] *= CENTIMETRE
        poses.append(pose)
    return CameraPath(_stack(poses, name), torch.tensor(fov_deg, dtype=torch.float64))


def _nerfstudio_fov(data: dict[str, Json], fov_deg: float) -> float:
    """Vertical field of view in degrees of what a frame and its file say about the lens."""
    focal, width, height = (data.get(key) for key in ("fl_y", "w", "h"))
    if is_number(focal) and is_number(height) and focal > 0:
        return 2 * math.degrees(math.atan(0.5 * height / focal))
    vertical, across = data.get("camera_angle_y"), data.get("camera_angle_x")
    if is_number(vertical):
        return math.degrees(vertical)
    if is_number(across) and is_number(width) and is_number(height) and width > 0:
        return 2 * math.degrees(math.atan(math.tan(across / 2) * height / width))
    return fov_deg


def _matrix(value: Json, place: str) -> Tensor:
    """A 4x4 matrix of finite numbers; the last row may be left out. Raises ControlError."""
    rows = value if isinstance(value, list) else []
    sizes = [len(row) if isinstance(row, list) else 0 for row in rows]
    flat = [x for row in rows if isinstance(row, list) for x in row]
    if sizes not in ([4] * 3, [4] * 4) or not all(is_number(x) for x in flat):
        raise ControlError(f"{place}: expected a 4x4 matrix of numbers")
    pose = torch.eye(4, dtype=torch.float64)
    pose[: len(rows)] = torch.tensor(flat, dtype=torch.float64).view(-1, 4)
    return pose


def _stack(poses: list[Tensor], name: str) -> Tensor:
    if not poses:
        raise ControlError(f"{name} holds no poses")
    return torch.stack(poses)
