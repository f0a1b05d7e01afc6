"""Endpoint search: speeds are chosen so that balls end where the end picture shows them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from vdit.control.camera import CameraPath
from vdit.control.depth import depth_from_metres
from vdit.control.flow import FlowField
from vdit.drafting.camera_views import CameraViews
from vdit.drafting.endpoint_search import (
    MATCH_RADIUS,
    SAMPLES,
    UNMATCHED_COST,
    Endpoints,
    Targets,
    assign,
    rollout,
    same_view,
    search_velocities,
)
from vdit.model.files.bundle import load_world_model
from vdit.model.object_dynamics import Balls, ObjectDynamics
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.training.data.tracks import ball_tracks
from vdit.world.families.clip import make_clip

from runs import encoded, predicted, run

SIZE = dict(frames=41, width=128, height=128)


SMALL_VIEWS = CameraViews(None, 64, 64)


class Straight(ObjectDynamics):
    """Balls go on as they move."""

    def advance(self, balls, scene_features):
        return balls._replace(position=balls.position + balls.velocity[..., :2])


def balls(*places, speed=(0.0, 0.0), radius=0.5):
    n = len(places)
    place = torch.tensor(places).view(1, n, 2)
    speeds = torch.tensor([*speed, 0.0]).expand(1, n, 3)
    return Balls(place, speeds, torch.zeros(1, n, 3), torch.full((1, n, 1), radius), torch.zeros(1, n, 4))


def search(first, ends, frames=10, inverse_depth=None, colour=None, views=SMALL_VIEWS):
    """A search for grey balls in a picture of 8 x 8 UNITS with targets in their colour."""
    inverse_depth = torch.full((16, 16), 0.01) if inverse_depth is None else inverse_depth
    perception = SimpleNamespace(
        scene_features=torch.zeros(1, 4, 4, 4),
        pixels_per_unit=torch.tensor([8.0, 8.0]),
        inverse_depth=inverse_depth[None],
    )
    ends = torch.tensor(ends).view(-1, 2)
    colour = torch.full((len(ends), 3), 0.5) if colour is None else colour
    targets = Targets(ends, torch.full((len(ends), 1), 0.5), colour, perception.inverse_depth)
    depth = torch.full((first.position.shape[1], 1), 5.0)
    return Endpoints(Straight(), perception, frames, torch.full((64, 64, 3), 0.5), first, depth, targets, views)


def assigned(first, ends, **more):
    return assign(search(first, ends, **more), first)


def noise(generator):
    """Of a clip."""
    return torch.randn(1, 10, 4, 10, 10, generator=generator)


def test_tracks_and_ends_are_matched_greedily_and_unmatched_balls_cost():
    first = balls((-2.0, 0.0), (2.0, 0.0))
    found = assigned(first, [(2.25, 0.0), (-2.0, 1.0)])
    assert found.unmatched.tolist() == [0] and float(found.cost) == pytest.approx(0.5 + 2.0)
    torch.testing.assert_close(found.offset[0], torch.tensor([[0.0, 1.0], [0.25, 0.0]]))
    one = assigned(first, [(2.0, 0.0)])
    assert one.unmatched.tolist() == [1] and float(one.cost) == UNMATCHED_COST and one.target.tolist() == [[-1, 0]]
    none = assigned(first, [])
    assert none.unmatched.tolist() == [2] and none.target.tolist() == [[-1, -1]]


def test_balls_that_left_the_picture_or_are_hidden_need_no_end():
    first = balls((0.0, 0.0), speed=(0.5, 0.0))
    assert assigned(first, [], frames=10).unmatched.tolist() == [0]
    wall = torch.full((16, 16), 0.01)
    wall[:, 8:] = 1.0  # a metre away
    assert assigned(first, [], frames=4, inverse_depth=wall).unmatched.tolist() == [0]
    assert assigned(first, [], frames=4).unmatched.tolist() == [1]


def test_another_colour_is_another_ball():
    first = balls((0.0, 0.0))
    assert assigned(first, [(0.1, 0.0)], colour=torch.tensor([[0.5, 0.55, 0.5]])).unmatched.tolist() == [0]
    assert assigned(first, [(0.1, 0.0)], colour=torch.tensor([[1.0, 0.1, 0.0]])).unmatched.tolist() == [2]


def test_each_ball_gets_the_sampled_speed_that_reaches_its_end():
    first, g = balls((-2.0, 0.0), (2.0, 0.0)), torch.Generator().manual_seed(0)
    assert MATCH_RADIUS * 0.5 > 0.25
    drawn = torch.randn(SAMPLES, 2, 2, generator=g) * 0.3
    course = search(first, [(-1.0, 2.0), (3.0, -2.0)])
    found, missing = search_velocities(course, drawn, noise(g))
    last = rollout(course, found).position[0]
    assert float((last - course.targets.position).norm(dim=-1).max()) < 0.25
    torch.testing.assert_close(last + missing, course.targets.position)
    assert search_velocities(course, None, noise(g)) is None, "seen to rest, they cannot go so far"
    near = search(first, [(-1.95, 0.1), (2.0, 0.05)])
    found, missing = search_velocities(near, None, noise(g))
    assert float(missing.norm(dim=-1).max()) < 0.1 < MATCH_RADIUS * 0.5


def test_without_balls_only_an_end_picture_without_balls_is_reachable():
    none = Balls(*(torch.zeros(1, 0, n) for n in (2, 3, 3, 1, 4)))
    assert search_velocities(search(none, []), None, noise(torch.Generator())) is not None
    assert search_velocities(search(none, [(0.0, 0.0)]), None, noise(torch.Generator())) is None


def test_a_ball_comes_to_where_the_last_camera_sees_it():
    """One that stands, 5 m away, before a camera that goes to the right, and nearer."""
    c2w = torch.eye(4).repeat(11, 1, 1)
    c2w[:, 0, 3], c2w[:, 2, 3] = torch.linspace(0, 0.5, 11), torch.linspace(0, 1.0, 11)
    views = CameraViews(CameraPath(c2w, torch.full((11,), 90.0)), 64, 64)  # one UNIT is 5/4 m at that distance
    first = balls((1.0, 0.0))
    seen = assigned(first, [(0.75, 0.0)], views=views)
    assert seen.unmatched.tolist() == [0] and float(seen.cost) < 1e-4 and float(seen.offset.abs().max()) < 1e-4
    beside = assigned(first, [(1.75, 0.0)], views=views)
    torch.testing.assert_close(
        beside.offset[0], torch.tensor([[0.8, 0.0]])
    )  # as the first camera sees the missing metre
    gone = balls((4.4, 0.0))
    assert assigned(gone, [], views=views).unmatched.tolist() == [0]  # out of the last one's picture


@pytest.fixture(scope="module")
def moving():
    """A throw whose one ball is there to the end, before a camera that moves."""
    for seed in range(99):
        clip = make_clip(seed, "throw", split="validation", width=128, height=128, frames=41)
        x = ball_tracks(clip)[:, 0, 0]
        if clip.scene.camera_move != "still" and len(clip.scene.balls) == 1 and bool(((x > 10) & (x < 118)).all()):
            return clip


@pytest.mark.slow
def test_camera_motion_is_distinguished_from_ball_motion(clip, moving):
    assert same_view(clip.render.rgb[0], clip.render.rgb[-1])
    assert not same_view(*moving.render.rgb[[0, -1]])
    assert same_view(clip.render.rgb[0], (clip.render.rgb[-1] + 0.005 * torch.randn(128, 128, 3)).clamp(0, 1))


@pytest.fixture(scope="module")
def model():
    return load_world_model()


@pytest.fixture(scope="module")
def clip():
    """One ball that flies and is there to the end, under a still camera."""
    for seed in range(99):
        clip = make_clip(seed, "throw", split="validation", width=128, height=128, frames=41)
        tracks = ball_tracks(clip)
        if clip.scene.camera_move == "still" and len(clip.scene.balls) == 1 and 20 < float(tracks[-1, 0, 0]) < 108:
            if float((tracks[-1, 0, :2] - tracks[0, 0, :2]).norm()) > 20 and float(tracks[:, 0, 2].min()) > 0:
                return clip


def centre(balls):
    """Of what is painted of balls [H,W]."""
    v, u = torch.meshgrid(*(torch.arange(n) + 0.5 for n in balls.shape), indexing="ij")
    return torch.stack(((u * balls).sum(), (v * balls).sum())) / balls.sum()


@pytest.mark.slow
@pytest.mark.parametrize("known", [1, 5])
def test_a_draft_ends_as_the_end_picture_does(model, clip, known):
    rgb, tracks = clip.render.rgb, ball_tracks(clip)
    shot = encoded(model, clip.caption, start=rgb[:known], end=rgb[-1:])
    drafts = [predicted(model, shot, **SIZE, seed=seed).draft for seed in (1, 1, 2)]
    assert torch.equal(drafts[0].frames, drafts[1].frames), "the same seed, the same way"
    for draft in drafts:
        assert float((centre(draft.coverage[-1]) - tracks[-1, 0, :2]).norm()) < 0.5 * float(tracks[-1, 0, 2])
    free = predicted(model, replace(shot, end=None), **SIZE, seed=1).draft
    apart = [float((centre(d.coverage[-1]) - tracks[-1, 0, :2]).norm()) for d in (drafts[0], free)]
    assert apart[0] < apart[1] and (known > 1 or not torch.equal(drafts[0].frames, drafts[2].frames))


@pytest.mark.slow
@pytest.mark.parametrize("known", [1, 5])
def test_a_camera_path_leads_to_the_end_picture(model, moving, known):
    rgb, scene = moving.render.rgb, moving.scene
    shot = encoded(model, moving.caption, start=rgb[:known], end=rgb[-1:], camera=CameraPath(scene.c2w, scene.fov_deg))
    draft = predicted(model, shot, **SIZE, seed=1).draft
    free = predicted(model, replace(shot, end=None), **SIZE, seed=1).draft
    off = [(d.frames - rgb).square().flatten(1).mean(1) for d in (draft, free)]
    assert float(off[0][-1]) < 1e-3 and float(off[0].mean()) < 0.6 * float(off[1].mean())


@pytest.mark.slow
@pytest.mark.parametrize("which", ["clip", "moving"])
@pytest.mark.parametrize("control", ["depth", "flow"])
def test_controls_lead_to_the_end_picture(model, request, control, which):
    clip = request.getfixturevalue(which)
    rgb, scene = clip.render.rgb, clip.scene
    told = {"flow": FlowField(clip.flow, clip.visible.float()), "depth": depth_from_metres(clip.render.depth)}[control]
    camera = CameraPath(scene.c2w, scene.fov_deg) if which == "moving" else None
    shot = encoded(model, clip.caption, start=rgb[:1], end=rgb[-1:], camera=camera, **{control: told})
    draft, tracks = predicted(model, shot, **SIZE, seed=1).draft, ball_tracks(clip)
    assert float((centre(draft.coverage[-1]) - tracks[-1, 0, :2]).norm()) < tracks[-1, 0, 2]
    assert float((draft.frames[-1] - rgb[-1]).square().mean()) < 4e-3


def test_the_video_has_both_key_frames_and_a_draft_between(model, clip):
    rgb = clip.render.rgb
    shot = encoded(model, clip.caption, start=rgb[:1], end=rgb[-1:])
    made = run(model, shot, **SIZE, seed=3, steps=2)
    assert made.draft is not None and made.latent.shape[2] == 11
    certain = made.draft.condition(model.codec, "cpu")[:, -1, 1:] > 1  # where it draws a ball
    off = (made.latent - made.draft.latent).abs().amax(1)[:, 1:]
    assert certain.any() and float(off[certain].max()) < 1e-3


@pytest.mark.parametrize("other", ["moved", "another ball", "let go"])
def test_an_unreachable_end_picture_is_left_to_the_transformer(model, clip, moving, other):
    rgb = (moving if other == "moved" else clip).render.rgb
    end = rgb[-1:].clone()
    if other == "another ball":  # one that was not there before
        x, y = (int(v) for v in ball_tracks(clip)[-1, 0, :2])
        end[:, 20:44, 20:44] = end[:, y - 12 : y + 12, x - 12 : x + 12].clone()
    more = dict(strength=0.5) if other == "let go" else {}
    shot = encoded(model, clip.caption, start=rgb[:1], end=end, **more)
    asked = predicted(model, shot, **SIZE, seed=1)
    assert asked.draft is None
    reasons = {"moved": "a camera path that leads from the one", "another ball": "both show the same balls"}
    assert reasons[other] in asked.reason if other in reasons else asked.reason is None


@pytest.mark.parametrize("node", [VDiTSample, VDiTDistillPreview])
def test_nodes_say_why_nothing_was_predicted(model, moving, node):
    shot = encoded(model, moving.caption, start=moving.render.rgb[:1], end=moving.render.rgb[-1:])
    more = dict(guidance=1.0, solver="euler") if node is VDiTSample else dict(grid=False, pick=-1)
    made = node.execute(model, shot, seed=1, steps=1, shift=1.0, seconds=5.0, fps=8.0, width=128, height=128, **more)
    assert "wire a camera path" in made.ui["text"][0]


def test_an_end_picture_without_a_seed_gives_no_prediction_and_no_reason(model, clip):
    shot = encoded(model, clip.caption, start=clip.render.rgb[:5], end=clip.render.rgb[-1:])
    asked = predicted(model, shot, **SIZE)
    assert asked.draft is None and asked.reason is None
    noise = torch.randn(1, model.codec.channels, 11, 8, 8, generator=torch.Generator().manual_seed(1))
    assert predicted(model, shot, **SIZE, noise=noise).draft is not None


def test_the_smallest_videos_have_enough_chance(model):
    clip = make_clip(1, "fall", width=32, height=32, frames=5)
    shot = encoded(model, clip.caption, start=clip.render.rgb[:1], end=clip.render.rgb[-1:])
    asked = predicted(model, shot, frames=5, width=32, height=32, seed=1)
    assert asked.draft is not None or asked.reason
