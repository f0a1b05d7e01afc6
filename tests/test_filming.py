"""A scene is drawn while it is simulated: each frame as soon as it is known, the same bits as one after the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pictured import picture_scene
from vdit.nodes.moving import MovingPicture
from vdit.world.actions import Break
from vdit.world.drawing.film import film, film_moments, looks
from vdit.world.filming import Filming, filmed
from vdit.world.scene import MATERIALS, Body, Colored, Plane, Scene, Shape
from vdit.world.simulate import simulate, simulated

SIZE = dict(width=208, height=120)
SECONDS, FPS = 1.0, 8.0


def scene():
    """A brick that hangs before a photograph and breaks after a while, over another that lies."""
    brick, pictured = Shape(kind="box", size=(0.3, 0.2, 0.2)), picture_scene(**SIZE, bodies=((104, 50, 40, 30),))
    look = pictured.bodies[0].appearance
    bodies = (
        Body(name="brick", shapes=(brick,), position=(0.0, 0.0, 0.8), material=MATERIALS["ceramic"], appearance=look),
        Body(name="stone", shapes=(brick,), position=(0.1, 0.1, 0.2), appearance=Colored((0.2, 0.3, 0.7))),
    )
    return Scene(bodies=bodies, view=pictured.view, plate=pictured.plate, **SIZE)


BREAK = (Break(body="brick", time=0.35),)


def test_frames_drawn_while_simulated_are_those_of_the_motion():
    made = scene()
    motion, shot = filmed(made, BREAK, Filming(seconds=SECONDS, fps=FPS, **SIZE))
    known = simulate(made, BREAK, seconds=SECONDS + 1 / FPS, fps=FPS)
    assert len(motion.parts) > 5 and not motion.present[0, 2:].any() and motion.present[-1, 2:].all()
    assert np.array_equal(motion.poses, known.poses) and motion.events == known.events
    after = film(known, **SIZE)
    for name in ("rgb", "depth", "instance", "mask", "flow", "visible"):
        assert torch.equal(getattr(shot, name), getattr(after, name)), name
    alone = looks(known, **SIZE)
    assert all(torch.equal(getattr(alone, name), getattr(after, name)) for name in ("rgb", "depth", "instance"))
    assert torch.equal(shot.tracks.at, after.tracks.at) and torch.equal(shot.tracks.visible, after.tracks.visible)


def test_a_camera_that_sinks_through_the_ground_is_remarked():
    made = replace(scene(), ground=Plane(offset=-1.0))
    path = np.stack([made.view.c2w] * 3)
    path[1:, 2, 3] = 0.5, -1.5
    for poses, said in ((path[:2], ()), (path, ("the camera is below the ground in 1 of 3 frames: raise its path",))):
        asked = Filming(seconds=(len(poses) - 1) / FPS, fps=FPS, **SIZE)
        assert filmed(made, (), asked, c2w=poses)[1].remarks == said


def test_the_first_frames_are_there_before_the_rest_is_simulated():
    made, asked = scene(), []

    def counted():
        moments = simulated(made, (), seconds=3.0, fps=FPS)
        while True:
            try:
                moment = next(moments)
            except StopIteration as end:
                return end.value
            asked.append(len(asked))
            yield moment

    known = []
    film_moments(made, counted(), 24, **SIZE, on_frame=lambda frame: known.append(len(asked)))
    assert known[0] <= 5 and known[-1] == 24


def test_a_simulation_is_left_where_a_frame_cancels_it():
    made, frames = scene(), []

    def check():
        if len(frames) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filmed(made, (), Filming(seconds=3.0, fps=FPS, **SIZE), check=check, on_frame=frames.append)
    assert len(frames) == 2


def test_the_first_preview_of_a_draft_moves():
    shown = []
    moving = MovingPicture(25, lambda step, preview: shown.append(preview))
    filmed(scene(), (), Filming(seconds=3.0, fps=FPS, **SIZE), on_frame=moving)
    first = next(preview for preview in shown if preview)
    assert len(first) == 2 and len(shown) == 25
