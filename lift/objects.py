"""What a person marks on a picture: objects with boxes and brush strokes, ground line and light; their JSON text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..control.json_text import Json, is_number, number_in, parse_json
from ..control.span import ControlError
from ..world.scene import MATERIALS

if TYPE_CHECKING:
    from ..world.arrays import Floats

MAX_OBJECTS, MAX_STROKES, MAX_POINTS, MAX_NAME = 64, 200, 2000, 60
REMEDY = "clear the objects and mark them again"
DEFAULT_MATERIAL = "wood"


@dataclass(frozen=True)
class Stroke:
    """points [(x, y), ...]: shares of the picture's width and height. size: the brush's diameter, as a share of the
    width. erase: what it covers does not belong to the object. A click is a stroke of one point.
    """

    points: tuple[tuple[float, float], ...]
    size: float = 0.02
    erase: bool = False


@dataclass(frozen=True, kw_only=True)
class Marked:
    """An object as a person marked it: box (x0, y0, x1, y1) in shares of the picture, strokes, or both.

    thickness: front to back, in metres; None: guessed.
    """

    name: str
    material: str = DEFAULT_MATERIAL
    fixed: bool = False
    thickness: float | None = None
    box: tuple[float, float, float, float] | None = None
    strokes: tuple[Stroke, ...] = ()


@dataclass(frozen=True)
class GroundHint:
    """What is known of the camera over the ground; None is guessed.

    horizon: its height in the picture as a share, 0 the top edge, 1 the bottom edge; it may lie outside.
    camera_height: metres over the ground; it sets the scale of everything. fov_deg: vertical field of view.
    """

    horizon: float | None = None
    camera_height: float | None = None
    fov_deg: float | None = None


@dataclass(frozen=True)
class LightHint:
    """Where light comes from. azimuth_deg: seen from above, counter-clockwise; 0 from the right, 90 from behind the
    scene, 180 from the left, 270 from the viewer. height_deg: over the ground. shadow: 0 none to 1 black.
    None: guessed.
    """

    azimuth_deg: float | None = None
    height_deg: float | None = None
    shadow: float | None = None


@dataclass(frozen=True)
class Selection:
    """All that a person marked on one picture."""

    objects: tuple[Marked, ...] = ()
    ground: GroundHint | None = None
    light: LightHint | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureObject:
    """An object of a picture: mask [H, W] in 0..1 (soft edges are kept), and what is known of it, as in Marked."""

    mask: Floats
    name: str
    material: str = DEFAULT_MATERIAL
    fixed: bool = False
    thickness: float | None = field(default=None)


def read_selection(text: str) -> Selection:
    """The selection in a widget's JSON; an empty one for an empty text. Raises ControlError that names the field."""
    if not text.strip():
        return Selection()
    data = parse_json(text, "objects: their text", REMEDY)
    if not isinstance(data, dict) or data.get("version") != 1:
        raise ControlError(f'objects: expected {{"version": 1, "objects": [...]}}, found {text:.60}; {REMEDY}')
    _only(data, ("version", "objects", "ground", "light"), "objects")
    rows = _list(data.get("objects", []), "objects", MAX_OBJECTS, "objects")
    objects = tuple(_marked(row, f"object {i + 1}") for i, row in enumerate(rows))
    names = [o.name for o in objects]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ControlError(f"objects: two are named {twice!r}; expected a name of its own for each")
    return Selection(objects, _ground(data.get("ground")), _light(data.get("light")))


def write_selection(selection: Selection) -> str:
    """The JSON text that read_selection reads back to the same value."""
    return json.dumps({"version": 1, **asdict(selection)})


def _marked(data: Json, name: str) -> Marked:
    if not isinstance(data, dict):
        raise ControlError(f"{name}: found {data!r:.60}; expected an object with a name, and a box or strokes")
    _only(data, ("name", "material", "fixed", "thickness", "box", "strokes"), name)
    title = data.get("name")
    if not isinstance(title, str) or not 1 <= len(title.strip()) <= MAX_NAME:
        raise ControlError(f"{name}: name is {title!r:.80}; expected 1 to {MAX_NAME} letters")
    name = f"{name} ({title.strip()})"
    material = data.get("material", DEFAULT_MATERIAL)
    if not isinstance(material, str) or material not in MATERIALS:
        raise ControlError(f"{name}: material is {material!r:.40}; expected one of {', '.join(MATERIALS)}")
    strokes = _list(data.get("strokes", []), f"{name}: strokes", MAX_STROKES, "strokes")
    return Marked(
        name=title.strip(),
        material=material,
        fixed=_flag(data, "fixed", name),
        thickness=_optional(data, "thickness", 1e-4, 1e4, name),
        box=_box(data.get("box"), name),
        strokes=tuple(_stroke(row, f"{name}, stroke {i + 1}") for i, row in enumerate(strokes)),
    )


def _stroke(data: Json, name: str) -> Stroke:
    if not isinstance(data, dict):
        raise ControlError(f"{name}: found {data!r:.60}; expected an object with points")
    _only(data, ("points", "size", "erase"), name)
    points = _list(data.get("points"), f"{name}: points", MAX_POINTS, "points [x, y]")
    if not points:
        raise ControlError(f"{name}: it has no points; expected at least one")
    places = tuple(_numbers(point, 2, f"{name}: point {j + 1}") for j, point in enumerate(points))
    return Stroke(
        tuple((x, y) for x, y in places), number_in(data, "size", 0.02, 1e-4, 1, name), _flag(data, "erase", name)
    )


def _box(data: Json, name: str) -> tuple[float, float, float, float] | None:
    if data is None:
        return None
    x0, y0, x1, y1 = _numbers(data, 4, f"{name}: box")
    if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
        raise ControlError(
            f"{name}: box runs from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}); "
            "expected [left, top, right, bottom] with an area inside the picture (0 to 1)"
        )
    return x0, y0, x1, y1


def _ground(data: Json) -> GroundHint | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ControlError(f"ground: found {data!r:.60}; expected an object or null")
    _only(data, ("horizon", "camera_height", "fov_deg"), "ground")
    return GroundHint(
        _optional(data, "horizon", -5, 5, "ground"),
        _optional(data, "camera_height", 1e-3, 1e4, "ground"),
        _optional(data, "fov_deg", 5, 120, "ground"),
    )


def _light(data: Json) -> LightHint | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ControlError(f"light: found {data!r:.60}; expected an object or null")
    _only(data, ("azimuth_deg", "height_deg", "shadow"), "light")
    return LightHint(
        _optional(data, "azimuth_deg", -360, 360, "light"),
        _optional(data, "height_deg", 1, 90, "light"),
        _optional(data, "shadow", 0, 1, "light"),
    )


def _only(data: dict[str, Json], known: tuple[str, ...], name: str) -> None:
    other = next((key for key in data if key not in known), None)
    if other is not None:
        raise ControlError(f"{name}: {other!r:.40} is not known; expected only {', '.join(known)}")


def _list(data: Json, name: str, most: int, what: str) -> list[Json]:
    if not isinstance(data, list) or len(data) > most:
        found = f"{len(data)}" if isinstance(data, list) else f"{data!r:.40}"
        raise ControlError(f"{name}: found {found}; expected a list of at most {most} {what}")
    return data


def _numbers(data: Json, count: int, name: str) -> tuple[float, ...]:
    """Numbers in -1..2: shares of the picture, at most one picture outside."""
    if isinstance(data, list) and len(data) == count:
        values = [float(v) for v in data if is_number(v) and -1 <= v <= 2]
        if len(values) == count:
            return tuple(values)
    raise ControlError(f"{name} is {data!r:.60}; expected {count} numbers, 0 to 1 in the picture, at most 1 outside")


def _optional(data: dict[str, Json], key: str, low: float, high: float, name: str) -> float | None:
    return None if data.get(key) is None else number_in(data, key, low, low, high, name)


def _flag(data: dict[str, Json], key: str, name: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise ControlError(f"{name}: {key} is {value!r:.40}; expected true or false")
    return value
