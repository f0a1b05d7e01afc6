"""Keys of a walk, as the demos of world models take them ("w-3, right-1"), become a camera path.

Keys and speeds are those of HY-WorldPlay (hyvideo/generate.py): 0.08 forward and 3 degrees for each latent frame; i, j,
k, l turn the camera as in the demos of LingBot-World and Matrix-Game.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch

from ..geometry.rotation import yaw_pitch_roll
from .camera import CameraPath
from .moves import MAX_FRAMES
from .span import ControlError

LATENT = "latent frames"
UNITS = (LATENT, "frames", "seconds")
CAMERA, LEVEL = "as the camera looks", "level with the ground"
MOVES_BY = (CAMERA, LEVEL)
FPS = 24.0  # of HY-WorldPlay; Wan's is 16
SUBFRAMES = 4  # video frames of a latent frame of Wan
MAX_CHARACTERS, MAX_STEP = 20_000, 100
# What a key does: metres right, up, forward, and degrees of yaw to the right and pitch up, as shares of the speeds.
KEYS: dict[str, tuple[int, int, int, int, int]] = {
    "w": (0, 0, 1, 0, 0), "s": (0, 0, -1, 0, 0), "a": (-1, 0, 0, 0, 0), "d": (1, 0, 0, 0, 0),
    "e": (0, 1, 0, 0, 0), "q": (0, -1, 0, 0, 0),
    "left": (0, 0, 0, -1, 0), "right": (0, 0, 0, 1, 0), "up": (0, 0, 0, 0, 1), "down": (0, 0, 0, 0, -1),
    "stay": (0, 0, 0, 0, 0),
}  # fmt: skip
SAME_AS = {
    **{"j": "left", "l": "right", "i": "up", "k": "down", "←": "left", "→": "right", "↑": "up", "↓": "down"},
    **{"forward": "w", "backward": "s", "back": "s", "idle": "stay", "none": "stay", "noop": "stay", "nomove": "stay"},
}
LETTERS = re.compile(r"[wasdeqijkl←→↑↓]+")
SUFFIXES = {"s": "seconds", "f": "frames", "l": LATENT}
STEP = re.compile(r"(?P<keys>[^\d:=-]+?)\s*(?:[:=-]?\s*(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>[sfl])?)?")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far and how long a key moves: metres and degrees a latent frame (4 frames).

    unit: of durations, one of UNITS; each: the duration of a key that has none; fps: for durations in seconds. by: one
    of MOVES_BY.
    """

    metres: float = 0.08
    degrees: float = 3.0
    unit: str = LATENT
    each: float = 4.0
    fps: float = FPS
    by: str = CAMERA


@dataclass(frozen=True)
class Step:
    """Keys that are held together, and for how many frames."""

    keys: tuple[str, ...]
    frames: int


def read_walk(text: str, pace: Pace) -> tuple[Step, ...]:
    """The steps of a text. Raises ControlError naming the step that is none."""
    if len(text) > MAX_CHARACTERS:
        raise ControlError(f"walk: {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    if pace.unit not in UNITS or pace.by not in MOVES_BY:
        raise ControlError(f"walk: {pace.unit!r}, {pace.by!r}; expected one of {', '.join((*UNITS, *MOVES_BY))}")
    steps: list[Step] = []
    for place, word in enumerate((w.strip().lower() for w in re.split(r"[,;\n]", text)), start=1):
        if len(word) > MAX_STEP:
            raise ControlError(f"walk, step {place} is {len(word):,} characters long; expected keys such as w+left-2")
        if word:
            steps.append(_step(word, f"walk, step {place} ({word[:30]!r})", pace))
    if not steps:
        raise ControlError("walk: it is empty; expected keys and how long they are held, as in w-3, right-1, w+left-2")
    frames = frames_of(steps)
    if frames > MAX_FRAMES:
        raise ControlError(f"walk: it lasts {frames:,} frames; at most {MAX_FRAMES:,} are made: hold the keys for less")
    return tuple(steps)


def frames_of(steps: tuple[Step, ...] | list[Step]) -> int:
    """Frames of a walk: the first one, and those of each step."""
    return 1 + sum(step.frames for step in steps)


def walk(text: str, pace: Pace, fov_deg: float = 40.0) -> CameraPath:
    """The path of a walk: one pose a frame, the first at the origin. Raises ControlError."""
    steps = read_walk(text, pace)
    for name, value, most in (("metres", pace.metres, 100.0), ("degrees", pace.degrees, 90.0)):
        if not (math.isfinite(value) and 0 <= value <= most):
            raise ControlError(f"walk: {name} is {value:g}; expected 0 to {most:g} for each latent frame")
    moves = torch.tensor([_held(step) for step in steps for _ in range(step.frames)], dtype=torch.float64).view(-1, 5)
    moves = moves / SUBFRAMES * torch.tensor([pace.metres] * 3 + [pace.degrees] * 2, dtype=torch.float64)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(moves) + 1, 1, 1)
    # right, up and forward in the camera's axes (x right, y down, z forward)
    ways = torch.stack((moves[:, 0], -moves[:, 1], moves[:, 2]), 1)
    if pace.by == LEVEL:
        angles = torch.cat((torch.zeros(1, 2, dtype=torch.float64), moves[:, 3:].cumsum(0)))
        zero = torch.zeros(len(angles), dtype=torch.float64)
        c2w[:, :3, :3] = yaw_pitch_roll(angles[:, 0], angles[:, 1].clamp(-89, 89), zero)
        heading = yaw_pitch_roll(angles[1:, 0], zero[1:], zero[1:])
        c2w[1:, :3, 3] = (heading @ ways[..., None])[..., 0].cumsum(0)
    else:
        turns = yaw_pitch_roll(moves[:, 3], moves[:, 4], torch.zeros(len(moves), dtype=torch.float64))
        for t in range(len(moves)):
            c2w[t + 1, :3, :3] = c2w[t, :3, :3] @ turns[t]
            c2w[t + 1, :3, 3] = c2w[t, :3, 3] + c2w[t + 1, :3, :3] @ ways[t]
    return CameraPath(c2w, torch.tensor(float(fov_deg)))


def _held(step: Step) -> list[int]:
    return [sum(values) for values in zip(*(KEYS[key] for key in step.keys), strict=True)]


def _step(word: str, place: str, pace: Pace) -> Step:
    """One step such as w-3, w+left-2, wd 1.5s, right."""
    found = STEP.fullmatch(word)
    keys = _keys(found["keys"]) if found else None
    if found is None or keys is None:
        raise ControlError(
            f"{place}: expected keys and how long they are held, as in w-3 or w+left-2; keys are "
            f"{', '.join((*KEYS, *SAME_AS))}"
        )
    for one, other in (("w", "s"), ("a", "d"), ("e", "q"), ("left", "right"), ("up", "down")):
        if {one, other} <= set(keys):
            raise ControlError(f"{place}: {one} and {other} cancel each other; hold one of them")
    unit = SUFFIXES.get(found["unit"] or "", pace.unit)
    length = float(found["count"]) if found["count"] else pace.each
    frames = round(length * {LATENT: float(SUBFRAMES), "frames": 1.0, "seconds": pace.fps}[unit])
    if frames < 1:
        raise ControlError(f"{place}: {length:g} {unit} are less than one frame; hold the keys for longer")
    return Step(keys, frames)


def _keys(text: str) -> tuple[str, ...] | None:
    """The keys of a chord, each once; None where one is unknown."""
    keys: list[str] = []
    for word in re.split(r"[+&\s]+", text):
        if word in KEYS or word in SAME_AS:
            keys.append(SAME_AS.get(word, word))
        elif LETTERS.fullmatch(word):
            keys += [SAME_AS.get(letter, letter) for letter in word]
        else:
            return None
    return tuple(dict.fromkeys(keys)) or None
