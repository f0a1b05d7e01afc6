"""A session that runs: one thread moves the scene in real time, another draws what the first one has moved."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ...world.mjcf import actuator_ranges
from ...world.scene import SceneError
from .events import Control
from .painting import Painting
from .pictures import Easel, encoded
from .recording import dumps
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...world.arrays import Bytes
    from ...world.scene import Scene
    from .events import Event
    from .painting import FramePainter
    from .pictures import Shot
    from .session import Play, State

log = logging.getLogger("vdit")

MAGIC = 0x56444C56
HEADER = struct.Struct("<IIfI")  # magic, number of the picture, seconds of the simulation, newest message that it shows
TELL_S = 0.5  # between two messages of the state while nothing but time changes
UNBOUNDED = (-1.0, 1.0)  # of a slider whose actuator has no range
WAITING = 10_000  # events of a page that may not have been looked at yet


class Audience(Protocol):
    """Who watches a session. Called from its threads; neither may wait for the network."""

    def told(self, message: dict[str, object]) -> None:
        """A message: opened, state, recording, error; after an error nothing comes."""
        ...

    def shown(self, frame: bytes) -> None:
        """A picture, with its header; one that has not been sent yet may be left out for a newer one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a session has done: frames simulated, pictures drawn and painted, events taken."""

    frames: int
    drawn: int
    painted: int
    events: int


class Player:
    """Plays a scene for one page until `close`. busy: see Session. clock: seconds.

    paint: makes a painter of its frames, see painter.Painter; None: there is none.
    """

    def __init__(
        self,
        scene: Scene,
        play: Play,
        audience: Audience,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        paint: Callable[[], FramePainter] | None = None,
    ):
        self.scene, self.play, self.audience, self.busy, self.clock = scene, play, audience, busy, clock
        self._inbox: deque[tuple[Event, int]] = deque()
        self._closed = threading.Event()
        self._next: Shot | None = None
        self._drawing = threading.Condition()
        self._session: Session | None = None
        self._told: tuple[State, float] | None = None
        self._drawn = self._events = 0
        self._painting = None if paint is None else Painting(paint, self._show, 1 / play.fps, clock)
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in self._jobs().items()]

    def start(self) -> None:
        """Begin; the audience is told when it is open, or why it cannot be."""
        for thread in self._threads:
            thread.start()

    def put(self, event: Event, seen: int = 0) -> None:
        """An event of the page. Raises SceneError where it sends more than is looked at."""
        if len(self._inbox) >= WAITING:
            raise SceneError(f"{WAITING:,} events have come faster than the scene can be played")
        self._inbox.append((event, seen))

    def close(self) -> None:
        """End, soon."""
        self._closed.set()
        if self._painting is not None:
            self._painting.close()
        with self._drawing:
            self._drawing.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def figures(self) -> Figures:
        """What has been done so far."""
        frames = 0 if self._session is None else self._session.frame
        painted = 0 if self._painting is None else self._painting.painted
        return Figures(frames=frames, drawn=self._drawn, painted=painted, events=self._events)

    def _jobs(self) -> dict[str, Callable[[], None]]:
        jobs = {"vdit-live": self._move, "vdit-live-draw": self._draw}
        if self._painting is not None:
            jobs["vdit-live-paint"] = self._painting.run
        return {name: partial(self._guarded, job) for name, job in jobs.items()}

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (SceneError, ValueError) as reason:
            self._fail(str(reason))
        except Exception:
            log.exception("A live session failed")
            self._fail("the session has failed; the server's log says why")

    def _fail(self, message: str) -> None:
        if not self._closed.is_set():
            self.audience.told({"type": "error", "message": message})
        self.close()

    def _move(self) -> None:
        """Moves the scene, frame after frame, as time goes."""
        session = self._session = Session(self.scene, self.play, self.busy)
        self.audience.told(opened(session, self._painting is not None))
        while not self._closed.is_set():
            self._take_events(session)
            shot, wait = session.tick(self.clock())
            if shot is not None:
                with self._drawing:
                    self._next = shot
                    self._drawing.notify()
            self._tell(session)
            self._closed.wait(wait)

    def _take_events(self, session: Session) -> None:
        while self._inbox:
            event, seen = self._inbox.popleft()
            self._events += 1
            session.put(event, seen)
            if isinstance(event, Control) and event.what == "record":
                recording = session.kept
                message = {"actions": dumps(recording), "seconds": recording.seconds}
                self.audience.told({"type": "recording", **message})

    def _tell(self, session: Session) -> None:
        state, now = session.state, self.clock()
        if self._told is not None:
            before, at = self._told
            same = (before.paused, before.yielding, before.scale, before.holding)
            if same == (state.paused, state.yielding, state.scale, state.holding) and now - at < TELL_S:
                return
        self._told = state, now
        self.audience.told(
            {
                "type": "state",
                "time": state.seconds,
                "paused": state.paused,
                "yielding": state.yielding,
                "scale": state.scale,
                "holding": state.holding,
            }
        )

    def _draw(self) -> None:
        """Draws the newest shot there is, while the next one is simulated."""
        easel = Easel(self.scene)
        while (shot := self._take_shot()) is not None:
            easel.prepare(shot)
            begin = self.clock()
            drawn = easel.draw(shot)
            painting = self._painting if shot.show == "painted" else None
            if painting is not None:
                painting.saw(shot, drawn.rgb)
            if painting is None or painting.late:
                self._show(shot, drawn.pixels)
            session = self._session
            if session is not None:
                session.looked = drawn.looked
                session.budget.took(self.clock() - begin)
            self._drawn += 1

    def _show(self, shot: Shot, pixels: Bytes) -> None:
        frame = framed(shot, pixels)
        if not self._closed.is_set():
            self.audience.shown(frame)

    def _take_shot(self) -> Shot | None:
        """The newest shot, when there is one; None: the session has ended."""
        with self._drawing:
            while self._next is None and not self._closed.is_set():
                self._drawing.wait()
            shot, self._next = self._next, None
            return None if self._closed.is_set() else shot


def opened(session: Session, painter: bool) -> dict[str, object]:
    """What a page is told of a scene when it is open. painter: whether it can be painted."""
    scene = session.scene
    ranges = {} if scene.mechanism is None else actuator_ranges(scene.mechanism)
    return {
        "type": "opened",
        "width": session.play.width,
        "height": session.play.height,
        "fps": session.play.fps,
        "bodies": list(dict.fromkeys(part.body for part in session.first.parts)),
        "movable": list(dict.fromkeys(part.body for part in session.first.parts if part.movable)),
        "materials": {b.name: b.material.name for b in scene.bodies if not b.fixed},
        "gravity": math.hypot(*scene.gravity),
        "actuators": [
            {"name": name, "low": low, "high": high, "value": session.running.target(name)}
            for name, (low, high) in ((name, bounds or UNBOUNDED) for name, bounds in ranges.items())
        ],
        "painter": painter,
    }


def framed(shot: Shot, pixels: Bytes) -> bytes:
    """A picture as it is sent: its header, then JPEG."""
    return HEADER.pack(MAGIC, shot.number, shot.seconds, shot.seen) + encoded(pixels)
