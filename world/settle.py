"""Bodies that a scene places by eye come to rest on what carries them, before time begins and without being seen."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .contacts import advance
from .meshes import body_volume, pose_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrays import Bools, Floats, Ints
    from .dynamics import World

APART_STEPS = 100  # at 5% of an overlap a step, 0.6% of it is left
TRIAL = 1.5  # square roots of size / gravity: what is 2 degrees beyond its critical angle has turned by 2 more by then
TRIAL_STEPS = 1500  # at most
MOVED = 0.02  # of a body's size (cube root of its volume): what moves by less stands where the scene has put it
TURNED = math.radians(2.0)
FAR_APART = 0.1  # of a body's size: an overlap worth a remark


def settle(world: World, moved: set[str], check: Callable[[], None] | None) -> tuple[Floats, list[str]]:
    """Move overlapping bodies apart and let those that rest come to rest, at time 0.

    moved: names of bodies that are set in motion at time 0. Returns the transforms [B, 4, 4] from what is drawn to
    what is simulated, in body axes: drawn bodies begin exactly where the scene has them; and remarks.
    """
    data, model = world.data, world.model
    given = [pose_matrix(b.position, b.rotation) for b in world.bodies]
    sizes = np.array([body_volume(b) ** (1 / 3) for b in world.bodies])
    place, rate = _columns(world)
    mechanism, act = np.where(rate < 0, data.qvel, 0.0), data.act.copy()
    gravity = model.opt.gravity.copy()
    model.opt.gravity[:] = 0.0
    start = data.qpos.copy()
    for _ in range(APART_STEPS):
        if check is not None:
            check()
        data.qvel[:] = 0.0
        advance(world, world.step_s)
        _hold(world, place, rate, np.array([], bool), start)
        if not (np.asarray(data.contact.dist) < -1e-5).any():
            break
    model.opt.gravity[:] = gravity
    data.qvel[:] = 0.0
    start = data.qpos.copy()
    begin = _centers_and_turns(world)
    moving = np.array([b.name in moved or any(b.velocity) or any(b.spin) for b in world.bodies], bool)
    g = float(np.linalg.norm(gravity))
    steps = 0 if not g else min(TRIAL_STEPS, math.ceil(TRIAL * math.sqrt(sizes.max(initial=0.0) / g) / world.step_s))
    for _ in range(steps):
        if check is not None:
            check()
        advance(world, world.step_s)
        way, turn = _difference(begin, _centers_and_turns(world))
        moving |= (way > MOVED * sizes) | (turn > TURNED)
        _hold(world, place, rate, moving, start)
    data.qvel[:], data.act[:], data.time = mechanism, act, 0.0
    world.refresh()
    offsets = np.array([np.linalg.inv(world.pose(i)) @ p for i, p in enumerate(given)]).reshape(-1, 4, 4)
    remarks = [
        f"{b.name!r} overlaps a body or the ground: it was moved by {np.linalg.norm(o[:3, 3]):.3g} m before time began"
        for b, o, size in zip(world.bodies, offsets, sizes, strict=True)
        if np.linalg.norm(o[:3, 3]) > FAR_APART * size
    ]
    return offsets, remarks


def _columns(world: World) -> tuple[Ints, Ints]:
    """The body of each entry of qpos and of qvel; -1: a mechanism's."""
    model = world.model
    body = {int(b): i for i, b in enumerate(world.ids)}
    widths = {0: 7, 1: 4, 2: 1, 3: 1}
    place = [
        body.get(int(b), -1)
        for b, t in zip(model.jnt_bodyid, model.jnt_type, strict=True)
        for _ in range(widths[int(t)])
    ]
    return np.array(place, np.int64), np.array([body.get(int(b), -1) for b in model.dof_bodyid], np.int64)


def _hold(world: World, place: Ints, rate: Ints, moving: Bools, start: Floats) -> None:
    """Put the moving bodies, and the mechanism, back to where they start."""
    still = np.append(moving if len(moving) else np.zeros(len(world.bodies), bool), True)  # -1 is the mechanism
    world.data.qpos[still[place]] = start[still[place]]
    world.data.qvel[still[rate]] = 0.0


def _centers_and_turns(world: World) -> tuple[Floats, Floats]:
    return np.array(world.data.xpos[world.ids]), np.array(world.data.xquat[world.ids])


def _difference(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Metres [B] and radians [B] between two placements."""
    cos = np.abs((a[1] * b[1]).sum(1)).clip(0, 1)
    return np.linalg.norm(a[0] - b[0], axis=1), 2 * np.arccos(cos)
