"""A scene and actions on it become a motion, by MuJoCo: poses of every part in every frame, impacts, breaks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from . import acting, checks
from .arrays import Floats
from .budget import frames_of
from .dynamics import warnings_of_mujoco
from .ending import ending_of
from .meshes import body_volume
from .motion import Moment, Motion, Part, ended
from .running import SAME_TIME_S, Running, part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .actions import Actions
    from .arrays import Bools
    from .scene import Body, Scene

STEP_S = 0.002  # at bodies of STEP_SIZE_M; it grows with the square root of size, as the time to fall by it does
STEP_SIZE_M = 0.1
STEP_RANGE_S = (0.0005, 0.004)


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


def still(scene: Scene) -> Motion:
    """One frame of a scene's bodies as they are given, in which nothing is simulated: to be drawn."""
    parts = tuple(part_of(body, body.name) for body in scene.bodies)
    poses = np.array([part.rest for part in parts]).reshape(1, -1, 4, 4)
    return Motion(scene=scene, fps=1.0, parts=parts, poses=poses, present=np.ones(poses.shape[:2], bool))


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
    running = Running(scene, actions, step_for(scene.bodies), seed=seed, check=check)
    end = (frames - 1) / fps
    stops = _apart({t / fps for t in range(1, frames)} | {t for t in acting.edges(actions) if 0 < t < end})
    moments = [running.moment(at_rest=True)]
    yield moments[0]
    for stop in stops:
        running.advance(stop)
        if len(moments) < frames and abs(stop - len(moments) / fps) < SAME_TIME_S:
            moments.append(running.moment())
            yield moments[-1]
    parts = tuple(t.part for t in running.tracks)
    poses, present = _gathered(moments, parts)
    remarks, broken = running.remarks, {e.body: e.time for e in running.events if e.kind == "break"}
    if frames > 1:
        remarks += acting.idle(scene, actions, broken, end)
    return Motion(
        scene=scene,
        fps=fps,
        parts=parts,
        poses=poses,
        present=present,
        events=tuple(running.events),
        remarks=tuple(remarks),
        ending=ending_of(running),
    )


def _apart(times: set[float]) -> list[float]:
    """The times in order; of those that are one, the last."""
    order = sorted(times)
    return [t for t, after in zip(order, [*order[1:], math.inf], strict=False) if after - t >= SAME_TIME_S]


def _gathered(moments: list[Moment], parts: tuple[Part, ...]) -> tuple[Floats, Bools]:
    """Poses [T, P, 4, 4] and presence [T, P] of all parts; those that appear later are at rest until then."""
    poses = np.empty((len(moments), len(parts), 4, 4))
    present = np.zeros((len(moments), len(parts)), bool)
    for p, part in enumerate(parts):
        poses[:, p] = part.rest
    for t, moment in enumerate(moments):
        poses[t, : len(moment.parts)], present[t, : len(moment.parts)] = moment.poses, moment.present
    return poses, present
