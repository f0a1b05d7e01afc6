"""Distill Preview: the take it shows is the take that is rendered; four at once, one picked; agreement measured."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import hide_package, model_calls, random_world_model, small_config
from vdit.drafting.draft import Draft
from vdit.host import api, folders, running
from vdit.host.executor import Executor
from vdit.host.validation import validate
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle
from vdit.model.files.bundle import save_world_model
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.load import BUNDLED, LITE, STUDENT, VDiTLoadModel
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.nodes.sessions import forget_sessions
from vdit.pipeline import Continuation, LatentPreview, Progress, previews, takes

from runs import take

SIZE = dict(seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
SMALL = dict(seed=1, steps=2, grid=False, pick=-1, **SIZE)


@pytest.fixture(scope="module")
def student():
    return random_world_model(0, student=True)


@pytest.fixture(scope="module")
def teacher():
    return random_world_model(0)


@pytest.fixture(autouse=True)
def own_temp(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(temp=tmp_path / "temp"))
    forget_sessions()


@pytest.fixture
def calls(monkeypatch):
    return model_calls(monkeypatch)


def encode(model, **more):
    return VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0, **more)[0]


def preview(model, conditioning=None, **changes):
    conditioning = encode(model) if conditioning is None else conditioning
    return VDiTDistillPreview.execute(model, conditioning, **{**SMALL, **changes})


def sample(model, conditioning, **changes):
    settings = dict(seed=1, steps=2, guidance=1.0, solver="unipc", **SIZE) | changes
    return VDiTSample.execute(model, conditioning, **settings)


def held_back(output):
    return [isinstance(value, api.io.ExecutionBlocker) for value in output.result]


# One seed


def test_inputs_that_mean_the_same_as_in_sample_are_the_same():
    mine, theirs = (node.object_info()["input"]["required"] for node in (VDiTDistillPreview, VDiTSample))
    for name in ("seed", *SIZE):  # which of them are folded away may differ
        (kind, given), (other, expected) = mine[name], theirs[name]
        assert (kind, given | {"advanced": None}) == (other, expected | {"advanced": None})


def test_the_preview_is_the_take_that_sample_renders(student):
    conditioning = encode(student, start_image=torch.rand(1, 64, 64, 3))
    images, latent, seed, fps = preview(student, conditioning).result
    rendered = sample(student, conditioning)[0]
    assert torch.equal(latent["samples"], rendered["samples"]) and (seed, fps) == (1, 8.0)
    assert torch.equal(images, VDiTDecode.execute(student, rendered)[0])


@pytest.mark.parametrize("steps", [1, 8])
def test_any_number_of_steps_from_1_to_8(student, calls, steps):
    assert preview(student, steps=steps)[0].shape == (9, 64, 64, 3)
    assert len(calls) == steps


def test_the_node_says_steps_seconds_and_speed_and_keeps_a_film_strip(student):
    output = preview(student)
    (line,), (strip,) = output.ui["vdit_line"], output.ui["vdit_takes"]
    assert line.startswith("2 steps, ") and line.endswith("x real time") and " s, " in line
    assert (strip["seed"], strip["columns"], strip["frames"], strip["fps"], strip["type"]) == ("1", 3, 9, 8.0, "temp")
    from PIL import Image

    assert Image.open(folders.resolve(strip["filename"], "temp")).size == (3 * 64, 3 * 64)


def test_a_film_strip_holds_every_frame_in_reading_order():
    frames = (torch.arange(5) / 4)[:, None, None, None].expand(5, 8, 16, 3)
    strip, columns = takes.film_strip(frames)
    assert columns == 3 and strip.shape == (16, 48, 3)
    assert strip[0, ::16, 0].tolist() == [0.0, 0.25, 0.5] and strip[8, :32:16, 0].tolist() == [0.75, 1.0]
    wide, columns = takes.film_strip(torch.rand(7, 64, 256, 3), side=300)
    assert columns == 3 and wide.shape == (3 * 25, 300, 3)


def test_a_model_that_is_no_student_works_and_is_remarked(teacher):
    output = preview(teacher)
    assert "no distilled student" in output.ui["text"][0]
    assert torch.equal(output[1]["samples"], sample(teacher, encode(teacher), guidance=3.0)[0]["samples"])


# Promote


def test_promoting_a_latent_renders_that_take_whatever_the_widgets_say(student, teacher):
    conditioning = encode(student)
    latent = preview(student, conditioning, seed=7, shift=2.0)[1]
    other = dict(seed=0, shift=1.0, seconds=2.0, fps=16.0, width=128, height=128)
    promoted = sample(teacher, conditioning, guidance=3.0, promote=latent, **other)
    assert torch.equal(
        promoted[0]["samples"], sample(teacher, conditioning, guidance=3.0, seed=7, shift=2.0)[0]["samples"]
    )
    assert promoted[0]["fps"] == 8.0
    assert list(promoted.ui["vdit_line"]) == ["The preview's take: seed 7, 1 s at 8 fps, 64x64"]


def test_a_latent_without_a_seed_cannot_be_promoted(student):
    conditioning = encode(student)
    rendered = sample(student, conditioning)[0]
    with pytest.raises(ValueError, match="carries no seed"):
        sample(student, conditioning, promote=rendered)


# Four seeds


def test_four_seeds_follow_each_other_and_the_picked_one_is_sent_on(student):
    conditioning = encode(student)
    output = preview(student, conditioning, grid=True, pick=3)
    assert [strip["seed"] for strip in output.ui["vdit_takes"]] == ["1", "2", "3", "4"]
    alone = preview(student, conditioning, seed=3)
    assert output[2] == alone[2] == 3
    assert torch.equal(output[0], alone[0]) and torch.equal(output[1]["samples"], alone[1]["samples"])
    assert output.ui["vdit_line"][0].startswith("4 takes of 2 steps, ")


@pytest.mark.parametrize("pick", [-1, 5])
def test_nothing_is_sent_on_until_one_of_the_four_is_picked(student, pick):
    output = preview(student, grid=True, pick=pick)
    assert held_back(output) == [True] * 4
    assert "Click a take" in output.ui["vdit_line"][1]


def test_picking_another_take_samples_nothing_again(student, calls):
    conditioning = encode(student)
    first = preview(student, conditioning, grid=True, pick=1)
    asked = len(calls)
    second = preview(student, conditioning, grid=True, pick=2)
    assert asked == 8 and len(calls) == 8
    assert first.ui["vdit_line"] == second.ui["vdit_line"], "the times are those of the sampling"
    preview(student, encode(student), grid=True, pick=2)
    assert len(calls) == 16, "another conditioning is another shot"


def test_the_last_seed_is_followed_by_the_first():
    assert takes.seeds_from(2**64 - 2, 4) == [2**64 - 2, 2**64 - 1, 0, 1]


class Probe(api.io.ComfyNode):
    """Notes what reaches it."""

    got: list = []

    @classmethod
    def define_schema(cls):
        return api.io.Schema(
            node_id="Probe", inputs=[api.io.Int.Input("seed")], outputs=[api.io.Int.Output()], is_output_node=True
        )

    @classmethod
    def execute(cls, seed):
        cls.got.append(seed)
        return api.io.NodeOutput(seed)


def run(prompt):
    nodes = {node.__name__: node for node in (Source, VDiTDistillPreview, Probe)}
    return Executor(nodes).run(validate(prompt, nodes))


class Source(api.io.ComfyNode):
    model = None

    @classmethod
    def define_schema(cls):
        return api.io.Schema(
            node_id="Source", outputs=[api.io.Custom(t).Output() for t in ("VDIT_MODEL", "VDIT_CONDITIONING")]
        )

    @classmethod
    def execute(cls):
        return api.io.NodeOutput(Source.model, encode(Source.model))


@pytest.mark.parametrize("pick, reached", [(-1, []), (4, [4])])
def test_nodes_after_an_unpicked_preview_do_not_run(student, pick, reached):
    Source.model, Probe.got = student, []
    inputs = {**SMALL, "grid": True, "pick": pick, "model": ["1", 0], "conditioning": ["1", 1]}
    prompt = {
        "1": {"class_type": "Source", "inputs": {}},
        "2": {"class_type": "VDiTDistillPreview", "inputs": inputs},
        "3": {"class_type": "Probe", "inputs": {"seed": ["2", 2]}},
        "4": {"class_type": "Probe", "inputs": {"seed": ["3", 0]}},
    }
    result = run(prompt)
    assert Probe.got == reached * 2
    assert set(result.executed) == {"1", "2"} | ({"3", "4"} if reached else set())
    assert "vdit_takes" in result.ui["2"]


# Against the render


def test_agreement_with_the_render_is_measured(student):
    conditioning = encode(student)
    images = preview(student, conditioning)[0]
    same = preview(student, conditioning, render=images).ui["vdit_line"][1]
    assert same == "Agreement with the render: PSNR 99.0 dB, SSIM 1.000, paths differ by 0.0% of the width"
    other = preview(student, conditioning, render=preview(student, conditioning, seed=2)[0]).ui["vdit_line"][1]
    assert float(other.split("PSNR ")[1].split()[0]) < 60
    larger = torch.nn.functional.interpolate(images.permute(0, 3, 1, 2), scale_factor=2).permute(0, 2, 3, 1)
    assert "PSNR" in preview(student, conditioning, render=larger).ui["vdit_line"][1]


def test_without_opencv_the_node_says_what_is_missing(student, monkeypatch):
    hide_package(monkeypatch, "cv2", "vdit.benchmark.opencv", "vdit.benchmark.track")
    line = preview(student, render=torch.zeros(9, 64, 64, 3)).ui["vdit_line"][1]
    assert "SSIM" in line and "pip install opencv" in line


# What is refused


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(steps=0), "steps is 0; a preview takes 1 to 8"),
        (dict(steps=9), "steps is 9; a preview takes 1 to 8: for more, render it with VDiT Sample"),
        (dict(seconds=1.1), "nearest that fit"),
        (dict(width=100), "width is 100"),
        (dict(shift=-1.0), "shift is -1"),
        (dict(render=torch.zeros(5, 64, 64, 3)), "render has 5 frames, this preview 9"),
        (dict(render=torch.zeros(9, 64, 128, 3)), "render is 128x64, this preview 64x64"),
        (dict(render=torch.full((9, 64, 64, 3), float("nan"))), "render holds NaN"),
    ],
)
def test_impossible_previews_are_refused_before_the_first_step(student, calls, changes, said):
    with pytest.raises(ValueError, match=said):
        preview(student, **changes)
    assert calls == []


# While it runs


def run_as_host(inputs, report, stop=None):
    token = running.current.set(running.Running("1", report, stop or threading.Event()))
    try:
        return api.call(VDiTDistillPreview, inputs)
    finally:
        running.current.reset(token)


def test_the_first_picture_comes_with_the_first_step_and_decoding_streams(student, monkeypatch):
    monkeypatch.setattr(takes.PreviewBudget, "affordable", lambda self: True)
    seen = []
    inputs = dict(model=student, conditioning=encode(student), **SMALL)
    run_as_host(inputs, lambda *report: seen.append(report))
    assert [(value, total) for value, total, _ in seen] == [(i, 5) for i in range(1, 6)]
    assert all(len(pictures) == 9 for *_, pictures in seen), "all frames, from the first step on"
    sharp = [sum(picture.size == (64, 64) for picture in pictures) for *_, pictures in seen]
    assert sharp == [0, 0, 1, 5, 9]


def test_the_draft_is_shown_before_anything_is_sampled():
    config = small_config(draft=True, flow_map=True)
    model, draft, seen = random_world_model(3, config), Draft(torch.rand(9, 64, 64, 3)), []
    forming = takes.FormingTakes(LatentPreview(model.codec), lambda *report: seen.append(report), 1, 1, 3)
    hooks = forming.hooks(lambda: None)
    run = dict(seed=1, frames=9, width=64, height=64, steps=1, continuation=Continuation(draft=draft))
    made = take(model, encode(model), **run, **vars(hooks))
    value, pictures = seen[0]
    assert value == 0 and len(pictures) == 9
    shown = torch.from_numpy(np.stack([np.asarray(p) for p in pictures])) / 255
    assert torch.allclose(shown, draft.frames, atol=0.01)
    assert made.first < made.seconds


def test_four_takes_form_side_by_side(student, monkeypatch):
    monkeypatch.setattr(takes.PreviewBudget, "affordable", lambda self: True)
    seen = []
    inputs = dict(model=student, conditioning=encode(student), **{**SMALL, "grid": True})
    run_as_host(inputs, lambda *report: seen.append(report))
    assert [value for value, *_ in seen] == list(range(1, 21))
    sizes = {picture.size for *_, pictures in seen for picture in pictures}
    assert sizes == {(2 * takes.TILE, 2 * takes.TILE)}
    first, last = seen[0][2][0], seen[-1][2][0]
    empty = (24, 24, 24)
    corner = (2 * takes.TILE - 5, 2 * takes.TILE - 5)
    assert first.getpixel(corner) == empty and first.getpixel((5, 5)) != empty and last.getpixel(corner) != empty


def test_pictures_cost_at_most_a_twentieth_once_the_first_is_shown():
    now, shown = [0.0], []

    def preview(latent):
        now[0] += 0.02
        return torch.zeros(1, 8, 8, 3)

    preview.codec = SimpleNamespace(temporal=4)
    budget = takes.PreviewBudget(0.05, clock=lambda: now[0])
    forming = takes.FormingTakes(preview, lambda done, pictures: shown.append(pictures), 1, 100, 2, budget)
    for done in range(1, 101):
        now[0] += 0.1
        forming.on_step(Progress(done, 100, torch.zeros(1, 1, 1, 1, 1)))
    assert 20 <= sum(pictures is not None for pictures in shown) <= 25 and budget.spent <= 0.05 * 10 + 0.02


def test_cancel_stops_between_two_takes(student, calls):
    stop = threading.Event()
    inputs = dict(model=student, conditioning=encode(student), **{**SMALL, "grid": True})
    with pytest.raises(running.Interrupted):
        run_as_host(inputs, lambda value, *_: value == 5 and stop.set(), stop)
    assert len(calls) == 2


# Load Model


def test_load_model_offers_the_student_that_ships_beside_the_bundled_model(student, tmp_path, monkeypatch):
    options = VDiTLoadModel.object_info()["input"]["required"]["file"][1]["options"]
    assert options[:3] == [BUNDLED, STUDENT, LITE]
    monkeypatch.setattr(bundle, "BUNDLED", Path(bundle.__file__).parents[2] / "weights" / "vdit-small.safetensors")
    whole, lite = (VDiTLoadModel.execute(name)[0].config for name in (STUDENT, LITE))
    assert whole.flow_map and lite.flow_map and lite.layers == whole.layers // 2
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path / "vdit-small.safetensors")
    with pytest.raises(CheckpointError, match="vdit-small-student.safetensors: no such file"):
        VDiTLoadModel.execute(STUDENT)
    save_world_model(student, tmp_path / "vdit-small-student.safetensors")
    assert VDiTLoadModel.execute(STUDENT)[0].config.flow_map
    assert VDiTLoadModel.fingerprint_inputs(STUDENT) != "missing"


# In ComfyUI, which shows one picture a step by itself


def test_in_comfyui_the_forming_video_plays_between_steps_and_ends_with_the_node(monkeypatch):
    import sys
    from types import ModuleType, SimpleNamespace

    from vdit.nodes import comfy

    steps, played, seven_frames = [], [], threading.Event()

    def show(node, step, total, picture):
        played.append((node, step, picture[1]))
        if len(played) == 7:
            seven_frames.set()

    bar = SimpleNamespace(update_absolute=lambda step, total, preview: steps.append((step, preview)))
    state = SimpleNamespace(update_progress=show)
    stubs = {
        "comfy": {},
        "comfy.utils": {"ProgressBar": lambda total: bar},
        "comfy.model_management": {"throw_exception_if_processing_interrupted": lambda: None},
        "comfy_execution": {},
        "comfy_execution.utils": {"get_executing_context": lambda: SimpleNamespace(node_id="7")},
        "comfy_execution.progress": {"get_progress_state": lambda: state},
    }
    for name, values in stubs.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            setattr(sys.modules[name.split(".")[0]], name.split(".")[1], module)
    monkeypatch.setattr(comfy, "IN_COMFYUI", True)

    update = comfy.progress(3)
    update(1, ["a", "b", "c"])
    assert seven_frames.wait(60)
    assert played[:7] == [("7", 1, frame) for frame in "abcabca"]
    update(2)
    assert [step for step, _ in steps] == [1, 2]
    (film,) = [thread for thread in threading.enumerate() if thread.name == "vdit-film"]
    del update
    film.join(60)
    assert not film.is_alive(), "nothing is sent once the node is done"


@pytest.mark.parametrize("with_draft", [False, True])
def test_a_preview_of_a_long_video_is_every_kth_frame_of_the_whole(monkeypatch, with_draft):
    model = random_world_model(0)
    latent = torch.randn(1, model.codec.channels, 30, 4, 4, generator=torch.manual_seed(1))
    frames = torch.rand(117, 32, 32, 3, generator=torch.manual_seed(2))
    draft = Draft(frames, latent=latent + 0.1) if with_draft else None
    step, preview = Progress(1, 2, latent, draft), LatentPreview(model.codec)
    whole, drawn = previews.predicted_video(preview, step), draft and previews.drafted(draft)
    monkeypatch.setattr(previews, "AT_ONCE", 7)
    monkeypatch.setattr(previews, "SHOWN", 40)
    short = previews.predicted_video(preview, step)
    assert len(short) == 39
    torch.testing.assert_close(short, whole[::3], atol=2e-3, rtol=0)
    assert draft is None or torch.equal(previews.drafted(draft), drawn[::3])
