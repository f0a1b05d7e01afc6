"""Nodes from model to pictures, over a model of random weights: results, remarks and refusals."""

import asyncio
import logging
import math
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from fakes import model_calls, random_world_model
from vdit.host import api, folders, running
from vdit.nodes import NODES, VDiTExtension, examples
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.load import SHIPPED, VDiTLoadModel
from vdit.nodes.sample import VDiTSample

PACK = Path(examples.__file__).resolve().parent.parent
SMALL = dict(seed=1, steps=3, guidance=2.0, shift=3.0, solver="unipc", seconds=1.0, fps=8.0, width=64, height=64)


@pytest.fixture(scope="module")
def model():
    return random_world_model(0)


def encode(model, prompt="a red ball falls", negative_prompt="", strength=1.0, **pictures):
    return VDiTEncodeConditioning.execute(model, prompt, negative_prompt, strength, **pictures)


def sample(model, conditioning, **changes):
    return VDiTSample.execute(model, conditioning, **{**SMALL, **changes})[0]


def picture(height=48, width=80, channels=3, count=1):
    rows = torch.linspace(0, 1, height)[None, :, None, None]
    columns = torch.linspace(0, 1, width)[None, None, :, None]
    return (rows * 0.5 + columns * torch.linspace(0.1, 0.5, channels)).repeat(count, 1, 1, 1)


# Schemas


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_input_and_output_is_explained(node):
    schema = node.GET_SCHEMA()
    assert schema.node_id == node.__name__ and schema.node_id.startswith("VDiT")
    assert schema.description and schema.category == "VDiT"
    for item in [*schema.inputs, *schema.outputs]:
        assert len(item.tooltip or "") > 15, item.id


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_has_a_help_page_that_names_its_inputs(node):
    page = (PACK / "web" / "docs" / f"{node.__name__}.md").read_text("utf-8")
    for item in node.GET_SCHEMA().inputs:
        assert item.id in page, item.id


def test_a_seed_can_change_after_each_run():
    assert VDiTSample.object_info()["input"]["required"]["seed"][1]["control_after_generate"] is True


def test_inputs_added_to_a_node_come_last():
    names = [i.id for i in VDiTEncodeConditioning.GET_SCHEMA().inputs]
    assert names[4:9] == ["start_image", "end_image", "camera", "depth", "flow"]
    assert names[9:] == [
        "positive", "negative", "clip_vision_output", "clip_vision_output_end", "control_video", "control_mask",
        "reference_image", "draft", "draft_mask", "draft_strength", "tracks", "track_method",
    ]  # fmt: skip
    assert [i.id for i in VDiTSample.GET_SCHEMA().inputs][-3:] == ["promote", "scheduler", "guidance_low"]


def test_the_extension_lists_the_nodes_and_offers_the_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(input=tmp_path))
    mine = tmp_path / "vdit-falling-ball.png"
    mine.write_bytes(b"mine")
    assert asyncio.run(VDiTExtension().get_node_list()) == NODES
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in examples.EXAMPLES.iterdir()}
    assert mine.read_bytes() == b"mine", "a person's own file was overwritten"


def test_an_input_folder_that_cannot_be_written_is_no_failure(monkeypatch, caplog):
    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(examples, "input_folder", lambda: Path("/nonexistent"))
    monkeypatch.setattr(shutil, "copyfile", refuse)
    examples.offer()
    assert "could not be offered" in caplog.text


# From end to end


def test_a_picture_and_words_become_a_video(model):
    conditioning = encode(model, start_image=picture())[0]
    latent = sample(model, conditioning)
    images, fps = VDiTDecode.execute(model, latent).result
    assert latent["samples"].shape == (1, model.codec.channels, 3, 4, 4) and latent["fps"] == 8.0
    assert images.shape == (9, 64, 64, 3) and images.dtype == torch.float32 and fps == 8.0
    assert 0.0 <= images.min() and images.max() <= 1.0


def test_streamed_decoding_equals_decoding_at_once(model):
    latent = sample(model, encode(model)[0])
    with torch.no_grad():
        whole = model.codec.decode(latent["samples"])[0]
    assert torch.allclose(VDiTDecode.execute(model, latent)[0], whole, atol=1e-5)


def test_the_same_inputs_give_the_same_video_and_another_seed_another(model):
    conditioning = encode(model, start_image=picture())[0]
    one, two = (sample(model, conditioning)["samples"] for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, sample(model, conditioning, seed=2)["samples"])


@pytest.mark.parametrize("pictures, known", [(1, 1), (5, 2)])
def test_start_pictures_are_the_first_frames(model, pictures, known):
    start = picture(64, 64, count=pictures)
    latent = sample(model, encode(model, start_image=start)[0])["samples"]
    with torch.no_grad():
        assert torch.allclose(latent[:, :, :known], model.codec.encode(start[None]), atol=1e-4)


def test_an_end_picture_bends_the_video_but_is_no_frame_of_its_own(model):
    free = sample(model, encode(model)[0])["samples"]
    bent = sample(model, encode(model, end_image=picture())[0])["samples"]
    assert free.shape == bent.shape and not torch.equal(free, bent)


def test_strength_zero_ignores_the_pictures_and_says_so(model):
    free = sample(model, encode(model)[0])["samples"]
    output = encode(model, start_image=picture(), strength=0.0)
    assert "strength is 0" in output.ui["text"][0]
    assert torch.equal(free, sample(model, output[0])["samples"])


def test_nothing_on_a_wire_is_changed(model):
    start = picture(channels=4)
    before = start.clone()
    conditioning = encode(model, start_image=start)[0]
    context, kept = conditioning.positive.clone(), conditioning.start.clone()
    latent = sample(model, conditioning)
    samples = latent["samples"].clone()
    VDiTDecode.execute(model, latent)
    assert torch.equal(start, before)
    assert torch.equal(conditioning.positive, context) and torch.equal(conditioning.start, kept)
    assert torch.equal(latent["samples"], samples) and set(latent) == {"samples", "fps", "vdit_draft"}


def test_another_shape_of_picture_is_covered_and_cropped_to_the_centre():
    from vdit.control import cover

    wide = torch.zeros(1, 64, 192, 3)
    wide[:, :, 64:128] = 1.0
    assert torch.equal(cover(wide, 64, 64), torch.ones(1, 64, 64, 3))
    assert cover(picture(100, 30), 128, 96).shape == (1, 96, 128, 3)
    exact = picture(64, 96)
    assert cover(exact, 96, 64) is exact


def test_transparency_is_composited_over_white_and_said(model):
    clear = torch.zeros(1, 64, 64, 4)
    output = encode(model, start_image=clear)
    assert torch.equal(output[0].start, torch.ones(1, 64, 64, 3))
    assert "transparency" in output.ui["text"][0]


def test_unknown_words_are_named_in_the_log_and_on_the_node(model, caplog):
    with caplog.at_level(logging.WARNING, "vdit"):
        output = encode(model, prompt="a red blorb falls")
    assert "blorb" in output.ui["text"][0] and "blorb" in caplog.text
    assert encode(model, prompt="a red ball falls").ui is None


def test_a_prompt_longer_than_the_model_reads_is_remarked(model):
    assert "words longer than the model reads" in encode(model, prompt="ball " * 60).ui["text"][0]


def test_settings_outside_the_training_range_are_remarked(model):
    output = VDiTSample.execute(model, encode(model)[0], **{**SMALL, "fps": 16.0})
    assert "2 times as fast" in output.ui["text"][0] and "64x64 is not the" in output.ui["text"][0]


# Bad input


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(prompt="ball " * 2000), "prompt has 10,000 characters; expected at most 2,000"),
        (dict(negative_prompt="x" * 2001), "negative_prompt has 2,001 characters"),
        (dict(strength=1.5), "strength is 1.5; expected 0"),
        (dict(start_image=picture(1, 3)), "start_image is 3x1 pixels; expected at least 16x16"),
        (dict(start_image=picture(64, 64, 2)), "start_image has 2 channels; expected 3"),
        (dict(start_image=torch.full((1, 64, 64, 3), math.nan)), "start_image holds NaN"),
        (dict(end_image=picture() * 255), "end_image has values 0 to .*; expected 0 to 1"),
        (dict(end_image=picture(count=2)), "end_image has 2 pictures; expected 1"),
        (dict(start_image=picture()[0]), r"start_image is \[48, 80, 3\]; expected an IMAGE"),
        (dict(start_image=picture(count=0)), "start_image holds no picture"),
    ],
)
def test_bad_conditioning_is_refused_with_the_reason(model, changes, said):
    with pytest.raises(ValueError, match=said):
        encode(model, **changes)


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(seconds=0.01), "shortest are 5 frames"),
        (dict(seconds=1250.0), "10001 frames .* cannot be made.* longest are 997 frames"),
        (dict(seconds=4.9), "nearest that fit are 37 frames .* and 41 frames"),
        (dict(width=100), "width is 100, the nearest that fit are 96 and 128"),
        (dict(steps=-1), "steps is -1; expected 1 to 1000"),
        (dict(shift=-1.0), "shift is -1"),
        (dict(scheduler="karras"), "scheduler is 'karras'"),
        (dict(solver="dpm"), "solver is 'dpm'"),
    ],
)
def test_bad_sampling_is_refused_before_the_first_step(model, monkeypatch, changes, said):
    calls, conditioning = model_calls(monkeypatch), encode(model)[0]
    with pytest.raises(ValueError, match=said):
        sample(model, conditioning, **changes)
    assert calls == []


@pytest.mark.parametrize(
    "pictures, said",
    [(4, "start_image has 4 pictures; .* nearest are 1 and 5"), (9, "9 pictures but the video only 9 frames")],
)
def test_start_pictures_that_do_not_fit_are_refused(model, pictures, said):
    conditioning = encode(model, start_image=picture(count=pictures))[0]
    with pytest.raises(ValueError, match=said):
        sample(model, conditioning)


@pytest.mark.parametrize(
    "latent, said",
    [
        (torch.zeros(1, 4, 8, 8), r"the latent is \[1, 4, 8, 8\]; .* made for another model, or for still pictures"),
        (torch.zeros(1, 32, 3, 4, 4), "another model"),
        (torch.full((1, 8, 2, 4, 4), math.nan), "NaN"),
        (torch.zeros(2, 8, 2, 4, 4), "2 videos"),
    ],
)
def test_a_latent_of_another_kind_is_refused(model, latent, said):
    with pytest.raises(ValueError, match=said):
        VDiTDecode.execute(model, {"samples": latent})


def test_a_missing_file_is_named_with_the_ones_present(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(models=tmp_path))
    (tmp_path / "diffusion_models").mkdir()
    (tmp_path / "diffusion_models" / "other.safetensors").write_bytes(b"")
    assert VDiTLoadModel.object_info()["input"]["required"]["file"][1]["options"] == [*SHIPPED, "other.safetensors"]
    with pytest.raises(FileNotFoundError, match="gone.safetensors.*other.safetensors"):
        VDiTLoadModel.execute("gone.safetensors")
    assert VDiTLoadModel.fingerprint_inputs("gone.safetensors") == "missing"
    with pytest.raises(ValueError):
        VDiTLoadModel.execute("../../secret.safetensors")


# While it runs


def run_as_host(node, inputs, report=lambda *_: None, stop=None):
    """As the executor calls a node: on this thread, with someone listening."""
    token = running.current.set(running.Running("1", report, stop or threading.Event()))
    try:
        return api.call(node, inputs)
    finally:
        running.current.reset(token)


def test_every_step_is_reported_and_previews_show_the_whole_forming_video(model):
    seen = []
    inputs = dict(model=model, conditioning=encode(model)[0], **{**SMALL, "steps": 6})
    run_as_host(VDiTSample, inputs, lambda *report: seen.append(report))
    assert [(value, total) for value, total, _ in seen] == [(i, 6) for i in range(1, 7)]
    previews = [preview for *_, preview in seen if preview is not None]
    assert previews and all(len(frames) == 9 for frames in previews)
    assert all(frame.mode == "RGB" and max(frame.size) <= 128 for frames in previews for frame in frames)


def test_a_codec_brings_its_own_preview_map(model, tmp_path):
    from vdit.model.files.bundle import load_world_model, save_world_model
    from vdit.pipeline.latent_preview import LatentPreview, fit_preview_map, synthetic_clips

    copy = random_world_model(0)
    clips = synthetic_clips(copy.codec.temporal, copy.codec.spatial, count=1)
    copy.codec.preview_map = fit_preview_map(copy.codec, clips)
    loaded = load_world_model(save_world_model(copy, tmp_path / "m.safetensors", torch.float32))
    with torch.no_grad():
        latent = loaded.codec.encode(clips)
    frames = LatentPreview(loaded.codec)(latent)
    half = torch.nn.functional.avg_pool2d(clips[0].permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert frames.shape == half.shape
    flat = (half[1:] - half.mean((0, 1, 2))).square().mean()
    assert (frames[1:] - half[1:]).square().mean() < 0.8 * flat, "the map explains the clips it was fitted to"


def test_cancel_stops_sampling_before_the_next_model_call(model, monkeypatch):
    stop = threading.Event()
    calls = model_calls(monkeypatch, lambda number: number == 3 and stop.set())
    inputs = dict(model=model, conditioning=encode(model)[0], **{**SMALL, "steps": 200})
    with pytest.raises(running.Interrupted):
        run_as_host(VDiTSample, inputs, stop=stop)
    assert len(calls) == 3


def test_cancel_stops_decoding(model):
    stop = threading.Event()
    latent = {"samples": torch.zeros(1, model.codec.channels, 50, 2, 2)}
    with pytest.raises(running.Interrupted):
        run_as_host(VDiTDecode, dict(model=model, latent=latent), lambda value, *_: value == 2 and stop.set(), stop)


@pytest.mark.parametrize("name", ["VDiTAsModel", "VDiTAsVAE", "VDiTAsConditioning", "VDiTFromModel", "VDiTUseVAE"])
def test_interchange_nodes_outside_comfyui_name_their_alternatives(name):
    node = next(node for node in NODES if node.__name__ == name)
    inputs = {entry.id: getattr(entry, "default", None) for entry in node.GET_SCHEMA().inputs}
    with pytest.raises(ValueError, match="here is no ComfyUI: use VDiT Load Model, VDiT Sample and VDiT Decode"):
        node.execute(**inputs)


def test_a_package_that_another_thread_imports_just_now_is_there(monkeypatch):
    """OpenCV replaces itself while it is imported, and has no spec for a moment."""
    from types import ModuleType

    from vdit.nodes.types import needs

    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    needs("Selecting objects", "cv2")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        needs("Selecting objects", "cv2")
