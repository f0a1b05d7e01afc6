"""Families of objects: cylinders, capsules, cones, boxes and hulls that topple, slide, spin, swing and hit each other.

Each scene follows from one seed, is simulated by world/simulate.py and drawn by world/drawing. The families of balls
and boxes (scene.py) stay as they were; these are drawn only when they are asked for by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Floats
from ..drawing.film import film
from ..extent import farthest
from ..footage import Footage
from ..motion import Motion
from ..scene import Body, Joint, Light, Material, Plane, Quaternion, Scene, Shape, Vector, View
from ..simulate import simulate
from .caption import camera_words, choose
from .scene import BALL_COLORS, DISTINCT, FLOOR_COLORS, GRAVITY, Draw, draw_camera, rng_for
from .shapes import PATTERNS, STUFF, UPRIGHT, Look, after, body, critical_tilt_deg, lifted, lowest, pattern, solid, turn

if TYPE_CHECKING:
    from torch import Tensor

STANDING = ("box", "cylinder", "cone", "prism")
ANY = ("box", "cylinder", "cone", "prism", "capsule", "gem")
UNSEEN_PAIRS = {("cylinder", "red"), ("cone", "blue"), ("box", "yellow"), ("prism", "green"), ("gem", "purple")}
FAST = 1.6  # times faster in the split ood-speed
PATTERNED = 0.4  # share of objects with a pattern
SWING_DAMPING = 0.02  # N m s: a swing loses about a tenth of its height a period


@dataclass(frozen=True, eq=False, kw_only=True)
class Staged:
    """A scene of objects that is ready to move, with its words and its camera."""

    family: str
    seed: int
    split: str
    fps: float
    scene: Scene
    caption: str
    camera_move: str
    c2w: Floats  # [T, 4, 4]
    fov_deg: Floats  # [T]


@dataclass(frozen=True, eq=False)
class ObjectClip:
    """A scene of objects, its motion, and what the camera sees of it."""

    staged: Staged
    motion: Motion
    footage: Footage

    @property
    def caption(self) -> str:
        """What happens, in words."""
        return self.staged.caption

    @property
    def rgb(self) -> Tensor:
        """Its pictures [T, H, W, 3], 0..1."""
        return self.footage.rgb

    @property
    def depth(self) -> Tensor:
        """Metres along the optical axis [T, H, W]."""
        return self.footage.depth

    @property
    def flow(self) -> Tensor:
        """Forward optical flow [T-1, H, W, 2], pixels a frame."""
        return self.footage.flow

    @property
    def c2w(self) -> Floats:
        """The camera's poses [T, 4, 4]."""
        return self.staged.c2w

    @property
    def fov_deg(self) -> Floats:
        """Its vertical fields of view [T]."""
        return self.staged.fov_deg


class _Stage:
    """A scene that is being drawn: bodies so far, and what the families share."""

    def __init__(self, draw: Draw):
        self.draw, self.rng, self.side = draw, draw.rng, draw.side
        self.bodies: list[Body] = []
        self.words: list[str] = []
        self.colors: list[Vector] = [FLOOR_COLORS[draw.floor.color], FLOOR_COLORS[draw.floor.wall_color]]
        self.speed = FAST if draw.split == "ood-speed" else 1.0
        self.scale = draw.choice(draw(0.75, 0.9), draw(1.5, 1.65)) if draw.split == "ood-size" else draw(1.05, 1.35)

    def color(self, kind: str) -> str:
        """A colour unlike those around; pairs of kind and colour in UNSEEN_PAIRS only in the split ood-color."""
        away = [c for c, rgb in BALL_COLORS.items() if min(math.dist(rgb, a) for a in self.colors) > DISTINCT]
        unseen = [c for c in away if (kind, c) in UNSEEN_PAIRS]
        usual = [c for c in away if c not in unseen]
        return self.draw.pick((unseen or usual if self.draw.split == "ood-color" else usual) or away or BALL_COLORS)

    def add(
        self,
        kinds: tuple[str, ...],
        at: tuple[float, float],
        width: float,
        height: float,
        rotation: Quaternion = UPRIGHT,
    ) -> Body:
        """An object of one of the kinds on the ground; its words are added to `words`."""
        kind = self.draw.pick(kinds)
        color = self.color(kind)
        rgb = BALL_COLORS[color]
        look, how = Look(rgb), ""
        if self.draw.chance(PATTERNED):
            how = self.draw.pick(PATTERNS)
            other = tuple(0.45 * c + (0.5 if sum(rgb) < 1.2 else 0.0) for c in rgb)
            look = Look(rgb, pattern(how, rgb, (other[0], other[1], other[2]), self.rng))
        shape = solid(kind, width * self.scale, height * self.scale, self.rng)
        name = f"{color} {kind}"
        count = sum(b.name.startswith(name) for b in self.bodies)
        made = body(f"{name} {count + 1}" if count else name, shape, look, at, rotation)
        self.bodies.append(made)
        self.colors.append(rgb)
        article = "an" if color == "orange" else "a"
        self.words.append(f"{article} {color} {kind}" + (f" with {how}" if how else ""))
        return made

    def moving(self, **changes: object) -> Body:
        """The last body with other fields."""
        self.bodies[-1] = replace(self.bodies[-1], **changes)  # pyright: ignore[reportArgumentType]
        return self.bodies[-1]


def _topple(s: _Stage) -> str:
    """A tall thing stands tilted on its edge, beyond its critical angle or not quite."""
    d = s.draw
    falls = d.chance(0.7)
    stands = s.add(STANDING, (d(-0.5, 0.5), d(-0.3, 0.8)), d(0.4, 0.6), d(1.0, 1.3))
    tilt = critical_tilt_deg(stands, 1, s.side) * (d(1.15, 1.35) if falls else d(0.25, 0.5))
    tilted = s.moving(rotation=turn(1, s.side * tilt))
    s.bodies[-1] = lifted(tilted, -lowest(tilted))
    return "topple{s} to the {side}|fall{s} over to the {side}|tip{s} over" if falls else "rock{s} and stay{s} up"


def _slide(s: _Stage) -> str:
    d = s.draw
    flat = d(0.3, 0.45)
    s.add(("box", "cylinder", "prism"), (-s.side * d(1.0, 1.8), d(-0.4, 0.8)), d(0.6, 0.85), flat, turn(2, d(-40, 40)))
    s.moving(velocity=(s.side * d(1.8, 2.8) * s.speed, d(-0.2, 0.2), 0.0))
    return "slide{s} to the {side} and stop{s}|glide{s} to the {side}|slide{s} across the floor to the {side}"


def _spin(s: _Stage) -> str:
    d = s.draw
    s.add(("box", "cone", "prism", "gem"), (d(-0.6, 0.6), d(-0.3, 0.6)), d(0.6, 0.9), d(0.5, 0.9))
    s.moving(spin=(0.0, 0.0, s.side * d(5.0, 9.0) * s.speed), velocity=(s.side * d(0.1, 0.4), 0.0, 0.0))
    return "spin{s} on the floor|turn{s} round and round|spin{s} and slow{s} down"


def _barrel(s: _Stage) -> str:
    d = s.draw
    width = d(0.5, 0.8)
    lying = after(turn(2, d(-12, 12)), turn(0, 90.0))
    s.add(("cylinder", "capsule"), (-s.side * d(1.3, 2.0), d(-0.2, 0.8)), width, d(0.8, 1.1), lying)
    speed = s.side * d(0.9, 1.6) * s.speed
    s.moving(velocity=(speed, 0.0, 0.0), spin=(0.0, speed / (width * s.scale / 2), 0.0))
    return "roll{s} to the {side}|roll{s} across the floor to the {side}"


def _swing(s: _Stage) -> str:
    """A pendulum on a rod; in half of the scenes it knocks a standing thing over."""
    d = s.draw
    pivot = (0.0, d(-0.1, 0.5), d(2.4, 2.8))
    length = pivot[2] - d(0.55, 0.75)
    angle = math.radians(d(35, 60) * min(1.2, s.speed)) * -s.side
    s.add(("cylinder", "box", "gem", "cone"), (0.0, 0.0), d(0.5, 0.65), d(0.5, 0.65))
    weight = s.moving(
        position=(pivot[0] + length * math.sin(angle), pivot[1], pivot[2] - length * math.cos(angle)),
        rotation=turn(1, -math.degrees(angle)),
        joint=Joint(kind="hinge", anchor=pivot, axis=(0.0, 1.0, 0.0), damping=SWING_DAMPING),
    )
    rod = Shape(kind="capsule", size=(0.025, length / 2 - 0.03), position=(0.0, 0.0, length / 2))
    s.moving(shapes=(*weight.shapes, rod), surface=None, appearance=Look(s.colors[-1]).appearance())
    s.words[-1] = s.words[-1].partition(" with ")[0] + " on a rod"
    if d.chance(0.5):
        s.add(STANDING, (s.side * d(0.35, 0.7), pivot[1]), d(0.35, 0.5), d(0.9, 1.2))
        return "swing{s} to the {side} and hit{s} {other}|swing{s} into {other}"
    return "swing{s} from side to side|swing{s} like a pendulum|swing{s} back and forth"


def _dominoes(s: _Stage) -> str:
    """A row of thin boxes; the first one stands tilted."""
    d = s.draw
    count, height, thick, wide = int(d.rng.integers(4, 8)), d(0.8, 1.1), d(0.12, 0.18), d(0.4, 0.6)
    gap = height * d(0.45, 0.6)
    y, start = d(-0.2, 0.6), -s.side * gap * (count - 1) / 2
    colors = [s.color("box"), s.color("box")]
    for i in range(count):
        shape = Shape(kind="box", size=tuple(v * s.scale / 2 for v in (thick, wide, height)))
        tilt = turn(1, s.side * math.degrees(math.atan2(thick, height)) * d(1.6, 2.2)) if i == 0 else UPRIGHT
        rgb = BALL_COLORS[colors[i % 2]]
        at = (start + s.side * i * gap * s.scale, y)
        s.bodies.append(body(f"{colors[i % 2]} domino {i + 1}", shape, Look(rgb), at, tilt))
    s.words.append(f"a row of {colors[0]} dominoes")
    return "fall{s} over, one after another|topple{s} to the {side}"


def _tumble(s: _Stage) -> str:
    """One to three things of any shape fall, turning, and bounce."""
    d = s.draw
    spots = d.rng.permutation([-1.3, 0.0, 1.3])
    for spot in spots[: int(d.rng.integers(1, 4))]:
        axis = d.rng.normal(size=4)
        q = axis / np.linalg.norm(axis)
        rotation = (float(q[0]), float(q[1]), float(q[2]), float(q[3]))
        s.add(ANY, (float(spot) + d(-0.2, 0.2), d(-0.4, 0.9)), d(0.5, 0.8), d(0.6, 0.95), rotation)
        spin = d.rng.uniform(-3, 3, 3) * s.speed
        s.moving(velocity=(d(-0.3, 0.3), 0.0, 0.0), spin=(float(spin[0]), float(spin[1]), float(spin[2])))
        s.bodies[-1] = lifted(s.bodies[-1], d(0.8, 2.0))
    return "fall{s}, bounce{s} and roll{s}|drop{s} and tumble{s} on the floor|fall{s} and tumble{s}"


def _strike(s: _Stage) -> str:
    """A ball or a barrel rolls into things that stand."""
    d = s.draw
    y, width = d(-0.1, 0.6), d(0.5, 0.7)
    kind = d.pick(("ball", "capsule", "cylinder"))
    s.add((kind,), (-s.side * d(1.6, 2.0), y), width, d(0.7, 0.9), UPRIGHT if kind == "ball" else turn(0, 90.0))
    speed = s.side * d(1.9, 2.6) * s.speed
    s.moving(
        velocity=(speed, 0.0, 0.0),
        spin=(0.0, speed / (width * s.scale / 2), 0.0),
        material=replace(STUFF, name="heavy", density=2 * STUFF.density),
    )
    for i in range(int(d.rng.integers(1, 4))):
        x = s.side * (d(0.0, 0.3) + 0.6 * i * s.scale)
        s.add(STANDING, (x, y + d(-0.12, 0.12)), d(0.3, 0.4), d(0.9, 1.1))
    return "roll{s} to the {side} and hit{s} {other}|roll{s} into {other}|hit{s} {other}"


def _shove(s: _Stage) -> str:
    """A heavy box slides into a low thing and pushes it on."""
    d = s.draw
    y = d(-0.2, 0.6)
    s.add(("box",), (-s.side * d(1.8, 2.0), y), d(0.6, 0.8), d(0.5, 0.7), turn(2, d(-6, 6)))
    heavy = replace(STUFF, name="heavy", density=2.5 * STUFF.density)
    s.moving(velocity=(s.side * d(2.9, 3.4) * s.speed, 0.0, 0.0), material=heavy)
    s.add(("box", "cylinder", "prism"), (s.side * d(0.2, 0.5), y + d(-0.08, 0.08)), d(0.6, 0.75), d(0.4, 0.55))
    return "slide{s} to the {side} and shove{s} {other} along|slide{s} into {other}|shove{s} {other} to the {side}"


def _tower(s: _Stage) -> str:
    """Three to five things on each other, off their middles or hit by a ball."""
    d = s.draw
    x, y, top, width = d(-0.3, 0.3), d(0.0, 0.6), 0.0, d(0.55, 0.75)
    count, hit = int(d.rng.integers(3, 6)), d.chance(0.6)
    lean = 0.06 if hit else s.side * d(0.18, 0.3)
    for i in range(count):
        s.add(("box", "cylinder"), (x, y), width * d(0.8, 1.0), d(0.3, 0.42))
        s.bodies[-1] = lifted(s.bodies[-1], top)
        top = float(farthest(s.bodies[-1], np.array([[0.0, 0.0, 1.0]]))[0, 2]) + 1e-3
        x += (lean if not hit else d(-lean, lean)) * width * s.scale * (1 if i < count - 2 else 2)
    pile = "a pile of " + " and ".join(s.words)
    if not hit:
        s.words = [pile]
        return "fall{s} over to the {side}|tip{s} over|fall{s} down"
    s.words = []
    s.add(("ball",), (-s.side * d(1.9, 2.1), y), 0.55, 0.55)
    s.bodies[-1] = lifted(s.bodies[-1], d(0.3, 0.6))
    s.moving(velocity=(s.side * d(2.4, 3.0) * s.speed, 0.0, d(0.9, 1.5)), material=replace(STUFF, density=1750.0))
    s.words.append(pile)
    return "shoot{s} to the {side} and hit{s} {other}|hit{s} {other}"


def _hide(s: _Stage) -> str:
    """A thing flies on, turning, behind a box that stands in front."""
    d = s.draw
    screen = s.add(("box",), (d(-0.1, 0.2), -0.7), d(0.75, 1.0) / s.scale, d(1.7, 2.1) / s.scale)
    s.bodies[-1] = replace(screen, fixed=True)
    behind = s.words.pop()
    s.add(ANY, (-s.side * d(1.6, 1.9), d(0.2, 0.6)), d(0.45, 0.6), d(0.5, 0.65), turn(2, d(-40, 40)))
    spin = d.rng.uniform(-2, 2, 3) * s.speed
    s.moving(
        velocity=(s.side * d(1.6, 2.2) * s.speed, 0.0, d(1.2, 2.2)),
        spin=(float(spin[0]), float(spin[1]), float(spin[2])),
    )
    s.bodies[-1] = lifted(s.bodies[-1], d(0.3, 0.8))
    s.words.append(behind)
    return "leap{s} behind {other}|leap{s} to the {side} behind {other} and land{s}"


_BUILD: dict[str, Callable[[_Stage], str]] = {
    **{"topple": _topple, "slide": _slide, "spin": _spin, "barrel": _barrel},
    **{"swing": _swing, "dominoes": _dominoes, "tumble": _tumble, "strike": _strike},
    **{"shove": _shove, "tower": _tower, "hide": _hide},
}
OBJECT_FAMILIES = tuple(_BUILD)


def stage(
    seed: int,
    family: str,
    *,
    split: str = "train",
    width: int = 128,
    height: int = 128,
    frames: int = 41,
    fps: float = 8.0,
) -> Staged:
    """One scene of objects from a seed; `family` of OBJECT_FAMILIES. Raises ValueError for names it does not know."""
    if family not in _BUILD:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(OBJECT_FAMILIES)}")
    draw = Draw(rng_for(seed, split), split)
    s = _Stage(draw)
    verb = choose(draw.rng, _BUILD[family](s))
    move, c2w, fov_deg = draw_camera(draw, family, frames)
    azimuth, up = draw(-2.4, -0.7), draw(0.9, 1.25)  # from the viewer's side and above, as in the other families
    light = (math.cos(azimuth) * math.cos(up), math.sin(azimuth) * math.cos(up), math.sin(up))
    gravity = draw.choice(draw(2.5, 3.5), draw(7.0, 9.0)) if split == "ood-gravity" else GRAVITY
    floor = np.array(FLOOR_COLORS[draw.floor.color])
    wall = FLOOR_COLORS[draw.floor.wall_color]
    ground = Material("floor", 1000.0, STUFF.friction, STUFF.restitution)
    tiles = floor * (1 - draw.floor.contrast)
    several = family == "tumble" and len(s.words) > 1
    subject = " and ".join(s.words) if several else s.words[0]
    other = " and ".join(s.words[1:])
    side = "right" if s.side > 0 else "left"
    text = f"{subject} {verb.format(side=side, other=other, s='' if several else 's')}"
    words = camera_words(move, draw.rng)
    return Staged(
        family=family,
        seed=seed,
        split=split,
        fps=fps,
        scene=Scene(
            bodies=tuple(s.bodies),
            view=View(c2w[0], float(fov_deg[0])),
            width=width,
            height=height,
            ground=Plane(material=ground, colors=(_color(floor), _color(tiles)), tile=draw.floor.tile),
            backdrop=Plane(normal=(0.0, -1.0, 0.0), offset=-draw.floor.wall_y, material=ground, colors=(wall, wall)),
            light=Light(direction=light),
            gravity=(0.0, 0.0, -gravity),
        ),
        caption=f"{text}, {words}" if words else text,
        camera_move=move,
        c2w=c2w,
        fov_deg=fov_deg,
    )


def play(staged: Staged, check: Callable[[], None] | None = None) -> ObjectClip:
    """Simulate a staged scene and draw it, at the size and length that it was staged for; check may raise to cancel."""
    frames, size = len(staged.c2w), staged.scene
    seconds = frames / staged.fps
    motion = simulate(staged.scene, seconds=seconds, fps=staged.fps, seed=staged.seed, check=check)
    footage = film(motion, width=size.width, height=size.height, c2w=staged.c2w, fov_deg=staged.fov_deg, check=check)
    return ObjectClip(staged, motion, footage)


def _color(rgb: Floats) -> Vector:
    return float(rgb[0]), float(rgb[1]), float(rgb[2])
