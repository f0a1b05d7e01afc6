"""A running simulation: the world as it is now, what of it is held or broken, and what happened so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from . import acting
from .actions import Break, Drag, Force, Grab, Gravity, Push, Release, SetMaterial, Spin, Throw
from .arrays import Floats
from .asleep import Sleepers
from .contacts import advance
from .debris import Debris
from .dynamics import carry_over, compile_world
from .fracture import Blow, Moving, shatter
from .links import link_parts, link_pose, undrawn
from .meshes import pose_matrix, surface_of, transformed
from .motion import Event, Moment, Part
from .scene import SceneError
from .settle import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from .actions import Actions
    from .contacts import Hits
    from .dynamics import World
    from .scene import Body, Material, Scene

IMPACT_SPEED = 0.1  # m/s that an impact takes from the lighter body, from which it is an event
EPISODE_S = 0.05  # impacts of the same two bodies within this time are one event
SAME_TIME_S = 1e-9  # times less apart than this are one: of an action, written in decimals, and of a frame


@dataclass(frozen=True, eq=False)
class Track:
    """A part, and how it is found in the world. offset: from what is drawn to what is simulated."""

    part: Part
    offset: Floats
    link: int | None = None  # of a link, its place among the links: MuJoCo's numbers change where a body breaks


class Running:
    """A scene that is being simulated, at `world.time` seconds; at first it has come to rest, at 0 s.

    actions: those that are known from the start; `advance` may be given more. pushed: bodies on which forces of those
    may act. seed: of the shapes of shards. check: called in each step, may raise to cancel. Raises SceneError for a
    scene that MuJoCo refuses, and for actuators that are not there. The scene and actions must have been checked.
    """

    def __init__(
        self,
        scene: Scene,
        actions: Actions,
        step_s: float,
        *,
        seed: int = 0,
        pushed: Set[str] = frozenset(),
        check: Callable[[], None] = lambda: None,
    ):
        self.scene, self.actions, self.check = scene, actions, check
        self._pushed = {*pushed, *(a.body for a in actions if isinstance(a, Force | Drag))}
        self.world = world = compile_world(scene, scene.bodies, actions, step_s)
        for a in actions:
            if isinstance(a, acting.Actuate):
                acting.actuator_number(world, a.actuator)
            elif isinstance(a, Grab):
                acting.check_grabbed(world, scene, a)
        offsets, self.remarks = settle(world, _moved_at_start(actions), check)
        self.tracks = [Track(part_of(b, b.name), o) for b, o in zip(scene.bodies, offsets, strict=True)]
        self.tracks += [Track(part, np.eye(4), link) for link, part in link_parts(world)]
        self.remarks += undrawn(world)
        _check_names([t.part.body for t in self.tracks if t.link is not None], scene)
        _start_velocities(world, scene.bodies)
        self.events: list[Event] = []
        self._sleepers, self._debris = Sleepers(world), Debris(world, False, self._pushed)
        self._grabbed: frozenset[str] = frozenset()
        self._random = np.random.default_rng(seed)

    def moment(self, at_rest: bool = False) -> Moment:
        """Where the parts are now; at_rest: as the scene has them, at time 0."""
        return _moment(self.world, self.tracks, at_rest)

    def local(self, name: str, point: Floats) -> Floats:
        """A world point [3] in the axes in which a body, a shard or a link is simulated. Raises SceneError."""
        i, link = self.world.number(name), acting.link_id(self.world, name)
        if i is not None:
            pose = self.world.pose(i)
        elif link is not None:
            pose = link_pose(self.world, self.world.links.index(link))
        else:
            raise SceneError(f"nothing that is simulated is named {name!r} now")
        return transformed(point[None], np.linalg.inv(pose))[0]

    def target(self, actuator: str) -> float:
        """What an actuator is set to now. Raises SceneError where none has the name."""
        return self.world.target(acting.actuator_number(self.world, actuator))

    def advance(self, stop: float, more: Actions = ()) -> None:
        """Move on to `stop` seconds under the actions known from the start and `more` (no drags).

        What begins or ends on the way does so only where a call ends. Raises SceneError where it explodes.
        """
        actions = (*self.actions, *more)
        begin = self.world.time
        fresh = tuple(a for a in actions if 0 <= begin - getattr(a, "time", math.inf) < SAME_TIME_S)
        self._sleepers.wake_for(self.world, actions, begin + SAME_TIME_S)
        self.world = _begin(self.scene, self.world, fresh, actions)
        broken = [a.body for a in fresh if isinstance(a, Break) and a.toughness is None]
        self._shatter({name: Blow() for name in broken if self.world.number(name) is not None}, actions)
        if any(abs(begin - t) < SAME_TIME_S for t in acting.edges(actions)):
            self._debris.wake()
        self._grabbed = acting.grabbed(actions, begin + SAME_TIME_S)
        self._debris.grab(self._grabbed)
        while self.world.time < stop - SAME_TIME_S and not self._debris.all_rest:
            self.check()
            world = self.world
            acting.steer(world, actions)
            left = stop - world.time
            step = left / math.ceil(left / world.step_s - 1e-9)
            moment, before = world.time, world.state()
            hits = advance(world, step, partial(_load, world, self.scene, actions, fresh, self._debris))
            fresh = ()
            self._debris.hold(world.time - moment)
            hits = self._sleepers.hold(world, hits, world.time - moment)
            _note(world, self.events, hits, moment)
            if blows := _blows(world, self.events, hits, moment):
                # It breaks as it moved before the impact: each shard then meets what the body met.
                world.restore(before)
                self._shatter(blows, actions)
        self.world.set_time(stop)

    def _shatter(self, blows: dict[str, Blow], actions: Actions) -> None:
        """Break what is hit so, and hold what may be held of the world after it."""
        args = blows, actions, self.tracks, self._random, self.events, self.check
        self.world = _break(self.scene, self.world, *args)
        if self._debris.world.model is not self.world.model:
            # Nothing is held before something breaks, nor what forces or drags act on.
            shattered = any(t.link is None and t.part.name != t.part.body for t in self.tracks)
            self._debris = Debris(self.world, shattered, self._pushed)
            self._debris.grab(self._grabbed)


def _load(world: World, scene: Scene, actions: Actions, fresh: Actions, debris: Debris, seconds: float) -> None:
    acting.apply_forces(world, scene, actions, fresh, seconds)
    debris.carry()


def part_of(body: Body, of: str) -> Part:
    """A body as it is drawn, as a part of the scene's body `of`."""
    return Part(
        name=body.name,
        body=of,
        surface=surface_of(body),
        appearance=body.appearance,
        rest=_pose(body),
        movable=not body.fixed,
    )


def _check_names(links: list[str], scene: Scene) -> None:
    """Raises SceneError if a link of the mechanism has a body's name."""
    both = sorted(set(links) & {b.name for b in scene.bodies})
    if both:
        raise SceneError(f"a body and a link of the mechanism are both named {both[0]!r}; rename the body")


def _pose(body: Body) -> Floats:
    return pose_matrix(body.position, body.rotation)


def _moved_at_start(actions: Actions) -> set[str]:
    return {a.body for a in actions if isinstance(a, Push | Throw | Spin) and a.time == 0.0}


def _start_velocities(world: World, bodies: Sequence[Body]) -> None:
    for b in bodies:
        given: list[Throw | Spin] = []
        if any(b.velocity):
            given.append(Throw(body=b.name, velocity=b.velocity))
        if any(b.spin):
            given.append(Spin(body=b.name, spin=b.spin))
        acting.set_velocities(world, given)


def _begin(scene: Scene, world: World, fresh: Actions, actions: Actions) -> World:
    """Do what is done at once: gravity, velocities, toughness, materials, releases; the world after it."""
    brittle = {a.body: a.toughness for a in fresh if isinstance(a, Break) and a.toughness is not None}
    if brittle:
        world = replace(world, bodies=tuple(_as_tough(b, brittle.get(b.name)) for b in world.bodies))
    acting.set_velocities(world, [a for a in fresh if isinstance(a, Throw | Spin)])
    for a in fresh:
        if isinstance(a, Gravity):
            world.set_gravity(a.gravity)
    released = {a.body for a in fresh if isinstance(a, Release)}
    materials = {a.body: a.material for a in fresh if isinstance(a, SetMaterial)}
    if released or materials:
        bodies = [_made_of(b, materials.get(b.name, b.material)) for b in world.bodies]
        bodies = [replace(b, fixed=False) if b.name in released else b for b in bodies]
        new = compile_world(scene, bodies, actions, world.step_s)
        carry_over(world, new)
        return new
    return world


def _as_tough(body: Body, toughness: float | None) -> Body:
    """The body with a new toughness in J/kg; None: with its own."""
    return body if toughness is None else replace(body, material=replace(body.material, toughness=toughness))


def _made_of(body: Body, material: Material) -> Body:
    """The body of another material; a mass that it is given changes as its density does."""
    if material == body.material:
        return body
    mass = body.mass and body.mass * material.density / body.material.density
    return replace(body, material=material, mass=mass)


def _note(world: World, events: list[Event], hits: Hits, moment: float) -> None:
    """Add impacts to the events; further impacts of the same two bodies within an episode add to its impulse."""
    if hits.impulse.sum() < IMPACT_SPEED * world.masses.min(initial=math.inf):
        return
    pairs = np.sort(hits.owners, 1)
    _, first, number = np.unique(pairs @ (1, len(world.bodies) + 2), return_index=True, return_inverse=True)
    total = np.bincount(number, hits.impulse)
    masses = np.append(world.masses, (math.inf, math.inf))  # -2: a link, -1: planes
    strong = np.flatnonzero(total >= IMPACT_SPEED * masses[pairs[first]].min(1))
    for n in strong[np.argsort(first[strong])].tolist():
        impulse, low, high = float(total[n]), int(pairs[first[n], 0]), int(pairs[first[n], 1])
        body, other = world.bodies[high].name, world.bodies[low].name if low >= 0 else ""
        for k in range(len(events) - 1, -1, -1):
            e = events[k]
            if (e.body, e.other) == (body, other) and moment - e.time < EPISODE_S:
                events[k] = replace(e, impulse=e.impulse + impulse)
                break
        else:
            events.append(Event(kind="impact", time=moment, body=body, other=other, impulse=impulse))


def _blows(world: World, events: list[Event], hits: Hits, moment: float) -> dict[str, Blow]:
    """What breaks now: bodies hit with more energy than their toughness, (impulse / mass)^2 / 2."""
    blows: dict[str, Blow] = {}
    for i, body in enumerate(world.bodies):
        toughness = body.material.toughness
        if toughness is None or not (touched := (hits.owners == i).any(1)).any():
            continue
        met = [e for e in events if body.name in (e.body, e.other) and moment - e.time < EPISODE_S]
        hit = max(met, key=lambda e: e.impulse, default=None)
        energy = 0.0 if hit is None else (hit.impulse / world.mass(i)) ** 2 / 2
        if hit is not None and energy > toughness:
            at = np.average(hits.at[touched], axis=0, weights=hits.impulse[touched] + 1e-12)
            local = transformed(at[None], np.linalg.inv(world.pose(i)))[0]
            other = hit.other if hit.body == body.name else hit.body
            blows[body.name] = Blow(at=local, energy=energy, toughness=toughness, impulse=hit.impulse, other=other)
    return blows


def _break(
    scene: Scene,
    world: World,
    blows: dict[str, Blow],
    actions: Actions,
    tracks: list[Track],
    random: np.random.Generator,
    events: list[Event],
    check: Callable[[], None],
) -> World:
    """Put shards in the place of bodies that break: the world after it; their parts appear in the next frame."""
    if not blows:
        return world
    world.refresh()
    bodies: list[Body] = []
    shards: list[Body] = []
    for i, body in enumerate(world.bodies):
        if body.name not in blows:
            bodies.append(body)
            continue
        velocity, spin = world.velocity(i)
        moving = Moving(pose=world.pose(i), velocity=velocity, spin=spin)
        track = next(t for t in tracks if t.part.name == body.name)
        drawn = replace(track.part.surface, vertices=transformed(track.part.surface.vertices, track.offset))
        pieces = shatter(body, drawn, moving, blows[body.name], random, check)
        check()
        # A shard's axes are the body's, moved: laid back by the same way, it lies where it was in the picture.
        back = track.part.rest @ np.linalg.inv(moving.pose @ track.offset)
        tracks += [Track(_shard(p, track.part, back @ _pose(p)), np.eye(4)) for p in pieces]
        shards += pieces
        blow = blows[body.name]
        events.append(Event(kind="break", time=world.time, body=body.name, other=blow.other, impulse=blow.impulse))
    check()
    new = compile_world(scene, [*bodies, *shards], actions, world.step_s)
    check()
    carry_over(world, new)
    _start_velocities(new, shards)
    return new


def _shard(shard: Body, parent: Part, rest: Floats) -> Part:
    return replace(part_of(shard, parent.body), rest=rest)


def _moment(world: World, tracks: list[Track], at_rest: bool = False) -> Moment:
    """Where the parts are now; at_rest: at time 0."""
    world.refresh()
    poses: list[Floats] = []
    there: list[bool] = []
    for track in tracks:
        i = None if track.link is not None else world.number(track.part.name)
        pose = track.part.rest
        if track.link is not None:
            pose = link_pose(world, track.link)
        elif i is not None and not at_rest:
            pose = world.pose(i) @ track.offset
        poses.append(pose)
        there.append(track.link is not None or i is not None)
    return Moment(tuple(t.part for t in tracks), np.array(poses, float).reshape(-1, 4, 4), np.array(there, bool))
