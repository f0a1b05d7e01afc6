"""JSON from outside: read once, within bounds, and checked against a table of the types that its fields must have."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn, cast

Kinds = type | tuple[type, ...]

_TEXT_OR_OPENING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{,]')
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F]"
_HALF = re.compile(rf"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")  # of a pair of UTF-16, written as escapes
WORDS: dict[type, str] = {
    **{str: "a string", bool: "true or false", dict: "an object", list: "a list"},
    **{int: "a whole number", float: "a number", object: "anything but null"},
}


class Unreadable(ValueError):
    """A text that is no JSON, is larger than its bounds, or has a field of another type; names the place."""


@dataclass(frozen=True)
class Bounds:
    """How much one text may hold. The largest workflows that people share have 3 MB and 300,000 values."""

    megabytes: float = 64.0
    values: int = 2_000_000  # objects, lists, texts and numbers together: some 200 MB in memory at most
    depth: int = 100  # of lists and objects in each other; Python itself stops at about 1,000
    digits: int = 400  # of one number; doubles have up to 309 before the point


WIDGET = Bounds(megabytes=16, values=500_000)  # a drawing of 200 strokes of 2,000 points is 400,000 numbers
BODY = Bounds()
SCENE_FILE = Bounds(megabytes=256)  # a plate of 1920x1080 with its picture and depth is about 20 MB


def json_value(content: str | bytes, bounds: Bounds = BODY, nan_is_null: bool = False) -> object:
    """The value of a JSON text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    nan_is_null: NaN is read as null, as ComfyUI's front end reads prompts. Raises Unreadable with line and column, or
    the path of the value: no JSON, a key twice, half a character, a number that no double holds, more than `bounds`.
    """
    if len(content) > bounds.megabytes * 1e6:
        raise Unreadable(f"has {len(content) / 1e6:,.1f} MB; at most {bounds.megabytes:g} are read")
    text = (content if isinstance(content, str) else _decoded(content)).removeprefix("\ufeff")
    if len(text) > bounds.values and _opens_more_than(bounds.values, text):
        raise Unreadable(f"holds more than {bounds.values:,} values")

    def refuse(token: str, found: str) -> NoReturn:
        before = text[: text.find(token)].split("\n")
        raise Unreadable(f"holds, at line {len(before)}, column {len(before[-1]) + 1}, {found}")

    def number(kind: type[int] | type[float], digits: str) -> float:
        if len(digits) > bounds.digits:
            refuse(digits, f"a number of {len(digits):,} digits; at most {bounds.digits} are read")
        value = kind(digits)
        if kind is float and abs(value) > sys.float_info.max:
            refuse(digits, f"{digits:.40}, which is larger than any number here")
        return value

    def constant(name: str) -> None:
        if name != "NaN" or not nan_is_null:
            refuse(name, f"{name}, which is no number of JSON")

    try:
        value = json.loads(
            text,
            parse_int=lambda digits: number(int, digits),
            parse_float=lambda digits: number(float, digits),
            parse_constant=constant,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as reason:
        near = text[reason.pos : reason.pos + 20].strip()
        at = f"line {reason.lineno}, column {reason.colno}" + (f", near {near!r}" if near else ", where the text ends")
        raise Unreadable(f"is no JSON ({at}: {reason.msg})") from None
    except RecursionError:
        raise Unreadable(f"is nested deeper than {bounds.depth} levels") from None
    if _has_halves(text) or _too_deep(value, bounds):  # both are seldom, and cost little where there is no such thing
        _name_place(value, bounds)
    return cast(object, value)


def _opens_more_than(most: int, text: str) -> bool:
    """Whether a text has more values than that; found one by one, as copies of a large text would fill the memory."""
    openings = (found for found in _TEXT_OR_OPENING.finditer(text) if text[found.start()] != '"')
    return next(islice(openings, most, None), None) is not None


def _decoded(content: bytes) -> str:
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as reason:
        line = content.count(b"\n", 0, reason.start) + 1
        found = content[reason.start : reason.start + 1].hex()
        raise Unreadable(
            f"is no {encoding.upper()} text at byte {reason.start:,} (line {line}, 0x{found}); save it as UTF-8"
        ) from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unreadable(f"has an object with the key {twice!r:.60} twice; one of them must go")
    return made


def _containers(value: object) -> list[object]:
    """The lists and objects in a list or an object."""
    held = cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    return [inner for inner in held if isinstance(inner, (dict, list))]


def _too_deep(value: object, bounds: Bounds) -> bool:
    level: list[object] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(bounds.depth + 1):
        level = [inner for each in level if each for inner in _containers(each)]
        if not level:
            return False
    return True


def _has_halves(text: str) -> bool:
    """Whether a JSON text may hold halves of characters (lone surrogates), which no file or message can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
    return _HALF.search(text) is not None


def _name_place(value: object, bounds: Bounds) -> None:
    """Raises Unreadable for depth and for halves of characters, and names the place."""
    level: list[tuple[str, object]] = [("", value)]
    for _ in range(bounds.depth + 1):
        deeper: list[tuple[str, object]] = []
        for place, each in level:
            if isinstance(each, str):
                _whole(each, place)
            elif isinstance(each, dict):
                for key, inner in cast("dict[str, object]", each).items():
                    _whole(key, f"a key in {place or 'it'}")
                    deeper.append((f"{place}.{key}" if place else key, inner))
            elif isinstance(each, list):
                deeper += ((f"{place}[{i}]", inner) for i, inner in enumerate(cast("list[object]", each)))
        level = deeper
    nested = next((place for place, each in level if isinstance(each, (dict, list))), None)
    if nested is not None:
        raise Unreadable(f"is nested deeper than {bounds.depth} levels, at {nested:.60}...")
    for place, each in level:
        if isinstance(each, str):
            _whole(each, place)


def _whole(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        at = f" in {place:.80}" if place else ""
        half = f"half a character (\\u{ord(text[reason.start]):x})"
        raise Unreadable(f"holds {half}{at}, which no file can keep; type it again") from None


def check(value: object, fields: Mapping[str, Kinds]) -> None:
    """Raises Unreadable for the first field of another type than `fields` says.

    fields: type by path; "[]" stands for every entry of a list, "{}" for every value of an object. null is like
    absent, unless the path ends in "!": such a field must be there. int and float are never true or false.
    """
    for path, kinds in fields.items():
        parts = [part for part in re.split(r"\.|(?=\[\])|(?=\{\})", path.rstrip("!")) if part]
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        for place, found in _found(value, parts, ""):
            if found is None and not path.endswith("!"):
                continue
            if found is None or not fits(found, allowed):
                _refuse(place, found, allowed)


def fits(value: object, kinds: tuple[type, ...]) -> bool:
    """Whether a JSON value is of one of the types; a whole number is a number, and true and false are none."""
    if isinstance(value, bool):
        return bool in kinds or object in kinds
    return isinstance(value, kinds) or float in kinds and isinstance(value, int)


def _refuse(place: str, found: object, kinds: tuple[type, ...]) -> NoReturn:
    expected = " or ".join(dict.fromkeys(WORDS[kind] for kind in kinds))
    raise Unreadable(f"{place or 'it'} must be {expected}, found {shown(found)}")


def shown(value: object) -> str:
    """The beginning of a value, as JSON."""
    try:
        text = json.dumps(value[:61] if isinstance(value, str) else value)  # a text may have a hundred MB
    except (ValueError, TypeError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."


def _found(value: object, parts: list[str], place: str) -> Iterator[tuple[str, object]]:
    """(place, value) of all that a path leads to; what is on the way and of another type is left to its own row."""
    if not parts:
        yield place, value
        return
    head, rest = parts[0], parts[1:]
    if head == "[]":
        rows = cast("list[object]", value) if isinstance(value, list) else []
        for i, each in enumerate(rows):
            yield from _found(each, rest, f"{place}[{i}]")
    elif isinstance(value, dict):
        held = cast("dict[str, object]", value)
        for key in held if head == "{}" else (head,):
            yield from _found(held.get(key), rest, f"{place}.{key}" if place else str(key))
