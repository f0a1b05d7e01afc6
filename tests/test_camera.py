"""Camera paths: moves, key frames, files; what is refused, and how it is said."""

import json
import math

import pytest
import torch
from fakes import decimals
from vdit.control import ControlError
from vdit.control.camera import CameraPath
from vdit.control.camera_files import from_text, leaves_axes_open, to_json
from vdit.control.camera_plot import angles_deg, plot
from vdit.control.depth import DepthMaps
from vdit.control.flow import FlowField
from vdit.control.moves import CameraKey, from_keys, keys_of, move
from vdit.geometry.moves import EASINGS, PRESETS
from vdit.geometry.rotation import axis_angle, yaw_pitch_roll

F64 = torch.float64


# Camera: moves


@pytest.mark.parametrize(
    "name, angles, place",
    [
        ("static", (0, 0, 0), (0, 0, 0)),
        ("pan", (12, 0, 0), (0, 0, 0)),
        ("tilt", (0, 8, 0), (0, 0, 0)),
        ("roll", (0, 0, 10), (0, 0, 0)),
        ("dolly", (0, 0, 0), (0, 0, 2)),
        ("truck", (0, 0, 0), (1, 0, 0)),
        ("pedestal", (0, 0, 0), (0, -0.6, 0)),
        ("orbit", (-30, 0, 0), (3.5, 0, 7 - 7 * math.cos(math.pi / 6))),
        ("zoom", (0, 0, 0), (0, 0, 0)),
    ],
)
def test_a_preset_moves_in_its_direction(name, angles, place):
    path = move(name, frames=9)
    assert torch.allclose(path.c2w[0], torch.eye(4, dtype=F64)), "it starts where the start picture was taken"
    assert torch.allclose(angles_deg(path)[-1], torch.tensor(angles, dtype=F64), atol=1e-6)
    assert torch.allclose(path.c2w[-1, :3, 3], torch.tensor(place, dtype=F64), atol=1e-9)
    zoomed = math.tan(math.radians(20)) / math.tan(math.radians(float(path.fov_deg[-1]) / 2))
    assert zoomed == pytest.approx(1.5 if name == "zoom" else 1.0)


@pytest.mark.parametrize("name", PRESETS)
def test_amounts_scale_a_move_and_negative_ones_reverse_it(name):
    one, half, back = (angles_deg(move(name, a, frames=9))[-1] for a in (1.0, 0.5, -1.0))
    assert torch.allclose(half, one / 2, atol=0.05) and torch.allclose(back, -one, atol=0.05)


def test_an_orbit_keeps_its_point_in_the_middle_of_the_picture():
    path = move("orbit", 3.0, frames=7, distance=5.0, look_down_deg=20.0)
    pivot = torch.tensor([0.0, 0.0, 5.0, 1.0], dtype=F64)
    seen = torch.linalg.inv(path.c2w) @ pivot
    assert torch.allclose(seen[:, :3], pivot[:3].expand(7, 3), atol=1e-9)


def test_a_tilted_camera_turns_and_rises_about_the_true_vertical():
    down = yaw_pitch_roll(*torch.tensor([[0.0], [-30.0], [0.0]], dtype=F64))[0]
    upright = lambda path: down @ path.c2w[:, :3, :3]  # noqa: E731  poses in the upright world
    pan = upright(move("pan", 5.0, frames=5, look_down_deg=30.0))
    assert torch.allclose(pan[:, 1, 2], pan[0, 1, 2].expand(5)), "its height of gaze changed"
    rise = move("pedestal", frames=5, look_down_deg=30.0).c2w[:, :3, 3] @ down.T
    assert torch.allclose(rise[-1], torch.tensor([0.0, -0.6, 0.0], dtype=F64))


def test_handheld_is_small_restless_and_the_same_every_time():
    path = move("handheld", frames=41)
    assert torch.equal(path.c2w, move("handheld", frames=41).c2w)
    assert 0.3 < angles_deg(path).abs().max() < 3 and path.c2w[:, :3, 3].abs().max() < 0.1
    assert (angles_deg(path).diff(dim=0).abs().amax(1) > 0).all()


@pytest.mark.parametrize("easing", EASINGS)
def test_easings_begin_at_0_end_at_1_and_never_turn_back(easing):
    s = move("truck", easing=easing, frames=11).c2w[:, 0, 3]
    assert s[0] == 0 and s[-1] == pytest.approx(1) and (s.diff() >= 0).all()
    gentle = {"smooth": (True, True), "linear": (False, False), "in": (True, False), "out": (False, True)}[easing]
    assert (float(s.diff()[0]) < 0.05, float(s.diff()[-1]) < 0.05) == gentle


# Camera: key frames, joining, files


def test_between_two_keys_positions_are_linear_and_rotations_take_the_shortest_arc():
    keys = [CameraKey(0.0), CameraKey(1.0, (1, 0, 2), (170, 0, 0), 20)]
    path = from_keys(keys, 5, 40.0)
    assert torch.allclose(path.c2w[:, 2, 3], torch.linspace(0, 2, 5).double())
    assert torch.allclose(angles_deg(path)[:, 0], torch.linspace(0, 170, 5).double())
    assert path.fov_deg[0] == pytest.approx(40) and path.fov_deg[-1] == pytest.approx(20)


def test_keys_hold_outside_their_range_and_ease_as_set():
    keys = [CameraKey(0.75, (4, 0, 0)), CameraKey(0.25, ease="in")]
    x = from_keys(keys, 9).c2w[:, 0, 3].tolist()
    assert x == pytest.approx([0, 0, 0, 0.25, 1.0, 2.25, 4, 4, 4])


def test_joined_paths_go_on_from_pose_and_zoom():
    first, second = move("zoom", frames=5), move("pan", 2.0, frames=9)
    path = first.then(second)
    assert path.frames == 13 and path.stretch
    assert torch.allclose(path.fov_deg[4:], path.fov_deg[4].expand(9)), "the zoom was lost"
    assert angles_deg(path)[-1, 0] == pytest.approx(24, abs=1e-6)
    again = move("dolly", frames=5).then(move("dolly", frames=5))
    assert again.c2w[-1, 2, 3] == pytest.approx(4)


def test_a_path_is_resampled_without_moving_its_ends():
    path = move("orbit", 2.0, frames=41)
    for frames in (5, 41, 81):
        again = path.resampled(frames)
        assert again.frames == frames and torch.allclose(again.c2w[[0, -1]], path.c2w[[0, -1]])
    assert torch.allclose(path.resampled(81).c2w[::2], path.c2w, atol=1e-9)


def test_json_gives_the_path_back_to_the_bit():
    path = CameraPath(move("handheld", frames=7).c2w, torch.linspace(40, 50, 7), 0.5, 0.1, 0.9)
    again = from_text(to_json(path))
    assert torch.equal(again.c2w, path.c2w) and torch.equal(again.fov_deg, path.fov_deg)
    assert (again.strength, again.start, again.end, again.stretch) == (0.5, 0.1, 0.9, False)


def lens(fov_deg=50.0):
    fy = 0.5 / math.tan(math.radians(fov_deg) / 2)
    return [fy, fy, 0.5, 0.5]


def quaternion(rotation):
    """x, y, z, w of a rotation of less than half a turn."""
    axis, angle = axis_angle(rotation[None])
    return [*(axis[0] * (angle / 2).sin()).tolist(), float((angle / 2).cos())]


@pytest.mark.parametrize("name", ["orbit", "handheld", "dolly"])
@pytest.mark.parametrize("form", ["8", "12", "16", "16 by columns", "19", "22", "23", "json"])
def test_lines_that_other_tools_write_are_read(form, name):
    path = move(name, frames=5)
    rows = []
    for t, c2w in enumerate(path.c2w):
        w2c = torch.linalg.inv(c2w)
        rows.append(
            {
                "8": [t, *c2w[:3, 3].tolist(), *quaternion(c2w[:3, :3])],
                "12": w2c[:3].flatten().tolist(),
                "16": w2c.flatten().tolist(),
                "16 by columns": w2c.T.flatten().tolist(),
                "19": [t * 1e5, *lens(), 0, 0, *w2c[:3].flatten().tolist()],
                "22": [*lens(), 0, 0, *c2w.flatten().tolist()],
                "23": [t, *lens(), 0, 0, *c2w.flatten().tolist()],
                "json": [t, *lens(), 0, 0, *c2w.flatten().tolist()],
            }[form]
        )
    text = json.dumps(rows) if form == "json" else "\n".join(decimals(row) for row in rows)
    if form == "19":
        text = "https://example.com/a_video\n\n" + text
    direction = "world to camera" if form[:2] in ("12", "16") else None
    read = from_text(text, "mine.txt", fov_deg=33.0, direction=direction)
    assert torch.allclose(read.c2w, path.c2w, atol=1e-6) and not read.stretch
    assert read.fov_deg[0] == pytest.approx(33.0 if form[:2] in ("8", "12", "16") else 50.0, abs=1e-6)


def test_matrices_by_columns_are_turned_in_the_frames_without_a_position_too():
    c2w = torch.cat([move("tilt", frames=3).c2w, move("orbit", frames=3).c2w])
    text = "\n".join(decimals(pose.T.flatten().tolist()) for pose in c2w)
    assert torch.allclose(from_text(text, direction="camera to world").c2w, c2w, atol=1e-6)


@pytest.mark.parametrize("name", ["orbit", "handheld", "tilt"])
@pytest.mark.parametrize("count", [12, 16])
def test_a_direction_that_a_file_does_not_say_is_asked_for(count, name):
    path = move(name, frames=5)
    text = "\n".join(decimals(c2w.flatten().tolist()[:count]) for c2w in path.c2w)
    with pytest.raises(ControlError, match=f"lines of {count} numbers.*camera to world or world to camera.*KITTI"):
        from_text(text, "kitti.txt")
    assert torch.allclose(from_text(text, direction="camera to world").c2w, path.c2w, atol=1e-6)


def test_a_direction_that_contradicts_the_file_is_refused():
    path = move("orbit", frames=2)
    entries = json.dumps([[*lens(), 0, 0, *c2w.flatten().tolist()] for c2w in path.c2w])
    for text in (entries, to_json(path)):
        with pytest.raises(ControlError, match="leave it"):
            from_text(text, "mine.json", direction="world to camera")


@pytest.mark.parametrize("count, direction", [(12, "camera to world"), (16, "world to camera")])
def test_axes_that_a_file_does_not_say_are_chosen(count, direction):
    path = move("orbit", frames=5)
    flipped = path.c2w @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=F64))
    rows = flipped if direction == "camera to world" else torch.linalg.inv(flipped)
    text = "\n".join(" ".join(map(str, row.flatten()[:count].tolist())) for row in rows)
    read = from_text(text, direction=direction, axes="OpenGL")
    assert torch.allclose(read.relative().c2w, path.c2w, atol=1e-9) and leaves_axes_open(text)


@pytest.mark.parametrize("count, words", [(8, "lines of 8 numbers have OpenCV axes"), (0, "has axes of its own")])
def test_axes_that_a_file_does_say_are_not_chosen(count, words):
    text = " ".join(["0"] * 7 + ["1"]) if count else to_json(move("pan", frames=3))
    assert not leaves_axes_open(text)
    with pytest.raises(ControlError, match=words):
        from_text(text, axes="OpenGL")


def test_nerfstudio_poses_are_read():
    path = move("orbit", frames=5)
    gl = path.c2w @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=F64))
    frames = [{"file_path": f"{t}.png", "transform_matrix": pose.tolist()} for t, pose in enumerate(gl)]
    wide = {"camera_angle_x": 2 * math.atan(math.tan(math.radians(25)) * 1.5), "w": 900, "h": 600}
    for head in ({"fl_y": 300 / math.tan(math.radians(25)), "h": 600}, wide, {"camera_angle_y": math.radians(50)}):
        read = from_text(json.dumps({**head, "frames": frames}), "transforms.json")
        assert torch.allclose(read.c2w, path.c2w) and read.fov_deg[0] == pytest.approx(50)


def test_recammaster_tables_are_read():
    """In Unreal's axes the camera goes right by 10 cm a frame, turned by 90 degrees about the vertical: forward."""
    rows = {f"frame{t}": {"cam01": f"[0 1 0 0] [-1 0 0 0] [0 0 1 0] [3390 {1380 + 10 * t} 240 1] "} for t in range(12)}
    path = from_text(json.dumps(rows), "cam.json", fov_deg=45).relative()
    assert path.frames == 12 and path.fov_deg[0] == 45
    assert torch.allclose(path.c2w[11, :3, 3], torch.tensor([0, 0, 1.1], dtype=F64))
    straight = {
        f"frame{t}": {"cam01": f"[1 0 0 0] [-0 1 0 0] [0 -0 1 0] [{10 * t} {10 * t} {20 * t} 1]"} for t in (0, 1)
    }
    path = from_text(json.dumps(straight), "cam.json").relative()
    assert torch.allclose(path.c2w[1, :3, 3], torch.tensor([0.1, -0.2, 0.1], dtype=F64))
    two = {frame: {"cam01": row["cam01"], "cam02": rows["frame0"]["cam01"]} for frame, row in rows.items()}
    with pytest.raises(ControlError, match=r"cam01, cam02; name one behind the file, as in cam.json#cam01"):
        from_text(json.dumps(two), "cam.json")
    assert not from_text(json.dumps(two), "cam.json", camera="cam02").moves


def test_a_plot_shows_the_path():
    drawn = plot(move("orbit"))
    assert drawn.shape[0] == 1 and drawn.shape[-1] == 3 and drawn.std() > 0.05
    assert not torch.equal(drawn, plot(move("dolly")))


ROTATED = torch.eye(4, dtype=F64).repeat(3, 1, 1)


def pose(**changes):
    """Three poses, of which the second is spoilt."""
    c2w = ROTATED.clone()
    for place, value in changes.items():
        c2w[1, int(place[1]), int(place[2])] = value
    return c2w


@pytest.mark.parametrize(
    "c2w, fov, said",
    [
        (
            pose(m00=1.2),
            40,
            "frame 1: the 3x3 part is no rotation .*off the identity by 0.44, expected.*determinant 1.2",
        ),
        (pose(m00=-1.0), 40, "frame 1.*determinant -1, expected 1.*it mirrors"),
        (pose(m03=math.nan), 40, "frame 1: the pose holds NaN"),
        (pose(m30=0.5), 40, "frame 1: the pose's last row is 0.5, 0, 0, 1; expected 0, 0, 0, 1"),
        (ROTATED[:, :3], 40, r"poses are \[3, 3, 4\]; expected \[frames, 4, 4\]"),
        (ROTATED, [40, 40], r"3 poses but \[2\] fields of view"),
        (ROTATED, [40, 0.1, 40], "frame 1: the vertical field of view is 0.1 degrees; expected 1 to 170"),
        (ROTATED, math.nan, "field of view is nan"),
    ],
)
def test_an_invalid_path_is_refused_with_the_numbers(c2w, fov, said):
    with pytest.raises(ControlError, match=said):
        CameraPath(c2w, fov)


@pytest.mark.parametrize(
    "span, said",
    [
        (dict(strength=1.5), "strength is 1.5; expected 0"),
        (dict(strength=math.nan), "strength is nan"),
        (dict(start=0.6, end=0.4), "start is 0.6 and end 0.4; expected 0 <= start < end <= 1"),
        (dict(start=0.5, end=0.5), "start < end"),
    ],
)
def test_a_strength_or_a_span_out_of_range_is_refused_for_every_control(span, said):
    for make in (
        lambda: CameraPath(ROTATED, 40, **span),
        lambda: DepthMaps(torch.rand(2, 8, 8), **span),
        lambda: FlowField(torch.zeros(1, 8, 8, 2), **span),
    ):
        with pytest.raises(ControlError, match=said):
            make()


LINE = decimals(torch.eye(4)[:3].flatten())


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "mine.txt is empty"),
        ("1 2 3", "line 1: found 3 numbers; expected 8 .*12 .*16 .*19.*22 or 23"),
        (LINE + "\n1 2 3", "line 2: found 3 numbers; expected 12 as before"),
        (LINE + "\nhello", "line 2: 'hello' is no line of numbers"),
        (LINE.replace("1.000000000", "inf", 1), "line 1: holds NaN"),
        (decimals([2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]), "frame 0: the 3x3 part is no rotation"),
        (decimals([0, 1, 1, 0.7, 0.5, 0, 0, *torch.eye(4)[:3].flatten()]), "line 1: the lens is centred at 0.7, 0.5"),
        (decimals([0, 1, 0, 0.5, 0.5, 0, 0, *torch.eye(4)[:3].flatten()]), "line 1: fy is 0"),
        ("{", "is no JSON"),
        ('{"version": 1, "c2w": 1.5}', "field 'c2w': found 1.5; expected a list of 1 to 1,001"),
        (decimals([0, 1, 2, 3, 0, 0, 0, 2]), "line 1: the quaternion has length 2; expected 1"),
        ('{"version": 2, "c2w": []}', 'expected {"version": 1'),
        ('{"version": 1, "c2w": [[[1, 0, 0, "x"]]]}', "item 1: found a list of 1; expected one of 4"),
        ('{"version": 1, "c2w": []}', "field 'c2w': found a list of 0"),
        ("[]", "holds 0 poses"),
        ("[1]", "entry 0: found int"),
        ('[["a", 1]]', "entry 0: found 2 numbers"),
        ("\n".join([LINE] * 1002), "holds 1002 poses; expected 1 to 1001"),
    ],
)
def test_an_invalid_path_file_is_named_with_the_line(text, said):
    with pytest.raises(ControlError, match=said):
        from_text(text, "mine.txt", direction=None if text.startswith("{") else "world to camera")


@pytest.mark.parametrize(
    "keys, said",
    [
        ([], "it has no keys"),
        ("x", "field 'keys': found \"x\"; expected a list"),
        ([1], "item 1: found 1; expected an object"),
        ([{"t": 2}], "item 1, field 't': found 2; expected a number from 0 to 1"),
        ([{"t": "a"}], "item 1, field 't': found .a.; expected a number"),
        ([{"t": 0.5}, {"t": 0.5}], "two keys are at t = 0.5"),
        ([{"t": 0, "position": [1, 2]}], "field 'position': found a list of 2; expected one of 3"),
        ([{"t": 0, "look": [0, 0, math.inf]}], "Infinity, which is no number of JSON"),
        ([{"t": 0, "fov_deg": 300}], "field 'fov_deg': found 300; expected degrees from 1 to 170"),
        ([{"t": 0, "ease": "bounce"}], "field 'ease': found .bounce.; known: smooth"),
    ],
)
def test_invalid_keys_are_refused_by_number(keys, said):
    with pytest.raises(ControlError, match=said):
        from_keys(keys_of(json.dumps({"version": 1, "keys": keys})))


@pytest.mark.parametrize(
    "text, said",
    [("nonsense", "path: the text is no JSON"), ("[]", "expected an object"), ('{"version": 1}', "keys missing")],
)
def test_a_widgets_value_that_is_no_path_is_refused(text, said):
    with pytest.raises(ControlError, match=said):
        keys_of(text)
    assert keys_of("") == keys_of('{"version": 1, "keys": []}') == ()


@pytest.mark.parametrize("changes", [dict(name="spin"), dict(amount=math.nan), dict(easing="x"), dict(frames=0)])
def test_a_move_that_does_not_exist_is_refused(changes):
    with pytest.raises(ControlError, match="expected"):
        move(**{"name": "pan", **changes})
