"""Rigid-body motion of a scene, by MuJoCo: gravity, contacts with the asked restitution, friction, rolling."""

from __future__ import annotations

import math

import numpy as np

from .scene import Ball, Box, Scene

STEP_S = 0.002
STIFFNESS = 20000.0  # 1/s^2: a contact lasts about 22 ms, eleven steps, and a 5 m/s impact sinks in by 3.5 cm


def contact_damping(restitution: float, stiffness: float = STIFFNESS) -> float:
    """Damping (1/s) at which a spring-damper contact returns `restitution` of the impact speed (0 < e < 1).

    Half a period of a damped oscillator scales speed by exp(-pi*z/sqrt(1-z^2)); solved for the damping ratio z.
    """
    if not 0.0 < restitution < 1.0:
        raise ValueError(f"restitution is {restitution}; it must lie between 0 and 1, both excluded")
    log_e = math.log(restitution)
    ratio = -log_e / math.sqrt(math.pi**2 + log_e**2)
    return 2.0 * ratio * math.sqrt(stiffness)


def _ball_xml(b: Ball) -> str:
    x, y, z = b.position
    # priority=1: the ball's own contact parameters decide, whatever it hits; direct (negative) solref form.
    return (
        f'<body pos="{x} {y} {z}"><freejoint/><geom type="sphere" size="{b.radius}" mass="1" priority="1" condim="4" '
        f'friction="0.8 0.005 0.0001" solref="{-STIFFNESS} {-contact_damping(b.restitution)}" '
        'solimp="0.99 0.99 0.001"/></body>'
    )


def _box_xml(b: Box) -> str:
    pos, size = " ".join(map(str, b.center)), " ".join(map(str, b.half))
    return f'<geom type="box" pos="{pos}" size="{size}" euler="0 0 {b.yaw_deg}"/>'


def simulate(scene: Scene) -> np.ndarray:
    """Ball centres [T, N, 3] in metres, one row per frame; frame 0 is the scene as given."""
    import mujoco

    bodies = "".join((*map(_ball_xml, scene.balls), *map(_box_xml, scene.boxes)))
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="degree"/><option timestep="{STEP_S}" gravity="0 0 {-scene.gravity}"/>'
        f'<worldbody><geom type="plane" size="50 50 1"/>{bodies}</worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    for i, b in enumerate(scene.balls):
        data.qvel[6 * i : 6 * i + 3] = b.velocity
        if b.position[2] <= b.radius * 1.001:  # on the floor: rolling without slip from the first frame
            data.qvel[6 * i + 3 : 6 * i + 6] = (-b.velocity[1] / b.radius, b.velocity[0] / b.radius, 0.0)
    every = 1.0 / (scene.fps * STEP_S)
    centers = np.empty((scene.frames, len(scene.balls), 3))
    done = 0
    for t in range(scene.frames):
        todo = round(t * every) - done
        if todo:
            mujoco.mj_step(model, data, nstep=todo)
            done += todo
        centers[t] = data.qpos.reshape(-1, 7)[:, :3] if len(scene.balls) else 0.0
    return centers
