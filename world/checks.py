"""What a scene must be to be simulated or drawn: finite numbers, positive sizes, volumes, bodies named apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .arrays import Floats
from .mjcf_files import check_closed
from .scene import Body, Joint, Light, Mesh, Plane, Plate, Projected, Scene, SceneError, Shape, View

MOST_BODIES = 200
SMALLEST = 1e-4  # metres: of a radius or an extent; below it contacts of MuJoCo are numerical noise
LARGEST = 1e5  # metres, metres per second and so on: beyond it float32 rays lose centimetres
UNIT = 0.01  # how far the length of a quaternion, a normal or an axis may be from 1
SIZES = {"sphere": 1, "box": 3, "cylinder": 2, "capsule": 2, "ellipsoid": 3, "hull": 0}  # numbers in Shape.size
PIXELS = (8, 4096)  # width and height of a scene


def check(scene: Scene) -> None:
    """Raise SceneError for the first thing that no simulation or drawing could use; it names the body and numbers."""
    _require(len(scene.bodies) <= MOST_BODIES, "scene", f"{len(scene.bodies):,} bodies; at most {MOST_BODIES:,}")
    for name, count in Counter(b.name for b in scene.bodies).items():
        _require(bool(name.strip()), "scene", "a body has no name")
        _require(count == 1, "scene", f"{count} bodies are named {name!r}; names are told apart by people")
    for side in ("width", "height"):
        pixels = getattr(scene, side)
        _require(PIXELS[0] <= pixels <= PIXELS[1], side, f"{pixels} pixels; expected {PIXELS[0]} to {PIXELS[1]}")
    _numbers(scene.gravity, "gravity")
    _view(scene.view, "view")
    for body in scene.bodies:
        _body(body)
    for plane, where in ((scene.ground, "ground"), (scene.backdrop, "backdrop")):
        if plane is not None:
            _plane(plane, where)
    if scene.plate is not None:
        _plate(scene.plate)
    _light(scene.light)
    if scene.mechanism is not None:
        check_closed(scene.mechanism)


def _require(true: bool, where: str, found: str) -> None:
    if not true:
        raise SceneError(f"{where}: {found}")


def _numbers(values: Sequence[float], where: str, low: float = -LARGEST, high: float = LARGEST) -> None:
    # Written so that NaN fails.
    _require(all(low <= v <= high for v in values), where, f"{tuple(values)}; expected {low:g} to {high:g}")


def _unit(vector: Sequence[float], where: str) -> None:
    length = math.sqrt(sum(v * v for v in vector))
    _require(abs(length - 1) < UNIT, where, f"{tuple(vector)} has the length {length:.4g}; expected 1")


def _body(body: Body) -> None:
    where = f"body {body.name!r}"
    _require(bool(body.shapes), where, "no shapes; expected at least one to collide with")
    for i, shape in enumerate(body.shapes):
        _shape(shape, f"{where}, shape {i}")
    _numbers(body.position, f"{where}, position")
    _unit(body.rotation, f"{where}, rotation")
    _numbers((*body.velocity, *body.spin), f"{where}, velocity and spin")
    material = body.material
    _numbers((material.density,), f"{where}, density in kg/m^3", 1e-3, LARGEST)
    _numbers((material.friction,), f"{where}, friction", 0.0, 100.0)
    _numbers((material.restitution,), f"{where}, restitution", 0.0, 1.0)
    if material.toughness is not None:
        _numbers((material.toughness,), f"{where}, toughness in J/kg", 0.0, math.inf)
    if body.mass is not None:
        _numbers((body.mass,), f"{where}, mass in kg", 1e-9, 1e9)
    _require(not (body.fixed and body.joint), where, "fixed and on a joint; leave one of them out")
    if body.joint is not None:
        _joint(body.joint, where)
    if body.surface is not None:
        _surface(body.surface, f"{where}, surface")
    if isinstance(body.appearance, Projected):
        _view(body.appearance.view, f"{where}, the projected picture's view")
        _numbers((body.appearance.lit,), f"{where}, the share of light on its projected picture", 0.0, 1.0)
        opacity, image = body.appearance.opacity, body.appearance.image
        if opacity is not None:
            found, expected = " x ".join(map(str, opacity.shape)), " x ".join(map(str, image.shape[:2]))
            _require(found == expected, where, f"the projected picture's opacity is {found}; its image {expected}")


def _shape(shape: Shape, where: str) -> None:
    count = SIZES[shape.kind]
    _require(len(shape.size) == count, where, f"{len(shape.size)} sizes; a {shape.kind} has {count}")
    _numbers(shape.size, f"{where}, size in metres", SMALLEST)
    _numbers(shape.position, f"{where}, position")
    _unit(shape.rotation, f"{where}, rotation")
    _require((shape.kind == "hull") == (shape.vertices is not None), where, "vertices belong to a hull, and only there")
    if shape.vertices is not None:
        _require(len(shape.vertices) >= 4, where, f"{len(shape.vertices)} vertices; a hull needs 4 or more")
        _numbers((float(shape.vertices.min()), float(shape.vertices.max())), f"{where}, vertices")
        spread = np.linalg.svd(shape.vertices - shape.vertices.mean(0), compute_uv=False)[-1]
        flat = spread / math.sqrt(len(shape.vertices))
        _require(flat > SMALLEST / 4, where, f"the hull is flat ({flat:.2g} m thick): no volume")


def _surface(mesh: Mesh, where: str) -> None:
    count = len(mesh.vertices)
    _require(count > 0 and len(mesh.faces) > 0, where, f"{count} vertices, {len(mesh.faces)} faces; needs some of both")
    low, high = int(mesh.faces.min()), int(mesh.faces.max())
    _require(0 <= low and high < count, where, f"faces name vertices {low} to {high}; there are 0 to {count - 1}")
    _numbers((float(mesh.vertices.min()), float(mesh.vertices.max())), f"{where}, vertices")
    if mesh.uv is not None:
        _require(len(mesh.uv) == count, where, f"{len(mesh.uv)} uv for {count} vertices")


def _joint(joint: Joint, where: str) -> None:
    _numbers(joint.anchor, f"{where}, joint anchor")
    _unit(joint.axis, f"{where}, joint axis")
    _numbers((joint.damping,), f"{where}, joint damping", 0.0)
    if joint.range is not None:
        low, high = joint.range
        _require(low < high, where, f"joint range {low:g} to {high:g}; the first must be lower")


def _plane(plane: Plane, where: str) -> None:
    _unit(plane.normal, f"{where}, normal")
    _numbers((plane.offset,), f"{where}, offset")
    _numbers((plane.tile,), f"{where}, tile in metres", 1e-3)
    _numbers((*plane.colors[0], *plane.colors[1]), f"{where}, colors", 0.0, 1.0)


def _view(view: View, where: str) -> None:
    rotation: Floats = view.c2w[:3, :3]
    error = float(np.abs(np.einsum("ij,kj->ik", rotation, rotation) - np.eye(3)).max())
    _require(error < UNIT, where, f"c2w is no rotation and translation (off by {error:.2g})")
    _require(float(np.linalg.det(rotation)) > 0, where, "c2w mirrors; expected x right, y down, z forward")
    _numbers(view.c2w[:3, 3].tolist(), f"{where}, camera position")
    _numbers((view.fov_deg,), f"{where}, vertical field of view in degrees", 1.0, 170.0)


def _plate(plate: Plate) -> None:
    sides = plate.image.shape[:2]
    maps = {"picture": plate.picture, "filled": plate.filled, "depth": plate.depth}
    for name, values in maps.items():
        if values is not None:
            found = f"{values.shape[1]}x{values.shape[0]} pixels; the plate has {sides[1]}x{sides[0]}"
            _require(values.shape[:2] == sides, f"plate, {name}", found)
    if plate.depth is not None:
        low = float(plate.depth.min())
        _require(low > 0, "plate, depth", f"its nearest value is {low:g} m; expected metres above 0")


def _light(light: Light) -> None:
    _unit(light.direction, "light, direction")
    _numbers((light.shadow, light.ambient), "light, shadow and ambient", 0.0, 1.0)
    _numbers((light.softness,), "light, softness", 0.0, 10.0)
