"""What a clip contains: balls, boxes, a floor, a light and a camera path, sampled from one integer seed.

World axes: x right, y away from the viewer, z up; metres, seconds. Cameras are camera-to-world matrices in OpenCV
axes (x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

GRAVITY = 5.0  # m/s^2: a drop from 2.5 m takes one second, eight frames at 8 fps
FAMILIES = ("fall", "throw", "roll", "behind", "arc", "look")
SPLITS = ("train", "validation", "test")

BALL_COLORS = {
    "red": (0.85, 0.10, 0.10), "green": (0.12, 0.62, 0.18), "blue": (0.12, 0.25, 0.85), "yellow": (0.95, 0.82, 0.12),
    "orange": (0.95, 0.48, 0.08), "purple": (0.52, 0.16, 0.68), "cyan": (0.10, 0.75, 0.80), "pink": (0.95, 0.45, 0.68),
    "white": (0.93, 0.93, 0.93), "black": (0.08, 0.08, 0.09),
}  # fmt: skip
BOX_COLORS = {
    "brown": (0.45, 0.28, 0.15), "gray": (0.50, 0.50, 0.52), "blue": (0.20, 0.32, 0.62), "green": (0.22, 0.45, 0.28),
    "red": (0.62, 0.20, 0.18), "yellow": (0.80, 0.70, 0.30),
}  # fmt: skip
FLOOR_COLORS = {
    "gray": (0.55, 0.55, 0.56), "brown": (0.60, 0.47, 0.35), "green": (0.42, 0.55, 0.38), "blue": (0.42, 0.50, 0.62),
    "white": (0.80, 0.79, 0.77), "pink": (0.68, 0.52, 0.54),
}  # fmt: skip


@dataclass(frozen=True)
class Ball:
    color: str
    radius: float  # m
    position: tuple[float, float, float]  # centre at frame 0, m
    velocity: tuple[float, float, float]  # m/s
    restitution: float  # speed after / before a bounce on the floor


@dataclass(frozen=True)
class Box:
    color: str
    center: tuple[float, float, float]
    half: tuple[float, float, float]  # half extents, m
    yaw_deg: float = 0.0


@dataclass(frozen=True)
class Floor:
    color: str
    contrast: float  # 0 plain .. 1: how much darker the other tiles are
    tile: float  # m
    wall_y: float  # distance of the back wall, m
    wall_color: str


@dataclass(frozen=True)
class Scene:
    family: str
    seed: int
    split: str
    fps: float
    balls: tuple[Ball, ...]
    boxes: tuple[Box, ...]
    floor: Floor
    light: tuple[float, float, float]  # unit vector towards the light
    camera_move: str
    c2w: np.ndarray = field(repr=False)  # [T, 4, 4] float64
    fov_deg: float = 40.0  # vertical
    gravity: float = GRAVITY

    @property
    def frames(self) -> int:
        return len(self.c2w)


def rng_for(seed: int, split: str) -> np.random.Generator:
    """The generator of one clip. Splits never share a stream, whatever the seed."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more")
    return np.random.default_rng([SPLITS.index(split), seed])


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Camera-to-world matrix [..., 4, 4], OpenCV axes, for eye and target [..., 3] in metres."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    c2w = np.zeros(eye.shape[:-1] + (4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2], c2w[..., :3, 3] = right, down, forward, eye
    c2w[..., 3, 3] = 1.0
    return c2w


CAMERA_MOVES = ("still", "orbit left", "orbit right", "pan left", "pan right", "move in", "move out")


def camera_path(move: str, amount: float, frames: int, eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Eased path [frames, 4, 4]. amount in 0..1 of the largest move (30 deg of orbit, 12 deg of pan, 2 m of travel)."""
    if move not in CAMERA_MOVES:
        raise ValueError(f"camera move {move!r} is unknown; choose one of {', '.join(CAMERA_MOVES)}")
    s = np.linspace(0.0, 1.0, frames)
    s = (s * s * (3 - 2 * s) * amount)[:, None]
    eyes, targets = np.repeat(eye[None], frames, 0), np.repeat(target[None], frames, 0)
    kind, _, side = move.partition(" ")
    if kind == "orbit":  # the eye goes round the target
        angle = np.radians(30.0) * s[:, 0] * (1 if side == "right" else -1)
        arm = eye - target
        cos, sin = np.cos(angle), np.sin(angle)
        eyes = target + np.stack([cos * arm[0] - sin * arm[1], sin * arm[0] + cos * arm[1], 0 * s[:, 0] + arm[2]], -1)
    elif kind == "pan":
        reach = np.linalg.norm(target - eye) * np.tan(np.radians(12.0) * s)
        targets = targets + reach * np.array([[1.0 if side == "right" else -1.0, 0, 0]])
    elif kind == "move":
        eyes = eyes + (target - eye) / np.linalg.norm(target - eye) * 2.0 * s * (1 if side == "in" else -1)
    return look_at(eyes, targets)


def sample_scene(
    seed: int, family: str | None = None, *, split: str = "train", frames: int = 41, fps: float = 8.0
) -> Scene:
    """One scene from a seed; `family` fixes its kind (FAMILIES), else the seed draws it. Raises ValueError."""
    if family is not None and family not in FAMILIES:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(FAMILIES)}")
    rng = rng_for(seed, split)
    drawn = rng.choice(FAMILIES, p=(0.2, 0.16, 0.16, 0.2, 0.16, 0.12))
    family = family or str(drawn)
    u = lambda lo, hi: float(rng.uniform(lo, hi))  # noqa: E731
    pick = lambda table: str(rng.choice(list(table)))  # noqa: E731

    floor = Floor(pick(FLOOR_COLORS), u(0.0, 0.45), u(0.6, 1.4), u(3.5, 6.0), pick(FLOOR_COLORS))
    eye = np.array([u(-0.6, 0.6), u(-7.2, -6.2), u(1.5, 2.8)])
    target = np.array([0.0, 0.2, u(1.0, 1.3)])
    moves = rng.random() < (1.0 if family == "look" else 0.3)
    move = str(rng.choice(CAMERA_MOVES[1:])) if moves else "still"
    c2w = camera_path(move, u(0.5, 1.0), frames, eye, target)
    azimuth, height = u(-2.4, -0.7), u(0.9, 1.25)  # from the viewer's side and above, so that faces are lit
    light = (np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height))

    side = float(rng.choice((-1.0, 1.0)))
    colors = [str(c) for c in rng.choice(list(BALL_COLORS), size=3, replace=False)]
    radius = u(0.34, 0.54)
    balls: list[Ball] = []
    boxes: list[Box] = []

    def ball(position, velocity, r=radius):
        balls.append(Ball(colors[len(balls)], r, tuple(position), tuple(velocity), u(0.5, 0.85)))

    if family == "fall":
        ball((u(-1.6, 1.6), u(-0.5, 1.0), u(1.8, 3.2)), (u(-0.4, 0.4), 0.0, 0.0))
        if rng.random() < 0.35:
            other = -np.sign(balls[0].position[0]) * u(0.7, 1.7)
            ball((other, u(-0.5, 1.0), u(1.2, 3.2)), (0.0, 0.0, 0.0), u(0.34, 0.54))
    elif family == "throw":
        ball((-side * u(1.5, 2.2), u(-0.4, 0.8), u(0.5, 1.6)), (side * u(0.8, 1.7), 0.0, u(1.5, 3.6)))
        if rng.random() < 0.5:  # a wall to bounce off
            boxes.append(Box(pick(BOX_COLORS), (side * 2.1, 0.3, 0.8), (0.15, 1.1, 0.8)))
    elif family == "roll":
        ball((-side * u(1.3, 2.2), u(-0.7, 0.9), radius), (side * u(0.6, 1.5), 0.0, 0.0))
        if rng.random() < 0.4:
            ball((side * u(0.3, 1.5), u(-0.7, 1.2), 0.42), (0.0, 0.0, 0.0), 0.42)
    elif family in ("behind", "arc"):
        half = (u(0.6, 0.85), 0.25, u(0.6, 0.85) if family == "behind" else u(0.7, 1.05))
        boxes.append(Box(pick(BOX_COLORS), (u(-0.3, 0.3), u(-0.6, -0.2), half[2]), half, u(-8, 8)))
        depth = u(0.75, 1.1)
        if family == "behind":
            ball((-side * u(1.7, 2.3), depth, radius), (side * u(0.85, 1.5), 0.0, 0.0))
        else:
            ball((-side * u(1.7, 2.3), depth, u(0.5, 1.2)), (side * u(0.9, 1.5), 0.0, u(1.8, 3.4)))
    else:  # look: things at rest, the camera moves
        spots = rng.permutation([-1.4, 0.0, 1.4])
        for i in range(int(rng.integers(1, 4))):
            r = u(0.34, 0.54)
            ball((spots[i] + u(-0.3, 0.3), u(-0.5, 1.2), r), (0.0, 0.0, 0.0), r)
        if rng.random() < 0.6:
            half = (u(0.3, 0.6), u(0.3, 0.5), u(0.3, 0.8))
            boxes.append(Box(pick(BOX_COLORS), (u(-1, 1), 2.2, half[2]), half, u(-40, 40)))
    return Scene(
        family, seed, split, fps, tuple(balls), tuple(boxes), floor, tuple(float(v) for v in light), move, c2w
    )
