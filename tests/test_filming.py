"""A scene simulated and drawn in one go: its length and size, the estimate beyond which it is refused, cameras."""

import numpy as np
import pytest
import torch
from test_words import CUP, SCENE, VIEW
from vdit.control.moves import move
from vdit.nodes.scenes import cameras_along
from vdit.world.actions import Throw
from vdit.world.families.bodies import to_scene
from vdit.world.families.clip import make_clip
from vdit.world.families.render import FIRST_BALL_ID
from vdit.world.filming import CELL, FITTED_PIXELS, Filming, filmed, fitted
from vdit.world.scene import Scene, SceneError

SMALL = {"width": 64, "height": 48}


@pytest.mark.parametrize("size", [(600, 400), (4032, 3024), (1080, 1920), (832, 480), (333, 517), (40, 30)])
def test_a_size_left_open_keeps_the_picture_s_aspect_in_whole_cells(size):
    scene = Scene(bodies=(CUP,), view=VIEW, width=size[0], height=size[1])
    width, height = fitted(scene, Filming())
    assert width % CELL == height % CELL == 0 and width * height <= 1.1 * max(FITTED_PIXELS, CELL * CELL)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02 if min(size) > 100 else 0.3)


def test_one_side_follows_from_the_other():
    assert fitted(SCENE, Filming(width=416)) == (416, 240) and fitted(SCENE, Filming(height=480)) == (832, 480)


def test_a_run_that_fits_no_memory_is_refused_with_the_estimate():
    with pytest.raises(SceneError, match=r"1,921 frames of 1920x1088 would take about 217 GB"):
        filmed(SCENE, (), Filming(seconds=120, fps=16, width=1920, height=1088))


def test_there_is_a_frame_more_than_seconds_times_fps_and_motion_is_in_real_time():
    throw = Throw(body="cup", velocity=(0.0, 0.0, 2.0))
    motion, footage = filmed(Scene(bodies=(CUP,), view=VIEW), (throw,), Filming(seconds=0.25, fps=16, **SMALL))
    assert len(footage.rgb) == len(motion.poses) == 5
    height = motion.poses[-1, 0, 2, 3] - motion.poses[0, 0, 2, 3]
    assert height == pytest.approx(2.0 * 0.25 - 9.81 * 0.25**2 / 2, rel=0.02)


def test_a_run_can_be_cancelled():
    class Cancelled(Exception):
        pass

    def check():
        raise Cancelled

    with pytest.raises(Cancelled):
        filmed(SCENE, (), Filming(seconds=1, **SMALL), check=check)


def test_a_camera_path_starts_at_the_scene_s_own_view():
    path = move("orbit", 1.0, "linear", 41, 60.0, 1.0)
    c2w, fov_deg = cameras_along(SCENE, path, 9, (SCENE.width, SCENE.height))
    assert c2w is not None and fov_deg is not None and len(c2w) == 9
    assert np.allclose(c2w[0], VIEW.c2w) and np.allclose(fov_deg, VIEW.fov_deg)
    assert np.allclose(np.linalg.inv(c2w[0]) @ c2w[-1], path.relative().c2w[-1].numpy())
    assert cameras_along(SCENE, None, 9, (64, 48)) == (None, None)


@pytest.mark.parametrize("size", [(160, 32), (48, 96), (83, 48)])
def test_the_first_frame_of_a_camera_path_is_cropped_as_without_one(size):
    path = move("orbit", 1.0, "linear", 41, 60.0, 1.0)
    filming = Filming(seconds=0.1, fps=10, width=size[0], height=size[1])
    c2w, fov_deg = cameras_along(SCENE, path, filming.frames, size)
    still, moving = filmed(SCENE, (), filming)[1], filmed(SCENE, (), filming, c2w=c2w, fov_deg=fov_deg)[1]
    assert torch.allclose(moving.depth[0], still.depth[0], rtol=1e-4)
    assert (moving.rgb[0] - still.rgb[0]).abs().mean() < 1e-3


def test_a_clip_of_the_families_goes_on_as_a_scene_of_bodies():
    clip = make_clip(3, "throw", width=64, height=64, frames=5)  # its camera moves
    scene = to_scene(clip)
    motion, footage = filmed(scene, (), Filming(seconds=0.5, fps=8, width=64, height=64))
    ball = motion.poses[:, 0, :3, 3]
    assert np.allclose(ball, clip.centers[:, 0], atol=0.02), "it moves as the clip does"
    ours, theirs = footage.instance[0] == 1, clip.render.instance[0] == FIRST_BALL_ID
    assert (ours & theirs).sum() > 0.9 * (ours | theirs).sum(), "and shows where the clip's does"


def test_names_of_a_clip_s_bodies_are_told_apart():
    for seed in range(6):
        names = [body.name for body in to_scene(make_clip(seed, "stack", width=32, height=32, frames=1)).bodies]
        assert len(set(names)) == len(names)


def test_footage_is_in_the_shapes_of_comfyui_s_wires():
    _, footage = filmed(Scene(bodies=(CUP,), view=VIEW), (), Filming(seconds=0.1, fps=10, **SMALL))
    assert footage.rgb.shape == (2, 48, 64, 3) and footage.rgb.dtype == torch.float32
