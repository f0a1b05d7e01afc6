"""Actions at work on a running simulation: checked first, then turned into forces, velocities and controls by time."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import difflib
import math
from bisect import bisect_right
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from .actions import (
    Action,
    Actions,
    Actuate,
    Break,
    Drag,
    Force,
    Grab,
    Gravity,
    Push,
    Release,
    SetMaterial,
    Spin,
    Throw,
    Wind,
)
from .dynamics import PREFIX, World
from .meshes import pose_matrix, transformed
from .scene import SceneError

if TYPE_CHECKING:
    from .arrays import Floats
    from .scene import Scene

AIR_DENSITY = 1.2  # kg/m^3, at sea level and 20 degrees
DRAG_COEFFICIENT = 1.0  # of blunt bodies: a sphere has 0.5, a cube 1.05, a plate 1.2
SIDES: dict[str, tuple[int, ...]] = {  # of what an action is given, where it is no single number; -1: any but 0
    **dict.fromkeys(("impulse", "at", "force", "velocity", "spin", "gravity"), (3,)),
    **{"path": (-1, 3), "targets": (-1, 2), "hand": (-1, 4)},
}
GRIP = 400.0  # 1/s^2, of the spring of a Grab: critically damped, the body follows the hand within 0.1 s
HOLD_S = 0.12  # a dragged body's path ends this long before its drag, so that it arrives before it is let go


def checked(scene: Scene, actions: Actions) -> None:
    """Raises SceneError where an action names what is not there, has impossible numbers, or acts on what is fixed."""
    for action in actions:
        kind = type(action).__name__
        for f in fields(action):
            value = getattr(action, f.name)
            if f.name in ("body", "actuator", "material") or value is None:
                continue
            sides = SIDES.get(f.name, ())
            numbers = _finite(value, sides)
            if numbers is None:
                each = "3 finite numbers" if len(sides) == 1 else f"rows of {sides[-1]} finite numbers" if sides else ""
                each = each or "a finite number"
                raise SceneError(f"{kind}.{f.name} is {value!r:.100}; expected {each}")
            if f.name in ("time", "start", "end") and numbers < 0:
                raise SceneError(f"{kind}.{f.name} is {value} s; expected 0 or later")
        if isinstance(action, Force | Drag | Grab | Wind) and action.end <= action.start:
            raise SceneError(f"{kind} ends at {action.end} s, not after its start at {action.start} s")
        if isinstance(action, Actuate):
            times = [t for t, _ in action.targets]
            if times != sorted(times) or times[0] < 0:
                raise SceneError(f"the targets of actuator {action.actuator!r} are at {times} s; expected rising times")
        if isinstance(action, Grab) and (times := [each[0] for each in action.hand]) != sorted(times):
            raise SceneError(f"the hand that grabs {action.body!r} is at {times} s; expected rising times")
        if not isinstance(action, Wind | Gravity | Actuate):
            _check_body(scene, actions, action)


def _finite(value: object, sides: tuple[int, ...]) -> Floats | None:
    """The numbers of a value of these sides (-1: any but 0); None where it has others, or some are not finite."""
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        return None
    fits = len(sides) == numbers.ndim and all(
        n == side or side < 0 < n for n, side in zip(numbers.shape, sides, strict=True)
    )
    return numbers if fits and np.isfinite(numbers).all() else None


def idle(scene: Scene, actions: Actions, broken: dict[str, float], end: float) -> list[str]:
    """Remarks on actions that did nothing. broken: when bodies broke, end: when the last frame is, in seconds."""
    free = {body.name for body in scene.bodies if not body.fixed}
    remarks: list[str] = []
    for action in sorted(actions, key=begin):
        time, name = begin(action), "" if isinstance(action, Wind | Gravity | Actuate) else action.body
        what = f"{type(action).__name__} at {time:g} s"
        if time >= end:
            remarks.append(f"{what} comes after the last frame, at {end:.3g} s")
        elif time > broken.get(name, end):
            remarks.append(f"{what} does nothing: {name!r} breaks at {broken[name]:.3g} s")
        elif isinstance(action, Release):
            remarks += [f"{what} does nothing: {name!r} is free by then"] if name in free else []
            free.add(name)
    return remarks


def _check_body(
    scene: Scene, actions: Actions, action: Push | Force | Throw | Spin | Drag | Grab | Break | Release | SetMaterial
) -> None:
    if isinstance(action, Push | Grab) and is_shard(scene, action.body):
        return
    if isinstance(action, Grab) and scene.mechanism is not None and action.body not in {b.name for b in scene.bodies}:
        return  # a link, by a name that is known once the mechanism is compiled: see check_grabbed
    body = scene.body(action.body)
    if not body.fixed or isinstance(action, Break | Release | SetMaterial):
        return
    start = action.start if isinstance(action, Force | Drag | Grab) else action.time
    if not any(isinstance(a, Release | Break) and a.body == body.name and a.time <= start for a in actions):
        kind = type(action).__name__
        raise SceneError(f"{kind} at {start} s acts on {body.name!r}, which is fixed; add a Release of it before")


def actuator_number(world: World, name: str) -> int:
    """The mechanism's actuator of that name. Raises SceneError that names the nearest one there is."""
    names = world.actuators
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, 1, 0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(map(repr, names)) or "none"
    raise SceneError(f"no actuator is named {name!r}; the mechanism has {there}{hint}")


def is_shard(scene: Scene, name: str) -> bool:
    """Whether a name is that of a shard into which a body of the scene may break: "cup/2", "cup/2/5"."""
    whole, _, number = name.rpartition("/")
    return number.isdecimal() and (any(b.name == whole for b in scene.bodies) or is_shard(scene, whole))


def link_id(world: World, name: str) -> int | None:
    """MuJoCo's number of the mechanism's link of that name; None: there is none."""
    names = {world.model.body(link).name.removeprefix(PREFIX): link for link in world.links if link}
    return names.get(name)


def check_grabbed(world: World, scene: Scene, grab: Grab) -> None:
    """Raises SceneError where a Grab names neither a body, nor a shard of one, nor a link."""
    if world.number(grab.body) is None and link_id(world, grab.body) is None and not is_shard(scene, grab.body):
        scene.body(grab.body)


def grabbed(actions: Actions, now: float) -> frozenset[str]:
    """Names of what hands hold at a time."""
    return frozenset(a.body for a in actions if isinstance(a, Grab) and a.start <= now < a.end)


def begin(action: Action) -> float:
    """The time in seconds at which an action begins to act."""
    if isinstance(action, Actuate):
        return action.targets[0][0]
    return action.start if isinstance(action, Force | Drag | Grab | Wind) else action.time


def edges(actions: Actions) -> list[float]:
    """Times at which something begins or ends: steps of time end there, so that it happens exactly then."""
    return [getattr(a, n) for a in actions for n in ("time", "start", "end") if hasattr(a, n)]


def set_velocities(world: World, actions: list[Throw | Spin]) -> None:
    """Give the thrown or spun bodies their velocity, as far as their joints let them."""
    import mujoco

    model, data = world.model, world.data
    if actions:
        world.refresh()
    for action in actions:
        if (i := world.number(action.body)) is None:
            continue
        jacobian = np.zeros((2, 3, model.nv))
        mujoco.mj_jacBody(model, data, jacobian[0], jacobian[1], int(world.ids[i]))
        dofs = np.flatnonzero(model.dof_bodyid == world.ids[i])
        spun = isinstance(action, Spin)
        j = jacobian[int(spun)][:, dofs]
        wanted = np.asarray(action.spin if spun else action.velocity, float)
        # The least change of the joint's velocities that gives the wanted one.
        data.qvel[dofs] += np.linalg.pinv(j) @ (wanted - j @ data.qvel[dofs])


def apply_forces(world: World, scene: Scene, actions: Actions, fresh: Actions, seconds: float) -> None:
    """Set the forces of a step of `seconds` from now: pushes in `fresh` (whole impulse), forces, hands, wind."""
    world.data.qfrc_applied[:] = 0.0
    now = world.data.time
    for push in fresh:
        if isinstance(push, Push) and (i := world.number(push.body)) is not None:
            at = world.data.xipos[world.ids[i]] if push.at is None else np.asarray(push.at, float)
            _apply(world, i, np.asarray(push.impulse, float) / seconds, at)
    for action in actions:
        if isinstance(action, Force) and action.start <= now < action.end:
            if (i := world.number(action.body)) is not None:
                _apply(world, i, np.asarray(action.force, float), _held_point(world, scene, i, action))
        elif isinstance(action, Grab) and action.start <= now < action.end:
            _pull(world, action, now)
        elif isinstance(action, Wind) and action.start <= now < action.end:
            for i, body in enumerate(world.bodies):
                if not body.fixed:
                    force = _wind_force(world, i, np.asarray(action.velocity, float))
                    _apply(world, i, force, world.data.xipos[world.ids[i]])


def steer(world: World, actions: Actions) -> None:
    """Set controls of actuators and the places to which bodies are dragged, for now."""
    model, data = world.model, world.data
    now = data.time
    for action in actions:
        if isinstance(action, Actuate):
            times, values = np.array(action.targets, float).T
            data.ctrl[actuator_number(world, action.actuator)] = np.interp(now, times, values)
    drags = [a for a in actions if isinstance(a, Drag)]
    for drag, (mocap, weld) in zip(drags, world.drags, strict=True):
        if weld is None or (i := world.number(drag.body)) is None:
            continue
        if not drag.start <= now < drag.end:
            data.eq_active[weld] = 0
            continue
        m = model.body_mocapid[mocap]
        if not data.eq_active[weld]:
            world.refresh()
            data.eq_active[weld] = 1
            data.mocap_pos[m], data.mocap_quat[m] = data.xpos[world.ids[i]], data.xquat[world.ids[i]]
            model.body_pos[mocap] = data.mocap_pos[m]  # where it was taken: the path begins there
        data.mocap_pos[m] = _on_path(drag, np.array(model.body_pos[mocap]), now)


def _on_path(drag: Drag, taken: Floats, now: float) -> Floats:
    """Where on the way from where it was taken along the path it is now, at even speed."""
    path = np.asarray(drag.path, float)
    points = np.vstack((taken, path + taken if drag.relative else path))
    way = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    moving = max(drag.end - drag.start - HOLD_S, 0.5 * (drag.end - drag.start))
    done = min((now - drag.start) / moving, 1.0) * way[-1]
    return np.array([np.interp(done, way, p) for p in points.T])


def _apply(world: World, i: int, force: Floats, at: Floats) -> None:
    _apply_to(world, int(world.ids[i]), force, at)


def _apply_to(world: World, body: int, force: Floats, at: Floats) -> None:
    """A force [3] at a world point on MuJoCo's body of that number."""
    import mujoco

    mujoco.mj_applyFT(world.model, world.data, force, np.zeros(3), at, body, np.asarray(world.data.qfrc_applied))


def _pull(world: World, grab: Grab, now: float) -> None:
    """The spring between a point of what is grabbed and the hand, as strong as the mass that the point feels, so that
    all follow alike: 3 / tr(J M^-1 J^T), as MuJoCo's viewer has it.
    """
    import mujoco

    model, data = world.model, world.data
    if (i := world.number(grab.body)) is not None:
        body, pose, weight = int(world.ids[i]), world.pose(i), world.mass(i) * np.asarray(model.opt.gravity)
    elif (link := link_id(world, grab.body)) is not None:  # its actuators carry it
        body, pose, weight = link, pose_matrix(data.xpos[link], data.xquat[link]), np.zeros(3)
    else:
        return
    at = pose[:3, :3] @ np.asarray(grab.at, float) + pose[:3, 3]
    jacobian, solved = np.zeros((2, 3, model.nv))
    mujoco.mj_jac(model, data, jacobian, None, at, body)
    mujoco.mj_solveM(model, data, solved, jacobian)
    mobility = float((jacobian * solved).sum())
    if mobility <= 0:
        return  # it cannot move
    wanted = GRIP * (_hand_at(grab, now) - at) - 2 * math.sqrt(GRIP) * (jacobian @ data.qvel)
    _apply_to(world, body, 3 / mobility * wanted - weight, at)


def _hand_at(grab: Grab, now: float) -> Floats:
    """Where the hand is now [3]."""
    after = bisect_right(grab.hand, (now, math.inf, math.inf, math.inf))
    last = np.asarray(grab.hand[max(after - 1, 0)], float)
    if after in (0, len(grab.hand)):
        return last[1:]
    next_ = np.asarray(grab.hand[after], float)
    return last[1:] + (now - last[0]) / (next_[0] - last[0]) * (next_[1:] - last[1:])


def _held_point(world: World, scene: Scene, i: int, action: Force) -> Floats:
    """The point of the body at which a force acts: it moves with the body."""
    if action.at is None:
        return np.asarray(world.data.xipos[world.ids[i]])
    body = scene.body(action.body)
    start = pose_matrix(body.position, body.rotation)
    local = start[:3, :3].T @ (np.asarray(action.at, float) - start[:3, 3])
    return transformed(local[None], world.pose(i))[0]


def _wind_force(world: World, i: int, wind: Floats) -> Floats:
    """Air drag: half density times drag coefficient times cross-section times relative speed squared."""
    velocity, _ = world.velocity(i)
    relative = wind - velocity
    local = world.pose(i)[:3, :3].T @ relative
    section = np.maximum(world.sides[i] @ local, 0.0).sum()  # area times speed
    return 0.5 * AIR_DENSITY * DRAG_COEFFICIENT * section * relative
