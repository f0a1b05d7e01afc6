"""The state of a running simulation as one vector: where bodies and joints are, and how fast they move."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .dynamics import PREFIX
from .scene import SceneError

if TYPE_CHECKING:
    from .arrays import Bools, Floats
    from .dynamics import World
    from .motion import Moment
    from .running import Running
    from .scene import Scene

FIELDS = (
    *("position x", "position y", "position z", "rotation w", "rotation x", "rotation y", "rotation z"),
    *("velocity x", "velocity y", "velocity z", "spin x", "spin y", "spin z"),
)
POSITIONS, RATES = np.array([7, 4, 1, 1]), np.array([6, 3, 1, 1])  # numbers of a free, ball, slide and hinge joint


@dataclass(frozen=True, eq=False)
class BodyState:
    """A body now: position [3] of its axes in metres, rotation [4] (w, x, y, z), velocity [3] of its centre of mass in
    m/s, spin [3] in rad/s about world axes. present: False once it has broken; then all are 0.
    """

    position: Floats
    rotation: Floats
    velocity: Floats
    spin: Floats
    present: bool


@dataclass(frozen=True)
class StateLayout:
    """Where what is in a state vector [S] of float64.

    First the 13 numbers of each body that is not fixed, as BodyState has them; then the positions of the mechanism's
    joints and then their velocities, in MuJoCo's order and units. names [S] say it in words.
    """

    bodies: tuple[tuple[str, int], ...]  # the name of each, and its number in the scene
    names: tuple[str, ...]

    def body(self, state: Floats, name: str) -> BodyState:
        """A body in a state vector. Raises SceneError that lists the bodies there are."""
        among = [b for b, _ in self.bodies]
        if name not in among:
            there = ", ".join(map(repr, among)) or "none"
            raise SceneError(f"no body that moves is named {name!r}; the state has {there}")
        own = state[len(FIELDS) * among.index(name) :]
        return BodyState(own[:3], own[3:7], own[7:10], own[10:13], bool(own[3:7].any()))


def layout_of(scene: Scene, world: World) -> StateLayout:
    """The layout of a scene's state; world: as it is compiled at the start."""
    bodies = tuple((b.name, i) for i, b in enumerate(scene.bodies) if not b.fixed)
    names = [f"{name}: {field}" for name, _ in bodies for field in FIELDS]
    model = world.model
    joints = np.flatnonzero(_of_mechanism(world))
    for what, counts in (("position", POSITIONS), ("velocity", RATES)):
        for j in joints.tolist():
            count, name = int(counts[model.jnt_type[j]]), model.joint(j).name.removeprefix(PREFIX) or f"number {j}"
            names += [f"joint {name}: {what}{f' {k}' if count > 1 else ''}" for k in range(count)]
    return StateLayout(bodies, tuple(names))


def state_of(running: Running, layout: StateLayout, moment: Moment) -> Floats:
    """The state [S] of a simulation at the moment it has just given."""
    import mujoco

    world = running.world
    out = np.zeros(len(layout.names))
    for k, (name, i) in enumerate(layout.bodies):
        number = world.number(name)
        if number is None:
            continue
        own, pose = out[len(FIELDS) * k :], moment.poses[i]
        own[:3] = pose[:3, 3]
        mujoco.mju_mat2Quat(own[3:7], np.ascontiguousarray(pose[:3, :3]).ravel())
        own[7:10], own[10:13] = world.velocity(number)
    if running.scene.mechanism is not None:
        theirs, kinds = _of_mechanism(world), world.model.jnt_type
        place = world.data.qpos[np.repeat(theirs, POSITIONS[kinds])]
        rate = world.data.qvel[np.repeat(theirs, RATES[kinds])]
        out[len(FIELDS) * len(layout.bodies) :] = np.concatenate((place, rate))
    return out


def _of_mechanism(world: World) -> Bools:
    """Which joints are a mechanism's and not a body's."""
    return ~np.isin(world.model.jnt_bodyid, world.ids)
