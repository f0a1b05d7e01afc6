"""What was done in a session, as actions on the scene and keys of the camera: as JSON, and played again to the bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from ...machine.fields import Between, Items, OneOf, Unfit, read_text
from ...world.acting import checked
from ...world.records import NAMES, to_json
from ...world.scene import SceneError
from .camera import ZOOMS, Rig, around, led, start
from .events import KEYS

if TYPE_CHECKING:
    from ...world.actions import Actions
    from ...world.arrays import Floats
    from ...world.scene import Scene

LONGEST_S = 120.0  # of a recording: as long as VDiT Simulate simulates
POSE = 12  # numbers of a pose: its first three rows
REMEDY = "play and record again, or clear it"


@dataclass(frozen=True, eq=False)
class CameraKeys:
    """Keys held from `time` seconds on; rig: where the camera was put before, as while the scene stood still."""

    time: float
    held: tuple[str, ...]
    rig: Rig | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Recording:
    """A session of `seconds`, in frames of 1 / fps seconds, from which all times are multiples. seed: of shards."""

    fps: float
    seconds: float = 0.0
    seed: int = 0
    actions: Actions = ()
    camera: tuple[CameraKeys, ...] = ()

    @property
    def frames(self) -> int:
        """Frames, with the first one at 0 s and the last one at `seconds`."""
        return round(self.seconds * self.fps) + 1


@dataclass(frozen=True)
class _StoredKeys:
    """CameraKeys as JSON has them; pose: the first three rows."""

    time: float
    held: tuple[Annotated[str, OneOf(KEYS)], ...]
    pose: Annotated[tuple[float, ...], Items(POSE, POSE)] | None = None
    zoom: Annotated[float, Between(*ZOOMS)] | None = None

    def rig(self) -> Rig | None:
        if self.pose is None:
            return None
        return Rig(np.vstack((np.reshape(self.pose, (3, 4)), (0.0, 0.0, 0.0, 1.0))), self.zoom or 1.0)


@dataclass(frozen=True)
class _Stored:
    """A Recording as JSON has it."""

    fps: Annotated[float, Between(1, 120)]
    seconds: Annotated[float, Between(0, LONGEST_S, "seconds")]
    seed: Annotated[int, Between(0, 2**64 - 1)]
    actions: Actions
    camera: tuple[_StoredKeys, ...] | None = None

    def __post_init__(self) -> None:
        times = [keys.time for keys in self.camera or ()]
        if times != sorted(times):
            raise Unfit("the times of the camera's keys do not rise")


def dumps(recording: Recording) -> str:
    """The recording as JSON on one line; `loads` gives the same, to the last bit."""
    camera: list[dict[str, object]] = []
    for keys in recording.camera:
        entry: dict[str, object] = {"time": keys.time, "held": list(keys.held)}
        if keys.rig is not None:
            entry |= {"pose": keys.rig.relative[:3].ravel().tolist(), "zoom": keys.rig.zoom}
        camera.append(entry)
    fields: dict[str, object] = {"fps": recording.fps, "seconds": recording.seconds, "seed": recording.seed}
    fields |= {"actions": to_json(recording.actions), "camera": camera or None}
    return json.dumps(fields, allow_nan=False, separators=(",", ":"))


def loads(text: str, fps: float = 16.0) -> Recording:
    """A recording from JSON; an empty text: nothing was recorded. Raises SceneError naming the field."""
    if not text.strip():
        return Recording(fps=fps)
    stored = read_text(_Stored, text, "recorded", SceneError, REMEDY, names=NAMES, mark=None)
    camera = tuple(CameraKeys(keys.time, keys.held, keys.rig()) for keys in stored.camera or ())
    return Recording(fps=stored.fps, seconds=stored.seconds, seed=stored.seed, actions=stored.actions, camera=camera)


def check_recording(scene: Scene, recording: Recording) -> None:
    """Raise SceneError where a recording does not fit the scene: it is of another one."""
    try:
        checked(scene, recording.actions)
    except SceneError as reason:
        raise SceneError(f"recorded: {reason}. The recording is of another scene: {REMEDY}") from reason


def camera_path(scene: Scene, recording: Recording) -> tuple[Floats, Floats]:
    """Where the camera was in every frame, relative to the scene's view [T, 4, 4], and its zoom [T]."""
    about, rig, held, at = around(scene), start(), (), 0
    rigs = [rig]
    for frame in range(recording.frames - 1):
        while at < len(recording.camera) and recording.camera[at].time <= (frame + 0.5) / recording.fps:
            keys = recording.camera[at]
            rig, held, at = keys.rig or rig, keys.held, at + 1
        rig = led(rig, held, 1 / recording.fps, about)
        rigs.append(rig)
    return np.stack([r.relative for r in rigs]), np.array([r.zoom for r in rigs])
