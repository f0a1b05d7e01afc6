"""Cameras, rotations and flow against formulas that stand on their own."""

import math

import numpy as np
import pytest
import torch
from vdit.geometry import camera, camera_numpy
from vdit.geometry.level import farther_over
from vdit.geometry.moves import EASINGS, PRESETS, TRAINING_MOVES
from vdit.geometry.pixels import pixel_grid, sample_bilinear
from vdit.geometry.pose import poses_from_flow
from vdit.geometry.reproject import plane_depth, reproject, rigid_flow
from vdit.geometry.rotation import axis_angle, rotation_about, slerp, yaw_pitch_roll, yaw_pitch_roll_of

F64 = torch.float64
SIZE = (60, 40)  # width, height


def poses(*at):
    """c2w [T, 4, 4] of ((yaw, pitch, roll) degrees, (x, y, z) metres) each."""
    c2w = torch.eye(4, dtype=F64).repeat(len(at), 1, 1)
    c2w[:, :3, :3] = yaw_pitch_roll(*torch.tensor([angles for angles, _ in at], dtype=F64).T)
    c2w[:, :3, 3] = torch.tensor([place for _, place in at], dtype=F64)
    return c2w


def test_focal_length_is_the_pinholes_in_pixels_and_half_heights():
    assert float(camera.focal_length(torch.tensor(90.0, dtype=F64), 40)) == pytest.approx(20)
    assert float(camera.focal_length(torch.tensor(90.0, dtype=F64))) == pytest.approx(1)
    assert camera_numpy.focal_length(53.13010235415598, 40) == pytest.approx(40)
    assert camera_numpy.pixel_size(53.13010235415598, 40) == pytest.approx(1 / 40)
    fov = torch.linspace(5, 160, 9, dtype=F64)
    assert torch.allclose(camera.fov_from_focal(camera.focal_length(fov, 40), 40), fov)


def test_projecting_undoes_unprojecting_and_both_libraries_agree():
    at, depth = pixel_grid(*SIZE, dtype=F64), torch.rand(SIZE[1], SIZE[0], dtype=F64) + 1
    fov, (c2w,) = torch.tensor(47.0, dtype=F64), poses(((20, -10, 5), (0.3, 0.1, -2)))
    focal = camera.focal_length(fov, SIZE[1])
    points = camera.unproject(at, depth, focal, *SIZE)
    assert torch.allclose(points[..., 2], depth)
    assert torch.allclose(camera.project(points, focal, *SIZE), at)
    origin, direction = camera.world_rays(c2w, fov, at, *SIZE)
    world = origin + direction * depth[..., None]
    assert torch.allclose(world, points @ c2w[:3, :3].T + c2w[:3, 3])
    u, v, z = camera_numpy.project(world.numpy(), c2w.numpy(), 47.0, *SIZE)
    assert np.allclose(np.stack((u, v), -1), at) and np.allclose(z, depth)


def test_pluecker_rays_are_lines_through_the_camera():
    """(m, d) of a line: |d| = 1, m . d = 0, and p x d = m for each of its points p."""
    c2w, fov = poses(((0, 0, 0), (1, 2, 3)), ((30, 10, 0), (2, 2, 3.5))), torch.tensor([40.0, 50.0])
    m, d = camera.plucker_rays(c2w, fov, *SIZE, step=4).movedim(1, -1).split(3, -1)
    assert d.shape == (2, 10, 15, 3) and torch.allclose(d.norm(dim=-1), torch.ones(2, 10, 15, dtype=F64))
    assert (m * d).sum(-1).abs().max() < 1e-12
    assert m[0].abs().max() == 0, "the first camera is the origin"
    point = torch.tensor([1.0, 0.0, 0.5], dtype=F64) + 3 * d[1]
    assert torch.allclose(torch.linalg.cross(point, d[1], dim=-1), m[1])


def test_slerp_turns_evenly_and_angles_are_read_back():
    a, b = yaw_pitch_roll(*torch.tensor([[10.0, -60.0], [20.0, 5.0], [0.0, 40.0]], dtype=F64))[:, None]
    parts = torch.cat([slerp(a, b, torch.tensor([s], dtype=F64)) for s in (0.0, 0.25, 0.5, 0.75, 1.0)])
    steps = axis_angle(parts[:-1].mT @ parts[1:])[1]
    assert torch.allclose(parts[[0, -1]], torch.cat((a, b))) and torch.allclose(steps, steps[:1].expand(4))
    angles = torch.tensor([[170.0, -80.0, 30.0], [-5.0, 60.0, -170.0]], dtype=F64)
    assert torch.allclose(yaw_pitch_roll_of(yaw_pitch_roll(*angles.T)), angles)


def test_a_rotation_is_its_axis_and_angle_even_at_half_a_turn():
    axis = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.6, -0.8, 0.0]], dtype=F64)
    for degrees in (1e-3, 90.0, 180.0):
        angle = torch.full((3,), math.radians(degrees), dtype=F64)
        found, size = axis_angle(rotation_about(axis, angle))
        assert torch.allclose(size, angle) and torch.allclose((found * axis).sum(-1).abs(), torch.ones(3, dtype=F64))


def test_look_at_shows_the_target_in_the_middle_and_the_horizon_level():
    c2w = camera_numpy.look_at(np.array([1.0, -7.0, 2.5]), np.array([0.0, 0.2, 1.0]))
    u, v, z = camera_numpy.project(np.array([0.0, 0.2, 1.0]), c2w, 40.0, *SIZE)
    assert (u, v) == pytest.approx((30, 20)) and z == pytest.approx(np.linalg.norm([1, -7.2, 1.5]))
    assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1) and c2w[2, 0] == pytest.approx(0)


def test_the_flow_of_a_turning_camera_does_not_depend_on_depth():
    """A pan by a moves the pixel at angle b to the left of the axis: x = f tan(b) goes to f tan(b - a)."""
    c2w, fov = poses(((0, 0, 0), (0, 0, 0)), ((7, 0, 0), (0, 0, 0))), torch.full((2,), 40.0, dtype=F64)
    flow, valid = rigid_flow(c2w, fov, torch.rand(2, SIZE[1], SIZE[0], dtype=F64) + 1)
    focal = 20 / math.tan(math.radians(20))
    x = torch.arange(60, dtype=F64) + 0.5 - 30
    expected = focal * torch.tan(torch.atan(x / focal) - math.radians(7)) - x
    row = SIZE[1] // 2
    assert valid.all() and torch.allclose(flow[0, row, :, 0].double(), expected, atol=2e-3)


def test_the_flow_of_a_sliding_camera_is_its_parallax():
    c2w, fov = poses(((0, 0, 0), (0, 0, 0)), ((0, 0, 0), (0.5, 0, 0))), torch.full((2,), 40.0, dtype=F64)
    depth = torch.rand(2, SIZE[1], SIZE[0], dtype=F64) + 1
    flow, _ = rigid_flow(c2w, fov, depth)
    assert torch.allclose(flow[0, ..., 0].double(), -20 / math.tan(math.radians(20)) * 0.5 / depth[0], atol=1e-5)
    assert flow[..., 1].abs().max() < 1e-5


def test_a_plane_in_another_view_is_that_plane():
    c2w, fov = poses(((0, 0, 0), (0, 0, 0)), ((6, -3, 2), (0.4, 0.1, 0.5))), torch.full((2,), 40.0, dtype=F64)
    first, later = plane_depth(c2w, fov, 5.0, *SIZE)
    assert torch.allclose(first, torch.full_like(first, 5.0))
    depth, positions, visible = reproject(first, c2w, fov)
    inside = ((positions > 0.5) & (positions < torch.tensor(SIZE) - 0.5)).all(-1)[0]
    assert inside.float().mean() > 0.5 and visible[0][inside].all()
    assert torch.allclose(depth[0][inside], later[inside], atol=1e-6)


def test_poses_are_found_again_from_their_own_flow():
    steps = [((0.8 * t, -0.3 * t, 0.2 * t), (0.05 * t, 0.02 * t, 0.06 * t)) for t in range(9)]
    c2w, fov = poses(*steps), torch.full((9,), 40.0, dtype=F64)
    at = pixel_grid(96, 96, dtype=F64) / 96
    shape = 1 / (4 + 2 * at[..., 0] + torch.sin(5 * at[..., 1]))  # inverse depth without edges
    depth = torch.cat((1 / shape[None], reproject(1 / shape, c2w, fov)[0]))
    flow, valid = rigid_flow(c2w, fov, depth)
    found, found_fov = poses_from_flow(flow, valid, shape.float(), 40.0)
    assert (found[:, :3, 3] - c2w[:, :3, 3]).abs().max() < 0.02
    assert axis_angle(found[:, :3, :3].mT @ c2w[:, :3, :3])[1].max() < math.radians(0.3)
    assert found_fov.double().allclose(fov, rtol=0.01)


def test_the_ground_beneath_a_body_tells_how_far_away_it_is():
    turn = poses(((20, -15, 4), (0, 0, 0)))[0, :3, :3]
    up = turn.mT @ torch.tensor([0.0, -1, 0], dtype=F64)
    beneath = torch.tensor([[0.5, 1, 4], [-1, 1, 2.5], [0, 1, 90], [0, 1, 0.005]], dtype=F64)  # y is down, the eye at 0
    body = beneath - torch.tensor([0.0, 0.3, 0], dtype=F64)
    seen_at = torch.tensor([0.8, 1.7, 1, 1], dtype=F64)[:, None]  # of their distance they are taken to be at
    found = farther_over(seen_at * body @ turn, 3 * beneath @ turn, up)
    assert torch.allclose(found[:2], torch.tensor([1 / 0.8, 1 / 1.7], dtype=F64))
    assert found[2:].isnan().all(), "towards the horizon, and straight beneath the eye, the ground tells nothing"
    assert farther_over(body[:2] @ turn, -beneath[:2] @ turn, up).isnan().all(), "above the horizon there is none"
    assert farther_over(body[:0], beneath[:0], up).shape == (0,)


def test_values_between_pixels_are_linear_and_the_border_goes_on():
    grid = pixel_grid(8, 6)
    assert torch.allclose(sample_bilinear(grid, torch.tensor([[2.25, 3.75]])), torch.tensor([[2.25, 3.75]]))
    assert torch.allclose(sample_bilinear(grid, torch.tensor([[-9.0, 99.0]])), torch.tensor([[0.5, 5.5]]))


def test_one_table_names_the_moves_of_the_node_and_of_the_training_scenes():
    assert PRESETS["orbit"].amount == 30 and "30 degrees" in PRESETS["orbit"].does
    assert all("{" not in preset.does for preset in PRESETS.values())
    assert list(TRAINING_MOVES)[:3] == ["still", "orbit left", "orbit right"], "seeds draw by position"
    axes = {axis for move in TRAINING_MOVES.values() for axis in move}
    assert axes <= set(PRESETS), "a training move is made of presets"
    assert all(ease(0.0) == 0 and ease(1.0) == 1 for ease in EASINGS.values())
