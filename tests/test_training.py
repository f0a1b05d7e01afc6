"""Training, end to end at toy size: clips -> codec -> latents -> teacher -> bundle, each resumable."""

import hashlib
import json
from dataclasses import fields, replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from vdit.control.depth import depth_from_metres
from vdit.control.signals import context_channels
from vdit.model.codec.tiny import TinyCodecConfig
from vdit.model.config import VDiTConfig
from vdit.model.files.bundle import load_world_model
from vdit.model.files.checksums import card_renewed, check_card
from vdit.model.int8_rows import dequantise_rows, quantise_rows
from vdit.training import finished_runs
from vdit.training.bundle import bundle
from vdit.training.cli import main, parse
from vdit.training.data import encoded_clips, starts
from vdit.training.data.clip_batches import EncodedClips
from vdit.training.data.clips import ClipFormat, write_clips
from vdit.training.data.conditioning import BatchKind, ConditionedClips, draw_conditioning, flow_region, word_ids
from vdit.training.data.encoded_clips import LatentFormat, write_encoded_clips
from vdit.training.data.scenes import SceneFormat, write_scenes
from vdit.training.data.textures import dead_leaves
from vdit.training.data.tracks import cells_with_balls
from vdit.training.learning_rate import constant_with_cooldown, cosine
from vdit.training.muon import Muon, orthogonal
from vdit.training.options import command_line
from vdit.training.random_streams import RandomStreams
from vdit.training.recipes import (
    RECIPES,
    BundleRecipe,
    ClipsRecipe,
    CodecRecipe,
    DynamicsRecipe,
    LatentsRecipe,
    MotionRecipe,
    ScenesRecipe,
    TeacherRecipe,
)
from vdit.training.run import Run, load_state
from vdit.training.tasks import codec, dynamics_losses, motion, perception, teacher
from vdit.training.trainer import Loss, Schedule, Task, TrainedWeights, Trainer

TINY_CODEC = TinyCodecConfig(channels=4, width=16, deep=16, blocks=(1, 1), seen=(16, 16), looks=(1, 1), strokes=0)
TINY = VDiTConfig(
    dim=128, ffn_dim=64, layers=1, in_channels=4, out_channels=4, text_dim=16,
    carry=True, draft=True, camera_rays=2, vace_channels=context_channels(), vace_layers=(0,),
)  # fmt: skip
SHAPES = ((64, 64, 41), (96, 64, 21))  # width, height, frames


TOY_CLIPS = ClipFormat(clips=4, frames=13)
TOY_SCENES = SceneFormat(scenes=4, sizes=tuple(shape[:2] for shape in SHAPES))


@pytest.fixture(scope="module", autouse=True)
def clock():
    """A clock that moves on by a second whenever it is read, three times a step: as many steps on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vdit.training.run.time", SimpleNamespace(monotonic=count().__next__))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, clock):
    """A folder with two toy shards, a trained toy codec, latents, a teacher and object dynamics."""
    root = tmp_path_factory.mktemp("runs")
    write_clips(ClipsRecipe(root / "clips", shards=2), TOY_CLIPS)
    codec.train(codec_recipe(root, root / "codec", 6), TINY_CODEC, validate_every=6)
    latents = LatentsRecipe(root / "codec", root / "clips", root / "latents", shards=2)
    write_encoded_clips(latents, LatentFormat(clips=3, shapes=SHAPES))
    teacher.train(teacher_recipe(root, root / "teacher", 30), config=TINY)
    write_scenes(ScenesRecipe(root / "scenes", shards=2), TOY_SCENES)
    scenes_of = dict(scenes=root / "scenes", held_out=root / "scenes")
    recipe = DynamicsRecipe(**scenes_of, out=root / "dynamics", hours=24 / 3600, batch=8)
    perception.train(recipe, validate_every=2)
    return root


def codec_recipe(made, out, steps, **more):
    return CodecRecipe(made / "clips", made / "clips", out, steps, batch=2, **more)


def teacher_recipe(made, out, seconds, **more):
    return TeacherRecipe(made / "latents", made / "latents", out, seconds / 3600, **{"batch": 4, **more})


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_its_command(recipe, tmp_path):
    """As it is written into the log, with defaults and with every option."""
    assert parse(command_line(recipe())) == recipe()
    others = {
        "Path": tmp_path / "a folder", "Path | None": tmp_path / "it's one", "int": 7, "int | None": 3,
        "float": 1.5e-05, "float | None": 0.1, "bool": True, "str": "cuda:1",
    }  # fmt: skip
    values = {f.name: (f.metadata["choices"] or [others.get(f.type)])[-1] for f in fields(recipe)}
    full = recipe(**values)
    assert None not in values.values() and parse(command_line(full)) == full


def test_the_log_begins_with_the_command(made):
    for run, name in (("codec", "codec"), ("teacher", "teacher"), ("dynamics", "dynamics")):
        start = logged(made / run)[0]
        assert start["event"] == "start" and parse(start["command"]).out == made / run
        assert start["command"].startswith(f"vdit train {name} ")


@pytest.mark.slow
def test_existing_clip_shards_are_not_rewritten(made):
    before = {p: p.stat().st_mtime_ns for p in (made / "clips").glob("*.npy")}
    write_clips(ClipsRecipe(made / "clips", shards=2), TOY_CLIPS)
    assert {p: p.stat().st_mtime_ns for p in (made / "clips").glob("*.npy")} == before and len(before) == 2


def test_codec_run_resumes_where_it_stopped(made):
    assert load_state(made / "codec")["step"] == 6
    codec.train(codec_recipe(made, made / "codec", 8), TINY_CODEC)
    assert load_state(made / "codec")["step"] == 8
    assert [r["event"] for r in logged(made / "codec") if "event" in r] == ["start", "end", "end"]
    assert any("held_out_psnr" in r for r in logged(made / "codec"))


def test_two_trainings_do_not_share_a_folder(tmp_path, made, capsys):
    folder = tmp_path / "codec"
    recipe = codec_recipe(made, folder, 2)
    with Run(folder).alone():
        assert main(command_line(recipe).split()[2:]) == 2
        assert f"{folder}: another process trains in this folder" in capsys.readouterr().out
        assert not (folder / "log.jsonl").exists()
    codec.train(recipe, TINY_CODEC)
    assert load_state(folder)["step"] == 2


def both_codecs(made, folder):
    """A run's codec, and that which it began with."""
    return [finished_runs.load_codec(run, made / "clips") for run in (made / "codec", folder / "codec")]


def test_training_the_decoder_alone_leaves_every_latent_as_it_was(made, tmp_path):
    recipe = codec_recipe(made, tmp_path / "codec", 4, start_from=made / "codec", only="decoder")
    codec.train(recipe, TINY_CODEC)
    before, after = both_codecs(made, tmp_path)
    x = torch.rand(1, 5, 64, 64, 3)
    same = lambda f: torch.equal(f(before), f(after))  # noqa: E731
    assert same(lambda c: c.normalize(c.encode(x))) and not same(lambda c: c.decode(c.encode(x)))


@pytest.mark.slow
def test_training_the_encoder_alone_nears_the_older_latents(made, tmp_path):
    thin = replace(TINY_CODEC, seen=(8, 16))
    recipe = codec_recipe(made, tmp_path / "codec", 30, start_from=made / "codec", only="encoder")
    codec.train(recipe, thin, validate_every=10)
    older, found = both_codecs(made, tmp_path)
    assert found.config == thin
    z = torch.randn(1, 4, 2, 4, 4)
    torch.testing.assert_close(older.decode(older.denormalize(z)), found.decode(found.denormalize(z)))
    rows = logged(tmp_path / "codec")
    errors = [r["held_out_latent_error"] for r in rows if "held_out_latent_error" in r]
    assert len(errors) == 4 and errors[-1] < errors[0]  # in steps 10, 20, 30, and at the end


def test_a_codec_trained_on_keeps_the_latents_of_the_older_one(made, tmp_path):
    recipe = codec_recipe(made, tmp_path / "codec", 4, peak=1e-4, start_from=made / "codec", muon=True)
    for _ in range(2):  # the second has nothing to do
        codec.train(recipe, validate_every=4)
    before, after = both_codecs(made, tmp_path)
    x = torch.rand(1, 5, 64, 64, 3)
    distance = codec.latent_distance(before, after.encode(x), before.encode(x))
    assert 0 < distance < 0.01 and torch.equal(before.latent_mean, after.latent_mean)
    assert not torch.equal(before.decode(before.encode(x)), after.decode(before.encode(x)))
    rows = logged(tmp_path / "codec")
    assert [r.get("event") for r in rows].count("start") == 1 and 0 < rows[-1]["held_out_latent_error"] < 0.1


def test_muon_moves_a_convolution_as_the_matrix_of_its_outputs():
    torch.manual_seed(0)
    kernel = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    twins = [torch.nn.Parameter(kernel.clone()), torch.nn.Parameter(kernel.reshape(8, 36).clone())]
    grad = torch.randn(8, 4, 3, 3)
    for twin in twins:
        twin.grad = grad.reshape(twin.shape).clone()
        Muon([twin], lr=0.1).step()
    assert not torch.equal(twins[0], kernel)
    torch.testing.assert_close(twins[0].reshape(8, 36).data, twins[1].data)


def test_clips_may_be_of_one_family(tmp_path):
    write_clips(ClipsRecipe(tmp_path, shards=1, family="throw", size=32), ClipFormat(clips=4, frames=5))
    assert {note["family"] for note in json.loads((tmp_path / "clips-00000.json").read_text())} == {"throw"}


def test_scenes_may_be_of_one_family(tmp_path):
    write_scenes(ScenesRecipe(tmp_path, shards=1, family="look"), TOY_SCENES)
    found = torch.load(tmp_path / "scenes-00000.pt", weights_only=True)
    resting = (found["centers"] - found["centers"][:, :1]).norm(dim=-1).amax()
    assert len(found["rgb"]) == 8 and resting < 0.1  # nothing moves but the camera


def test_a_grown_decoder_starts_with_the_same_output(made, tmp_path):
    grown = replace(TINY_CODEC, strokes=1)
    recipe = codec_recipe(made, tmp_path / "codec", 1, peak=0.0, start_from=made / "codec", only="decoder")
    codec.train(recipe, grown)
    older, found = both_codecs(made, tmp_path)
    z = torch.randn(1, 4, 2, 4, 4)
    torch.testing.assert_close(older.decode(z), found.decode(z))
    assert found.config == grown


def test_an_older_run_says_that_its_decoder_alone_was_trained(made, tmp_path):
    state = load_state(made / "codec")
    state["config"] = {name: v for name, v in state["config"].items() if name not in ("seen", "looks", "strokes")}
    keeps = state.pop("keeps")
    mean = torch.full_like(state["codec"]["latent_mean"], 7.0)
    state["codec"]["latent_mean"] = mean
    Run(tmp_path).save(state | {"decoder_only": True}, force=True)
    assert not keeps and torch.equal(finished_runs.load_codec(tmp_path, made / "clips").latent_mean, mean)


def test_training_one_part_of_a_codec_requires_the_other(made, tmp_path):
    with pytest.raises(ValueError, match="--start-from"):
        codec.train(codec_recipe(made, tmp_path, 1, only="encoder"), TINY_CODEC)


def test_the_motion_loss_penalises_a_smeared_ball():
    x = torch.zeros(1, 4, 8, 8, 3)
    for t in range(4):
        x[0, t, 2, 2 * t] = 1.0
    assert codec.motion_db(x.mean(1, keepdim=True).expand_as(x), x) > codec.motion_db(0.5 * x, x) + 3


def test_shards_hold_clips_and_their_mirror_images_with_words_and_controls(made):
    data = EncodedClips.load(made / "latents")
    assert len(data) == 12 and {data.shape(n) for n in data.shards} == set(SHAPES)
    both = data.batch([("latents-00000.pt", 0), ("latents-00000.pt", 1)])
    assert both.video.shape == (2, 4, 11, 4, 4) and both.last.shape == (2, 4, 1, 4, 4) and both.size == (64, 64)
    assert both.depth.shape == (2, 41, 1, 16, 16) and both.flow.shape == (2, 40, 2, 16, 16)
    assert [encoded_clips.mirrored(c) for c in both.captions[0]] == both.captions[1]
    assert (
        encoded_clips.mirrored("rolls to the left, the camera pans right") == "rolls to the right, the camera pans left"
    )
    assert torch.equal(both.depth[0], both.depth[1].flip(3))
    assert torch.equal(both.flow[0, :, 0], -both.flow[1, :, 0].flip(2))


def test_a_mirrored_camera_sees_the_mirrored_world(made):
    both = EncodedClips.load(made / "latents").batch([("latents-00000.pt", 0), ("latents-00000.pt", 1)])
    point = torch.tensor([0.7, 1.0, 0.5, 1.0], dtype=torch.float64)
    mirrored = point * torch.tensor([-1.0, 1, 1, 1])
    a = torch.linalg.inv(both.c2w[0]) @ point
    b = torch.linalg.inv(both.c2w[1]) @ mirrored
    torch.testing.assert_close(a * torch.tensor([-1.0, 1, 1, 1]), b)


def test_stored_controls_are_the_simulators(made):
    from vdit.world.families.clip import make_clip

    row = EncodedClips.load(made / "latents").batch([("latents-00001.pt", 0)])
    clip = make_clip(3, width=96, height=64, frames=21)
    flow = clip.flow.permute(0, 3, 1, 2).unflatten(2, (16, 4)).unflatten(4, (24, 4)).mean((3, 5))
    assert (row.flow[0] - flow).abs().max() <= encoded_clips.FLOW_STEP / 2 + 1e-4
    nearest = depth_from_metres(clip.render.depth).inverse.unflatten(1, (16, 4)).unflatten(3, (24, 4)).mean((2, 4))
    assert (row.depth[0, :, 0] - nearest).abs().max() <= 0.5 / 255 + 1e-4


def test_batches_have_one_shape_and_long_clips_come_fewer(made):
    data = EncodedClips.load(made / "latents")
    seen = set()
    for i in range(20):
        batch = data.draw(6, np.random.default_rng(i))
        seen.add((*batch.size, batch.depth.shape[1]))
        assert len(batch.video) == 6 and batch.video.shape[2] == (batch.depth.shape[1] + 3) // 4
    assert seen == set(SHAPES)
    long = {**data.shards["latents-00000.pt"], "depth": torch.zeros(6, 81, 1, 16, 16)}
    data.shards = {"latents-00000.pt": long}
    assert len(data.draw(6, np.random.default_rng(0)).video) == 3


def test_latents_of_an_earlier_version_are_refused_with_a_remedy(made, tmp_path):
    shard = torch.load(made / "latents/latents-00000.pt", weights_only=True)
    torch.save({k: v for k, v in shard.items() if k != "tracks"}, tmp_path / "latents-00000.pt")
    with pytest.raises(ValueError, match=r"latents-00000.pt holds no tracks: an earlier version .* make it anew"):
        EncodedClips.load(tmp_path)


@pytest.mark.slow
def test_two_processes_train_one_teacher(made, tmp_path):
    from vdit.training.launch import launch

    recipe = teacher_recipe(made, tmp_path, 3, batch=5, muon=True)
    launch(2, teacher.train, recipe, config=TINY)
    rows = logged(tmp_path)
    assert [r["event"] for r in rows if "event" in r] == ["start", "end"]  # the leader alone writes
    assert rows[-1]["step"] == load_state(tmp_path)["step"] > 0
    with pytest.raises(FileNotFoundError, match="vdit train latents"):
        launch(2, teacher.train, replace(recipe, latents=tmp_path / "none"), config=TINY)


@pytest.mark.slow
def test_teacher_resumes_and_may_start_from_another_run(made, tmp_path):
    step = load_state(made / "teacher")["step"]
    assert step > 0
    teacher.train(teacher_recipe(made, made / "teacher", 45), config=TINY)
    assert load_state(made / "teacher")["step"] > step
    recipe = teacher_recipe(made, tmp_path, 9, start_from=made / "teacher", cooldown_hours=3 / 3600)
    teacher.train(recipe, config=TINY)
    state = load_state(tmp_path)
    assert state["step"] > step and state["hours"] >= 45 / 3600


def test_flow_loss_of_an_untrained_model_is_the_energy_of_its_target(made):
    data = EncodedClips.load(made / "latents")
    model, text = teacher.fresh(replace(TINY, draft=False), 0)  # its head is zero: it predicts no velocity
    energy = float(torch.cat([s["video"].float().flatten() for s in data.shards.values()]).square().mean())
    assert teacher.held_out_loss(model, text, data, controlled=False) == pytest.approx(1 + energy, rel=0.15)


def test_held_out_errors_are_split_by_where_balls_are(made):
    data = EncodedClips.load(made / "latents")
    model, text = teacher.fresh(TINY, 0)  # its head is zero: the error is the energy of noise - x0
    errors = teacher.prediction_errors(model, text, data, every=1)
    cells, energy = [], []
    for name in data.shards:
        clips = data.batch([(name, i) for i in range(6)])
        cells.append(cells_with_balls(clips.tracks, clips.size)[:, 2:].flatten())
        energy.append(1 + clips.video.square().mean(1)[:, 2:].flatten())
    cells, energy = torch.cat(cells), torch.cat(energy)
    for found, wanted in (("balls", energy[cells]), ("rest", energy[~cells]), ("next", energy[cells])):
        assert errors[found] == pytest.approx(float(wanted.mean()), rel=0.15)
    assert errors["drawn"] < 0.2 * errors["balls"]  # drafts are trusted from the start


def test_the_same_step_gives_the_same_loss(made):
    data = EncodedClips.load(made / "latents")
    model, text = teacher.fresh(TINY, 0)
    torch.nn.init.normal_(model.head.head.weight)
    one, two = (teacher.held_out_loss(model, text, data, controlled=True) for _ in range(2))
    assert one == two


def test_noise_levels_are_one_for_a_clip_or_rise_along_it():
    known = torch.zeros(300, 7, dtype=torch.bool)
    known[:, :2] = known[:100, -1] = True  # a third has its last frame known, too

    def draw(share):
        settings = replace(teacher.SETTINGS, rising=share)
        return teacher.draw_levels(known, settings, torch.Generator().manual_seed(3))

    even, risen = draw(0.0), draw(1.0)
    for level in (even, risen):
        assert not level[known].any() and ((level >= 0) & (level <= 1)).all()
    assert (even[:, 2:6] == even[:, 2:3]).all() and (even[:, 2] > 0).all()
    steps = risen[:, 2:6].diff(dim=1)
    assert (steps >= 0).all() and float((steps > 0).any(1).float().mean()) > 0.9
    finished = (risen == 0) & ~known
    assert 0.4 < float(finished[:, 2].float().mean()) < 0.9 and not (finished | known).all(1).any()
    assert float(draw(0.5)[:, 2:6].diff(dim=1).any(1).float().mean()) == pytest.approx(0.5, abs=0.15)


def test_a_cell_weighs_the_same_in_all_frames_and_nothing_where_they_are_finished():
    x0 = torch.zeros(1, 2, 5, 8, 8)
    x0[:, :, 3, 2, 2] = 4.0  # something passes in one frame
    finished = torch.tensor([[True, True, False, False, False]])
    weight = teacher.loss_weight(x0, finished, moving=0.5)
    assert not weight[:, :2].any()
    assert torch.equal(weight[:, 2], weight[:, 3]) and torch.equal(weight[:, 3], weight[:, 4])
    assert float(weight[0, 2, 1, 1]) == 4.0 and float(weight[0, 2, 7, 7]) == 1.0  # at most 6 times, and beside it too


def test_every_control_reaches_the_weights_that_read_it(made):
    data = EncodedClips.load(made / "latents")
    model, text = teacher.fresh(TINY, 0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.05)
    for i in range(12):  # some batches are given the camera path, others a draft
        random = RandomStreams.fixed(i)
        told = teacher.given(text, TINY, data.draw(6, random.rng), random, BatchKind(controlled=i % 2 == 0))
        teacher.flow_loss(model, text, told, random.generator).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_flow_may_be_given_in_part():
    flow = torch.zeros(4, 2, 16, 16)
    flow[:, 0, 4:8, 4:8] = 3.0
    regions = [flow_region(flow, np.random.default_rng(i)) for i in range(40)]
    shares = {round(float(r.mean()), 3) for r in regions}
    assert 1.0 in shares and len(shares) > 3
    assert any((r[:, 0, 4:8, 4:8] == 1).all() and r.mean() < 0.2 for r in regions)


def test_muon_pushes_singular_values_towards_one():
    g = (
        torch.randn(3, 24, 10, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    )
    values = torch.linalg.svdvals(orthogonal(g))
    assert values.min() > 0.5 and values.max() < 1.4


def test_learning_rate_warms_up_stays_and_cools_down():
    rates = [constant_with_cooldown(s, 1000, 1.0, 200, warmup=60) for s in range(1000)]
    assert rates[0] < 0.05 and rates[100] == rates[799] == 1.0 and rates[-1] < 0.01


def test_tracks_are_where_the_renderer_draws_the_balls(made):
    data = EncodedClips.load(made / "latents")
    for name in sorted(data.shards):
        both = data.batch([(name, 0), (name, 1)])
        width, tracks = both.size[0], both.tracks
        assert torch.allclose(tracks[1, ..., 0], width - tracks[0, ..., 0])
        assert torch.equal(tracks[1, ..., 1:], tracks[0, ..., 1:])
        assert torch.equal(cells_with_balls(tracks[:1], both.size), cells_with_balls(tracks[1:], both.size).flip(3))


def bundle_recipe(made, out, **more):
    return BundleRecipe(
        made / "codec", made / "clips", made / "teacher", out, **{"dynamics": made / "dynamics", **more}
    )


@pytest.mark.slow
def test_rebundling_changes_only_the_new_parts(made, tmp_path):
    """So that a part can be trained alone: the rest of the file keeps its bytes."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    bundle(bundle_recipe(made, one))
    state = load_state(made / "dynamics")
    state["average"]["push.2.bias"] += 1.0
    Run(tmp_path / "dynamics").save(state, force=True)
    facts = bundle(BundleRecipe(one, made / "clips", one, two, dynamics=tmp_path / "dynamics"))
    assert facts["dynamics_steps"] == state["step"] and facts["codec_steps"] and facts["teacher_steps"]
    old, new = (load_file(path) for path in (one, two))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert old.keys() == new.keys() and changed == {"dynamics.push.2.bias"}


def test_the_card_of_a_file_that_is_replaced_gives_its_new_digest(tmp_path):
    file, card = tmp_path / "m.safetensors", tmp_path / "m.md"
    one, other = (hashlib.sha256(text).hexdigest() for text in (b"one", b"other"))
    file.write_bytes(b"one")
    card.write_text(f"Made of `{'0' * 64}`, sha256 `{one}`.")
    with card_renewed(file):
        file.write_bytes(b"other")
    assert card.read_text() == f"Made of `{'0' * 64}`, sha256 `{other}`."
    check_card(file)


def test_drafts_are_closer_to_their_clips_than_a_still_picture(made):
    data = EncodedClips.load(made / "latents")
    for name in data.shards:
        clips = data.batch([(name, i) for i in range(6)])
        for i, known in enumerate(clips.draft_known.tolist()):
            video, draft = clips.video[i], clips.draft[i, :-1]
            torch.testing.assert_close(
                draft[:, :known], video[:, :known], rtol=0, atol=0.1
            )  # bfloat16, where it is fast
            assert (draft - video).square().mean() <= (video[:, known - 1 : known] - video)[
                :, known:
            ].square().mean() + 1e-3


def test_a_draft_comes_with_as_many_known_frames_as_it_is_made_from(made):
    batch = EncodedClips.load(made / "latents").draw(6, np.random.default_rng(0))
    batch = replace(batch, draft_known=torch.tensor([2, 1, 2, 2, 1, 1])[: len(batch.video)])
    for seed in range(8):
        clips = draw_conditioning(batch, TINY, RandomStreams.fixed(seed), BatchKind())
        if clips.draft is None:  # an end picture says what will be
            assert clips.known[:, -1].all()
            continue
        given = clips.draft[:, -1].flatten(1).any(1)
        assert (clips.known.sum(1) == batch.draft_known)[given].all()
        assert torch.equal(clips.draft[given], batch.draft[given][:, :, : clips.x0.shape[2]])
        assert not clips.draft[~given].any()
    assert draw_conditioning(batch, TINY, RandomStreams.fixed(0), BatchKind(controlled=True)).draft is None


def test_a_clip_continues_the_models_own_frames_where_its_start_is_certain():
    model, text = teacher.fresh(TINY, 0)  # it predicts no velocity, so that its own frames are noise
    x0, words = torch.zeros(40, 4, 6, 4, 4), text(word_ids(text, ["a red ball falls"] * 40))
    known, level = torch.zeros(40, 6, dtype=torch.bool), torch.zeros(40, 6)
    known[:, :1] = known[:20, :2] = True
    level[:, 4], level[:, 5] = 0.4, 1.0
    clips = ConditionedClips(x0, known, [""] * 40, None, None, None)
    given = teacher.with_own_frames(model, clips, level, words, torch.Generator().manual_seed(0))
    own = given.abs().sum((1, 3, 4)) > 0
    assert not own[20:].any() and own[:20, 3].all() and not own[:, [0, 1, 4, 5]].any()
    assert 0.2 < float(own[:20, 2].float().mean()) < 1  # one frame, or more


@pytest.mark.slow
def test_bundle_holds_the_averaged_weights_and_the_facts(made, tmp_path):
    facts = bundle(bundle_recipe(made, tmp_path / "m.safetensors"))
    model = load_world_model(tmp_path / "m.safetensors")
    assert model.facts["teacher_steps"] == facts["teacher_steps"] > 0
    state = load_state(made / "teacher")
    stored = dequantise_rows(quantise_rows({"head": state["average"]["model.head.head.weight"]}))[
        "head"
    ]  # a byte a weight
    torch.testing.assert_close(model.transformer.head.head.weight, stored, rtol=1e-3, atol=1e-4)
    assert "ball" in model.text.vocabulary
    moved = dequantise_rows(quantise_rows({"push": load_state(made / "dynamics")["average"]["push.0.weight"]}))["push"]
    torch.testing.assert_close(model.dynamics.push[0].weight, moved, rtol=1e-3, atol=1e-4)
    assert facts["dynamics_steps"] > 0
    again, known = finished_runs.load_dynamics(tmp_path / "m.safetensors")
    assert torch.equal(again.push[0].weight, model.dynamics.push[0].weight)
    assert known["dynamics_steps"] == facts["dynamics_steps"]


def test_a_larger_model_begins_with_what_a_bundle_has_learned(made, tmp_path):
    from fakes import random_world_model
    from vdit.model.files.bundle import save_world_model
    from vdit.training.warm_start import warm_start

    plain = replace(TINY, draft=False, camera_rays=0, vace_channels=0, vace_layers=())
    old = random_world_model(3, plain)
    path = save_world_model(old, tmp_path / "old.safetensors", torch.float32)
    model, text = teacher.fresh(TINY, 0)
    warm_start(path, model, text)
    x, sigma, words = torch.randn(1, 4, 3, 4, 4), torch.rand(1), ["a red ball falls"]
    torch.testing.assert_close(text.encode(words).tokens, old.text.encode(words).tokens)
    context = old.text.encode(words).tokens
    camera, vace = torch.randn(1, 24, 3, 8, 8), torch.randn(1, context_channels(), 3, 4, 4)
    torch.testing.assert_close(model(x, sigma, context, camera, vace), old.transformer(x, sigma, context))
    known = torch.tensor([[0.0, 0.5, 1.0]])  # what is carried on is x[:, :, :1]; a draft takes its place
    torch.nn.init.normal_(old.transformer.carry_embedding.weight)
    model.draft_trust.bias.data.fill_(-100.0)
    save_world_model(old, path, torch.float32)
    warm_start(path, model, text)
    other = torch.randn(1, 4, 1, 4, 4)
    draft = torch.cat((x[:, :, :1], other, other), 2)
    told = model(x, known, context, draft=torch.cat((draft, torch.ones_like(draft[:, :1])), 1))
    still = model(x, known, context, draft=torch.cat((x[:, :, :1].expand_as(x), torch.ones_like(draft[:, :1])), 1))
    torch.testing.assert_close(still, old.transformer(x, known, context))
    assert not torch.allclose(told, still)
    model.draft_trust.bias.data.fill_(100.0)  # all of it is trusted: at sigma 1 there is nothing else
    told = model(x, known, context, draft=torch.cat((draft, torch.ones_like(draft[:, :1])), 1))
    torch.testing.assert_close(told[:, :, 2], x[:, :, 2] - other[:, :, 0])
    assert torch.equal(model.vace_blocks[0].ffn[0].weight, model.blocks[0].ffn[0].weight)
    with pytest.raises(ValueError, match="same width and depth"):
        warm_start(path, *teacher.fresh(replace(TINY, ffn_dim=32), 0))


def test_a_missing_stage_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="vdit train clips"):
        codec.train(codec_recipe(tmp_path, tmp_path / "c", 1))
    with pytest.raises(FileNotFoundError, match="vdit train scenes"):
        perception.train(DynamicsRecipe(tmp_path, tmp_path, tmp_path / "d"))
    with pytest.raises(FileNotFoundError, match="vdit train dynamics"):
        finished_runs.load_dynamics(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="vdit train latents"):
        EncodedClips.load(tmp_path)
    assert main(["dynamics", "--scenes", str(tmp_path), "--out", str(tmp_path / "d")]) == 2
    paths = {"--codec": tmp_path / "none", "--clips": tmp_path, "--out": tmp_path / "o"}
    assert main(["latents", *(str(word) for pair in paths.items() for word in pair)]) == 2


def test_learning_rate_warms_up_and_comes_down():
    rates = [cosine(i, 100, 1.0, warmup=10) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0) and rates[-1] < 0.06


def test_dead_leaves_are_pictures_that_drift():
    clip = dead_leaves(np.random.default_rng(3), 5, 32)
    assert clip.shape == (5, 32, 32, 3) and clip.dtype == np.uint8 and clip.std() > 10


@pytest.mark.slow
def test_object_dynamics_are_trained_alone(made, tmp_path):
    recipe = MotionRecipe(
        made / "scenes", made / "scenes", made / "dynamics", tmp_path / "motion", 45 / 3600, batch=8, peak=1e-2
    )
    motion.train(recipe, validate_every=4)
    (old, _), (new, facts) = (finished_runs.load_dynamics(run) for run in (recipe.start_from, recipe.out))
    moved = {n.split(".")[0] for n, v in new.state_dict().items() if not torch.equal(v, old.state_dict()[n])}
    assert moved <= {"step", "push", "meet"} and {"step", "push"} <= moved and facts["dynamics_steps"] > 1
    steps = load_state(recipe.out)["step"]
    motion.train(replace(recipe, hours=60 / 3600), validate_every=4)
    assert load_state(recipe.out)["step"] > steps


def test_starts_that_are_perceived_ahead_have_the_balls_that_show(made):
    model, _ = finished_runs.load_dynamics(made / "dynamics")
    perceived = motion.perceive(model, starts.Scenes.load(made / "scenes"))
    assert sum(len(some.around) for some in perceived) > 0
    for balls, around, truth in perceived:
        assert balls.radius.shape[:2] == truth.radius.shape == truth.shows.shape and (truth.shows > 0.3).all()
        off = (balls.position - truth.place[:, 4]).norm(dim=-1)
        rollout = dynamics_losses.Rollout(8)
        found = dynamics_losses.prediction_losses(model, balls, around, truth, rollout, torch.Generator())
        assert off.isfinite().all() and all(torch.isfinite(value) for value in found.values())


class Walk(Task):
    """One weight that goes towards random targets; in some steps the loss is not a number."""

    name = "walk"

    def __init__(self, broken=()):
        weight = torch.nn.Parameter(torch.zeros(()))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        self.trained, self.broken = TrainedWeights.averaging({"w": weight}, [optimizer], 0.9), broken

    def learning_rate(self, now):
        return 0.1 / (1 + now.step)

    def loss(self, now):
        target = RandomStreams.of(3, now.step).rng.random()
        error = (self.trained.weights["w"] - target).square()
        return Loss(error * (float("nan") if now.step in self.broken else 1.0), samples=2)

    def validate(self):
        return {"weight": float(self.trained.weights["w"])}

    def state(self, now):
        return self.trained.state()

    def load_state(self, state):
        self.trained.load(**{name: state[name] for name in ("weights", "average", "optimizers")})


def walked(folder, steps, **more):
    task = Walk(**more)
    Trainer(task, CodecRecipe(out=folder, steps=steps), Run(folder), Schedule(steps=steps, validate_every=4)).fit()
    return task.trained


def test_a_run_in_two_parts_ends_where_an_unbroken_one_does(tmp_path):
    whole = walked(tmp_path / "whole", 9)
    walked(tmp_path / "parts", 5)
    parts = walked(tmp_path / "parts", 9)
    assert torch.equal(whole.weights["w"], parts.weights["w"]) and torch.equal(whole.average["w"], parts.average["w"])
    rows, end = logged(tmp_path / "whole"), logged(tmp_path / "parts")[-1]
    assert [r["step"] for r in rows if "weight" in r] == [4, 8, 9] and end["samples"] == 18
    assert rows[-1]["weight"] == float(whole.average["w"]) != whole.weights["w"].item()  # what ships is validated


def test_losses_that_are_not_finite_are_left_out_until_there_are_too_many(tmp_path):
    trained = walked(tmp_path / "some", 9, broken={2, 3})
    assert trained.weights["w"].isfinite()
    assert [r["step"] for r in logged(tmp_path / "some") if r.get("event") == "not finite"] == [2, 3]
    assert load_state(tmp_path / "some")["samples"] == 14
    with pytest.raises(FloatingPointError, match="21 losses were not finite; the last in step 20"):
        walked(tmp_path / "many", 40, broken=range(40))
