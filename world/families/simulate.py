"""Rigid-body motion of a scene, by MuJoCo: gravity, contacts of a given restitution, friction, rolling."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...geometry.camera_numpy import axis_rotation, quaternion_rotation
from ..arrays import Floats
from ..dynamics import warnings_of_mujoco
from .scene import Ball, Box, Scene

STEP_S = 0.002  # seconds of one integration step
STIFFNESS = 20000.0  # 1/s^2: a contact lasts about 22 ms, eleven steps, and a 5 m/s impact sinks in by 3.5 cm
BALL_DENSITY = 1.0 / 0.45**3  # kg per cubed radius


@dataclass(frozen=True)
class Motion:
    """Where the bodies of a scene are in each of T frames."""

    centers: Floats  # [T, N, 3] of the balls, metres
    box_poses: Floats  # [T, M, 4, 4] box to world


def contact_damping(restitution: float, stiffness: float = STIFFNESS) -> float:
    """Damping (1/s) at which a spring-damper contact returns `restitution` of the impact speed (0 < e < 1).

    Half a period of a damped oscillator scales speed by exp(-pi*z/sqrt(1-z^2)); solved for the damping ratio z.
    """
    if not 0.0 < restitution < 1.0:
        raise ValueError(f"restitution is {restitution}; it must lie between 0 and 1, both excluded")
    log_e = math.log(restitution)
    ratio = -log_e / math.sqrt(math.pi**2 + log_e**2)
    return 2.0 * ratio * math.sqrt(stiffness)


def _ball_xml(b: Ball, restitution: float, friction: float) -> str:
    pos, mass = " ".join(map(str, b.position)), BALL_DENSITY * b.radius**3
    # priority=1: the ball's own contact parameters decide, whatever it hits; direct (negative) solref form.
    return (
        f'<body pos="{pos}"><freejoint/><geom type="sphere" size="{b.radius}" mass="{mass}" '
        f'priority="1" condim="4" friction="{friction} 0.005 0.0001" '
        f'solref="{-STIFFNESS} {-contact_damping(restitution)}" solimp="0.99 0.99 0.001"/></body>'
    )


def box_rotation(b: Box) -> Floats:
    """Box to world [3, 3] at the start: pitch about the box's y axis, then yaw about z."""
    return axis_rotation(2, np.array(b.yaw_deg)) @ axis_rotation(1, np.array(b.pitch_deg))


def _box_xml(b: Box) -> str:
    """A fixed geom, or a free body when the box has a mass."""
    a, p = math.radians(b.yaw_deg) / 2, math.radians(b.pitch_deg) / 2
    quat = (math.cos(a) * math.cos(p), -math.sin(a) * math.sin(p), math.cos(a) * math.sin(p), math.sin(a) * math.cos(p))
    pose = f'pos="{" ".join(map(str, b.center))}" quat="{" ".join(map(str, quat))}"'
    size = " ".join(map(str, b.half))
    if b.mass is None:
        return f'<geom type="box" {pose} size="{size}"/>'
    geom = f'<geom type="box" size="{size}" mass="{b.mass}" friction="0.5 0.005 0.0001"/>'
    return f"<body {pose}><freejoint/>{geom}</body>"


@warnings_of_mujoco()
def simulate(scene: Scene, check: Callable[[], None] = lambda: None) -> Motion:
    """Integrate a scene; frame 0 is the scene as given, or `start_s` seconds later. check may raise to cancel."""
    import mujoco

    movable = [i for i, b in enumerate(scene.boxes) if b.mass is not None]
    fixed = "".join(_box_xml(b) for b in scene.boxes if b.mass is None)
    bodies = "".join(_ball_xml(b, scene.restitution, scene.friction) for b in scene.balls)
    bodies += "".join(_box_xml(scene.boxes[i]) for i in movable)
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="degree"/><option timestep="{STEP_S}" gravity="0 0 {-scene.gravity}"/>'
        f'<worldbody><geom type="plane" size="50 50 1"/>{fixed}{bodies}</worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    for i, b in enumerate(scene.balls):
        data.qvel[6 * i : 6 * i + 3] = b.velocity
        if b.position[2] <= b.radius * 1.001:  # on the floor: rolling without slip from the first frame
            data.qvel[6 * i + 3 : 6 * i + 6] = (-b.velocity[1] / b.radius, b.velocity[0] / b.radius, 0.0)
    frames, balls = scene.frames, len(scene.balls)
    states = np.zeros((frames, balls + len(movable), 7))
    steps_done = 0
    for t in range(frames):
        check()
        steps = round((scene.start_s + t / scene.fps) / STEP_S) - steps_done
        if steps:
            mujoco.mj_step(model, data, nstep=steps)
            steps_done += steps
        states[t] = data.qpos.reshape(-1, 7)
    poses = np.tile(np.eye(4), (frames, len(scene.boxes), 1, 1))
    for i, b in enumerate(scene.boxes):
        poses[:, i, :3, 3], poses[:, i, :3, :3] = b.center, box_rotation(b)
    for row, i in enumerate(movable, start=balls):
        poses[:, i, :3, 3], poses[:, i, :3, :3] = states[:, row, :3], quaternion_rotation(states[:, row, 3:])
    return Motion(states[:, :balls, :3], poses)
