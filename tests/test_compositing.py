"""Compositing of a draft: balls cut out of the picture, occlusion, and the background behind them."""

import math

import pytest
import torch
from vdit.control.camera import CameraPath
from vdit.drafting import compositing
from vdit.drafting.compositing import Composition
from vdit.drafting.perception import Memo
from vdit.model.object_dynamics import CELL
from vdit.training.data.tracks import ball_tracks as true_tracks
from vdit.training.data.tracks import clip_background
from vdit.world.families.clip import make_clip

NO_LIGHT = torch.zeros(3)


def composite(pictures, tracks, inverse_depth, light=NO_LIGHT, camera=None, **more):
    """Frames and coverage of a draft, without light unless given."""
    draft = compositing.composite(Composition(pictures, tracks, inverse_depth, light, camera, **more))
    return draft.frames, draft.coverage


def drafted(pictures, tracks, near=None, camera=None):
    """The frames of a draft, in which nothing is near unless given."""
    near = torch.full([n // CELL for n in pictures.shape[1:3]], 1e-3) if near is None else near
    frames, coverage = composite(pictures, tracks, near, camera=camera)
    assert coverage.shape == frames.shape[:3] and not coverage[: len(pictures)].any()
    return frames


def test_drafts_of_a_shot_share_its_layers(monkeypatch):
    """Layers are extracted once; where balls go from there on is each draft's own."""
    pictures, made = torch.full((1, 64, 64, 3), 0.5), []
    pictures[0, 28:36, 6:14] = torch.tensor([1.0, 0, 0])
    ways, memo = [torch.tensor([10.0, 32.0, 4.0, 6.0]).repeat(3, 1, 1) for _ in range(3)], Memo(64 * 64)
    ways[1][1:, 0, 0], ways[2][1:, 0, 0], ways[2][:, 0, 3] = 30.0, 40.0, 5.0  # the last one is nearer
    near, light, extract = torch.full((16, 16), 1 / 9), torch.tensor([0.0, -1.0, 0.0]), compositing.extract_layers
    alone = [composite(pictures, tracks, near, light) for tracks in ways]
    monkeypatch.setattr(compositing, "extract_layers", lambda *args: made.append(0) or extract(*args))
    for tracks, expected, count in zip((*ways, *ways), (*alone, *alone), (1, 1, 2, 2, 2, 2), strict=True):
        got = composite(pictures, tracks, near, light, memo=memo)
        assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True)) and len(made) == count
    composite(pictures, ways[0], near, light, memo=memo, soft=True)
    assert len(made) == 3


def test_a_nearer_surface_hides_a_ball():
    pictures = torch.full((1, 64, 64, 3), 0.5)
    pictures[0, 28:36, 6:14] = torch.tensor([1.0, 0, 0])  # a ball
    pictures[0, :, 32:] = torch.tensor([0, 0, 1.0])  # a wall
    tracks = torch.tensor([10.0, 32.0, 4.0, 6.0]).repeat(3, 1, 1)
    tracks[1, 0, 0], tracks[2, 0, 0] = 24.0, 44.0
    near = torch.full((16, 16), 1 / 9)
    near[:, 8:] = 1 / 4
    draft, balls = composite(pictures, tracks, near)
    assert balls[1, 32, 24] == 1 and not balls[2].any() and not balls[0].any()
    assert draft[1, 32, 24].tolist() == [1.0, 0.0, 0.0] and draft[2, 32, 44].tolist() == [0.0, 0.0, 1.0]
    tracks[2, 0, 3] = 3.5  # in front of it
    assert drafted(pictures, tracks, near)[2, 32, 44].tolist() == [1.0, 0.0, 0.0]


def test_an_occluder_in_a_soft_picture_has_no_holes():
    picture = torch.full((1, 128, 128, 3), 0.5)
    picture[0, 60:68, 16:24], picture[0, :, 64:] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    tracks = torch.tensor([20.0, 64.0, 4.0, 6.0]).repeat(2, 1, 1)
    tracks[1, 0, 0] = 94.0
    near = torch.full((32, 32), 1 / 9)
    near[:, 16:] = 1 / 4
    near[14:17, 22:25] = 1 / 9  # told too far away
    shows = [bool(composite(picture, tracks, near, soft=soft)[1][1].any()) for soft in (False, True)]
    assert shows == [True, False]


def test_a_half_hidden_ball_comes_out_whole():
    """Of its picture only what is the ball's own is carried along."""
    pictures = torch.full((1, 64, 64, 3), 0.5)
    pictures[0, 24:40, 12:28], pictures[0, :, 20:40] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    tracks = torch.tensor([20.0, 32.0, 6.0, 6.0]).repeat(2, 1, 1)
    tracks[1, 0, 0] = 52.0
    near = torch.full((16, 16), 1 / 9)
    near[:, 5:10] = 1 / 4
    ball = drafted(pictures, tracks, near)[1, 30:34, 49:56]
    assert (ball[..., 0] > 0.9).all() and (ball[..., 2] < 0.1).all()


@pytest.mark.slow
def test_a_draft_follows_a_camera_path():
    """A clip's own depth, tracks and path make its own later pictures, nearly."""
    clips = (make_clip(s, "throw", split="validation") for s in range(40))
    clip = next(c for c in clips if c.scene.camera_move in ("slide left", "move in"))
    camera = CameraPath(torch.tensor(clip.scene.c2w), torch.tensor(clip.scene.fov_deg)).since(4)
    pictures = clip.render.rgb
    draft = drafted(pictures[:5], true_tracks(clip), clip_background(clip, 4), camera)
    off, rests = ((x - pictures)[24].square().mean() for x in (draft, pictures[4]))
    assert off < 0.3 * rests


def test_newly_visible_ground_mirrors_the_picture():
    """On its right it shows the picture's right edge once more, from there inwards: no streaks."""
    picture = torch.rand(1, 64, 64, 3)
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, 0, 3] = 1.0  # of a wall that is as far away as the focal length is long, times 16
    camera = CameraPath(c2w, torch.full((2,), math.degrees(2 * math.atan(0.5))))
    draft = drafted(picture, torch.zeros(2, 0, 4), torch.full((16, 16), 1 / 4), camera)
    torch.testing.assert_close(draft[1, :, :48], picture[0, :, 16:], atol=1e-3, rtol=0)
    torch.testing.assert_close(draft[1, :, 48:], picture[0, :, 48:].flip(1), atol=1e-3, rtol=0)


def slid(metres, frames):
    """A camera that goes to the right, by as much in every frame."""
    c2w = torch.eye(4).repeat(frames, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, metres, frames)
    return CameraPath(c2w, torch.full((frames,), math.degrees(2 * math.atan(0.5))))


def striped(box, shift):
    """A striped wall at 8 m and a red box of 20 pixels at 4 m [64, 128, 3], and their inverse depth in 1 / metres.

    shift: pixels by which the camera's own motion has moved the box to the left; the wall moves by half of it.
    """
    wall = (torch.arange(128) + shift // 2) // 8 % 2 * 0.4 + 0.2
    picture, near = wall[None, :, None].repeat(64, 1, 3), torch.full((16, 32), 1 / 8)
    picture[20:44, box - shift : box - shift + 20] = torch.tensor([1.0, 0.0, 0.0])
    near[5:11, (box - shift) // 4 : (box - shift) // 4 + 5] = 1 / 4
    return picture, near


def red(picture):
    return (picture[..., 0] - picture[..., 1] > 0.2).sum()


def test_disoccluded_background_continues_its_surroundings():
    picture, near = striped(60, 0)
    draft = drafted(picture[None], torch.zeros(5, 0, 4), near, slid(1.0, 5))
    goal, _ = striped(60, 16)
    assert all(abs(red(frame) - 20 * 24) < 50 for frame in draft)
    lit = draft[4, 20:44, 66:74]  # of the wall, if not in the right stripes
    assert (lit.amax(-1) - lit.amin(-1)).max() < 0.02 and (draft[4] - goal)[:, 4:112].abs().mean() < 0.03


def test_newly_visible_parts_come_from_the_end_picture():
    picture, near = striped(60, 0)
    goal, there = striped(60, 16)
    goal[:, 120:] = torch.tensor([0.1, 0.2, 0.9])  # comes into view in the end
    end = Composition(goal[None], torch.zeros(1, 0, 4), there, NO_LIGHT)
    draft, _ = composite(picture[None], torch.zeros(5, 0, 4), near, camera=slid(1.0, 5), end=end)
    assert torch.equal(draft[0], picture) and torch.equal(draft[4], goal)
    half, _ = striped(60, 8)
    half[:, 124:] = torch.tensor([0.1, 0.2, 0.9])
    off = (draft[2] - half).abs().mean(-1)
    assert off[:, 2:118].mean() < 0.03 and off[:, 125:].mean() < 0.03 and abs(red(draft[2]) - 20 * 24) < 50


def test_a_moved_ball_has_no_rim_of_its_old_background():
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    share = (8.5 - ((u - 20).square() + (v - 32).square()).sqrt()).clamp(0, 1)[
        ..., None
    ]  # of a ball, as a camera has it
    white, red = torch.ones(3), torch.tensor([0.6, 0.0, 0.0])
    picture = torch.where(u[..., None] < 32, white, torch.zeros(3)).lerp(red, share)[None]
    tracks = torch.tensor([20.0, 32.0, 8.0, 6.0]).repeat(2, 1, 1)
    tracks[1, 0, 0] = 48.0
    ball = drafted(picture, tracks)[1, :, 36:60]
    assert ball[..., 1:].max() < 0.05 and ball[..., 0].max() < 0.65  # on black no grey rim


def test_a_draft_shows_the_ball_where_it_will_be_and_the_ground_where_it_was():
    clip = next(
        c for c in (make_clip(s, "throw", split="validation") for s in range(9)) if c.scene.camera_move == "still"
    )
    pictures, tracks = clip.render.rgb, true_tracks(clip)
    draft = drafted(pictures[:5], tracks)
    assert draft.shape == pictures.shape and torch.equal(draft[:5], pictures[:5])
    ball = clip.render.instance == 10
    assert ball[5:].flatten(1).any(1).sum() > 20
    off = (draft - pictures).abs().mean(-1)
    assert off[5:][ball[5:]].mean() < 0.06  # as it looks, but for the light
    was = ball[4] & ~ball[30]
    assert (draft[30] - pictures[30]).abs().mean(-1)[was].mean() < 0.12
    assert torch.equal(drafted(pictures[:5], tracks[:, 1:])[9], pictures[4])  # without a ball nothing moves


@pytest.mark.parametrize("size", [128, 256])
def test_a_ball_with_soft_edges_leaves_nothing_behind(size):
    away = torch.stack(torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij"), -1) - size / 4
    soft = torch.sigmoid((size / 12 - away.norm(dim=-1)) * 128 / size)[None, ..., None]
    picture = torch.full((1, size, size, 3), 0.5).lerp(torch.tensor([1.0, 0.0, 0.0]), soft)
    tracks = torch.tensor([size / 4, size / 4, size / 12, 5.0]).repeat(5, 1, 1)
    tracks[1:, :, :2] = 3 * size / 4
    near = torch.full((size // 4, size // 4), 0.1)
    remains = [
        (composite(picture, tracks, near, soft=soft)[0][1, : size // 2, : size // 2] - 0.5).abs().max()
        for soft in (True, False)
    ]
    assert remains[0] < 0.01 and remains[1] > 0.02


def test_background_behind_a_ball_is_filled_from_the_same_depth():
    """Beside a nearer box that it touches, and at the picture's edge."""
    wall, box = torch.tensor([0.2, 0.6, 0.3]), torch.tensor([0.1, 0.1, 0.9])
    near = torch.full((16, 16), 0.1)
    near[:, 10:] = 0.2
    for place in (30.0, 3.0):
        tracks = torch.tensor([place, 30.0, 6.0, 6.0]).repeat(2, 1, 1)
        picture = wall.expand(1, 64, 64, 3).clone()
        picture[:, :, 40:] = box
        v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        picture[0, (u - place) ** 2 + (v - 30) ** 2 < 36] = torch.tensor([1.0, 0, 0])
        tracks[1, 0, :2] = 200.0
        left = drafted(picture, tracks, near)[1]
        assert (left[:, :40] - wall).abs().max() < 0.04 and (left[:, 40:] - box).abs().max() < 0.04


def test_a_brief_occlusion_does_not_change_a_drafts_ball():
    pictures = torch.full((5, 64, 64, 3), 0.5)
    tracks = torch.tensor([0.0, 32.0, 6.0, 5.0]).repeat(9, 1, 1)
    tracks[:, 0, 0] = torch.arange(9) * 5 + 12.0
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    for t in range(5):
        pictures[t][(u - tracks[t, 0, 0]) ** 2 + (v - 32) ** 2 < 36] = torch.tensor([1.0, 0.0, 0.0])
    pictures[3:, :, 28:40] = torch.tensor([0.0, 0.0, 1.0])  # a post comes in front of it
    at = int(tracks[8, 0, 0])
    torch.testing.assert_close(
        drafted(pictures, tracks)[8, 30:34, at - 2 : at + 3], torch.tensor([1.0, 0, 0]).expand(4, 5, 3)
    )


def test_the_nearer_of_two_balls_is_drawn_over_the_other():
    pictures = torch.zeros(1, 64, 64, 3)
    pictures[0, :, :32], pictures[0, :, 32:] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    tracks = torch.tensor([[16.0, 32, 6, 4], [48.0, 32, 6, 9]]).repeat(2, 1, 1)
    tracks[1, :, 0] = 30.0
    assert drafted(pictures, tracks)[1, 32, 30].tolist() == [1.0, 0.0, 0.0]
    assert drafted(pictures, tracks.flip(1))[1, 32, 30].tolist() == [1.0, 0.0, 0.0]
