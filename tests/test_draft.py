"""A decoded video takes the draft's pixels where it agrees with the draft, and only there."""

import pytest
import torch
from fakes import random_world_model, small_config
from vdit.drafting.draft import Draft, agreement
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.preview import VDiTDistillPreview
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import ClipSpec, Continuation, Hooks, LatentPreview, Progress, RunContext, family_of
from vdit.pipeline.decode import decode_frames
from vdit.pipeline.external_sampler import ExternalShot
from vdit.pipeline.previews import predicted_video

from runs import encoded, latent_of, long_video, run, run_of

SIZE = dict(frames=9, width=64, height=64)


@pytest.fixture(scope="module")
def model():
    return random_world_model(3, controls=True)


def pictures(count=1, seed=0):
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def test_expected_frames_are_the_draft_or_else_the_start_pictures_standing_still(model):
    family, clip, start, draft = family_of(model), ClipSpec(**SIZE), pictures(5), Draft(pictures(9, 1))
    assert family.expected(encoded(model, "a red ball"), None, clip) is None
    shot = encoded(model, "a red ball", start=start)
    still = family.expected(shot, None, clip).frames
    assert torch.equal(still[:5], start) and torch.equal(still[5:], start[4:].expand(4, -1, -1, -1))
    assert family.expected(shot, draft, clip) is draft


def test_a_draft_is_encoded_once_and_cut_like_a_control(model):
    draft = Draft(pictures(9))
    ready = draft.encoded(model.codec, "cpu")
    assert draft.latent is None and ready.encoded(model.codec, "cpu").latent is ready.latent
    part = ready.window(4, 9)
    assert torch.equal(part.frames[:5], draft.frames[4:])
    assert torch.equal(part.frames[5:], draft.frames[8:].expand(4, -1, -1, -1))
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
    latent = draft.encoded(model.codec, "cpu").latent
    plain, sharp = decode_frames(model.codec, latent), decode_frames(model.codec, latent, draft)
    assert (plain - draft.frames).abs().mean() > 0.05 and torch.equal(sharp, draft.frames)
    other = Draft(pictures(13))  # of another length: nothing is known of these frames
    assert torch.equal(decode_frames(model.codec, latent, other), plain)


def test_only_frames_that_differ_from_their_draft_are_decoded(model, monkeypatch):
    codec, draft = model.codec, Draft(pictures(41))
    latent = draft.encoded(codec, "cpu").latent.clone()
    latent[:, :, 5] += 3 * latent.std()  # frames 17 to 20 show something else
    latent[:, :, 8, :, :1] += 3 * latent.std()  # 29 to 32 on the left
    plain, decoded = decode_frames(codec, latent), []
    stream = codec.decode_stream

    def counted(latent):
        for frames in stream(latent):
            decoded.append(frames.shape[1])
            yield frames

    monkeypatch.setattr(codec, "decode_stream", counted)
    lengths = []
    hooks = Hooks(on_frames=lambda done, frames: lengths.append(len(frames)))
    video = decode_frames(codec, latent, draft, RunContext(hooks=hooks))
    assert lengths == [1, *range(5, 42, 4)]
    assert (
        sum(decoded) == 1 + 2 * 4 + 3 * 4
    )  # with two before the first, of which one stands for one frame, then one on
    torch.testing.assert_close(video[17:21], plain[17:21], atol=5e-3, rtol=0)
    torch.testing.assert_close(video[29:33, :, :8], plain[29:33, :, :8], atol=5e-3, rtol=0)
    assert torch.equal(video[:17], draft.frames[:17]) and torch.equal(video[21:29], draft.frames[21:29])
    assert torch.equal(video[29:33, :, 40:], draft.frames[29:33, :, 40:]) and torch.equal(video[33:], draft.frames[33:])


def test_a_forming_video_is_shown_as_sharp_as_its_draft(model):
    preview, draft = LatentPreview(model.codec), Draft(pictures(9)).encoded(model.codec, "cpu")
    shown = predicted_video(preview, Progress(1, 4, draft.latent, draft))
    assert torch.allclose(shown, draft.frames, atol=1e-5)
    assert predicted_video(preview, Progress(1, 4, draft.latent)).shape == (9, 32, 32, 3)  # small and blurred
    other = draft.latent.clone()
    other[..., :1] += 3 * other.std()  # on the left something else happens
    off = (predicted_video(preview, Progress(1, 4, other, draft)) - draft.frames).abs().mean((0, 1, 3))
    assert off[32:].max() < 1e-5 and off[:8].min() > 0.05
    large = Draft(torch.rand(9, 192, 320, 3, generator=torch.Generator().manual_seed(0))).encoded(model.codec, "cpu")
    assert predicted_video(preview, Progress(1, 4, large.latent, large)).shape == (9, 77, 128, 3)


def drafted_model():
    return random_world_model(3, small_config(draft=True))


def test_every_step_reports_the_encoded_draft():
    model, steps, draft = drafted_model(), [], Draft(pictures(9))
    shot = encoded(model, "a red ball", start=pictures(5))
    made = run(
        model, shot, seed=1, **SIZE, steps=2, guidance=1.0, on_step=steps.append, continuation=Continuation(draft=draft)
    )
    assert len(steps) == 2 and all(step.draft is made.draft for step in steps)
    assert made.draft.frames is draft.frames and made.draft.latent is not None


def test_where_a_draft_shows_a_ball_the_video_does():
    model = drafted_model()
    model.transformer.draft_trust.bias.data.fill_(-9.0)  # nothing else of the draft is trusted
    draft = Draft(pictures(9, 1), torch.zeros(9, 64, 64))
    draft.coverage[6, 20, 40] = 1.0
    shot = encoded(model, "a red ball", start=pictures(1))
    for steps in (1, 3):
        made = run(model, shot, seed=1, **SIZE, steps=steps, guidance=1.0, continuation=Continuation(draft=draft))
        off = (made.latent - made.draft.latent).abs().amax(1)[0, 1:]  # [T', h, w]
        at = 20 // model.codec.spatial, 40 // model.codec.spatial
        assert off[1][at] < 1e-4 and off[0][at] > 0.1 and (off > 1e-4).sum() == off.numel() - 1


def test_start_pictures_come_out_as_they_went_in(model):
    """From node to node, in windows, and in a preview's takes."""
    start = pictures(5)
    shot = encoded(model, "a red ball", start=start)
    node = dict(seed=1, seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
    latent = VDiTSample.execute(model, shot, **node, steps=2, guidance=1.0, solver="euler")[0]
    assert torch.allclose(VDiTDecode.execute(model, latent)[0][:5], start, atol=1e-5)
    plain = VDiTDecode.execute(model, {k: v for k, v in latent.items() if k != "vdit_draft"})[0]
    assert (plain[:5] - start).abs().mean() > 0.05
    video = long_video(model, shot, seed=1, steps=1, guidance=1.0, window=9, **{**SIZE, "frames": 17})
    assert torch.allclose(video[:5], start, atol=1e-5)
    assert latent_of(model, shot, seed=1, steps=1, guidance=1.0, **SIZE).shape[2] == 3


def given(model, strength=1.0, frames=9, size=64, seed=1, **more):
    """A shot with a draft of its own."""
    draft = torch.rand(frames, size, size, 3, generator=torch.Generator().manual_seed(seed))
    return encoded(model, "a red ball", draft=draft, draft_strength=strength, **more)


GIVEN = dict(**SIZE, seed=1, steps=3, guidance=1.0)


def test_a_shot_that_brings_a_draft_is_made_as_from_a_prediction():
    model = drafted_model()
    shot, mask = given(model), torch.rand(9, 64, 64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(shot.start, shot.draft[:1])  # the missing start picture
    for own, coverage in ((shot, None), (given(model, draft_mask=mask), mask)):
        predicted = encoded(model, "a red ball", start=shot.draft[:1])
        wanted = run(model, predicted, **GIVEN, continuation=Continuation(draft=Draft(shot.draft, coverage)))
        made = run(model, own, **GIVEN)
        assert torch.equal(made.latent, wanted.latent) and made.expected is made.draft and not made.remarks
    start = pictures(5, 7)
    frames = run(model, given(model, start=start), **GIVEN).draft.frames
    assert torch.equal(frames[:5], start) and torch.equal(frames[5:], shot.draft[5:])


def test_the_lower_its_strength_the_sooner_a_draft_is_left():
    model, off = drafted_model(), []
    model.transformer.draft_trust.bias.data.fill_(9.0)
    for strength in (1.0, 0.6, 0.3):
        made = run(model, given(model, strength), **{**GIVEN, "steps": 10})
        off.append(float((made.latent - made.draft.latent)[:, :, 1:].abs().mean()))
    assert off[0] < off[1] < off[2]
    ignored, plain = given(model, 0.0), encoded(model, "a red ball")
    assert ignored.draft is None and ignored.start is None and "no influence" in ignored.remarks[-1]
    assert torch.equal(run(model, ignored, **GIVEN).latent, run(model, plain, **GIVEN).latent)
    student = random_world_model(3, small_config(draft=True, flow_map=True))
    assert run(student, given(student, 0.5), **{**GIVEN, "steps": 2}).draft.strength == 0.5


def test_a_draft_of_another_size_and_length_is_fitted_and_said_so():
    model = drafted_model()
    shot = given(model, frames=17, size=96, draft_mask=torch.ones(1, 96, 96))
    made = run(model, shot, **GIVEN)
    assert "17 frames are stretched over the video's 9: 2 of them" in made.remarks[0]
    assert made.draft.frames.shape == (9, 64, 64, 3) and bool((made.draft.coverage > 0.99).all())
    same = torch.nn.functional.interpolate(
        shot.draft[8:9].permute(0, 3, 1, 2), (64, 64), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(made.draft.frames[4:5].permute(0, 3, 1, 2), same.clamp(0, 1))


def test_a_long_video_follows_its_draft_from_window_to_window():
    model = drafted_model()
    shot = given(model, frames=17, draft_mask=torch.ones(1, 64, 64))
    video = long_video(model, shot, seed=1, steps=1, guidance=1.0, window=9, **{**SIZE, "frames": 17})
    assert torch.allclose(video, shot.draft, atol=1e-5)


def test_samplers_of_others_follow_a_draft_as_far_as_its_strength_says():
    model = drafted_model()
    model.transformer.draft_trust.bias.data.fill_(9.0)
    shot = ExternalShot(run_of(model, given(model, 0.5), **SIZE))
    assert shot.expected.strength == 0.5 and shot.remarks == []
    x, context = torch.randn(1, 8, 3, 4, 4), torch.zeros(1, 4, 32)
    of = lambda shot, s: shot.velocity(model.transformer, x, torch.full((1, 3), s), context, [0.9, s, 0.0])  # noqa: E731
    whole, none = (ExternalShot(run_of(model, given(model, s), **SIZE)) for s in (1.0, 0.01))
    assert torch.equal(of(shot, 0.6), of(whole, 0.6)) and torch.equal(of(shot, 0.4), of(none, 0.4))
    assert not torch.equal(of(shot, 0.4), of(whole, 0.4))


def test_a_draft_that_cannot_be_followed_is_refused_with_what_to_do():
    model, plain = drafted_model(), random_world_model(3)
    for refused, message in (
        (lambda: given(plain), "does not read `draft`: load a bundled model"),
        (lambda: given(model, 1.5), "draft_strength is 1.5"),
        (lambda: given(model, draft_mask=torch.ones(5, 64, 64)), "draft_mask has 5 frames and draft 9"),
        (lambda: given(model, frames=1), "a single picture"),
        (lambda: encoded(model, "", draft_mask=torch.ones(5, 64, 64)), "wire the video to `draft` too"),
        (lambda: given(model, draft_mask=torch.full((9, 64, 64), 2.0)), "0 .the model decides. to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_nodes_render_the_draft_that_is_wired_to_the_shot():
    model, draft = drafted_model(), pictures(9, 1)
    wired = dict(prompt="", negative_prompt="", strength=1.0, draft=draft, draft_mask=torch.ones(1, 64, 64))
    (shot,) = VDiTEncodeConditioning.execute(model, **wired).result
    node = dict(seed=1, seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
    out = VDiTSample.execute(model, shot, **node, steps=2, guidance=1.0, solver="euler")
    assert "Follows the draft" in str(out.ui)
    assert torch.allclose(VDiTDecode.execute(model, out.result[0])[0], draft, atol=1e-5)
    images, *_ = VDiTDistillPreview.execute(model, shot, **node, steps=2, grid=False, pick=0).result
    assert torch.allclose(images, draft, atol=1e-5)


def test_a_preview_passes_on_its_takes_draft():
    student = random_world_model(3, student=True)
    shot = encoded(student, "a red ball", start=pictures(5))
    node = dict(seed=1, seconds=1.0, fps=8.0, width=64, height=64, shift=1.0)
    images, latent, *_ = VDiTDistillPreview.execute(student, shot, **node, steps=2, grid=False, pick=0).result
    assert torch.allclose(images[:5], pictures(5), atol=1e-5)
    assert torch.equal(VDiTDecode.execute(student, latent)[0], images)


def composed(count: int):
    """A still picture of a floor with a ball that rolls over it for `count` frames."""
    from vdit.drafting.compositing import Composition

    picture = torch.full((1, 64, 64, 3), 0.5)
    u = torch.linspace(12, 52, count)
    track = torch.stack((u, torch.full_like(u, 30), torch.full_like(u, 6), torch.full_like(u, 2)), -1)
    return Composition(picture, track[:, None], torch.full((16, 16), 0.25), torch.tensor([0.3, -0.8, -0.5]))


def test_a_long_draft_is_drawn_when_it_is_looked_at_and_shows_what_a_held_one_shows(monkeypatch):
    from vdit.drafting import compositing
    from vdit.drafting.draft import HELD

    lazy = compositing.composite(composed(HELD + 13))
    assert not isinstance(lazy.frames, torch.Tensor) and lazy.frames.shape == (HELD + 13, 64, 64, 3)
    monkeypatch.setattr(compositing, "HELD", 10**6)
    held = compositing.composite(composed(HELD + 13))
    assert isinstance(held.frames, torch.Tensor) and held.coverage.max() == 1
    for first, stop in ((0, None), (0, 1), (30, 34), (60, 70), (-1, None), (500, 600)):
        part = slice(first, stop)
        torch.testing.assert_close(lazy.frames[part], held.frames[part], rtol=0, atol=1e-6)
        torch.testing.assert_close(lazy.coverage[part], held.coverage[part], rtol=0, atol=1e-6)
    codec = random_world_model(3).codec
    apart, whole = (draft.condition(codec, "cpu") for draft in (lazy, held))
    torch.testing.assert_close(apart, whole, rtol=0, atol=1e-5)
    apart, whole = (draft.window(100, 400).frames for draft in (lazy, held))
    assert len(apart) == len(whole) == 400
    torch.testing.assert_close(apart[:], whole[:], rtol=0, atol=1e-6)
