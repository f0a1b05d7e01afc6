"""What was done in a session, as actions on the scene and keys of the camera: as JSON, and played again to the bit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ...machine.parse import WIDGET, Unreadable, check, json_value
from ...world.acting import checked
from ...world.records import actions_from_json, to_json
from ...world.scene import SceneError
from .camera import Rig, around, led, start
from .events import KEYS

if TYPE_CHECKING:
    from ...machine.parse import Kinds
    from ...world.actions import Actions
    from ...world.arrays import Floats
    from ...world.scene import Scene

LONGEST_S = 120.0  # of a recording: as long as VDiT Simulate simulates
POSE = 12  # numbers of a pose: its first three rows
REMEDY = "play and record again, or clear it"
_FIELDS: dict[str, Kinds] = {
    **{"!": dict, "fps!": float, "seconds!": float, "seed!": int, "actions!": list},
    **{"camera": list, "camera[]": dict, "camera[].time!": float, "camera[].held!": list, "camera[].held[]": str},
    **{"camera[].pose": list, "camera[].pose[]": float, "camera[].zoom": float},
}


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
    try:
        data = json_value(text, WIDGET)
        check(data, _FIELDS)
    except Unreadable as reason:
        raise SceneError(f"recorded: its text {reason}; {REMEDY}") from reason
    fields = cast("dict[str, object]", data)
    unknown = [key for key in fields if key not in ("fps", "seconds", "seed", "actions", "camera")]
    if unknown:
        raise SceneError(f"recorded: no field is named {unknown[0]!r:.60}; {REMEDY}")
    rate, seconds, seed = (cast("float", fields[name]) for name in ("fps", "seconds", "seed"))
    if not (1 <= rate <= 120 and 0 <= seconds <= LONGEST_S and 0 <= seed < 2**64):
        raise SceneError(
            f"recorded: {seconds:g} s at {rate:g} fps with seed {seed}; expected 0 to {LONGEST_S:g} s, 1 to 120 fps "
            f"and a seed from 0; {REMEDY}"
        )
    camera = tuple(_keys(entry, f"recorded.camera[{i}]") for i, entry in enumerate(_entries(fields.get("camera"))))
    if [keys.time for keys in camera] != sorted(keys.time for keys in camera):
        raise SceneError(f"recorded: the times of the camera's keys do not rise; {REMEDY}")
    actions = actions_from_json(fields["actions"], "recorded.actions")
    return Recording(fps=float(rate), seconds=float(seconds), seed=int(seed), actions=actions, camera=camera)


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


def _entries(camera: object) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", camera or [])


def _keys(entry: dict[str, object], where: str) -> CameraKeys:
    time, held = float(cast("float", entry["time"])), tuple(cast("list[str]", entry["held"]))
    wrong = [key for key in held if key not in KEYS]
    if wrong:
        raise SceneError(f"{where}: {wrong[0]!r:.40} is no key of the camera; {REMEDY}")
    pose, zoom = entry.get("pose"), float(cast("float", entry.get("zoom") or 1.0))
    rig = None
    if pose is not None:
        rows = np.array(pose, float)
        if rows.shape != (POSE,) or not math.isfinite(zoom) or zoom <= 0:
            raise SceneError(f"{where}: a pose of {rows.size} numbers and a zoom of {zoom:g}; expected {POSE}, above 0")
        rig = Rig(np.vstack((rows.reshape(3, 4), (0.0, 0.0, 0.0, 1.0))), zoom)
    return CameraKeys(time, held, rig)
