"""What the codec loses is kept where a video shows what it was expected to show, and only there."""

from dataclasses import replace

import pytest
import torch
from fakes import random_world_model
from vdit.control import encode_conditioning
from vdit.drafting.draft import Draft, agreement
from vdit.model.config import VDiTConfig
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import generate
from vdit.pipeline.decode import decode_frames, expected
from vdit.pipeline.long_video import long_video
from vdit.pipeline.previews import predicted_video
from vdit.sampling.sample import Step

SIZE = dict(frames=9, width=64, height=64)


@pytest.fixture(scope="module")
def model():
    return random_world_model(3, controls=True)


def pictures(count=1, seed=0):
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def test_what_is_expected_is_the_draft_or_else_the_start_at_rest(model):
    words = encode_conditioning(model, "a red ball")
    assert expected(model, words, **SIZE) is None
    start = pictures(5)
    rests = expected(model, encode_conditioning(model, "a red ball", start=start), **SIZE)
    assert torch.equal(rests.frames[:5], start) and torch.equal(rests.frames[5:], start[4:].expand(4, -1, -1, -1))
    draft = Draft(pictures(9, 1))
    assert expected(model, replace(words, draft=draft, start=start), **SIZE) is draft


def test_it_is_encoded_once_and_cut_like_a_control(model):
    draft = Draft(pictures(9))
    assert draft.encoded(model.codec, "cpu") is draft.encoded(model.codec, "cpu")
    part = draft.part(4, 9)
    assert torch.equal(part.frames[:5], draft.frames[4:]) and torch.equal(
        part.frames[5:], draft.frames[8:].expand(4, -1, -1, -1)
    )
    assert part.latent is None


def test_a_video_agrees_with_its_draft_where_both_show_the_same():
    drafted = pictures(2) * 0.2 + 0.4
    made = drafted.clone()
    made[:, :, :20] += 0.3  # here the video shows something else
    same = agreement(made, drafted)
    assert same.shape == (2, 64, 64, 1) and (same[:, :, 26:] == 1).all()
    assert not same[:, :, :23].any()  # nor beside it: what differs there but a little belongs to it
    assert (agreement(drafted + 0.04, drafted) == 1).all()


def test_a_decoded_video_is_as_sharp_as_its_draft(model):
    draft = Draft(pictures(9))
    latent = draft.encoded(model.codec, "cpu")
    plain, sharp = decode_frames(model.codec, latent), decode_frames(model.codec, latent, draft=draft)
    assert (plain - draft.frames).abs().mean() > 0.05 and torch.equal(sharp, draft.frames)
    other = Draft(pictures(13))  # of another length: nothing is known of these frames
    assert torch.equal(decode_frames(model.codec, latent, draft=other), plain)


def test_only_what_differs_from_its_draft_is_decoded(model, monkeypatch):
    codec, draft = model.codec, Draft(pictures(41))
    latent = draft.encoded(codec, "cpu").clone()
    latent[:, :, 5] += 3 * latent.std()  # frames 17 to 20 show something else
    latent[:, :, 8, :, :1] += 3 * latent.std()  # 29 to 32 on the left
    plain, decoded = decode_frames(codec, latent), []
    stream = codec.decode_stream

    def counted(latent):
        for frames in stream(latent):
            decoded.append(frames.shape[1])
            yield frames

    monkeypatch.setattr(codec, "decode_stream", counted)
    told = []
    video = decode_frames(codec, latent, draft=draft, on_frames=lambda done, frames: told.append(len(frames)))
    assert told == [1, *range(5, 42, 4)]
    assert (
        sum(decoded) == 1 + 2 * 4 + 3 * 4
    )  # with two before the first, of which one stands for one frame, then one on
    torch.testing.assert_close(video[17:21], plain[17:21], atol=5e-3, rtol=0)
    torch.testing.assert_close(video[29:33, :, :8], plain[29:33, :, :8], atol=5e-3, rtol=0)
    assert torch.equal(video[:17], draft.frames[:17]) and torch.equal(video[21:29], draft.frames[21:29])
    assert torch.equal(video[29:33, :, 40:], draft.frames[29:33, :, 40:]) and torch.equal(video[33:], draft.frames[33:])


def test_a_forming_video_is_shown_as_sharp_as_its_draft(model):
    draft = Draft(pictures(9))
    latent = draft.encoded(model.codec, "cpu")
    shown = predicted_video(model.codec, Step(1, 4, 0.5, latent, draft))
    assert torch.allclose(shown, draft.frames, atol=1e-5)
    assert predicted_video(model.codec, Step(1, 4, 0.5, latent)).shape == (9, 32, 32, 3)  # small and blurred
    other = latent.clone()
    other[..., :1] += 3 * latent.std()  # on the left something else happens
    shown = predicted_video(model.codec, Step(1, 4, 0.5, other, draft))
    off = (shown - draft.frames).abs().mean((0, 1, 3))
    assert off[32:].max() < 1e-5 and off[:8].min() > 0.05
    large = Draft(torch.rand(9, 192, 320, 3, generator=torch.Generator().manual_seed(0)))
    large.encoded(model.codec, "cpu")
    assert predicted_video(model.codec, Step(1, 4, 0.5, large.latent, large)).shape == (9, 77, 128, 3)


def test_a_watcher_hears_of_the_draft():
    model = random_world_model(
        3, VDiTConfig(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32, draft=True)
    )
    shot = replace(encode_conditioning(model, "a red ball", start=pictures(5)), draft=Draft(pictures(9)))
    steps = []
    generate(model, shot, seed=1, **SIZE, steps=2, guidance=1.0, on_step=steps.append)
    assert len(steps) == 2 and all(step.draft is shot.draft and step.draft.latent is not None for step in steps)


def test_where_a_draft_shows_a_ball_the_video_does():
    model = random_world_model(
        3, VDiTConfig(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32, draft=True)
    )
    model.transformer.draft_trust.bias.data.fill_(-9.0)  # of the rest it trusts nothing
    draft = Draft(pictures(9, 1), torch.zeros(9, 64, 64))
    draft.balls[6, 20, 40] = 1.0
    shot = replace(encode_conditioning(model, "a red ball", start=pictures(1)), draft=draft)
    for steps in (1, 3):
        latent = generate(model, shot, seed=1, **SIZE, steps=steps, guidance=1.0)
        off = (latent - draft.latent).abs().amax(1)[0, 1:]  # [T', h, w]
        at = 20 // model.codec.spatial, 40 // model.codec.spatial
        assert off[1][at] < 1e-4 and off[0][at] > 0.1 and (off > 1e-4).sum() == off.numel() - 1


def test_start_pictures_come_out_as_they_went_in(model):
    """From node to node, in windows, and in a preview's takes."""
    start = pictures(5)
    shot = encode_conditioning(model, "a red ball", start=start)
    node = dict(seed=1, seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
    latent = VDiTSample.execute(model, shot, **node, steps=2, guidance=1.0, solver="euler")[0]
    assert torch.allclose(VDiTDecode.execute(model, latent)[0][:5], start, atol=1e-5)
    plain = VDiTDecode.execute(model, {k: v for k, v in latent.items() if k != "vdit_draft"})[0]
    assert (plain[:5] - start).abs().mean() > 0.05
    video = long_video(model, shot, seed=1, steps=1, guidance=1.0, window=9, **{**SIZE, "frames": 17})
    assert torch.allclose(video[:5], start, atol=1e-5)
    assert generate(model, shot, seed=1, steps=1, guidance=1.0, **SIZE).shape[2] == 3


def test_a_preview_sends_on_what_its_take_was_expected_to_show():
    student = random_world_model(3, student=True)
    shot = encode_conditioning(student, "a red ball", start=pictures(5))
    node = dict(seed=1, seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
    images, latent, *_ = VDiTDistillPreview.execute(student, shot, **node, steps=2, grid=False, pick=0).result
    assert torch.allclose(images[:5], pictures(5), atol=1e-5)
    assert torch.equal(VDiTDecode.execute(student, latent)[0], images)
