"""Optical flow as a control: its colours, its fields, where they come from, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch
from fakes import clip_under_a_moving_camera, hide_package
from vdit.control import ControlError
from vdit.control.brush import flow_from_strokes, read_strokes
from vdit.control.camera import CameraPath
from vdit.control.camera_motion import flow_from_camera
from vdit.control.depth import depth_from_metres
from vdit.control.flow import FlowField, carried_by_camera, over
from vdit.control.flow_colors import from_colors, to_colors
from vdit.control.flow_from_video import flow_from_video
from vdit.control.moves import move
from vdit.geometry.pixels import pixel_grid
from vdit.world.families.clip import make_clip

F64 = torch.float64


@pytest.fixture(scope="module")
def clip():
    return clip_under_a_moving_camera()


# The colour wheel


def middlebury(u, v):
    """Colours of one motion by the wheel's table, as its authors define it."""
    runs = [(15, (255, 0, 0), (255, 255, 0)), (6, (255, 255, 0), (0, 255, 0)), (4, (0, 255, 0), (0, 255, 255)),
            (11, (0, 255, 255), (0, 0, 255)), (13, (0, 0, 255), (255, 0, 255)),
            (6, (255, 0, 255), (255, 0, 0))]  # fmt: skip
    table = np.array(
        [a + (np.array(b) - a) * (i / n) for n, a, b in ((n, np.array(a), b) for n, a, b in runs) for i in range(n)]
    )
    radius, angle = math.hypot(u, v), math.atan2(-v, -u) / math.pi
    place = (angle + 1) / 2 * (len(table) - 1)
    low = int(place)
    color = (1 - (place - low)) * table[low] / 255 + (place - low) * table[(low + 1) % len(table)] / 255
    return 1 - radius * (1 - color) if radius <= 1 else 0.75 * color


def test_flow_is_drawn_with_the_middlebury_wheel():
    motions = [(math.cos(a) * r, math.sin(a) * r) for a in np.linspace(-3.1, 3.14, 40) for r in (0.0, 0.3, 1.0, 1.5)]
    field = FlowField(torch.tensor(motions).reshape(1, 16, 10, 2) * 8)
    ours = to_colors(field, full=8.0).reshape(-1, 3).double()
    theirs = torch.tensor(np.array([middlebury(u, v) for u, v in motions]))
    assert (ours - theirs).abs().max() < 1e-4


def test_colours_give_the_flow_back():
    field = FlowField((torch.rand(2, 16, 16, 2) - 0.5) * 20)
    back = from_colors((to_colors(field, 16.0) * 255).round() / 255, 16.0)
    assert (back.flow - field.flow).norm(dim=-1).max() < 0.5


def test_free_pixels_are_white():
    field = FlowField(torch.ones(1, 8, 8, 2), torch.zeros(1, 8, 8))
    assert torch.equal(to_colors(field), torch.ones(1, 8, 8, 3))


@pytest.mark.parametrize(
    "images, full, said",
    [
        (torch.zeros(1, 8, 8, 3), 8.0, "100% of the pixels are darker than the colour wheel"),
        (torch.ones(1, 8, 8, 2), 8.0, "expected an IMAGE"),
        (torch.full((1, 8, 8, 3), math.nan), 8.0, "NaN"),
        (torch.ones(1, 8, 8, 3), 0.0, "full colour is 0.0 pixels"),
    ],
)
def test_pictures_that_are_no_flow_are_refused(images, full, said):
    with pytest.raises(ControlError, match=said):
        from_colors(images, full)


# Fields


@pytest.mark.parametrize(
    "flow, valid, said",
    [
        (torch.zeros(4, 8, 8, 3), None, r"flow is \[4, 8, 8, 3\]; expected \[frames - 1, height, width, 2\]"),
        (torch.zeros(8, 8, 2), None, r"flow is \[8, 8, 2\]"),
        (torch.zeros(0, 8, 8, 2), None, r"flow is \[0, 8, 8, 2\]"),
        (torch.full((2, 8, 8, 2), math.nan), None, "flow, frame 0: 128 values are NaN"),
        (torch.full((2, 8, 8, 2), math.inf), None, "NaN or infinite"),
        (torch.zeros(2, 8, 8, 2), torch.ones(3, 8, 8), r"`valid` \[3, 8, 8\]; expected \[2, 8, 8\]"),
        (torch.zeros(2, 8, 8, 2), torch.full((2, 8, 8), 2.0), "`valid` runs from 2 to 2; expected 0"),
        (torch.zeros(2, 8, 8, 2), torch.full((2, 8, 8), math.nan), "`valid`"),
        (torch.zeros(2, 2, 8, 2), None, "flow is 8x2 pixels; expected at least 4x4"),
    ],
)
def test_an_invalid_field_is_refused_with_the_numbers(flow, valid, said):
    with pytest.raises(ControlError, match=said):
        FlowField(flow, valid)


def test_vectors_scale_with_the_field_and_free_pixels_do_not_bleed_into_them():
    flow, valid = torch.zeros(2, 32, 32, 2), torch.zeros(2, 32, 32)
    flow[:, :, :16] = torch.tensor([4.0, -2.0])
    valid[:, :, :16] = 1
    small = FlowField(flow, valid).resized(16, 16)
    told = small.valid > 0.01
    assert torch.allclose(small.flow[told], torch.tensor([2.0, -1.0]).expand(int(told.sum()), 2), atol=1e-4)
    with pytest.raises(ControlError, match="flow is 32x32 pixels and the video 64x32: another shape"):
        small = FlowField(flow).resized(64, 32)


def test_the_upper_field_replaces_the_lower_where_it_is_valid():
    below = FlowField(torch.full((2, 8, 8, 2), 1.0))
    valid = torch.zeros(2, 8, 8)
    valid[:, :4] = 1
    above = FlowField(torch.full((2, 8, 8, 2), 5.0), valid, strength=0.5)
    both = over(below, above)
    assert (both.flow[:, :4] == 5).all() and torch.allclose(both.flow[:, 4:], torch.ones(2, 4, 8, 2))
    assert (both.valid == 1).all() and both.strength == 0.5
    with pytest.raises(ControlError, match=r"disagree in length: 2 and 3 steps \(for 3 and 4 frames\)"):
        over(below, FlowField(torch.zeros(3, 8, 8, 2)))


def test_object_motion_is_carried_along_with_the_camera():
    camera = FlowField(torch.zeros(3, 32, 32, 2) + torch.tensor([4.0, 0.0]), torch.zeros(3, 32, 32))
    spot = {"version": 1, "strokes": [{"points": [[0.25, 0.5]], "radius": 0.125, "falloff": 0}]}
    brush = flow_from_strokes(read_strokes(json.dumps(spot)), 4, 32, 32)
    rest = FlowField(brush.flow + torch.tensor([0.0, 2.0]), brush.valid)  # painted at the same place of the scene
    both = carried_by_camera(camera, rest)
    for t in range(3):
        place = pixel_grid(32, 32)[both.valid[t] > 0.5].mean(0)
        assert torch.allclose(place, torch.tensor([8.0 + 4 * t, 16.0]), atol=0.3)
        assert torch.allclose(both.flow[t][both.valid[t] > 0.99], torch.tensor([4.0, 2.0]), atol=1e-3)


# From a camera


@pytest.mark.parametrize("name", ["pan", "dolly", "zoom", "roll"])
def test_camera_flow_ends_at_the_points_projection_in_the_next_frame(name):
    """Each pixel of the wall, moved by the flow, shows the same point of the wall in the next frame."""
    path = move(name, 2.0, frames=4, easing="linear")
    field = flow_from_camera(path, 7.0, 48, 32)
    assert field.flow.shape == (3, 32, 48, 2)

    def on_wall(t, at):
        focal = 16 / math.tan(math.radians(float(path.fov_deg[t]) / 2))
        local = torch.cat(((at.double() - torch.tensor([24.0, 16.0])) / focal, torch.ones(32, 48, 1)), -1)
        ray = local @ path.c2w[t, :3, :3].T
        return path.c2w[t, :3, 3] + ray * ((7.0 - path.c2w[t, 2, 3]) / ray[..., 2:])

    for t in range(3):
        here, there = on_wall(t, pixel_grid(48, 32)), on_wall(t + 1, pixel_grid(48, 32) + field.flow[t])
        assert (here - there).abs().max() < 1e-4


def test_the_flow_of_a_path_through_depth_is_the_simulators(clip):
    scene = clip.scene
    camera = CameraPath(torch.tensor(scene.c2w), torch.as_tensor(scene.fov_deg, dtype=F64))
    near, far = float(clip.render.depth.min()), float(clip.render.depth.max())
    field = flow_from_camera(camera, depth_from_metres(clip.render.depth, near, far))
    error = (field.flow - clip.flow).norm(dim=-1)
    still = clip.render.instance[:-1] < 10  # floor and wall; balls at rest shall not spin
    assert clip.flow.norm(dim=-1).max() > 0.5, "the camera moves"
    assert error[still].max() < 0.02


def test_one_depth_map_is_enough_for_a_camera_path(clip):
    path = move("truck", frames=5)
    maps = depth_from_metres(clip.render.depth[:1], 3.0, 20.0)
    field = flow_from_camera(path, maps)
    assert field.frames == 5 and (field.flow[..., 0] < 0.01).all(), "a camera that goes right sees the scene go left"
    nearer = maps.inverse[0] > maps.inverse[0].median()
    assert field.flow[0][nearer].norm(dim=-1).mean() > field.flow[0][~nearer].norm(dim=-1).mean()


def test_depth_and_camera_of_different_length_are_refused(clip):
    camera = CameraPath(move("truck", frames=5).c2w, 40.0)
    with pytest.raises(ControlError, match="the depth has 9 frames and the camera path 5; expected as many, or 1"):
        flow_from_camera(camera, depth_from_metres(clip.render.depth))
    with pytest.raises(ControlError, match="distance is 0 m"):
        flow_from_camera(camera, 0.0, 32, 32)


# From a video


def test_a_driving_videos_motion_is_measured():
    torch.manual_seed(0)
    canvas = torch.nn.functional.interpolate(torch.rand(1, 3, 30, 30), size=(220, 220), mode="bicubic").clamp(0, 1)
    canvas = canvas[0].permute(1, 2, 0)
    video = torch.stack([canvas[20 + t : 148 + t, 20 + 3 * t : 148 + 3 * t] for t in range(5)])
    seen = []
    field = flow_from_video(video, 64, 64, on_frame=seen.append)
    inner = field.flow[:, 12:-12, 12:-12]
    assert field.frames == 5 and seen == [1, 2, 3, 4]
    assert (inner - torch.tensor([-1.5, -0.5])).norm(dim=-1).mean() < 0.15, "half the size, half the motion"
    assert field.valid.mean() > 0.9
    assert flow_from_video(video, 64, 64, frames=3).frames == 3


def test_estimated_flow_is_close_to_the_simulators():
    clip = make_clip(3, "roll", width=96, height=96, frames=5)
    field = flow_from_video(clip.render.rgb, 96, 96)
    moving = (clip.flow.norm(dim=-1) > 1) & (field.valid > 0.5) & clip.visible
    assert moving.sum() > 100
    error = (field.flow - clip.flow).norm(dim=-1)[moving].median()
    assert error < 0.5 * clip.flow.norm(dim=-1)[moving].median()


@pytest.mark.parametrize(
    "video, changes, said",
    [
        (torch.rand(1, 64, 64, 3), {}, "the video has 1 frame; expected at least 2"),
        (
            torch.rand(5, 64, 64, 3),
            dict(frames=9),
            "the video has 5 frames and 9 were asked for; .* set frames to 5 or 0",
        ),
        (torch.rand(64, 64, 3), {}, "expected an IMAGE"),
        (torch.full((2, 64, 64, 3), math.nan), {}, "NaN"),
        (torch.rand(2, 64, 64, 3), dict(quality="best"), "quality is 'best'"),
    ],
)
def test_a_video_that_cannot_drive_is_refused(video, changes, said):
    with pytest.raises(ValueError, match=said):
        flow_from_video(video, 64, 64, **changes)


def test_without_opencv_the_node_says_what_to_install(monkeypatch):
    hide_package(monkeypatch, "cv2")
    with pytest.raises(ControlError, match="OpenCV is not installed.*pip install opencv-python-headless"):
        flow_from_video(torch.rand(2, 64, 64, 3), 64, 64)
