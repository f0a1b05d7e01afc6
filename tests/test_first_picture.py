"""From words alone a first picture is made, and the shot continues from it."""

import importlib
from dataclasses import replace

import pytest
import torch
from fakes import random_world_model, small_config
from vdit.control.camera import CameraPath
from vdit.model.object_dynamics import ObjectDynamics
from vdit.nodes.benchmark_models import preview_model
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import Continuation, decode_frames
from vdit.pipeline.drafts import begun, predict

from runs import encoded, latent_of, long_video, run, run_of, take

SIZE = dict(frames=13, width=64, height=64)
RUN = dict(**SIZE, seed=5, steps=2, guidance=1.0)
ALONE = Continuation(predict=False)  # the transformer alone


class Finds(ObjectDynamics):
    """Finds a ball in the middle of the pictures it is shown from the one numbered `since` on."""

    since, shown, odds = 0, 0, 9.0

    def perceive(self, frames):
        seen = super().perceive(frames)
        odds = torch.full_like(seen.ball_logits, -9.0)
        odds[:, odds.shape[1] // 2, odds.shape[2] // 2] = self.odds if self.shown >= self.since else -9.0
        self.odds += 0.5
        self.shown += 1
        return seen._replace(ball_logits=odds, inverse_depth=torch.full_like(seen.inverse_depth, 1 / 7))


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(importlib.import_module("vdit.pipeline.generate"), "FIRST_PICTURE_STEPS", 2)
    torch.manual_seed(0)
    model = random_world_model(3, small_config(draft=True))
    model.dynamics = Finds().eval().requires_grad_(False)
    model.defaults.update(width=64, height=64, frames=13, guidance=1.0)
    return model


@pytest.fixture
def student(model):
    config = replace(model.config, flow_map=True)
    return replace(
        random_world_model(4, config), text=model.text, codec=model.codec, dynamics=model.dynamics, teacher=model
    )


def words(model, **more):
    return encoded(model, "a red ball rolls to the right", **more)


@pytest.mark.parametrize("since, frame", [(0, 0), (2, 8)])
def test_the_first_picture_with_a_ball_begins_the_shot(model, since, frame):
    model.dynamics.since = since
    shot = words(model)
    made = run(model, shot, **RUN)
    first = latent_of(model, shot, **RUN, continuation=ALONE)
    picture = decode_frames(model.codec, first)[frame]
    torch.testing.assert_close(made.first_picture[0], picture, rtol=0, atol=1 / 255)
    assert made.draft is not None and made.first_picture.shape == (1, 64, 64, 3)
    assert torch.equal(made.first_picture * 255, (made.first_picture * 255).round())
    again = latent_of(model, shot, **RUN, continuation=Continuation(first_picture=made.first_picture))
    assert torch.equal(made.latent, again) and not torch.equal(made.latent, first)


@pytest.mark.slow
def test_a_preview_begins_with_the_picture_that_its_render_begins_with(model, student):
    """However many steps either has."""
    made = [
        run(by, words(by), **{**RUN, "steps": steps})
        for by, steps in ((model, 2), (model, 5), (student, 1), (student, 4))
    ]
    assert all(torch.equal(one.first_picture, made[0].first_picture) and one.draft is not None for one in made)
    shot = words(model, negative_prompt="")
    guided = run(model, shot, **{**RUN, "guidance": 3.0})  # follows the words more closely: another picture
    assert not torch.equal(guided.first_picture, made[0].first_picture)


def still_path(frames):
    return CameraPath(torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1), torch.full((frames,), 40.0))


@pytest.mark.slow
def test_the_picture_comes_from_a_video_of_trained_length_unless_controls_span_more(model):
    model.dynamics.since = 99
    run(model, words(model), **{**RUN, "frames": 29})
    assert model.dynamics.shown == 4  # 13 frames
    moving = random_world_model(3, small_config(camera_rays=2, draft=True))
    moving.dynamics, model.dynamics.shown = model.dynamics, 0
    moving.defaults.update(model.defaults)
    run(moving, words(moving, camera=still_path(29)), **{**RUN, "frames": 29})
    assert model.dynamics.shown == 8


@pytest.mark.parametrize("odds, frame", [(1.5, 12), (2.0, 8)])  # clearer by half from picture to picture; .93 is 2.6
def test_an_uncertain_ball_does_not_start_the_shot(model, odds, frame):
    model.dynamics.odds, shot = odds, words(model)
    made = run(model, shot, **RUN)
    picture = decode_frames(model.codec, latent_of(model, shot, **RUN, continuation=ALONE))[frame]
    torch.testing.assert_close(made.first_picture[0], picture, rtol=0, atol=1 / 255)
    for generated, shows in ((True, False), (False, True)):
        model.dynamics.odds = 2.0
        continuation = Continuation(first_picture=made.first_picture)
        one = begun(run_of(model, shot, **SIZE, seed=5, continuation=continuation))
        draft = predict(one if generated else replace(one, continuation=Continuation())).draft
        assert bool(draft.coverage.any()) is shows


def test_without_a_ball_in_any_the_first_video_is_the_video(model):
    model.dynamics.since = 99
    shot = words(model)
    made = run(model, shot, **RUN)
    assert made.first_picture is None and made.draft is None and model.dynamics.shown == 4
    assert torch.equal(made.latent, latent_of(model, shot, **RUN, continuation=ALONE))


def test_given_pictures_and_models_without_prediction_get_no_first_picture(model):
    given = torch.rand(1, 64, 64, 3)
    for shot in (words(model, start=given), words(model, end=given)):
        assert run(model, shot, **RUN).first_picture is None
    model.dynamics = None
    assert run(model, words(model), **RUN).first_picture is None


@pytest.mark.parametrize("asked, made", [((128, 128), (64, 64)), ((160, 64), (96, 32)), ((32, 32), (64, 64))])
def test_the_picture_is_made_at_a_trained_size(model, asked, made):
    result = run(model, words(model), **{**RUN, "width": asked[0], "height": asked[1]})
    assert result.first_picture.shape == (1, made[1], made[0], 3)
    assert result.latent.shape[-2:] == (asked[1] // 16, asked[0] // 16)
    assert result.draft.frames.shape == (13, asked[1], asked[0], 3)


def test_progress_counts_both_videos_as_one_run(model):
    done = []
    run(model, words(model), on_step=lambda step: done.append(step.done), **{**RUN, "steps": 4})
    assert done == [1, 2, 3, 3, 4, 4]  # the picture's two steps are half of all
    done.clear()
    run(model, words(model), on_step=lambda step: done.append(step.done), **{**RUN, "steps": 1})
    assert done == [0, 0, 1]


@pytest.mark.slow
def test_a_take_is_as_sharp_as_its_first_picture_and_decodes_the_same_twice(model):
    made = take(model, words(model), **RUN).result
    assert made.draft is not None and made.first_picture.shape == (1, 64, 64, 3)
    assert take(model, words(model, start=made.first_picture), **RUN).result.first_picture is None

    class Clip:
        caption = "a red ball rolls to the right"

    Clip.render = type("Render", (), {"depth": torch.zeros(13, 64, 64)})
    words_alone = preview_model(model, "teacher", known=0)
    one = words_alone.render(Clip, 5, 2, None)
    again = words_alone.decode(Clip, 5, one.latent, one.first_picture)
    torch.testing.assert_close(torch.from_numpy(again), torch.from_numpy(one.frames), rtol=0, atol=1e-4)
    alone = preview_model(model, "teacher", known=0, drafts=False).render(Clip, 5, 2, None)
    assert one.first_picture is not None and alone.first_picture is None and (alone.latent != one.latent).any()


@pytest.mark.slow
def test_a_long_video_from_words_continues_its_first_picture(model):
    video = long_video(model, words(model), window=13, **{**RUN, "frames": 21})
    assert video.shape == (21, 64, 64, 3)
    made = run(model, words(model), **RUN)
    torch.testing.assert_close(video[0], made.first_picture[0], rtol=0, atol=0.2)
    assert made.expected is made.draft


@pytest.mark.slow
def test_a_long_video_of_words_begins_with_the_first_part_of_its_camera_path(model):
    moving = random_world_model(3, small_config(camera_rays=2, draft=True))
    moving.dynamics = model.dynamics
    c2w = torch.eye(4, dtype=torch.float64).repeat(21, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 0.5, 21)
    shot = words(moving, camera=CameraPath(c2w, torch.full((21,), 40.0)))
    assert long_video(moving, shot, window=13, **{**RUN, "frames": 21}).shape == (21, 64, 64, 3)


NODE = dict(seconds=1.5, fps=8.0, width=64, height=64, shift=0.0)


def test_sample_says_that_it_made_a_picture_first(model):
    run = dict(seed=5, steps=2, guidance=1.0, solver="model's own", **NODE)
    out = VDiTSample.execute(model, words(model), **run)
    assert "made of the words first" in str(out.ui) and out.result[0]["vdit_draft"] is not None


def test_a_promoted_take_is_rendered_from_its_first_picture(model):
    preview = VDiTDistillPreview.execute(model, words(model), seed=5, steps=1, grid=False, pick=-1, **NODE)
    latent = preview.result[1]
    begun = latent["vdit"]["opening"]
    assert begun.shape == (1, 64, 64, 3)
    more = dict(seed=0, steps=2, guidance=1.0, solver="model's own", promote=latent)
    out = VDiTSample.execute(model, words(model), **NODE, **more)
    assert "made of the words first" in str(out.ui)
    own = latent_of(model, words(model), **RUN, continuation=Continuation(first_picture=begun))
    assert torch.equal(out.result[0]["samples"], own)
    given = VDiTSample.execute(model, words(model, start=torch.rand(1, 64, 64, 3)), **NODE, **more)
    assert "made of the words first" not in str(given.ui)
