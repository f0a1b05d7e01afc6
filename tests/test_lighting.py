"""Light is estimated from the shadows of balls, and drafts move the shadows along."""

from itertools import islice

import pytest
import torch
from vdit.control.camera import CameraPath
from vdit.drafting.camera_views import CameraViews, Reprojection, spheres_of
from vdit.drafting.compositing import Composition, composite
from vdit.drafting.ground_plane import fit_floor, plane_inverse_depth, without_floor
from vdit.drafting.lighting import ShadowReceiver, estimate_light
from vdit.geometry.camera import pixel_rays
from vdit.model.ground import Ground
from vdit.training.data.tracks import ball_tracks, clip_background, light_in_camera, visible_balls
from vdit.world.families.clip import make_clip
from vdit.world.families.scene import sample_scene


def clips(family: str, still: bool = True):
    """Clips with one ball."""
    for seed in range(200):
        scene = sample_scene(seed, family, split="validation")
        if (scene.camera_move == "still") == still and len(scene.balls) == 1:
            yield make_clip(seed, family, split="validation")


@pytest.fixture(scope="module")
def falls():
    return list(islice(clips("fall"), 3))


def errors(clip, light, known=5, camera=None):
    """Mean error of a clip's draft, told all but what nothing tells; and where shadows have changed by then."""
    rgb, tracks = clip.render.rgb, ball_tracks(clip)
    tracks = tracks[:, visible_balls(clip, tracks, known - 1)]
    draft = composite(Composition(rgb[:known], tracks, clip_background(clip, known - 1), light, camera))
    return (draft.frames[known:] - rgb[known:]).abs().mean()


def turned(light, degrees):
    way = torch.linalg.cross(light, torch.tensor([0.3, 0.2, 1.0]))
    other = light + torch.tensor(degrees).deg2rad().tan() * way / way.norm() * light.norm()
    return other / other.norm() * light.norm()


def test_shadows_go_with_their_balls(falls):
    for clip in falls:
        for known in (1, 5):
            light = turned(light_in_camera(clip, known - 1), 8.0)
            assert errors(clip, light, known) < 0.85 * errors(clip, torch.zeros(3), known)


@pytest.mark.slow
def test_shadows_go_with_their_balls_where_the_camera_moves():
    for clip in islice(clips("fall", still=False), 3):
        path = CameraPath(torch.tensor(clip.scene.c2w), torch.tensor(clip.scene.fov_deg)).since(4)
        light = light_in_camera(clip, 4)
        assert errors(clip, light, camera=path) < errors(clip, torch.zeros(3), camera=path)


def test_light_direction_is_estimated_from_shadows(falls):
    for clip in falls:
        track, near, picture = ball_tracks(clip)[4], clip_background(clip, 4), clip.render.rgb[4]
        track = track[track[:, 2] > 0]
        near = torch.nn.functional.interpolate(near[None, None], size=picture.shape[:2], mode="bilinear")[0, 0]
        true, focal = light_in_camera(clip, 4), torch.tensor(64 / 0.36397)
        found = estimate_light(picture, near, turned(true, 12.0), focal, track)
        assert torch.cosine_similarity(found, true, 0).arccos().rad2deg() < 6
        assert found.norm() == pytest.approx(float(true.norm()))
        # The same picture without a shadow tells of no light.
        receiver = ShadowReceiver(near, near, true, focal)
        centres, radii = spheres_of(track[None], torch.tensor([64.0, 64.0]), focal)
        clear = receiver.remove_shadow(picture, receiver.shadows(centres, radii)[0])
        assert estimate_light(clear, near, true, focal, track) is None


def test_a_ball_shades_only_the_ground_behind_it():
    near = torch.full((32, 32), 1 / 4)  # a wall, lit from the viewer's side
    receiver = ShadowReceiver(near, near, torch.tensor([0.0, 0.0, -1.5]), torch.tensor(32.0))
    torch.testing.assert_close(receiver.brightness, torch.full((32, 32), 2.5))
    dark = receiver.shadows(torch.tensor([[[0.0, 0.0, 3.0]], [[0.0, 0.0, 5.0]]]), torch.tensor([[0.5], [0.5]]))
    assert dark[0, 16, 16] == 1 and dark[0, 16, 22] == 0  # half a metre is four pixels
    assert dark[0].sum() == pytest.approx(torch.pi * 16, rel=0.05)
    assert not dark[1].any()  # behind the wall it takes no light
    picture = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0)) / 2
    shaded = picture.clone()
    receiver.add_shadows(shaded[None], dark[:1])
    torch.testing.assert_close(shaded[16, 16], picture[16, 16] / 2.5)
    torch.testing.assert_close(receiver.remove_shadow(shaded, dark[0]), picture)


def test_the_ground_is_found_at_any_size():
    net = Ground(51, (16, 16, 16)).eval()
    for size in ((128, 128), (96, 160), (176, 112)):
        near, light = net(torch.rand(2, 51, size[0] // 4, size[1] // 4))
        assert near.shape == (2, size[0] // 4, size[1] // 4) and (near > 0).all() and light.shape == (2, 3)


def test_no_shadow_is_missed_where_it_falls():
    generator = torch.Generator().manual_seed(4)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    rows = torch.arange(24.0)[:, None].expand(24, 32)
    near, found = 0.06 + rows / 300, 0
    for spread in (0.0, 0.3):
        ways = torch.tensor([0.2, -0.3, -0.8]) + spread * (uniform(5, 3) - 0.5)
        ways = ways / ways.norm(dim=-1, keepdim=True)
        receiver = ShadowReceiver(near, near, 1.5 * ways[0], torch.tensor(30.0))
        centres = torch.tensor([0.0, -0.5, 5.0]) + uniform(5, 3, 3) - 0.5
        radii = 0.1 + 0.4 * uniform(5, 3)
        radii[:, 1] = 0.0  # none
        told = receiver.shadows(centres, radii, ways if spread else None)
        for frame, way in enumerate(ways if spread else ways[:1].expand(5, 3)):
            to = centres[frame, :, None, None] - receiver.points
            ahead = to @ way
            off = (to - ahead[..., None] * way).norm(dim=-1)
            share = ((radii[frame, :, None, None] - off) / receiver.penumbra / 2 + 0.5).clamp(0, 1) * (ahead > 0)
            share = share[radii[frame] > 0].amax(0)
            torch.testing.assert_close(told[frame], share, atol=3e-3, rtol=0)
            found += int((share > 0.5).sum())
    assert found > 40


def test_balls_are_lit_as_they_turn(falls):
    for clip in falls:
        rgb, tracks = clip.render.rgb, ball_tracks(clip)
        tracks = tracks[:, visible_balls(clip, tracks, 4)]
        off = []
        for light in (light_in_camera(clip, 4), torch.zeros(3)):
            draft = composite(Composition(rgb[:5], tracks, clip_background(clip, 4), light))
            off.append((draft.frames - rgb).abs().mean(-1)[5:][draft.coverage[5:] > 0.9].mean())
        assert off[0] < 0.8 * off[1]


def test_the_floor_is_where_balls_bounce(falls):
    for clip in falls:
        tracks, views = ball_tracks(clip)[:, :1], CameraViews(None, 128, 128)
        floor = fit_floor(clip_background(clip, 4), views.focal[0] / 4)
        centres, radii = views.spheres(tracks)
        assert (centres @ floor + radii * floor.norm()).max() == pytest.approx(1, abs=0.02)


def test_a_wall_is_no_floor():
    assert fit_floor(torch.full((32, 32), 0.2), torch.tensor(40.0)) is None


def test_a_ball_with_overestimated_depth_does_not_sink_into_the_floor(falls):
    for clip in falls:
        tracks, rgb = ball_tracks(clip), clip.render.rgb
        tracks = tracks[:, visible_balls(clip, tracks, 4)]
        wrong = tracks * torch.tensor([1, 1, 1, 1.08])
        ground, light = clip_background(clip, 4), light_in_camera(clip, 4)
        right, draft = (composite(Composition(rgb[:5], x, ground, light)) for x in (tracks, wrong))
        assert draft.coverage[5:].sum() > 0.98 * right.coverage[5:].sum()
        assert (draft.frames - rgb).abs()[5:].mean() < 1.5 * (right.frames - rgb).abs()[5:].mean()


def test_the_floor_hides_no_ball_where_a_camera_travels():
    plane = torch.tensor([0.0, 0.8, 0.1])
    c2w = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    c2w[:, 2, 3] = torch.tensor([0.0, 0.4, 0.8])
    path = CameraPath(c2w, torch.full((3,), 40.0))
    views = CameraViews(path, 32, 32)
    ray = pixel_rays(32, 32, views.focal[0])
    near = (ray @ plane).clamp_min(0.05)
    nears = Reprojection(path, near).inverse_depth
    left = without_floor(nears, plane_inverse_depth(views.planes(plane), views.focal[1:], nears.shape[:0:-1]))
    assert (left[:, 20:] > 0).float().mean() < 0.05 and (
        left[:, :10] > 0
    ).all()  # but for a few pixels seen between others


def test_a_floor_is_the_same_wherever_in_memory_it_is_worked_out():
    """Else a video differs from one process to the next: sums begin elsewhere."""
    row = torch.linspace(0.1, 0.45, 32)[:, None].expand(32, 32)
    near = row * (1 + 0.01 * torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))
    between, found = [], set()
    for i in range(40):
        between.append(torch.empty(1 + 7 * i))
        found.add(tuple(fit_floor(near.clone(), torch.tensor(44.0)).tolist()))
    assert len(found) == 1
