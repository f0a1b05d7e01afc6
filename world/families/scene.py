"""Scenes: balls, boxes, a floor, a light and a camera path, and how a random one follows from one integer seed.

World axes: x right, y away from the viewer, z up; metres, seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ...geometry.moves import TRAINING_MOVES
from ..arrays import Floats
from ..scene import vector
from .camera import camera_path

GRAVITY = 5.0  # m/s^2: a drop from 2.5 m takes one second, eight frames at 8 fps
RESTITUTION = 0.7  # speed after / before a bounce: one for all, so that five frames determine what follows
FOV_DEG = 40.0  # vertical
OUT_OF_DISTRIBUTION = ("ood-gravity", "ood-speed", "ood-size", "ood-color", "ood-camera")
SPLITS = ("train", "validation", "test", *OUT_OF_DISTRIBUTION)

BALL_COLORS = {
    "red": (0.85, 0.10, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.82, 0.12),
    "orange": (0.95, 0.48, 0.08),
    "purple": (0.52, 0.16, 0.68),
    "cyan": (0.10, 0.75, 0.80),
    "pink": (0.95, 0.45, 0.68),
    "white": (0.93, 0.93, 0.93),
    "black": (0.08, 0.08, 0.09),
}
BOX_COLORS = {
    "brown": (0.45, 0.28, 0.15),
    "gray": (0.50, 0.50, 0.52),
    "blue": (0.20, 0.32, 0.62),
    "green": (0.22, 0.45, 0.28),
    "red": (0.62, 0.20, 0.18),
    "yellow": (0.80, 0.70, 0.30),
}
FLOOR_COLORS = {
    "gray": (0.55, 0.55, 0.56),
    "brown": (0.60, 0.47, 0.35),
    "green": (0.42, 0.55, 0.38),
    "blue": (0.42, 0.50, 0.62),
    "white": (0.80, 0.79, 0.77),
    "pink": (0.68, 0.52, 0.54),
}
# Ball and box colours that meet only in the split ood-color.
UNSEEN_PAIRS = {("orange", "blue"), ("purple", "brown"), ("cyan", "red"), ("yellow", "green"), ("pink", "gray")}
FRICTION = 0.8
DISTINCT = 0.38  # least RGB distance between a ball's colour and what is around it
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """A ball of one colour, of density BALL_DENSITY (simulate.py)."""

    color: str  # of BALL_COLORS
    radius: float  # m
    position: Vector  # centre at time 0, m
    velocity: Vector  # m/s


@dataclass(frozen=True)
class Box:
    """A box, turned by pitch about its y axis, then by yaw about z."""

    color: str  # of BOX_COLORS
    center: Vector  # at time 0, m
    half: Vector  # half extents, m
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0  # positive: its right end goes down
    mass: float | None = None  # kg; None: it never moves. A ball of radius 0.45 m has 1 kg


@dataclass(frozen=True)
class Floor:
    """A tiled floor at z = 0 and the wall behind it."""

    color: str  # of FLOOR_COLORS
    contrast: float  # 0 plain .. 1: how much darker the other tiles are
    tile: float  # m
    wall_y: float  # where the back wall stands, m
    wall_color: str  # of FLOOR_COLORS


@dataclass(frozen=True)
class Scene:
    """All that the simulator and the renderer need to make a clip."""

    family: str  # of FAMILIES
    seed: int
    split: str  # of SPLITS
    fps: float
    balls: tuple[Ball, ...]
    boxes: tuple[Box, ...]
    floor: Floor
    light: Vector  # unit vector towards the light
    camera_move: str  # of MOVES, or "free"
    c2w: Floats = field(repr=False)  # [T, 4, 4] float64 camera to world, m, OpenCV axes
    fov_deg: Floats = field(repr=False)  # [T], vertical
    gravity: float = GRAVITY  # m/s^2, downwards
    restitution: float = RESTITUTION
    friction: float = FRICTION  # Coulomb coefficient of the balls
    start_s: float = 0.0  # simulated seconds before frame 0: balls are on their way or at rest by then

    @property
    def frames(self) -> int:
        """Number T of frames."""
        return len(self.c2w)


def rng_for(seed: int, split: str) -> np.random.Generator:
    """The generator of one clip. Splits never share a stream, whatever the seed."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more")
    return np.random.default_rng([SPLITS.index(split), seed])


class Draw:
    """A random scene that is being drawn: its generator, the bodies so far, and what the families share."""

    def __init__(self, rng: np.random.Generator, split: str):
        self.rng, self.split = rng, split
        self.side = float(rng.choice((-1.0, 1.0)))  # +1: bodies move to the right
        self.balls: list[Ball] = []
        self.boxes: list[Box] = []
        self.friction = FRICTION
        self.floor = Floor(
            self.pick(FLOOR_COLORS), self(0.0, 0.45), self(0.6, 1.4), self(3.5, 6.0), self.pick(FLOOR_COLORS)
        )
        self.radius = self.choice(self(0.22, 0.29), self(0.6, 0.7)) if split == "ood-size" else self(0.34, 0.54)

    def __call__(self, low: float, high: float) -> float:
        """Uniform."""
        return float(self.rng.uniform(low, high))

    def choice(self, *options: float) -> float:
        """One of these, all as likely."""
        return float(self.rng.choice(options))

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)

    def pick(self, names: Iterable[str]) -> str:
        """One of these names, all as likely."""
        return str(self.rng.choice(list(names)))

    def box(
        self, center: Vector, half: Vector, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0, mass: float | None = None
    ) -> Box:
        """A box of a random colour."""
        color = self.pick(BOX_COLORS)
        self.boxes.append(Box(color, vector(center), vector(half), yaw_deg, pitch_deg, mass))
        return self.boxes[-1]

    def ball(self, position: Vector, velocity: Vector, radius: float | None = None) -> None:
        """A ball whose colour differs from the boxes made so far, the floor, the wall and the other balls."""
        radius = radius or self.radius
        around = [FLOOR_COLORS[self.floor.color], FLOOR_COLORS[self.floor.wall_color]]
        around += [BOX_COLORS[b.color] for b in self.boxes] + [BALL_COLORS[b.color] for b in self.balls]
        clear = [
            c for c, rgb in BALL_COLORS.items() if min(np.linalg.norm(np.subtract(rgb, a)) for a in around) > DISTINCT
        ]
        unseen = {c for c in clear if any((c, b.color) in UNSEEN_PAIRS for b in self.boxes)}
        if self.split == "ood-color":
            clear = sorted(unseen) or clear
        else:
            clear = [c for c in clear if c not in unseen] or clear
        fast = 1.6 if self.split == "ood-speed" else 1.0
        velocity = (velocity[0] * fast, velocity[1] * fast, velocity[2] * (1.0 + (fast - 1.0) / 2))
        self.balls.append(Ball(self.pick(clear), radius, vector(position), vector(velocity)))

    def occluder(self, low: float, high: float, half_width: tuple[float, float] = (0.6, 0.85)) -> Box:
        """A box in front of where the ball passes."""
        half = (self(*half_width), 0.25, self(low, high))
        return self.box((self(-0.3, 0.3), self(-0.6, -0.2), half[2]), half, yaw_deg=self(-8, 8))


def _fall(d: Draw) -> None:
    d.ball((d(-1.6, 1.6), d(-0.5, 1.0), d(1.8, 3.2)), (d(-0.4, 0.4), 0.0, 0.0))
    if d.chance(0.3):
        other = -np.sign(d.balls[0].position[0]) * d(0.7, 1.7)
        d.ball((other, d(-0.5, 1.0), d(1.2, 3.2)), (0.0, 0.0, 0.0), d(0.34, 0.54))


def _throw(d: Draw) -> None:
    if d.chance(0.4):  # a wall to bounce off
        d.box((d.side * 2.1, 0.3, 0.8), (0.15, 1.1, 0.8))
    d.ball((-d.side * d(1.5, 2.2), d(-0.4, 0.8), d(0.5, 1.6)), (d.side * d(0.8, 1.7), 0.0, d(1.5, 3.6)))


def _roll(d: Draw) -> None:
    d.ball((-d.side * d(1.3, 2.2), d(-0.7, 0.9), d.radius), (d.side * d(0.6, 1.5), 0.0, 0.0))


def _behind(d: Draw) -> None:
    d.occluder(0.6, 0.85)
    d.ball((-d.side * d(1.7, 2.3), d(0.75, 1.1), d.radius), (d.side * d(0.85, 1.5), 0.0, 0.0))


def _arc(d: Draw) -> None:
    d.occluder(0.7, 1.05)
    d.ball((-d.side * d(1.7, 2.3), d(0.75, 1.1), d(0.5, 1.2)), (d.side * d(0.9, 1.5), 0.0, d(1.8, 3.4)))


def _wall(d: Draw) -> None:
    """The ball meets a wall while it is hidden; the wall itself is seen above the box."""
    front = d.occluder(0.55, 0.75)
    depth = d(0.75, 1.0)
    tall = front.half[2] + d(0.25, 0.45)
    d.box((front.center[0] + d.side * (d(0.0, 0.3) + d.radius), depth, tall), (0.12, 0.55, tall))
    d.friction = 0.01  # spin would brake the ball behind the box until it hardly comes out
    d.ball((-d.side * d(1.8, 2.3), depth, d.radius), (d.side * d(1.1, 1.9), 0.0, 0.0))


def _collide(d: Draw) -> None:
    depth, other = d(-0.5, 0.8), d(0.36, 0.5)
    d.ball((-d.side * d(1.4, 2.2), depth, d.radius), (d.side * d(0.9, 1.6), 0.0, 0.0))
    meet = -d.side * d(0.5, 1.4) if d.chance(0.4) else 0.0  # head-on, or the other one rests
    d.ball((d.side * d(0.3, 1.5), depth + d(-0.12, 0.12), other), (meet, 0.0, 0.0), other)


def _stack(d: Draw) -> None:
    half, count = d(0.24, 0.34), int(d.rng.integers(2, 4))
    x, y = d.side * d(0.1, 0.7), d(-0.3, 0.6)
    for i in range(count):
        d.box(
            (x + d(-0.05, 0.05), y + d(-0.05, 0.05), half * (2 * i + 1)),
            (half, half, half),
            yaw_deg=d(-12, 12),
            mass=0.12,
        )
    d.ball((-d.side * d(1.6, 2.2), y, d.radius), (d.side * d(1.8, 2.8), 0.0, 0.0))


def _slope(d: Draw) -> None:
    pitch, length = d(14, 26), d(0.8, 1.1)
    x, y = -d.side * d(0.7, 1.0), d(-0.2, 0.8)
    rise = length * np.sin(np.radians(pitch))
    d.box((x, y, rise), (length, 0.6, 0.06), pitch_deg=pitch * d.side)
    along = d(0.55, 0.8) * length  # from the middle towards the upper end
    cos, sin = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    lift = d.radius + 0.06
    d.ball((x - d.side * along * cos + d.side * lift * sin, y, rise + along * sin + lift * cos), (0.0, 0.0, 0.0))


def _push(d: Draw) -> None:
    half, y = (d(0.25, 0.4), d(0.3, 0.45), d(0.25, 0.45)), d(-0.4, 0.6)
    d.box((d.side * d(0.0, 0.6), y, half[2]), half, yaw_deg=d(-10, 10), mass=d(0.1, 0.3))
    d.ball((-d.side * d(1.5, 2.2), y, d.radius), (d.side * d(1.6, 2.6), 0.0, 0.0))


def _look(d: Draw) -> None:
    """Nothing moves but the camera; the scene may be empty."""
    if d.chance(0.5):
        half = (d(0.3, 0.6), d(0.3, 0.5), d(0.3, 0.8))
        d.box((d(-1, 1), 2.2, half[2]), half, yaw_deg=d(-40, 40))
    spots = d.rng.permutation([-1.4, 0.0, 1.4])
    for spot in spots[: int(d.rng.integers(0, 4))]:
        r = d(0.34, 0.54)
        d.ball((spot + d(-0.3, 0.3), d(-0.5, 1.2), r), (0.0, 0.0, 0.0), r)


_FAMILIES = {  # how often a seed draws the family, and what builds it
    "fall": (0.17, _fall),
    "throw": (0.11, _throw),
    "roll": (0.06, _roll),
    "behind": (0.14, _behind),
    "arc": (0.15, _arc),
    "wall": (0.13, _wall),
    "collide": (0.06, _collide),
    "stack": (0.05, _stack),
    "slope": (0.05, _slope),
    "push": (0.04, _push),
    "look": (0.04, _look),
}
FAMILIES = tuple(_FAMILIES)


def draw_camera(d: Draw, family: str, frames: int) -> tuple[str, Floats, Floats]:
    """Name of the move, poses [T, 4, 4] and fields of view [T]."""
    eye = np.array([d(-0.6, 0.6), d(-7.2, -6.2), d(1.5, 2.8)])
    if d.split == "ood-camera":
        eye = np.array([d.choice(-1, 1) * d(1.6, 2.6), d(-7.0, -6.0), d(3.2, 4.0)])
    target = np.array([0.0, 0.2, d(1.0, 1.3)])
    move, amounts = "still", dict[str, float]()
    if family == "look" or d.chance(0.4):
        move = str(d.rng.choice([*list(TRAINING_MOVES)[1:], *["free"] * 4]))
        kinds = (
            [move]
            if move != "free"
            else [str(m) for m in d.rng.choice(list(TRAINING_MOVES)[1:], size=3, replace=False)]
        )
        for kind in kinds:
            share = d(0.4, 1.0) * (0.7 if move == "free" else 1.0)
            for name, most in TRAINING_MOVES[kind].items():
                amounts[name] = 1 + (most - 1) * share if name == "zoom" else amounts.get(name, 0.0) + most * share
    return move, *camera_path(amounts, frames, eye, target, FOV_DEG, eased=d.chance(0.6))


def sample_scene(
    seed: int, family: str | None = None, *, split: str = "train", frames: int = 41, fps: float = 8.0
) -> Scene:
    """One scene from a seed; `family` fixes its kind (FAMILIES), else the seed draws it. Raises ValueError."""
    if family is not None and family not in FAMILIES:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(FAMILIES)}")
    rng = rng_for(seed, split)
    drawn = rng.choice(FAMILIES, p=[share for share, _ in _FAMILIES.values()])
    family = family or str(drawn)
    d = Draw(rng, split)
    _FAMILIES[family][1](d)
    move, c2w, fov_deg = draw_camera(d, family, frames)
    azimuth, height = d(-2.4, -0.7), d(0.9, 1.25)  # from the viewer's side and above, so that faces are lit
    light = (np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height))
    late = d(0.5, 5.0) if split == "train" and d.chance(0.15) else 0.0  # for videos that go on beyond five seconds
    gravity = d.choice(d(2.5, 3.5), d(7.0, 9.0)) if split == "ood-gravity" else GRAVITY
    return Scene(
        family,
        seed,
        split,
        fps,
        tuple(d.balls),
        tuple(d.boxes),
        d.floor,
        vector(light),
        move,
        c2w,
        fov_deg,
        gravity,
        friction=d.friction,
        start_s=late,
    )
