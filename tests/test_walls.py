"""Before a wall that fills most of a picture, things stand on the floor: a metric depth map gives them true heights."""

import numpy as np
import pytest
import torch
from vdit.lift.picture import Given, lift
from vdit.world.simulate import simulate

WIDTH, HEIGHT, FOV_DEG = 288, 192, 40.0
FOCAL = HEIGHT / 2 / np.tan(np.radians(FOV_DEG) / 2)


@pytest.mark.parametrize("eye", [0.3, 1.2, 12.0])
@pytest.mark.parametrize("wall", [2.0, 3.0])
def test_what_floats_before_a_wall_falls_by_its_height_over_the_floor(eye, wall):
    """A level camera `eye` metres over the floor; a ball 2.5 eyes away; a wall `wall` times as far."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    below = np.maximum(y - HEIGHT / 2, 1e-9)
    depth = np.minimum(np.where(y > HEIGHT / 2, eye * FOCAL / below, np.inf), 2.5 * eye * wall)
    ball = np.hypot(x - WIDTH / 2, y - HEIGHT / 2 + 10) < 0.08 * FOCAL
    depth[ball] = 2.5 * eye
    given = Given(
        image=torch.from_numpy(np.stack([x / WIDTH, y / HEIGHT, ball], -1).astype(np.float32))[None],
        masks=torch.from_numpy(ball.astype(np.float32))[None],
        depth=torch.from_numpy(depth.astype(np.float32))[None, ..., None].expand(-1, -1, -1, 3),
        depth_in_metres=True,
        fov_deg=FOV_DEG,
    )
    scene = lift(given).scene
    height = eye + (10 / FOCAL - 0.08) * 2.5 * eye
    motion = simulate(scene, (), seconds=2 * np.sqrt(2 * height / 9.81), fps=30 / np.sqrt(eye))
    landed = next(event.time for event in motion.events if event.kind == "impact")
    assert landed == pytest.approx(np.sqrt(2 * height / 9.81), rel=0.03)
