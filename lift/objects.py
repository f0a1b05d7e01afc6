"""What a person marks on a picture: objects with boxes and brush strokes, ground line and light; their JSON text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

from ..control.span import ControlError
from ..machine.fields import Between, Items, Letters, OneOf, Place, Share, Unfit, read_text
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

    points: Annotated[tuple[Place, ...], Items(1, MAX_POINTS)]
    size: Annotated[float, Between(1e-4, 1)] = 0.02
    erase: bool = False


@dataclass(frozen=True, kw_only=True)
class Marked:
    """An object as a person marked it: box (x0, y0, x1, y1) in shares of the picture, strokes, or both.

    thickness: front to back, in metres; None: guessed.
    """

    name: Annotated[str, Letters(1, MAX_NAME)]
    material: Annotated[str, OneOf(MATERIALS)] = DEFAULT_MATERIAL
    fixed: bool = False
    thickness: Annotated[float, Between(1e-4, 1e4, "metres")] | None = None
    box: tuple[Share, Share, Share, Share] | None = None
    strokes: Annotated[tuple[Stroke, ...], Items(0, MAX_STROKES)] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box or (0, 0, 1, 1)
        if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
            raise Unfit(
                f"found a box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}); "
                "expected [left, top, right, bottom] with an area inside the picture (0 to 1)"
            )


@dataclass(frozen=True)
class GroundHint:
    """What is known of the camera over the ground; None is guessed.

    horizon: its height in the picture as a share, 0 the top edge, 1 the bottom edge; it may lie outside.
    camera_height: metres over the ground; it sets the scale of everything. fov_deg: vertical field of view.
    """

    horizon: Annotated[float, Between(-5, 5)] | None = None
    camera_height: Annotated[float, Between(1e-3, 1e4, "metres")] | None = None
    fov_deg: Annotated[float, Between(5, 120, "degrees")] | None = None


@dataclass(frozen=True)
class LightHint:
    """Where light comes from. azimuth_deg: seen from above, counter-clockwise; 0 from the right, 90 from behind the
    scene, 180 from the left, 270 from the viewer. height_deg: over the ground. shadow: 0 none to 1 black.
    None: guessed.
    """

    azimuth_deg: Annotated[float, Between(-360, 360, "degrees")] | None = None
    height_deg: Annotated[float, Between(1, 90, "degrees")] | None = None
    shadow: Annotated[float, Between(0, 1)] | None = None


@dataclass(frozen=True)
class Selection:
    """All that a person marked on one picture."""

    objects: Annotated[tuple[Marked, ...], Items(0, MAX_OBJECTS)] = ()
    ground: GroundHint | None = None
    light: LightHint | None = None

    def __post_init__(self) -> None:
        names = [each.name for each in self.objects]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Unfit(f"two are named {twice!r}; expected a name of its own for each")


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
    return read_text(Selection, text, "objects", ControlError, REMEDY) if text.strip() else Selection()


def write_selection(selection: Selection) -> str:
    """The JSON text that read_selection reads back to the same value."""
    return json.dumps({"version": 1, **asdict(selection)})
