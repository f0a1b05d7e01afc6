"""A scene and actions on it become a motion, by MuJoCo: poses of every part in every frame, impacts, breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from . import acting, checks
from .actions import Break, Drag, Force, Gravity, Push, Release, Spin, Throw
from .arrays import Floats
from .asleep import Sleepers
from .budget import frames_of
from .contacts import advance
from .debris import Debris
from .dynamics import carry_over, compile_world, warnings_of_mujoco
from .fracture import Blow, Moving, shatter
from .links import link_parts, link_pose, undrawn
from .meshes import body_volume, pose_matrix, surface_of, transformed
from .motion import Event, Moment, Motion, Part, ended
from .scene import SceneError
from .settle import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .actions import Actions
    from .arrays import Bools
    from .contacts import Hits
    from .dynamics import World
    from .scene import Body, Scene

STEP_S = 0.002  # at bodies of STEP_SIZE_M; it grows with the square root of size, as the time to fall by it does
STEP_SIZE_M = 0.1
STEP_RANGE_S = (0.0005, 0.004)
IMPACT_SPEED = 0.1  # m/s that an impact takes from the lighter body, from which it is an event
EPISODE_S = 0.05  # impacts of the same two bodies within this time are one event
SAME_TIME_S = 1e-9  # times less apart than this are one: of an action, written in decimals, and of a frame


@dataclass(frozen=True, eq=False)
class _Track:
    """A part, and how it is found in the world. offset: from what is drawn to what is simulated."""

    part: Part
    offset: Floats
    link: int | None = None  # MuJoCo's body, of a link


def step_for(bodies: tuple[Body, ...]) -> float:
    """Seconds of an integration step that resolve the motion of the smallest of these bodies."""
    size = min((body_volume(b) ** (1 / 3) for b in bodies if not b.fixed), default=STEP_SIZE_M)
    return float(np.clip(STEP_S * math.sqrt(size / STEP_SIZE_M), *STEP_RANGE_S))


def step_of(scene: Scene) -> float:
    """Seconds of a step: for bodies by their size, for a mechanism alone its file's."""
    if scene.bodies or scene.mechanism is None:
        return step_for(scene.bodies)
    given = [float(o.get("timestep", STEP_S)) for o in ElementTree.fromstring(scene.mechanism.xml).iter("option")]
    return given[-1] if given else STEP_S


def simulate(
    scene: Scene,
    actions: Actions = (),
    *,
    seconds: float,
    fps: float,
    seed: int = 0,
    check: Callable[[], None] | None = None,
) -> Motion:
    """Move a scene for `seconds`; frame 0 is the scene as given, frame t is t / fps seconds later.

    seed: of the shapes of shards. check: called in each step, may raise to cancel. Equal arguments give equal bits.
    Raises SceneError for a scene or actions that cannot be simulated, and where the simulation explodes.
    """
    return ended(simulated(scene, actions, seconds=seconds, fps=fps, seed=seed, check=check))


def simulated(
    scene: Scene,
    actions: Actions = (),
    *,
    seconds: float,
    fps: float,
    seed: int = 0,
    check: Callable[[], None] | None = None,
) -> Generator[Moment, None, Motion]:
    """What simulate does, frame by frame: each one is given as soon as it is known, and at last the motion."""
    checks.check(scene)
    acting.checked(scene, actions)
    frames = frames_of(scene, actions, seconds, fps, step_of(scene))
    moments, found = _moved(scene, actions, frames, fps, seed, check or (lambda: None)), list[str]()
    while True:
        # Warnings are gathered only while MuJoCo works: between the frames others may simulate.
        with warnings_of_mujoco() as warnings:
            try:
                moment = next(moments)
            except StopIteration as end:
                motion: Motion = end.value
                break
            finally:
                found += warnings
        yield moment
    return replace(motion, remarks=(*motion.remarks, *dict.fromkeys(found)))


def _moved(
    scene: Scene, actions: Actions, frames: int, fps: float, seed: int, check: Callable[[], None]
) -> Generator[Moment, None, Motion]:
    world = compile_world(scene, scene.bodies, actions, step_for(scene.bodies))
    for a in actions:
        if isinstance(a, acting.Actuate):
            acting.actuator_number(world, a.actuator)
    offsets, remarks = settle(world, _moved_at_start(actions), check)
    tracks = [_Track(_part(b, b.name), o) for b, o in zip(scene.bodies, offsets, strict=True)]
    tracks += [_Track(part, np.eye(4), link) for link, part in link_parts(world)]
    remarks += undrawn(world)
    _check_names([t.part.body for t in tracks if t.link is not None], scene)
    _start_velocities(world, scene.bodies)
    sleepers, debris = Sleepers(world), _debris(None, world, [], actions)
    events: list[Event] = []
    end = (frames - 1) / fps
    stops = _apart({t / fps for t in range(1, frames)} | {t for t in acting.edges(actions) if 0 < t < end})
    random = np.random.default_rng(seed)
    moments = [_moment(world, tracks, at_rest=True)]
    yield moments[0]
    frame = 1
    for stop, begin in zip(stops, [0.0, *stops], strict=False):
        fresh = tuple(a for a in actions if 0 <= begin - getattr(a, "time", math.inf) < SAME_TIME_S)
        sleepers.wake_for(world, actions, begin + SAME_TIME_S)
        world = _begin(scene, world, fresh, actions)
        broken = [a.body for a in fresh if isinstance(a, Break) and a.toughness is None]
        blows = {name: Blow() for name in broken if world.number(name) is not None}
        world = _break(scene, world, blows, actions, tracks, random, events, check)
        debris = _debris(debris, world, tracks, actions)
        if any(abs(begin - t) < SAME_TIME_S for t in acting.edges(actions)):
            debris.wake()
        while world.time < stop - SAME_TIME_S and not debris.all_rest:
            check()
            acting.steer(world, actions)
            left = stop - world.time
            step = left / math.ceil(left / world.step_s - 1e-9)
            moment, before = world.time, world.state()
            hits = advance(world, step, partial(_load, world, scene, actions, fresh, debris))
            fresh = ()
            debris.hold(world.time - moment)
            hits = sleepers.hold(world, hits, world.time - moment)
            _note(world, events, hits, moment)
            if blows := _blows(world, events, hits, moment):
                # It breaks as it moved before the impact: each shard then meets what the body met.
                world.restore(before)
                world = _break(scene, world, blows, actions, tracks, random, events, check)
                debris = _debris(debris, world, tracks, actions)
        world.set_time(stop)
        if frame < frames and abs(stop - frame / fps) < SAME_TIME_S:
            moments.append(_moment(world, tracks))
            yield moments[-1]
            frame += 1
    poses, present = _gathered(moments, tracks)
    broken = {e.body: e.time for e in events if e.kind == "break"}
    if frames > 1:
        remarks += acting.idle(scene, actions, broken, end)
    return Motion(
        scene=scene,
        fps=fps,
        parts=tuple(t.part for t in tracks),
        poses=poses,
        present=present,
        events=tuple(events),
        remarks=tuple(remarks),
    )


def _load(world: World, scene: Scene, actions: Actions, fresh: Actions, debris: Debris, seconds: float) -> None:
    acting.apply_forces(world, scene, actions, fresh, seconds)
    debris.carry()


def _debris(before: Debris | None, world: World, tracks: Sequence[_Track], actions: Actions) -> Debris:
    """What may be held of a world: nothing before something breaks, nor what forces or drags act on."""
    if before is not None and before.world.model is world.model:
        return before
    shattered = any(t.link is None and t.part.name != t.part.body for t in tracks)
    return Debris(world, shattered, {a.body for a in actions if isinstance(a, Force | Drag)})


def _apart(times: set[float]) -> list[float]:
    """The times in order; of those that are one, the last."""
    order = sorted(times)
    return [t for t, after in zip(order, [*order[1:], math.inf], strict=False) if after - t >= SAME_TIME_S]


def _part(body: Body, of: str) -> Part:
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
    """Do what is done at once: gravity, velocities, toughness, releases; the world after it."""
    brittle = {a.body: a.toughness for a in fresh if isinstance(a, Break) and a.toughness is not None}
    world = replace(world, bodies=tuple(_as_tough(b, brittle.get(b.name)) for b in world.bodies))
    acting.set_velocities(world, [a for a in fresh if isinstance(a, Throw | Spin)])
    for a in fresh:
        if isinstance(a, Gravity):
            world.set_gravity(a.gravity)
    released = {a.body for a in fresh if isinstance(a, Release)}
    if released:
        bodies = [replace(b, fixed=False) if b.name in released else b for b in world.bodies]
        new = compile_world(scene, bodies, actions, world.step_s)
        carry_over(world, new)
        return new
    return world


def _as_tough(body: Body, toughness: float | None) -> Body:
    """The body with a new toughness in J/kg; None: with its own."""
    return body if toughness is None else replace(body, material=replace(body.material, toughness=toughness))


def _note(world: World, events: list[Event], hits: Hits, moment: float) -> None:
    """Add impacts to the events; further impacts of the same two bodies within an episode add to its impulse."""
    if not len(hits.impulse):
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
    tracks: list[_Track],
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
        tracks += [_Track(_shard(p, track.part, back @ _pose(p)), np.eye(4)) for p in pieces]
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
    return replace(_part(shard, parent.body), rest=rest)


def _moment(world: World, tracks: list[_Track], at_rest: bool = False) -> Moment:
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


def _gathered(moments: list[Moment], tracks: list[_Track]) -> tuple[Floats, Bools]:
    """Poses [T, P, 4, 4] and presence [T, P] of all parts; those that appear later are at rest until then."""
    poses = np.empty((len(moments), len(tracks), 4, 4))
    present = np.zeros((len(moments), len(tracks)), bool)
    for p, track in enumerate(tracks):
        poses[:, p] = track.part.rest
    for t, moment in enumerate(moments):
        poses[t, : len(moment.parts)], present[t, : len(moment.parts)] = moment.poses, moment.present
    return poses, present
