"""Once something has broken, bodies that have come to rest are held there until something that moves comes near.

A held body is as heavy as the ground and stays where it is, and contacts among what is held or fixed are not looked
for: of sixty shards at rest they took nine tenths of a step's time. Where all is held, time leaps.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .meshes import body_volume

if TYPE_CHECKING:
    from collections.abc import Set

    from .arrays import Bools, Floats
    from .dynamics import World

DRIFT = 0.01  # of a body's size: nearer than this to where it was is the same place, so that jitter is no motion
REST_S = 0.1  # seconds in one place after which a body is held; falling freely, it would leave it within a tenth
MOVE_S = 0.03  # seconds since it left its place in which a body counts as moving: down to 8 mm/s for a shard of 2 cm
HEAVY = 1e4  # times its mass: what meets a held body moves as if it met the ground, within this share
LOOK_AHEAD = 2.0  # steps: a held body is let go when what moves can reach it in them
NEVER = -1e3  # metres of margin at which two geoms never meet


class Debris:
    """The bodies of a world that may be held, and where they are. names: of those that may not."""

    def __init__(self, world: World, shattered: bool, names: Set[str]):
        self.world, model = world, world.model
        free = [shattered and not (b.fixed or b.joint or b.name in names) for b in world.bodies]
        self.numbers = np.flatnonzero(free)
        self.others = not all(b.fixed or f for b, f in zip(world.bodies, free, strict=True)) or bool(
            model.nu or world.links
        )
        self._ids = world.ids[self.numbers]
        joints = model.body_jntadr[self._ids]
        self._place = model.jnt_qposadr[joints, None] + np.arange(7)  # of free joints
        self._rate = model.jnt_dofadr[joints, None] + np.arange(6)
        self._masses = [np.array(m[self._ids]) for m in self._inertial()]
        self._place_was: Floats = np.array(world.data.qpos[self._place])
        self._rest_s, self._still_s = np.zeros((2, len(self.numbers)))  # since it was disturbed; since it moved
        self._held: Bools = np.zeros(len(self.numbers), bool)
        self._grabbed: Bools = np.zeros(len(self.numbers), bool)
        self._drift = DRIFT * np.array([body_volume(world.bodies[i]) ** (1 / 3) for i in self.numbers])
        self._pairs = world.owner[np.stack((model.pair_geom1, model.pair_geom2), 1)]
        self._still: Bools = np.array([*(b.fixed for b in world.bodies), False, True])  # -2: a link, -1: planes
        reach = np.zeros(model.nbody)
        np.maximum.at(reach, model.geom_bodyid, model.geom_rbound + np.linalg.norm(model.geom_pos, axis=1))
        self._reaches = reach[world.ids]
        self._reach = self._reaches[self.numbers]

    def carry(self) -> None:
        """Keep what is held from falling in the step whose forces have been set."""
        held = self._rate[self._held]
        self.world.data.qfrc_applied[held] = self.world.data.qfrc_bias[held]

    def grab(self, names: Set[str]) -> None:
        """These, and no others, are in a hand: they are not held by what holds debris."""
        self._grabbed = np.array([self.world.bodies[i].name in names for i in self.numbers], bool)

    def wake(self) -> None:
        """Let go of all of them: something begins or ends that may move them."""
        self._rest_s[:] = 0.0
        self._hold(self._rest_s > 0)

    def hold(self, seconds: float) -> None:
        """After a step: put held bodies back, hold those that rest, let go of those that something comes near to."""
        data = self.world.data
        if not len(self.numbers):
            return
        kept = self._held
        data.qpos[self._place[kept]], data.qvel[self._rate[kept]] = self._place_was[kept], 0.0
        left = self._way() > self._drift
        self._place_was[left] = data.qpos[self._place[left]]
        self._still_s = np.where(left, 0.0, self._still_s + seconds)
        self._rest_s = np.where(left | self._grabbed, 0.0, self._rest_s + seconds)
        if (self._rest_s >= REST_S).any():
            speed = self._speeds()
            owners = self.world.owner[data.contact.geom]  # [N, 2], of what touches or may soon
            near = np.asarray(data.contact.dist) < LOOK_AHEAD * seconds * speed[owners].max(1, initial=0.0)
            disturbed = np.zeros(len(speed), bool)
            disturbed[owners[near[:, None] & (speed[owners[:, ::-1]] > 0)]] = True
            self._rest_s[disturbed[self.numbers]] = 0.0
        held = self._rest_s >= REST_S
        if (held != self._held).any():
            self._hold(held)

    @property
    def all_rest(self) -> bool:
        """Whether everything that could move is held: then nothing moves until an action begins or ends."""
        return not self.others and len(self._held) > 0 and bool(self._held.all())

    def _way(self) -> Floats:
        """Metres that points of the bodies have moved at most from where they were last seen in another place."""
        now = self.world.data.qpos[self._place]
        turn = 1 - (now[:, 3:] * self._place_was[:, 3:]).sum(1).clip(-1, 1) ** 2
        return np.sqrt(((now - self._place_was)[:, :3] ** 2).sum(1)) + 2 * self._reach * np.sqrt(turn)

    def _speeds(self) -> Floats:
        """Upper bounds [B + 2] in m/s of the speeds of points of what moves; 0 of what is still, inf of links."""
        spatial = np.asarray(self.world.data.cvel)[self.world.ids]
        speed = np.linalg.norm(spatial[:, 3:], axis=1) + np.linalg.norm(spatial[:, :3], axis=1) * self._reaches
        speed[self.numbers[self._still_s > MOVE_S]] = 0.0
        return np.append(speed, (np.inf, 0.0))

    def _hold(self, held: Bools) -> None:
        """Hold exactly these."""
        model, data = self.world.model, self.world.data
        new = held & ~self._held
        self._place_was[new], data.qvel[self._rate[new]] = data.qpos[self._place[new]], 0.0
        self._held = held
        for masses, own in zip(self._inertial(), self._masses, strict=True):
            masses[self._ids] = own * np.where(held, HEAVY, 1.0).reshape(-1, *[1] * (own.ndim - 1))
        still = self._still.copy()
        still[self.numbers] = held
        model.pair_margin[:] = np.where(still[self._pairs].all(1), NEVER, 0.0)

    def _inertial(self) -> tuple[Floats, Floats, Floats]:
        model = self.world.model
        return model.body_mass, model.body_subtreemass, model.body_inertia
