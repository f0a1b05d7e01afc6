"""What a person at play does, as messages of the widget say it: read from JSON, checked, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from ...machine.parse import Bounds, Unreadable, check, json_value
from ...world.scene import MATERIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...machine.parse import Kinds
    from ...world.scene import Vector

MESSAGE = Bounds(megabytes=0.064, values=2_000)
Point: TypeAlias = "tuple[float, float]"  # shares of the frame: x right, y down
Shown = Literal["draft", "painted", "depth", "masks", "flow"]
SHOWN: tuple[Shown, ...] = get_args(Shown)
KEYS = ("w", "a", "s", "d", "q", "e", "left", "right", "up", "down", "+", "-")
LARGEST_SEEN = 2**32 - 1
FARTHEST = 2.0  # frames' sides by which a point may lie outside: a drag goes on beyond the frame
SLOWEST = 1 / 16
FASTEST = 1000.0  # m/s^2 of gravity and m/s of wind: beyond both nothing is seen to move


@dataclass(frozen=True)
class Take:
    """Takes the body that is seen there."""

    at: Point


@dataclass(frozen=True)
class Move:
    """The hand is there now."""

    at: Point


@dataclass(frozen=True)
class Drop:
    """Lets go."""


@dataclass(frozen=True)
class Stroke:
    """Pushes the body under the beginning along the way."""

    begin: Point
    end: Point


@dataclass(frozen=True)
class Keys:
    """All keys that are held now."""

    held: tuple[str, ...]


@dataclass(frozen=True)
class SetGravity:
    """Gravity downwards, m/s^2."""

    strength: float


@dataclass(frozen=True)
class SetWind:
    """Moving air, m/s, world axes; zero: none."""

    velocity: Vector


@dataclass(frozen=True)
class SetMaterialOf:
    """What a body is made of: a name of MATERIALS."""

    body: str
    material: str


@dataclass(frozen=True)
class SetActuator:
    """The target of an actuator, in its unit."""

    actuator: str
    value: float


@dataclass(frozen=True)
class SetSlow:
    """How fast time goes, 1/16 to 1."""

    speed: float


@dataclass(frozen=True)
class Control:
    """pause, play, step: one frame, reset: from the beginning, record: asks for the recording."""

    what: Literal["pause", "play", "step", "reset", "record"]


@dataclass(frozen=True)
class Look:
    """What the frames show."""

    show: Shown


Setting: TypeAlias = "SetGravity | SetWind | SetMaterialOf | SetActuator | SetSlow"
Event: TypeAlias = "Take | Move | Drop | Stroke | Setting | Keys | Control | Look"
_POINT: dict[str, Kinds] = {"x!": float, "y!": float}
_ENDS: dict[str, Kinds] = {"from!": list, "from[]": float, "to!": list, "to[]": float}


def read_message(text: str) -> tuple[Event, int]:
    """An event, and the number that the page gave it (0: none). Raises Unreadable naming the field."""
    data = json_value(text, MESSAGE)
    check(data, {"!": dict, "type!": str, "n": int})
    fields = cast("dict[str, object]", data)
    kind, seen = cast("str", fields["type"]), fields.get("n") or 0
    if kind not in _READERS:
        raise Unreadable(f"type is {kind!r:.40}; expected one of {', '.join(_READERS)}")
    if not 0 <= cast("int", seen) <= LARGEST_SEEN:
        raise Unreadable(f"n is {seen}; expected 0 to {LARGEST_SEEN}")
    kinds, make = _READERS[kind]
    check(fields, kinds)
    return make(fields), cast("int", seen)


def _xy(fields: dict[str, object]) -> Point:
    return _point([fields["x"], fields["y"]], "x, y")


def _point(given: object, name: str) -> Point:
    values = _numbers(given, name, 2, -FARTHEST, 1 + FARTHEST)
    return values[0], values[1]


def _numbers(given: object, name: str, count: int, low: float, high: float) -> list[float]:
    values = [float(v) for v in cast("list[float]", given)]
    if len(values) != count or not all(low <= v <= high for v in values):
        raise Unreadable(f"{name} is {given!r:.60}; expected {count} numbers from {low:g} to {high:g}")
    return values


def _keys(fields: dict[str, object]) -> Keys:
    held = cast("list[str]", fields["held"])
    return Keys(tuple(key for key in KEYS if key in held))  # in one order, each once; others do nothing


def _set(fields: dict[str, object]) -> Event:
    if fields.get("gravity") is not None:
        return SetGravity(_numbers([fields["gravity"]], "gravity", 1, -FASTEST, FASTEST)[0])
    if fields.get("wind") is not None:
        x, y, z = _numbers(fields["wind"], "wind", 3, -FASTEST, FASTEST)
        return SetWind((x, y, z))
    if fields.get("slow") is not None:
        return SetSlow(_numbers([fields["slow"]], "slow", 1, SLOWEST, 1.0)[0])
    if fields.get("actuator") is not None and fields.get("value") is not None:
        value = _numbers([fields["value"]], "value", 1, -1e9, 1e9)[0]
        return SetActuator(cast("str", fields["actuator"]), value)
    if fields.get("material") is not None:
        named = cast("list[str]", fields["material"])
        if len(named) != 2 or named[1] not in MATERIALS:
            raise Unreadable(f"material is {named!r:.60}; expected [a body, one of {', '.join(MATERIALS)}]")
        return SetMaterialOf(named[0], named[1])
    raise Unreadable("nothing is set; expected gravity, wind, slow, actuator with value, or material")


def _look(fields: dict[str, object]) -> Look:
    show: Shown | None = next((each for each in SHOWN if each == fields["show"]), None)
    if show is None:
        raise Unreadable(f"show is {fields['show']!r:.40}; expected one of {', '.join(SHOWN)}")
    return Look(show)


_SET: dict[str, Kinds] = {
    **{"gravity": float, "wind": list, "wind[]": float, "slow": float, "actuator": str, "value": float},
    **{"material": list, "material[]": str},
}
_READERS: dict[str, tuple[dict[str, Kinds], Callable[[dict[str, object]], Event]]] = {
    "grab": (_POINT, lambda f: Take(_xy(f))),
    "move": (_POINT, lambda f: Move(_xy(f))),
    "drop": ({}, lambda f: Drop()),
    "push": (_ENDS, lambda f: Stroke(_point(f["from"], "from"), _point(f["to"], "to"))),
    "keys": ({"held!": list, "held[]": str}, _keys),
    "set": (_SET, _set),
    "pause": ({}, lambda f: Control("pause")),
    "play": ({}, lambda f: Control("play")),
    "step": ({}, lambda f: Control("step")),
    "reset": ({}, lambda f: Control("reset")),
    "record": ({}, lambda f: Control("record")),
    "view": ({"show!": str}, _look),
}
