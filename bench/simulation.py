"""Seconds that simulating takes: three bodies and 60 shards for 5 s, and the cost model of world/budget.py.

python bench/simulation.py
"""

import time

import numpy as np
from vdit.world.actions import Break, Throw
from vdit.world.scene import MATERIALS, Body, Scene, Shape, View
from vdit.world.simulate import simulate

VIEW = View(np.eye(4), 40.0)
SECONDS, FPS = 5.0, 16.0


def three():
    cup = Body(name="cup", shapes=(Shape(kind="cylinder", size=(0.05, 0.06)),), position=(0, 0, 0.06))
    box = Body(name="box", shapes=(Shape(kind="box", size=(0.1, 0.1, 0.1)),), position=(0.3, 0, 0.1))
    ball = Body(name="ball", shapes=(Shape(kind="sphere", size=(0.06,)),), position=(-0.5, 0, 0.3))
    return Scene(bodies=(cup, box, ball), view=VIEW), (Throw(body="ball", velocity=(3, 0, 0)),)


def shards():
    thick = tuple(
        Body(name=f"vase {k}", shapes=(Shape(kind="cylinder", size=(0.08, 0.12)),), position=(0.5 * k, 0, 0.3),
             material=MATERIALS["ceramic"])
        for k in range(5)
    )  # fmt: skip
    return Scene(bodies=thick, view=VIEW), tuple(Break(body=b.name, time=0.1) for b in thick)


def resting(count):
    side = Shape(kind="box", size=(0.05, 0.05, 0.05))
    bodies = tuple(
        Body(name=f"{k}", shapes=(side,), position=(0.2 * (k // 4), 0, 0.05 + 0.1 * (k % 4))) for k in range(count)
    )
    return Scene(bodies=bodies, view=VIEW), ()


if __name__ == "__main__":
    simulate(*three(), seconds=0.1, fps=FPS)  # imports
    for name, (scene, actions) in {"3 bodies": three(), "60 shards": shards(), "16 boxes": resting(16)}.items():
        start = time.process_time()
        motion = simulate(scene, actions, seconds=SECONDS, fps=FPS)
        took = time.process_time() - start
        print(f"{name}: {took:.2f} s for {SECONDS:g} s, {len(motion.parts)} parts, {len(motion.events)} events")
