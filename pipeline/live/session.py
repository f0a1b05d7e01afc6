"""A scene at play: frame after frame of one fixed length, with what a person does sampled where frames begin.

No clock, thread or socket is in here: `tick` is told what time it is, gives what is to be drawn, and says when to come
again. What acts on the scene goes through a Recorder, so that the recording simulates to the same bits.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...world.budget import frames_of
from ...world.checks import check as check_scene
from ...world.dynamics import warnings_of_mujoco
from ...world.motion import Moment
from ...world.running import Running
from ...world.scene import MATERIALS, SceneError, vector
from ...world.simulate import step_for, step_of
from .camera import around, led, seen_from, start
from .events import Control, Drop, Keys, Look, Move, SetGravity, SetMaterialOf, SetSlow, SetWind, Stroke, Take
from .hand import Grip, grip_at, hand_at
from .pacing import Budget
from .pictures import Shot
from .recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...world.arrays import Floats
    from ...world.scene import Scene
    from .camera import Rig
    from .events import Event, Point, Setting, Shown
    from .hand import Looked
    from .recording import Recording

SMALLEST, LARGEST = 16, 2048  # pixels of a side
FPS = (1.0, 60.0)
STROKE_S = 0.5  # seconds in which a pushed body that is free moves by the stroke's length
WHOLE = 8  # frames: with the first one 8k + 1, which Wan (4k + 1) and LTX (8k + 1) both take
WAITING = 2_000  # events that may wait for their frame: minutes of a mouse while the scene stands still
YIELD_S, IDLE_S = 0.1, 0.05  # until one looks again whether a prompt still runs; whether keys moved the camera
REMEMBERED_S = 1.0  # of impacts: the simulation asks for those of the last 0.05 s


@dataclass(frozen=True, kw_only=True)
class Play:
    """Frames per second and their size in pixels. seed: of the shapes of shards."""

    fps: float = 16.0
    width: int = 416
    height: int = 240
    seed: int = 0


@dataclass(frozen=True)
class State:
    """What the page is told of a session. holding: the name of what is in the hand."""

    seconds: float
    paused: bool
    yielding: bool
    scale: float
    holding: str | None


class Session:
    """One scene at play. busy: whether something else needs the machine now; then time stands still.

    Raises SceneError for scenes that cannot be simulated, and for frame rates and sizes out of range; `tick` where the
    simulation comes apart.
    """

    def __init__(self, scene: Scene, play: Play, busy: Callable[[], bool] = lambda: False):
        check_scene(scene)
        check_play(play)
        frames_of(scene, (), 1.0, play.fps, step_of(scene))
        self.scene, self.play, self.busy = scene, play, busy
        self.about = around(scene)
        self.budget = Budget(1 / play.fps, play.width, play.height)
        self.paused, self.yielding = True, False
        self.show: Shown = "draft"
        self.looked: Looked | None = None  # the newest frame that was drawn: what the person sees
        self.seen = 0
        self._waiting: deque[tuple[Event, int]] = deque()
        self._shots = 0
        self._due = 0.0
        self._changed = False
        self._steps = 0
        self.reset()

    def reset(self) -> None:
        """From the beginning: the scene as given, the camera where the picture was taken, nothing recorded."""
        with warnings_of_mujoco():
            self.running = Running(self.scene, (), step_for(self.scene.bodies), seed=self.play.seed)
            self.first = self.moment = self.before = self.running.moment(at_rest=True)
        self.recorder = Recorder(self.play.fps, self.play.seed)
        self.frame, self.speed = 0, 1.0
        self.rig = self.rig_before = start()
        self.held: tuple[str, ...] = ()
        self._grip: Grip | None = None
        self._taken = -1  # the frame at whose beginning it was taken
        self._strokes: list[Stroke] = []  # before the first frame: at 0 s they would change how bodies settle
        self._at: Point = (0.0, 0.0)
        self._shown_of_frame = 0  # of the pictures between two frames, in slow motion
        self._moved_while_still = False
        self._changed = True

    @property
    def seconds(self) -> float:
        """Of the simulation."""
        return self.frame / self.play.fps

    @property
    def state(self) -> State:
        """As the page is told."""
        grip = self._grip
        return State(self.seconds, self.paused, self.yielding, self.budget.scale, grip and grip.body)

    @property
    def recording(self) -> Recording:
        """What was done since the beginning, up to the latest frame."""
        return self.recorder.recording(self.seconds)

    @property
    def kept(self) -> Recording:
        """The recording up to a whole number of WHOLE frames, as soon as there are so many."""
        frames = self.frame // WHOLE * WHOLE or self.frame
        return self.recorder.recording(frames / self.play.fps)

    def put(self, event: Event, seen: int = 0) -> None:
        """Take an event: it counts from the beginning of the next frame on. Raises SceneError for unknown names."""
        if self._waiting or self._must_wait(event):
            if len(self._waiting) >= WAITING:
                raise SceneError(f"{WAITING:,} events wait for the scene to go on")
            self._waiting.append((event, seen))
        else:
            self._do(event, seen)

    def tick(self, now: float) -> tuple[Shot | None, float]:
        """What is to be drawn at `now`, in seconds of any clock, if anything is; and seconds until the next tick."""
        was, self.yielding = self.yielding, self.busy()
        self._changed |= was != self.yielding
        period = 1 / self.play.fps
        if now < self._due - 1e-9:
            return None, self._due - now
        # What comes late is not caught up with: time then goes more slowly.
        self._due = self._due + period if now - self._due < period else now + period
        if not self.yielding and (not self.paused or self._steps or self._shown_of_frame):
            self._go_on()
        elif self.held and not self.yielding:
            self.rig = self.rig_before = led(self.rig, self.held, period, self.about)
            self._moved_while_still = self._changed = True
        if not self._changed:
            return None, YIELD_S if self.yielding else min(IDLE_S, self._due - now)
        self._changed = False
        return self._shot(), max(0.0, self._due - now)

    def _must_wait(self, event: Event) -> bool:
        """Whether a body is let go, or another one taken, in the frame in which it was taken: a frame it is held."""
        if self.paused or not isinstance(event, (Drop, Take)):
            return False
        return self._grip is not None and self._taken == self.frame

    def _do(self, event: Event, seen: int) -> None:
        now = self.seconds
        self.seen = max(self.seen, seen)
        self._changed = True
        if isinstance(event, Move):
            self._at = event.at
        elif isinstance(event, Take):
            self._drop(now)
            self._take(event.at, now)
        elif isinstance(event, Drop):
            self._drop(now)
        elif isinstance(event, Stroke):
            self._strokes.append(event)
        elif isinstance(event, Keys):
            if event.held != self.held:
                self.held = event.held
                self._note_camera()
        elif isinstance(event, Look):
            self.show = event.show
        elif isinstance(event, Control):
            self._control(event)
        else:
            self._set(event, now)

    def _control(self, event: Control) -> None:
        if event.what in ("pause", "play"):
            self.paused = event.what == "pause"
        elif event.what == "step":
            self.paused, self._steps = True, self._steps + 1
        elif event.what == "reset":
            self._waiting.clear()
            self._steps = 0
            self.reset()

    def _go_on(self) -> None:
        """To the next picture: of the next frame or, in slow motion, of the way there."""
        pictures = max(1, round(1 / self.speed))
        if self._shown_of_frame == 0:
            self._advance()
            self._steps = max(0, self._steps - 1)
        self._shown_of_frame += 1
        if self._shown_of_frame >= pictures:
            self._shown_of_frame = 0
        self._changed = True

    def _advance(self) -> None:
        """One frame of the simulation, under what is done at its beginning."""
        while self._waiting and not self._must_wait(self._waiting[0][0]):
            self._do(*self._waiting.popleft())
        now, then = self.seconds, (self.frame + 1) / self.play.fps
        if self._moved_while_still:
            self._note_camera(moved=True)
        if self.frame:
            for stroke in self._strokes:
                self._push(stroke, now)
            self._strokes.clear()
        if self._grip is not None:
            camera = seen_from(self.scene, self.rig, self.play.width, self.play.height)
            self.recorder.move(hand_at(camera, self._at, self._grip, self.scene.ground), then)
        with warnings_of_mujoco():
            self.running.advance(then, self.recorder.acting(now))
            self.before, self.moment = self.moment, self.running.moment()
        events = self.running.events
        events[:] = [e for e in events if now - e.time < REMEMBERED_S]
        self.rig_before, self.rig = self.rig, led(self.rig, self.held, 1 / self.play.fps, self.about)
        self.frame += 1

    def _note_camera(self, moved: bool = False) -> None:
        """Write down the keys that are held, and where the camera was put while the scene stood still."""
        self.recorder.camera(self.held, self.rig if moved or self._moved_while_still else None, self.seconds)
        self._moved_while_still = False

    def _take(self, at: Point, now: float) -> None:
        grip = None if self.looked is None else grip_at(self.looked, at, self.scene.ground)
        pose = None if grip is None else self._pose(grip.name)
        if grip is None or pose is None:
            return
        # What moves is taken at the point that was seen, where this point is by now.
        point = pose[:3, :3] @ grip.local + pose[:3, 3]
        self._grip, self._at, self._taken = grip, at, self.frame
        # A link is one body of the simulation, whose parts have its colours.
        name = grip.name if self.running.world.number(grip.name) is not None else grip.body
        self.recorder.grab(name, self.running.local(name, point), point, now)

    def _drop(self, now: float) -> None:
        if self._grip is None:
            return
        self._grip = None
        if self._taken == self.frame:
            self.recorder.leave()
        else:
            self.recorder.drop(now)

    def _push(self, stroke: Stroke, now: float) -> None:
        if self.looked is None or (grip := grip_at(self.looked, stroke.begin, self.scene.ground)) is None:
            return
        number, pose = self.running.world.number(grip.name), self._pose(grip.name)
        if number is None or pose is None:  # a link: it has no mass of its own
            return
        end = hand_at(self.looked.camera, stroke.end, grip, self.scene.ground)
        impulse = self.running.world.mass(number) * (end - grip.point) / STROKE_S
        point = pose[:3, :3] @ grip.local + pose[:3, 3]
        self.recorder.push(grip.name, vector(impulse), vector(point), now)

    def _set(self, event: Setting, now: float) -> None:
        if isinstance(event, SetSlow):
            self.speed = event.speed
        elif isinstance(event, SetGravity):
            gravity = np.asarray(self.scene.gravity, float)
            size = float(np.linalg.norm(gravity))
            down = gravity / size if size else np.array([0.0, 0.0, -1.0])
            self.recorder.gravity(vector(event.strength * down), now)
        elif isinstance(event, SetWind):
            self.recorder.wind(event.velocity, now)
        elif isinstance(event, SetMaterialOf):
            self.scene.body(event.body)  # raises for a name that is none
            self.recorder.material(event.body, MATERIALS[event.material], now)
        else:
            before = self.running.target(event.actuator)
            self.recorder.actuate(event.actuator, event.value, before, now)

    def _pose(self, name: str) -> Floats | None:
        """Where a part is now [4, 4]; None: it is gone."""
        found = (i for i, part in enumerate(self.moment.parts) if part.name == name and self.moment.present[i])
        i = next(found, None)
        return None if i is None else np.asarray(self.moment.poses[i], float)

    def _shot(self) -> Shot:
        share = self._shown_of_frame / max(1, round(1 / self.speed)) or 1.0
        moment, rig = self.moment, self.rig
        if share < 1:
            moment, rig = between(self.before, moment, share), _rig_between(self.rig_before, rig, share)
        width, height = self.budget.size
        self._shots += 1
        return Shot(self.first, moment, rig, width, height, self.show, self._shots, self.seconds, self.seen)


def check_play(play: Play) -> None:
    """Raise SceneError for a frame rate or a size that no session has."""
    if not (math.isfinite(play.fps) and FPS[0] <= play.fps <= FPS[1]):
        raise SceneError(f"fps is {play.fps:g}; expected {FPS[0]:g} to {FPS[1]:g}")
    for name, side in (("width", play.width), ("height", play.height)):
        if not SMALLEST <= side <= LARGEST:
            raise SceneError(f"{name} is {side} pixels; expected {SMALLEST} to {LARGEST}")


def between(a: Moment, b: Moment, share: float) -> Moment:
    """A moment on the way from a to b, for parts that are in both; the others are as in b."""
    poses = np.array(b.poses, float)
    poses[: len(a.poses)] = poses_between(np.asarray(a.poses, float), poses[: len(a.poses)], share)
    return replace(b, poses=poses)


def poses_between(a: Floats, b: Floats, share: float) -> Floats:
    """Poses [P, 4, 4]: positions linear, rotations along the shortest way."""
    if not len(a):
        return b
    from scipy.spatial.transform import Rotation

    out = np.array(b)
    first = Rotation.from_matrix(a[:, :3, :3])
    turn = (first.inv() * Rotation.from_matrix(b[:, :3, :3])).as_rotvec()
    out[:, :3, :3] = (first * Rotation.from_rotvec(share * turn)).as_matrix()
    out[:, :3, 3] = a[:, :3, 3] + share * (b[:, :3, 3] - a[:, :3, 3])
    return out


def _rig_between(a: Rig, b: Rig, share: float) -> Rig:
    if a is b:
        return b
    return replace(b, relative=poses_between(a.relative[None], b.relative[None], share)[0])
