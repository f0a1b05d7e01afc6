"""Camera moves to choose by name, and paths through key frames."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from ..geometry.camera import FOV_RANGE_DEG, focal_length, fov_from_focal
from ..geometry.moves import EASINGS, PRESETS
from ..geometry.rotation import interpolate_poses, yaw_pitch_roll
from .camera import CameraPath
from .span import ControlError

HANDHELD_FPS = 8.0  # frames per second at which the hand's tremor is 0.35 to 2.2 Hz
MAX_AMOUNT = 30
MAX_KEYS = 1000
MAX_FRAMES = 1001  # the longest clip that sampling makes (sampling/lattice.py)


def move(
    name: str,
    amount: float = 1.0,
    easing: str = "smooth",
    frames: int = 41,
    fov_deg: float = 40.0,
    distance: float = 7.0,
    look_down_deg: float = 0.0,
) -> CameraPath:
    """One of PRESETS as a path that stretches. distance: metres to the point that an orbit goes round.

    look_down_deg: how far the first camera looks down; pans, orbits and pedestals go by the true vertical.
    Raises ControlError for unknown names and numbers out of range.
    """
    if name not in PRESETS:
        raise ControlError(f"camera move {name!r} is unknown; expected one of {', '.join(PRESETS)}")
    if not math.isfinite(amount) or abs(amount) > MAX_AMOUNT:
        raise ControlError(
            f"camera move {name}: amount is {amount}; expected -{MAX_AMOUNT} to {MAX_AMOUNT} (1: {PRESETS[name].does})"
        )
    if name == "orbit" and not 0.01 <= distance <= 1e4:
        raise ControlError(f"camera move orbit: distance is {distance} m; expected 0.01 to 10,000")
    _check_frames(frames)
    s = amount * _eased(torch.linspace(0, 1, frames).double(), easing)
    unit = PRESETS[name].amount
    zero, one = torch.zeros_like(s), torch.ones_like(s)
    yaw, pitch, roll, zoom = zero, zero, zero, one
    position = torch.zeros(frames, 3, dtype=torch.float64)  # in the first camera's axes, turned until they are level
    down = math.radians(look_down_deg)
    ahead = torch.tensor([0.0, math.sin(down), math.cos(down)], dtype=torch.float64)
    if name == "pan":
        yaw = unit * s
    elif name == "tilt":
        pitch = unit * s
    elif name == "roll":
        roll = unit * s
    elif name == "dolly":
        position = unit * s[:, None] * ahead
    elif name == "truck":
        position[:, 0] = unit * s
    elif name == "pedestal":
        position[:, 1] = -unit * s
    elif name == "orbit":
        yaw = -unit * s
        pivot = distance * ahead
        position = pivot - yaw_pitch_roll(yaw, zero, zero) @ pivot
    elif name == "zoom":
        zoom = unit**s
    elif name == "handheld":
        yaw, pitch, roll, position = _tremor(amount, frames)
    c2w = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    c2w[:, :3, :3] = yaw_pitch_roll(yaw, pitch - look_down_deg, roll)
    c2w[:, :3, 3] = position
    fov = fov_from_focal(zoom * focal_length(torch.tensor(float(fov_deg), dtype=torch.float64)))
    return CameraPath(c2w, fov, stretch=True).relative()


def from_keys(keys: list[dict[str, Any]], frames: int = 41, fov_deg: float = 40.0) -> CameraPath:
    """A path through keys: {"t": 0..1, "position": [x,y,z] m, "look": [yaw,pitch,roll] degrees, "fov_deg", "ease"}.

    OpenCV axes of the first frame; yaw to the right, pitch up, roll clockwise. Between two keys positions are linear,
    rotations slerped; `ease` is that of the key which is left. Raises ControlError naming the key.
    """
    _check_frames(frames)
    if not isinstance(keys, list) or not keys or len(keys) > MAX_KEYS:
        found = f"{len(keys)} of them" if isinstance(keys, list) else type(keys).__name__
        raise ControlError(f"camera path: its keys are {found}; expected a list of 1 to {MAX_KEYS:,} key frames")
    read = sorted((_key(i, key, fov_deg) for i, key in enumerate(keys)), key=lambda k: k["t"])
    times = torch.tensor([k["t"] for k in read], dtype=torch.float64)
    if len(times) > 1 and (times.diff() <= 0).any():
        raise ControlError(f"camera path: two keys are at t = {times[:-1][times.diff() <= 0][0]:g}; move or delete one")
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(read), 1, 1)
    c2w[:, :3, :3] = yaw_pitch_roll(*torch.tensor([k["look"] for k in read], dtype=torch.float64).T)
    c2w[:, :3, 3] = torch.tensor([k["position"] for k in read], dtype=torch.float64)
    focal = focal_length(torch.tensor([k["fov_deg"] for k in read], dtype=torch.float64))
    at = []
    for moment in torch.linspace(0, 1, frames).double().tolist():
        i = max(0, sum(t <= moment for t in times.tolist()) - 1)
        if i + 1 >= len(read) or moment <= times[0]:
            at.append(float(i))
            continue
        share = (moment - times[i]) / (times[i + 1] - times[i])
        at.append(i + float(_eased(share, read[i]["ease"])))
    poses, focal = interpolate_poses(c2w, focal, torch.tensor(at, dtype=torch.float64))
    return CameraPath(poses, fov_from_focal(focal), stretch=True)


def keys_of(text: str, name: str = "path") -> list[dict] | None:
    """The keys in a camera widget's JSON, None when it is empty. Raises ControlError naming what is wrong."""
    if not text.strip():
        return None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as e:
        raise ControlError(f"{name} is no JSON ({e}); clear it, or draw the path again") from e
    if not isinstance(data, dict) or data.get("version") != 1 or "keys" not in data:
        raise ControlError(f'{name}: expected {{"version": 1, "keys": [...]}}; clear it, or draw the path again')
    return data["keys"] or None


def _key(i: int, key: Any, fov_deg: float) -> dict:
    def numbers(name: str, count: int, default: Any = None) -> list[float]:
        found = key.get(name, default)
        values = [found] if count == 1 else found
        if not (isinstance(values, list) and len(values) == count and all(_finite(v) for v in values)):
            what = "a number" if count == 1 else f"{count} numbers"
            raise ControlError(f"camera path, key {i}: {name} is {found!r:.60}; expected {what}")
        return [float(v) for v in values]

    if not isinstance(key, dict):
        raise ControlError(f"camera path, key {i}: found {key!r:.60}; expected an object with t, position and look")
    (t,), (fov,) = numbers("t", 1), numbers("fov_deg", 1, fov_deg)
    if not 0 <= t <= 1:
        raise ControlError(f"camera path, key {i}: t is {t:g}; expected 0 (first frame) to 1 (last)")
    if not FOV_RANGE_DEG[0] <= fov <= FOV_RANGE_DEG[1]:
        raise ControlError(f"camera path, key {i}: fov_deg is {fov:g}; expected 1 to 170")
    ease = key.get("ease", "linear")
    if ease not in EASINGS:
        raise ControlError(f"camera path, key {i}: ease is {ease!r:.60}; expected one of {', '.join(EASINGS)}")
    position, look = numbers("position", 3, [0, 0, 0]), numbers("look", 3, [0, 0, 0])
    return {"t": t, "position": position, "look": look, "fov_deg": fov, "ease": ease}


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _eased(s: Tensor, easing: str) -> Tensor:
    if easing not in EASINGS:
        raise ControlError(f"easing {easing!r} is unknown; expected one of {', '.join(EASINGS)}")
    return EASINGS[easing](s)


def _check_frames(frames: int) -> None:
    if not 1 <= frames <= MAX_FRAMES:
        raise ControlError(f"a camera path of {frames} frames was asked; expected 1 to {MAX_FRAMES}")


def _tremor(amount: float, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of slow sines at rates without a common period: yaw, pitch, roll [T] degrees, place [T,3] metres."""
    seconds = torch.arange(frames, dtype=torch.float64) / HANDHELD_FPS
    rates = torch.tensor([0.35, 0.61, 1.07, 2.2], dtype=torch.float64)  # Hz
    weight = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    waves = []
    for channel in range(6):
        phase = 1.0 + 2.4 * channel + 1.7 * torch.arange(4)
        wave = (weight * torch.sin(2 * math.pi * rates * (1 + 0.07 * channel) * seconds[:, None] + phase)).sum(1)
        waves.append(amount * (wave - wave[0]))
    place = 0.02 * torch.stack(waves[3:], 1)
    return waves[0], waves[1], 0.6 * waves[2], place
