"""What is done to the bodies of a scene: pushes, forces, throws, drags, grabs, wind, gravity, actuators, breaking.

Times are seconds from the start; vectors are in world axes. Bodies and actuators are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .scene import Material, Vector

Path: TypeAlias = "tuple[Vector, ...]"


@dataclass(frozen=True, kw_only=True)
class Push:
    """An impulse in newton seconds, at a world point `at`; None: at the centre of mass."""

    body: str
    impulse: Vector
    at: Vector | None = None
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Force:
    """A force in newtons over an interval, at the centre of mass or at a point of the body given where it is at 0 s."""

    body: str
    force: Vector
    start: float = 0.0
    end: float = 1.0
    at: Vector | None = None


@dataclass(frozen=True, kw_only=True)
class Throw:
    """The body's velocity becomes this, in m/s."""

    body: str
    velocity: Vector
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Spin:
    """The body's angular velocity becomes this, in rad/s about world axes."""

    body: str
    spin: Vector
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Drag:
    """The body's centre of mass is pulled along a path [K] of points at even speed, by a soft weld; then it is let go.

    relative: the points are measured from where it is taken, not from the world's origin.
    """

    body: str
    path: Path
    start: float = 0.0
    end: float = 1.0
    relative: bool = False


@dataclass(frozen=True, kw_only=True)
class Grab:
    """A point of the body, `at` in its axes, is held by a critically damped spring to a hand that moves.

    hand: (seconds, x, y, z) of it in the world, at rising times, linear in between. The hand carries the body's weight.
    body: also a shard ("cup/2") or a link of a mechanism. From `end` on it is let go, with the speed that it has.
    """

    body: str
    at: Vector
    hand: tuple[tuple[float, float, float, float], ...]
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Wind:
    """Moving air, m/s: each body is pushed by its cross-section."""

    velocity: Vector
    start: float = 0.0
    end: float = 1e9


@dataclass(frozen=True, kw_only=True)
class Gravity:
    """Gravity becomes this, m/s^2."""

    gravity: Vector
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Actuate:
    """Targets of a mechanism's actuator: (seconds, value) in the actuator's unit, linear in between."""

    actuator: str
    targets: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Break:
    """The body breaks at `time`, without an impact; with a toughness (J/kg) it is from then on that of the body, which
    breaks where an impact exceeds it.
    """

    body: str
    time: float = 0.0
    toughness: float | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """A fixed body becomes free: what was held falls."""

    body: str
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SetMaterial:
    """The body is made of another material from `time` on: friction, restitution, toughness, and mass by density."""

    body: str
    material: Material
    time: float = 0.0


Action: TypeAlias = (
    "Push | Force | Throw | Spin | Drag | Grab | Wind | Gravity | Actuate | Break | Release | SetMaterial"
)
Actions: TypeAlias = "tuple[Action, ...]"
