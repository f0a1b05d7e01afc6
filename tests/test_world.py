"""The simulated world: physics, pixels and words that follow from one seed."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.world.caption import caption, vocabulary
from vdit.world.clip import make_clip
from vdit.world.dynamics import simulate
from vdit.world.render import FIRST_BALL_ID, FIRST_BOX_ID, render
from vdit.world.scene import CAMERA_MOVES, FAMILIES, GRAVITY, camera_path, look_at, sample_scene


def dropped(restitution: float, fps: float = 100.0, frames: int = 400):
    scene = sample_scene(1, "fall", fps=fps, frames=frames)
    ball = replace(scene.balls[0], position=(0.0, 0.0, 2.4), velocity=(0.3, 0.0, 0.0), radius=0.4, restitution=restitution)
    scene = replace(scene, balls=(ball,), boxes=())
    return simulate(scene)[:, 0]


def test_free_fall_has_the_scenes_gravity_and_keeps_horizontal_speed():
    path = dropped(0.7)[:80]
    t = np.arange(80) / 100
    assert np.polyfit(t, path[:, 2], 2)[0] * 2 == pytest.approx(-GRAVITY, rel=0.01)
    assert np.polyfit(t, path[:, 0], 1)[0] == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("restitution", [0.5, 0.7, 0.85])
def test_bounce_returns_the_asked_share_of_speed(restitution):
    z = dropped(restitution)[:, 2]
    first = int(np.argmax(np.diff(z) > 0))
    apex = z[first : first + 250].max()
    assert np.sqrt((apex - 0.4) / 2.0) == pytest.approx(restitution, abs=0.04)
    assert z.min() > 0.4 - 0.05, "the ball sank into the floor"


def test_a_rolling_ball_keeps_rolling_on_the_floor():
    scene = sample_scene(3, "roll")
    scene = replace(scene, balls=scene.balls[:1])
    path = simulate(scene)[:, 0]
    speed = np.diff(path[:, 0]) * scene.fps
    assert speed[-1] == pytest.approx(scene.balls[0].velocity[0], rel=0.1)
    assert np.abs(path[:, 2] - scene.balls[0].radius).max() < 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_clip_and_other_split_other_clip(family):
    make = lambda split: make_clip(5, family, split=split, width=32, height=32, frames=9)  # noqa: E731
    a, b, other = make("train"), make("train"), make("validation")
    assert torch.equal(a.render.rgb, b.render.rgb) and a.caption == b.caption
    assert a.scene.balls != other.scene.balls


def test_depth_and_mask_of_a_ball_match_geometry():
    scene = sample_scene(2, "fall")
    ball = replace(scene.balls[0], position=(0.0, 0.0, 1.2), radius=0.5)
    c2w = look_at(np.array([[0.0, -7.0, 1.2]]), np.array([[0.0, 0.0, 1.2]]))
    scene = replace(scene, balls=(ball,), boxes=(), c2w=c2w)
    image = render(scene, np.array([[ball.position]]), 129, 129)
    assert image.depth[0, 64, 64].item() == pytest.approx(6.5, abs=0.01)
    focal = 0.5 * 129 / np.tan(np.radians(20))
    seen = np.arcsin(0.5 / 7.0)  # half angle of the silhouette cone
    area = np.pi * (focal * np.tan(seen)) ** 2
    assert int((image.instance == FIRST_BALL_ID).sum()) == pytest.approx(area, rel=0.03)


def test_floor_depth_is_exact():
    scene = replace(sample_scene(2, "fall"), boxes=())
    image = render(scene, np.full((41, len(scene.balls), 3), 50.0), 64, 64)
    row = 60.5 - 32
    c2w = scene.c2w[0]
    ray = c2w[:3, :3] @ np.array([0.5 / (0.5 * 64 / np.tan(np.radians(20))), row / (0.5 * 64 / np.tan(np.radians(20))), 1.0])
    assert image.depth[0, 60, 32].item() == pytest.approx(-c2w[2, 3] / ray[2], rel=1e-4)


def test_a_ball_is_hidden_behind_the_box_and_comes_back():
    found = 0
    for seed in range(8):
        clip = make_clip(seed, "behind", frames=41, width=64, height=64)
        visible = (clip.render.instance == FIRST_BALL_ID).flatten(1).sum(1)
        hidden = (visible == 0).nonzero().flatten()
        if len(hidden) and visible[hidden[0] :].max() > 20 and visible[0] > 20:
            found += 1
        assert (clip.render.instance == FIRST_BOX_ID).any()
    assert found >= 5


def test_edges_are_smooth_and_values_are_colours():
    image = make_clip(0, "fall", width=64, height=64, frames=3).render
    assert image.rgb.min() >= 0 and image.rgb.max() <= 1 and torch.isfinite(image.rgb).all()
    assert image.rgb.reshape(-1, 3).unique(dim=0).shape[0] > 500


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_camera_poses_are_rotations(move):
    c2w = camera_path(move, 1.0, 9, np.array([0.1, -7.0, 2.0]), np.array([0.0, 0.0, 1.0]))
    r = c2w[:, :3, :3]
    np.testing.assert_allclose(r @ r.transpose(0, 2, 1), np.broadcast_to(np.eye(3), r.shape), atol=1e-9)
    assert np.linalg.det(r) == pytest.approx(1.0)
    assert (np.abs(np.diff(c2w, axis=0)).max() > 0) == (move != "still")


def test_captions_stay_in_the_vocabulary_and_name_what_is_there():
    words = set(vocabulary())
    for seed in range(400):
        scene = sample_scene(seed)
        for wording in range(2):
            text = caption(scene, wording)
            assert set(re.findall("[a-z]+", text)) <= words, text
            assert scene.balls[0].color in text
    assert len({caption(sample_scene(7), w) for w in range(12)}) > 3


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: sample_scene(0, "explode"), "explode"),
        (lambda: sample_scene(-1), "-1"),
        (lambda: sample_scene(0, split="holiday"), "holiday"),
        (lambda: make_clip(0, frames=0), "at least 1 frame"),
        (lambda: make_clip(0, width=4, frames=1), "at least 8x8"),
        (lambda: camera_path("spin", 1, 3, np.zeros(3), np.ones(3)), "spin"),
    ],
)
def test_bad_requests_say_what_would_do(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_simulate_command_writes_video_arrays_and_labels(tmp_path, capsys):
    import av
    from vdit.world.cli import main

    assert main(["--count", "1", "--size", "32", "--frames", "9", "--family", "arc", "--out", str(tmp_path)]) == 0
    name = "test-arc-000000"
    arrays = np.load(tmp_path / f"{name}.npz")
    assert arrays["rgb"].shape == (9, 32, 32, 3) and arrays["depth"].shape == (9, 32, 32)
    labels = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(labels["camera"]["c2w"]) == 9 and len(labels["balls"][0]["center_m"]) == 9
    with av.open(str(tmp_path / f"{name}.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    assert labels["caption"] in capsys.readouterr().out
