"""Bodies of every shape in everyday mishaps, varied as widely as a picture may show them: scenes to learn to see from.

Unlike the benchmark's families these share no gravity, scale, camera or look. Each scene follows from one seed and a
pool of textures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import Bytes, Floats
from ..extent import farthest
from ..meshes import joined, shape_mesh
from ..scene import Appearance, Body, Colored, Joint, Material, Quaternion, Scene, Shape, Textured, Vector
from .bodies import to_scene
from .clip import Clip
from .objects import OBJECT_FAMILIES, Staged
from .scene import FAMILIES
from .shapes import Look, after, body, critical_tilt_deg, lifted, lowest, solid, turn
from .surroundings import Surroundings, surroundings

SHAPES = ("sphere", "box", "cylinder", "capsule", "cone", "ellipsoid", "hull", "compound")
STANDING = ("box", "cylinder", "cone", "hull", "compound")
FLAT_TOP = ("box", "cylinder")
MOST_BODIES = 16
PLAIN = 0.45  # share of bodies of one colour
GAP = 0.02  # metres between bodies that are placed beside each other
NO_SPIN: Vector = (0.0, 0.0, 0.0)
SMALL = Look((0.5, 0.5, 0.5), np.zeros((1, 1, 3), np.uint8))  # asks shapes.body for a surface with uv


@dataclass(frozen=True, eq=False, kw_only=True)
class Varied:
    """A scene that is ready to move. family: of ALL_FAMILIES; shapes: each body's kind, of SHAPES; c2w [T, 4, 4] of
    the camera's path."""

    family: str
    scene: Scene
    shapes: tuple[str, ...]
    fps: float
    c2w: Floats


class _Stage:
    """A scene that is being drawn: bodies so far, and the material that all share."""

    def __init__(self, rng: np.random.Generator, textures: Sequence[Bytes]):
        self.rng, self.textures = rng, textures
        self.side = 1.0 if rng.random() < 0.5 else -1.0
        self.bodies: list[Body] = []
        self.shapes: list[str] = []
        self.stuff = Material("varied", 700.0, self(0.35, 0.6), self(0.2, 0.6))

    def __call__(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, names: Sequence[str]) -> str:
        return str(names[int(self.rng.integers(len(names)))])

    def add(self, kind: str, at: tuple[float, float], width: float, height: float, rotation: Quaternion) -> Body:
        """A body of the kind that touches the ground at this x and y."""
        shapes = _shapes(kind, width, height, self.rng)
        number = len(self.bodies) + 1
        name = f"{kind} {number}"
        if len(shapes) == 1 and shapes[0].vertices is not None:
            made = body(name, shapes[0], SMALL, at, rotation)
        else:
            made = Body(name=name, shapes=shapes, position=(at[0], at[1], 0.0), rotation=rotation)
            made = replace(made, surface=joined([shape_mesh(s, 32) for s in shapes]))
            made = lifted(made, -lowest(made))
        self.bodies.append(replace(made, material=self.stuff, appearance=self.appearance()))
        self.shapes.append(kind)
        return self.bodies[-1]

    def appearance(self) -> Appearance:
        """A plain colour, or a piece of a texture."""
        if self.chance(PLAIN) or not self.textures:
            rgb = self.rng.uniform(0.03, 0.97, 3)
            if self.chance(0.25):
                rgb = np.full(3, rgb[0]) + self.rng.uniform(-0.03, 0.03, 3)
            return Colored((float(rgb[0]), float(rgb[1]), float(rgb[2])))
        whole = self.textures[int(self.rng.integers(len(self.textures)))]
        side = int(min(whole.shape[:2]) * self(0.3, 1.0))
        y, x = (int(self.rng.integers(int(n) - side + 1)) for n in whole.shape[:2])
        tint = self.rng.uniform(0.5, 1.2, 3) if self.chance(0.5) else np.ones(3)
        tinted: Floats = np.minimum(whole[y : y + side, x : x + side].astype(float) * tint, 255)
        return Textured(tinted.astype(np.uint8))

    def last(self, **changes: object) -> Body:
        """The last body with other fields."""
        self.bodies[-1] = replace(self.bodies[-1], **changes)  # pyright: ignore[reportArgumentType]
        return self.bodies[-1]

    def any_turn(self) -> Quaternion:
        q = self.rng.normal(size=4)
        q /= np.linalg.norm(q)
        return float(q[0]), float(q[1]), float(q[2]), float(q[3])

    def yaw(self) -> Quaternion:
        return turn(2, self(0, 360))

    def spin(self, most: float) -> Vector:
        s = self.rng.normal(size=3) * most / 2
        return float(s[0]), float(s[1]), float(s[2])


def _shapes(kind: str, width: float, height: float, rng: np.random.Generator) -> tuple[Shape, ...]:
    """Shapes of a kind of SHAPES, of about this width and height, its axis along z."""
    if kind == "sphere":
        return (solid("ball", width, height, rng),)
    if kind == "ellipsoid":
        r = width / 2
        return (Shape(kind="ellipsoid", size=(r, r * float(rng.uniform(0.6, 1.0)), height / 2)),)
    if kind == "hull":
        return (solid("prism" if rng.random() < 0.5 else "gem", width, height, rng),)
    if kind == "compound":
        return _compound(width, height, rng)
    return (solid(kind, width, height, rng),)


def _compound(w: float, h: float, rng: np.random.Generator) -> tuple[Shape, ...]:
    """A mug, a hammer, a dumbbell, a table, an L or a snowman."""

    def box(x: float, y: float, z: float, at: Vector) -> Shape:
        return Shape(kind="box", size=(x / 2, y / 2, z / 2), position=at)

    i = int(rng.integers(6))
    if i == 0:
        cup = Shape(kind="cylinder", size=(w * 0.4, h / 2))
        return cup, box(w * 0.3, w * 0.12, h * 0.5, (w * 0.52, 0.0, 0.0))
    if i == 1:
        return box(w * 0.3, w * 0.3, h * 0.7, (0.0, 0.0, -h * 0.15)), box(w, w * 0.4, h * 0.3, (0.0, 0.0, h * 0.35))
    if i == 2:
        bar = Shape(kind="capsule", size=(w * 0.12, h * 0.3))
        return (bar, *(Shape(kind="sphere", size=(w * 0.35,), position=(0.0, 0.0, z * h * 0.4)) for z in (-1.0, 1.0)))
    if i == 3:
        legs = [(x * w * 0.42, y * w * 0.42, -h * 0.08) for x in (-1, 1) for y in (-1, 1)]
        return (box(w, w, h * 0.16, (0.0, 0.0, h * 0.42)), *(box(w * 0.13, w * 0.13, h * 0.84, at) for at in legs))
    if i == 4:
        return box(w, w * 0.5, h * 0.35, (0.0, 0.0, -h * 0.325)), box(
            w * 0.35, w * 0.5, h * 0.65, (-w * 0.325, 0, h * 0.175)
        )
    balls = ((0.5, -0.22), (0.36, 0.42))
    return tuple(Shape(kind="sphere", size=(w * r,), position=(0.0, 0.0, z * h)) for r, z in balls)


def _fall(s: _Stage) -> None:
    for x in s.rng.permutation([-1.3, 0.0, 1.3])[: int(s.rng.integers(1, 4))]:
        s.add(s.pick(SHAPES), (float(x) + s(-0.2, 0.2), s(-0.5, 1.2)), s(0.35, 0.9), s(0.4, 1.0), s.any_turn())
        s.last(velocity=(s(-0.4, 0.4), s(-0.2, 0.2), 0.0), spin=s.spin(3.0) if s.chance(0.7) else NO_SPIN)
        s.bodies[-1] = lifted(s.bodies[-1], s(0.4, 2.2))


def _throw(s: _Stage) -> None:
    for k in range(int(s.rng.integers(1, 3))):
        side = s.side * (-1) ** k
        s.add(s.pick(SHAPES), (-side * s(1.0, 2.2), s(-0.6, 0.4) + 0.9 * k), s(0.3, 0.8), s(0.3, 0.9), s.any_turn())
        s.last(velocity=(side * s(1.0, 3.5), s(-0.4, 0.8), s(0.5, 4.0)), spin=s.spin(5.0))
        s.bodies[-1] = lifted(s.bodies[-1], s(0.0, 1.2))


def _roll(s: _Stage) -> None:
    for k in range(int(s.rng.integers(1, 3))):
        side, width = s.side * (-1) ** k, s(0.35, 0.9)
        kind = s.pick(("sphere", "cylinder", "capsule"))
        heading = s(-25, 25) + (0 if side > 0 else 180)
        lying = after(turn(2, heading), turn(0, 90.0))
        s.add(kind, (-side * s(0.6, 2.0), s(-0.6, 0.3) + 1.0 * k), width, s(0.6, 1.2), lying)
        a, speed = math.radians(heading), s(0.5, 3.0)
        x, y = speed * math.cos(a), speed * math.sin(a)
        s.last(velocity=(x, y, 0.0), spin=(-y * 2 / width, x * 2 / width, 0.0))


def _slide(s: _Stage) -> None:
    for k in range(int(s.rng.integers(1, 3))):
        side = s.side * (-1) ** k
        s.add(s.pick(STANDING), (-side * s(0.4, 1.8), s(-0.6, 0.3) + 1.1 * k), s(0.5, 0.9), s(0.25, 0.5), s.yaw())
        turning = (0.0, 0.0, s(-4, 4)) if s.chance(0.4) else NO_SPIN
        s.last(velocity=(side * s(1.0, 3.2), s(-0.5, 0.5), 0.0), spin=turning)


def _push(s: _Stage) -> None:
    """A heavy thing slides or rolls into one that stands."""
    width, y = s(0.4, 0.8), s(-0.3, 0.6)
    if s.chance(0.5):
        s.add("box", (-s.side * s(1.0, 1.7), y), width, s(0.35, 0.7), turn(2, s(-8, 8)))
        spin = NO_SPIN
    else:
        s.add(s.pick(("sphere", "cylinder")), (-s.side * s(1.0, 1.9), y), width, s(0.5, 0.9), turn(0, 90.0))
        spin = (0.0, 2 * s.side / width, 0.0)
    speed = s(1.6, 3.2)
    heavy = replace(s.stuff, name="heavy", density=2.5 * s.stuff.density)
    s.last(velocity=(s.side * speed, 0.0, 0.0), spin=(0.0, spin[1] * speed, 0.0), material=heavy)
    s.add(s.pick(STANDING), (s.side * s(0.0, 0.4), y + s(-0.15, 0.15)), s(0.4, 0.7), s(0.4, 1.0), s.yaw())


def _topple(s: _Stage) -> None:
    falls = s.chance(0.75)
    s.add(s.pick(("box", "cylinder", "cone", "hull")), (s(-0.8, 0.8), s(-0.5, 1.0)), s(0.3, 0.6), s(0.8, 1.5), s.yaw())
    stands = s.bodies[-1]
    tilt = critical_tilt_deg(stands, 1, s.side) * (s(1.08, 1.5) if falls else s(0.2, 0.6))
    tilted = s.last(rotation=after(turn(1, s.side * tilt), stands.rotation))
    s.bodies[-1] = lifted(tilted, -lowest(tilted))


def _dominoes(s: _Stage) -> None:
    count, height, thick, wide = int(s.rng.integers(3, 8)), s(0.7, 1.2), s(0.1, 0.2), s(0.35, 0.65)
    gap, y, heading = height * s(0.4, 0.65), s(-0.2, 0.8), s(-30, 30)
    same = s.appearance() if s.chance(0.6) else None
    c, n = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    for i in range(count):
        along = s.side * gap * (i - (count - 1) / 2)
        tilt = s.side * math.degrees(math.atan2(thick, height)) * s(1.5, 2.4) if i == 0 else 0.0
        rotation = after(turn(2, heading), turn(1, tilt))
        shape = Shape(kind="box", size=(thick / 2, wide / 2, height / 2))
        made = Body(
            name=f"domino {i + 1}", shapes=(shape,), position=(along * c, y + along * n, 0.0), rotation=rotation
        )
        made = replace(made, material=s.stuff, appearance=same or s.appearance())
        s.bodies.append(lifted(made, -lowest(made)))
        s.shapes.append("box")


def _pendulum(s: _Stage) -> None:
    """A weight on a rod; now and then it meets a thing that stands."""
    pivot = (s(-0.4, 0.4), s(-0.1, 0.8), s(2.0, 3.0))
    length = pivot[2] - s(0.5, 0.9)
    angle = math.radians(s(20, 65)) * -s.side
    heading = s(-30, 30)
    kind = s.pick(("sphere", "cylinder", "box", "cone", "ellipsoid"))
    weight = s.add(kind, (0.0, 0.0), s(0.4, 0.7), s(0.4, 0.7), (1.0, 0.0, 0.0, 0.0))
    rod = Shape(kind="capsule", size=(s(0.02, 0.04), length / 2), position=(0.0, 0.0, length / 2))
    c, n = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    out = length * math.sin(angle)
    shapes = (*weight.shapes, rod)
    s.last(
        shapes=shapes,
        surface=joined([weight.surface or shape_mesh(weight.shapes[0]), shape_mesh(rod, 12)]),
        position=(pivot[0] + out * c, pivot[1] + out * n, pivot[2] - length * math.cos(angle)),
        rotation=after(turn(2, heading), turn(1, -math.degrees(angle))),
        joint=Joint(kind="hinge", anchor=pivot, axis=(-n, c, 0.0), damping=s(0.0, 0.03)),
    )
    if s.chance(0.4):
        s.add(s.pick(STANDING), (pivot[0] + s.side * s(0.5, 0.9), pivot[1]), s(0.3, 0.5), s(0.7, 1.1), s.yaw())


def _stack(s: _Stage) -> None:
    """Three to five bodies on each other; some lean too far, some are hit."""
    x, y, top = s(-0.5, 0.5), s(0.0, 0.9), 0.0
    count = int(s.rng.integers(3, 6))
    width = s(0.5, 0.9)
    for i in range(count):
        kind = s.pick(FLAT_TOP) if i < count - 1 else s.pick((*STANDING, "sphere"))
        made = s.add(kind, (x, y), width * s(0.7, 1.0), s(0.25, 0.5), s.yaw())
        s.bodies[-1] = made = lifted(made, top + 1e-3)
        top = float(farthest(made, np.array([[0.0, 0.0, 1.0]]))[0, 2])
        x, y = x + s(-0.2, 0.2) * width, y + s(-0.1, 0.1) * width
    if s.chance(0.5):
        radius = s(0.2, 0.35)
        s.add("sphere", (-s.side * s(1.2, 2.0), y), 2 * radius, 2 * radius, s.any_turn())
        s.last(velocity=(s.side * s(2.0, 4.0), 0.0, 0.0), spin=NO_SPIN)
        s.bodies[-1] = lifted(s.bodies[-1], s(0.0, 0.8))


def _collide(s: _Stage) -> None:
    y = s(-0.3, 0.8)
    for side in (-1.0, 1.0):
        kind = s.pick(SHAPES)
        s.add(kind, (side * s(0.6, 1.6), y + s(-0.2, 0.2)), s(0.35, 0.8), s(0.4, 0.8), s.any_turn())
        s.last(velocity=(-side * s(0.6, 2.6), s(-0.1, 0.1), s(0, 2)), spin=s.spin(3.0))
        s.bodies[-1] = lifted(s.bodies[-1], s(0.0, 0.6))


def _hidden(s: _Stage) -> None:
    """Something passes behind a thing that stands in front."""
    s.add("box", (s(-0.4, 0.4), s(-1.2, -0.7)), s(0.6, 1.3), s(0.8, 1.5), turn(2, s(-25, 25)))
    s.last(fixed=s.chance(0.7))
    (_roll, _throw, _slide)[int(s.rng.integers(3))](s)


def _rest(s: _Stage) -> None:
    """Nothing moves."""


_BUILD: dict[str, tuple[Callable[[_Stage], None], float]] = {  # with the share of scenes that a seed draws it for
    **{"fall": (_fall, 0.12), "throw": (_throw, 0.1), "roll": (_roll, 0.12), "slide": (_slide, 0.1)},
    **{"push": (_push, 0.1), "topple": (_topple, 0.1), "dominoes": (_dominoes, 0.08), "pendulum": (_pendulum, 0.07)},
    **{"stack": (_stack, 0.08), "collide": (_collide, 0.05), "hidden": (_hidden, 0.05), "rest": (_rest, 0.03)},
}
VARIED_FAMILIES = tuple(_BUILD)
ALL_FAMILIES = tuple(dict.fromkeys((*VARIED_FAMILIES, *OBJECT_FAMILIES, *FAMILIES)))


def _clutter(s: _Stage, count: int) -> None:
    """Bodies at rest, beside what is there already."""
    for _ in range(count):
        at = (s(-2.6, 2.6), s(-0.6, 3.2))
        width = s(0.25, 0.9)
        if any(math.dist(at, b.position[:2]) < 0.5 + width for b in s.bodies):
            continue
        kind = s.pick(SHAPES)
        lying = kind in ("capsule", "ellipsoid")
        rotation = after(s.yaw(), turn(0, 90.0)) if lying else s.yaw()
        s.add(kind, at, width, s(0.3, 1.1), rotation)


_KINDS = {"ball": "sphere", "prism": "hull", "gem": "hull", "domino": "box"}  # of objects that have another name here


def as_varied(staged: Staged) -> Varied:
    """A scene of families/objects.py, whose bodies are named by colour and kind, seen with its first field of view."""
    kinds = [body.name.split()[1] for body in staged.scene.bodies]
    return Varied(
        family=staged.family,
        scene=staged.scene,
        shapes=tuple(_KINDS.get(kind, kind) for kind in kinds),
        fps=staged.fps,
        c2w=staged.c2w,
    )


def balls_as_varied(clip: Clip) -> Varied:
    """A clip of the families of balls and boxes, seen with its first field of view."""
    scene = to_scene(clip)
    kinds = tuple(body.shapes[0].kind for body in scene.bodies)
    return Varied(family=clip.scene.family, scene=scene, shapes=kinds, fps=clip.scene.fps, c2w=clip.c2w)


def varied(
    seed: int,
    textures: Sequence[Bytes] = (),
    *,
    family: str | None = None,
    width: int = 128,
    height: int = 128,
    frames: int = 25,
    plain: bool = False,
) -> Varied:
    """One scene from a seed; textures uint8 [h, w, 3] are laid on bodies and ground.

    plain: one material's constants, no clutter. Raises ValueError for a family that is not of VARIED_FAMILIES.
    """
    rng = np.random.default_rng([seed, 32])
    names, shares = list(_BUILD), [share for _, share in _BUILD.values()]
    family = family or str(rng.choice(names, p=np.array(shares) / sum(shares)))
    if family not in _BUILD:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(VARIED_FAMILIES)}")
    s = _Stage(rng, textures)
    if plain:
        s.stuff = Material("varied", 700.0, 0.45, 0.4)
    _BUILD[family][0](s)
    if not plain or family == "rest":
        _clutter(s, int(rng.integers(2, 8)) if family == "rest" else int(rng.choice((0, 0, 1, 2, 4))))
    around: Surroundings = surroundings(rng, textures, s.stuff, width, height, frames)
    scene = replace(around.scene, bodies=tuple(s.bodies[:MOST_BODIES]))
    fps = float(rng.choice((8.0, 8.0, 12.0, 16.0)))
    return Varied(family=family, scene=scene, shapes=tuple(s.shapes[:MOST_BODIES]), fps=fps, c2w=around.c2w)
