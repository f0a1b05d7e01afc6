"""Seconds of processor that simulating takes, beside the estimate of world/budget.py, on twelve scenes.

python bench/simulation.py
"""

import time

import numpy as np
from vdit.world.actions import Break, Throw
from vdit.world.budget import estimate
from vdit.world.scene import MATERIALS, Body, Scene, Shape, View
from vdit.world.simulate import simulate, step_of

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


def pile(kind, size, count, side, spacing=0.12):
    """Bodies that fall on each other, in layers of side x side."""
    random = np.random.default_rng(0)
    shape = Shape(kind=kind, size=size)
    bodies = tuple(
        Body(name=f"{k}", shapes=(shape,), position=(*(spacing * np.array(place[:2]) + 0.01 * random.random(2)),
             0.06 + 0.13 * place[2]))
        for k in range(count)
        for place in [(k % side, k // side % side, k // side**2)]
    )  # fmt: skip
    return Scene(bodies=bodies, view=VIEW), ()


def compounds(count, hulls):
    random = np.random.default_rng(1)
    bodies = tuple(
        Body(name=f"{k}", position=(0.3 * (k % 4), 0.3 * (k // 4), 0.2), shapes=tuple(
            Shape(kind="hull", vertices=random.normal(size=(30, 3)) * 0.03 + random.normal(size=3) * 0.05)
            for _ in range(hulls)))
        for k in range(count)
    )  # fmt: skip
    return Scene(bodies=bodies, view=VIEW), ()


def dropped_glasses(count):
    glass = Shape(kind="cylinder", size=(0.04, 0.06))
    bodies = tuple(
        Body(name=f"{k}", shapes=(glass,), position=(0.3 * k, 0, 1.0), material=MATERIALS["glass"])
        for k in range(count)
    )
    return Scene(bodies=bodies, view=VIEW), ()


SCENES = {
    "3 bodies": three(),
    "60 shards": shards(),
    "16 boxes in stacks": resting(16),
    "100 boxes apart": pile("box", (0.05, 0.05, 0.05), 100, 10, 0.3),
    "50 boxes fall": pile("box", (0.05, 0.05, 0.05), 50, 4),
    "100 cylinders fall": pile("cylinder", (0.05, 0.05), 100, 5),
    "200 balls fall": pile("sphere", (0.05,), 200, 6),
    "8 compounds of 6 hulls": compounds(8, 6),
    "30 capsules fall": pile("capsule", (0.04, 0.04), 30, 3),
    "120 boxes fall": pile("box", (0.05, 0.05, 0.05), 120, 5),
    "3 glasses dropped": dropped_glasses(3),
    "20 compounds of 3 hulls": compounds(20, 3),
}

if __name__ == "__main__":
    simulate(*shards(), seconds=0.2, fps=FPS)  # imports
    for name, (scene, actions) in SCENES.items():
        expected = estimate(scene, actions, SECONDS, step_of(scene))
        start = time.process_time()
        motion = simulate(scene, actions, seconds=SECONDS, fps=FPS)
        took = time.process_time() - start
        print(f"{name}: {took:.2f} s of processor for {SECONDS:g} s, {expected:.2f} s estimated "
              f"({expected / took:.2f} times as much), {len(motion.parts)} parts", flush=True)  # fmt: skip
