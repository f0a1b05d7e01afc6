"""Object dynamics: labels, detection of balls, their predicted motion, and when a shot is predicted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import random_world_model, small_config
from vdit.control.camera import CameraPath
from vdit.control.conditioning import Controls
from vdit.control.depth import depth_from_metres
from vdit.control.flow import FlowField
from vdit.drafting import PerceptionCache
from vdit.drafting.predict import DraftRequest, NoPrediction, predict_motion
from vdit.geometry.camera import focal_length
from vdit.model.object_dynamics import (
    CELL,
    KNOWN,
    UNITS,
    Balls,
    ObjectDynamics,
    Velocities,
    cell_centres,
    crop_width,
    local_maxima,
    next_position,
    resize,
)
from vdit.pipeline import Continuation
from vdit.training.data import scenes, starts
from vdit.training.data.tracks import VISIBLE_SHARE, clip_background
from vdit.training.data.tracks import ball_tracks as true_tracks
from vdit.training.finished_runs import load_dynamics
from vdit.training.recipes import DynamicsRecipe, ScenesRecipe
from vdit.training.tasks import dynamics_losses, perception
from vdit.world.families.clip import make_clip

from runs import encoded, latent_of, long_video, predicted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    recipe = ScenesRecipe(folder, shards=1, split="validation")
    scenes.write_scenes(recipe, scenes.SceneFormat(scenes=12))
    return starts.Scenes.load(folder)


class Seer(ObjectDynamics):
    """Finds one ball in a picture, right of its centre, that moves to the right by 2 pixels of 128 a frame."""

    away = 0.0

    def perceive(self, frames):
        seen = super().perceive(frames)
        odds = torch.full_like(seen.ball_logits, -9.0)
        rows, columns = odds.shape[1:]
        odds[:, rows // 2, columns * 5 // 8] = 9.0
        near = torch.full_like(seen.inverse_depth, 1 / 7)
        camera = torch.full_like(seen.camera_moves, self.camera)
        return seen._replace(ball_logits=odds, camera_moves=camera, inverse_depth=near)

    def start(self, seen, at, there, single=False):
        start = super().start(seen, at, there, single)
        balls = start.balls
        speed = torch.tensor([2.0 * UNITS / 128, 0.0, self.away]).expand_as(balls.velocity)
        past = balls.position[:, :, None] - speed[:, :, None, :2] * torch.arange(KNOWN - 1, -1, -1.0)[:, None]
        return start._replace(
            positions=past,
            balls=balls._replace(velocity=speed, gravity=0 * speed),
            log_depth=torch.full_like(start.log_depth, np.log(7.0)),
        )

    camera = -3.0


@pytest.fixture
def seer():
    torch.manual_seed(0)
    return Seer().eval().requires_grad_(False)


def predicted_motion(seer, pictures, camera=None, flow=None):
    """The composition of 41 frames that follow on from pictures."""
    return predict_motion(seer, DraftRequest(pictures, 41, controls=Controls(camera, None, flow)), PerceptionCache())


def told(seer, **more):
    branches = dict(camera_rays=2, vace_channels=257, vace_layers=(0,), carry=True, draft=True)
    model = random_world_model(1, small_config(ffn_dim=64, layers=1, **branches))
    torch.nn.init.normal_(model.transformer.draft_embedding.weight)
    model.dynamics = seer
    return model, encoded(model, "a red ball rolls", start=torch.rand(5, 64, 96, 3), **more)


@pytest.mark.slow
def test_labels_of_a_start_equal_the_simulators_tracks(data):
    """The same as the labels of the clip that it comes from, mirrored or not."""
    shard = next(iter(data.shards.values()))
    for seed in range(6):
        clip = make_clip(seed, split="validation", frames=81)
        if clip.scene.camera_move != "still":
            continue
        pixels = true_tracks(clip)
        for mirror in (False, True):
            batch = data.batch([(shard, torch.tensor([2 * seed]))], torch.tensor([mirror]))
            known = batch.radius[0] > 0
            place = batch.place[0] * 128 / UNITS + 64
            place = torch.cat((128 - place[..., :1], place[..., 1:]), -1) if mirror else place
            torch.testing.assert_close(place[:, known], pixels[:, known, :2], rtol=0, atol=0.02)
            torch.testing.assert_close(batch.radius[0] * 128 / UNITS, pixels[KNOWN - 1, :, 2], rtol=0, atol=0.05)
            frames = batch.frames.flip(3) if mirror else batch.frames
            assert (frames[0] - clip.render.rgb[:KNOWN]).abs().max() < 0.003
            assert (batch.shows[0][known] > 0.9).all() or clip.scene.family not in ("fall", "throw")


def test_later_starts_end_where_their_clip_does(data):
    batch = data.batch([(next(iter(data.shards.values())), torch.arange(24))])
    whole, later = batch.valid[0::2], batch.valid[1::2]
    assert (whole.any(1) == (batch.radius[0::2] > 0)).all() and later[:, 0].any()
    assert not later[:, -1].any() and (later.sum(1)[batch.radius[1::2] > 0] >= 81 - scenes.SceneFormat().latest).all()


def test_cells_and_places_agree(data):
    batch = data.batch([(next(iter(data.shards.values())), torch.arange(24))])
    at = starts.cell_of(batch.place[:, KNOWN - 1], batch.size)
    centre = cell_centres(128, 128).flatten(0, 1)[at]
    inside = (batch.place[:, KNOWN - 1].abs().amax(-1) < UNITS / 2) & (batch.radius > 0)
    assert ((centre - batch.place[:, KNOWN - 1]).abs().amax(-1)[inside] <= CELL / 2 * UNITS / 128 + 1e-5).all()
    heat = starts.heat(batch).flatten(1)
    shows = (batch.shows > VISIBLE_SHARE) & inside
    assert (
        shows.any()
        and (heat.gather(1, at)[shows] > 0.35).all()
        and not heat[~(batch.shows > VISIBLE_SHARE).any(1)].any()
    )


def test_peaks_are_the_likeliest_of_their_neighbourhood():
    odds = torch.full((1, 16, 16), -5.0)
    odds[0, 4, 5], odds[0, 4, 6], odds[0, 12, 9] = 3.0, 2.0, 1.0
    at, there = local_maxima(odds)
    assert at[0, :2].tolist() == [4 * 16 + 5, 12 * 16 + 9] and there[0].tolist() == [True, True] + [False] * 6


def test_balls_do_not_change_with_the_order_or_number_of_others(data):
    torch.manual_seed(0)
    model = ObjectDynamics().eval()
    torch.nn.init.normal_(model.push[2].weight, std=0.05)
    batch = data.batch([(next(iter(data.shards.values())), torch.arange(4))])
    with torch.no_grad():
        seen = model.perceive(batch.frames)
        at = torch.tensor([[300, 500, 700]]).expand(4, -1)
        order = torch.tensor([2, 0, 1])
        present = torch.tensor([[True, True, False]])
        path = [
            model(model.start(seen, at[:, o], present[:, o].expand(4, -1)).balls, seen.scene_features, 9)
            for o in (torch.arange(3), order)
        ]
        alone = model(model.start(seen, at[:, :2], torch.ones(4, 2, dtype=torch.bool)).balls, seen.scene_features, 9)
    torch.testing.assert_close(path[0][:, order], path[1])
    torch.testing.assert_close(path[0][:, :2], alone)  # what is no ball pushes none


@pytest.mark.slow
def test_training_lowers_the_loss(data):
    torch.manual_seed(0)
    model, generator = ObjectDynamics(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    batches = [
        data.batch([(next(iter(data.shards.values())), torch.arange(8))], single=single) for single in (False, True)
    ]
    lost = []
    for _ in range(40):
        optimizer.zero_grad()
        for batch in batches:
            found = dynamics_losses.losses(model, batch, dynamics_losses.Rollout(6, truth_chance=0.1), generator)
            dynamics_losses.weighted_sum(found).backward()
            lost.append({k: v.item() for k, v in found.items()})
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    for name in ("guess", "past", "speed", "found", "far"):
        assert lost[-2][name] < 0.6 * lost[0][name], name
    assert lost[-1]["speed"] < lost[1]["speed"] - 0.02  # likelier, by e


def test_a_single_picture_repeats_and_its_speed_is_predicted(data):
    shard = next(iter(data.shards.values()))
    five, one = (data.batch([(shard, torch.arange(24))], single=single) for single in (False, True))
    assert torch.equal(one.frames, five.frames[:, :1].expand_as(five.frames))
    still = five.moves == 0
    torch.testing.assert_close(one.place[still, KNOWN - 1 : -KNOWN + 1], five.place[still, : -2 * (KNOWN - 1)])
    assert (one.place[:, :KNOWN] == one.place[:, :1]).all() and one.words.shape[0] == 24


def test_sampled_speeds_follow_the_predicted_distribution():
    likely = torch.tensor([0.75, 0.25]).log().expand(1, 4000, 2)
    mean = torch.tensor([[1.0, 0.0], [-1.0, 2.0]]).expand(1, 4000, 2, 2)
    speeds = Velocities(likely, mean, torch.full_like(mean, 0.1))
    drawn = speeds.sample(torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0)))[0]
    right = drawn[:, 0] > 0
    assert 0.72 < float(right.float().mean()) < 0.78 and (drawn[right] - mean[0, 0, 0]).abs().max() < 0.5
    one = speeds.log_density(mean[:, :, 0])[0, 0]
    assert float(one) == pytest.approx(np.log(0.75 / (2 * np.pi * 0.01)), abs=1e-3)


def trained(data, out, seconds, **more):
    """The averaged model and the facts of a run on these scenes."""
    recipe = DynamicsRecipe(data.folder, data.folder, out, seconds / 3600, batch=8, **more)
    perception.train(recipe, validate_every=10**6)
    return load_dynamics(out)


@pytest.mark.slow
def test_a_run_resumes_and_logs_its_errors(data, tmp_path):
    for seconds in (6, 14):
        trained(data, tmp_path, seconds)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    ends = [r for r in rows if r.get("event") == "end"]
    assert rows[0]["event"] == "start" and len(ends) == 2 and 0 < ends[0]["step"] < ends[1]["step"]
    assert {"found", "false", "off_0", "off_36", "within"} <= set(ends[1])


@pytest.mark.slow
def test_a_run_can_start_from_another_runs_weights(data, tmp_path):
    before, facts = trained(data, tmp_path / "a", 4)
    made, more = trained(data, tmp_path / "b", 8, start_from=tmp_path / "a", keep_fine=True)
    fine = {n: v for n, v in before.state_dict().items() if n.startswith(("frame.", "quarter."))}
    assert all(torch.equal(v, made.state_dict()[n]) for n, v in fine.items())
    assert not torch.equal(before.push[0].weight, made.push[0].weight)
    ground, _ = trained(data, tmp_path / "c", 8, start_from=tmp_path / "b", ground_only=True)
    changed = {n.split(".")[0] for n, v in made.state_dict().items() if not torch.equal(v, ground.state_dict()[n])}
    assert changed == {"ground"}
    assert more["dynamics_steps"] > facts["dynamics_steps"] and more["dynamics_hours"] >= facts["dynamics_hours"]


def test_ground_depth_is_labelled_behind_balls_too(data):
    shard = next(iter(data.shards.values()))
    batch = data.batch([(shard, torch.arange(8))])
    assert batch.ground.shape == (8, 32, 32)
    clip = make_clip(0, split="validation", frames=81)
    told = clip_background(clip, KNOWN - 1)
    torch.testing.assert_close(batch.ground[0], told, rtol=2e-3, atol=1e-4)
    free = (
        torch.nn.functional.max_pool2d(
            ((clip.render.instance[KNOWN - 1] >= 10) & (clip.render.instance[KNOWN - 1] < 100)).float()[None], CELL
        )[0]
        == 0
    )
    cells = torch.nn.functional.avg_pool2d(1 / clip.render.depth[KNOWN - 1][None], CELL)[0]
    torch.testing.assert_close(told[free], cells[free])
    assert not free.all() and (told < cells + 1e-4)[~free].all()  # a ball is before it
    mirrored = data.batch([(shard, torch.arange(8))], torch.ones(8, dtype=torch.bool))
    assert torch.equal(mirrored.ground, batch.ground.flip(2)) and torch.equal(
        mirrored.light * torch.tensor([-1, 1, 1]), batch.light
    )


def test_tracks_follow_the_ball_at_any_size_and_from_more_pictures(seer):
    for width, height, count in ((128, 128, 5), (160, 96, 5), (128, 128, 13)):
        motion = predicted_motion(seer, torch.rand(count, height, width, 3))
        tracks = motion.tracks
        assert motion.inverse_depth.shape == (height // 4, width // 4)
        assert tracks.shape == (41, 1, 4) and not tracks[: count - KNOWN].any()
        step, last = 2 * height / 128, tracks[count - 1, 0]
        for t in (count - 3, count, 16):
            torch.testing.assert_close(
                tracks[t, 0, :2], last[:2] + torch.tensor([step * (t - count + 1), 0.0]), rtol=0, atol=1e-3
            )
            torch.testing.assert_close(tracks[t, 0, 2:], last[2:])
        assert float(last[3]) == pytest.approx(7.0, rel=1e-4)
    seer.camera = 3.0
    with pytest.raises(NoPrediction, match="wire a camera path"):
        predicted_motion(seer, torch.rand(5, 128, 128, 3))


@pytest.mark.parametrize(
    "width, height, seen_at",
    [(128, 128, (128, 128)), (160, 96, (224, 128)), (96, 160, (96, 160)), (256, 256, (128, 128)), (240, 320, (96, 128)),
     (144, 256, (112, 176)), (64, 48, (176, 128)), (512, 288, (240, 128))],
)  # fmt: skip
def test_pictures_of_any_size_are_resized_and_positions_mapped_back(width, height, seen_at):
    """Pixels that say where they are, from the centre, still do as the new picture's places are counted."""

    def places(columns, rows):
        return torch.stack(torch.meshgrid(*(torch.arange(n) + 0.5 - n / 2 for n in (columns, rows)), indexing="xy"), -1)

    own = places(width, height) / max(width, height)  # -.5 .. .5
    frames = torch.nn.functional.pad(own + 0.5, (0, 1))[None, None].expand(2, 5, -1, -1, -1)
    seen, share = resize(frames)
    assert (seen.shape[3], seen.shape[2]) == seen_at
    scale = ObjectDynamics().eval().perceive(frames[:1]).pixels_per_unit
    there = places(*seen_at) * UNITS / seen_at[1] * scale
    inner = (there.abs() < torch.tensor([width, height]) / 2 - max(width, height) / 16).all(-1)
    assert inner.float().mean() > 0.5
    torch.testing.assert_close(seen[1, 4, ..., :2][inner], (there / max(width, height) + 0.5)[inner], rtol=0, atol=1e-3)
    back = crop_width(seen[0, :, ..., 0], share, (height, width))  # and a map of them is that of the pictures
    torch.testing.assert_close(back[:, 8:-8, 8:-8], frames[0, :, 8:-8, 8:-8, 0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", scenes.SceneFormat().sizes)
def test_pictures_to_train_on_are_framed_once_for_all(size):
    """Training hands over framed ones, with all that it knows of them laid out alike."""
    seen, _ = resize(torch.rand(1, KNOWN, size[1], size[0], 3))
    again, share = resize(seen)
    assert again is seen and share == 1


def path(frames, **moves):
    """A camera of 40 degrees that goes x, z metres on, evenly."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    for axis, name in enumerate(("x", "y", "z")):
        c2w[:, axis, 3] = torch.linspace(0, moves.get(name, 0.0), frames)
    return CameraPath(c2w, moves.get("fov", 40.0))


def test_tracks_are_projected_by_the_given_camera(seer):
    """Aside, the ball moves the other way by so many focal lengths as its depth allows; nearer, it and its way grow."""
    seer.camera = 3.0  # a path says how: what the pictures look like does not matter
    pictures, focal = torch.rand(5, 128, 128, 3), float(focal_length(torch.tensor(40.0))) * 64
    still = predicted_motion(seer, pictures, camera=path(37)).tracks
    aside = predicted_motion(seer, pictures, camera=path(37, x=0.7)).tracks
    nearer = predicted_motion(seer, pictures, camera=path(37, z=3.5)).tracks
    zoom = CameraPath(np.tile(np.eye(4), (37, 1, 1)), np.linspace(40, 20, 37))
    zoomed = predicted_motion(seer, pictures, camera=zoom).tracks
    assert torch.equal(still[:5], aside[:5]) and torch.equal(still[:5], nearer[:5])
    assert float((still - aside)[40, 0, 0]) == pytest.approx(focal * 0.7 / 7, rel=1e-3)
    assert torch.equal(still[..., 1], aside[..., 1])
    torch.testing.assert_close(nearer[40, 0, :2] - 64, 2 * (still[40, 0, :2] - 64), rtol=1e-3, atol=1e-3)
    assert float(nearer[40, 0, 3]) == pytest.approx(3.5, rel=1e-3)
    assert float(nearer[40, 0, 2] / still[40, 0, 2]) == pytest.approx(2.0, rel=1e-3)
    wide, narrow = (float(focal_length(torch.tensor(fov))) for fov in (40.0, 20.0))
    assert float(zoomed[40, 0, 2] / still[40, 0, 2]) == pytest.approx(narrow / wide, rel=1e-3)
    behind = predicted_motion(seer, pictures, camera=path(37, z=8.0)).tracks
    assert float(behind[40, 0, 2]) == 0.0


def test_flow_alone_determines_the_camera_path(seer):
    seer.camera = 3.0
    pictures, flow = torch.rand(5, 128, 128, 3), torch.zeros(40, 128, 128, 2)
    flow[..., 0] = -1.0  # the camera turns or goes to the right
    camera = predicted_motion(seer, pictures, flow=FlowField(flow)).camera
    assert camera.frames == 37 and camera.moves
    model, shot = told(seer, flow=FlowField(flow[:, :64, :96]))
    assert predicted(model, shot, 41, 96, 64).draft is not None
    model, shot = told(seer, flow=FlowField(flow[:, :64, :96], torch.zeros(40, 64, 96)))
    assert predicted(model, shot, 41, 96, 64).draft is None  # it tells nothing


def test_an_approaching_ball_grows_by_perspective(seer):
    seer.away = -0.02  # of its distance, in the first frame
    tracks = predicted_motion(seer, torch.rand(5, 128, 128, 3)).tracks
    torch.testing.assert_close(tracks[4:, 0, 2] * tracks[4:, 0, 3], (tracks[4, 0, 2] * tracks[4, 0, 3]).expand(37))
    assert float(tracks[40, 0, 3] / tracks[4, 0, 3]) == pytest.approx(1 - 36 * 0.02, rel=1e-3)


def test_undisturbed_a_ball_flies_as_it_does_in_the_simulator():
    clips = (make_clip(seed, "throw", split="validation") for seed in range(7, 99))
    clip = next(c for c in clips if c.scene.camera_move == "still")
    scene, centers = clip.scene, clip.centers[:, 0]
    tracks = true_tracks(clip)[:, 0]
    place, radius = (tracks[:, :2] - 64) * UNITS / 128, tracks[:, 2:3] * UNITS / 128
    away = (tracks[1:, 3] / tracks[:-1, 3] - 1)[:, None]
    focal = UNITS / 2 / np.tan(np.radians(scene.fov_deg[0]) / 2)
    axes = torch.tensor(scene.c2w[0, :3, :3]).float()
    pull = axes.T @ torch.tensor([0, 0, -scene.gravity / scene.fps**2]) / scene.balls[0].radius
    pull = (pull / torch.tensor([1, 1, focal])).float()
    model = ObjectDynamics().eval()
    torch.nn.init.constant_(model.push[2].bias[6:], 20.0)  # it flies
    one = lambda x: x[None, None]  # noqa: E731
    # A frame is 62 or 63 steps of the simulator long, and so are the first one's speeds.
    balls = Balls(one(place[0]), torch.zeros(1, 1, 3), one(pull), one(radius[0]), torch.zeros(1, 1, 128))
    balls = balls._replace(velocity=torch.cat((place[1] - place[0] + away[0] * place[1], away[0]))[None, None])
    torch.testing.assert_close(next_position(balls)[0, 0], place[1])
    flight = int((centers[:, 2] < scene.balls[0].radius * 1.3).argmax())
    assert flight > 6
    with torch.no_grad():
        for t in range(1, flight):
            balls = model.advance(balls, torch.zeros(1, 64, 16, 16))
            assert (balls.position[0, 0] - place[t]).norm() * 128 / UNITS < 0.6
            assert float(balls.radius / radius[t]) == pytest.approx(1, abs=0.02)


def test_softened_pictures_keep_their_large_shapes_only():
    fine, coarse = (torch.arange(64) // n % 2 * 1.0 for n in (1, 16))
    frames = torch.stack((fine, coarse)).view(2, 1, 1, 64, 1).expand(2, KNOWN, 64, 64, 3)
    soft = starts.softened(frames, 4.0)
    assert soft.shape == frames.shape and torch.equal(soft[:, 0], soft[:, -1])
    assert (soft[0] - 0.5).abs().mean() < 0.05 and (soft[1] - frames[1]).abs().mean() < 0.12


def test_a_draft_needs_full_strength_and_follows_a_camera_path(seer):
    model, shot = told(seer)
    size = dict(frames=41, width=96, height=64)
    drawn = predicted(model, shot, **size).draft
    draft = drawn.frames
    assert draft.shape == (41, 64, 96, 3)
    assert predicted(model, shot, **size, continuation=Continuation(draft=drawn)).draft is drawn
    c2w = np.tile(np.eye(4), (41, 1, 1))
    assert predicted(model, replace(shot, camera=CameraPath(c2w, np.full(41, 40.0))), **size).draft is not None
    c2w[9:, 0, 3] = 0.1
    moves = replace(shot, camera=CameraPath(c2w, np.full(41, 40.0)))
    depth = depth_from_metres(2 + torch.rand(41, 64, 96))
    one = replace(shot, start=shot.start[:1])
    for other in (replace(shot, end=shot.start[:1]), replace(shot, strength=0.5), replace(shot, depth=depth), one):
        assert predicted(model, other, **size).draft is None
    travels = predicted(model, moves, **size).draft
    along = travels.frames
    assert travels.camera_moves and not drawn.camera_moves  # which VDiT Sample says
    assert torch.equal(along[:5], draft[:5]) and not torch.equal(along[9:], draft[9:])
    for part in (dict(strength=0.5), dict(start=0.2), dict(end=0.9)):  # a path that counts only in part
        assert predicted(model, replace(moves, camera=replace(moves.camera, **part)), **size).draft is None
    first, again, second = (predicted(model, one, **size, seed=seed).draft.frames for seed in (1, 1, 2))
    assert torch.equal(first, again) and torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])
    model.dynamics = None
    assert predicted(model, shot, **size).draft is None


def test_takes_that_share_a_cache_perceive_their_pictures_once(seer, monkeypatch):
    model, shot = told(seer)
    seer.camera, looks = 3.0, []
    monkeypatch.setattr(model.dynamics, "perceive", lambda frames: looks.append(1) or Seer.perceive(seer, frames))
    cache = PerceptionCache()
    asked = predicted(model, shot, 17, 96, 64, 1, cache=cache)
    assert asked.draft is None and "the camera of the start pictures moves" in asked.reason and len(looks) == 1
    run = dict(frames=17, width=96, height=64, steps=1, guidance=1.0, perception=cache)
    assert [latent_of(model, shot, seed=seed, **run).shape[2] for seed in (1, 2)] == [5, 5]
    assert len(looks) == 1


def test_drafts_reach_the_transformer_and_go_on_from_window_to_window(seer):
    model, shot = told(seer)
    run = dict(seed=1, width=96, height=64, steps=1, guidance=1.0)
    with_them = latent_of(model, shot, frames=17, **run)
    given = []
    model.transformer.register_forward_pre_hook(
        lambda m, args, named: given.append(named.get("draft")), with_kwargs=True
    )
    long_video(model, shot, frames=41, window=17, **run)
    assert [g.shape[2] for g in given] == [5, 5, 5]
    assert all(g[:, -1].all() for g in given) and not torch.equal(given[0], given[1])
    model.dynamics = None
    assert not torch.equal(with_them, latent_of(model, shot, frames=17, **run))
