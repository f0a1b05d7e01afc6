"""How a scene moved: every rigid part that is drawn, its pose in each frame, and what happened on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Generator

    from .arrays import Bools, Floats
    from .scene import Appearance, Body, Mesh, Scene, Vector


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One rigid thing that is drawn: a body, a shard of a broken one, or a link of a mechanism.

    body: name of the scene's body that it is or was a part of (a link: its own name). surface: in the part's axes.
    rest: the part's axes to the world [4, 4] in the pose at which a Projected picture is laid on: where it stood at
    time 0. movable: False for what is fixed.
    """

    name: str
    body: str
    surface: Mesh
    appearance: Appearance | None
    rest: Floats
    movable: bool = True


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened: two bodies met with an impulse in newton seconds, or one broke."""

    kind: Literal["impact", "break"]
    time: float
    body: str
    other: str = ""
    impulse: float = 0.0


@dataclass(frozen=True, eq=False)
class Ending:
    """Bodies and shards as they are after the last frame, with their poses and velocities, and gravity then, m/s^2."""

    bodies: tuple[Body, ...]
    gravity: Vector


@dataclass(frozen=True, eq=False, kw_only=True)
class Motion:
    """Poses [T, P, 4, 4] part to world of P parts in T frames, and whether each is there [T, P] (shards come later).

    Frame t is at t / fps seconds; frame 0 is the scene as given. ending: None of a motion that was not simulated.
    """

    scene: Scene
    fps: float
    parts: tuple[Part, ...]
    poses: Floats
    present: Bools
    events: tuple[Event, ...] = ()
    remarks: tuple[str, ...] = ()
    ending: Ending | None = None

    def moments(self) -> Generator[Moment, None, Motion]:
        """Its frames, and at last the motion itself."""
        for poses, present in zip(self.poses, self.present, strict=True):
            yield Moment(self.parts, poses, present)
        return self


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of a motion, as soon as it is known: the parts that have appeared so far, in the order in which they
    did, their poses [P, 4, 4] part to world (at rest, of what is not there), and whether each is there [P].
    """

    parts: tuple[Part, ...]
    poses: Floats
    present: Bools


def ended(moments: Generator[Moment, None, Motion]) -> Motion:
    """The motion that comes after the moments that are left."""
    while True:
        try:
            next(moments)
        except StopIteration as end:
            return end.value
