"""The simulated world: physics, pixels and words that follow from one seed."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.geometry.camera_numpy import look_at, project
from vdit.geometry.moves import TRAINING_MOVES
from vdit.world.families.camera import camera_path
from vdit.world.families.caption import caption, vocabulary
from vdit.world.families.clip import clean_background, make_clip
from vdit.world.families.render import FIRST_BALL_ID, FIRST_BOX_ID, render
from vdit.world.families.scene import BALL_COLORS, FAMILIES, GRAVITY, OUT_OF_DISTRIBUTION, UNSEEN_PAIRS, sample_scene
from vdit.world.families.simulate import Motion, simulate


def dropped(restitution: float, fps: float = 100.0, frames: int = 400):
    scene = sample_scene(1, "fall", fps=fps, frames=frames)
    ball = replace(scene.balls[0], position=(0.0, 0.0, 2.4), velocity=(0.3, 0.0, 0.0), radius=0.4)
    scene = replace(scene, balls=(ball,), boxes=(), restitution=restitution, start_s=0.0)
    return simulate(scene).centers[:, 0]


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
    scene = replace(scene, balls=scene.balls[:1], start_s=0.0)
    path = simulate(scene).centers[:, 0]
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
    scene = replace(scene, balls=(ball,), boxes=(), c2w=c2w, fov_deg=np.array([40.0]))
    image = render(scene, Motion(np.array([[ball.position]]), np.zeros((1, 0, 4, 4))), 129, 129)
    assert image.depth[0, 64, 64].item() == pytest.approx(6.5, abs=0.01)
    focal = 0.5 * 129 / np.tan(np.radians(20))
    seen = np.arcsin(0.5 / 7.0)  # half angle of the silhouette cone
    area = np.pi * (focal * np.tan(seen)) ** 2
    assert int((image.instance == FIRST_BALL_ID).sum()) == pytest.approx(area, rel=0.03)


def test_floor_depth_is_exact():
    scene = replace(sample_scene(2, "fall"), boxes=(), balls=())
    image = render(scene, simulate(scene), 64, 64)
    row = 60.5 - 32
    c2w = scene.c2w[0]
    ray = c2w[:3, :3] @ np.array(
        [0.5 / (0.5 * 64 / np.tan(np.radians(20))), row / (0.5 * 64 / np.tan(np.radians(20))), 1.0]
    )
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


@pytest.mark.parametrize("move", TRAINING_MOVES)
def test_camera_poses_are_rotations_and_moves_go_where_they_say(move):
    c2w, fov = camera_path(TRAINING_MOVES[move], 9, np.array([0.1, -7.0, 2.0]), np.array([0.0, 0.0, 1.0]), 40.0)
    r = c2w[:, :3, :3]
    np.testing.assert_allclose(r @ r.transpose(0, 2, 1), np.broadcast_to(np.eye(3), r.shape), atol=1e-9)
    assert np.linalg.det(r) == pytest.approx(1.0)
    changed = np.abs(np.diff(c2w, axis=0)).max() > 0 or np.ptp(fov) > 0
    assert changed == (move != "still")
    (u0, _, z0), (u1, v1, z1) = (project(np.array([0.0, 0.0, 1.0]), c2w[t], fov[t], 64, 64) for t in (0, 8))
    kind, _, side = move.partition(" ")
    if kind in ("pan", "slide"):  # what is seen goes the other way
        assert (u1 < u0) == (side == "right")
    if kind == "tilt":
        assert (v1 > 32) == (side == "up")
    if kind == "move":
        assert (z1 < z0) == (side == "in")


@pytest.mark.parametrize("family, seed", [("roll", 3), ("push", 1), ("slope", 14), ("look", 14), ("collide", 3)])
def test_flow_carries_each_pixel_to_its_place_in_the_next_frame(family, seed):
    clip = make_clip(seed, family, width=96, height=64, frames=9, split="test")
    rgb, flow, visible = clip.render.rgb, clip.flow, clip.visible
    assert flow.shape == (8, 64, 96, 2) and visible.shape == (8, 64, 96)
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    at = (torch.stack((u, v), -1) + flow) / torch.tensor([96.0, 64.0]) * 2 - 1
    there = torch.nn.functional.grid_sample(rgb[1:].permute(0, 3, 1, 2), at, align_corners=False).permute(0, 2, 3, 1)
    error = (there - rgb[:-1]).abs().mean(-1)
    still = (rgb[1:] - rgb[:-1]).abs().mean(-1)
    moving = visible & (flow.norm(dim=-1) > 0.5)
    assert moving.sum() > 100
    assert error[moving].mean() < 0.4 * still[moving].mean() + 0.004
    assert visible.float().mean() > 0.9


def test_a_still_camera_leaves_the_floor_where_it_is():
    clip = make_clip(2, "roll", width=64, height=64, frames=5, split="test")
    assert clip.scene.camera_move == "still"
    floor = clip.render.instance[:-1] < FIRST_BALL_ID
    assert clip.flow[floor].abs().max() < 1e-3


def test_things_that_can_move_do_and_the_clean_background_lacks_them():
    for family in ("stack", "push"):
        clip = make_clip(3, family, width=64, height=64, split="test")
        box = clip.motion.box_poses[:, 0, :3, 3]
        assert np.linalg.norm(box[-1] - box[0]) > 0.1
        clean = clean_background(clip.scene, 64, 64)
        still = (clip.render.instance < FIRST_BALL_ID) & (clip.render.instance[:1] < FIRST_BALL_ID)
        assert (clean - clip.render.rgb).abs().mean(-1)[still].median() < 0.01
        assert (clean - clip.render.rgb).abs().mean(-1)[clip.render.instance >= FIRST_BALL_ID].mean() > 0.05


def test_the_ball_behind_the_box_turns_at_the_wall():
    turned = 0
    for seed in range(6):
        scene = sample_scene(seed, "wall", split="test")
        x = simulate(scene).centers[:, 0, 0] * np.sign(scene.balls[0].velocity[0])
        turned += x[-1] < x.max() - 0.5
    assert turned == 6


@pytest.mark.parametrize("split", OUT_OF_DISTRIBUTION)
def test_splits_out_of_distribution_differ_in_what_they_name(split):
    scenes = [sample_scene(i, "behind", split=split) for i in range(20)]
    usual = [sample_scene(i, "behind", split="test") for i in range(20)]
    pairs = lambda many: {(s.balls[0].color, s.boxes[0].color) for s in many}  # noqa: E731
    assert not pairs(usual) & UNSEEN_PAIRS
    found = {
        "ood-gravity": all(abs(s.gravity - GRAVITY) > 1 for s in scenes),
        "ood-speed": min(abs(s.balls[0].velocity[0]) for s in scenes) > 1.3,
        "ood-size": all(not 0.34 <= s.balls[0].radius <= 0.54 for s in scenes)
        and np.ptp([s.balls[0].radius for s in scenes]) > 0.3,
        "ood-color": len(pairs(scenes) & UNSEEN_PAIRS) > 2,
        "ood-camera": all(s.c2w[0, 2, 3] > 3 for s in scenes),
    }
    assert found[split]


def test_a_balls_colour_differs_from_what_is_around_it():
    from vdit.world.families.scene import BOX_COLORS, DISTINCT, FLOOR_COLORS

    for seed in range(200):
        scene = sample_scene(seed)
        around = [FLOOR_COLORS[scene.floor.color], *(BOX_COLORS[b.color] for b in scene.boxes if b.mass is None)]
        for b in scene.balls:
            assert min(np.linalg.norm(np.subtract(BALL_COLORS[b.color], a)) for a in around) > DISTINCT


def test_captions_stay_in_the_vocabulary_and_name_what_is_there():
    words = set(vocabulary())
    for seed in range(400):
        scene = sample_scene(seed)
        for wording in range(2):
            text = caption(scene, wording)
            assert set(re.findall("[a-z]+", text)) <= words, text
            assert not scene.balls or scene.balls[0].color in text
            assert len(text.split()) <= 32
    assert len({caption(sample_scene(7), w) for w in range(12)}) > 3


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: sample_scene(0, "explode"), "explode"),
        (lambda: sample_scene(-1), "-1"),
        (lambda: sample_scene(0, split="holiday"), "holiday"),
        (lambda: make_clip(0, frames=0), "at least 1 frame"),
        (lambda: make_clip(0, width=4, frames=1), "at least 8x8"),
    ],
)
def test_bad_requests_say_what_would_do(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_simulate_command_writes_video_arrays_and_labels(tmp_path, capsys):
    import av
    from vdit.world.families.cli import main

    assert (
        main(
            [
                "--count",
                "1",
                "--width",
                "48",
                "--height",
                "32",
                "--frames",
                "9",
                "--family",
                "arc",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    name = "test-arc-000000"
    arrays = np.load(tmp_path / f"{name}.npz")
    assert arrays["rgb"].shape == (9, 32, 48, 3) and arrays["depth"].shape == (9, 32, 48)
    assert arrays["flow"].shape == (8, 32, 48, 2) and arrays["visible"].dtype == bool
    labels = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(labels["camera"]["c2w"]) == 9 and len(labels["balls"][0]["center_m"]) == 9
    with av.open(str(tmp_path / f"{name}.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    assert labels["caption"] in capsys.readouterr().out
