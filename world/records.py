"""Values of a scene and its actions to and from JSON: strictly by the types of their fields.

Pictures are PNG and files are bytes inside the JSON, as data URIs (RFC 2397), as glTF has them: a scene is one file.
Numbers come back to the last bit.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal, TypeAlias, Union, cast

import numpy as np

from ..machine.fields import Between, Items, Names, OneOf, Unfit, is_number, reader
from ..machine.parse import fits
from . import actions, scene
from .scene import MATERIALS, Material

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MOST_PIXELS = 2**26  # of one picture: 8192 x 8192, 201 MB in memory
MOST_LISTED = 20_000  # numbers that an array writes as lists, which a person can read; larger ones are packed
MOST_ROWS = 200_000  # of an array that is written as lists
PNG, DATA = "data:image/png;base64,", "data:application/octet-stream;base64,"

APPEARANCES: tuple[type, ...] = (scene.Colored, scene.Textured, scene.Projected)
ACTIONS: tuple[type, ...] = (
    *(actions.Push, actions.Force, actions.Throw, actions.Spin, actions.Drag, actions.Grab, actions.Wind),
    *(actions.Gravity, actions.Actuate, actions.Break, actions.Release, actions.SetMaterial),
)


def to_json(value: object) -> Json:
    """A dataclass of scene.py or actions.py, or a tuple of them, as JSON values; fields that are None are left out."""
    if isinstance(value, Material) and MATERIALS.get(value.name) == value:
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        record: dict[str, Json] = {}
        if isinstance(value, APPEARANCES + ACTIONS):
            record["type"] = type(value).__name__.lower()
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


@dataclass(frozen=True, eq=False)
class _Numbers:
    """An array of numbers of some shape, () for any; None is any length."""

    dtypes: tuple[str, str]  # as which they may be packed; the last is that of numbers in lists
    sides: tuple[int | None, ...] = ()

    def __call__(self, value: object) -> np.ndarray[Any, Any]:
        array = self._packed(cast(object, value)) if isinstance(value, dict) else self._listed(value)
        if not np.isfinite(array).all():
            raise Unfit(f"{int((~np.isfinite(array)).sum()):,} of {array.size:,} numbers are not finite")
        sides, shape = self.sides or (None,) * array.ndim, array.shape
        if len(sides) != len(shape) or any(side not in (None, n) for side, n in zip(sides, shape, strict=True)):
            expected = " x ".join("N" if side is None else str(side) for side in sides)
            raise Unfit(f"{' x '.join(map(str, shape))} values; expected {expected}")
        return array

    def _packed(self, value: object) -> np.ndarray[Any, Any]:
        packed = reader(_Packed, NAMES)(value)
        little = cast("np.dtype[Any]", np.dtype(OneOf(self.dtypes)(packed.dtype)).newbyteorder("<"))
        needed = math.prod(packed.shape) * little.itemsize
        if len(packed.data) != needed:
            raise Unfit(f"{len(packed.data):,} bytes; {packed.dtype} of the shape {packed.shape} has {needed:,}")
        return np.frombuffer(packed.data, little).astype(packed.dtype).reshape(packed.shape)

    def _listed(self, value: object) -> np.ndarray[Any, Any]:
        array, dtype = np.array(Items(0, MOST_ROWS)(value), object), self.dtypes[-1]
        if not all(fits(v, (int,)) if dtype == "int64" else is_number(v) for v in cast("list[object]", array.flat)):
            raise Unfit.found(value, f"{dtype} numbers in rows of equal length")
        try:
            return array.astype(dtype)
        except OverflowError:
            raise Unfit.found(value, f"numbers that {dtype} holds") from None


@dataclass(frozen=True)
class _Packed:
    """An array of more numbers than a person can read."""

    dtype: str
    shape: Annotated[tuple[Annotated[int, Between(0, 2**40)], ...], Items(0, 8)]
    data: bytes


@dataclass(frozen=True, eq=False)
class _Png:
    """A picture uint8 [h, w, channels], or [h, w] of one channel, of a mode of PNG files."""

    mode: Literal["L", "RGB", "RGBA"]

    def __call__(self, value: object) -> np.ndarray[Any, Any]:
        from PIL import Image

        try:
            file = cast("Image.Image", Image.open(BytesIO(_bytes(value, PNG)), formats=["PNG"]))
            if file.width * file.height > MOST_PIXELS:
                raise Unfit(f"{file.width}x{file.height} pixels; at most {MOST_PIXELS:,} are read")
            if file.mode != self.mode:
                raise Unfit(f"a PNG of mode {file.mode}; expected {self.mode}")
            return np.array(file, np.uint8)
        except Unfit:
            raise
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
            raise Unfit(f"this is no PNG that can be read ({reason})") from reason


def _bytes(value: object, prefix: str = DATA) -> bytes:
    if not isinstance(value, str) or not value.startswith(prefix):
        raise Unfit.found(value, f"text that starts with {prefix!r}")
    try:
        return base64.b64decode(value[len(prefix) :], validate=True)
    except (binascii.Error, ValueError) as reason:
        raise Unfit(f"this is no base64 ({reason})") from reason


def _mask(value: object) -> object:
    return _Png("L")(value) > 127


def _material(value: object) -> object:
    return MATERIALS[OneOf(MATERIALS)(value)] if isinstance(value, str) else value


def _floats(*sides: int | None) -> object:
    return Annotated[object, _Numbers(("float32", "float64"), sides)]


# What names in annotations of scene.py and actions.py stand for, where only type checkers know it; then single fields.
NAMES: Names = {
    **{"Vector": tuple[float, float, float], "Quaternion": tuple[float, float, float, float]},
    **{"Path": tuple[tuple[float, float, float], ...], "Material": Annotated[Material, _material]},
    **{"Appearance": Union[APPEARANCES], "Actions": tuple[Union[ACTIONS], ...]},  # noqa: UP007
    **{"Floats": _floats(), "Ints": Annotated[object, _Numbers(("int32", "int64"), (None, 3))]},
    **{"Bytes": Annotated[object, _Png("RGB")], "Bools": Annotated[object, _mask], "bytes": Annotated[object, _bytes]},
    **{"Shape.vertices": _floats(None, 3), "Mesh.vertices": _floats(None, 3), "Mesh.uv": _floats(None, 2)},
    **{"View.c2w": _floats(4, 4), "Plate.depth": _floats(None, None)},
    **{"Projected.image": Annotated[object, _Png("RGBA")], "Projected.opacity": Annotated[object, _Png("L")]},
}
