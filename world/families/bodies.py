"""A clip of the families as a scene of bodies, which takes actions like any other."""

from __future__ import annotations

import math

import numpy as np

from ..scene import Body, Colored, Light, Material, Plane, Quaternion, Scene, Shape, View, vector
from .clip import Clip
from .scene import BALL_COLORS, BOX_COLORS, FLOOR_COLORS, Ball, Box
from .simulate import BALL_DENSITY

BOX_FRICTION = 0.5  # of movable boxes, as families/simulate.py gives it


def to_scene(clip: Clip) -> Scene:
    """The clip's bodies, ground, wall, light, gravity and first camera, at the clip's first frame.

    It is simulated and drawn anew, by simulate.py and drawing/: close to the clip, not bit for bit.
    """
    source = clip.scene
    height, width = clip.render.depth.shape[1:]
    restitution, friction = source.restitution, source.friction
    balls = [
        _ball(clip, i, ball, Material("ball", 1000.0, friction, restitution)) for i, ball in enumerate(source.balls)
    ]
    boxes = [
        _box(clip, i, box, Material("box", 1000.0, BOX_FRICTION, restitution)) for i, box in enumerate(source.boxes)
    ]
    floor = np.asarray(FLOOR_COLORS[source.floor.color])
    other = floor * (1 - source.floor.contrast)
    tiles = Material("floor", 1000.0, friction, restitution)
    wall = FLOOR_COLORS[source.floor.wall_color]
    return Scene(
        bodies=tuple(_renamed([*balls, *boxes])),
        view=View(np.asarray(source.c2w[0], float), float(source.fov_deg[0])),
        width=width,
        height=height,
        ground=Plane(material=tiles, colors=(vector(floor), vector(other)), tile=source.floor.tile),
        backdrop=Plane(normal=(0.0, -1.0, 0.0), offset=-source.floor.wall_y, material=tiles, colors=(wall, wall)),
        light=Light(direction=source.light),
        gravity=(0.0, 0.0, -source.gravity),
    )


def _ball(clip: Clip, i: int, ball: Ball, material: Material) -> Body:
    centers = clip.centers[:, i]
    velocity = np.asarray(ball.velocity)
    if clip.scene.start_s > 0 and len(centers) > 1:
        # The mean over the first frame, at whose middle gravity has acted for half of it.
        velocity = (centers[1] - centers[0]) * clip.scene.fps
        if centers[0][2] > ball.radius * 1.01:
            velocity = velocity + (0, 0, clip.scene.gravity / (2 * clip.scene.fps))
    rolling = centers[0][2] <= ball.radius * 1.001
    return Body(
        name=f"{ball.color} ball",
        shapes=(Shape(kind="sphere", size=(ball.radius,)),),
        position=vector(centers[0]),
        material=material,
        appearance=Colored(BALL_COLORS[ball.color]),
        mass=BALL_DENSITY * ball.radius**3,
        velocity=vector(velocity),
        spin=(-velocity[1] / ball.radius, velocity[0] / ball.radius, 0.0) if rolling else (0.0, 0.0, 0.0),
    )


def _box(clip: Clip, i: int, box: Box, material: Material) -> Body:
    a, p = math.radians(box.yaw_deg) / 2, math.radians(box.pitch_deg) / 2
    rotation: Quaternion = (
        math.cos(a) * math.cos(p),
        -math.sin(a) * math.sin(p),
        math.cos(a) * math.sin(p),
        math.sin(a) * math.cos(p),
    )
    return Body(
        name=f"{box.color} box",
        shapes=(Shape(kind="box", size=box.half),),
        position=box.center,
        rotation=rotation,
        material=material,
        appearance=Colored(BOX_COLORS[box.color]),
        mass=box.mass,
        fixed=box.mass is None,
    )


def _renamed(bodies: list[Body]) -> list[Body]:
    """The same with numbers behind names that several have."""
    from dataclasses import replace

    names = [body.name for body in bodies]
    return [
        replace(body, name=f"{body.name} {names[: i + 1].count(body.name)}") if names.count(body.name) > 1 else body
        for i, body in enumerate(bodies)
    ]
