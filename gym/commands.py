"""What an agent may do to a scene: a vector of forces and actuator targets with its bounds, and as actions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..world.actions import Actuate, Force
from ..world.meshes import body_mass
from ..world.mjcf import actuator_ranges
from ..world.scene import EARTH, SceneError, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..world.actions import Action, Actions
    from ..world.arrays import Floats
    from ..world.scene import Scene

WEIGHTS = 2.0  # of a body, by which it is pushed at most where nothing else is said: one of them lifts it


@dataclass(frozen=True, eq=False)
class Commands:
    """A vector [A] of float32: three forces in newtons along the world's axes for each body of `bodies`, at its centre
    of mass; then the target of each actuator, in its own unit. low, high [A]: its bounds; names [A] say it in words.
    """

    bodies: tuple[str, ...]
    actuators: tuple[str, ...]
    low: Floats
    high: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """What each number is."""
        return (*(f"{b}: force {axis}" for b in self.bodies for axis in "xyz"), *self.actuators)

    def checked(self, action: object) -> Floats:
        """The vector [A] of an action. Raises SceneError where its shape or a number is none of these commands."""
        try:
            values = np.asarray(action, float)
        except (TypeError, ValueError):
            raise SceneError(f"the action is {action!r:.100}; expected {len(self.low)} numbers") from None
        if values.shape != self.low.shape:
            raise SceneError(
                f"the action has shape {list(values.shape)}; expected [{len(self.low)}]: {', '.join(self.names)}"
            )
        inside = (values >= self.low) & (values <= self.high)  # written so that NaN fails
        if not inside.all():
            i = int(np.argmin(inside))
            raise SceneError(
                f"the action's number {i} ({self.names[i]}) is {values[i]:g}; "
                f"expected {self.low[i]:g} to {self.high[i]:g}"
            )
        return values

    def actions(self, values: Floats, begin: float, end: float) -> Actions:
        """The commands as actions on a scene from `begin` to `end` seconds; no force is none at all."""
        split = 3 * len(self.bodies)
        forces = values[:split].reshape(-1, 3)
        found: list[Action] = [
            Force(body=body, force=vector(force), start=begin, end=end)
            for body, force in zip(self.bodies, forces, strict=True)
            if force.any()
        ]
        found += [
            Actuate(actuator=name, targets=((begin, float(value)),))
            for name, value in zip(self.actuators, values[split:], strict=True)
        ]
        return tuple(found)


def commands_of(
    scene: Scene, forces: Sequence[str] | None, max_force: float | None, actuators: Sequence[str] | None
) -> Commands:
    """The commands that act on a scene. None: all named actuators of its mechanism; forces on all bodies that are not
    fixed, where there are no actuators; each up to twice the body's weight.

    Raises SceneError for names that are not there or come twice, bodies that are fixed, actuators without a range, a
    max_force that is no positive number, and where nothing is left to act on.
    """
    if max_force is not None and not (isinstance(max_force, (int, float)) and 0 < max_force < math.inf):
        raise SceneError(f"max_force is {max_force!r}; expected newtons above 0")
    ranges = {} if scene.mechanism is None else actuator_ranges(scene.mechanism)
    chosen = tuple(ranges) if actuators is None else _names("actuators", actuators)
    free = [b.name for b in scene.bodies if not b.fixed]
    pushed = tuple(free if not chosen else ()) if forces is None else _names("forces", forces)
    bounds: list[tuple[float, float]] = []
    for name in pushed:
        body = scene.body(name)
        if body.fixed:
            raise SceneError(f"forces names {name!r}, which is fixed; name bodies that move: {', '.join(free) or '-'}")
        gravity = float(np.linalg.norm(scene.gravity)) or -EARTH[2]
        most = WEIGHTS * body_mass(body) * gravity if max_force is None else float(max_force)
        bounds += [(-most, most)] * 3
    for name in chosen:
        if name not in ranges:
            there = ", ".join(map(repr, ranges)) or "none"
            raise SceneError(f"no actuator is named {name!r}; the mechanism has {there}")
        if (bound := ranges[name]) is None:
            raise SceneError(f"the actuator {name!r} has no ctrlrange; give it one in its MJCF file, or leave it out")
        bounds.append(bound)
    if not bounds:
        raise SceneError("there is nothing to act on: name a body in forces, or an actuator in actuators")
    low, high = np.array(bounds, np.float32).T
    return Commands(pushed, chosen, low.copy(), high.copy())


def _names(what: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise SceneError(f"{what} is {given!r:.100}; expected a list of names")
    if len(set(given)) < len(given):
        raise SceneError(f"{what} names {max(given, key=list(given).count)!r} twice")
    return tuple(given)
