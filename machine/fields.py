"""JSON values as dataclasses: read strictly by the types of their fields; what does not fit is refused by its place.

Annotated[float, Between(0, 1)] bounds a field: what stands there sees the JSON value first, and raises Unfit. What
several fields must be together is checked by the dataclass itself, in its __post_init__.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar, Union, cast

from .parse import WIDGET, WORDS, Bounds, Unreadable, fits, json_value, shown

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Record = TypeVar("Record")
Reader: TypeAlias = Callable[[object], object]  # a JSON value -> what it stands for
Names: TypeAlias = Mapping[str, object]  # in annotations, or a class's field ("View.c2w") -> the type to read

MOST_ITEMS = 20_000  # of a list without Items: more bodies, shapes or targets than any simulation here finishes


class Unfit(Unreadable):
    """A value that does not fit. said: what was found and expected; place: the way to it, as "field 'x'", "item 3"."""

    def __init__(self, said: str, *place: str) -> None:
        super().__init__(f"{', '.join(place)}: {said}" if place else said)
        self.said, self.place = said, place

    @classmethod
    def found(cls, value: object, expected: str) -> Unfit:
        """The refusal of a value, with what would do in its place."""
        return cls(f"found {shown(value)}; expected {expected}")

    def inside(self, part: str) -> Unfit:
        """The same, seen from what holds it."""
        return Unfit(self.said, part, *self.place)


@dataclass(frozen=True, eq=False)
class Between:
    """A number from low to high. noun: what the error calls it, as "metres"."""

    low: float
    high: float
    noun: str = "a number"

    def __call__(self, value: object) -> object:
        """The value. Raises Unfit."""
        if is_number(value) and self.low <= value <= self.high:
            return value
        raise Unfit.found(value, f"{self.noun} from {self.low:g} to {self.high:g}")


@dataclass(frozen=True, eq=False)
class Items:
    """A list of `least` to `most` items."""

    least: int
    most: int

    def __call__(self, value: object) -> list[object]:
        """The value. Raises Unfit."""
        count = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        if not isinstance(value, list):
            raise Unfit.found(value, f"a list of {count}")
        items = cast("list[object]", value)
        if not self.least <= len(items) <= self.most:
            raise Unfit(f"found a list of {len(items):,}; expected one of {count}")
        return items


@dataclass(frozen=True, eq=False)
class OneOf:
    """One of some words."""

    words: Collection[str]

    def __call__(self, value: object) -> str:
        """The value. Raises Unfit."""
        if isinstance(value, str) and value in self.words:
            return value
        raise Unfit(f"found {shown(value)}; {nearest(str(value), self.words)}")


@dataclass(frozen=True, eq=False)
class Letters:
    """A text of `least` to `most` letters; blanks around it are cut off."""

    least: int
    most: int

    def __call__(self, value: object) -> str:
        """The value. Raises Unfit."""
        if isinstance(value, str) and self.least <= len(value.strip()) <= self.most:
            return value.strip()
        raise Unfit.found(value, f"{self.least} to {self.most} letters")


Share = Annotated[float, Between(-1, 2, "a share of the picture (0 to 1 in it)")]
Place = tuple[Share, Share]  # on a picture, as drawings hold it: x right, y down


def is_number(value: object) -> TypeIs[float]:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # a whole number may be larger than any float


def nearest(name: str, known: Iterable[str]) -> str:
    """'did you mean X?' for the known name most like this one, else the names there are."""
    names = list(known)
    close = get_close_matches(name[:60], names, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def read_text(
    kind: type[Record],
    text: str,
    name: str,
    error: type[Exception],
    remedy: str = "",
    *,
    bounds: Bounds = WIDGET,
    names: Names | None = None,
    mark: tuple[str, int] | None = ("version", 1),
) -> Record:
    """The dataclass `kind` of a JSON text called `name`, whose field `mark` says the version of its layout.

    Raises `error` with the name, the place, what was found, what would do, and the remedy.
    """
    try:
        value = json_value(text, bounds)
    except Unreadable as reason:
        raise error("; ".join(filter(None, (f"{name}: the text {reason}", remedy)))) from reason
    return read(kind, value, name, error, remedy, names=names, mark=mark)


def read(
    kind: type[Record],
    value: object,
    name: str,
    error: type[Exception],
    remedy: str = "",
    *,
    names: Names | None = None,
    mark: tuple[str, int] | None = ("version", 1),
) -> Record:
    """The same of the value of a JSON text."""
    try:
        return reader(kind, names or {})(unmarked(value, *mark) if mark else value)
    except Unfit as reason:
        raise error("; ".join(filter(None, (f"{name}: {reason}", remedy)))) from reason


def reader(kind: type[Record], names: Names) -> Callable[[object], Record]:
    """What reads the dataclass `kind` of a JSON value, and raises Unfit."""
    return cast("Callable[[object], Record]", _record(kind, names))


def unmarked(value: object, key: str, version: int) -> dict[str, object]:
    """The fields of an object but the one that says the version of its layout. Raises Unfit for another version."""
    fields = dict(_object(value))
    found = fields.pop(key, None)
    if not (fits(found, (int,)) and found == version):
        raise Unfit(f"found {shown(found)}; this VDiT reads {version}", f"field {key!r}")
    return fields


def _of(kind: object, names: Names) -> Reader:
    """What reads values of an annotation."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _in_turn(cast(Reader, arguments[1]), _of(arguments[0], names))
    if origin in (Union, types.UnionType):
        return _union(arguments, names)
    if origin is Literal:
        return OneOf(arguments)
    if origin is tuple:
        return _tuple(arguments, names)
    if origin is dict:
        return _mapping(_of(arguments[1], names))
    return (_record if dataclasses.is_dataclass(kind) else _scalar)(cast(type, kind), names)


def _in_turn(first: Reader, then: Reader) -> Reader:
    return lambda value: then(first(value))


def at(part: str, read: Reader, value: object) -> object:
    """What is read of a value at a place in what holds it. Raises Unfit."""
    try:
        return read(value)
    except Unfit as reason:
        raise reason.inside(part) from None


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Unfit.found(value, WORDS[dict])
    return cast("dict[str, object]", value)


def _number(value: object) -> float:
    if is_number(value):
        return float(value)
    raise Unfit.found(value, WORDS[float])


def _scalar(kind: type, names: Names) -> Reader:
    def read(value: object) -> object:
        if fits(value, (kind,)):
            return value
        raise Unfit.found(value, WORDS[kind])

    return _number if kind is float else read


def _union(kinds: tuple[object, ...], names: Names) -> Reader:
    """Reads one type or null, or one of several dataclasses, whose name in small letters the field "type" holds."""
    options = [kind for kind in kinds if kind is not type(None)]
    read = _of(options[0], names) if len(options) == 1 else _tagged(cast("list[type]", options), names)
    return read if len(options) == len(kinds) else lambda value: None if value is None else read(value)


def _tagged(kinds: list[type], names: Names) -> Reader:
    by_tag = {kind.__name__.lower(): _of(kind, names) for kind in kinds}

    def read(value: object) -> object:
        fields = dict(_object(value))
        tag = cast(str, at("field 'type'", OneOf(by_tag), fields.pop("type", None)))
        return by_tag[tag](fields)

    return read


def _tuple(kinds: tuple[object, ...], names: Names) -> Reader:
    each = [_of(kind, names) for kind in kinds if kind is not Ellipsis]
    alike = len(each) < len(kinds)
    listed = Items(0, MOST_ITEMS) if alike else Items(len(each), len(each))

    def read(value: object) -> object:
        items, made = listed(value), list[object]()
        try:
            for one, item in zip(repeat(each[0]) if alike else each, items, strict=False):
                made.append(one(item))
        except Unfit as reason:
            raise reason.inside(_nth(len(made), items)) from None
        return tuple(made)

    return read


def _nth(i: int, items: list[object]) -> str:
    """An item's place: its number from 1, and its name where it has one."""
    name = cast("dict[str, object]", items[i]).get("name") if isinstance(items[i], dict) else None
    return f"item {i + 1}" + (f" ({name!r:.60})" if isinstance(name, str) and name else "")


def _mapping(each: Reader) -> Reader:
    return lambda value: {key: at(f"field {key!r:.60}", each, item) for key, item in _object(value).items()}


def _field(name: str, kind: object, names: Names) -> Reader:
    """A field's reader: of the type that names gives it, null where the field may be None, else of its annotation."""
    null = [k for k in typing.get_args(kind) if k is type(None)]
    return _union((names[name], *null), names) if name in names else _of(kind, names)


def _record(kind: type, names: Names) -> Reader:
    hints = typing.get_type_hints(kind, localns=dict(names), include_extras=True)
    fields = dataclasses.fields(kind)
    readers = {f.name: _field(f"{kind.__name__}.{f.name}", hints[f.name], names) for f in fields}
    needed = [f.name for f in fields if f.default is dataclasses.MISSING is f.default_factory]

    def read(value: object) -> object:
        if isinstance(value, kind):  # made by what stands before it in an Annotated type
            return value
        given = _object(value)
        unknown = next((key for key in given if key not in readers), None)
        if unknown is not None:
            raise Unfit(f"no field is named {unknown!r:.60}; {nearest(unknown, readers)}")
        made = {key: at(f"field {key!r}", readers[key], item) for key, item in given.items()}
        absent = [name for name in needed if name not in made]
        if absent:
            raise Unfit(f"{', '.join(absent)} missing; expected an object with {', '.join(readers)}")
        return kind(**made)

    return read
