"""Depth and optical flow as controls: what they mean, where they come from, and what is refused."""

import builtins
import json
import math

import numpy as np
import pytest
import torch
from vdit.control import ControlError
from vdit.control.arrays import read_depth
from vdit.control.brush import flow_from_strokes, place_at, profile, read_strokes
from vdit.control.camera import CameraPath
from vdit.control.depth import DepthMaps, depth_from_metres, depth_from_pictures
from vdit.control.estimate import flow_from_video
from vdit.control.flow import FlowField, carried, grid, look_up, over
from vdit.control.moves import move
from vdit.control.reproject import flow_from_camera
from vdit.control.warp import warped_noise
from vdit.control.wheel import from_colors, to_colors
from vdit.world.clip import make_clip

F64 = torch.float64


@pytest.fixture(scope="module")
def clip():
    """A still scene under a moving camera."""
    return next(c for c in (make_clip(s, "look", width=64, height=64, frames=9) for s in range(20)) if moved(c) > 0.2)


def moved(clip):
    return float(np.abs(clip.scene.c2w[-1] - clip.scene.c2w[0]).max())


def strokes(*each):
    return json.dumps({"version": 1, "strokes": list(each)})


# Depth


def test_depth_of_a_clip_spans_near_and_far(clip):
    ours = depth_from_metres(clip.render.depth)
    assert ours.inverse.min() == 0 and ours.inverse.max() == 1
    assert ours.inverse.flatten()[clip.render.depth.argmin()] == 1
    assert torch.allclose(
        ours.metres().clamp(ours.near, ours.far), clip.render.depth.clamp(ours.near, ours.far), rtol=1e-3
    )


def test_nearer_is_brighter_whatever_the_pictures_say():
    metres = torch.linspace(2, 10, 64).expand(1, 48, 64)
    grey = lambda x: x[..., None].expand(-1, -1, -1, 3)  # noqa: E731
    inverse = 1 / metres
    maps = [
        depth_from_metres(metres),
        depth_from_pictures(metres[..., None], "metres"),
        depth_from_pictures(grey((inverse - inverse.min()) / (inverse.max() - inverse.min()))),
        depth_from_pictures(grey((metres - 2) / 8), "darker is nearer", near=2.0, far=10.0),
    ]
    for each in maps:
        assert each.inverse[0, 0, 0] > 0.98 and each.inverse[0, 0, -1] < 0.02
        assert (each.inverse - maps[0].inverse).abs().max() < 0.03


def test_near_and_far_are_kept_and_clip_what_lies_outside():
    maps = depth_from_metres(torch.tensor([[[1.0, 2.0, 4.0, math.inf]] * 4]), near=2.0, far=4.0)
    assert maps.inverse[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0] and (maps.near, maps.far) == (2.0, 4.0)


def test_depth_pictures_are_fitted_like_start_pictures():
    wide = torch.zeros(2, 64, 192, 3)
    wide[:, :, 64:128] = torch.linspace(0, 1, 64)[:, None]
    maps = depth_from_pictures(wide, width=64, height=64)
    assert maps.inverse.shape == (2, 64, 64) and torch.allclose(maps.inverse[:, 0], maps.inverse[:, -1], atol=0.02)


def test_the_preview_is_what_the_model_sees():
    maps = DepthMaps(torch.rand(2, 16, 24))
    seen = maps.seen()
    assert seen.shape == (2, 16, 24, 3)
    assert torch.allclose(seen[0, :4, :4, 0], maps.inverse[0, :4, :4].mean().expand(4, 4))


@pytest.mark.parametrize(
    "metres, said",
    [
        (torch.full((2, 8, 8), 2.5), "depth is constant .2.5 m everywhere"),
        (torch.linspace(-1, 4, 64).reshape(1, 8, 8), "frame 0: the smallest value is -1 m; expected more than 0"),
        (torch.zeros(1, 8, 8), "smallest value is 0 m"),
        (torch.full((1, 8, 8), math.nan), "frame 0: 64 values are NaN"),
        (torch.rand(8, 8), r"the maps are \[8, 8\]; expected \[frames, height, width\]"),
        (torch.rand(1, 2, 2) + 1, "depth is 2x2 pixels; expected at least 4x4"),
    ],
)
def test_metres_that_tell_nothing_are_refused_with_the_numbers(metres, said):
    with pytest.raises(ControlError, match=said):
        depth_from_metres(metres)


@pytest.mark.parametrize(
    "pictures, changes, said",
    [
        (torch.full((1, 8, 8, 3), 0.5), {}, "depth is constant .0.5 everywhere"),
        (
            torch.rand(1, 8, 8, 1).expand(-1, -1, -1, 3) * 2,
            {},
            "values .* to .*; expected 0 to 1, or set reading to metres",
        ),
        (torch.rand(1, 8, 8, 1).expand(-1, -1, -1, 3) - 0.5, {}, "values -0"),
        (torch.rand(1, 8, 8, 3), {}, "the pictures are coloured"),
        (torch.full((1, 8, 8, 3), math.nan), {}, "NaN"),
        (torch.rand(8, 8, 3), {}, r"the pictures are \[8, 8, 3\]; expected an IMAGE"),
        (torch.rand(1, 8, 8, 1), dict(reading="darker is nearer"), "need near and far"),
        (torch.rand(1, 8, 8, 1), dict(reading="darker is nearer", near=3.0, far=2.0), "near is 3.0 and far 2.0"),
        (torch.rand(1, 8, 8, 1), dict(reading="upside down"), "reading is 'upside down'"),
    ],
)
def test_depth_pictures_that_tell_nothing_are_refused(pictures, changes, said):
    with pytest.raises(ControlError, match=said):
        depth_from_pictures(pictures, **changes)


def test_inverse_depth_out_of_range_or_of_another_shape_is_refused():
    with pytest.raises(ControlError, match="inverse depth runs from 0 to 2"):
        DepthMaps(torch.linspace(0, 2, 64).reshape(1, 8, 8))
    with pytest.raises(ControlError, match="depth is 24x16 pixels and the video 64x64: another shape"):
        DepthMaps(torch.rand(1, 16, 24)).resized(64, 64)
    with pytest.raises(ControlError, match="how many metres it stands for is not known; set near and far"):
        DepthMaps(torch.rand(1, 16, 24)).metres()


def test_arrays_are_read_from_npy_and_npz_and_nothing_else(tmp_path):
    depth = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32) + 1
    np.save(tmp_path / "d.npy", depth)
    np.savez_compressed(tmp_path / "d.npz", rgb=depth, depth=depth.astype(np.float16))
    assert torch.equal(read_depth(tmp_path / "d.npy"), torch.from_numpy(depth))
    assert read_depth(tmp_path / "d.npz").shape == (3, 8, 8)
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", rgb=depth)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    for name, said in (("pickle.npy", "without pickled"), ("other.npz", "holds rgb; expected an array named depth"),
                       ("text.npy", "expected numbers"), ("junk.npy", "cannot be read")):  # fmt: skip
        with pytest.raises(ControlError, match=said):
            read_depth(tmp_path / name)


# Flow: the colour wheel


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


# Flow: fields


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
def test_a_field_that_is_none_is_refused_with_the_numbers(flow, valid, said):
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


def test_above_replaces_below_where_it_is_told():
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
    brush = flow_from_strokes(
        read_strokes(strokes({"points": [[0.25, 0.5]], "radius": 0.125, "falloff": 0})), 4, 32, 32
    )
    rest = FlowField(brush.flow + torch.tensor([0.0, 2.0]), brush.valid)  # painted at the same place of the scene
    both = carried(camera, rest)
    for t in range(3):
        place = grid(32, 32)[both.valid[t] > 0.5].mean(0)
        assert torch.allclose(place, torch.tensor([8.0 + 4 * t, 16.0]), atol=0.3)
        assert torch.allclose(both.flow[t][both.valid[t] > 0.99], torch.tensor([4.0, 2.0]), atol=1e-3)


def test_values_are_looked_up_between_pixels():
    maps = grid(8, 6)
    at = torch.tensor([[2.25, 3.5], [0.5, 0.5], [7.5, 5.5]])
    assert torch.allclose(look_up(maps, at), at)


# Flow: from a camera


@pytest.mark.parametrize("name", ["pan", "dolly", "zoom", "roll"])
def test_the_flow_of_a_camera_ends_where_the_scene_is_seen_next(name):
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
        here, there = on_wall(t, grid(48, 32)), on_wall(t + 1, grid(48, 32) + field.flow[t])
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


# Flow: from a video


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


def test_measured_flow_is_near_the_simulators():
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
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError("No module named 'cv2'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ControlError, match="OpenCV is not installed.*pip install opencv-python-headless"):
        flow_from_video(torch.rand(2, 64, 64, 3), 64, 64)


# Flow: the brush


def test_the_painted_disc_travels_along_its_stroke():
    stroke = {"points": [[0.2, 0.5], [0.8, 0.5]], "radius": 0.1, "falloff": 0.0}
    field = flow_from_strokes(read_strokes(strokes(stroke)), 7, 64, 32)
    step = 0.6 * 64 / 6
    for t in range(6):
        told = field.valid[t] > 0
        assert torch.allclose(grid(64, 32)[told].mean(0), torch.tensor([12.8 + step * t, 16.0]), atol=0.6)
        assert torch.allclose(field.flow[t][told], torch.tensor([step, 0.0]), atol=1e-4)
        assert (field.flow[t][~told] == 0).all()
        assert told.sum() == pytest.approx(math.pi * 6.4**2, rel=0.1)


def test_a_bent_stroke_is_travelled_at_even_speed():
    (stroke,) = read_strokes(strokes({"points": [[0, 0], [0.1, 0], [0.5, 0], [0.5, 1]]}))
    place = place_at(stroke, torch.linspace(0, 1, 13), 100, 50)
    assert torch.allclose(place.diff(dim=0).norm(dim=-1)[:5], torch.tensor(100 / 12, dtype=F64).expand(5))
    assert (
        place[0].tolist() == [0, 0] and place[-1].tolist() == [50, 50] and place[6].tolist() == pytest.approx([50, 0])
    )


def test_a_stroke_acts_in_its_own_time_only():
    field = flow_from_strokes(
        read_strokes(strokes({"points": [[0.2, 0.5], [0.8, 0.5]], "start": 0.25, "end": 0.75})), 9, 32, 32
    )
    assert field.valid.amax((1, 2)).gt(0).tolist() == [False] * 2 + [True] * 4 + [False] * 2
    travelled = sum(field.flow[t, ..., 0].max().item() for t in range(8))
    assert travelled == pytest.approx(0.6 * 32, rel=1e-4)


def test_falloff_softens_the_edge():
    distance = torch.linspace(0, 1.2, 13)
    assert profile(distance, 0.0).tolist() == [1.0] * 10 + [1.0] + [0.0] * 2
    soft = profile(distance, 1.0)
    assert soft[0] == 1 and soft[5] == pytest.approx(0.5) and (soft.diff() <= 1e-6).all()
    half = profile(distance, 0.5)
    assert half[5] == 1 and half[7] < 1 and half[10] == pytest.approx(0, abs=1e-6)


def test_one_point_pins_and_a_still_background_tells_all_the_rest_to_rest():
    pin = read_strokes(strokes({"points": [[0.5, 0.5]], "radius": 0.2}))
    free = flow_from_strokes(pin, 3, 32, 32)
    assert (free.flow == 0).all() and 0 < free.valid.mean() < 1
    still = flow_from_strokes(read_strokes(strokes({"points": [[0.2, 0.5], [0.8, 0.5]]})), 3, 32, 32, "still")
    assert (still.valid == 1).all() and (still.flow[:, 0] == 0).all() and still.flow.abs().max() > 1


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "strokes are no JSON"),
        ("[]", 'expected {"version": 1'),
        ('{"version": 2, "strokes": []}', "expected"),
        (strokes(1), "stroke 0: found 1"),
        (strokes({"points": []}), "stroke 0: found 0 points"),
        (strokes({}), "stroke 0: found None"),
        (strokes({"points": [[0.5]]}), r"point 0 is \[0.5\]; expected \[x, y\]"),
        (strokes({"points": [[0.5, 200]]}), "point 0 is"),
        (strokes({"points": [[0.5, math.nan]]}), "point 0 is"),
        (strokes({"points": [[0.5, 0.5]], "radius": 0}), "radius is 0; expected 0.001 to 1"),
        (strokes({"points": [[0.5, 0.5]], "falloff": "soft"}), "falloff is 'soft'"),
        (strokes({"points": [[0.5, 0.5]], "start": 0.5, "end": 0.5}), "start is 0.5 and end 0.5"),
        (strokes(*[{"points": [[0.5, 0.5]]}] * 201), "there are 201 strokes; expected at most 200"),
    ],
)
def test_a_drawing_that_is_none_is_refused_by_stroke(text, said):
    with pytest.raises(ControlError, match=said):
        read_strokes(text)


# Warped noise


def steady(x, y, frames=9, side=64, **more):
    return FlowField(torch.tensor([x, y]).float().expand(frames - 1, side, side, 2), **more)


def noise_of(seed, channels=4, count=3, side=4):
    return torch.randn(1, channels, count, side, side, generator=torch.Generator().manual_seed(seed))


def correlation(a, b):
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())


def test_noise_travels_with_the_flow():
    noise = noise_of(0, 64)
    moved = warped_noise(noise, steady(4.0, 0.0), 4, 16)  # 16 pixels, one cell, in 4 frames
    assert torch.equal(moved[:, :, 0], noise[:, :, 0])
    assert correlation(moved[0, :, 1, :, 1:], moved[0, :, 0, :, :-1]) > 0.99
    assert abs(correlation(moved[0, :, 1, :, :1], moved[0, :, 0, :, :1])) < 0.2, "what comes in is new"


def test_noise_at_rest_stays_and_noise_where_the_model_is_free_is_the_seeds_own():
    noise = noise_of(1, 64)
    rest = warped_noise(noise, steady(0, 0), 4, 16)
    assert torch.allclose(rest[:, :, 2], noise[:, :, 0], atol=1e-5)
    free = warped_noise(noise, steady(3, 1, valid=torch.zeros(8, 64, 64)), 4, 16)
    assert torch.allclose(free, noise, atol=1e-5)


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_moved_noise_is_standard_normal_and_white_in_every_frame(strength):
    torch.manual_seed(0)
    swirl = (grid(64, 64) - 32).flip(-1) * torch.tensor([0.12, -0.05])  # turns, gathers and spreads
    field = FlowField(swirl.expand(8, 64, 64, 2), (torch.rand(8, 64, 64) > 0.2).float(), strength)
    moved = torch.cat([warped_noise(noise_of(s, 256), field, 4, 16) for s in range(4)], 1)[0]
    assert moved.mean().abs() < 0.02
    for frame in moved.unbind(1):  # [channels, h, w]: 1024 samples of each cell
        cells = frame.flatten(1)
        covariance = cells.T @ cells / len(cells)
        assert (covariance.diagonal() - 1).abs().max() < 0.2
        assert (covariance - covariance.diagonal().diag()).abs().max() < 0.17


def test_strength_is_how_much_of_the_noise_moves():
    noise = noise_of(2, 256)
    half = warped_noise(noise, steady(0, 0, strength=0.6), 4, 16)
    assert correlation(half[:, :, 1], noise[:, :, 0]) == pytest.approx(0.6, abs=0.05)


def test_a_motion_slower_than_a_cell_adds_up():
    noise = noise_of(3, 64, count=9)
    moved = warped_noise(noise, steady(0.5, 0.0, frames=33), 4, 16)  # half a pixel a frame: one cell in 32
    assert correlation(moved[0, :, 8, :, 1:], moved[0, :, 0, :, :-1]) > 0.95


def test_a_field_that_does_not_fit_the_noise_is_refused():
    with pytest.raises(
        ValueError, match="flow for 9 frames of 64x64 does not fit noise .* expected 13 frames of 64x64"
    ):
        warped_noise(noise_of(0, count=4), steady(0, 0), 4, 16)
