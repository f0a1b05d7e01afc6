"""Arrows drawn over the scene's picture become actions: pixels go to metres at the depth of the body they touch."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# NumPy's annotations leave products of arrays of any float type without a type.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from ..geometry.camera_numpy import focal_length, project
from ..machine.fields import Between, Items, Place, read_text
from .actions import Action, Actions, Drag, Force, Push, Spin, Throw
from .arrays import Floats
from .extent import center_of_mass, farthest, size
from .meshes import body_mass
from .scene import Body, Scene, SceneError, vector
from .verbs import stands, toward_viewer, up

MOST, MOST_POINTS = 200, 2000
MOVES_IN = 0.5  # seconds in which a free body would move by the arrow's length
NEAR = 0.04  # of the picture's width: an arrow may start so far beside the body that it is meant for
SMALLEST = 0.002  # of the picture's width: a shorter arrow has no direction
REMEDY = "clear the arrows and draw them again"
_AROUND = np.linspace(0, 2 * np.pi, 64, endpoint=False)  # directions in which an outline is compared


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """points [(x, y), ...] in shares of the picture, from where it starts. body: whom it acts on; "": as in
    body_under. strength multiplies; time: seconds from the start; toward: how much of its length it comes towards the
    viewer, -1 to 1. duration: seconds of a force or a drag.
    """

    points: Annotated[tuple[Place, ...], Items(2, MOST_POINTS)]
    kind: Literal["push", "throw", "spin", "drag", "force"] = "push"
    body: str = ""
    strength: Annotated[float, Between(0, 100)] = 1.0
    time: Annotated[float, Between(0, 3600, "seconds")] = 0.0
    toward: Annotated[float, Between(-1, 1)] = 0.0
    duration: Annotated[float, Between(0.02, 3600, "seconds")] | None = None


@dataclass(frozen=True)
class _Drawing:
    """What the widget stores."""

    arrows: Annotated[tuple[Arrow, ...], Items(0, MOST)]


def read_arrows(text: str) -> tuple[Arrow, ...]:
    """Arrows of the widget's JSON; none for an empty text. Raises SceneError naming the arrow."""
    return read_text(_Drawing, text, "arrows", SceneError, REMEDY).arrows if text.strip() else ()


def actions_from_arrows(text: str, scene: Scene) -> Actions:
    """The actions of a drawing. push, throw: a free body moves by the arrow's length in half a second, a push acting
    where the arrow starts; force: the same from rest; spin: its front turns by that length; drag: along the path.

    Raises SceneError for a drawing that is none, and for an arrow on no body, a fixed one, or without a length.
    """
    arrows = read_arrows(text)
    return tuple(_action(arrow, scene, f"arrow {i + 1}") for i, arrow in enumerate(arrows))


def _action(arrow: Arrow, scene: Scene, name: str) -> Action:
    pixels = np.asarray(arrow.points, float) * (scene.width, scene.height)
    body = scene.body(arrow.body) if arrow.body else body_under(scene, pixels[0], name)
    if body.fixed:
        raise SceneError(f"{name} acts on {body.name!r}, which is fixed; make it movable, or draw on another")
    points = _in_world(scene, body, pixels)
    way = points[-1] - points[0]
    length = float(np.abs(np.diff(pixels, axis=0)).sum())
    if length < SMALLEST * scene.width:
        raise SceneError(f"{name} is {length:.1f} pixels long and has no direction; draw it longer, or remove it")
    way = way + arrow.toward * np.linalg.norm(way) * toward_viewer(scene)
    seconds, start = arrow.duration or 1.0, arrow.time
    speed = arrow.strength * way / MOVES_IN
    if arrow.kind == "throw":
        return Throw(body=body.name, velocity=vector(speed), time=start)
    if arrow.kind == "push":
        impulse = vector(body_mass(body) * speed)
        return Push(body=body.name, impulse=impulse, at=vector(points[0]), time=start)
    if arrow.kind == "force":
        force = body_mass(body) * arrow.strength * 2 * way / MOVES_IN**2
        end = start + (arrow.duration or MOVES_IN)
        return Force(body=body.name, force=vector(force), start=start, end=end, at=vector(points[0]))
    if arrow.kind == "spin":
        return Spin(body=body.name, spin=vector(np.cross(toward_viewer(scene), speed) / (size(body) / 2)), time=start)
    along = np.linspace(0, 1, len(points))[:, None] * arrow.toward * np.linalg.norm(points[-1] - points[0])
    moved = points - points[0] + center_of_mass(body) + along * toward_viewer(scene)
    path = tuple(vector(point) for point in moved)
    return Drag(body=body.name, path=path, start=start, end=start + seconds / max(arrow.strength, 0.01))


def _rays(scene: Scene, pixels: Floats) -> Floats:
    """World directions [N, 3] of depth 1 through pixel positions [N, 2]."""
    focal = focal_length(scene.view.fov_deg, scene.height)
    local = np.concatenate(((pixels - (scene.width / 2, scene.height / 2)) / focal, np.ones((len(pixels), 1))), 1)
    return np.einsum("ij,nj->ni", np.asarray(scene.view.c2w, float)[:3, :3], local)


def _in_world(scene: Scene, body: Body, pixels: Floats) -> Floats:
    """World points [N, 3] under pixels at the depth of the body's centre.

    What stands is not led into what it stands on: points below the first one lie on its level, nearer to the viewer.
    """
    pose = np.asarray(scene.view.c2w, float)
    eye, forward = pose[:3, 3], pose[:3, 2]
    depth = float((center_of_mass(body) - eye) @ forward)
    if depth <= 0:
        raise SceneError(f"{body.name!r} is behind the scene's camera; draw on another body")
    rays = _rays(scene, pixels)
    points = eye + depth * rays
    above = up(scene)
    heights, falls = np.dot(points - points[0], above), np.dot(rays, above)
    if stands(scene, body):
        # The level is met ahead of the camera where the ray goes down to it.
        level = float((points[0] - eye) @ above) / np.where(np.abs(falls) < 1e-6, -1e-6, falls)
        into = (heights < 0) & (level > 0.1 * depth) & (level < depth)
        points = np.where(into[:, None], eye + level[:, None] * rays, points)
    return points


def body_under(scene: Scene, pixel: Floats, name: str) -> Body:
    """The body with the smallest outline that holds a pixel, else the nearest beside it; those that can move first.

    The same rule as the widget's (web/under.js). Raises SceneError naming the arrow where no body is near.
    """
    found: list[tuple[float, float, Body]] = []
    for body in scene.bodies:
        seen = _outline(scene, body)
        if seen is not None and (distance := _beside(seen, pixel)) <= NEAR * scene.width:
            found.append((distance, _area(seen), body))
    movable = [each for each in found if not each[2].fixed]
    if not found:
        names = ", ".join(repr(b.name) for b in scene.bodies) or "none"
        x, y = (float(c) for c in pixel)
        raise SceneError(f"{name} starts on no body, at pixel ({x:.0f}, {y:.0f}); start it on one of: {names}")
    return min(movable or found, key=lambda each: each[:2])[2]


def _outline(scene: Scene, body: Body) -> Floats | None:
    """Pixels [64, 2] of the body's convex outline, those farthest along each of _AROUND; None behind the camera."""
    pose = np.asarray(scene.view.c2w, float)
    across = np.cos(_AROUND)[:, None] * pose[:3, 0] + np.sin(_AROUND)[:, None] * pose[:3, 1]
    u, v, depth = project(farthest(body, across), pose, scene.view.fov_deg, scene.width, scene.height)
    return np.stack((u, v), 1) if (depth > 0).all() else None


def _beside(outline: Floats, pixel: Floats) -> float:
    """Pixels from a convex outline to a pixel; 0 inside."""
    directions = np.stack((np.cos(_AROUND), np.sin(_AROUND)))  # [2, 64]
    return max(0.0, float((pixel @ directions - (outline @ directions).max(0)).max()))


def _area(outline: Floats) -> float:
    x, y = outline.T
    return float(abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2)
