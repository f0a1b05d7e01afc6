"""Similarity of two videos, and the preview benchmark, whose controls must separate good previews from bad ones."""

import json
import math

import numpy as np
import pytest
import torch
from fakes import random_world_model
from vdit.benchmark import preview
from vdit.benchmark.contestant import PreviewModel, PreviewVideo
from vdit.benchmark.fidelity import agreement, path_difference, psnr, ssim
from vdit.benchmark.preview import Events, PreviewPlan, events, measure, path_distance, same_events, shots, table, write
from vdit.host import cli as command_line
from vdit.model.files import bundle
from vdit.model.files.bundle import save_world_model

# Two videos


def disc(xs, y=32.0, side=64, radius=8.0):
    """A video [T,64,64,3] of a disc before a textured ground."""
    rows, columns = np.mgrid[0:side, 0:side]
    ground = 0.5 + 0.15 * np.sin(rows / 3.0) * np.cos(columns / 4.0)
    frames = []
    for x in xs:
        inside = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)
        spots = 0.7 + 0.25 * np.sin((columns - x) / 1.5) * np.sin((rows - y) / 1.5)
        frames.append(ground * (1 - inside) + spots * inside)
    return torch.from_numpy(np.stack(frames)).float()[..., None].repeat(1, 1, 1, 3)


STEADY = [12 + 2.5 * t for t in range(17)]


def test_psnr_and_ssim_have_their_textbook_values():
    video = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    assert psnr(video, video) == 99.0 and ssim(video, video) == pytest.approx(1.0)
    assert psnr(torch.zeros(2, 8, 8, 3), torch.full((2, 8, 8, 3), 0.1)) == pytest.approx(20.0)
    flat, other = torch.full((1, 16, 16, 3), 0.4), torch.full((1, 16, 16, 3), 0.6)
    c1 = 0.01**2
    assert ssim(flat, other) == pytest.approx((2 * 0.4 * 0.6 + c1) / (0.4**2 + 0.6**2 + c1), rel=1e-4)


def test_differing_tracks_are_distinguished_from_differing_pictures():
    video = disc(STEADY)
    dim = path_difference(video, video * 0.8, 8)
    late = path_difference(video, disc([STEADY[0], *STEADY[:-1]]), 8)
    rest = path_difference(video, disc([STEADY[0]] * 17), 8)
    back = path_difference(video, disc(STEADY[::-1]), 8)
    assert dim < 0.02 < late < rest < back
    travelled = 2.5 * 8 / 64  # of the width in a second
    assert rest == pytest.approx(travelled / math.sqrt(3), rel=0.4)
    assert path_difference(torch.full((9, 32, 32, 3), 0.5), torch.full((9, 32, 32, 3), 0.5), 8) == 0.0


def test_videos_of_other_shapes_have_no_agreement():
    with pytest.raises(ValueError, match=r"preview is \[9, .* the render \[8, "):
        agreement(torch.zeros(9, 32, 32, 3), torch.zeros(8, 32, 32, 3), 8)


# Where the ball is, and what happens to it


def test_a_ball_missing_from_one_video_costs_as_much_as_a_distant_one():
    path, radius = np.stack([np.arange(10.0), np.zeros(10)], -1), np.full(10, 2.0)
    lost, far = path.copy(), path + [1000.0, 0.0]
    lost[5:] = np.nan
    assert path_distance(path, path, radius, 1) == 0.0
    assert path_distance(path, path + [1.0, 0.0], radius, 1) == pytest.approx(0.5)
    assert path_distance(path, far, radius, 1) == preview.MAX_DISTANCE
    assert path_distance(lost, path, radius, 5) == path_distance(path, lost, radius, 5) == preview.MAX_DISTANCE
    assert path_distance(lost, lost, radius, 1) == 0.0


def test_events_are_bounces_and_returns():
    y = np.concatenate([np.linspace(10, 60, 8), np.linspace(50, 20, 5), np.linspace(30, 60, 5)])
    center, radius = np.stack([np.zeros(18), y], -1), np.full(18, 5.0)
    bounce, back = events(center, radius, 1)
    assert bounce == 7 and not back
    hidden = center.copy()
    hidden[10:13] = np.nan
    assert events(hidden, radius, 1)[1]
    hidden[14] = np.nan
    assert not events(hidden, radius, 1)[1], "one frame's flash is no return"
    both = (True, True)
    assert same_events(Events(7, False), Events(8, False), both) and not same_events(
        Events(7, False), Events(9, False), both
    )
    assert not same_events(Events(7, False), Events(None, False), both) and not same_events(
        Events(7, True), Events(7, False), both
    )
    assert same_events(Events(7, True), Events(9, True), (False, True)) and same_events(
        Events(7, True), Events(7, False), (True, False)
    )
    assert same_events(Events(7, True), Events(9, False), (False, False)) is None, (
        "nothing happens there, so nothing is asked"
    )


# The benchmark

SMALL = PreviewPlan(seed=3, shots=2, seeds=4, reference_steps=6, steps=(1, 4), width=64, height=64, frames=9)


def fake(name, error):
    """A model whose videos are the clip's own, the ball's colours shifted by the seed, off by error(steps)."""

    def decode(clip, seed, latent, opening):
        return latent.transpose(1, 2, 3, 0)[..., :3].astype(np.float32)

    def make(clip, seed, steps, solver):
        truth = clip.render.rgb.numpy()
        own = np.random.default_rng(seed).normal(0, 0.08, (1, *truth.shape[1:3], 3))
        wrong = np.random.default_rng([seed, *name.encode(), steps]).normal(0, 1, truth.shape)
        frames = (truth + own + error(steps) * wrong).clip(0, 1).astype(np.float32)
        return PreviewVideo(np.concatenate([frames, frames], -1).transpose(3, 0, 1, 2), frames, 0.1 * steps, 0.05)

    return PreviewModel(name, make, decode)


@pytest.fixture(scope="module")
def report():
    teacher = fake("teacher", lambda steps: {6: 0.0, 4: 0.3, 1: 0.9}[steps])
    return measure(SMALL, teacher, [fake("good", lambda steps: 0.01), fake("bad", lambda steps: 2.0)])


def test_shots_are_the_same_for_the_same_seed_and_others_for_another():
    names = [
        [name for *_, name in shots(PreviewPlan(seed, shots=2, width=64, height=64, frames=9))] for seed in (3, 3, 4)
    ]
    assert names[0] == names[1] != names[2]


def test_every_control_scores_in_its_order(report):
    found = report["systems"]
    few_steps = {f"{name}@{steps}" for name in ("teacher", "good", "bad") for steps in (1, 4)}
    assert set(found) == few_steps | {"other solver@6", "wrong seed", "reference"}
    same, wrong, good, bad = (found[name] for name in ("reference", "wrong seed", "good@4", "bad@4"))
    assert same["retrieval"]["percent"] == same["best_of_4"]["percent"] == 100 and same["events"]["percent"] in (
        100,
        None,
    )
    assert (same["latent_rmse"], same["ssim"], same["psnr_db"], same["path_radii"]) == (0, 1, 99, 0)
    assert wrong["retrieval"]["percent"] == 0 and wrong["own_to_other"] == pytest.approx(1, abs=0.05)
    assert good["retrieval"]["percent"] == 100 and good["own_to_other"] < 0.3 < found["teacher@4"]["own_to_other"]
    for key in ("ssim", "psnr_db"):
        assert good[key] > found["teacher@4"][key] > bad[key]
    assert good["latent_rmse"] < found["teacher@4"]["latent_rmse"] < bad["latent_rmse"]
    assert found["other solver@6"]["latent_rmse"] < 1e-5
    assert (good["pairs"], good["steps"], good["seconds"], good["best_of_4"]["clips"]) == (8, 4, 0.4, 2)


def test_the_report_is_a_table_a_file_and_a_plot(report, tmp_path):
    lines = table(report).splitlines()
    assert len(lines) == 2 + len(report["systems"]) and len(set(map(len, lines))) == 1
    written, plot = write(report, tmp_path)
    assert json.loads(written.read_text()) == json.loads(json.dumps(report))
    from PIL import Image

    assert min(Image.open(plot).size) > 400


def test_a_run_resumes_and_refuses_the_folder_of_other_settings(tmp_path):
    plan = PreviewPlan(seed=3, shots=1, seeds=4, reference_steps=6, steps=(1,), width=64, height=64, frames=9)

    class StopError(Exception):
        pass

    def stop(done, total, what):
        assert total == 4 * 4
        if done == 6:
            raise StopError

    made = []

    def counted(maker):
        def make(*given):
            made.append(given[1:])
            return maker.render(*given)

        return PreviewModel(maker.name, make, maker.decode)

    models = counted(fake("teacher", lambda steps: 0.1)), [counted(fake("good", lambda steps: 0.01))]
    with pytest.raises(StopError):
        measure(plan, *models, tmp_path, stop)
    assert len(made) == 6
    whole = measure(plan, *models, tmp_path)
    assert len(made) == 16
    again = measure(plan, *models, tmp_path)
    assert len(made) == 16 and again == whole
    with pytest.raises(ValueError, match="another run"):
        measure(PreviewPlan(seed=4, shots=1, seeds=4), *models, tmp_path)


@pytest.mark.slow
def test_the_command_compares_real_models(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preview.PreviewPlan, "seeds", 4)
    monkeypatch.setattr(preview.PreviewPlan, "steps", (1,))
    monkeypatch.setattr(preview.PreviewPlan.__init__, "__defaults__", (8, 4, 2, (1,), "test", 64, 64, 9, "euler"))
    monkeypatch.setattr(bundle, "BUNDLED", save_world_model(random_world_model(0), tmp_path / "vdit-small.safetensors"))
    settings = [
        "benchmark",
        "--suite",
        "preview",
        "--count",
        "4",
        "--steps",
        "2",
        "--seed",
        "5",
        "--out",
        str(tmp_path / "o"),
    ]
    settings += ["--width", "64", "--height", "64", "--frames", "9"]
    assert command_line.main(settings) == 1
    assert "there are no students" in capsys.readouterr().err
    save_world_model(random_world_model(0, student=True), tmp_path / "vdit-small-student.safetensors")
    assert command_line.main(settings) == 0
    said = capsys.readouterr().out
    assert "vdit-small-student@1" in said and "preview.png" in said
    found = json.loads((tmp_path / "o" / "preview.json").read_text())
    assert found["plan"]["reference_steps"] == 2 and found["systems"]["reference"]["retrieval"]["percent"] == 100
    assert command_line.main([*settings, "--known", "0"]) == 1
    assert "another run" in capsys.readouterr().err
    assert command_line.main([*settings, "--known", "0", "--out", str(tmp_path / "words")]) == 0
    assert found["drafts"] is True and command_line.main([*settings, "--no-drafts"]) == 1
    assert "another run" in capsys.readouterr().err
    assert command_line.main([*settings, "--no-drafts", "--out", str(tmp_path / "alone")]) == 0
    assert json.loads((tmp_path / "alone" / "preview.json").read_text())["drafts"] is False


def test_the_preview_suite_runs_alone(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["benchmark", "--suite", "preview", "speed"])
    assert "run it alone" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command_line.main(["benchmark", "--suite", "physics", "--no-drafts"])
    assert "--no-drafts is for --suite preview" in capsys.readouterr().err
