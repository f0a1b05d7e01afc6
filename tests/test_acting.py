"""Actions on a running simulation: each acts once, at its time; what does nothing is remarked, what is none refused."""

import math

import pytest
from test_simulation import SHAPES, body, scene
from vdit.world.actions import Break, Drag, Push, Release, Throw, Wind
from vdit.world.scene import SceneError
from vdit.world.simulate import simulate


@pytest.mark.parametrize("written", [0.333333333333, 1 / 3, 0.333333333334])
def test_a_push_acts_once_at_a_frames_time_as_decimals_write_it(written):
    ball = body(SHAPES[0], (0.0, 0.0, 1.0), mass=2.0)
    push = Push(body="body", impulse=(1.0, 0.0, 0.0), time=written)
    motion = simulate(scene(ball, ground=None, gravity=(0.0, 0.0, 0.0)), (push,), seconds=1.0, fps=3.0)
    assert motion.poses[2, 0, 0, 3] == pytest.approx(0.5 / 3, rel=1e-3)


def test_a_motion_of_one_frame_is_the_scene_as_given():
    motion = simulate(scene(body(SHAPES[0], (0.0, 0.0, 0.1))), (), seconds=0.1, fps=1.0)
    assert motion.poses.shape[0] == 1 and not motion.remarks


def test_actions_that_do_nothing_are_remarked():
    actions = (
        Release(body="body", time=0.1),
        Break(body="body", time=0.2),
        Push(body="body", impulse=(1.0, 0.0, 0.0), time=0.3),
        Wind(velocity=(1.0, 0.0, 0.0), start=9.0, end=10.0),
    )
    said = simulate(scene(body(SHAPES[1], (0.0, 0.0, 0.15))), actions, seconds=0.5, fps=10.0).remarks
    assert len(said) == 3
    for remark, what in zip(said, ("free by then", "breaks at 0.2", "after the last frame"), strict=True):
        assert what in remark


@pytest.mark.parametrize(
    "action",
    [
        Push(body="body", impulse=(1.0, 0.0)),
        Drag(body="body", path=((0.0, 1.0),)),
        Throw(body="body", velocity=(math.inf, 0.0, 0.0)),
        Break(body="body", time=(1.0, 2.0)),
    ],
)
def test_actions_of_other_sides_are_refused_with_what_is_expected(action):
    with pytest.raises(SceneError, match="expected .*finite number"):
        simulate(scene(body(SHAPES[0], (0.0, 0.0, 0.1))), (action,), seconds=0.1, fps=10.0)
