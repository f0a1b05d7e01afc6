"""What a picture shows at rest stays as it shows it until something moves it.

Poses lifted from a picture are guesses: a stack that stands there may not stand here. So a body cut out of a picture
that touches another or the ground is held where it is, until an action acts on it, a body or a link hits it, or what
it stands on begins to move.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .actions import Gravity, SetMaterial, Wind
from .contacts import Hits
from .meshes import body_volume
from .scene import Projected

if TYPE_CHECKING:
    from .actions import Actions
    from .arrays import Floats, Ints
    from .dynamics import World

TOUCHING = 0.1  # of a body's size (cube root of its volume): what is nearer touches; a picture tells no more exactly
BLOW = 3.0  # weights of the body that hits: it presses with one while it only leans or rests on another
SHARE = 0.5  # weights of the body that is hit: what presses with less does not move it


class Sleepers:
    """The bodies of a world that are held, by name, at their qpos [7] of the start."""

    def __init__(self, world: World):
        owners = _touching(world)
        self.start: dict[str, Floats] = {}
        for i, b in enumerate(world.bodies):
            free = not (b.fixed or b.joint or any(b.velocity) or any(b.spin))
            if free and isinstance(b.appearance, Projected) and (owners == i).any():
                self.start[b.name] = np.array(world.data.qpos[_columns(world, i)[0]])

    def wake(self, world: World, names: set[str]) -> None:
        """Let go of these bodies, and of those that stand on them."""
        waking = names & self.start.keys()
        if not waking:
            return
        up = -np.asarray(world.model.opt.gravity)
        height = world.data.xpos[world.ids] @ up
        pairs = [(i, j) for i, j in _touching(world).tolist() if i >= 0 and j >= 0]
        on = {(low, high) for i, j in pairs for low, high in [sorted((i, j), key=height.__getitem__)]}
        while waking:
            for name in waking:
                del self.start[name]
            numbers = {world.number(name) for name in waking}
            waking = {world.bodies[high].name for low, high in on if low in numbers} & self.start.keys()

    def wake_for(self, world: World, actions: Actions, time: float) -> None:
        """Let go of what these actions act on: those that have begun."""
        for action in actions:
            if isinstance(action, SetMaterial):
                continue  # another material moves nothing
            if getattr(action, "time", getattr(action, "start", np.inf)) <= time:
                everywhere = isinstance(action, Gravity | Wind)
                self.wake(world, set(self.start) if everywhere else {getattr(action, "body", "")})

    def hold(self, world: World, hits: Hits, seconds: float) -> Hits:
        """Put held bodies back after a step, and let go of those that were hit; the hits but those of held bodies."""
        if not self.start:
            return hits
        held = np.array([b.name in self.start for b in world.bodies] + [False, False])  # -2: a link, -1: planes
        asleep = held[hits.owners]  # [N, 2]
        one = asleep.any(1) & ~asleep.all(1) & (hits.owners != -1).all(1)
        masses = np.array([world.mass(i) for i in range(len(world.bodies))] + [0.0, 0.0])
        weight = float(np.linalg.norm(world.model.opt.gravity)) * masses[hits.owners]  # [N, 2]
        hitting, hit = np.where(asleep, 0.0, weight).max(1), np.where(asleep, weight, 0.0).max(1)
        blow = one & (hits.impulse / seconds > np.maximum(BLOW * hitting, SHARE * hit))
        woken = {world.bodies[i].name for i in hits.owners[blow][asleep[blow]].tolist()}
        self.wake(world, woken)  # before the others are put back, so that what was hit keeps its new velocity
        for name, qpos in self.start.items():
            i = world.number(name)
            if i is not None:
                place, rate = _columns(world, i)
                world.data.qpos[place], world.data.qvel[rate] = qpos, 0.0
        kept = ~asleep.any(1) | blow
        return Hits(hits.owners[kept], hits.impulse[kept], hits.at[kept])


def _touching(world: World) -> Ints:
    """Owners [N, 2] of geoms that touch, or nearly do."""
    import mujoco

    model, data = world.model, world.data
    sizes = np.array([body_volume(b) ** (1 / 3) for b in world.bodies] + [0.0, 0.0])
    if not len(world.bodies):
        return np.zeros((0, 2), np.int64)
    gap = np.array(model.pair_gap)
    model.pair_gap[:] = TOUCHING * sizes.max()
    mujoco.mj_fwdPosition(model, data)
    owners = world.owner[data.contact.geom]
    near = np.asarray(data.contact.dist) < TOUCHING * sizes[owners].max(1, initial=0.0)
    model.pair_gap[:] = gap
    return owners[near]


def _columns(world: World, i: int) -> tuple[slice, slice]:
    """Where body i's free joint is in qpos and in qvel."""
    joint = world.model.body_jntadr[world.ids[i]]
    place, rate = int(world.model.jnt_qposadr[joint]), int(world.model.jnt_dofadr[joint])
    return slice(place, place + 7), slice(rate, rate + 6)
