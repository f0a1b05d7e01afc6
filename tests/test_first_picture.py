"""Of words alone a picture is made first, and the shot goes on from there."""

import copy
import importlib
from dataclasses import replace

import pytest
import torch
from vdit.control import encode_conditioning
from vdit.control.camera import CameraPath
from vdit.drafting.predict import foretold
from fakes import random_world_model
from vdit.model.config import VDiTConfig
from vdit.model.object_dynamics import ObjectDynamics
from vdit.nodes.benchmark_models import preview_model
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import generate
from vdit.pipeline.decode import decode_frames, expected
from vdit.pipeline.first_picture import begun_with
from vdit.pipeline.long_video import long_video
from vdit.pipeline.takes import take

SIZE = dict(frames=13, width=64, height=64)
RUN = dict(**SIZE, seed=5, steps=2, guidance=1.0)


class Finds(ObjectDynamics):
    """Finds a ball in the middle of the pictures it is shown from the one numbered `since` on."""

    since, shown, odds = 0, 0, 9.0

    def look(self, frames):
        seen = super().look(frames)
        odds = torch.full_like(seen.ball, -9.0)
        odds[:, odds.shape[1] // 2, odds.shape[2] // 2] = self.odds if self.shown >= self.since else -9.0
        self.odds += 0.5
        self.shown += 1
        return seen._replace(ball=odds, ground=torch.full_like(seen.ground, 1 / 7))


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(importlib.import_module("vdit.pipeline.generate"), "STEPS", 2)
    torch.manual_seed(0)
    small = dict(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32)
    model = random_world_model(3, VDiTConfig(**small, draft=True))
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
    return encode_conditioning(model, "a red ball rolls to the right", **more)


@pytest.mark.parametrize("since, frame", [(0, 0), (2, 8)])
def test_the_first_picture_with_a_ball_opens_the_shot(model, since, frame):
    model.dynamics.since = since
    shot, heard = words(model), []
    latent = generate(model, shot, on_told=heard.append, **RUN)
    first = generate(model, replace(shot, unforeseen=True), **RUN)
    (told,) = heard
    picture = decode_frames(model.codec, first)[frame]
    torch.testing.assert_close(told.start[0], picture, rtol=0, atol=1 / 255)
    assert told.draft is not None and told.start.shape == (1, 64, 64, 3)
    assert torch.equal(told.start * 255, (told.start * 255).round())
    assert torch.equal(latent, generate(model, told, **RUN)) and not torch.equal(latent, first)


def test_a_preview_begins_with_the_picture_that_its_render_begins_with(model, student):
    """However many steps either has."""
    pictures = []
    for made_by, steps in ((model, 2), (model, 5), (student, 1), (student, 4)):
        heard = []
        generate(made_by, words(made_by), on_told=heard.append, **{**RUN, "steps": steps})
        pictures.append(heard[0].start)
        assert heard[0].draft is not None
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)
    guided = []
    shot = words(model, negative_prompt="")
    generate(model, shot, on_told=guided.append, **{**RUN, "guidance": 3.0})  # heeds the words more: another picture
    assert not torch.equal(guided[0].start, pictures[0])


def test_the_picture_is_of_a_video_as_long_as_the_model_knows_unless_controls_are_told_for_all(model):
    model.dynamics.since = 99
    generate(model, words(model), **{**RUN, "frames": 29})
    assert model.dynamics.shown == 4  # 13 frames
    small = dict(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32, camera_rays=2)
    moving = random_world_model(3, VDiTConfig(**small, draft=True))
    moving.dynamics, model.dynamics.shown = model.dynamics, 0
    moving.defaults.update(model.defaults)
    c2w = torch.eye(4, dtype=torch.float64).repeat(29, 1, 1)
    generate(moving, words(moving, camera=CameraPath(c2w, torch.full((29,), 40.0))), **{**RUN, "frames": 29})
    assert model.dynamics.shown == 8


@pytest.mark.parametrize("odds, frame", [(1.5, 12), (2.0, 8)])  # clearer by half from picture to picture; .93 is 2.6
def test_what_might_be_a_ball_opens_nothing(model, odds, frame):
    model.dynamics.odds, shot, heard = odds, words(model), []
    generate(model, shot, on_told=heard.append, **RUN)
    picture = decode_frames(model.codec, generate(model, replace(shot, unforeseen=True), **RUN))[frame]
    torch.testing.assert_close(heard[0].start[0], picture, rtol=0, atol=1 / 255)
    for opened, shows in ((True, False), (False, True)):
        model.dynamics = copy.copy(model.dynamics)  # what others have seen is kept
        model.dynamics.odds = 2.0
        draft = foretold(model, replace(heard[0], draft=None, opened=opened), **SIZE, seed=5).draft
        assert bool(draft.balls.any()) is shows


def test_without_a_ball_in_any_the_first_video_is_the_video(model):
    model.dynamics.since = 99
    shot, heard = words(model), []
    latent = generate(model, shot, on_told=heard.append, **RUN)
    assert heard[0].start is None and heard[0].unforeseen and model.dynamics.shown == 4
    assert torch.equal(latent, generate(model, replace(shot, unforeseen=True), **RUN))


def test_pictures_that_are_given_and_models_that_foretell_nothing_are_left_alone(model):
    given = torch.rand(1, 64, 64, 3)
    for shot in (words(model, start=given), words(model, end=given)):
        heard = []
        generate(model, shot, on_told=heard.append, **RUN)
        assert heard[0].start is shot.start
    model.dynamics, heard = None, []
    generate(model, words(model), on_told=heard.append, **RUN)
    assert heard[0].start is None


@pytest.mark.parametrize("asked, made", [((128, 128), (64, 64)), ((160, 64), (96, 32)), ((32, 32), (64, 64))])
def test_the_picture_is_made_at_the_size_that_the_model_knows(model, asked, made):
    shot, heard = words(model), []
    latent = generate(model, shot, on_told=heard.append, **{**RUN, "width": asked[0], "height": asked[1]})
    assert heard[0].start.shape == (1, made[1], made[0], 3) and latent.shape[-2:] == (asked[1] // 16, asked[0] // 16)
    assert heard[0].draft.frames.shape == (13, asked[1], asked[0], 3)


def test_a_watcher_hears_of_both_videos_as_of_one(model):
    done = []
    generate(model, words(model), on_step=lambda step: done.append(step.done), **{**RUN, "steps": 4})
    assert done == [1, 2, 3, 3, 4, 4]  # the picture's two steps are half of all
    done.clear()
    generate(model, words(model), on_step=lambda step: done.append(step.done), **{**RUN, "steps": 1})
    assert done == [0, 0, 1]


def test_a_take_is_as_sharp_as_its_opening_and_is_decoded_again_alike(model):
    made = take(model, words(model), **RUN)
    assert made.draft is not None and made.opening.shape == (1, 64, 64, 3)
    assert take(model, words(model, start=made.opening), **RUN).opening is None

    class Clip:
        caption = "a red ball rolls to the right"

    Clip.render = type("Render", (), {"depth": torch.zeros(13, 64, 64)})
    words_alone = preview_model(model, "teacher", known=0)
    one = words_alone.render(Clip, 5, 2, None)
    again = words_alone.decode(Clip, 5, one.latent, one.first_picture)
    torch.testing.assert_close(torch.from_numpy(again), torch.from_numpy(one.frames), rtol=0, atol=1e-4)
    alone = preview_model(model, "teacher", known=0, drafts=False).render(Clip, 5, 2, None)
    assert one.first_picture is not None and alone.first_picture is None and (alone.latent != one.latent).any()


def test_a_long_video_of_words_goes_on_from_its_opening(model):
    video = long_video(model, words(model), window=13, **{**RUN, "frames": 21})
    assert video.shape == (21, 64, 64, 3)
    told = []
    generate(model, words(model), on_told=told.append, **RUN)
    torch.testing.assert_close(video[0], told[0].start[0], rtol=0, atol=0.2)
    assert expected(model, told[0], 13, 64, 64) is told[0].draft


def test_a_long_video_of_words_opens_with_the_first_part_of_its_camera_path(model):
    small = dict(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32, camera_rays=2)
    moving = random_world_model(3, VDiTConfig(**small, draft=True))
    moving.dynamics = model.dynamics
    c2w = torch.eye(4, dtype=torch.float64).repeat(21, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 0.5, 21)
    shot = words(moving, camera=CameraPath(c2w, torch.full((21,), 40.0)))
    assert long_video(moving, shot, window=13, **{**RUN, "frames": 21}).shape == (21, 64, 64, 3)


def test_sample_says_that_it_made_a_picture_first(model):
    run = dict(
        seed=5, steps=2, guidance=1.0, shift=0.0, solver="model's own", seconds=1.5, fps=8.0, width=64, height=64
    )
    out = VDiTSample.execute(model, words(model), **run)
    assert "made of the words first" in str(out.ui) and out.result[0]["vdit_draft"] is not None


def test_a_promoted_take_is_rendered_from_the_picture_that_it_began_with(model):
    run = dict(seconds=1.5, fps=8.0, width=64, height=64, shift=0.0)
    preview = VDiTDistillPreview.execute(model, words(model), seed=5, steps=1, grid=False, pick=-1, **run)
    latent = preview.result[1]
    begun = latent["vdit"]["opening"]
    assert begun.shape == (1, 64, 64, 3)
    more = dict(seed=0, steps=2, guidance=1.0, solver="model's own", promote=latent)
    out = VDiTSample.execute(model, words(model), **run, **more)
    assert "made of the words first" in str(out.ui)
    own = VDiTSample.execute(model, begun_with(words(model), begun), **run, **{**more, "promote": None, "seed": 5})
    assert torch.equal(out.result[0]["samples"], own.result[0]["samples"])
    given = VDiTSample.execute(model, words(model, start=torch.rand(1, 64, 64, 3)), **run, **more)
    assert "made of the words first" not in str(given.ui)
