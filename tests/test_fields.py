"""JSON values as dataclasses: bounds stand in the types of fields, and what does not fit is refused by its place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from vdit.machine.fields import Between, Items, Letters, OneOf, Unfit, nearest, read, read_text


@dataclass(frozen=True)
class Ball:
    radius: Annotated[float, Between(0.1, 2, "metres")]
    color: Literal["red", "blue"] = "red"


@dataclass(frozen=True)
class Box:
    size: tuple[float, float]
    solid: bool = True

    def __post_init__(self) -> None:
        if self.size[0] > self.size[1]:
            raise Unfit(f"size falls from {self.size[0]:g} to {self.size[1]:g}; expected it to rise")


@dataclass(frozen=True)
class Room:
    things: Annotated[tuple[Ball | Box, ...], Items(1, 3)]
    name: Annotated[str, Letters(1, 5)] = "room"
    count: int | None = None
    masses: dict[str, float] = field(default_factory=dict)
    key: Annotated[str, OneOf(("left", "right"))] | None = None


class Refused(Exception):
    """The error of a door."""


def room(**fields: object) -> Room:
    return read(
        Room, {"version": 1, "things": [{"type": "ball", "radius": 1}], **fields}, "room", Refused, "draw again"
    )


def test_values_get_the_types_of_their_fields():
    made = room(name=" den ", things=[{"type": "ball", "radius": 1}, {"type": "box", "size": [1, 2]}], masses={"a": 3})
    assert made == Room((Ball(1.0), Box((1.0, 2.0))), "den", masses={"a": 3.0})
    assert isinstance(made.things[0].radius, float) and isinstance(made.masses["a"], float)
    assert room(count=None, key=None) == room() and room(count=2**64).count == 2**64


WRONG = {
    "a number out of bounds": (dict(things=[{"type": "ball", "radius": 3}]), "found 3; expected metres from 0.1 to 2"),
    "NaN": (dict(things=[{"type": "ball", "radius": math.nan}]), "found NaN; expected metres"),
    "infinity": (dict(masses={"a": math.inf}), "field 'masses', field 'a': found Infinity; expected a number"),
    "a number larger than any": (dict(masses={"a": 10**400}), "field 'a': found 1000"),
    "true for a number": (dict(things=[{"type": "ball", "radius": True}]), "found true; expected metres"),
    "a part for a whole number": (dict(count=1.5), "field 'count': found 1.5; expected a whole number"),
    "true for a whole number": (dict(count=True), "field 'count': found true"),
    "a text for a flag": (dict(things=[{"type": "box", "size": [1, 2], "solid": "no"}]), 'found "no"; expected true'),
    "null where something is needed": (dict(name=None), "field 'name': found null; expected 1 to 5 letters"),
    "a longer text": (dict(name="a" * 99), "expected 1 to 5 letters"),
    "no items": (dict(things=[]), "field 'things': found a list of 0; expected one of 1 to 3"),
    "an object for a list": (dict(things={}), "field 'things': found {}; expected a list of 1 to 3"),
    "a longer list": (dict(things=[{"type": "box", "size": [1, 2, 3]}]), "found a list of 3; expected one of 2"),
    "a nested place": (
        dict(things=[{"type": "ball", "radius": 1}, {"type": "box", "size": [1, "2"]}]),
        "item 2, field",
    ),
    "an item's name": (dict(things=[{"type": "box", "name": "a"}]), "item 1 ('a'): no field is named 'name'"),
    "another word": (dict(key="lift"), "field 'key': found \"lift\"; did you mean 'left'?"),
    "another word of the type": (dict(things=[{"type": "ball", "radius": 1, "color": "x"}]), "known: red, blue"),
    "another kind": (dict(things=[{"type": "bal"}]), "item 1, field 'type': found \"bal\"; did you mean 'ball'?"),
    "no kind": (dict(things=[{"radius": 1}]), "field 'type': found null; known: ball, box"),
    "another field": (dict(thigns=[]), "no field is named 'thigns'; did you mean 'things'?"),
    "a field missing": (
        dict(things=[{"type": "ball"}]),
        "item 1: radius missing; expected an object with radius, color",
    ),
    "fields against each other": (dict(things=[{"type": "box", "size": [2, 1]}]), "item 1: size falls from 2 to 1"),
    "another version": (dict(version=2), "field 'version': found 2; this VDiT reads 1"),
    "a version that is no number": (dict(version=True), "field 'version': found true"),
}


@pytest.mark.parametrize("fields, says", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_by_its_place_with_what_would_do(fields, says):
    with pytest.raises(Refused) as found:
        room(**fields)
    text = str(found.value)
    assert says in text and text.startswith("room: ") and text.endswith("; draw again") and len(text) < 300


def test_a_text_that_is_no_json_is_refused_by_the_same_error():
    with pytest.raises(Refused, match=r"room: the text is no JSON .line 1.*; draw again"):
        read_text(Room, "{", "room", Refused, "draw again")
    with pytest.raises(Refused, match="room: found 5; expected an object"):
        read_text(Room, "5", "room", Refused)
    assert read_text(Ball, '{"radius": 1}', "ball", Refused, mark=None) == Ball(1.0)


def test_a_long_list_names_the_item():
    points = [[i, i] for i in range(15_000)]
    points[12_345][1] = None

    @dataclass(frozen=True)
    class Line:
        points: tuple[tuple[float, float], ...]

    with pytest.raises(Refused, match="item 12346, item 2: found null; expected a number"):
        read(Line, {"points": points}, "line", Refused, mark=None)


def test_the_nearest_name_is_offered():
    assert nearest("glas", ("wood", "glass")) == "did you mean 'glass'?"
    assert nearest("x", ("wood", "glass")) == "known: wood, glass" and nearest("x", ()) == "known: none"
