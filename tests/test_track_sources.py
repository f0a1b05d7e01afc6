"""Tracks from strokes, of a still background, carried by a camera; their picture; and the nodes that make them."""

import json

import pytest
import torch
from vdit.control.brush import Stroke
from vdit.control.camera import CameraPath
from vdit.control.camera_motion import flow_from_camera
from vdit.control.depth import depth_from_metres
from vdit.control.moves import move
from vdit.control.span import ControlError
from vdit.control.track_files import from_text
from vdit.control.track_picture import over_picture
from vdit.control.track_sources import carried, from_strokes, with_background
from vdit.control.tracks import MAX_POINTS, PointTracks, from_core
from vdit.host import folders
from vdit.machine import limits
from vdit.nodes.brush import VDiTMotionBrush
from vdit.nodes.preflight import faults_of
from vdit.nodes.tracks import VDiTTracks

W, H, T = 160, 96, 21
ACROSS = Stroke(((0.2, 0.5), (0.8, 0.5)), radius=0.15)
PIN = Stroke(((0.5, 0.85),), radius=0.05)


def seen_places(tracks, t):
    return tracks.at[t][tracks.visible[t]]


# Strokes


def test_a_stroke_s_points_lie_in_its_disc_and_travel_with_it():
    tracks = from_strokes([ACROSS], T, W, H)
    radius = 0.15 * W
    assert tracks.count > 5 and tracks.size == (W, H) and tracks.visible.all()
    for t in (0, T // 2, T - 1):
        centre = torch.tensor([W * (0.2 + 0.6 * t / (T - 1)), H / 2])
        assert ((tracks.at[t] - centre).norm(dim=-1) <= radius).all()
        torch.testing.assert_close(tracks.at[t] - centre, tracks.at[0] - tracks.at[0, 0], atol=1e-3, rtol=0)


def test_a_stroke_of_one_point_holds_still_and_a_small_one_has_a_point():
    tracks = from_strokes([PIN, Stroke(((0.1, 0.1), (0.2, 0.1)), radius=0.001)], T, W, H)
    assert torch.equal(tracks.at[0, 0], tracks.at[-1, 0]) and tracks.at[0, 0].tolist() == [80, pytest.approx(81.6)]
    assert tracks.at[[0, -1], -1, 0].tolist() == [16, 32]


def test_outside_of_its_time_a_stroke_is_seen_in_the_first_frame_alone():
    late = Stroke(ACROSS.points, 0.15, 0.3, 0.5, 0.8)
    visible = from_strokes([late], T, W, H).visible[:, 0]
    assert visible.nonzero().flatten().tolist() == [0, *range(10, 17)]


def test_points_that_begin_outside_of_the_picture_are_left_out():
    tracks = from_strokes([Stroke(((0.0, 0.0), (0.5, 0.5)), radius=0.2)], T, W, H)
    assert tracks.count and (tracks.at[0] >= 0).all()


def test_a_still_background_lies_where_no_stroke_passes_and_moving_points_come_last():
    tracks = from_strokes([ACROSS], T, W, H, "still")
    alone = from_strokes([ACROSS], T, W, H)
    still = tracks.at[:, : tracks.count - alone.count]
    assert torch.equal(tracks.at[:, -alone.count :], alone.at)
    assert still.shape[1] > 20 and torch.equal(still[0], still[-1])
    assert torch.cdist(still[0], alone.at.flatten(0, 1)).amin() >= W / 24
    corners = torch.tensor([[0.0, 0], [W, 0], [0, H], [W, H]])
    assert (torch.cdist(corners, still[0]).amin(1) < W / 8).all(), "up to the edges"


def test_no_strokes_give_no_points_or_the_background_alone():
    assert from_strokes([], T, W, H).count == 0
    assert from_strokes([], T, W, H, "still").count == 12 * 7
    with pytest.raises(ControlError, match="holds no points"):
        from_core({"track_path": from_strokes([], T, W, H).at})


def test_many_strokes_have_fewer_points_each():
    crowd = [Stroke(((i / 200, 0.5), (i / 200, 0.6)), radius=1.0) for i in range(200)]
    assert 200 <= from_strokes(crowd, T, 832, 480, "still").count <= MAX_POINTS


@pytest.mark.parametrize("given", [(1, W, H), (1002, W, H), (T, W, H, "dark")])
def test_a_wrong_length_or_background_is_refused(given):
    with pytest.raises(ControlError, match="tracks: (frames|background) is"):
        from_strokes([ACROSS], *given)


# A camera


def scattered(count=60):
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(1, count, 2, generator=generator) * torch.tensor([W - 1.0, H - 1.0])
    return PointTracks(at.expand(T, -1, -1), torch.ones(T, count), (W, H))


def test_points_before_a_wall_move_as_the_flow_of_the_same_camera_says():
    camera = move("truck", 1.0, "linear", T, 40.0, 5.0)
    flow = flow_from_camera(camera, 5.0, W, H).flow
    tracks = carried(scattered(), camera, 5.0)
    assert torch.equal(tracks.at[0], scattered().at[0]) or (tracks.at[0] - scattered().at[0]).abs().amax() < 1e-3
    x, y = tracks.at[0].floor().long().unbind(-1)
    torch.testing.assert_close(tracks.at[1] - tracks.at[0], flow[0][y, x], atol=1e-2, rtol=1e-2)


def test_a_still_camera_changes_nothing_and_what_was_drawn_moves_in_the_scene():
    drawn = from_strokes([ACROSS], T, W, H)
    still = CameraPath(torch.eye(4).expand(T, 4, 4), torch.tensor(40.0))
    torch.testing.assert_close(carried(drawn, still, 5.0).at, drawn.at, atol=1e-3, rtol=0)
    along = carried(drawn, move("truck", 2.0, "linear", T, 40.0, 5.0), 5.0)
    pinned = carried(
        PointTracks(drawn.at[:1].expand(T, -1, -1), drawn.visible, (W, H)),
        move("truck", 2.0, "linear", T, 40.0, 5.0),
        5.0,
    )
    torch.testing.assert_close(along.at - pinned.at, drawn.at - drawn.at[:1], atol=1e-3, rtol=0)


def test_near_points_move_further_than_far_ones_and_hide_them():
    metres = torch.full((1, H, W), 20.0)
    metres[:, :, 60:100] = 4.0  # a pillar
    depth = depth_from_metres(metres, 4.0, 20.0)
    camera = move("truck", 3.0, "linear", T, 40.0, 5.0)
    tracks = with_background(PointTracks(torch.zeros(T, 0, 2), torch.zeros(T, 0), (W, H)), "still")
    made = carried(tracks, camera, depth)
    way = (made.at[-1] - made.at[0]).norm(dim=-1)
    on_pillar = (tracks.at[0, :, 0] >= 60) & (tracks.at[0, :, 0] < 100)
    assert way[on_pillar].amin() > 3 * way[~on_pillar].amax()
    assert made.visible[:, on_pillar].all() and not made.visible[-1, ~on_pillar].all()
    assert made.visible[0].all()


def test_points_behind_the_camera_are_not_seen():
    forward = CameraPath(torch.eye(4).repeat(T, 1, 1), torch.tensor(40.0))
    forward.c2w[:, 2, 3] = torch.linspace(0, 10, T)
    made = carried(scattered(), forward, 5.0)
    assert made.visible[: T // 2].all() and not made.visible[T // 2 + 1 :].any() and torch.isfinite(made.at).all()


CARRY_REFUSED = {
    "a camera of another length": (dict(frames=9), 5.0, "the camera path is for 9 frames, fewer than the video's 21"),
    "depth without metres": ({}, None, "how many metres it stands for is not known; set near and far on VDiT Depth"),
    "depth of another shape": ({}, (64, 64), "depth is 64x64 pixels and the video 160x96"),
    "no distance": ({}, 0.0, "distance is 0 m"),
}


@pytest.mark.parametrize("camera, depth, says", CARRY_REFUSED.values(), ids=CARRY_REFUSED)
def test_what_cannot_carry_tracks_is_refused(camera, depth, says):
    from vdit.control.depth import DepthMaps

    frames = camera.get("frames", T)
    path = CameraPath(torch.eye(4).expand(frames, 4, 4), torch.tensor(40.0))
    if depth is None:
        depth = DepthMaps(torch.rand(1, H, W))
    elif isinstance(depth, tuple):
        depth = DepthMaps(torch.rand(1, *depth), near=1.0, far=9.0)
    with pytest.raises(ControlError, match=says):
        carried(scattered(), path, depth)


# The picture


def test_a_dot_is_drawn_where_a_point_is_seen_and_nowhere_else():
    at = torch.tensor([[[20.0, 20.0], [100.0, 50.0]]]).repeat(3, 1, 1)
    at[:, 0, 0] += torch.arange(3) * 30
    seen = torch.tensor([[1, 1], [1, 0], [1, 1]])
    picture = torch.full((1, H, W, 3), 0.25)
    shown = over_picture(PointTracks(at, seen, (W, H)), picture)
    assert shown.shape == (3, H, W, 3) and shown.amin() >= 0 and shown.amax() <= 1
    assert shown[0, 20, 20].std() > 0.2, "coloured where it moves"
    assert shown[0, 50, 100].std() < 0.02 and shown[0, 50, 100].mean() > 0.6, "grey where it holds still"
    assert torch.equal(shown[1, 50, 100], picture[0, 50, 100]), "hidden"
    assert not torch.equal(shown[1, 20, 35], picture[0, 20, 35]), "the way it came"
    assert torch.equal(shown[:, :8], picture[:, :8].expand(3, -1, -1, -1)), "the rest stays to the bit"


# The nodes

STROKES = json.dumps({"version": 1, "strokes": [{"points": [[0.2, 0.5], [0.8, 0.5]], "radius": 0.15}]})
LINE = json.dumps([{"x": 16, "y": 48}, {"x": 128, "y": 48}])


def make(points=LINE, file="", frames=T, width=W, height=H, background="free", distance=7.0, **more):
    return VDiTTracks.execute(points, file, frames, width, height, background, distance, **more).args


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def test_text_becomes_tracks_a_picture_and_text_again():
    tracks, preview, points, text = make()
    assert tracks["track_path"].shape == (T, 1, 2) and tracks["track_path"][T // 2, 0].tolist() == [72, 48]
    assert (tracks["width"], tracks["height"]) == (W, H) and preview.shape == (T, H, W, 3)
    assert json.loads(points)[0][0] == {"x": 16.0, "y": 48.0} and len(json.loads(points)[0]) == T
    assert torch.equal(make(text)[0]["track_path"], tracks["track_path"])
    assert (make(points)[0]["track_path"] - tracks["track_path"]).abs().amax() < 1e-3


def test_strokes_are_read_and_joined_to_other_tracks_in_the_size_asked():
    other = {"track_path": torch.full((5, 1, 2), 8.0), "track_visibility": torch.ones(5, 1), "width": 80, "height": 48}
    tracks, *_ = make(STROKES, tracks=other)
    assert tracks["track_path"].shape == (T, 1 + from_strokes([ACROSS], T, W, H).count, 2)
    assert tracks["track_path"][:, 0].unique().tolist() == [16]


def test_a_file_is_read_in_place_of_the_text(inputs):
    (inputs / "mine.json").write_text(LINE)
    assert torch.equal(make("", "mine.json")[0]["track_path"], make()[0]["track_path"])
    with pytest.raises(ControlError, match="both points and file .mine.json. are set"):
        make(LINE, "mine.json")
    (inputs / "theirs.pth").write_bytes(b"\x80\x02")
    with pytest.raises(ControlError, match=r"theirs.pth: .pth files are not read here; save the tracks as JSON"):
        make("", "theirs.pth")
    (inputs / "wild.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ControlError, match="this is no text file"):
        make("", "wild.json")


def test_a_camera_alone_moves_the_points_of_the_background():
    tracks, *_ = make("", background="still", camera=move("truck", 1.0, "linear", 9, 40.0, 7.0), distance=5.0)
    moved = tracks["track_path"][-1] - tracks["track_path"][0]
    assert tracks["track_path"].shape[1] == 84 and (moved[:, 0].abs() > 1).all()


def test_a_preview_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 5_000_000)
    with pytest.raises(limits.TooLarge, match="VDiT Tracks: its preview"):
        make(frames=T)


def test_drawing_can_be_cancelled_at_every_point():
    asked = []
    over_picture(from_strokes([ACROSS], 3, W, H), torch.zeros(1, H, W, 3), lambda: asked.append(1))
    assert len(asked) >= 3 * from_strokes([ACROSS], 3, W, H).count


SAYS_NOTHING = {
    "nothing at all": (dict(points=""), "tracks: there are none; draw strokes on VDiT Motion Brush"),
    "depth without a camera": (dict(depth=object()), "depth is connected without a camera"),
    "a text of none": (dict(points="[[]]"), "points, track 1"),
}


@pytest.mark.parametrize("given, says", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_what_gives_no_tracks_is_refused(given, says):
    with pytest.raises(ControlError, match=says):
        make(**given)


def prompt(**given):
    widgets = dict(points=LINE, file="", frames=T, width=W, height=H, background="free", distance=7.0)
    return {"1": {"class_type": "VDiTTracks", "inputs": widgets | given}}


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(points=""), "there are none"),
        (dict(points='[{"x": 1}]'), "track 1, point 1"),
        (dict(file="nowhere.json", points=""), "nowhere.json"),
        (dict(depth=["2", 0]), "depth is connected without a camera"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(inputs, given, says):
    (fault,) = faults_of(prompt(**given))
    assert says in fault.message


@pytest.mark.parametrize(
    "given", [{}, dict(points=STROKES), dict(points="", background="still"), dict(points=["2", 0])]
)
def test_what_can_run_is_not_refused(inputs, given):
    assert faults_of(prompt(**given)) == []
    assert faults_of(prompt(points="", tracks=["2", 0])) == []


def test_motion_brush_gives_the_same_tracks_as_the_node_of_its_strokes():
    _, _, tracks = VDiTMotionBrush.execute(STROKES, T, W, H, "free").args
    assert torch.equal(tracks["track_path"], make(STROKES)[0]["track_path"])
    assert from_text(LINE, "a text", (W, H)).resampled(T).count == 1
    _, _, empty = VDiTMotionBrush.execute("", T, W, H, "free").args
    with pytest.raises(ControlError, match="holds no points"):
        from_core(empty)
