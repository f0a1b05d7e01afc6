"""A scene: rigid bodies on planes before a picture, with light, gravity and a camera.

World axes: x right, y away from the viewer, z up. Rotations are unit quaternions (w, x, y, z), as in MuJoCo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from .arrays import Bools, Bytes, Floats, Ints

Vector: TypeAlias = "tuple[float, float, float]"
Quaternion: TypeAlias = "tuple[float, float, float, float]"
ShapeKind = Literal["sphere", "box", "cylinder", "capsule", "ellipsoid", "hull"]

NO_ROTATION: Quaternion = (1.0, 0.0, 0.0, 0.0)
EARTH: Vector = (0.0, 0.0, -9.81)  # m/s^2


def vector(v: Vector | Floats) -> Vector:
    """Three numbers as Python floats: NumPy's would print, and so compare, otherwise."""
    return float(v[0]), float(v[1]), float(v[2])


@dataclass(frozen=True)
class Material:
    """What a body is made of. toughness: impact energy in joules per kilogram from which it breaks; None: never.

    restitution: speed after / before an impact, 0 to 1; of two bodies that meet, the mean counts. friction: Coulomb
    coefficient; of two, the geometric mean counts.
    """

    name: str
    density: float  # kg/m^3
    friction: float
    restitution: float
    toughness: float | None = None


# Handbook values, rounded: densities of the bulk, dry sliding friction, impacts of moderate speed.
MATERIALS = {
    m.name: m
    for m in (
        Material("wood", 700.0, 0.5, 0.45),
        Material("rubber", 1100.0, 0.9, 0.8),
        Material("glass", 2500.0, 0.4, 0.5, toughness=4.0),
        Material("ceramic", 2400.0, 0.45, 0.4, toughness=5.0),
        Material("steel", 7850.0, 0.4, 0.6),
        Material("foam", 40.0, 0.7, 0.3),
        Material("ice", 917.0, 0.05, 0.3, toughness=8.0),
        Material("stone", 2600.0, 0.6, 0.3, toughness=40.0),
    )
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """A convex part of a body, posed in the body's axes.

    size, as in MuJoCo: sphere (radius), box (half extents x, y, z), cylinder and capsule (radius, half length along z
    without caps), ellipsoid (semi-axes x, y, z); hull: empty, vertices [N, 3] in metres instead.
    """

    kind: ShapeKind
    size: tuple[float, ...] = ()
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = NO_ROTATION
    vertices: Floats | None = None


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle surface: vertices [N, 3] in metres, faces [F, 3] counter-clockwise seen from outside, uv [N, 2] in
    0..1 (x right, y down) where a texture needs them.
    """

    vertices: Floats
    faces: Ints
    uv: Floats | None = None


@dataclass(frozen=True)
class View:
    """A pinhole camera: c2w [4, 4] camera to world (x right, y down, z forward), vertical field of view in degrees."""

    c2w: Floats
    fov_deg: float


@dataclass(frozen=True)
class Colored:
    """One colour, lit by the scene's light. rgb in 0..1."""

    rgb: Vector


@dataclass(frozen=True, eq=False)
class Textured:
    """A texture uint8 [h, w, 3], lit by the scene's light; mapped by the surface's uv."""

    image: Bytes


@dataclass(frozen=True, eq=False)
class Projected:
    """A picture uint8 [h, w, 4] (straight alpha) seen by `view`, projected onto the surface as it is posed at time 0.

    It carries the picture's own light, so it is not lit again, but for the share `lit` of it in 0..1: its colours are
    those in a white light, and so much of the scene's light falls on it, the rest being even. Beyond the outline
    colours are extended, so that no background bleeds in. opacity uint8 [h, w]: of the body itself where it is, as
    glass has it; None: opaque.
    """

    image: Bytes
    view: View
    opacity: Bytes | None = None
    lit: float = 0.0


Appearance: TypeAlias = "Colored | Textured | Projected"


@dataclass(frozen=True, kw_only=True)
class Joint:
    """What holds a body to the world: a hinge or a slide along `axis`, or a ball, at `anchor` (both in world axes).

    range: lowest and highest angle in radians or way in metres from the start; None: free.
    """

    kind: Literal["hinge", "slide", "ball"]
    anchor: Vector
    axis: Vector = (0.0, 0.0, 1.0)
    range: tuple[float, float] | None = None
    damping: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Body:
    """A rigid body at time 0.

    shapes: what collides. surface: what is drawn, in body axes; None: the shapes themselves. appearance None: part of
    the backdrop, not drawn (a table top that the picture shows). mass in kilograms; None: density times volume.
    velocity in m/s, spin in rad/s about world axes.
    """

    name: str
    shapes: tuple[Shape, ...]
    position: Vector
    rotation: Quaternion = NO_ROTATION
    material: Material = MATERIALS["wood"]
    appearance: Appearance | None = Colored((0.6, 0.6, 0.6))
    surface: Mesh | None = None
    mass: float | None = None
    velocity: Vector = (0.0, 0.0, 0.0)
    spin: Vector = (0.0, 0.0, 0.0)
    fixed: bool = False
    joint: Joint | None = None


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A fixed plane: the ground, or a backdrop. normal: unit vector towards the free side; offset: point on the plane
    dot normal, metres. colors: of a checker with tiles of `tile` metres, where no plate is given. solid False: drawn
    only; the mechanism has a plane of its own there to collide with.
    """

    normal: Vector = (0.0, 0.0, 1.0)
    offset: float = 0.0
    material: Material = MATERIALS["wood"]
    colors: tuple[Vector, Vector] = ((0.62, 0.62, 0.63), (0.52, 0.52, 0.54))
    tile: float = 0.5
    solid: bool = True


@dataclass(frozen=True, eq=False)
class Plate:
    """What a picture shows without its bodies, as the scene's first view sees it.

    image uint8 [H, W, 3]; picture uint8 [H, W, 3]: as it was; filled bool [H, W]: pixels of `image` that were made up.
    depth float32 [H, W] in metres along the optical axis; None: the scene's planes.
    """

    image: Bytes
    picture: Bytes
    filled: Bools
    depth: Floats | None = None


@dataclass(frozen=True)
class Light:
    """One distant light. direction: unit vector towards it. shadow 0..1: share of light that a shadow takes away.

    softness: width of the shadow's rim, as a share of the height from which it falls.
    """

    direction: Vector = (-0.4, -0.5, 0.77)
    shadow: float = 0.5
    softness: float = 0.15
    ambient: float = 0.5


@dataclass(frozen=True, eq=False)
class Mechanism:
    """A MuJoCo model that the scene contains: robots with joints, actuators, sensors and meshes.

    xml: the MJCF text; assets: contents of the files it names, by the names under which it names them.
    """

    xml: str
    assets: dict[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """Bodies, what carries them, light, gravity (m/s^2) and the first camera.

    plate: the picture behind the bodies; None: planes and sky are drawn. Names of bodies are unique.
    """

    bodies: tuple[Body, ...]
    view: View
    width: int = 832
    height: int = 480
    ground: Plane | None = field(default_factory=Plane)
    backdrop: Plane | None = None
    plate: Plate | None = None
    light: Light = field(default_factory=Light)
    gravity: Vector = EARTH
    mechanism: Mechanism | None = None

    def body(self, name: str) -> Body:
        """The body of that name. Raises SceneError that lists the names there are."""
        for body in self.bodies:
            if body.name == name:
                return body
        names = ", ".join(repr(b.name) for b in self.bodies) or "none"
        raise SceneError(f"no body is named {name!r}; the scene has {names}")


class SceneError(ValueError):
    """A scene, its file, its actions or its simulation cannot be used as they are; says what was found and expected."""
