"""What a network perceives becomes a scene: bodies in metres over the ground, with their speeds, ready to simulate.

A picture tells lengths only as multiples of the eye's height over the ground, and times in frames. Gravity, which the
network tells in these units, gives the metres: what falls at 9.81 m/s^2 must be that large.

How far away a body is follows from the ground: the pixel of the point beneath its centre tells that, by the camera's
tilt and field of view alone, as far as the ground is flat. All bodies then share one scale, and an error of tilt or
field of view moves them together, so that contacts stay contacts and most of the picture stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..world.checks import SMALLEST
from ..world.extent import farthest, surface_points
from ..world.scene import (
    Body,
    Colored,
    Joint,
    Light,
    Material,
    Plane,
    Quaternion,
    Scene,
    SceneError,
    Shape,
    Vector,
    View,
    vector,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.arrays import Floats

GRAVITY = 9.81  # m/s^2
STUFF = Material("perceived", 700.0, 0.45, 0.4)  # what a picture does not tell: as wood, a little lively
CONE_SIDES = 32
FIXED, HINGED = 0.5, 0.5  # probabilities from which a body is fixed, or hangs on a joint
AIR, GROUND, BODY = range(3)  # what holds a body up, as the network orders it
RESIZED = (0.6, 1.6)  # a body that hangs over the ground, or sinks into it, is made so much larger or smaller, at most
DROPPED = 0.5  # of a body's size: by so much, at most, it is moved to lie on the one beneath
GAP = 1e-3  # of a body's size, between bodies on each other
HEAVY = 0.3  # of the logarithm of density: what differs by less weighs like the others
LEVEL_DEG = 12.0  # an axis that is nearer than this to upright or level is so, if the body stands and does not tip
TURNS, TIPS = 0.02, 0.1  # radians a frame: what turns, about any axis; what tips, about a level one
RESTS = 0.004  # of its size a frame: what moves more slowly rests; a tenth of a pixel of a body of 25 pixels
LIES_DEG = 15.0  # between level ground and the axis of a body that can roll
ROLLING = ("cylinder", "capsule")
SLIDES = 0.25  # of gravity, by which what can roll and is braked slides
MOST_FRICTION = 1.2
SURER = 0.12  # error of a speed across the view, as a share of that along it (.006 and .05 sizes a frame, of barrels)
SHOWS = 0.1  # square of the share of a rolling cylinder's way that is across the view: below it, the speed stays
SKIDS = (-0.5, 1.8)  # of the rolling spin: what is perceived to turn backwards, or much faster, skids; all else rolls
ROUND = ("sphere", "ellipsoid", "capsule", "hull", "compound")  # kinds that no face holds upright


class Perceived(Protocol):
    """What is asked of a network's answer; fields as in model/perception.py, bodies [N], in the last camera's axes."""

    @property
    def kind(self) -> tuple[str, ...]:
        """Names of shapes: sphere, box, cylinder, capsule, cone, ellipsoid, hull or compound."""
        ...

    @property
    def center(self) -> Tensor:
        """Centres [N, 3], in heights of the eye."""
        ...

    @property
    def rotation(self) -> Tensor:
        """Rotations [N, 3, 3], columns are the axes."""
        ...

    @property
    def half(self) -> Tensor:
        """Half extents [N, 3] along the axes."""
        ...

    @property
    def velocity(self) -> Tensor:
        """[N, 3] in heights of the eye a frame."""
        ...

    @property
    def spin(self) -> Tensor:
        """[N, 3] in radians a frame."""
        ...

    @property
    def fixed(self) -> Tensor:
        """Probabilities [N] that nothing moves it."""
        ...

    @property
    def hinged(self) -> Tensor:
        """Probabilities [N] that it hangs on a hinge."""
        ...

    @property
    def anchor(self) -> Tensor:
        """Points [N, 3] of the hinges."""
        ...

    @property
    def hinge(self) -> Tensor:
        """Axes [N, 3] of the hinges."""
        ...

    @property
    def foot(self) -> Tensor:
        """Ways [N, 3] to the points of the ground beneath their centres."""
        ...

    @property
    def support(self) -> Tensor:
        """Probabilities [N, 3] that nothing holds it up, that the ground does, that another body does."""
        ...

    @property
    def density(self) -> Tensor:
        """[N], as a multiple of the material's."""
        ...

    @property
    def braking(self) -> Tensor:
        """[N], how fast it loses speed over the ground, in multiples of gravity; NaN: not seen."""
        ...

    @property
    def ground(self) -> Tensor:
        """Its normal [3]; it lies one height of the eye below."""
        ...

    @property
    def fov_deg(self) -> float:
        """Vertical field of view in degrees."""
        ...

    @property
    def light(self) -> Tensor:
        """Direction [3] towards the light."""
        ...

    @property
    def gravity(self) -> float:
        """In heights of the eye a squared frame."""
        ...

    @property
    def wall(self) -> Tensor | None:
        """Unit normal and inverse distance [4] of an upright plane behind; None: there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class BodyEdit:
    """What a person says of a body, in metres, seconds and the scene's axes; None: as it is perceived."""

    shapes: tuple[Shape, ...] | None = None
    position: Vector | None = None
    rotation: Quaternion | None = None
    velocity: Vector | None = None
    spin: Vector | None = None
    material: Material | None = None
    fixed: bool | None = None


def scene_from_perception(
    seen: Perceived,
    *,
    fps: float,
    width: int,
    height: int,
    eye_m: float | None = None,
    material: Material = STUFF,
    edits: Mapping[int, BodyEdit] | None = None,
) -> Scene:
    """The scene that pictures width x height at `fps` show, as the last of them sees it.

    The camera stands at (0, 0, eye_m) over the ground and looks towards +y. eye_m: its height in metres; None: as
    gravity tells. edits: by number of the body; each field that is given wins. Raises SceneError without a ground.
    """
    from ..geometry.level import farther_over

    turn = _to_world(_array(seen.ground))
    eye = eye_m if eye_m is not None else GRAVITY / max(seen.gravity * fps**2, 1e-9)
    if not (0.001 <= eye <= 10000):
        raise SceneError(
            f"the eye would stand {eye:.3g} m over the ground; expected 0.001 to 10000: check fps, or give eye_m"
        )
    c2w = np.eye(4)
    c2w[:3, :3], c2w[2, 3] = turn, eye
    known = edits or {}
    farther = _array(farther_over(seen.center, seen.foot, seen.ground))
    made = [_body(seen, i, turn, eye, fps, material, float(farther[i])) for i in range(len(seen.kind))]
    made = _piled(made, [_holds(seen, i) == BODY and made[i].joint is None for i in range(len(made))])
    bodies = tuple(_edited(body, known.get(i, BodyEdit())) for i, body in enumerate(made))
    return Scene(
        bodies=bodies,
        view=View(c2w, seen.fov_deg),
        width=width,
        height=height,
        ground=Plane(material=material),
        backdrop=_wall(seen.wall, turn, eye, material),
        light=Light(_unit(turn @ _array(seen.light))),
        gravity=(0.0, 0.0, -seen.gravity * eye * fps**2),
    )


def _wall(wall: Tensor | None, turn: Floats, eye: float, material: Material) -> Plane | None:
    """The upright plane that a unit normal and an inverse distance from the eye tell."""
    if wall is None:
        return None
    told = _array(wall)
    normal = (turn @ told[:3]) * (1, 1, 0)
    return Plane(normal=_unit(normal), offset=-eye / max(float(told[3]), 1e-3), material=material)


def _body(seen: Perceived, i: int, turn: Floats, eye: float, fps: float, material: Material, scale: float) -> Body:
    """Body i in metres, on the ground where it stands there. scale: by how much farther than perceived it is, as the
    ground beneath it tells; NaN: it does not."""
    kind, half = seen.kind[i], np.maximum(_array(seen.half[i]), 2 * SMALLEST / eye)
    size = float(np.prod(half)) ** (1 / 3)
    axes = turn @ _array(seen.rotation[i])
    center = turn @ _array(seen.center[i]) + (0.0, 0.0, 1.0)  # in heights of the eye over the ground
    velocity, spin = turn @ _array(seen.velocity[i]), turn @ _array(seen.spin[i])
    hinged, fixed = bool(seen.hinged[i] > HINGED), bool(seen.fixed[i] > FIXED)
    rests = bool(np.linalg.norm(velocity) < RESTS * size) and bool(np.linalg.norm(spin) < TURNS)
    if rests:
        velocity, spin = np.zeros(3), np.zeros(3)
    held = _holds(seen, i)
    tips = float(np.linalg.norm(spin[:2])) > TIPS and not _can_roll(kind, axes)  # what rolls neither rises nor sinks
    made = Body(
        name=f"{kind} {i + 1}",
        shapes=_shapes(kind, half),
        position=vector(center),
        rotation=quaternion(axes),
        material=material,
        appearance=Colored((0.6, 0.6, 0.6)),
    )
    if not hinged and held != AIR and kind not in ROUND and not tips:
        axes = _leveled(axes)
        made = _at(made, center, axes)
    low = float(farthest(made, np.array([[0.0, 0.0, -1.0]]))[0, 2]) - 1.0  # from the eye
    if not math.isfinite(scale):  # it is seen alike when it is nearer to the eye: until it touches the ground
        scale = -1 / min(low, -0.1) if held == GROUND and not hinged else 1.0
    center = np.array([0, 0, 1.0]) + scale * (center - (0, 0, 1.0))
    if held == GROUND and not hinged:
        under = float(center[2] - (1.0 + scale * low))  # from its middle down to its lowest point
        larger = float(np.clip(center[2] / max(under, 1e-6), *RESIZED))
        half, center = half * larger, np.array([center[0], center[1], larger * under])
    velocity, ray = velocity * scale, np.asarray(_unit(center - (0.0, 0.0, 1.0)))
    if held == GROUND and not hinged and not tips:
        velocity = _over_ground(velocity, ray)
    velocity, spin, axes = _rolling(kind, half * scale, axes, velocity, spin, held, ray)
    joint = None
    if hinged:
        anchor = scale * (turn @ _array(seen.anchor[i])) + (0.0, 0.0, 1.0)
        axis = _unit(turn @ _array(seen.hinge[i]))
        joint = Joint(kind="hinge", anchor=vector(anchor * eye), axis=axis)
        velocity, spin = _swinging(center - anchor, np.asarray(axis), velocity)
    return Body(
        name=made.name,
        shapes=_shapes(kind, half * scale * eye),
        position=vector(center * eye),
        rotation=quaternion(axes),
        material=_rubbing(_weighing(material, float(seen.density[i])), kind, float(seen.braking[i])),
        appearance=made.appearance,
        velocity=vector(velocity * eye * fps),
        spin=vector(spin * fps),
        fixed=fixed and not hinged,
        joint=joint,
    )


def _over_ground(velocity: Floats, ray: Floats) -> Floats:
    """A velocity [3] of what neither rises nor sinks. The picture tells it across the ray [3] from the eye, well; along
    it only how the body's size changes, badly: that part is changed until the body keeps to the ground."""
    return velocity - ray * float(velocity[2] * ray[2] / (ray[2] ** 2 + SURER**2))


def _across(vector: Floats, ray: Floats) -> Floats:
    """The part of a vector [3] that a picture shows of it: across the unit ray [3] from the eye."""
    return vector - ray * float(vector @ ray)


def _rolling(
    kind: str, half: Floats, axes: Floats, velocity: Floats, spin: Floats, held: int, ray: Floats
) -> tuple[Floats, Floats, Floats]:
    """Velocity and spin [3] of a body, and its axes [3, 3]: as perceived, but what is round and lies on the ground
    rolls where its surface, often plain, does not show that it turns; nearly everything that moves so does.

    A cylinder rolls across its axis: its way is half way between the one that its place in the picture goes and the one
    across the axis that is perceived. ray [3]: of unit length, from the eye; along it no velocity is seen.
    """
    if held != GROUND or not _can_roll(kind, axes):
        return velocity, spin, axes
    lies = kind != "sphere"

    def rolls(velocity: Floats, axis: Floats) -> Floats:
        over: Floats = np.array([-velocity[1], velocity[0], 0.0])  # upwards x velocity
        return (
            axis * float(axis @ over) / math.sqrt(half[0] * half[1]) if lies else over / float(np.prod(half)) ** (1 / 3)
        )

    rolling = rolls(velocity, axes[:, 2])
    share = float(spin @ rolling) / max(float(rolling @ rolling), 1e-12)
    if not SKIDS[0] < share < SKIDS[1]:
        return velocity, spin, axes
    if lies:
        across = np.cross(axes[:, 2], (0.0, 0.0, 1.0))
        across /= math.copysign(max(float(np.linalg.norm(across)), 1e-9), float(across @ velocity))
        seen = np.array([velocity[0], velocity[1], 0.0])
        way = np.asarray(_unit(across + seen / max(float(np.linalg.norm(seen)), 1e-9)))
        shown = _across(way, ray)
        if float(shown @ shown) > SHOWS:
            velocity = way * float(shown @ velocity) / float(shown @ shown)
            axes = turn_onto(across, way) @ axes
            rolling = rolls(velocity, axes[:, 2])
    return velocity, rolling + (0.0, 0.0, spin[2]), axes


def _can_roll(kind: str, axes: Floats) -> bool:
    """Whether a body is a ball, or lies on its round side."""
    return kind == "sphere" or (kind in ROLLING and abs(axes[2, 2]) < math.sin(math.radians(LIES_DEG)))


def _swinging(arm: Floats, axis: Floats, velocity: Floats) -> tuple[Floats, Floats]:
    """The velocity and spin [3] that a hinge allows: the part of a velocity [3] that turns the body about the axis [3].

    arm [3]: from the hinge to the body's centre.
    """
    across = arm - axis * float(arm @ axis)
    spin = axis * float(axis @ np.cross(arm, velocity)) / max(float(across @ across), 1e-9)
    return np.cross(spin, arm), spin


def _holds(seen: Perceived, i: int) -> int:
    """AIR, GROUND or BODY."""
    return int(seen.support[i].argmax())


def _weighing(material: Material, density: float) -> Material:
    if abs(math.log(max(density, 1e-3))) < HEAVY:
        return material
    return replace(material, density=material.density * density)


def _rubbing(material: Material, kind: str, braking: float) -> Material:
    """With the friction of what slides as it is seen to; a material where that is not seen, or it rolls.

    Friction between two bodies is the mean of theirs, by factors: with a ground of the material it is half way, by
    factors, between that of the material and the one that is seen, which is known to a fifth or so.
    """
    if not math.isfinite(braking) or (kind in (*ROLLING, "sphere") and braking < SLIDES):
        return material
    return replace(material, friction=min(max(braking, 0.0), MOST_FRICTION))


def _piled(bodies: list[Body], on_others: list[bool]) -> list[Body]:
    """Bodies of which some lie on others: each of these is moved up or down until it touches the one beneath."""
    up, down = np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, -1.0]])
    out = list(bodies)
    for i in sorted(range(len(out)), key=lambda i: out[i].position[2]):
        if not on_others[i]:
            continue
        x, y, z = out[i].position
        low = float(farthest(out[i], down)[0, 2])
        size = 2 * (z - low)
        tops = [
            float(farthest(b, up)[0, 2]) for k, b in enumerate(out) if k != i and b.position[2] < z and _beside(b, x, y)
        ]
        near = [top for top in tops if abs(top - low) < DROPPED * size]
        if near:
            out[i] = replace(out[i], position=(x, y, z + max(near) + GAP * size - low))
    return out


def _beside(body: Body, x: float, y: float) -> bool:
    """Whether a point lies over the box around a body."""
    points = surface_points(body)
    (left, front, _), (right, back, _) = points.min(0), points.max(0)
    return bool(left <= x <= right and front <= y <= back)


def _edited(body: Body, edit: BodyEdit) -> Body:
    told = {f.name: getattr(edit, f.name) for f in fields(edit) if getattr(edit, f.name) is not None}
    return replace(body, **told)


def _shapes(kind: str, half: Floats) -> tuple[Shape, ...]:
    """Colliding shapes around the centre of mass, of half extents [3]; hulls and compounds: boxes of equal moments."""
    x, y, z = (float(v) for v in half)
    if kind == "sphere":
        return (Shape(kind="sphere", size=((x * y * z) ** (1 / 3),)),)
    if kind == "ellipsoid":
        return (Shape(kind="ellipsoid", size=(x, y, z)),)
    radius = math.sqrt(x * y)
    if kind == "cylinder":
        return (Shape(kind="cylinder", size=(radius, z)),)
    if kind == "capsule":
        return (Shape(kind="capsule", size=(radius, max(z - radius, 0.02 * radius))),)
    if kind == "cone":
        angle = np.arange(CONE_SIDES) * (2 * math.pi / CONE_SIDES)
        rim = np.stack((radius * np.cos(angle), radius * np.sin(angle), np.full(CONE_SIDES, -z / 2)), 1)
        return (Shape(kind="hull", vertices=np.concatenate((rim, [[0.0, 0.0, 1.5 * z]]))),)
    return (Shape(kind="box", size=(x, y, z)),)


def _leveled(axes: Floats) -> Floats:
    """Axes [3, 3] turned by the smallest turn that makes an axis upright, or else level, where one nearly is."""
    upright = int(np.abs(axes[2]).argmax())
    column = axes[:, upright] * np.sign(axes[2, upright])
    if column[2] > math.cos(math.radians(LEVEL_DEG)):
        return turn_onto(column, np.array([0.0, 0.0, 1.0])) @ axes
    level = axes[:, 2] * (1, 1, 0)
    if abs(axes[2, 2]) < math.sin(math.radians(LEVEL_DEG)):
        return turn_onto(axes[:, 2], level / np.linalg.norm(level)) @ axes
    return axes


def turn_onto(a: Floats, b: Floats) -> Floats:
    """The smallest rotation [3, 3] that brings unit vector a to b; they are not opposite."""
    cross = np.cross(a, b)
    k = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + k + k @ k / (1 + float(a @ b))


def _at(body: Body, center: Floats, axes: Floats) -> Body:
    return replace(body, position=vector(center), rotation=quaternion(axes))


def _to_world(up: Floats) -> Floats:
    """Camera's axes to the world's [3, 3], where `up` [3], in the camera's axes, is z and the view goes towards +y."""
    z: Floats = up / max(float(np.linalg.norm(up)), 1e-9)
    forward = np.array([0.0, 0.0, 1.0]) - z[2] * z
    if np.linalg.norm(forward) < 1e-3:  # straight down: the picture's top is away
        forward = np.array([0.0, -1.0, 0.0]) + z[1] * z
    y: Floats = forward / np.linalg.norm(forward)
    x: Floats = np.cross(y, z)
    return np.stack((x, y, z))


def quaternion(rotation: Floats) -> Quaternion:
    """Unit quaternion of a rotation [3, 3], as MuJoCo orders it."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return float(w), float(x), float(y), float(z)


def _unit(v: Floats) -> Vector:
    length = float(np.linalg.norm(v))
    return vector(v / length) if length > 1e-6 else (0.0, 0.0, 1.0)


def _array(values: Tensor) -> Floats:
    return values.detach().cpu().numpy().astype(float)
