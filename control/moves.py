"""Camera moves to choose by name, and paths through key frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..geometry.camera import FOV_RANGE_DEG, focal_length, fov_from_focal
from ..geometry.moves import EASINGS, PRESETS
from ..geometry.rotation import interpolate_poses, yaw_pitch_roll
from ..machine.fields import Between, Items, OneOf, read_text
from .camera import CameraPath
from .span import ControlError

HANDHELD_FPS = 8.0  # frames per second at which the tremor of the hand has its rates in Hz
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


@dataclass(frozen=True)
class CameraKey:
    """A key frame: t in 0..1 of the clip, position [x, y, z] in metres, look [yaw, pitch, roll] in degrees.

    fov_deg: None is the path's. ease: of the move from this key to the next.
    """

    t: Annotated[float, Between(0, 1)]
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    look: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fov_deg: Annotated[float, Between(*FOV_RANGE_DEG, "degrees")] | None = None
    ease: Annotated[str, OneOf(EASINGS)] = "linear"


@dataclass(frozen=True)
class _Drawn:
    """What the widget stores."""

    keys: Annotated[tuple[CameraKey, ...], Items(0, MAX_KEYS)]


def from_keys(keys: Sequence[CameraKey], frames: int = 41, fov_deg: float = 40.0) -> CameraPath:
    """A path through key frames in OpenCV axes of the first frame; yaw to the right, pitch up, roll clockwise.

    Between two keys positions are linear and rotations slerped, with the easing of the earlier key. Raises ControlError
    for no keys, and for two at one time.
    """
    _check_frames(frames)
    if not keys:
        raise ControlError("camera path: it has no keys; draw at least one")
    read = sorted(keys, key=lambda key: key.t)
    times = [key.t for key in read]
    for before, after in zip(times, times[1:], strict=False):
        if after <= before:
            raise ControlError(f"camera path: two keys are at t = {before:g}; move or delete one")
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(read), 1, 1)
    c2w[:, :3, :3] = yaw_pitch_roll(*torch.tensor([key.look for key in read], dtype=torch.float64).T)
    c2w[:, :3, 3] = torch.tensor([key.position for key in read], dtype=torch.float64)
    focal = focal_length(torch.tensor([key.fov_deg or fov_deg for key in read], dtype=torch.float64))
    moments = [float(moment) for moment in torch.linspace(0, 1, frames).double()]
    at = torch.tensor([_index_at(moment, read) for moment in moments], dtype=torch.float64)
    poses, focal = interpolate_poses(c2w, focal, at)
    return CameraPath(poses, fov_from_focal(focal), stretch=True)


def _index_at(moment: float, keys: list[CameraKey]) -> float:
    """The fractional index into keys at a time in 0..1."""
    i = max(0, sum(key.t <= moment for key in keys) - 1)
    if i + 1 >= len(keys) or moment <= keys[0].t:
        return float(i)
    share = (moment - keys[i].t) / (keys[i + 1].t - keys[i].t)
    return i + float(EASINGS[keys[i].ease](share))


def keys_of(text: str, name: str = "path") -> tuple[CameraKey, ...]:
    """The keys in a camera widget's JSON; none for an empty text. Raises ControlError naming the key and its field."""
    remedy = "clear it, or draw the path again"
    return read_text(_Drawn, text, name, ControlError, remedy).keys if text.strip() else ()


def _eased(s: Tensor, easing: str) -> Tensor:
    if easing not in EASINGS:
        raise ControlError(f"easing {easing!r} is unknown; expected one of {', '.join(EASINGS)}")
    return EASINGS[easing](s)


def _check_frames(frames: int) -> None:
    if not 1 <= frames <= MAX_FRAMES:
        raise ControlError(f"a camera path of {frames} frames was asked; expected 1 to {MAX_FRAMES}")


def _tremor(amount: float, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Yaw, pitch, roll [T] in degrees and position [T, 3] in metres: sums of slow sines without a common period."""
    seconds = torch.arange(frames, dtype=torch.float64) / HANDHELD_FPS
    rates = torch.tensor([0.35, 0.61, 1.07, 2.2], dtype=torch.float64)  # Hz
    weight = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    waves: list[Tensor] = []
    for channel in range(6):
        phase = 1.0 + 2.4 * channel + 1.7 * torch.arange(4)
        wave = (weight * torch.sin(2 * math.pi * rates * (1 + 0.07 * channel) * seconds[:, None] + phase)).sum(1)
        waves.append(amount * (wave - wave[0]))
    return waves[0], waves[1], 0.6 * waves[2], 0.02 * torch.stack(waves[3:], 1)
