"""Camera paths in and out of files: our own JSON, and the lines of numbers that other tools write."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from ..geometry.camera import FOV_RANGE_DEG
from .camera import CameraPath
from .moves import MAX_FRAMES, from_keys, keys_of
from .span import ControlError

AXES = "camera to world, metres, OpenCV axes (x right, y down, z forward); fov_deg vertical"
OFF_CENTRE = 0.02  # of the picture's side: a lens whose axis lies further off cannot be stated here

# Numbers in a line -> where they are: (first of fx fy cx cy, first of the pose, pose is camera to world).
LINES = {
    12: (None, 0, False),  # a bare 3x4 world-to-camera matrix
    19: (1, 7, False),  # RealEstate10K, CameraCtrl: time, fx fy cx cy, 0 0, 3x4 world to camera
    22: (0, 6, True),  # ComfyUI's Wan camera entries: fx fy cx cy, 0 0, 4x4 camera to world
    23: (1, 7, True),  # the same behind a time, as the embedding takes them
}
KINDS = (
    "12 (3x4 world to camera), 19 (RealEstate10K or CameraCtrl: time, fx fy cx cy, 0 0, 3x4 world to camera), "
    "22 or 23 (Wan camera entry: [time,] fx fy cx cy, 0 0, 4x4 camera to world)"
)


def to_json(camera: CameraPath) -> str:
    """The whole path as JSON; from_text reads it back to the bit."""
    return json.dumps({
        "version": 1, "axes": AXES, "stretch": camera.stretch, "strength": camera.strength, "start": camera.start,
        "end": camera.end, "fov_deg": camera.fov_deg.tolist(), "c2w": camera.c2w.tolist(),
    })  # fmt: skip


def from_text(text: str, name: str = "camera path", fov_deg: float = 40.0, frames: int = 41) -> CameraPath:
    """A path from what a file holds: our JSON (poses or key frames), Wan camera entries as JSON, or lines of numbers.

    fov_deg where the text says none; frames for key frames only. Raises ControlError naming `name` and the line.
    """
    stripped = text.strip()
    if not stripped:
        raise ControlError(f"{name} is empty; expected a camera path as JSON or lines of {KINDS} numbers")
    if stripped[0] in "{[":
        try:
            data = json.loads(stripped)
        except (json.JSONDecodeError, RecursionError) as e:
            raise ControlError(f"{name} is no JSON ({e}); write the file again") from e
        if isinstance(data, list):
            return _from_rows([(f"entry {i}", row) for i, row in enumerate(data)], name, fov_deg)
        if "keys" in data:
            return from_keys(keys_of(stripped, name) or [], frames, fov_deg)
        return _from_ours(data, name)
    rows = []
    for i, line in enumerate(stripped.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#") or (not rows and "://" in line):
            continue  # RealEstate10K's first line is the video's address
        try:
            rows.append((f"line {i}", [float(word) for word in words]))
        except ValueError as e:
            raise ControlError(f"{name}, line {i}: {line.strip()[:40]!r} is no line of numbers ({e})") from e
    return _from_rows(rows, name, fov_deg)


def _from_ours(data: dict[str, Any], name: str) -> CameraPath:
    if data.get("version") != 1 or "c2w" not in data:
        raise ControlError(
            f'{name}: expected {{"version": 1, "c2w": [...], "fov_deg": [...]}} or {{"version": 1, "keys": [...]}}'
        )
    try:
        span = {key: float(data[key]) for key in ("strength", "start", "end") if key in data}
        c2w = torch.tensor(data["c2w"], dtype=torch.float64)
        fov = torch.tensor(data.get("fov_deg", 40.0), dtype=torch.float64)
    except (TypeError, ValueError) as e:
        raise ControlError(f"{name}: c2w or fov_deg holds something that is no number ({e})") from e
    _check_length(len(c2w), name)
    return CameraPath(c2w, fov, stretch=bool(data.get("stretch", False)), **span)


def _from_rows(rows: list[tuple[str, Any]], name: str, fov_deg: float) -> CameraPath:
    _check_length(len(rows), name)
    count = len(rows[0][1]) if isinstance(rows[0][1], list) else 0
    poses, fovs = [], []
    for where, row in rows:
        if not isinstance(row, list) or len(row) != count or count not in LINES:
            found = f"{len(row)} numbers" if isinstance(row, list) else type(row).__name__
            expected = f"{count} as before" if count in LINES else KINDS
            raise ControlError(f"{name}, {where}: found {found}; expected {expected}")
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in row):
            raise ControlError(f"{name}, {where}: holds NaN, infinity or something that is no number")
        lens, first, to_world = LINES[count]
        pose = torch.eye(4, dtype=torch.float64)
        values = torch.tensor(row[first:], dtype=torch.float64)
        pose[: len(values) // 4] = values.reshape(-1, 4)
        poses.append(pose)
        fovs.append(fov_deg if lens is None else _fov(row[lens : lens + 4], f"{name}, {where}"))
    c2w = torch.stack(poses)
    if not LINES[count][2]:
        CameraPath(c2w, 40.0)  # says which frame is no rotation, before the inverse hides it
        c2w = torch.linalg.inv(c2w)
    return CameraPath(c2w, torch.tensor(fovs, dtype=torch.float64))


def _fov(lens: list[float], where: str) -> float:
    """Vertical field of view of fx, fy, cx, cy as shares of the picture's width and height."""
    _, fy, cx, cy = lens
    if max(abs(cx - 0.5), abs(cy - 0.5)) > OFF_CENTRE:
        raise ControlError(
            f"{where}: the lens is centred at {cx:g}, {cy:g} of the picture; expected 0.5, 0.5 (within {OFF_CENTRE}): "
            "crop the source to its centre, or set cx and cy to 0.5"
        )
    fov = 2 * math.degrees(math.atan(0.5 / fy)) if fy > 0 else -1.0
    if not FOV_RANGE_DEG[0] <= fov <= FOV_RANGE_DEG[1]:
        raise ControlError(f"{where}: fy is {fy:g}; expected a focal length as a share of the height, such as 0.9")
    return fov


def _check_length(count: int, name: str) -> None:
    if not 1 <= count <= MAX_FRAMES:
        raise ControlError(f"{name} holds {count} poses; expected 1 to {MAX_FRAMES}")
