"""VDiT Decode Video: the frames of VDiT Decode, decoded while they are saved, in memory that does not grow."""

from __future__ import annotations

import json
import threading
import weakref
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from fakes import random_world_model
from vdit.drafting import Draft
from vdit.host import core_nodes, folders, running, video
from vdit.host.api import call, io
from vdit.nodes.decode import VDiTDecode, VDiTDecodeVideo
from vdit.pipeline import decode, decode_frames
from vdit.pipeline.decode import decode_stream

CORE = {cls.GET_SCHEMA().node_id: cls for cls in core_nodes.NODES}
PROMPT = {"1": {"class_type": "VDiTSample", "inputs": {"seed": 7}}}
HIDDEN = {io.Hidden.prompt: PROMPT, io.Hidden.extra_pnginfo: {"workflow": {"version": 0.4, "nodes": []}}}


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def model():
    return random_world_model(0)


def latent_of(model, count=5, **more):
    """Of 96x64 pixels: of less than 64x48 the last bit of a convolution hangs on the number of threads."""
    return {"samples": torch.randn(1, model.codec.channels, count, 4, 6, generator=torch.manual_seed(1)), **more}


def streamed(model, latent, fps=0.0, **more):
    return call(VDiTDecodeVideo, {"model": model, "latent": latent, "fps": fps, **more})[0]


def saved(value):
    inputs = {"video": value, "filename_prefix": "clip", "format": {"format": "auto"}}
    (entry,) = call(CORE["SaveVideo"], inputs, HIDDEN).ui_dict()["images"]
    return folders.directory(entry["type"]) / entry["filename"]


def counted(model, monkeypatch):
    """How many latent frames each later stream of the codec has decoded, and the pieces that are still in memory."""
    counts, alive, stream = [], weakref.WeakSet(), model.codec.decode_stream

    def counting(latent, *args, **named):
        counts.append(0)
        for piece in stream(latent, *args, **named):
            counts[-1] += 1
            alive.add(piece.untyped_storage())
            yield piece

    monkeypatch.setattr(model.codec, "decode_stream", counting, raising=False)
    return counts, alive


# --- what the video is


def test_its_frames_are_those_of_decode(model):
    for latent in (latent_of(model), latent_of(model, 1), drafted(model, 6)):
        images = call(VDiTDecode, {"model": model, "latent": latent})[0]
        made, sound, *_ = call(CORE["GetVideoComponents"], {"video": streamed(model, latent)}).result
        assert torch.equal(made, images) and sound is None


def test_its_rate_is_the_latents_the_models_or_the_one_asked_for(model):
    assert streamed(model, latent_of(model)).get_frame_rate() == model.defaults["fps"]
    assert streamed(model, latent_of(model, fps=24.0)).get_frame_rate() == 24
    assert streamed(model, latent_of(model, fps=24.0), fps=29.97).get_frame_rate() == Fraction(2997, 100)


def test_size_length_and_rate_are_known_without_decoding(model, monkeypatch):
    counts, _ = counted(model, monkeypatch)
    value = streamed(model, latent_of(model, fps=8.0))
    assert value.get_dimensions() == (96, 64) and value.get_frame_count() == 17
    assert value.get_duration() == 17 / 8 and counts == []


def test_it_is_saved_like_the_same_frames_of_create_video(model, base):
    latent = latent_of(model, fps=8.0)
    tone = {"waveform": torch.sin(torch.arange(96000) / 20)[None, None], "sample_rate": 16000}
    value = streamed(model, latent, audio=tone)
    images = call(VDiTDecode, {"model": model, "latent": latent})[0]
    paths = [saved(value), saved(call(CORE["CreateVideo"], {"images": images, "fps": 8.0, "audio": tone})[0])]
    one, other = (video.VideoFromFile(path).get_components() for path in paths)
    # H.264 may choose otherwise for a last bit; a shift by one frame differs at least twice as much.
    apart, shifted = (one.images - other.images).abs().mean(), (one.images[1:] - other.images[:-1]).abs().mean()
    assert apart < shifted / 2 and torch.equal(value.get_components().images, images)
    assert torch.equal(one.audio["waveform"], other.audio["waveform"])
    assert one.metadata == other.metadata and json.loads(one.metadata["prompt"]) == PROMPT
    assert json.loads(one.metadata["workflow"]) == HIDDEN[io.Hidden.extra_pnginfo]["workflow"]
    assert one.metadata["ai_generated"] == "true" and one.frame_rate == 8
    assert sorted(path.name for path in base.rglob("*") if path.is_file()) == sorted(path.name for path in paths)


def test_a_latent_of_another_model_is_refused_before_anything_is_saved(model):
    with pytest.raises(ValueError, match="codec decodes"):
        streamed(model, {"samples": torch.zeros(1, 3, 2, 2, 2)})
    with pytest.raises(ValueError, match="NaN"):
        streamed(model, {"samples": torch.full((1, model.codec.channels, 2, 2, 2), torch.nan)})


# --- how it is made


def test_no_more_is_decoded_than_an_encoder_has_taken(model, monkeypatch):
    counts, alive = counted(model, monkeypatch)
    encode, seen = torch.Tensor.nan_to_num, []  # called once for each frame by the host's encoder

    def watched(pixels, *args):
        seen.append((counts[-1], len(alive)))
        return encode(pixels, *args)

    monkeypatch.setattr(torch.Tensor, "nan_to_num", watched)
    saved(streamed(model, latent_of(model, 9)))
    assert [decoded for decoded, _ in seen] == [(n + 3) // 4 + 1 for n in range(33)]
    assert max(there for _, there in seen) <= 2, "pieces of a long video pile up"


def test_each_use_decodes_anew_and_changes_nothing(model):
    latent = latent_of(model)
    kept, value = latent["samples"].clone(), streamed(model, latent)
    assert torch.equal(value.get_components().images, value.get_components().images)
    assert torch.equal(latent["samples"], kept) and set(latent) == {"samples"}


def in_a_node(work, report=lambda *_: None, stop=None):
    token = running.current.set(running.Running("9", report, stop or threading.Event()))
    try:
        return work()
    finally:
        running.current.reset(token)


def test_the_node_that_saves_it_shows_every_frames_progress(model):
    seen = []
    value = streamed(model, latent_of(model, 4))
    in_a_node(lambda: saved(value), lambda step, total, _: seen.append((step, total)))
    assert seen == [(1, 13), (5, 13), (9, 13), (13, 13)]


def test_cancel_stops_it_and_leaves_no_file(model, base, monkeypatch):
    counts, _ = counted(model, monkeypatch)
    stop, value = threading.Event(), streamed(model, latent_of(model, 50))
    with pytest.raises(running.Interrupted):
        in_a_node(lambda: saved(value), lambda step, *_: step >= 9 and stop.set(), stop)
    assert counts == [3] and not [path for path in base.rglob("*") if path.is_file()]


# --- with a draft


def drafted(model, count, encoded=True):
    """A latent whose first half is its draft's own, and not its second."""
    frames = torch.rand((count - 1) * 4 + 1, 64, 96, 3, generator=torch.manual_seed(2))
    draft = Draft(frames).encoded(model.codec, "cpu")
    samples = draft.latent.clone()
    samples[:, :, count // 2 :] += torch.randn(samples[:, :, count // 2 :].shape, generator=torch.manual_seed(3))
    return {"samples": samples, "vdit_draft": draft if encoded else replace(draft, latent=None)}


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("at_once", [2, 3, 7, 32])
def test_a_draft_is_compared_in_parts_as_it_is_as_a_whole(model, monkeypatch, encoded, at_once):
    latent = drafted(model, 12, encoded)
    monkeypatch.setattr(decode, "COMPARED", 10**6)
    whole = decode_frames(model.codec, latent["samples"], latent["vdit_draft"])
    monkeypatch.setattr(decode, "COMPARED", at_once)
    parts = torch.cat(list(decode_stream(model.codec, latent["samples"], latent["vdit_draft"])))
    assert (parts - whole).abs().max() < (1e-5 if encoded else 0.02)
    assert torch.equal(parts[:20], latent["vdit_draft"].frames[:20]) or not encoded


def test_a_draft_is_not_compared_ahead_of_what_is_taken(model, monkeypatch):
    monkeypatch.setattr(decode, "COMPARED", 4)
    asked, latent = [], drafted(model, 12)
    measured = decode.agreement
    monkeypatch.setattr(decode, "agreement", lambda a, b: asked.append(len(a)) or measured(a, b))
    stream = decode_stream(model.codec, latent["samples"], latent["vdit_draft"])
    for _ in range(4):
        next(stream)
    assert asked == [13]
    next(stream)
    assert asked == [13, 21]
