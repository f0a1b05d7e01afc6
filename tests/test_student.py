"""Students: flow maps that go from any sigma to any other in one call, learned from the teacher's own trajectories."""

import json
from dataclasses import asdict, replace
from itertools import count, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers_twins import anyflow_twin
from fakes import random_transformer, random_world_model
from torch.nn import functional as F
from vdit.control.signals import context_channels
from vdit.model.codec.tiny import TinyCodec, TinyCodecConfig
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.files.bundle import load_world_model
from vdit.model.files.inspect import inspect
from vdit.model.object_dynamics import ObjectDynamics
from vdit.model.student import from_teacher, kept_layers
from vdit.model.vdit import VDiT
from vdit.pipeline.latent_preview import fit_preview_map
from vdit.sampling import HeldFrames, SampleOptions, guided, sample, schedule
from vdit.sampling.flow_map import towards_next_sigma
from vdit.sampling.frame_levels import CONTEXT_FRAMES, levels_of_sigma, with_frame_levels
from vdit.training.bundle import bundle
from vdit.training.cli import main
from vdit.training.data.trajectories import (
    Trajectories,
    conditions,
    frame_levels,
    interpolant,
    trajectory_paths,
    write_trajectories,
)
from vdit.training.finished_runs import load_teacher, load_transformer
from vdit.training.recipes import BundleRecipe, StudentRecipe, TeacherRecipe, TrajectoriesRecipe
from vdit.training.run import Run, load_state, save_atomic
from vdit.training.tasks import student
from vdit.training.tasks import teacher as teacher_module
from vdit.training.tasks.student import draw_times, fewest_at
from vdit.training.tasks.teacher import fresh
from vdit.training.warm_start import warm_start

from runs import encoded, latent_of

SMALL = dict(dim=128, ffn_dim=192, layers=2, in_channels=4, out_channels=4, text_dim=16, text_len=8)
WIDE = dict(dim=256, ffn_dim=320, layers=3, in_channels=16, out_channels=16, text_dim=24, text_len=12)


@pytest.mark.parametrize("sizes, grid, gate", [(SMALL, (5, 4, 6), 0.25), (WIDE, (3, 6, 2), 0.6)])
@pytest.mark.parametrize("per_frame", [False, True], ids=["one time", "a time per frame"])
def test_flow_map_equals_diffusers_anyflow(sizes, grid, gate, per_frame):
    config = VDiTConfig(**sizes, flow_map=True, delta_gate=gate)
    model = random_transformer(config)
    twin = anyflow_twin(model)
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, config.in_channels, *grid, generator=g)
    context = torch.randn(2, config.text_len, config.text_dim, generator=g)
    sigma = torch.rand(2, grid[0] if per_frame else 1, generator=g)
    target = sigma * torch.rand(sigma.shape, generator=g)
    if per_frame:
        sigma[:, 0] = target[:, 0] = 0.0
    frames = lambda s: (1000 * s).expand(2, grid[0])  # noqa: E731
    with torch.no_grad():
        theirs = twin(x.transpose(1, 2), frames(sigma), frames(target), context, return_dict=False)[0].transpose(1, 2)
        shape = (lambda s: s) if per_frame else (lambda s: s[:, 0])
        ours = model(x, shape(sigma), context, target=shape(target))
        elsewhere = model(x, shape(sigma), context)
    assert float((ours - theirs).norm() / theirs.norm()) <= 1e-5
    assert float((ours - elsewhere).norm() / ours.norm()) > 1e-3, "the target must matter"


@pytest.mark.parametrize("steps, shift", [(1, 1.0), (3, 1.0), (4, 2.5), (32, 1.0)])
def test_an_exact_flow_map_reaches_the_data_in_any_number_of_steps(steps, shift):
    """On straight ways from noise to a fixed video the average velocity is known; so is the end of every way."""
    goal = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    asked = []

    def transformer(x, sigma, context, target):
        asked.append((float(sigma.max()), float(target.max())))
        s, r = (v[:, None, :, None, None] for v in (sigma, target))
        return ((x - goal) / s.clamp_min(1e-9)).where(s > r, torch.zeros(()))

    sigmas = schedule(steps, shift)
    model = towards_next_sigma(transformer, sigmas)
    noise = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    end = sample(lambda x, sigma: model(x, sigma, None), noise, sigmas, "euler")
    torch.testing.assert_close(end, goal)
    torch.testing.assert_close(torch.tensor(asked), torch.tensor(list(pairwise(sigmas))))


def test_known_frames_have_target_sigma_0():
    told = {}
    model = towards_next_sigma(
        lambda x, sigma, context, target: told.update(sigma=sigma, target=target) or x, schedule(2)
    )
    model(torch.zeros(1, 4, 3, 2, 2), torch.tensor([[0.0, 0.5, 0.5]]), None)
    assert told["target"].tolist() == [[0.0, 0.0, 0.0]]
    model(torch.zeros(1, 4, 3, 2, 2), torch.tensor([[0.0, 1.0, 1.0]]), None)
    assert told["target"].tolist() == [[0.0, 0.5, 0.5]]


HELD = torch.arange(6)[None] < 1


def watched(steps, rise=1.0, held=HELD, **told):
    """Frames given to a flow map in each step of a clip with rising noise levels, and those left out. Its data is 1."""
    asked, seen, level = [], [], levels_of_sigma(held, rise)

    def transformer(x, sigma, context, target, **named):
        assert {v.shape[2] for v in (x, *named.values())} == {x.shape[2]}
        asked.append(x[0, 0, :, 0, 0].round().int().tolist())  # their numbers stand in place of noise
        return (x - 1) / sigma[:, None, :, None, None].clamp_min(1e-9)

    sigmas = schedule(steps)
    for s, r in pairwise(sigmas):
        x = torch.arange(held.shape[1]).float().view(1, 1, -1, 1, 1).expand(1, 4, -1, 2, 2)
        own = lambda s: torch.full(held.shape, s).masked_fill(held, 0)  # noqa: E731
        seen.append(
            (x, with_frame_levels(transformer, held, level)(x, own(s), None, target=own(r), **told), level(s), level(r))
        )
    return asked, seen


def test_a_step_computes_only_moving_frames_and_their_context():
    draft = torch.full((1, 5, 6, 2, 2), 7.0)
    rays = torch.zeros(1, 24, 6, 4, 4)
    assert watched(5)[0] == [list(range(n)) for n in (2, 3, 4, 5, 6)]  # without a draft all that is done is seen
    assert watched(5, draft=draft)[0] == [[n, n + 1] for n in range(5)] and CONTEXT_FRAMES == 1
    assert watched(5, draft=draft, camera=rays)[0] == watched(5)[0]  # whose first frame is where it starts
    clip = dict(held=torch.arange(11)[None] < 1, draft=torch.full((1, 5, 11, 2, 2), 7.0))
    assert [len(frames) for rise in (0.75, 1.0) for frames in watched(4, rise, **clip)[0]] == [4, 5, 5, 4, 4, 4, 4, 4]
    assert watched(1, draft=draft)[0] == watched(1, rise=0.0, draft=draft)[0] == [list(range(6))]
    last = HELD | (torch.arange(6) == 5)[None]
    assert watched(2, held=last, draft=draft)[0] == [list(range(6))] * 2  # there is a place to arrive at


@pytest.mark.parametrize("draft", [None, torch.full((1, 5, 6, 2, 2), 7.0)])
def test_frames_left_out_of_a_step_stay_and_are_shown_as_predicted(draft):
    for x, v, here, there in watched(5, **({} if draft is None else {"draft": draft}))[1]:
        for n in range(1, 6):
            shown = (x - here[:, None, :, None, None] * v)[0, :, n]  # the clean frame that a watcher sees
            waits, done = bool(here[0, n] == there[0, n] == 1), bool(here[0, n] == 0)
            expected = n if done else 7.0 if waits and draft is not None else 1.0
            torch.testing.assert_close(shown, torch.full((4, 2, 2), float(expected)))


ASK = dict(seed=3, frames=9, width=64, height=64)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 32])
def test_students_sample_in_any_number_of_steps(steps):
    model = random_world_model(student=True)
    latent = latent_of(model, encoded(model, "a red ball falls"), steps=steps, **ASK)
    assert latent.shape == (1, 8, 3, 4, 4) and torch.isfinite(latent).all()


def test_students_hold_pictures_and_obey_controls():
    from vdit.control.camera import CameraPath

    model = random_world_model(controls=True, student=True)
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    plain = latent_of(model, encoded(model, "ball", start=picture), **ASK)
    torch.testing.assert_close(plain[:, :, :1], model.codec.encode(picture[None]), rtol=1e-4, atol=1e-4)
    c2w = torch.eye(4, dtype=torch.float64).repeat(9, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 1, 9)
    camera = CameraPath(c2w, torch.full((9,), 40.0))
    moving = latent_of(model, encoded(model, "ball", start=picture, camera=camera), **ASK)
    assert not torch.equal(plain, moving)


@pytest.mark.parametrize(
    "settings, says",
    [
        (dict(steps=0), "steps is 0; a student takes 1 to 32"),
        (dict(steps=33), "steps is 33; .* load its teacher"),
        (dict(guidance=3.0), "guidance is 3, .* set guidance to 1"),
    ],
)
def test_settings_that_students_lack_are_refused_with_an_alternative(settings, says):
    model = random_world_model(student=True)
    with pytest.raises(ValueError, match=says):
        latent_of(model, encoded(model, "ball"), **{**ASK, **settings})


def test_a_student_without_a_control_refuses_it_by_name():
    from vdit.control.depth import DepthMaps

    model = random_world_model(student=True)
    with pytest.raises(ValueError, match="no control branch for depth"):
        encoded(model, "ball", depth=DepthMaps(torch.rand(9, 64, 64)))


def test_a_teacher_has_no_use_for_a_target():
    with pytest.raises(ValueError, match="no flow map"):
        model = random_world_model().transformer
        model(torch.zeros(1, 8, 2, 4, 4), torch.ones(1), torch.zeros(1, 1, 32), target=torch.zeros(1))


TOY = VDiTConfig(
    dim=128, ffn_dim=64, layers=3, in_channels=4, out_channels=4, text_dim=16, camera_rays=2,
    carry=True, draft=True, vace_channels=context_channels(), vace_layers=(0, 1),
)  # fmt: skip


def toy_latents(folder, clips, frames=41):
    """A shard of clips as `vdit train latents` writes them, of noise that changes slowly."""
    g = torch.Generator().manual_seed(clips)
    count, side = (frames + 3) // 4, 4
    save_atomic(
        {
            "video": (
                torch.randn(clips, 4, 1, side, side, generator=g)
                + 0.3 * torch.randn(clips, 4, count, side, side, generator=g)
            ).half(),
            "last": torch.randn(clips, 4, 1, side, side, generator=g).half(),
            "depth": torch.randint(0, 256, (clips, frames, 1, 16, 16), generator=g, dtype=torch.uint8),
            "flow": torch.randint(-9, 9, (clips, frames - 1, 2, 16, 16), generator=g, dtype=torch.int8),
            "c2w": torch.eye(4, dtype=torch.float64).repeat(clips, frames, 1, 1),
            "fov_deg": torch.full((clips, frames), 40.0),
            "tracks": 64 * torch.rand(clips, frames, 3, 4, generator=g),
            "foretold": F.pad(torch.randn(clips, 4, count, side, side, generator=g), (0,) * 7 + (1,), value=1).half(),
            "drafted": torch.randint(0, 3, (clips,), generator=g),
            "captions": [["a red ball falls", "a blue ball rolls to the left"]] * clips,
            "size": (64, 64),
        },
        folder / "latents-00000.pt",
    )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with latents, an untrained teacher's run and a cache of its trajectories."""
    root = tmp_path_factory.mktemp("runs")
    for name, clips in (("latents", 8), ("held-out", 6)):
        (root / name).mkdir()
        toy_latents(root / name, clips)
    transformer, text = fresh(TOY, 0)
    g = torch.Generator().manual_seed(4)
    for p in transformer.parameters():
        p.data.add_(torch.randn(p.shape, generator=g) * 0.04)
    weights = {
        **{f"model.{n}": p.data for n, p in transformer.named_parameters()},
        **{f"text.{n}": p.data for n, p in text.named_parameters()},
    }
    state = {"weights": weights, "average": weights, "optimizers": [], "step": 1, "samples": 8, "hours": 0.0,
             "config": asdict(TOY)}  # fmt: skip
    Run(root / "teacher").save(state, force=True)
    Run(root / "teacher").log(event="start")
    write_trajectories(cached(root, root / "cache"), clips_per_file=4)
    return root


def cached(made, cache, **more):
    """The recipe of a cache of the untrained teacher's trajectories."""
    settings = {"guidance": 3.0, "teacher_steps": 6, "files": 6, **more}
    return TrajectoriesRecipe(made / "teacher", made / "latents", cache, **settings)


def distilled(made, out, seconds, **more):
    paths = {"teacher": made / "teacher", "latents": made / "latents", "held_out": made / "held-out", "out": out}
    settings = {"guidance": 3.0, "files": 6, "batch": 4, "peak": 2e-3, "cache": made / "cache", **more}
    student.train(StudentRecipe(**{**paths, **settings}, teacher_steps=6, hours=seconds / 3600))


def test_trajectories_are_stored_with_their_teachers_digest(made):
    paths = trajectory_paths(made / "cache")
    before = [p.stat().st_mtime_ns for p in paths]
    assert len(paths) == 6
    recipe = cached(made, made / "cache")
    write_trajectories(recipe)
    assert [p.stat().st_mtime_ns for p in paths] == before
    with pytest.raises(ValueError, match="other trajectories .*guidance 3.0 there, 2.0 now"):
        write_trajectories(replace(recipe, guidance=2.0))
    with pytest.raises(ValueError, match="other trajectories .*drafted 0.85 there, 0.3 now"):
        write_trajectories(replace(recipe, drafted=0.3))
    with pytest.raises(ValueError, match="share of clips that are told a draft is 1.5; expected 0 to 1"):
        write_trajectories(replace(recipe, drafted=1.5))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_trajectories_have_as_many_drafts_as_asked_for(made, tmp_path, share):
    write_trajectories(cached(made, tmp_path, guidance=None, teacher_steps=2, drafted=share), clips_per_file=4)
    drafts = [file["draft"] for file in Trajectories.load(tmp_path).shards.values() if "draft" in file]
    given = [draft[:, -1].flatten(1).amax(1) > 0 for draft in drafts]
    assert given and float(torch.cat(given).float().mean()) == share


def test_the_cache_stops_growing_at_its_limit(made, tmp_path):
    one = trajectory_paths(made / "cache")[0].stat().st_size / 1e9
    write_trajectories(cached(made, tmp_path, files=5, cache_gb=one), clips_per_file=4)
    assert len(trajectory_paths(tmp_path)) <= 2


def test_a_stored_trajectory_is_the_teachers_own(made):
    """Solved again one clip at a time, through the same call that nodes use for known frames and guidance."""
    teacher, found = load_teacher(made / "teacher", 3.0), Trajectories.load(made / "cache")
    for name, file in found.shards.items():
        assert set(file) <= {"sigmas", "rise", "states", "velocities", "known", "context", "camera", "vace", "draft"}
        row = conditions(file, torch.tensor([0]))
        known, end = file["known"][0], file["states"][:1, -1].float()
        named = {n: v for n, v in row.items() if n != "context"}

        def transformer(x, sigma, context, named=named):
            twice = {n: v.expand(len(x), *v.shape[1:]) for n, v in named.items()}
            return teacher.transformer(x, sigma, context, **twice)

        empty = teacher.text.encode([""]).tokens
        empty = torch.nn.functional.pad(empty, (0, 0, 0, row["context"].shape[1] - empty.shape[1]))
        rise, start = float(file["rise"]), file["states"][:1, 0].float()
        assert rise == pytest.approx(teacher.rise) and rise > 0
        level = levels_of_sigma(known[None], rise)
        denoise = guided(with_frame_levels(transformer, known[None], level), row["context"], empty, teacher.guidance)
        with torch.no_grad():
            again = sample(
                denoise, start, schedule(6), "unipc", HeldFrames(end, known), options=SampleOptions(frame_levels=level)
            )
        assert float((again - end).norm() / end.norm()) < 5e-3, name
    assert any("vace" in f for f in found.shards.values()) or any("camera" in f for f in found.shards.values())


@pytest.mark.parametrize("rise", (0.0, 0.5))
def test_states_between_the_stored_ones_are_interpolated(rise):
    """On a trajectory whose course is known: x = level^2 in each frame, the end of its last step included."""
    sigmas, known = torch.tensor(schedule(4)), torch.tensor([[True, False, False, False]])
    found = {"sigmas": sigmas, "rise": torch.tensor(rise), "known": known}
    rows = torch.zeros(7, dtype=torch.long)
    stored = frame_levels(found, rows[:5], sigmas)
    states = (stored**2).view(1, 5, 1, 4, 1, 1)
    found |= {"states": states.half(), "velocities": (2 * stored[:4]).view(1, 4, 1, 4, 1, 1).half()}
    t = torch.tensor([1.0, 0.9, 0.75, 0.5, 0.3, 0.1, 0.0])
    x, v = interpolant(found, rows, t)
    level = frame_levels(found, rows, t)
    assert rise == 0 or level[3].tolist() == [0.0, 0.0, 0.5, 1.0]
    torch.testing.assert_close(x.reshape(7, 4), level**2, atol=1e-3, rtol=0)
    torch.testing.assert_close(v.reshape(7, 4), 2 * level, atol=2e-3, rtol=0)


def test_an_untrained_student_is_its_teacher_at_every_moment(made):
    teacher = load_teacher(made / "teacher").transformer
    student = from_teacher(teacher)
    x, sigma, context = torch.randn(2, 4, 3, 4, 4), torch.tensor([0.3, 0.9]), torch.randn(2, 5, 16)
    torch.testing.assert_close(student(x, sigma, context), teacher(x, sigma, context))


def test_a_smaller_student_keeps_first_last_and_controlled_layers():
    assert kept_layers(6, 3, (0, 3)) == [0, 3, 5]
    assert kept_layers(6, 3, ()) == [0, 2, 5]
    assert kept_layers(4, 4, (1,)) == [0, 1, 2, 3]
    teacher = VDiT(VDiTConfig(**{**SMALL, "layers": 6}, vace_channels=5, vace_layers=(0, 3)))
    student = from_teacher(teacher, 3)
    assert student.config.layers == 3 and student.config.vace_layers == (0, 1)
    assert torch.equal(student.blocks[1].ffn[0].weight, teacher.blocks[3].ffn[0].weight)
    with pytest.raises(ValueError, match="a student of 1 layers; expected 2"):
        from_teacher(teacher, 1)


def test_steps_double_and_every_pair_is_a_step_of_some_schedule():
    shifted = draw_times(200, 1, np.random.default_rng(1))
    assert ((shifted >= 0) & (shifted <= 1)).all()
    plain = replace(student.SETTINGS, shifted=0.0)
    assert [fewest_at(s) for s in (0, 0.07, 0.13, 0.3, 0.6, 0.99)] == [32, 16, 8, 4, 2, 1]
    for fewest in (32, 4, 1):
        before, t, r = draw_times(400, fewest, np.random.default_rng(0), plain)
        assert ((before >= t) & (t >= r)).all() and 0.3 < float((t == r).float().mean()) < 0.5
        place = (t / (t - r))[t > r]
        torch.testing.assert_close(place, place.round(), atol=1e-3, rtol=0)
        assert float((t - r).max()) == pytest.approx(1 / fewest)


@pytest.mark.parametrize("times", [(0.5, 0.5, 0.5), (0.9, 0.6, 0.3)], ids=["at a moment", "over steps"])
def test_a_batch_that_begins_with_a_step_calls_the_student_twice(made, times):
    """Whatever it holds: processes that divide a student wait for each other in each call."""
    found = Trajectories.load(made / "cache").draw(2, np.random.default_rng(0))
    divided, calls = from_teacher(load_teacher(made / "teacher").transformer), []
    divided.register_forward_hook(lambda *_: calls.append(1))
    loss = student.distillation_loss(divided, found, torch.tensor(times)[:, None].expand(3, 2), self_forced=True)
    assert len(calls) == 2 and loss.isfinite()


@pytest.mark.slow
def test_students_approach_their_teacher_resume_and_become_one_file(made, tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=count().__next__)  # each look takes a second, a training step three
    monkeypatch.setattr("vdit.training.run.time", clock)
    distilled(made, tmp_path / "whole", 480)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    first, last = (next(r for r in order if "error_4" in r) for order in (rows, rows[::-1]))
    assert rows[0]["event"] == "start" and rows[0]["trajectories"] == 24
    assert last["step"] > 40
    assert last["error_4"] < 0.95 * first["error_4"] and last["error_1"] < 0.95 * first["error_1"]
    step = load_state(tmp_path / "whole")["step"]
    distilled(made, tmp_path / "whole", 500)
    assert load_state(tmp_path / "whole")["step"] > step
    distilled(made, tmp_path / "fast", 9, layers=2, start_from=tmp_path / "whole")

    sources, statistics = parts_of_a_bundle(tmp_path)
    whole = tmp_path / "vdit-small.safetensors"
    with pytest.raises(FileNotFoundError, match="vdit-small.safetensors; bundle the teacher first"):
        bundle(BundleRecipe(**sources, student=tmp_path / "fast", out=tmp_path / "fast.safetensors"))
    bundle(BundleRecipe(**sources, teacher=made / "teacher", out=whole))
    facts = bundle(BundleRecipe(**sources, student=tmp_path / "fast", out=tmp_path / "fast.safetensors"))
    model, teacher = load_world_model(tmp_path / "fast.safetensors"), load_world_model(whole)
    assert torch.equal(model.codec.decoder[0].module[0].weight, teacher.codec.decoder[0].module[0].weight)
    assert torch.equal(model.dynamics.push[0].weight, teacher.dynamics.push[0].weight)
    assert model.teacher.codec is model.codec and teacher.teacher is None
    assert torch.equal(model.teacher.transformer.head.head.weight, teacher.transformer.head.head.weight)
    assert (tmp_path / "fast.safetensors").stat().st_size < 0.8 * whole.stat().st_size
    seen = inspect(tmp_path / "fast.safetensors")
    assert (
        "student of VDiT's own" in seen.what
        and "vdit-small.safetensors of the same release" in seen.needs[0]
        and not inspect(whole).needs
    )
    assert model.config.flow_map and model.config.layers == 2 and facts["guidance_baked"] == 3.0
    assert model.defaults["steps"] == 4 and model.defaults["guidance"] == 1.0
    assert teacher.defaults["rise"] == 0.75 and model.defaults["rise"] == 1.0
    latent = latent_of(model, encoded(model, "a red ball falls"), seed=1, frames=9, width=64, height=64)
    assert torch.isfinite(latent).all()
    for source in (tmp_path / "fast", tmp_path / "fast.safetensors"):
        with pytest.raises(ValueError, match="is a student; .* give the teacher"):
            load_teacher(source)
    with pytest.raises(ValueError, match="holds a student"):
        recipe = TeacherRecipe(made / "latents", made / "latents", tmp_path / "t", 0, start_from=tmp_path / "whole")
        teacher_module.train(recipe, config=TOY)
    with pytest.raises(ValueError, match="holds a student"):
        warm_start(tmp_path / "fast.safetensors", *fresh(TOY, 0))
    with pytest.raises(ValueError, match="another teacher, size or rank"):
        distilled(made, tmp_path / "whole", 3600, layers=2)
    save_atomic({**statistics, "mean": torch.ones(4)}, tmp_path / "codec/statistics.pt")
    bundle(BundleRecipe(**sources, teacher=made / "teacher", out=whole))
    with pytest.raises(CheckpointError, match="fast.safetensors: vdit-small.safetensors beside it is another release"):
        load_world_model(tmp_path / "fast.safetensors")
    whole.unlink()
    with pytest.raises(
        CheckpointError, match="takes codec and words from vdit-small.safetensors, which must lie beside it"
    ):
        load_world_model(tmp_path / "fast.safetensors")


def parts_of_a_bundle(folder):
    """Runs of a codec and of dynamics in a folder, and the codec's statistics."""
    codec = TinyCodec(TinyCodecConfig(channels=4, width=16, deep=16, blocks=(1, 1)))
    Run(folder / "codec").save({"codec": codec.state_dict(), "config": asdict(codec.config), "step": 1}, force=True)
    Run(folder / "codec").log(event="start")
    statistics = {
        "mean": torch.zeros(4),
        "std": torch.ones(4),
        "preview_map": fit_preview_map(codec, torch.rand(1, 9, 32, 32, 3)),
    }
    objects = ObjectDynamics()
    moved = {"average": objects.state_dict(), "config": asdict(objects.config), "step": 1, "starts": 1}
    Run(folder / "dynamics").save(moved, force=True)
    save_atomic(statistics, folder / "codec/statistics.pt")
    return {"codec": folder / "codec", "dynamics": folder / "dynamics", "clips": folder}, statistics


@pytest.mark.slow
def test_a_low_rank_student_is_distilled_from_a_bundle_resumes_and_becomes_a_small_file(made, tmp_path):
    sources, _ = parts_of_a_bundle(tmp_path)
    whole, out, file = tmp_path / "vdit-small.safetensors", tmp_path / "low", tmp_path / "low.safetensors"
    bundle(BundleRecipe(**sources, teacher=made / "teacher", out=whole))

    small = dict(teacher=whole, cache=tmp_path / "cache", files=2, guidance=None)

    def distil(seconds, past=0, **more):
        """Until it is past a step: on a busy machine trajectories alone may take so many seconds."""
        distilled(made, out, seconds, **small, **more)
        if load_state(out)["step"] <= past:
            distil(2 * seconds, past, **more)

    distil(2, rank=2)
    before = load_state(out)
    distil(3, before["step"], rank=2)
    after, base = load_state(out), from_teacher(load_world_model(whole).transformer).state_dict()
    name = "blocks.0.ffn.0.parametrizations.weight."
    assert after["step"] > before["step"] > 0
    assert torch.equal(after["frozen"]["model." + name + "original"], base["blocks.0.ffn.0.weight"])
    assert not torch.equal(after["average"]["model." + name + "0.up"], before["average"]["model." + name + "0.up"])
    with pytest.raises(ValueError, match="another teacher, size or rank"):
        distil(9)
    facts = bundle(BundleRecipe(**sources, student=out, out=file))
    assert facts["rank"] == 2 and file.stat().st_size < 0.3 * whole.stat().st_size
    low, run = load_world_model(file).transformer.state_dict(), load_transformer(out)[0].state_dict()
    changed = float((run["blocks.0.ffn.0.weight"] - base["blocks.0.ffn.0.weight"]).norm())
    assert float((low["blocks.0.ffn.0.weight"] - run["blocks.0.ffn.0.weight"]).norm()) < 0.02 * changed
    bundle(BundleRecipe(**sources, student=file, out=tmp_path / "again.safetensors"))
    again = load_world_model(tmp_path / "again.safetensors").transformer.state_dict()
    assert float((again["blocks.0.ffn.0.weight"] - low["blocks.0.ffn.0.weight"]).norm()) < 0.02 * changed
    with pytest.raises(ValueError, match="begins as its teacher: leave out --start-from, or --rank"):
        distilled(made, tmp_path / "other", 1, rank=2, start_from=out, **small)
    run_of_floats, plain = tmp_path / "floats", {**small, "teacher": made / "teacher", "cache": tmp_path / "cache2"}
    distilled(made, run_of_floats, 2, rank=2, peak=3e-4, **plain)
    with pytest.raises(ValueError, match="distil it with --rank, from this very file of its teacher"):
        bundle(BundleRecipe(**sources, student=run_of_floats, out=tmp_path / "no.safetensors"))


def test_a_missing_stage_names_the_command_that_makes_it(tmp_path, capsys):
    assert main(["student", "--teacher", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "vdit train teacher" in capsys.readouterr().out
