"""Actions at work on a running simulation: checked first, then turned into forces, velocities and controls by time."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from .actions import Action, Actions, Actuate, Break, Drag, Force, Gravity, Push, Release, Spin, Throw, Wind
from .dynamics import World
from .meshes import pose_matrix, transformed
from .scene import SceneError

if TYPE_CHECKING:
    from .arrays import Floats
    from .scene import Scene

AIR_DENSITY = 1.2  # kg/m^3, at sea level and 20 degrees
DRAG_COEFFICIENT = 1.0  # of blunt bodies: a sphere has 0.5, a cube 1.05, a plate 1.2
SIDES: dict[str, tuple[int, ...]] = {  # of what an action is given, where it is no single number; -1: any but 0
    **dict.fromkeys(("impulse", "at", "force", "velocity", "spin", "gravity"), (3,)),
    **{"path": (-1, 3), "targets": (-1, 2)},
}
HOLD_S = 0.12  # a dragged body's path ends this long before its drag, so that it arrives before it is let go


def checked(scene: Scene, actions: Actions) -> None:
    """Raises SceneError where an action names what is not there, has impossible numbers, or acts on what is fixed."""
    for action in actions:
        kind = type(action).__name__
        for f in fields(action):
            value = getattr(action, f.name)
            if f.name in ("body", "actuator") or value is None:
                continue
            sides = SIDES.get(f.name, ())
            numbers = _finite(value, sides)
            if numbers is None:
                each = "3 finite numbers" if len(sides) == 1 else f"rows of {sides[-1]} finite numbers" if sides else ""
                each = each or "a finite number"
                raise SceneError(f"{kind}.{f.name} is {value!r:.100}; expected {each}")
            if f.name in ("time", "start", "end") and numbers < 0:
                raise SceneError(f"{kind}.{f.name} is {value} s; expected 0 or later")
        if isinstance(action, Force | Drag | Wind) and action.end <= action.start:
            raise SceneError(f"{kind} ends at {action.end} s, not after its start at {action.start} s")
        if isinstance(action, Actuate):
            times = [t for t, _ in action.targets]
            if times != sorted(times) or times[0] < 0:
                raise SceneError(f"the targets of actuator {action.actuator!r} are at {times} s; expected rising times")
        elif not isinstance(action, Wind | Gravity):
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


def _check_body(scene: Scene, actions: Actions, action: Push | Force | Throw | Spin | Drag | Break | Release) -> None:
    body = scene.body(action.body)
    if not body.fixed or isinstance(action, Break | Release):
        return
    start = action.start if isinstance(action, Force | Drag) else action.time
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


def begin(action: Action) -> float:
    """The time in seconds at which an action begins to act."""
    if isinstance(action, Actuate):
        return action.targets[0][0]
    return action.start if isinstance(action, Force | Drag | Wind) else action.time


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
    """Set the forces of a step of `seconds` from now: pushes in `fresh` (whole impulse), forces, wind."""
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
    import mujoco

    mujoco.mj_applyFT(
        world.model, world.data, force, np.zeros(3), at, int(world.ids[i]), np.asarray(world.data.qfrc_applied)
    )


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
