"""What there is to perceive in five frames of a varied scene: masks, shapes, poses, speeds, ground, camera and light.

Lengths are in heights of the camera's eye over the ground, times in frames: a picture tells no other scale. Vectors
are in the axes of the last frame's camera. Gravity in these units is what ties them to metres and seconds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...control.flow_from_video import motion_before
from ...geometry.level import foot_of
from ...model.perceived import Perceived
from ...world.drawing.film import looks
from ...world.families.varied import ALL_FAMILIES, MOST_BODIES, SHAPES, Varied
from ...world.meshes import centroid, corners, pose_matrix, shape_mesh, shape_volume, transformed
from ...world.motion import Motion
from ...world.scene import Body, Shape

KNOWN = 5  # frames
FINE = 16  # poses are simulated at so many times the frame rate: a speed before a hit is not mixed with that after it
LEAST_PIXELS = 12  # of a body's mask, from which on it is to be perceived
BODY_FIELDS = (  # as Perceived names them
    *("center", "half", "velocity", "spin", "fixed", "hinged", "anchor", "hinge"),
    *("support", "density"),
)
AIR, GROUND, BODY = range(3)  # what holds a body up
TOUCHES = 0.02  # of a body's size: its lowest point is nearer to the ground than this where it touches it
HELD = 0.5  # of gravity: what falls with less than this acceleration is held up by something
DENSITY = 700.0  # kg/m^3 to which densities relate: wood's
INVERSE_CELL = 4  # pixels a side of a cell of the map of inverse depth


def principal(shapes: tuple[Shape, ...], kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre [3], axes [3, 3] (columns) and half extents [3] of a body of a kind of SHAPES, in the body's axes.

    Hulls and compounds: of the box with the same volume's second moments. Round bodies have their axis last.
    """
    first = shapes[0]
    if kind in ("hull", "compound", "cone"):
        center, second = _moments(shapes)
        if kind == "cone":
            z = first.vertices[:, 2] if first.vertices is not None else np.zeros(1)
            radius = float(np.abs(first.vertices[:, :2]).max()) if first.vertices is not None else 0.0
            return center, np.eye(3), np.array([radius, radius, float(np.ptp(z)) / 2])
        values, axes = np.linalg.eigh(second)
        axes[:, 2] *= np.sign(np.linalg.det(axes))
        return center, axes, np.sqrt(np.maximum(3 * values, 1e-12))
    size = np.asarray(first.size, float)
    if kind == "sphere":
        half = np.repeat(size, 3)
    elif kind == "cylinder":
        half = size[[0, 0, 1]]
    elif kind == "capsule":
        half = size[[0, 0, 1]] + (0, 0, size[0])
    else:
        half = size
    return np.asarray(first.position, float), pose_matrix((0, 0, 0), first.rotation)[:3, :3], half


def _moments(shapes: tuple[Shape, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Centre [3] and covariance [3, 3] of the volume of shapes that do not overlap."""
    volumes = np.array([shape_volume(s) for s in shapes])
    meshes = [shape_mesh(s, 16) for s in shapes]
    center = volumes @ np.stack([centroid(m) for m in meshes]) / volumes.sum()
    second = np.zeros((3, 3))
    for mesh, share in zip(meshes, volumes / volumes.sum(), strict=True):
        a, b, c = corners(mesh.vertices - center, mesh.faces)
        weight = np.einsum("ij,ij->i", a, np.cross(b, c))
        # Of a tetrahedron with a corner at the origin: sums of products of corners over 20.
        outer = [np.einsum("i,ij,ik->jk", weight, p, q) for p in (a, b, c) for q in (a, b, c)]
        same = [np.einsum("i,ij,ik->jk", weight, p, p) for p in (a, b, c)]
        second += share * (sum(outer) + sum(same)) / 20 / weight.sum()
    return center, second


def seen(made: Varied, motion: Motion, start: int, pictures: Tensor | None = None) -> dict[str, np.ndarray] | None:
    """Five frames from frame `start` on and their labels; None where no body is seen. motion: at FINE times made.fps.
    pictures [KNOWN, H, W, 3] in 0..1: another drawing of the same moments, to be shown instead.

    rgb uint8 [KNOWN, H, W, 3]; instance uint8 [H, W] of the last frame, 1 + i being body i of the labels;
    inverse_depth float16 [H/4, W/4]; bodies [MOST_BODIES, ...], `pixels` 0 where there is none: kind, center, axes,
    half, velocity, spin, fixed, hinged, anchor, hinge,
    support (AIR, GROUND or BODY holds it up), density (log, of DENSITY); ground [3] (unit, up), focal (in picture
    heights), light [3], gravity, camera [6] (how the camera moves in a frame: metres, then its turn), wall [4] (unit
    normal, inverse distance; zeros: none), family (of ALL_FAMILIES), motion [H/2, W/2, MOTION] (motion_before).
    """
    scene = made.scene
    frames = (start + np.arange(KNOWN)) * FINE
    shown = replace(motion, poses=motion.poses[frames], present=motion.present[frames])
    path = made.c2w[start : start + KNOWN]
    footage = looks(shown, width=scene.width, height=scene.height, c2w=path, fov_deg=np.full(KNOWN, scene.view.fov_deg))
    instance = footage.instance[-1].numpy()
    pixels = np.bincount(instance.ravel(), minlength=len(scene.bodies) + 1)[1:]
    order = [i for i in np.argsort(-pixels, kind="stable") if pixels[i] >= LEAST_PIXELS][:MOST_BODIES]
    if not order:
        return None
    numbers = np.zeros(len(scene.bodies) + 1, np.uint8)
    for n, i in enumerate(order):
        numbers[1 + i] = 1 + n
    c2w = path[-1]
    height, turn = float(c2w[2, 3]), c2w[:3, :3].T
    last = int(frames[-1])
    fall = -scene.gravity[2] / (made.fps * FINE) ** 2
    rows = [_body(scene.bodies[i], made.shapes[i], motion.poses[last - 1 : last + 2, i], fall) for i in order]
    labels = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    for name in ("center", "anchor"):
        labels[name] = (labels[name] - c2w[:3, 3]) @ turn.T / height
    for name in ("velocity", "hinge", "spin"):
        labels[name] = labels[name] @ turn.T
    labels["velocity"] *= FINE / height
    labels["spin"] *= FINE
    labels["axes"] = turn @ labels["axes"]
    labels["half"] /= height
    labels["pixels"] = pixels[order]
    labels = {name: _padded(value) for name, value in labels.items()}
    depth = footage.depth[-1, 1::INVERSE_CELL, 1::INVERSE_CELL].numpy() / height
    labels["inverse_depth"] = np.where(depth * height > 900, 0.0, 1 / depth).astype(np.float16)
    rgb = footage.rgb if pictures is None else pictures
    labels["rgb"] = np.round(rgb.numpy() * 255).astype(np.uint8)
    labels["motion"] = motion_before(rgb, KNOWN).numpy().astype(np.float16)
    labels["instance"] = numbers[instance]
    labels["ground"] = turn @ (0.0, 0.0, 1.0)
    labels["focal"] = np.array(0.5 / np.tan(np.radians(scene.view.fov_deg) / 2))
    labels["light"] = turn @ np.asarray(scene.light.direction)
    labels["gravity"] = np.array(-scene.gravity[2] / height / made.fps**2)
    labels["camera"] = _camera_step(path[-2], c2w) / (height, height, height, 1, 1, 1)
    labels["family"] = np.array(ALL_FAMILIES.index(made.family), np.uint8)
    labels["wall"] = np.zeros(4)
    if scene.backdrop is not None:
        normal = np.asarray(scene.backdrop.normal)
        away = float(normal @ c2w[:3, 3]) - scene.backdrop.offset
        labels["wall"] = np.append(turn @ normal, height / max(away, 1e-3))
    return {n: v if v.dtype in (np.uint8, np.float16) else v.astype(np.float32) for n, v in labels.items()}


def _body(body: Body, kind: str, poses: np.ndarray, fall: float) -> dict[str, np.ndarray]:
    """Labels of one body in world axes, metres and fine frames; poses [3, 4, 4] around the moment; gravity `fall`."""
    shapes = body.shapes[:1] if body.joint is not None else body.shapes  # the weight, without its rod
    center, axes, half = principal(shapes, kind)
    at = poses[:, :3, :3] @ center + poses[:, :3, 3]
    turned = poses[2, :3, :3] @ poses[0, :3, :3].T
    joint = body.joint
    points = [transformed(shape_mesh(s).vertices, poses[1]) for s in shapes]
    size, low = float(np.prod(half)) ** (1 / 3), float(min(p[:, 2].min() for p in points))
    held = at[2, 2] - 2 * at[1, 2] + at[0, 2] > -HELD * fall
    return {
        "kind": np.array(SHAPES.index(kind)),
        "center": at[1],
        "axes": poses[1, :3, :3] @ axes,
        "half": half,
        "velocity": (at[2] - at[0]) / 2,
        "spin": rotation_vector(turned) / 2,
        "fixed": np.array(body.fixed),
        "hinged": np.array(joint is not None),
        "anchor": at[1] if joint is None else np.asarray(joint.anchor, float),
        "hinge": np.zeros(3) if joint is None else np.asarray(joint.axis, float),
        "support": np.array(GROUND if low < TOUCHES * size else BODY if held else AIR),
        "density": np.array(np.log(body.material.density / DENSITY)),
    }


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle [3] of a rotation [3, 3] of less than half a turn."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sin, cos = np.linalg.norm(skew) / 2, (np.trace(rotation) - 1) / 2
    angle = float(np.arctan2(sin, cos))
    return skew / 2 * (angle / sin if sin > 1e-9 else 1.0)


def _camera_step(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How a camera moved since the frame before [6]: metres and axis times angle, in its axes now."""
    turn = now[:3, :3].T
    moved = turn @ (now[:3, 3] - before[:3, 3])
    return np.concatenate((moved, turn @ rotation_vector(now[:3, :3] @ before[:3, :3].T)))


def _padded(values: np.ndarray) -> np.ndarray:
    out = np.zeros((MOST_BODIES, *values.shape[1:]), np.float32)
    out[: len(values)] = values
    return out


def perfect(labels: dict[str, np.ndarray]) -> Perceived:
    """What a network without error would perceive in a start with these labels."""
    there = labels["pixels"] > 0
    body = {name: torch.from_numpy(np.asarray(labels[name])[there]).float() for name in BODY_FIELDS}
    numbers = torch.arange(1, int(there.sum()) + 1)
    ground = torch.from_numpy(labels["ground"]).float()
    body["foot"] = foot_of(body["center"], ground)
    body["support"] = F.one_hot(body["support"].long(), 3).float()
    body["density"] = body["density"].exp()
    whole = {name: torch.from_numpy(np.asarray(labels[name])).float() for name in ("ground", "light", "camera")}
    wall = torch.from_numpy(labels["wall"]).float() if labels["wall"].any() else None
    instance = torch.from_numpy(labels["instance"])
    return Perceived(
        masks=(instance == numbers[:, None, None]).float(),
        covered=(instance > 0).float()[None],
        sure=torch.ones(len(numbers)),
        kind=tuple(SHAPES[int(k)] for k in labels["kind"][there]),
        sphere=torch.from_numpy(labels["kind"][there] == SHAPES.index("sphere")).float(),
        rotation=torch.from_numpy(labels["axes"][there]).float(),
        came=torch.full((len(numbers), 4, 2), torch.nan),
        braking=torch.full((len(numbers),), torch.nan),
        inverse_depth=torch.from_numpy(labels["inverse_depth"]).float(),
        fov_deg=float(np.degrees(2 * np.arctan(0.5 / labels["focal"]))),
        gravity=float(labels["gravity"]),
        wall=wall,
        **body,
        **whole,
    )
