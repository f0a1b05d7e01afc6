"""A scene as it is after it was simulated: where bodies and shards are, how they move, and the picture of it."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .motion import Ending, Moment
from .scene import Projected, SceneError, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrays import Floats
    from .dynamics import World
    from .motion import Motion
    from .running import Running, Track
    from .scene import Body, Joint, Scene


def ending_of(running: Running) -> Ending:
    """The bodies of a simulation as they are now, in the order in which they appeared."""
    world = running.world
    world.refresh()
    bodies = [b for t in running.tracks if t.link is None and (b := _now(world, t)) is not None]
    return Ending(tuple(bodies), vector(np.asarray(world.model.opt.gravity)))


def scene_after(motion: Motion, check: Callable[[], None] = lambda: None) -> Scene:
    """The scene to go on with after a motion. A picture that carries it shows what is seen of its bodies then.

    A mechanism stays as its file has it. check may raise to cancel. Raises SceneError for a motion without an ending.
    """
    if motion.ending is None:
        raise SceneError("the motion has no ending: only what `simulate` moves can be gone on with")
    scene = replace(motion.scene, bodies=motion.ending.bodies, gravity=motion.ending.gravity)
    if motion.scene.plate is None:
        return scene
    return replace(scene, plate=replace(motion.scene.plate, picture=_last_picture(motion, check)))


def _now(world: World, track: Track) -> Body | None:
    """The body of a part as it is now; None: it has broken."""
    import mujoco

    if (i := world.number(track.part.name)) is None:
        return None
    body = world.bodies[i]
    if body.fixed:
        return body
    pose = world.pose(i) @ track.offset
    rotation = np.zeros(4)
    mujoco.mju_mat2Quat(rotation, np.ascontiguousarray(pose[:3, :3]).ravel())
    velocity, spin = world.velocity(i)
    appearance = body.appearance
    if isinstance(appearance, Projected):
        # The picture goes with the body: its camera moves as the body has moved since the picture was laid on.
        moved = pose @ np.linalg.inv(track.part.rest)
        view = replace(appearance.view, c2w=_rigid(moved @ np.asarray(appearance.view.c2w, float)))
        appearance = replace(appearance, view=view)
    w, x, y, z = (float(c) for c in rotation / np.linalg.norm(rotation))
    return replace(
        body,
        position=vector(pose[:3, 3]),
        rotation=(w, x, y, z),
        velocity=vector(velocity),
        spin=vector(spin),
        appearance=appearance,
        joint=body.joint and _joint_now(world, i, body.joint),
    )


def _rigid(pose: Floats) -> Floats:
    """A pose [4, 4] without what rounding has added to its rotation."""
    out = np.eye(4)
    u, _, v = np.linalg.svd(pose[:3, :3])
    out[:3, :3], out[:3, 3] = u @ v, pose[:3, 3]
    return out


def _joint_now(world: World, i: int, joint: Joint) -> Joint:
    """The joint, its range counted from where it is now."""
    if joint.range is None or joint.kind == "ball":
        return joint
    at = float(world.data.qpos[world.model.jnt_qposadr[world.model.body_jntadr[world.ids[i]]]])
    return replace(joint, range=(joint.range[0] - at, joint.range[1] - at))


def _last_picture(motion: Motion, check: Callable[[], None]) -> np.ndarray:
    """What the scene's own view shows at the end, uint8 [H, W, 3] of the plate's size."""
    from .drawing.camera import scene_camera
    from .drawing.drawer import Drawer, as_bytes, buffers_of

    assert motion.scene.plate is not None
    height, width = motion.scene.plate.picture.shape[:2]
    camera = scene_camera(motion.scene, width, height)[0]
    first, last = (Moment(motion.parts, motion.poses[t], motion.present[t]) for t in (0, -1))
    drawer, buffers = Drawer(motion.scene, first, (camera,), check), buffers_of(1, width, height)
    drawer.draw(last, drawer.prepared(last), camera, buffers, 0, used=False)
    return as_bytes(buffers.rgb[0])
