"""One step of time with Coulomb friction and restitution at each contact, and what hit what."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .dynamics import LINK, World
from .scene import SceneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrays import Floats, Ints

# A step ends where the fastest approach touches, so that no impact begins with an overlap.
TOUCH_M = 1e-6  # overlap at which a shortened step ends: far below what is seen, far above rounding
UNHURRIED = 0.1  # m/s: what approaches more slowly overlaps by 0.2 mm in a step
SHORTEST = 0.05  # of a step; below this, what approaches is as good as there
SLOW = 4.0  # steps of free fall: approaches slower than what gravity gives in this many steps do not rebound
STICKING = 1e-4  # m/s of slip times friction, below which there is no lift to speak of
LIFT = 0.5  # m/s^2 to which the lift is solved: a twentieth of gravity
FASTEST = 1000.0  # m/s: three times the speed of sound is no rigid body's in a picture
LOOK_AHEAD = 1.5  # steps within which approaching surfaces are looked for
TANGENTS = np.arange(1, 6)  # of a contact's rows after its normal's: two that slide, one that spins, two that roll
PASSES = 4  # of the friction correction; after 4, a sliding box hops by less than 0.02 mm (bench/simulation.py)


@dataclass(frozen=True, eq=False)
class Hits:
    """Contacts of one step that carry impulse: owners [N, 2], normal impulse [N] in newton seconds, point [N, 3]."""

    owners: Ints
    impulse: Floats
    at: Floats


def advance(world: World, seconds: float, load: Callable[[float], None] | None = None) -> Hits:
    """Move the world on by `seconds` (about a step) or less, if something touches before; what hit what.

    load: called with the step's length when positions are known, to set the forces applied. MuJoCo's friction is
    convex: what slides is lifted by friction times slip. The lift is taken from the wanted normal acceleration, again
    until it no longer changes (de Saxce's bipotential, by a fixed point). Raises SceneError for what explodes.
    """
    import mujoco

    model, data = world.model, world.data
    model.opt.timestep = seconds
    if not world.bodies:  # a mechanism alone moves as MuJoCo itself moves it in implicit steps
        if load is not None:
            load(seconds)
        mujoco.mj_step(model, data)
        _check_state(world)
        return Hits(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros((0, 3)))
    model.pair_gap[:] = LOOK_AHEAD * seconds * _fastest(world)
    mujoco.mj_step1(model, data)
    contact = data.contact
    address = contact.efc_address
    solved = address >= 0
    (on,), (off,) = solved.nonzero(), (~solved & (contact.dist > TOUCH_M)).nonzero()
    if len(off):
        seconds = min(seconds, max(_first_touch(world, off), SHORTEST * seconds))
        model.opt.timestep = seconds
    geoms, rows = contact.geom[on], address[on]
    owners, approach = world.owner[geoms], data.efc_vel[rows]
    ours = (owners != LINK).all(1)
    slow = SLOW * math.hypot(*model.opt.gravity) * world.step_s
    rebound = ours & (approach < -slow)
    if rebound.any():
        e = world.restitution[geoms[rebound]].mean(1)
        data.efc_aref[rows[rebound]] = -(1.0 + e) * approach[rebound] / seconds
    if load is not None:
        load(seconds)
    mujoco.mj_fwdActuation(model, data)
    mujoco.mj_fwdAcceleration(model, data)
    mujoco.mj_fwdConstraint(model, data)
    if ours.any():
        _unlift(world, rows[ours], on[ours])
    hits = Hits(owners, data.efc_force[rows] * seconds, contact.pos[on])
    mujoco.mj_implicit(model, data)
    _check_state(world)
    return hits


def _fastest(world: World) -> float:
    """An upper bound in m/s of the speed at which two points of bodies near each other."""
    spin, way = np.sqrt(np.add.reduce((world.data.cvel**2).reshape(-1, 2, 3), 2)).T
    return 2.0 * float(np.max(way + world.reach * spin))


def _first_touch(world: World, off: Ints) -> float:
    """Seconds until the first of these contacts closes; slow approaches, and debris on debris, are not waited for."""
    data, contact = world.data, world.data.contact
    bodies = world.model.geom_bodyid[contact.geom[off]]  # [N, 2]
    spatial = data.cvel[bodies]
    arm = contact.pos[off, None] - data.subtree_com[world.model.body_rootid[bodies]]
    spin = spatial[..., :3]
    turned = spin[..., [1, 2, 0]] * arm[..., [2, 0, 1]] - spin[..., [2, 0, 1]] * arm[..., [1, 2, 0]]  # cross product
    point = spatial[..., 3:] + turned
    approach = ((point[:, 0] - point[:, 1]) * contact.frame[off, :3]).sum(1)
    dead = (world.restitution[contact.geom[off]] == 0.0).all(1) & (world.owner[contact.geom[off]] >= 0).all(1)
    fast = (approach > UNHURRIED) & ~dead
    if not fast.any():
        return np.inf
    return float(((contact.dist[off][fast] + TOUCH_M) / approach[fast]).min())


def _unlift(world: World, rows: Ints, contacts: Ints) -> None:
    """Solve again until what slides along a contact no longer leaves it."""
    import mujoco

    model, data = world.model, world.data
    there = TANGENTS < data.contact.dim[contacts, None]
    tangent = rows[:, None] + TANGENTS * there
    friction = data.contact.friction[contacts] * there  # [N, 5]
    if (friction * np.abs(data.efc_vel[tangent])).max() < STICKING:
        return
    wanted = data.efc_aref[rows]
    product, before = np.zeros(data.nefc), np.zeros(len(rows))
    for _ in range(PASSES - 1):
        mujoco.mj_mulJacVec(model, data, product, data.qacc)
        slip = np.sqrt(((friction * (product[tangent] - data.efc_aref[tangent])) ** 2).sum(1))
        if np.abs(slip - before).max() < LIFT:
            return
        before = slip
        data.efc_aref[rows] = wanted - slip
        data.qacc_warmstart[:] = data.qacc
        mujoco.mj_fwdConstraint(model, data)


def _check_state(world: World) -> None:
    """Raises SceneError when a simulation explodes: a state that is not finite, or a speed beyond reason."""
    import mujoco

    data, model = world.data, world.model
    speeds, warnings = np.abs(data.qvel), data.warning.number
    if warnings.any():
        warned = np.flatnonzero(warnings)
        text = mujoco.mju_warningText(int(warned[0]), int(data.warning[warned[0]].lastinfo))
        raise SceneError(f"the simulation fails at {data.time:.3f} s. MuJoCo: {text}")
    if speeds.max(initial=0.0) < FASTEST and np.isfinite(data.qpos).all():  # a speed that is none is not less
        return
    bad = int(np.argmax(np.where(np.isfinite(speeds), speeds, np.inf)))
    name = model.body(int(model.dof_bodyid[bad])).name.partition("/")[2]
    raise SceneError(
        f"the simulation explodes at {data.time:.3f} s: {name!r} moves at {speeds[bad]:.3g} m/s or rad/s; "
        f"expected less than {FASTEST:.0f}. Look for strong arrows, deep overlaps, huge impulses or stiff actuators"
    )
