"""Values of a scene and its actions to and from JSON: strictly by the types of their fields.

Pictures are PNG and files are bytes inside the JSON, as data URIs (RFC 2397), as glTF has them: a scene is one file.
Numbers come back to the last bit.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from io import BytesIO
from typing import Any, Literal, TypeAlias, TypeVar, Union, cast

import numpy as np

from . import actions, scene
from .arrays import Bools, Bytes, Floats, Ints
from .scene import MATERIALS, Material, Mesh, Plate, Projected, SceneError, Shape, Textured, View

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Record = TypeVar("Record")
Sides: TypeAlias = "tuple[int | None, ...] | None"  # of an array; None: any length, or any shape

MOST_ITEMS = 20_000  # of one list: more bodies, shapes or targets than any simulation here finishes
MOST_PIXELS = 2**26  # of one picture: 8192 x 8192, 201 MB in memory
MOST_LISTED = 20_000  # numbers that an array writes as lists, which a person can read; larger ones are packed
PNG, DATA = "data:image/png;base64,", "data:application/octet-stream;base64,"

APPEARANCES: tuple[type, ...] = (scene.Colored, Textured, Projected)
ACTIONS: tuple[type, ...] = (
    *(actions.Push, actions.Force, actions.Throw, actions.Spin, actions.Drag, actions.Grab, actions.Wind),
    *(actions.Gravity, actions.Actuate, actions.Break, actions.Release, actions.SetMaterial),
)
_TAGS: dict[type, str] = {
    kind: kind.__name__.lower() for kind in APPEARANCES + ACTIONS
}  # "type" in JSON, where a union is told apart
# What names in annotations of scene.py and actions.py stand for, where only type checkers know it.
_ANNOTATIONS: dict[str, Any] = {
    **{"Floats": Floats, "Bytes": Bytes, "Bools": Bools, "Ints": Ints},
    **{"Vector": tuple[float, float, float], "Quaternion": tuple[float, float, float, float]},
    **{"Path": tuple[tuple[float, float, float], ...], "Appearance": scene.Colored | Textured | Projected},
}
_NUMBER_KINDS = {"float32": "f", "float64": "f", "int32": "i", "int64": "i"}  # of packed arrays
_SHAPES: dict[tuple[type, str], Sides] = {
    (Shape, "vertices"): (None, 3),
    (Mesh, "vertices"): (None, 3),
    (Mesh, "faces"): (None, 3),
    (Mesh, "uv"): (None, 2),
    (View, "c2w"): (4, 4),
    (Textured, "image"): (None, None, 3),
    (Projected, "image"): (None, None, 4),
    (Projected, "opacity"): (None, None),
    (Plate, "image"): (None, None, 3),
    (Plate, "picture"): (None, None, 3),
    (Plate, "filled"): (None, None),
    (Plate, "depth"): (None, None),
}


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the known name most like this one, else the names there are."""
    names = list(known)
    close = get_close_matches(name, names, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def to_json(value: object) -> Json:
    """A dataclass of scene.py or actions.py, or a tuple of them, as JSON values; fields that are None are left out."""
    if isinstance(value, Material) and MATERIALS.get(value.name) == value:
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        record: dict[str, Json] = {}
        if type(value) in _TAGS:
            record["type"] = _TAGS[type(value)]
        for f in dataclasses.fields(value):
            content = cast(object, getattr(value, f.name))
            if content is not None or f.default is not None:
                record[f.name] = to_json(content)
        return record
    if isinstance(value, np.ndarray):
        return _from_array(cast("np.ndarray[Any, Any]", value))
    if isinstance(value, bytes):
        return DATA + base64.b64encode(value).decode()
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, np.generic):
        return cast("float | int | bool", value.item())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def from_json(kind: type[Record], value: object, where: str = "") -> Record:
    """The dataclass `kind` from JSON values. Raises SceneError that names the place, what is there and what fits."""
    return cast(Record, _record(kind, value, where))


def actions_from_json(value: object, where: str = "actions") -> actions.Actions:
    """Actions from a JSON list, each an object whose "type" is push, force, throw ... Raises SceneError."""
    each = enumerate(_list(value, where))
    return tuple(cast(actions.Action, _tagged(ACTIONS, item, f"{where}[{i}]")) for i, item in each)


def _read(kind: object, value: object, where: str, shape: Sides = None) -> object:
    """The value of an annotation `kind` from JSON; `shape` is an array's."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        return _read(options[0], value, where, shape) if len(options) == 1 else _tagged(options, value, where)
    if origin is Literal:
        if value not in arguments:
            raise SceneError(f"{where}: {value!r:.80}; {nearest(str(value), map(str, arguments))}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        return {key: _bytes(text, f"{where}[{key!r}]") for key, text in _object(value, where).items()}
    if origin is np.ndarray:
        return _array(kind, value, where, shape)
    if kind is Material and isinstance(value, str):
        if value not in MATERIALS:
            raise SceneError(f"{where}: no material is named {value!r:.80}; {nearest(value, MATERIALS)}")
        return MATERIALS[value]
    if not isinstance(kind, type):
        raise TypeError(f"{kind} has no form in JSON")
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, where)
    return _scalar(cast(type, kind), value, where)


def _scalar(kind: type, value: object, where: str) -> object:
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise SceneError(f"{where}: {value!r:.40} is no finite number")
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31:
        return value
    if kind in (bool, str) and isinstance(value, kind):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise SceneError(f"{where}: {value!r:.80}; expected {names[kind]}")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SceneError(f"{where or 'the file'}: {value!r:.80}; expected an object in braces")
    return cast("dict[str, object]", value)


def _list(value: object, where: str, most: int = MOST_ITEMS) -> list[object]:
    if not isinstance(value, list):
        raise SceneError(f"{where}: {value!r:.80}; expected a list in brackets")
    items = cast("list[object]", value)
    if len(items) > most:
        raise SceneError(f"{where}: {len(items):,} entries; at most {most:,} are read")
    return items


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    items = _list(value, where)
    if kinds[-1] is not Ellipsis and len(items) != len(kinds):
        raise SceneError(f"{where}: {len(items)} entries; expected {len(kinds)}")
    each = [kinds[0]] * len(items) if kinds[-1] is Ellipsis else kinds
    return tuple(_read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(each, items, strict=True)))


def _record(kind: type, value: object, where: str, ignored: str = "") -> object:
    given = _object(value, where)
    hints = typing.get_type_hints(kind, localns=_ANNOTATIONS)
    made: dict[str, object] = {}
    for key, item in given.items():
        if key == ignored:
            continue
        if key not in hints:
            raise SceneError(f"{where + ': ' if where else ''}no field is named {key!r:.80}; {nearest(key, hints)}")
        made[key] = _read(hints[key], item, f"{where}.{key}" if where else key, _SHAPES.get((kind, key)))
    missing = dataclasses.MISSING
    absent = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in made and f.default is missing and f.default_factory is missing
    ]
    if absent:
        raise SceneError(f"{where or 'the file'}: {', '.join(absent)} missing; needed by a {kind.__name__.lower()}")
    return kind(**made)


def _tagged(kinds: Iterable[type], value: object, where: str) -> object:
    """One of several dataclasses, told apart by "type"."""
    by_tag = {_TAGS[kind]: kind for kind in kinds}
    tag = _object(value, where).get("type")
    if not isinstance(tag, str) or tag not in by_tag:
        found = "no type" if tag is None else f"the type {tag!r:.80}"
        raise SceneError(f"{where}: {found}; {nearest(str(tag), by_tag)}")
    return _record(by_tag[tag], value, where, ignored="type")


def _bytes(value: object, where: str, prefix: str = DATA) -> bytes:
    if not isinstance(value, str) or not value.startswith(prefix):
        raise SceneError(f"{where}: {value!r:.60}; expected text that starts with {prefix!r}")
    try:
        return base64.b64decode(value[len(prefix) :], validate=True)
    except (binascii.Error, ValueError) as reason:
        raise SceneError(f"{where}: this is no base64 ({reason})") from reason


def _from_array(array: np.ndarray[Any, Any]) -> Json:
    if array.dtype in (np.uint8, np.bool_):
        from PIL import Image

        file = BytesIO()
        Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.uint8) * 255).save(file, "PNG")
        return PNG + base64.b64encode(file.getvalue()).decode()
    if array.size <= MOST_LISTED:
        return cast(Json, array.tolist())
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": DATA + base64.b64encode(little.tobytes()).decode(),
    }


def _array(kind: object, value: object, where: str, shape: Sides) -> np.ndarray[Any, Any]:
    if kind == Bytes or kind == Bools:
        channels = 1 if kind == Bools or len(shape or ()) == 2 else (shape or (None,) * 3)[-1] or 3
        array = _picture(value, where, channels)
        array = array > 127 if kind == Bools else array
    else:
        array = _numbers(value, where, "i" if kind == Ints else "f")
    if shape and (array.ndim != len(shape) or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True))):
        expected = " x ".join("N" if side is None else str(side) for side in shape)
        raise SceneError(f"{where}: {' x '.join(map(str, array.shape))} values; expected {expected}")
    return array


def _numbers(value: object, where: str, dtype_kind: str) -> np.ndarray[Any, Any]:
    if isinstance(value, dict):
        packed = cast("dict[str, object]", value)
        dtype = packed.get("dtype")
        if not isinstance(dtype, str) or _NUMBER_KINDS.get(dtype) != dtype_kind:
            fitting = ", ".join(name for name, kind in _NUMBER_KINDS.items() if kind == dtype_kind)
            raise SceneError(f"{where}.dtype: {dtype!r:.40}; expected {fitting}")
        sides = [
            cast(int, _scalar(int, side, f"{where}.shape")) for side in _list(packed.get("shape"), f"{where}.shape", 8)
        ]
        data = _bytes(packed.get("data"), f"{where}.data")
        little = cast("np.dtype[Any]", np.dtype(dtype).newbyteorder("<"))
        needed = math.prod(sides) * little.itemsize
        if min(sides, default=0) < 0 or len(data) != needed:
            raise SceneError(f"{where}: {len(data):,} bytes; {dtype} of the shape {sides} has {needed:,}")
        array = np.frombuffer(data, little).astype(dtype).reshape(sides)
    else:
        try:
            array = np.array(_list(value, where, MOST_ITEMS * 10), np.int64 if dtype_kind == "i" else np.float64)
        except (ValueError, TypeError, OverflowError) as reason:
            raise SceneError(f"{where}: {value!r:.60}; expected numbers in rows of equal length ({reason})") from reason
    if not np.isfinite(array).all():
        raise SceneError(f"{where}: {int((~np.isfinite(array)).sum()):,} of {array.size:,} numbers are not finite")
    return array


def _picture(value: object, where: str, channels: int) -> np.ndarray[Any, Any]:
    """uint8 [h, w, channels], or [h, w] for one channel."""
    from PIL import Image

    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    try:
        file = cast("Image.Image", Image.open(BytesIO(_bytes(value, where, PNG)), formats=["PNG"]))
        if file.width * file.height > MOST_PIXELS:
            raise SceneError(f"{where}: {file.width}x{file.height} pixels; at most {MOST_PIXELS:,} are read")
        if file.mode != mode:
            raise SceneError(f"{where}: a PNG of mode {file.mode}; expected {mode}")
        pixels = np.array(file, np.uint8)
    except SceneError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise SceneError(f"{where}: this is no PNG that can be read ({reason})") from reason
    return pixels
