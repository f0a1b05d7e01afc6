"""Balls of a draft follow the depth and flow controls; other motion is detected and left to the transformer."""

import pytest
import torch
from vdit.control.camera import CameraPath
from vdit.control.camera_motion import still_scene_flow
from vdit.control.depth import DepthMaps, depth_from_metres
from vdit.control.flow import FlowField
from vdit.drafting.camera_views import CameraViews
from vdit.drafting.control_tracking import ControlTracker
from vdit.training.data.tracks import ball_tracks, clip_background
from vdit.world.families.clip import make_clip

LAST = 4


@pytest.fixture(scope="module")
def clip():
    return next(
        c for c in (make_clip(s, "behind", split="validation") for s in range(99)) if c.scene.camera_move == "still"
    )


def tracked(clip, depth=None, flow=None, views=None, drift=1.0):
    """The first ball, which would rest, drifting to the right; told where it goes frame by frame."""
    tracks = ball_tracks(clip)
    size = (128, 128)
    tracker = ControlTracker(flow, depth, clip_background(clip, LAST), views or CameraViews(None, *size), LAST, size)
    place, path = tracks[LAST, :1, :2], [tracks[LAST, 0, :2]]
    for t in range(LAST + 1, len(tracks)):
        way = tracks[t, :1, :2] - tracks[t - 1, :1, :2]
        place, _ = tracker.step(
            t, place, place + way * 0.6 + torch.tensor([0.0, drift]), tracks[t, :1, 2:3], tracks[t, :1, 3:]
        )
        path.append(place[0])
    return torch.stack(path), tracks[LAST:, 0], tracker


def off(path, true):
    inside = ((true[:, :2] > 8) & (true[:, :2] < 120)).all(-1)
    return (path - true[:, :2]).norm(dim=-1)[inside]


@pytest.mark.parametrize("told", ["flow", "depth"])
def test_tracking_corrects_a_ball_that_leaves_its_path(clip, told):
    control = {"flow": FlowField(clip.flow)} if told == "flow" else {"depth": depth_from_metres(clip.render.depth)}
    path, true, _ = tracked(clip, **control)
    shows = (clip.render.instance == 10).flatten(1).sum(1)[LAST:] > 150
    inside = ((true[:, :2] > 8) & (true[:, :2] < 120)).all(-1)
    assert (path - true[:, :2]).norm(dim=-1)[shows & inside].median() < 1.0


def test_flow_of_a_balls_front_moves_it_as_far_as_its_centre():
    views, radius = CameraViews(None, 64, 64), 8.0
    front = 1 - 0.89 * radius / float(views.focal[0])  # metres to the front, of those to the centre
    flow = torch.zeros(8, 64, 64, 2)
    flow[:, 16:48, :, 0] = 3.0 / front
    tracker = ControlTracker(FlowField(flow), None, torch.full((16, 16), 0.1), views, 0, (64, 64))
    tracker.silhouettes = None
    start = torch.tensor([[20.0, 32.0]])
    place, _ = tracker.step(1, start, start, torch.tensor([[radius]]), torch.tensor([[5.0]]))
    assert place[0].tolist() == pytest.approx([23.0, 32.0], abs=0.01)


def test_a_ball_that_a_brush_moves_follows_the_stroke():
    flow, valid = torch.zeros(8, 64, 64, 2), torch.zeros(8, 64, 64)
    flow[:4, 20:44, 10:60, 0], valid[:4, 20:44, 10:60] = 3.0, 1.0
    tracker = ControlTracker(
        FlowField(flow, valid), None, torch.full((16, 16), 0.1), CameraViews(None, 64, 64), 0, (64, 64)
    )
    place, sizes = torch.tensor([[20.0, 32.0]]), (torch.tensor([[6.0]]), torch.tensor([[5.0]]))
    for t in range(1, 9):
        place, told = tracker.step(t, place, place + torch.tensor([[0.0, 1.0]]), *sizes)
        assert float(told) == (1.0 if t <= 4 else 0.0)
    assert place.tolist() == [[32.0, 36.0]]  # four steps of 3, then free again


def test_an_occluder_does_not_stop_a_ball():
    flow = torch.zeros(2, 64, 64, 2)
    near = torch.full((16, 16), 0.1)
    near[:, 8:] = 0.5
    place, ahead, size = torch.tensor([[44.0, 32.0]]), torch.tensor([[47.0, 32.0]]), torch.tensor([[5.0]])
    for wall, told in (
        (near, 0.0),
        (near.flip(1), 0.0),
    ):  # behind it; before it, where a resting ground is not the ball
        after, sure = ControlTracker(FlowField(flow), None, wall, CameraViews(None, 64, 64), 0, (64, 64)).step(
            1, place, ahead, size, size
        )
        assert torch.equal(after, ahead) and float(sure) == told
    after, sure = ControlTracker(FlowField(flow), None, near.flip(1), CameraViews(None, 64, 64), 0, (64, 64)).step(
        1, place, place + 0.5, size, size
    )
    assert torch.equal(after, place) and float(sure) == 1.0  # a ball that hardly moves may come to rest


def test_the_edge_of_an_occluder_does_not_slow_a_ball():
    """There the flow is half of each, of a ball in which a box that rests is at its middle."""
    flow, valid = torch.zeros(1, 64, 64, 2), torch.ones(1, 64, 64)
    flow[:, :, :32, 0], valid[:, 0, 0] = 6.0, 0.0
    place, size = torch.tensor([[32.0, 32.0]]), (torch.tensor([[10.0]]), torch.tensor([[5.0]]))
    tracker = ControlTracker(
        FlowField(flow, valid), None, torch.full((16, 16), 0.1), CameraViews(None, 64, 64), 0, (64, 64)
    )
    after, told = tracker.step(1, place, place + torch.tensor([[8.0, 0.0]]), *size)
    assert float(told) == 0.5 and after.tolist() == [[39.0, 32.0]]  # half way to 6, as one place of five tells


def test_a_ball_at_rest_does_not_move():
    """Whatever the dynamics make of it; one that moves may be behind what rests."""
    still, place, size = FlowField(torch.zeros(2, 64, 64, 2)), torch.tensor([[32.0, 32.0]]), torch.tensor([[5.0]])
    tracker = ControlTracker(still, None, torch.full((16, 16), 0.1), CameraViews(None, 64, 64), 0, (64, 64))
    jump = place - torch.tensor([[0.0, 10.0]])
    assert torch.equal(tracker.step(1, place, jump, size, size)[0], jump)
    assert torch.equal(tracker.step(1, place, place + 0.3, size, size)[0], place)
    after, told = tracker.step(2, place, jump, size, size)
    assert torch.equal(after, place) and float(told) == 1.0


def test_a_ball_is_searched_for_at_its_last_position_too():
    v, u = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    maps = torch.full((2, 96, 96), 0.1)
    maps[1, (u - 20).square() + (v - 48).square() < 64] = 0.25
    tracker = ControlTracker(None, DepthMaps(maps), torch.full((24, 24), 0.1), CameraViews(None, 96, 96), 0, (96, 96))
    was, thought = torch.tensor([[21.0, 48.0]]), torch.tensor([[70.0, 48.0]])
    after, told = tracker.step(1, was, thought, torch.tensor([[8.0]]), torch.tensor([[4.0]]))
    assert after[0].tolist() == pytest.approx([20.0, 48.0], abs=0.5) and float(told) == 1.0


@pytest.mark.parametrize("told", ["flow", "depth"])
def test_a_ball_that_another_hides_does_not_go_with_it(told):
    """The nearer one moves to the left, the one behind it goes on to the right."""
    flow, maps = torch.zeros(1, 64, 64, 2), torch.full((2, 64, 64), 0.1)
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    disc = lambda x: (u - x).square() + (v - 32).square() < 100  # noqa: E731
    flow[0, ..., 0], maps[1, disc(29.0)] = -3.0 * disc(32.0), 0.25
    place, size = (
        torch.tensor([[32.0, 32.0]]).repeat(2, 1),
        (torch.tensor([[10.0], [6.0]]), torch.tensor([[4.0], [7.0]])),
    )
    control = (FlowField(flow), None) if told == "flow" else (None, DepthMaps(maps))
    tracker = ControlTracker(*control, torch.full((16, 16), 0.1), CameraViews(None, 64, 64), 0, (64, 64))
    after, sure = tracker.step(1, place, place + torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), *size)
    assert sure.tolist() == [[1.0], [0.0]] and after[1].tolist() == [34.0, 32.0]
    assert after[0].tolist() == pytest.approx([29.0, 32.0], abs=0.35)


@pytest.mark.parametrize("x, sure", [(20.0, 1.0), (28.0, 0.5), (34.0, 0.0)])
def test_a_partly_hidden_silhouette_counts_little(x, sure):
    near = torch.full((16, 16), 0.1)
    near[:, 8:] = 0.5  # a box from pixel 32 on
    ground = torch.nn.functional.interpolate(near[None, None], size=(64, 64))[0, 0]
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    ball = ((u - x - 1.5).square() + (v - 32).square() < 64) & (u < 32)
    depth = DepthMaps(torch.stack((ground, ground.where(~ball, torch.tensor(0.25)))))
    place = torch.tensor([[x, 32.0]])
    tracker = ControlTracker(None, depth, near, CameraViews(None, 64, 64), 0, (64, 64))
    after, told = tracker.step(1, place - 1, place, torch.tensor([[8.0]]), torch.tensor([[4.0]]))
    assert float(told) == pytest.approx(sure, abs=0.35) and (sure != 1 or float(told) == 1)
    assert float(after[0, 0] - x) == pytest.approx(1.5 * float(told), abs=0.6)


def test_views_there_and_back():
    c2w = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    c2w[:, 0, 3], c2w[:, 2, 3] = torch.tensor([0, 0.3, 0.6]), torch.tensor([0, 0.5, 1.0])
    views = CameraViews(CameraPath(c2w, torch.tensor([40.0, 36.0, 30.0])), 128, 96)
    place, depth = torch.tensor([[30.0, 40.0], [100.0, 80.0]]), torch.tensor([[5.0], [8.0]])
    seen, z = views.to_frame(place, depth, 2)
    assert z[:, 0].tolist() == pytest.approx([4.0, 7.0], rel=1e-5)
    torch.testing.assert_close(views.to_reference(seen, z, 2), place, rtol=1e-4, atol=1e-3)
    assert views.zoom(2) > 1.3 and CameraViews(None, 8, 8).zoom(2) == 1.0
    both, far = views.to_frame(place.expand(2, -1, -1), depth.expand(2, -1, -1), slice(1, None))
    torch.testing.assert_close(both[1], seen)
    torch.testing.assert_close(far[1], z)
    assert torch.equal(views.zoom(slice(1, None))[1], views.zoom(2))


@pytest.mark.slow
@pytest.mark.parametrize("told", ["flow", "depth"])
def test_a_ball_is_followed_where_the_camera_moves(told):
    """It would rest in space, and goes where its silhouette, or what moves otherwise than the camera, is."""
    clips = (make_clip(s, "throw", split="validation") for s in range(99))
    clip = next(
        c for c in clips if c.scene.camera_move.startswith(("slide", "orbit", "rise")) and len(c.scene.balls) == 1
    )
    path = CameraPath(torch.tensor(clip.scene.c2w), torch.tensor(clip.scene.fov_deg)).since(LAST)
    control = {"flow": FlowField(clip.flow)} if told == "flow" else {"depth": depth_from_metres(clip.render.depth)}
    views, tracks = CameraViews(path, 128, 128), ball_tracks(clip)[LAST:]
    tracker = ControlTracker(
        control.get("flow"), control.get("depth"), clip_background(clip, LAST), views, LAST, (128, 128)
    )
    where = lambda t: views.to_reference(tracks[t, :1, :2], tracks[t, :1, 3:], t)  # in the first camera  # noqa: E731
    place, speed, off = where(0), where(1) - where(0), []
    for t in range(1, 20):
        before, place = place, place + speed
        size = tracks[0, :1, 2:3], tracks[0, :1, 3:]
        now, _ = tracker.step(LAST + t, before, place, *size)
        place, speed = now, now - before
        off.append((now - where(t)).norm())
    assert torch.stack(off).median() < 1.5


def test_the_flow_of_a_still_scene_follows_the_camera():
    clip = next(
        c for c in (make_clip(s, "look", split="validation") for s in range(99)) if c.scene.camera_move == "orbit left"
    )
    path = CameraPath(torch.tensor(clip.scene.c2w), torch.tensor(clip.scene.fov_deg))
    views = CameraViews(path, 128, 128)
    near = torch.nn.functional.avg_pool2d(1 / clip.render.depth[:1], 4)[0]
    flow = still_scene_flow(path, 1 / views.inverse_depths(near)).resized(128, 128).flow
    assert (flow - clip.flow).norm(dim=-1)[:20].median() < 0.05


def test_motion_beyond_the_balls_is_detected(clip):
    path, true, tracker = tracked(clip, flow=FlowField(clip.flow))
    tracks = ball_tracks(clip)
    assert tracker.only_balls_move(tracks)
    whole = FlowField(torch.full_like(clip.flow, 2.0))
    assert not ControlTracker(
        whole, None, torch.full((32, 32), 0.1), CameraViews(None, 128, 128), LAST, (128, 128)
    ).only_balls_move(tracks)
    depth = clip.render.depth + torch.linspace(0, 6, len(clip.render.depth))[:, None, None]  # the camera goes back
    assert not ControlTracker(
        None, depth_from_metres(depth), torch.full((32, 32), 0.1), CameraViews(None, 128, 128), LAST, (128, 128)
    ).only_balls_move(tracks)
