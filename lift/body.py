"""A body from an outline: where it stands, its inflated surface, and the convex shapes that collide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..world.scene import Mesh, Shape
from .images import foot
from .outline import Outline, convex_parts, outline
from .prism import has_straight_sides, prism

if TYPE_CHECKING:
    from ..world.arrays import Bools, Floats
    from .camera import Camera

STEEP = np.radians(50)  # rays steeper than this to the body's mid plane would stretch it, so the plane leans with them
LIES = 0.95  # share of the way to where its top would lie on the ground: the farthest that a body leans back
FLAT = 1.3  # times the height in the picture of a disc that lies: from here on a thing stands
SLAB, BEVEL = 0.35, 0.7  # colliding parts: full outline to 35% of the thickness, shrunk by 30% to half of it
FOOT = 0.04  # share of the height above the lowest point that counts as foot
FOOT_ARC = 0.15  # share of the thickness, times the sine of the view's angle: a round foot's far side is seen higher
HIGHEST_FOOT = 0.4  # share of the height up to which a foot is looked for
BALANCE = 0.1  # share of the width by which the foot reaches beyond the middle of the body's area, to both sides
ROUND_FIT, ROUND_ASPECT = 0.94, 0.1  # a ball: overlap with the disc of its size, and how far from square its box is


@dataclass(frozen=True, eq=False)
class Form:
    """A body's form about `origin` (world [3], metres): surface and shapes in axes parallel to the world's."""

    origin: Floats
    surface: Mesh
    shapes: tuple[Shape, ...]
    lowest: float  # metres over the ground, of the shapes
    thickness: float

    @property
    def size(self) -> float:
        """Height in metres."""
        return float(np.ptp(self.surface.vertices[:, 2]))


def form(
    alpha: Floats,
    camera: Camera,
    level: float,
    distance: float | None,
    thickness: float | None,
    lean: float | None,
    flat: bool = True,
    room: float = np.inf,
) -> Form:
    """The form of the body with mask alpha [H, W]: its foot stands on the plane z = level.

    distance: depth of its foot in metres instead, where it floats or is known. thickness: metres; None: as deep as its
    widest place is wide, up to `room`, the metres to what it hides. lean: how far its top is behind its foot, metres;
    None: guessed from how it is seen. flat: False where it is known to bulge. Straight sides make it a box: a front, a
    top as far as it is seen from above, sides and a back. Each point that the picture shows lies on its pixel's ray.
    """
    shape = outline(alpha)
    solid = alpha >= min(0.5, float(alpha.max()))
    straight = flat and has_straight_sides(solid)
    frame = _Frame.of(alpha > 0, shape, camera, level, distance, thickness, lean, straight, room)
    ball = _ball(solid, frame)
    surface = prism(shape, frame) if frame.box else _surface(shape, frame, ball)
    shapes = (ball.shape,) if ball else _shapes(solid, frame)
    if distance is None:
        surface, shapes = _standing(surface, shapes, camera, level)
    lowest = min(_lowest(s) for s in shapes)
    middle = np.mean([_centre(s) for s in shapes], axis=0)
    shapes = tuple(_moved(s, -middle) for s in shapes)
    return Form(middle, Mesh(surface.vertices - middle, surface.faces), shapes, lowest, frame.thickness)


@dataclass(frozen=True, eq=False)
class _Frame:
    """The sheet that holds the outline: it leans back from the foot (first) to the top (last), along `facing`."""

    camera: Camera
    facing: Floats  # [3] away from the viewer
    first: float  # metres along facing, at row `bottom`
    last: float  # at row `top`
    bottom: float
    top: float
    thickness: float
    sine: float  # of the angle by which the body is seen from above
    lies: float  # 1 where it lies on the ground, 0 where it stands
    box: bool  # an upright front at `first`, a level top from there to `last`

    @classmethod
    def of(
        cls,
        mask: Bools,
        shape: Outline,
        camera: Camera,
        level: float,
        distance: float | None,
        thickness: float | None,
        lean: float | None,
        straight: bool,
        room: float,
    ) -> _Frame:
        forward = camera.view.c2w[:3, 2]
        pitch = np.arcsin(np.clip(-forward[2], -1, 1))
        yaw = np.arctan2(forward[0], forward[1]) if np.hypot(*forward[:2]) > 1e-6 else 0.0
        down = np.sign(pitch) * max(0.0, abs(float(pitch)) - STEEP)
        facing = np.array([np.sin(yaw) * np.cos(down), np.cos(yaw) * np.cos(down), -np.sin(down)])
        rows, columns = np.nonzero(mask)
        bottom, top = float(rows.max()) + 1, float(rows.min())
        lowest = foot(mask)
        head = np.array([columns[rows == rows.min()].mean() + 0.5, top])
        middle = camera.rays(np.array([columns.mean() + 0.5, rows.mean() + 0.5]))
        depth = float(camera.on_ground(lowest, level)) if distance is None else distance
        start = float(camera.rays(lowest) @ facing) * depth
        pixel = depth / (0.5 * camera.height / np.tan(np.radians(camera.view.fov_deg) / 2))
        sine = float(np.clip(-middle[2] / np.linalg.norm(middle), 0, 1))
        # A thing no higher in the picture than a disc that lies on the ground is one; a ball's outline is square to
        # the line of sight, and what stands is taken to be like it.
        wide = float(columns.max() - columns.min()) + 1
        lies = min(1.0, max(0.0, (FLAT - (bottom - top) / wide / max(sine, 1e-6)) / (FLAT - 1)))
        deep = thickness or min(room, pixel * (2 * shape.radius * (1 - lies) + wide * lies))
        if straight and lies < 0.5:
            return cls._box(camera, middle, lowest, head, depth, deep, sine, lean)
        ground = float(camera.on_ground(head, level)) * float(camera.rays(head) @ facing)
        back = deep * (sine + (1 - sine) * lies) if lean is None else min(lean, deep)
        back = max(0.0, min(back, LIES * (ground - start) if distance is None else deep))
        return cls(camera, facing, start, start + back, bottom, top, deep, sine, lies, False)

    @classmethod
    def _box(
        cls,
        camera: Camera,
        middle: Floats,
        foot: Floats,
        head: Floats,
        depth: float,
        deep: float,
        sine: float,
        lean: float | None,
    ) -> _Frame:
        """It faces the viewer, and its top is seen whole where it is seen from above."""
        facing = np.array([middle[0], middle[1], 0.0]) / np.hypot(middle[0], middle[1])
        start = float(camera.rays(foot) @ facing) * depth
        falls = float(camera.rays(head)[2]) < 0
        top = (deep if lean is None else min(lean, deep)) if falls else 0.0
        return cls(camera, facing, start, start + top, float(foot[1]), float(head[1]), deep, sine, 0.0, True)

    @property
    def middle(self) -> float:
        return self.first + self.thickness / 2 if self.box else (self.first + self.last) / 2

    def sheet(self, at: Floats) -> Floats:
        """Metres along facing [N] of the outline's sheet at pixels [N, 2]."""
        if self.box:
            return self._front_or_top(at)
        share = (self.bottom - at[:, 1]) / max(self.bottom - self.top, 1.0)
        return self.first + np.clip(share, 0, 1) * (self.last - self.first)

    def _front_or_top(self, at: Floats) -> Floats:
        """The nearer of the front and of the level of the top, whose far edge is seen at row `top`, at `last`."""
        head = np.array([[at[:, 0].mean(), self.top]])
        level = float(self.points(head, np.array([self.last]))[0, 2] - self.camera.eye[2])
        rays = self.camera.rays(at)
        fall = rays[:, 2] / np.maximum(rays @ self.facing, 1e-3)
        if self.last <= self.first or level >= 0:
            return np.full(len(at), self.first)
        reached = level / np.minimum(fall, -1e-6)
        return np.where(fall < -1e-6, np.clip(reached, self.first, self.last), self.last)

    def points(self, at: Floats, along: Floats) -> Floats:
        """World points [N, 3] on the rays of pixels [N, 2] at `along` metres in the facing direction."""
        rays = self.camera.rays(at)
        return self.camera.eye + rays * (along / np.maximum(rays @ self.facing, 1e-3))[:, None]

    def between(self, shape: Outline) -> tuple[Floats, Floats]:
        """Metres along facing [N] between which rays run no higher and no lower than the body: rim, and half its depth.

        A body thicker than it is far away would reach behind the camera: it begins at a fifth of its distance.
        """
        rim = self.points(shape.points, self.sheet(shape.points))[:, 2]
        centre, reach = float(rim.mean()), (1 - self.lies) * self.thickness / 2
        high, low = max(float(rim.max()), centre + reach), min(float(rim.min()), centre - reach)
        rays = self.camera.rays(shape.points)
        fall = rays[:, 2] / np.maximum(rays @ self.facing, 1e-3)
        steep = np.where(np.abs(fall) < 1e-3, 1e-3, fall)
        ends = (high - self.camera.eye[2]) / steep, (low - self.camera.eye[2]) / steep
        level = np.abs(fall) < 1e-3
        nearest = np.where(level, 0.0, np.minimum(*ends))
        farthest = np.where(level, np.inf, np.maximum(*ends))
        return np.maximum(nearest, 0.2 * self.first), farthest


@dataclass(frozen=True, eq=False)
class _Ball:
    """A ball about a world point, as wide as its outline and `thickness` metres deep."""

    centre: Floats  # [3]
    radius: float  # metres
    thickness: float

    @property
    def shape(self) -> Shape:
        x, y, z = (float(v) for v in self.centre)
        return Shape(kind="sphere", size=(self.thickness / 2,), position=(x, y, z))

    def ends(self, rays: Floats, eye: Floats) -> tuple[Floats, Floats, Floats]:
        """Multiples [N] of rays [N, 3] where they come nearest to the centre, enter, and leave."""
        length = np.linalg.norm(rays, axis=1)
        along = rays @ (self.centre - eye) / length
        apart2 = ((self.centre - eye) ** 2).sum() - along**2
        reach = np.sqrt(np.maximum(self.radius**2 - apart2, 0)) * self.thickness / (2 * self.radius)
        return along / length, (along - reach) / length, (along + reach) / length


def _ball(mask: Bools, frame: _Frame) -> _Ball | None:
    """The ball whose outline the mask is; None where it is no disc."""
    rows, columns = np.nonzero(mask)
    tall, wide = float(rows.max() - rows.min()) + 1, float(columns.max() - columns.min()) + 1
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    radius = (tall + wide) / 4
    inside = int((np.hypot(columns + 0.5 - middle[0], rows + 0.5 - middle[1]) <= radius).sum())
    overlap = inside / (np.pi * radius**2 + len(rows) - inside)
    if overlap <= ROUND_FIT or abs(tall / wide - 1) >= ROUND_ASPECT or len(rows) <= 50:
        return None
    centre = frame.points(middle[None], np.array([frame.middle]))[0]
    away = frame.camera.rays(middle[None] + np.array([[radius, 0.0]]))[0]
    along = float((centre - frame.camera.eye) @ away / (away @ away))
    apart = float(np.linalg.norm(centre - frame.camera.eye - along * away))
    return _Ball(centre, apart, frame.thickness)


def _surface(shape: Outline, frame: _Frame, ball: _Ball | None) -> Mesh:
    """A closed surface: front and back meet at the rim; between them are the balls that fill the outline."""
    if ball is None:
        bulge = np.where(shape.rim, 0.0, np.clip(shape.height / max(shape.radius, 1e-6), 0, 1))
        middle = frame.sheet(shape.points) * (1 - bulge) + frame.middle * bulge
        reach = bulge * frame.thickness / 2
        nearest, farthest = frame.between(shape)
        front = frame.points(shape.points, np.minimum(np.maximum(middle - reach, nearest), middle))
        back = frame.points(shape.points, np.maximum(np.minimum(middle + reach, farthest), middle))
    else:
        rays = frame.camera.rays(shape.points)
        closest, enters, leaves = ball.ends(rays, frame.camera.eye)
        front = frame.camera.eye + rays * np.where(shape.rim, closest, enters)[:, None]
        back = frame.camera.eye + rays * leaves[:, None]
    inner = np.flatnonzero(~shape.rim)
    behind = np.arange(len(front))
    behind[inner] = len(front) + np.arange(len(inner))
    faces = np.concatenate((shape.faces, behind[shape.faces][:, ::-1]))
    # A face whose corners all lie on the rim is the same in front and behind; it stays, flat, as both.
    return Mesh(np.concatenate((front, back[inner])), faces)


def _shapes(mask: Bools, frame: _Frame) -> tuple[Shape, ...]:
    """World shapes: slabs over the convex parts of an outline."""
    rows, columns = np.nonzero(mask)
    parts = [frame.points(part, frame.sheet(part)) for part in convex_parts(mask)]
    up = np.array([0.0, 0.0, 1.0])
    up = up - (up @ frame.facing) * frame.facing
    up /= np.linalg.norm(up)
    corners = np.concatenate(parts)
    low, tallness = float((corners @ up).min()), float(np.ptp(corners @ up))
    across = np.cross(frame.facing, up)
    pixels = np.stack((columns, rows), -1)[:: max(1, len(rows) // 2000)] + 0.5
    weight = float((frame.points(pixels, frame.sheet(pixels)) @ across).mean())
    band = FOOT * tallness + FOOT_ARC * frame.thickness * frame.sine
    if frame.lies > 0.5:
        return tuple(Shape(kind="hull", vertices=_plate(part, up, low, low + tallness)) for part in parts)
    # What stands in a picture stands: its foot grows upwards until it is under the middle of the body.
    while band < HIGHEST_FOOT * tallness and not _carries(corners, across, up, low + band, weight):
        band += 0.02 * tallness
    return tuple(Shape(kind="hull", vertices=_slab(part, frame, up, low, low + band)) for part in parts)


def _plate(part: Floats, up: Floats, low: float, high: float) -> Floats:
    """Corners of a flat part [2 K, 3] that lies: its outline, at two heights."""
    level = part - (part @ up)[:, None] * up
    return np.concatenate((level + low * up, level + high * up))


def _carries(corners: Floats, across: Floats, up: Floats, band: float, weight: float) -> bool:
    """Whether the corners [N, 3] under a height reach to both sides of where the body's weight is, with a margin."""
    foot, wide = corners[corners @ up <= band] @ across, float(np.ptp(corners @ across))
    margin = BALANCE * wide
    return float(foot.min()) <= weight - margin and float(foot.max()) >= weight + margin


def _slab(part: Floats, frame: _Frame, up: Floats, low: float, band: float) -> Floats:
    """Corners of a convex part [K, 3] as deep as the body, bevelled, with a flat foot on the ground."""
    flat = part - (part @ frame.facing - frame.middle)[:, None] * frame.facing
    deep = frame.thickness * frame.facing
    small = flat.mean(0) + BEVEL * (flat - flat.mean(0))
    slab = 0.5 if frame.box else SLAB
    corners = [flat - slab * deep, flat + slab * deep, small - deep / 2, small + deep / 2]
    height = flat @ up
    if height.min() <= band:
        foot = flat[height <= band]
        foot = foot - ((foot @ up) - low)[:, None] * up
        corners += [foot - slab * deep, foot + slab * deep]
    return np.concatenate(corners)


def _standing(surface: Mesh, shapes: tuple[Shape, ...], camera: Camera, level: float) -> tuple[Mesh, tuple[Shape, ...]]:
    """The same as the camera sees it, scaled about the camera until the lowest point of the shapes is at `level`."""
    height = float(camera.eye[2])
    lowest = min(_lowest(s) for s in shapes)
    scale = (height - level) / (height - lowest)
    return Mesh(_scaled(surface.vertices, camera.eye, scale), surface.faces), tuple(
        scaled_shape(s, camera.eye, scale) for s in shapes
    )


def _scaled(points: Floats, centre: Floats, scale: float) -> Floats:
    return centre + scale * (points - centre)


def scaled_shape(shape: Shape, centre: Floats, scale: float) -> Shape:
    """A shape that is `scale` times as large and as far from a point [3] of its body's axes."""
    if shape.vertices is None:
        x, y, z = (float(v) for v in _scaled(np.array(shape.position), centre, scale))
        return replace(shape, size=tuple(scale * s for s in shape.size), position=(x, y, z))
    return Shape(kind="hull", vertices=_scaled(shape.vertices, centre, scale))


def _moved(shape: Shape, by: Floats) -> Shape:
    if shape.vertices is None:
        x, y, z = (float(v) for v in np.array(shape.position) + by)
        return Shape(kind=shape.kind, size=shape.size, position=(x, y, z))
    return Shape(kind="hull", vertices=shape.vertices + by)


def _lowest(shape: Shape) -> float:
    return shape.position[2] - shape.size[0] if shape.vertices is None else float(shape.vertices[:, 2].min())


def _centre(shape: Shape) -> Floats:
    return np.array(shape.position) if shape.vertices is None else shape.vertices.mean(0)
