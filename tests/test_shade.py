"""Shadows of balls: the light is found by them, and drafts move them along."""

import pytest
import torch
from vdit.control.camera import CameraPath
from vdit.model.ground import Ground
from vdit.sampling.paint import drafted
from vdit.sampling.shade import Sunlight, light_of
from vdit.training.tracks import ball_tracks, ground_behind, light_seen, showing
from vdit.world.clip import make_clip
from vdit.world.scene import sample_scene


def clips(family: str, still: bool = True):
    """Clips with one ball."""
    for seed in range(200):
        scene = sample_scene(seed, family, split="validation")
        if (scene.camera_move == "still") == still and len(scene.balls) == 1:
            yield make_clip(seed, family, split="validation")


@pytest.fixture(scope="module")
def falls():
    return [clip for clip, _ in zip(clips("fall"), range(3))]


def errors(clip, light, known=5, camera=None):
    """Mean error of a clip's draft, told all but what nothing tells; and where shadows have changed by then."""
    rgb, tracks = clip.render.rgb, ball_tracks(clip)
    tracks = tracks[:, showing(clip, tracks, known - 1)]
    draft, _ = drafted(rgb[:known], tracks, ground_behind(clip, known - 1), light, camera)
    return (draft[known:] - rgb[known:]).abs().mean()


def turned(light, degrees):
    way = torch.linalg.cross(light, torch.tensor([0.3, 0.2, 1.0]))
    other = light + torch.tensor(degrees).deg2rad().tan() * way / way.norm() * light.norm()
    return other / other.norm() * light.norm()


def test_shadows_go_with_their_balls(falls):
    for clip in falls:
        for known in (1, 5):
            light = turned(light_seen(clip, known - 1), 8.0)
            assert errors(clip, light, known) < 0.85 * errors(clip, torch.zeros(3), known)


def test_shadows_go_with_their_balls_where_the_camera_moves():
    for clip in (clip for clip, _ in zip(clips("fall", still=False), range(3))):
        path = CameraPath(torch.tensor(clip.scene.c2w), torch.tensor(clip.scene.fov_deg)).since(4)
        light = light_seen(clip, 4)
        assert errors(clip, light, camera=path) < errors(clip, torch.zeros(3), camera=path)


def test_the_light_is_where_the_shadows_say(falls):
    for clip in falls:
        track, near, picture = ball_tracks(clip)[4], ground_behind(clip, 4), clip.render.rgb[4]
        track = track[track[:, 2] > 0]
        near = torch.nn.functional.interpolate(near[None, None], size=picture.shape[:2], mode="bilinear")[0, 0]
        true, focal = light_seen(clip, 4), torch.tensor(64 / 0.36397)
        found = light_of(picture, near, turned(true, 12.0), focal, track)
        assert torch.cosine_similarity(found, true, 0).arccos().rad2deg() < 6
        assert found.norm() == pytest.approx(float(true.norm()))
        # The same picture without a shadow tells of no light.
        sun = Sunlight(near, near, true, focal)
        centre = torch.tensor([64.0, 64.0])
        balls = torch.cat(((track[:, :2] - centre) * track[:, 3:] / focal, track[:, 3:]), -1), track[:, 2] * track[:, 3] / focal
        clear = sun.cleared(picture, sun.hidden(balls[0][None], balls[1][None])[0])
        assert light_of(clear, near, true, focal, track) is None


def test_a_ball_shades_what_lies_behind_it_and_no_more():
    near = torch.full((32, 32), 1 / 4)  # a wall, lit from the viewer's side
    sun = Sunlight(near, near, torch.tensor([0.0, 0.0, -1.5]), torch.tensor(32.0))
    torch.testing.assert_close(sun.lit, torch.full((32, 32), 2.5))
    dark = sun.hidden(torch.tensor([[[0.0, 0.0, 3.0]], [[0.0, 0.0, 5.0]]]), torch.tensor([[0.5], [0.5]]))
    assert dark[0, 16, 16] == 1 and dark[0, 16, 22] == 0  # half a metre is four pixels
    assert dark[0].sum() == pytest.approx(torch.pi * 16, rel=0.05)
    assert not dark[1].any()  # behind the wall it takes no light
    picture = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0)) / 2
    shaded = sun.shaded(picture, dark[0])
    torch.testing.assert_close(shaded[16, 16], picture[16, 16] / 2.5)
    torch.testing.assert_close(sun.cleared(shaded, dark[0]), picture)


def test_the_ground_is_told_at_any_size():
    net = Ground(51, (16, 16, 16)).eval()
    for size in ((128, 128), (96, 160), (176, 112)):
        near, light = net(torch.rand(2, 51, size[0] // 4, size[1] // 4))
        assert near.shape == (2, size[0] // 4, size[1] // 4) and (near > 0).all() and light.shape == (2, 3)
