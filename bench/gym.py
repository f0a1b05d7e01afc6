"""Random steps a second of scenes as Gymnasium environments: by state alone, and with a picture of 64x64 each.

python -m vdit.bench gym
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import vdit
from vdit.bench.rows import Row, runs, show

STEPS = 1000
ARM = Path(vdit.__path__[0]) / "workflows" / "inputs" / "vdit-robot-arm.xml"


def three():
    """A box, a ball and a can on the ground, and a camera that sees them."""
    import numpy as np
    from vdit.geometry.camera_numpy import look_at
    from vdit.world.scene import Body, Scene, Shape, View

    shapes = ("box", (0.1, 0.1, 0.1)), ("sphere", (0.1,)), ("cylinder", (0.08, 0.15))
    bodies = tuple(
        Body(name=kind, shapes=(Shape(kind=kind, size=size),), position=(0.4 * i - 0.4, 0.0, size[-1]))
        for i, (kind, size) in enumerate(shapes)
    )
    return Scene(bodies=bodies, view=View(look_at(np.array((0.0, -3.0, 1.0)), np.array((0.0, 0.0, 0.3))), 40.0))


def played(scene, observations: str, steps: int) -> float:
    """Steps a second, resets among them."""
    import gymnasium
    import vdit.gym

    env = gymnasium.make(vdit.gym.ENVIRONMENT, scene=scene, observations=observations)
    env.reset(seed=0)
    env.action_space.seed(0)
    start = time.perf_counter()
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - start)


def rows(quick: bool) -> Iterator[Row]:
    for name, scene in (("three bodies", three()), ("a robot arm", ARM)):
        for observations, target in (("state", ">= 200"), ("rgb", ">= 30")):
            rates = [played(scene, observations, STEPS // 4 if quick else STEPS) for _ in range(runs(quick))]
            yield Row(f"random steps of {name}, each 1/50 s, {observations}", median(rates), "/s", target)


if __name__ == "__main__":
    show(rows)
