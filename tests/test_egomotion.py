"""The camera path is estimated from optical flow, or from depth maps, of the simulator's clips."""

import numpy as np
import pytest
import torch
from vdit.control.camera_motion import camera_from_depth, camera_from_flow
from vdit.control.depth import depth_from_metres
from vdit.control.flow import FlowField
from vdit.training.data.encoded_clips import with_depth_error
from vdit.training.data.tracks import ball_tracks, clip_background
from vdit.world.families.clip import make_clip
from vdit.world.families.scene import sample_scene

LAST = 4


def clip_of(move: str, family: str = "fall"):
    seeds = (s for s in range(2000) if sample_scene(s, family, split="validation").camera_move == move)
    return make_clip(next(seeds), family, split="validation")


def path_from(clip):
    balls = ball_tracks(clip)[LAST]
    inverse_depth = with_depth_error(clip_background(clip, LAST), 3)
    return camera_from_flow(FlowField(clip.flow, clip.visible), inverse_depth, LAST, 40.0, balls[balls[:, 2] > 0, :3])


@pytest.mark.slow
@pytest.mark.parametrize("move", ["orbit left", "slide right", "move in", "pan left", "roll right", "free"])
def test_a_path_is_found_again(move):
    clip = clip_of(move)
    path = path_from(clip)
    true = np.linalg.inv(clip.scene.c2w[LAST]) @ clip.scene.c2w[LAST:]
    assert path.frames == len(true) and torch.equal(path.c2w[0], torch.eye(4, dtype=torch.float64))
    turn = path.c2w[:, :3, :3].transpose(1, 2) @ torch.tensor(true[:, :3, :3])
    turn = ((turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1, 1).arccos().rad2deg()
    away = (path.c2w[:, :3, 3] - torch.tensor(true[:, :3, 3])).norm(dim=-1)
    assert turn.max() < 1.5 and away.max() < 0.1 + 0.1 * np.linalg.norm(true[:, :3, 3], axis=-1).max()
    assert path.fov_deg.numpy() == pytest.approx(clip.scene.fov_deg[LAST:], rel=0.05)


def pose_error_from_depth(clip):
    """The last pose found from depth alone relative to the true one, and the true one, both [4, 4]."""
    balls = ball_tracks(clip)[LAST]
    inverse_depth = with_depth_error(clip_background(clip, LAST), 3)
    path = camera_from_depth(
        depth_from_metres(clip.render.depth), inverse_depth, LAST, 40.0, balls[balls[:, 2] > 0, :3]
    )
    true = np.linalg.inv(clip.scene.c2w[LAST]) @ clip.scene.c2w[-1]
    return np.linalg.inv(true) @ path.c2w[-1].numpy(), true


def rotation_deg(pose):
    return np.degrees(np.arccos(np.clip((np.trace(pose[:3, :3]) - 1) / 2, -1, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("move", ["orbit left", "slide right", "move in", "pan left", "roll right", "rise"])
def test_camera_motion_past_a_box_is_estimated_from_depth(move):
    off, true = pose_error_from_depth(clip_of(move, "wall"))
    assert rotation_deg(off) < 1.5 and np.linalg.norm(off[:3, 3]) < 0.05 + 0.05 * np.linalg.norm(true[:3, 3])


@pytest.mark.slow
@pytest.mark.parametrize("move", ["move out", "rise", "pan left", "tilt up", "roll right"])
def test_depth_alone_finds_the_cameras_turn_along_a_wall(move):
    off, true = pose_error_from_depth(clip_of(move, "look"))
    assert rotation_deg(off) < 1.5
    assert np.linalg.norm(off[1:3, 3]) < max(0.35 * np.linalg.norm(true[:3, 3]), 0.25)


def test_a_zoom_is_found_again():
    clip = clip_of("zoom in")
    assert path_from(clip).fov_deg.numpy() == pytest.approx(clip.scene.fov_deg[LAST:], rel=0.06)


def test_a_still_scene_gives_no_camera_path():
    clip = clip_of("still")
    assert path_from(clip) is None
    inverse_depth = torch.full((16, 16), 0.2)
    moved = torch.full((8, 64, 64, 2), 2.0)
    assert camera_from_flow(FlowField(torch.zeros(8, 64, 64, 2)), inverse_depth, 0, 40.0) is None
    assert (
        camera_from_flow(FlowField(moved, torch.zeros(8, 64, 64)), inverse_depth, 0, 40.0) is None
    )  # nothing is valid
    assert camera_from_flow(FlowField(moved), inverse_depth, 0, 40.0) is not None


def test_flow_that_no_camera_explains_gives_no_path():
    noise = 6 * torch.randn(8, 64, 64, 2, generator=torch.Generator().manual_seed(0))
    assert camera_from_flow(FlowField(noise), torch.full((16, 16), 0.2), 0, 40.0) is None
    away = torch.full((30, 64, 64, 2), 5.0)  # out of the picture before the end
    assert camera_from_flow(FlowField(away), torch.full((16, 16), 0.2), 0, 40.0) is None


def test_a_picture_of_edges_gives_no_estimate():
    inverse_depth = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) + 0.1
    depth = depth_from_metres(torch.rand(9, 64, 64, generator=torch.Generator().manual_seed(1)) + 2)
    assert camera_from_depth(depth, inverse_depth, 0, 40.0) is None
    assert camera_from_flow(FlowField(torch.full((8, 64, 64, 2), 2.0)), inverse_depth, 0, 40.0) is None
