"""The physics benchmark: what its controls score, what it refuses, how it resumes, and its nodes."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import random_world_model
from vdit.benchmark import cli, measure, runner
from vdit.benchmark.contestant import Contestant
from vdit.benchmark.controls import CONTROLS, Source
from vdit.benchmark.files import OtherRunError
from vdit.benchmark.obedience import motion_rows, obedience, robust_fit
from vdit.benchmark.permanence import occlusion
from vdit.benchmark.permanence import unsuitable as unsuitable_for_permanence
from vdit.benchmark.physics import flight, impacts, true_flight
from vdit.benchmark.report import out_of_band, share, summary, table, wilson
from vdit.benchmark.scores import SUITES, score
from vdit.benchmark.selection import Format, Tally, draw
from vdit.benchmark.tracking import FramesError, track_ball, validated_frames
from vdit.nodes.benchmark import VDiTPhysicsBenchmark
from vdit.nodes.benchmark_models import contestant
from vdit.nodes.score import VDiTScoreVideo
from vdit.nodes.simulate import FAMILIES, SPLITS, VDiTSimulateScene
from vdit.pipeline.long_video import window_starts
from vdit.world.families import scene as world_scene

from runs import encoded, long_video

KNOWN = 5
_drawn: dict = {}


def clip_of(suite, family):
    """One clip and its labels; drawn once a session."""
    if (suite, family) not in _drawn:
        _drawn[suite, family] = next(draw(suite, family, "validation", 3, 1))
    return _drawn[suite, family]


def judge(suite, family, name):
    clip, labels = clip_of(suite, family)
    frames = CONTROLS[name].make(Source(clip, labels, KNOWN, np.random.default_rng(0)))
    return score(suite, frames, labels, KNOWN)


# Controls: one clip each, so a share is 0 or 100%

ON = {"permanence": "arc", "physics": "fall", "coherence": "throw"}


BANDS = [
    (suite, name, control.bands.get(suite) or control.bands[f"{suite}/{family}"])
    for suite, family in ON.items()
    for name, control in CONTROLS.items()
    if suite in control.bands or f"{suite}/{family}" in control.bands
]


@pytest.mark.slow
@pytest.mark.parametrize("suite, name, band", BANDS, ids=[f"{name}-{suite}" for suite, name, _ in BANDS])
def test_each_control_scores_within_its_band(suite, name, band):
    slack = 4.0 if suite == "coherence" else 0.0  # of one clip; the bands are for many
    found = judge(suite, ON[suite], name)
    assert band[0] - slack <= 100 * found.value <= band[1] + slack, found.checks


def test_going_on_straight_passes_behind_a_box_but_neither_a_bounce_there_nor_an_arc():
    assert judge("permanence", "behind", "linear").value == 1
    assert judge("permanence", "wall", "linear").value == 0
    assert judge("permanence", "wall", "simulator").value == 1


@pytest.mark.slow
def test_time_scaled_motion_is_coherent_but_not_physics():
    assert judge("coherence", "throw", "time x0.7").value > 0.85
    assert judge("physics", "fall", "time x0.7").value == 0


@pytest.mark.slow
def test_frames_in_a_random_order_are_not_coherent():
    clip, labels = clip_of("coherence", "throw")
    sources = [Source(clip, labels, KNOWN, np.random.default_rng(i)) for i in range(8)]
    found = [score("coherence", CONTROLS["shuffled"].make(source), labels, KNOWN).value for source in sources]
    assert np.mean(found) <= 0.02


@pytest.mark.slow
def test_each_failure_is_named():
    failed = lambda suite, name: {c.name for c in judge(suite, ON[suite], name).checks if not c.ok}  # noqa: E731
    assert "one whole ball after" in failed("permanence", "vanish")
    assert "gravity off by" in failed("physics", "time x1.3")
    assert "motion" in failed("coherence", "static")
    assert {"stillness"} == failed("coherence", "flicker 6%")


def test_frames_of_another_size_get_the_same_scores():
    clip, labels = clip_of("physics", "fall")
    double = torch.nn.functional.interpolate(clip.render.rgb.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
    assert score("physics", double.permute(0, 2, 3, 1), labels).value == 1


# The tracker and the fits


def test_the_ball_is_found_within_a_tenth_of_its_radius():
    for suite, family in (("physics", "fall"), ("permanence", "behind")):
        _, labels = clip_of(suite, family)
        track = track_ball(labels.truth, labels)
        error = (np.linalg.norm(track.center - labels.center, axis=-1) / labels.radius)[labels.in_view]
        assert error.max() < 0.1 and (track.parts[labels.in_view] == 1).all()
        assert np.isnan(track.center[labels.hidden]).all()


def test_a_bounce_gives_its_frame_gravity_and_speed():
    t = np.arange(24)
    y = np.where(t < 8, 20 + t**2, 0.0)
    y[8:] = 84 - 11.2 * (t[8:] - 8) + (t[8:] - 8.0) ** 2
    center = np.stack([30 + 1.5 * t, y], 1)
    radius = np.full(24, 10.0)
    hits = impacts(center[:, 1], radius, 1)
    assert hits == [8]
    found = flight(center, 1, hits[0], 20)
    assert found.gravity == pytest.approx(2.0) and found.speed == pytest.approx(1.5) and found.r2 > 0.999
    center[3] = np.nan
    assert flight(center, 1, hits[0], 20).gravity == pytest.approx(2.0), "a frame without ball is left out"
    assert impacts(np.full(24, 50.0), radius, 1) == [], "rest is no bounce"
    center[14:, 0] -= 3 * (t[14:] - 14)  # a wall
    assert found.bend < 0.01 and flight(center, 1, hits[0], 20).bend > 1


@pytest.mark.slow
def test_a_flight_that_meets_a_wall_is_not_asked_for_its_sideways_speed():
    for _, labels in draw("physics", "throw", "validation", 77, 8):
        assert true_flight(labels, KNOWN)[2].bend <= 0.5


def test_a_step_of_the_camera_is_read_from_the_flow_it_makes():
    rng = np.random.default_rng(0)
    x, y, depth = rng.uniform(-0.4, 0.4, 300), rng.uniform(-0.4, 0.4, 300), rng.uniform(4, 9, 300)
    truth = np.array([0.05, -0.02, 0.1, 0.004, -0.01, 0.02, 0.01])
    rows = motion_rows(x, y, depth) * 170
    flow = rows @ truth
    flow[:40] += 8.0  # a ball in front moves otherwise
    assert np.abs(rows @ robust_fit(rows, flow) - rows @ truth).max() < 0.1


def test_the_simulator_obeys_itself_better_than_a_still_video_does():
    clip, labels = next(draw("obedience", "fall", "validation", 5, 1))
    own, still = obedience(labels.truth, clip, labels), obedience(labels.truth[:1].repeat(41, 0), clip, labels)
    assert own["silhouette_iou"] > 0.85 > 0.3 > still["silhouette_iou"]
    assert own["flow_px"] < 0.3 * still["flow_px"]
    if labels.static_camera:
        assert own["camera_px"] is None


# Bad input


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda x: x[:25], "25 frames were given, the clip has 41"),
        (lambda x: x[:, :, :96], "96x128 pixels, the clip is 128x128"),
        (lambda x: np.where(np.arange(41)[:, None, None, None] == 7, np.nan, x), "first frame 7"),
        (lambda x: x * 255, "expected 0 to 1"),
        (lambda x: x[..., :1], "expected \\[frames, height, width, 3\\]"),
        (lambda x: x[0], "expected \\[frames, height, width, 3\\]"),
    ],
)
def test_frames_that_cannot_be_judged_are_refused_with_the_numbers(change, says):
    _, labels = clip_of("physics", "fall")
    with pytest.raises(FramesError, match=says):
        validated_frames(change(labels.truth), labels)


def test_a_clip_that_a_score_makes_no_sense_on_is_refused_with_the_reason():
    _, labels = clip_of("physics", "fall")
    with pytest.raises(ValueError, match="not hidden once"):
        score("permanence", labels.truth, labels)
    with pytest.raises(ValueError, match="the camera moves"):
        score("physics", labels.truth, replace(labels, static_camera=False))
    with pytest.raises(ValueError, match="1 to 40"):
        score("physics", labels.truth, labels, known=41)
    with pytest.raises(ValueError, match="beauty"):
        score("beauty", labels.truth, labels)


def test_a_video_without_the_ball_fails_every_check_that_asks_for_it():
    found = judge("physics", "fall", "blank")
    unmeasured = [c for c in found.checks if c.value is None]
    assert found.value == 0 and unmeasured and not any(c.ok for c in unmeasured)
    assert all(c.value is None or np.isfinite(c.value) for c in found.checks)


# Statistics


def test_wilson_intervals_equal_published_values():
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(188, 200) == pytest.approx((0.8981, 0.9652), abs=2e-4)
    assert wilson(40, 40) == pytest.approx((0.9124, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="11 of 10"):
        wilson(11, 10)
    assert share([1.0, 0.0]) == {"clips": 2, "percent": 50.0, "low": 9.45, "high": 90.55}
    assert share([])["percent"] is None


# Which clips


def test_the_same_seed_draws_the_same_clips_and_another_seed_others():
    first = [labels.seed for _, labels in draw("physics", "fall", "test", 1, 2, Format(32, 32))]
    assert first == [labels.seed for _, labels in draw("physics", "fall", "test", 1, 2, Format(32, 32))]
    assert not set(first) & {labels.seed for _, labels in draw("physics", "fall", "test", 2, 2, Format(32, 32))}


def test_clips_satisfy_the_definition_of_their_suite():
    for family in SUITES["permanence"].families:
        _, labels = clip_of("permanence", family)
        assert labels.static_camera and labels.hidden.sum() >= 2 and labels.family == family
        assert np.nonzero(labels.hidden)[0][0] >= KNOWN
    _, labels = clip_of("coherence", "throw")
    assert labels.frames == 81


def test_a_split_without_suitable_scenes_ends_with_the_reasons(monkeypatch):
    from vdit.benchmark import selection

    monkeypatch.setattr(selection, "RULES", replace(selection.RULES, tries=4))
    monkeypatch.setattr(selection, "take", lambda *_: "the ball leaves the picture")
    tally = Tally()
    assert list(draw("physics", "fall", "test", 1, 2, tally=tally)) == []
    assert tally.taken == 0 and tally.left_out == {"the ball leaves the picture": 8}


# Runs

SMALL = runner.Plan(seed=4, count=2, suites=("physics",), form=Format(64, 64))


def test_a_stopped_run_resumes_and_ends_with_the_same_scores(tmp_path):
    made = []

    def video(source):
        made.append(source.labels.seed)
        if len(made) == 2:
            raise KeyboardInterrupt
        return source.labels.truth

    with pytest.raises(KeyboardInterrupt):
        runner.run(SMALL, {"model": video}, tmp_path)
    found = runner.run(SMALL, {"model": video}, tmp_path)
    assert len(made) == 3 and len(found.results) == 2 and [r["value"] for r in found.results] == [1.0, 1.0]
    again = runner.run(SMALL, {"model": video}, tmp_path)
    assert len(made) == 3 and again == found, "what is there is taken as it is"
    assert list(tmp_path.rglob("*.tmp")) == [] and len(list(tmp_path.rglob("model/*.mp4"))) == 2
    with pytest.raises(OtherRunError, match="settings.steps"):
        runner.run(SMALL, {"model": video}, tmp_path, settings={"steps": 3})


def test_a_report_gives_shares_failed_checks_and_controls_out_of_their_band():
    def result(who, value, split, seed):
        clip = {"suite": "physics", "split": split, "family": "fall", "seed": seed, "who": who}
        return {**clip, "value": value, "checks": [{"name": "detected", "value": value, "ok": value == 1}]}

    values = {"simulator": 1.0, "static": 1.0, "model": 0.0}
    results = [result(*video, split, i) for video in values.items() for split in ("test", "ood-size") for i in range(3)]
    found = summary(results)
    assert found["scores"]["model"]["physics"]["ood"]["all"]["clips"] == 3
    assert found["failed_checks"]["model"]["physics"]["detected"] == 1.0
    assert [line.split(",")[0] for line in out_of_band(found["scores"])] == ["static", "static"]
    text = table(found)
    assert "physics accuracy" in text and "ood-size" in text and "fall 100" in text


def test_the_command_fails_when_a_control_leaves_its_band(tmp_path, capsys, monkeypatch):
    for name in list(CONTROLS):
        if name not in ("simulator", "static"):
            monkeypatch.delitem(CONTROLS, name)
    call = [
        "--controls",
        "--suite",
        "physics",
        "--count",
        "1",
        "--width",
        "64",
        "--height",
        "64",
        "--out",
        str(tmp_path),
    ]
    assert cli.main(call) == 0
    assert "simulator" in capsys.readouterr().out and (tmp_path / "scores.png").is_file()
    monkeypatch.setitem(CONTROLS, "static", replace(CONTROLS["static"], bands={"physics": (100, 100)}))
    assert cli.main(call) == 1
    assert "OUT OF BAND: static, physics, test: 0% of 1 clips" in capsys.readouterr().out


def test_the_command_measures_as_nodes_run(tmp_path):
    modes = []

    def predict(clip, known, seed):
        modes.append(torch.is_inference_mode_enabled())
        return clip.render.rgb

    call = ["--suite", "physics", "speed", "--count", "1", "--width", "64", "--height", "64", "--out", str(tmp_path)]
    assert cli.main(call, lambda file, **settings: Contestant("none", predict)) == 0
    assert len(modes) > 2 and all(modes)


def test_the_command_refuses_impossible_settings(tmp_path, capsys):
    assert cli.main(["--count", "1", "--out", str(tmp_path)]) == 1
    assert "no model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--width", "31"])


# Models


@pytest.mark.parametrize("frames, fit", [(1, True), (4, False)])
def test_a_ball_partly_visible_for_long_has_no_frame_of_return(frames, fit):
    """A ball may show a fifth of itself above the box for six frames before it comes out."""
    _, labels = clip_of("permanence", "arc")
    last, visible = occlusion(labels)[1], labels.visible.copy()
    visible[last + 1 :] = np.concatenate((np.full(frames, 0.2), np.ones(len(visible))))[: len(visible) - last - 1]
    reason = unsuitable_for_permanence(replace(labels, visible=visible), 5)
    assert reason is None if fit else "looks out for a while" in reason


def test_an_arc_that_a_straight_line_explains_is_unsuitable():
    _, labels = clip_of("permanence", "arc")
    center, t = labels.center.copy(), np.arange(labels.frames)
    center[5:] = center[4] + (t[5:] - 4)[:, None] * (center[4] - center[3])
    assert "went straight on" in unsuitable_for_permanence(replace(labels, center=center), 5)
    assert unsuitable_for_permanence(replace(labels, center=center, family="behind"), 5) is None
    assert unsuitable_for_permanence(labels, 5) is None


@pytest.fixture(scope="module")
def model():
    model = random_world_model(0)
    model.defaults.update(width=64, height=64, frames=17, steps=1)
    return model


def test_long_videos_are_made_in_windows_that_share_five_frames():
    assert window_starts(81, 41) == [0, 36, 72] and window_starts(41, 41) == [0] and window_starts(77, 41) == [0, 36]
    with pytest.raises(ValueError, match="overlap by 41"):
        window_starts(81, 41, 41)


def test_a_longer_video_begins_as_the_shorter_and_repeats_itself_exactly(model):

    told = encoded(model, "a red ball falls", start=torch.rand(5, 64, 64, 3))
    run = dict(seed=1, width=64, height=64, steps=1, guidance=1.0)
    long = long_video(model, told, frames=33, **run)
    assert long.shape == (33, 64, 64, 3) and torch.equal(long, long_video(model, told, frames=33, **run))
    assert torch.equal(long[:17], long_video(model, told, frames=17, **run))


def test_a_window_goes_on_from_the_latents_of_the_one_before(model, monkeypatch):
    from vdit.control import PictureError
    from vdit.pipeline import takes

    made, calls = [], []

    def watched(run):
        calls.append(run)
        made.append(generate(run))
        return made[-1]

    generate = takes.generate
    monkeypatch.setattr(takes, "generate", watched)
    shot = encoded(model, "a red ball falls", start=torch.rand(1, 64, 64, 3))
    run = dict(seed=1, width=64, height=64, steps=1, guidance=1.0)
    long = long_video(model, shot, frames=25, overlap=9, **run)
    second = calls[1]
    first, then = (result.latent for result in made)
    assert torch.equal(second.conditioning.start, long[8:9]) and torch.equal(second.continuation.past, first[:, :, -2:])
    assert torch.equal(then[:, :, 1:3], first[:, :, -2:])  # held to the bit
    with pytest.raises(PictureError, match="start_image has 17 pictures but the video only 17 frames"):
        generate(replace(second, continuation=replace(second.continuation, past=first[:, :, -4:])))


@pytest.mark.slow
def test_a_model_is_measured_from_end_to_end(model, tmp_path):
    plan = runner.Plan(0, 1, ("physics",), form=Format(64, 64))
    one = contestant(model, "random")
    report, results = measure.measure(plan, one, tmp_path, speed=True)
    assert report["scores"]["model"]["physics"]["test"]["all"]["percent"] == 0
    assert report["speed"]["frames"] == 41 and report["hardware"]["processor"] and report["hardware"]["torch"]
    assert not one.controlled, "this model takes no controls"
    files = {path.name for path in measure.write_report(tmp_path, report, results)}
    assert files == {"report.json", "report.txt", "scores.png", "paths.png", "worst.png"}
    assert "on " + report["hardware"]["processor"] in (tmp_path / "report.txt").read_text("utf-8")


@pytest.mark.slow
def test_obedience_is_reported_with_the_simulator_and_the_codec(tmp_path):
    model = random_world_model(0, controls=True)
    model.defaults.update(width=64, height=64, frames=17, steps=1)
    plan = runner.Plan(0, 1, ("obedience",), form=Format(64, 64))
    report, _ = measure.measure(plan, contestant(model, "random"), tmp_path, speed=False)
    assert list(report["obedience"]) == [
        "simulator",
        "codec round trip",
        "uncontrolled",
        "camera",
        "depth",
        "flow",
        "all",
    ]


# Nodes


def simulate(**changes):
    given = dict(
        family="arc", seed=3, split="test", frames=9, fps=8.0, width=64, height=64, start_frames=5, camera_move="still"
    )
    return VDiTSimulateScene.execute(**{**given, **changes}).result


def test_simulate_scene_knows_the_world_s_families_and_splits():
    assert FAMILIES == list(world_scene.FAMILIES) and SPLITS == list(world_scene.SPLITS)


def test_simulate_scene_returns_colour_depth_flow_and_masks():
    images, start, depth, flow, masks, camera, caption, fps, scene = simulate()
    assert images.shape == (9, 64, 64, 3) and torch.equal(start, images[:5]) and fps == 8.0
    assert depth.shape == images.shape and 0 <= depth.min() and depth.max() <= 1
    assert flow.flow.shape == (8, 64, 64, 2) and masks.shape == (9, 64, 64) and 0 < masks.mean() < 0.3
    assert camera.c2w.shape == (9, 4, 4) and torch.equal(camera.c2w[0], camera.c2w[-1])
    assert "ball" in caption and scene.scene.seed == 3
    assert flow.flow[masks[:-1] == 0].abs().max() < 1e-3, "a still camera moves nothing but what moves"


def test_simulate_scene_renders_along_a_given_camera_path():
    from vdit.control.camera import CameraPath

    path = torch.eye(4, dtype=torch.float64).repeat(9, 1, 1)
    path[:, 0, 3] = torch.linspace(0, 1, 9)  # one metre to the right
    *_, camera, caption, fps, scene = simulate(camera=CameraPath(path, torch.tensor(40.0)))
    moved = camera.relative().c2w[-1, :3, 3]
    assert moved.tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
    with pytest.raises(ValueError, match="9 poses, the scene 13 frames"):
        simulate(camera=CameraPath(path, torch.tensor(40.0)), frames=13)
    with pytest.raises(ValueError, match="only 9 frames"):
        simulate(start_frames=13)


def test_score_video_judges_any_video_of_the_scene():
    clip, labels = clip_of("permanence", "arc")
    output = VDiTScoreVideo.execute(clip, clip.render.rgb, "all that fit", KNOWN)
    value, report, compare = output.result
    assert value == 1 and "permanence: passed" in report and compare.shape == (41, 128, 260, 3)
    assert output.ui["vdit_line"] == report.split("\n")
    still = clip.render.rgb[:1].repeat(41, 1, 1, 1)
    value, report, _ = VDiTScoreVideo.execute(clip, still, "permanence", KNOWN).result
    assert value == 0 and "permanence: FAILED" in report and "NO " in report


def test_score_video_says_why_a_scene_cannot_be_judged():
    seed = next(s for s in range(50) if world_scene.sample_scene(s, "look", split="test").balls)
    *_, scene = simulate(family="look", seed=seed)
    with pytest.raises(ValueError, match="cannot be judged: for permanence"):
        VDiTScoreVideo.execute(scene, scene.render.rgb, "all that fit", KNOWN)


def test_physics_benchmark_measures_a_model_in_the_graph(model):
    output = VDiTPhysicsBenchmark.execute(model, "physics", 1, 0, "test", 5, 1)
    report, plot, worst, numbers = output.result
    assert "physics accuracy" in report and plot.ndim == worst.ndim == 4
    assert json.loads(numbers)["scores"]["model"]["physics"]["test"]["all"]["clips"] == 1


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)  # as where it is not installed
    with pytest.raises(ImportError, match="pip install mujoco`"):
        simulate()


def test_a_model_is_given_the_last_frame_where_asked_for(monkeypatch):
    ends = []
    monkeypatch.setattr("vdit.pipeline.long_video", lambda run, windows: ends.append(run.conditioning.end))
    clip, _ = clip_of("physics", "fall")
    for ended in (False, True):
        made = contestant(random_world_model(0), ended=ended)
        made.predict(clip, clip.render.rgb[:5], 1)
        assert made.settings.get("ended", False) is ended
    assert ends[0] is None and torch.equal(ends[1][0], clip.render.rgb[-1])
