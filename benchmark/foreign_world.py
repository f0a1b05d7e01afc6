"""A second world, for test only: other scenes than those that models are trained on, moved by Drake in place of MuJoCo.

It shares neither engine nor renderer nor scenes with world/: what is right here and there is right, not learned by
heart. Gravity and the bounce of balls are those of the families of balls, so that a few frames tell what follows.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingModuleSource=false
# Drake is an extra, and its Python module is typed only in part.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np

from ..geometry.camera_numpy import look_at
from ..world.arrays import Floats

GRAVITY = 5.0  # m/s^2
STEP_S = 1e-3
BALL_DISSIPATION = 0.085  # s/m: balls leave the ground with about .7 of the speed at which they meet it
STIFFNESS = 5e6  # N/m, of balls
DENSITY = 700.0  # kg/m^3
FRICTION = 0.45
EXTRA = "it moves in Drake and is drawn by Embree: pip install vdit[foreign]"
PALETTE = ((0.80, 0.10, 0.12), (0.10, 0.45, 0.80), (0.95, 0.70, 0.05), (0.15, 0.60, 0.25), (0.55, 0.15, 0.65))
Kind = Literal["ball", "box", "cylinder"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A body: size is (radius,), half extents (3) or (radius, half length along z); pose and speed at time 0."""

    kind: Kind
    size: tuple[float, ...]
    position: Floats  # [3] m
    turn: Floats  # [3, 3]
    velocity: Floats  # [3] m/s
    spin: Floats  # [3] rad/s, in world axes
    rgb: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ForeignScene:
    """Things on a flat floor before a wall, a camera that stands, and a light as large as `light_radius` at `light`."""

    family: str
    seed: int
    things: tuple[Thing, ...]
    c2w: Floats  # [4, 4]
    fov_deg: float
    wall_y: float
    light: Floats  # [3] m
    light_radius: float
    grain: int  # seed of the textures
    caption: str


def _about(axis: int, angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    out = np.eye(3)
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out


class _Draw:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.side = float(rng.choice((-1.0, 1.0)))
        self.colors = [PALETTE[int(i)] for i in rng.permutation(len(PALETTE))]
        self.things: list[Thing] = []

    def __call__(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def add(
        self,
        kind: Kind,
        size: tuple[float, ...],
        at: tuple[float, float, float],
        *,
        turn: Floats | None = None,
        velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
        spin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.things.append(
            Thing(
                kind=kind,
                size=size,
                position=np.array(at),
                turn=np.eye(3) if turn is None else turn,
                velocity=np.array(velocity),
                spin=np.array(spin),
                rgb=self.colors[len(self.things)],
            )
        )


def _fall(d: _Draw) -> str:
    r = d(0.35, 0.5)
    d.add("ball", (r,), (d(-1.2, 1.2), d(-0.3, 0.8), d(1.8, 2.9)), velocity=(d(-0.3, 0.3), 0.0, 0.0))
    return "a ball falls and bounces"


def _roll(d: _Draw) -> str:
    r, speed = d(0.35, 0.5), d.side * d(0.7, 1.4)
    d.add("ball", (r,), (-d.side * d(1.3, 1.9), d(-0.2, 0.8), r), velocity=(speed, 0, 0), spin=(0, speed / r, 0))
    return f"a ball rolls to the {'right' if d.side > 0 else 'left'}"


def _throw(d: _Draw) -> str:
    r = d(0.33, 0.45)
    at = (-d.side * d(1.4, 1.8), d(-0.2, 0.7), d(0.8, 1.6))
    d.add("ball", (r,), at, velocity=(d.side * d(1.0, 1.7), 0.0, d(0.8, 2.4)))
    return f"a ball flies to the {'right' if d.side > 0 else 'left'} and bounces"


def _topple(d: _Draw) -> str:
    half = (d(0.22, 0.3), d(0.22, 0.3), d(0.55, 0.75))
    tilt = math.atan2(half[0], half[2]) * d(1.15, 1.5)
    turn = _about(1, d.side * tilt)
    z = half[2] * math.cos(tilt) + half[0] * math.sin(tilt)
    d.add("box", half, (d(-0.5, 0.5), d(-0.2, 0.6), z + 1e-3), turn=turn)
    return f"a box falls over to the {'right' if d.side > 0 else 'left'}"


def _slide(d: _Draw) -> str:
    half = (d(0.3, 0.4), d(0.3, 0.4), d(0.2, 0.3))
    at = (-d.side * d(1.4, 1.8), d(-0.2, 0.7), half[2] + 1e-3)
    d.add("box", half, at, turn=_about(2, d(-0.6, 0.6)), velocity=(d.side * d(2.6, 3.4), 0.0, 0.0))
    return f"a box slides to the {'right' if d.side > 0 else 'left'}"


def _barrel(d: _Draw) -> str:
    r, speed = d(0.3, 0.42), d.side * d(0.8, 1.4)
    at = (-d.side * d(1.3, 1.8), d(-0.2, 0.7), r + 1e-3)
    d.add(
        "cylinder", (r, d(0.35, 0.5)), at, turn=_about(0, math.pi / 2), velocity=(speed, 0, 0), spin=(0, speed / r, 0)
    )
    return f"a cylinder rolls to the {'right' if d.side > 0 else 'left'}"


_BUILD: dict[str, Callable[[_Draw], str]] = {
    **{"foreign-fall": _fall, "foreign-roll": _roll, "foreign-throw": _throw},
    **{"foreign-topple": _topple, "foreign-slide": _slide, "foreign-barrel": _barrel},
}
FOREIGN_FAMILIES = tuple(_BUILD)


def foreign_scene(seed: int, family: str) -> ForeignScene:
    """A scene from a seed. Raises ValueError for a family that is not of FOREIGN_FAMILIES."""
    if family not in _BUILD:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(FOREIGN_FAMILIES)}")
    d = _Draw(np.random.default_rng([seed, *family.encode()]))
    caption = _BUILD[family](d)
    eye = np.array([d(-1.2, 1.2), d(-7.0, -6.0), d(1.4, 2.8)])
    return ForeignScene(
        family=family,
        seed=seed,
        things=tuple(d.things),
        c2w=look_at(eye[None], np.array([[d(-0.15, 0.15), 0.3, d(0.9, 1.2)]]))[0],
        fov_deg=d(38.0, 44.0),
        wall_y=d(3.0, 5.5),
        light=np.array([d(-4, 4), d(-5, -2), d(6, 8)]),
        light_radius=d(0.3, 1.0),
        grain=int(d.rng.integers(2**31)),
        caption=caption,
    )


def foreign_motion(scene: ForeignScene, frames: int, fps: float, check: Callable[[], None] = lambda: None) -> Floats:
    """Poses [T, N, 4, 4] of the things by Drake; check may raise to cancel. Raises ValueError without Drake."""
    if find_spec("pydrake") is None:
        raise ValueError(f"the foreign world needs more than is installed; {EXTRA}")
    from pydrake.geometry import (
        AddCompliantHydroelasticProperties,
        AddContactMaterial,
        AddRigidHydroelasticProperties,
        Box,
        Cylinder,
        HalfSpace,
        ProximityProperties,
        Sphere,
    )
    from pydrake.math import RigidTransform, RotationMatrix
    from pydrake.multibody.math import SpatialVelocity
    from pydrake.multibody.plant import (
        AddMultibodyPlantSceneGraph,
        ContactModel,
        CoulombFriction,
        DiscreteContactApproximation,
    )
    from pydrake.multibody.tree import SpatialInertia
    from pydrake.systems.analysis import Simulator
    from pydrake.systems.framework import DiagramBuilder

    builder = DiagramBuilder()
    plant, _ = AddMultibodyPlantSceneGraph(builder, time_step=STEP_S)
    plant.set_contact_model(ContactModel.kHydroelasticWithFallback)
    plant.set_discrete_contact_approximation(DiscreteContactApproximation.kLagged)
    plant.mutable_gravity_field().set_gravity_vector([0.0, 0.0, -GRAVITY])

    def drakes(values: Floats | list[float]) -> np.ndarray[np.float64, np.dtype[np.float64]]:  # pyright: ignore
        """As Drake's stubs name arrays: by the type of a number where NumPy has that of a shape."""
        return np.asarray(values, np.float64)  # pyright: ignore

    def touch(dissipation: float, stiffness: float | None) -> ProximityProperties:
        made = ProximityProperties()
        AddContactMaterial(
            dissipation=dissipation,
            point_stiffness=stiffness,
            friction=CoulombFriction(FRICTION, FRICTION),
            properties=made,
        )
        return made

    ground = touch(0.0, 1e8)
    AddRigidHydroelasticProperties(properties=ground)
    plant.RegisterCollisionGeometry(plant.world_body(), RigidTransform(), HalfSpace(), "floor", ground)
    bodies = []
    for i, thing in enumerate(scene.things):
        if thing.kind == "ball":
            shape, inertia = Sphere(*thing.size), SpatialInertia.SolidSphereWithDensity(DENSITY, *thing.size)
            surface = touch(BALL_DISSIPATION, STIFFNESS)
        else:
            if thing.kind == "box":
                sides = [2 * h for h in thing.size]
                shape, inertia = Box(*sides), SpatialInertia.SolidBoxWithDensity(DENSITY, *sides)
            else:
                radius, length = thing.size[0], 2 * thing.size[1]
                shape, up = Cylinder(radius, length), drakes([0.0, 0.0, 1.0])
                inertia = SpatialInertia.SolidCylinderWithDensity(DENSITY, radius, length, up)
            surface = touch(1.0, None)
            AddCompliantHydroelasticProperties(resolution_hint=0.1, hydroelastic_modulus=2e6, properties=surface)
        body = plant.AddRigidBody(f"thing {i}", inertia)
        plant.RegisterCollisionGeometry(body, RigidTransform(), shape, f"shape {i}", surface)
        bodies.append(body)
    plant.Finalize()
    diagram = builder.Build()
    simulator = Simulator(diagram)
    context = plant.GetMyMutableContextFromRoot(simulator.get_mutable_context())
    for body, thing in zip(bodies, scene.things, strict=True):
        pose = RigidTransform(RotationMatrix(drakes(thing.turn)), drakes(thing.position))
        plant.SetFreeBodyPose(context, body, pose)
        plant.SetFreeBodySpatialVelocity(context, body, SpatialVelocity(drakes(thing.spin), drakes(thing.velocity)))
    poses = np.empty((frames, len(bodies), 4, 4))
    for t in range(frames):
        check()
        simulator.AdvanceTo(t / fps)
        for i, body in enumerate(bodies):
            poses[t, i] = plant.EvalBodyPoseInWorld(context, body).GetAsMatrix4()
    return poses
