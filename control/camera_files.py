"""Camera paths in and out of files: our own JSON, and the lines of numbers that other tools write."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple, cast

import numpy as np
import torch

from ..geometry.camera import FOV_RANGE_DEG
from ..geometry.camera_numpy import quaternion_rotation
from ..machine.fields import Between, Items, is_number, read
from .camera import CameraPath
from .camera_json import GL_TO_CV, from_nerfstudio, from_recammaster, is_nerfstudio, is_recammaster
from .json_text import Json, parse_json
from .moves import MAX_FRAMES, from_keys, keys_of
from .span import ControlError

AXES = "camera to world, metres, OpenCV axes (x right, y down, z forward); fov_deg vertical"
MAX_QUATERNION_ERROR = 0.01  # files round to three digits or more
POSES = 'expected {"version": 1, "c2w": [...], "fov_deg": [...]} or {"version": 1, "keys": [...]}'
OFF_CENTRE = 0.02  # largest offset of the principal point from the centre, as a share of the picture's side


DIRECTIONS = ("camera to world", "world to camera")
CAMERA_AXES = ("OpenCV", "OpenGL")  # x right, y down, z forward; x right, y up, z back


class LineFormat(NamedTuple):
    """Where the numbers of a line are: the first of fx fy cx cy (None: not given), and the first of the pose."""

    lens: int | None
    pose: int
    direction: str | None  # of DIRECTIONS; None: files of both kinds look like this


FORMATS = {  # by the count of numbers in a line
    8: LineFormat(None, 1, DIRECTIONS[0]),  # TUM: time, position, quaternion x y z w
    12: LineFormat(None, 0, None),  # 3x4: KITTI's are camera to world, others world to camera
    16: LineFormat(None, 0, None),  # 4x4, by rows or by columns
    19: LineFormat(1, 7, DIRECTIONS[1]),  # RealEstate10K, CameraCtrl: time, fx fy cx cy, 0 0, 3x4
    22: LineFormat(0, 6, DIRECTIONS[0]),  # ComfyUI's Wan camera entries: fx fy cx cy, 0 0, 4x4
    23: LineFormat(1, 7, DIRECTIONS[0]),  # the same after a time, as the embedding takes them
}
KINDS = (
    "8 (TUM: time, position, quaternion), 12 (a 3x4 matrix, as KITTI's), 16 (a 4x4 matrix), 19 (RealEstate10K or "
    "CameraCtrl: time, fx fy cx cy, 0 0, 3x4 world to camera), 22 or 23 (Wan camera entry: [time,] fx fy cx cy, 0 0, "
    "4x4 camera to world)"
)


_Row = tuple[float, float, float, float]


def _listed(value: object) -> object:
    return cast(object, value) if isinstance(value, list) else [value]


@dataclass(frozen=True)
class _Poses:
    """What to_json writes; one field of view may stand for all."""

    c2w: Annotated[tuple[tuple[_Row, _Row, _Row, _Row], ...], Items(1, MAX_FRAMES)]
    fov_deg: Annotated[tuple[float, ...], _listed] = (40.0,)
    strength: Annotated[float, Between(0, 1)] = 1.0
    start: Annotated[float, Between(0, 1)] = 0.0
    end: Annotated[float, Between(0, 1)] = 1.0
    stretch: bool = False
    axes: str = AXES


def to_json(camera: CameraPath) -> str:
    """The whole path as JSON; from_text reads it back to the bit."""
    span = {"strength": camera.strength, "start": camera.start, "end": camera.end}
    form = {"version": 1, "axes": AXES, "stretch": camera.stretch, **span}
    return json.dumps({**form, "fov_deg": camera.fov_deg.tolist(), "c2w": camera.c2w.tolist()})


def from_text(
    text: str,
    name: str = "camera path",
    fov_deg: float = 40.0,
    frames: int = 41,
    direction: str | None = None,
    camera: str = "",
    axes: str | None = None,
) -> CameraPath:
    """A path from a file's text: our JSON (poses or key frames), nerfstudio's or ReCamMaster's JSON, Wan camera entries
    as JSON, or lines of numbers.

    fov_deg: where the text gives none; frames: for key frames only. direction: of matrices, one of DIRECTIONS, where
    the form leaves it open; axes: of the camera, one of CAMERA_AXES, there too, OpenCV by default; camera: which one of
    a ReCamMaster table. Raises ControlError naming `name` and the line.
    """
    stripped = text.strip()
    if not stripped:
        raise ControlError(f"{name} is empty; expected a camera path as JSON or lines of {KINDS} numbers")
    if stripped[0] in "{[":
        data = parse_json(stripped, name, "write the file again")
        if isinstance(data, list):
            entries = [(f"entry {i}", row) for i, row in enumerate(data)]
            return _from_rows(entries, name, fov_deg, direction, axes)
        if direction == DIRECTIONS[1]:
            raise ControlError(f"{name}: a file of this kind holds camera-to-world poses; leave its direction open")
        if axes is not None:
            raise ControlError(f"{name}: a file of this kind has axes of its own; leave them open")
        if isinstance(data, dict) and "keys" in data:
            return from_keys(keys_of(stripped, name), frames, fov_deg)
        if isinstance(data, dict) and is_nerfstudio(data):
            return from_nerfstudio(data, name, fov_deg)
        if isinstance(data, dict) and is_recammaster(data):
            return from_recammaster(data, name, fov_deg, camera)
        poses = read(_Poses, data, name, ControlError, POSES)
        fov = torch.tensor(poses.fov_deg if len(poses.fov_deg) != 1 else poses.fov_deg[0], dtype=torch.float64)
        c2w = torch.tensor(poses.c2w, dtype=torch.float64)
        return CameraPath(c2w, fov, poses.strength, poses.start, poses.end, poses.stretch)
    rows: list[tuple[str, Json]] = []
    for i, line in enumerate(stripped.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#") or (not rows and "://" in line):
            continue  # RealEstate10K's first line is the video's address
        try:
            rows.append((f"line {i}", [float(word) for word in words]))
        except ValueError as e:
            raise ControlError(f"{name}, line {i}: {line.strip()[:40]!r} is no line of numbers ({e})") from e
    return _from_rows(rows, name, fov_deg, direction, axes)


def leaves_axes_open(text: str) -> bool:
    """Whether a file's text is matrices alone, which say nothing of the camera's axes."""
    for line in text.strip().splitlines():
        words = line.replace(",", " ").split()
        if words and not words[0].startswith("#"):
            return len(words) in FORMATS and FORMATS[len(words)].direction is None
    return False


def _from_rows(
    rows: list[tuple[str, Json]], name: str, fov_deg: float, direction: str | None, axes: str | None
) -> CameraPath:
    """A path of rows of numbers, each with the place where it stands."""
    _check_length(len(rows), name)
    first = rows[0][1]
    count = len(first) if isinstance(first, list) else 0
    poses: list[torch.Tensor] = []
    fovs: list[float] = []
    form = FORMATS.get(count, FORMATS[12])
    for place, row in rows:
        if not isinstance(row, list) or len(row) != count or count not in FORMATS:
            found = f"{len(row)} numbers" if isinstance(row, list) else type(row).__name__
            expected = f"{count} as before" if count in FORMATS else KINDS
            raise ControlError(f"{name}, {place}: found {found}; expected {expected}")
        numbers = [float(value) for value in row if is_number(value)]
        if len(numbers) < count:
            raise ControlError(f"{name}, {place}: holds NaN, infinity or something that is no number")
        poses.append(_pose(numbers[form.pose :], f"{name}, {place}"))
        fovs.append(fov_deg if form.lens is None else _fov(numbers[form.lens : form.lens + 4], f"{name}, {place}"))
    path = CameraPath(_by_rows(torch.stack(poses)), torch.tensor(fovs, dtype=torch.float64))  # names a bad one
    if form.direction and direction not in (None, form.direction):
        raise ControlError(f"{name}: lines of {count} numbers are {form.direction}, not {direction}; leave it open")
    if form.direction and axes is not None:
        raise ControlError(f"{name}: lines of {count} numbers have OpenCV axes by their kind; leave the axes open")
    if not (form.direction or direction):
        raise ControlError(
            f"{name}: lines of {count} numbers hold matrices of either direction, {' or '.join(DIRECTIONS)}, and "
            "nothing in them says which; choose `direction` (KITTI's are camera to world), and `axes` where they are "
            "not OpenCV's"
        )
    if (form.direction or direction) == DIRECTIONS[1]:
        path = CameraPath(torch.inverse(path.c2w), path.fov_deg)
    return CameraPath(path.c2w @ GL_TO_CV, path.fov_deg) if axes == CAMERA_AXES[1] else path


def _pose(values: list[float], place: str) -> torch.Tensor:
    """A pose [4, 4] of position and quaternion (x y z w), or of a matrix 3x4 or 4x4."""
    pose = torch.eye(4, dtype=torch.float64)
    if len(values) == 7:
        pose[:3, 3] = torch.tensor(values[:3])
        length = math.hypot(*values[3:])
        if abs(length - 1) > MAX_QUATERNION_ERROR:
            raise ControlError(f"{place}: the quaternion has length {length:g}; expected 1")
        x, y, z, w = values[3:]
        pose[:3, :3] = torch.from_numpy(quaternion_rotation(np.array([w, x, y, z]) / length))
        return pose
    matrix = torch.tensor(values, dtype=torch.float64).view(-1, 4)
    pose[: len(matrix)] = matrix
    return pose


def _by_rows(poses: torch.Tensor) -> torch.Tensor:
    """Matrices [N, 4, 4] of a file, turned where it writes them by columns, as its positions tell."""
    # Matrices without any position are taken by rows.
    by_columns = (poses[:, 3, :3] != 0).any() and (poses[:, :, 3] == torch.eye(4, dtype=poses.dtype)[3]).all()
    return poses.mT.contiguous() if by_columns else poses


def _fov(lens: list[float], place: str) -> float:
    """Vertical field of view of fx, fy, cx, cy as shares of the picture's width and height."""
    _, fy, cx, cy = lens
    if max(abs(cx - 0.5), abs(cy - 0.5)) > OFF_CENTRE:
        raise ControlError(
            f"{place}: the lens is centred at {cx:g}, {cy:g} of the picture; expected 0.5, 0.5 (within {OFF_CENTRE}): "
            "crop the source to its centre, or set cx and cy to 0.5"
        )
    fov = 2 * math.degrees(math.atan(0.5 / fy)) if fy > 0 else -1.0
    if not FOV_RANGE_DEG[0] <= fov <= FOV_RANGE_DEG[1]:
        raise ControlError(f"{place}: fy is {fy:g}; expected a focal length as a share of the height, such as 0.9")
    return fov


def _check_length(count: int, name: str) -> None:
    if not 1 <= count <= MAX_FRAMES:
        raise ControlError(f"{name} holds {count} poses; expected 1 to {MAX_FRAMES}")
