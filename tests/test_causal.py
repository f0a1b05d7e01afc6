"""Videos that are made block by block: what they equal, when they are seen, and who is refused."""

import itertools
import re
from dataclasses import replace

import pytest
import torch
import wan_files as make
from fakes import random_world_model, small_config
from test_wan_sampling import clip, encode, picture, world
from vdit.control import ControlError
from vdit.kernels.plan import CausalBlocks
from vdit.machine.pace import PreviewBudget
from vdit.model.causal import Told, refuse_whole, told_by, with_causal
from vdit.model.codec.autoencoder import WanCodec
from vdit.model.errors import CheckpointError
from vdit.model.files.inspect import inspect, text
from vdit.model.kv_cache import CausalWindow
from vdit.model.variants import VARIANTS
from vdit.pipeline import LatentPreview, decode_frames, sampling_bytes
from vdit.pipeline.previews import FormingBlocks
from vdit.pipeline.takes import FormingTakes
from vdit.pipeline.values import ClipSpec
from vdit.sampling import noise_from_seed, schedule
from vdit.sampling.rollout import blocks_of, rollout

from runs import encoded, latent_of, run, take

SIZE = dict(width=64, height=64)
WINDOW = CausalWindow(9, 1)


def causal(name="t2v-1.3b", block=3, window=WINDOW, **more):
    """A tiny Wan model that is sampled block by block, with random weights."""
    return replace(with_causal(world(name, **more), Told(block, "name"), "auto", window.frames, window.sink))


def student():
    """A bundled student at random weights, block by block."""
    branches = dict(places=True, draft=True, carry=True, flow_map=True)
    return with_causal(random_world_model(config=small_config(**branches)), Told(), "blocks of 1", 21, 1)


def shot(model, **given):
    return encode(model, negative=None, **given)


def whole_passes(model, context, latent_frames, seed, steps, known=None):
    """The rollout's rule with the whole video in every pass, under the causal mask, and no cache."""
    training, space = model.causal, model.space
    transformer, pattern = model.transformer, training.window
    held = 0 if known is None else known.shape[2]
    transformer.pattern = (CausalBlocks(training.block, pattern.frames, pattern.sink, held),)
    shape = (1, space.channels, latent_frames, 8, 8)
    noise = noise_from_seed(seed, shape)
    generator = torch.Generator().manual_seed(seed)
    torch.randn(shape, generator=generator)
    sigmas = schedule(steps, 5.0, "simple")
    video = torch.zeros(shape)
    try:
        with torch.no_grad():
            for block in blocks_of(latent_frames, training.block, held):
                at = slice(block.start, block.stop)
                if block.stop <= held:
                    video[:, :, at] = known[:, :, at]
                    continue
                x = noise[:, :, at]
                for s, t in zip(sigmas, sigmas[1:], strict=False):
                    levels = torch.zeros(1, latent_frames)
                    levels[:, at] = s
                    video[:, :, at] = x
                    x = x - s * transformer(video, levels, context)[:, :, at]
                    if t:
                        fresh = torch.randn((*shape[:2], len(block), 8, 8), generator=generator)
                        x = (1 - t) * x + t * fresh
                video[:, :, at] = x
    finally:
        transformer.pattern = None
    return space.denormalize(video)


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_rollout_of_ten_blocks_equals_masked_passes_over_the_whole_video(block, steps):
    model = causal(block=block, window=CausalWindow(3 * block, 1))
    given, count = shot(model), 10 * block
    rolled = latent_of(model, given, frames=4 * count - 3, seed=7, steps=steps, **SIZE)
    expected = whole_passes(model, given.positive, count, 7, steps)
    assert float((rolled - expected).norm() / expected.norm()) < 1e-5


def test_a_causal_text_model_goes_on_from_a_picture():
    model = causal(block=1, window=CausalWindow(5, 1))
    given = shot(model, start=picture())
    first = model.codec.normalize(model.codec.encode(picture()[None]))
    rolled = latent_of(model, given, frames=37, seed=3, **SIZE)
    assert torch.allclose(rolled[:, :, :1], model.codec.denormalize(first), atol=1e-5)
    expected = whole_passes(model, given.positive, 10, 3, 4, known=first)
    assert float((rolled - expected).norm() / expected.norm()) < 1e-5


def test_a_student_of_fun_inp_reads_its_pictures_block_by_block():
    model = causal("fun-inp-1.3b", window=CausalWindow(21, 1))
    assert model.causal.window.moving_sink  # RealWonder's
    given = shot(model, start=picture(), clip_vision=clip(256))
    another = shot(model, start=picture(seed=9), clip_vision=clip(256))
    one, other = (latent_of(model, this, frames=33, seed=1, **SIZE) for this in (given, another))
    assert one.shape == (1, 16, 9, 8, 8) and not torch.allclose(one, other)


def test_a_video_within_the_window_is_the_same_with_or_without_a_sink():
    given = shot(causal())
    one, two = (
        latent_of(causal(window=w), given, frames=33, seed=1, **SIZE) for w in (CausalWindow(21), CausalWindow(21, 3))
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize("model", [causal, student])
def test_a_block_is_seen_before_the_next_one_is_begun(model):
    model, told = model(), []
    given = shot(model) if model.family == "wan" else encoded(model, "a red ball", start=picture(seed=2))
    hooks = dict(on_block=lambda block: told.append(block.frames), check=lambda: told.append("call"))
    run(model, given, frames=33, seed=1, **SIZE, **hooks)
    blocks = [i for i, what in enumerate(told) if isinstance(what, range)]
    assert [told[i] for i in blocks] == blocks_of(9, model.causal.block, 0 if model.family == "wan" else 1)
    steps = 4
    calls = [b - a - 1 for a, b in zip([-1, *blocks], blocks, strict=False)]
    assert calls == ([4, 5, 5] if model.family == "wan" else [0, *[steps + 1] * 8])  # its steps, and the clean pass
    assert blocks[-1] == len(told) - 1  # the last block is seen by none


def test_sample_shows_each_block_when_it_is_made():
    model, shown = causal(), []
    forming = FormingBlocks(LatentPreview(model.codec), lambda done, frames: shown.append((done, frames)), 4)
    run(model, shot(model), frames=33, seed=1, **SIZE, on_step=forming.on_step, on_block=forming.on_block)
    counts = [(done, len(frames)) for done, frames in shown if frames]
    assert counts == [(12, 9), (24, 21), (36, 33)]
    assert [done for done, frames in shown if frames is None] == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36]


def test_distill_preview_shows_decoded_blocks_although_previews_would_be_too_dear():
    model, shown = student(), []
    none_left = PreviewBudget(0.0)
    none_left.spent = 1.0
    preview = LatentPreview(model.codec)
    forming = FormingTakes(preview, lambda *seen: shown.append(seen), 1, 4 * 5, 5, none_left, causal=True)
    hooks = forming.hooks(lambda: None)
    made = take(model, encoded(model, "a red ball", start=picture(seed=2)), frames=17, seed=1, **SIZE, **vars(hooks))
    counts = [len(frames) for _, frames in shown if frames]
    assert counts == [1, 5, 9, 13, 17]
    assert shown[-1][0] == 4 * 5 + 5 and made.frames.shape == (17, 64, 64, 3)


@pytest.mark.parametrize("model", [causal, student])
def test_frames_decoded_block_by_block_are_those_of_the_whole_latent(model):
    model = model()
    given = shot(model) if model.family == "wan" else encoded(model, "a red ball", start=picture(seed=2))
    made = take(model, given, frames=33, seed=1, **SIZE)
    whole = decode_frames(model.codec, made.result.latent, made.result.expected)
    assert torch.allclose(made.frames, whole, atol=1e-4)


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
def test_a_codec_decodes_blocks_as_the_whole_video_in_tiles_too(kind):
    torch.manual_seed(0)
    codec = WanCodec(kind, 8, 8).requires_grad_(False).eval()
    latent = torch.randn(1, codec.channels, 7, 16, 16)
    for tile in (0, 64 if kind == "2.1" else 128):
        codec.tile = tile
        decode = codec.begin_decoding()
        parts = torch.cat([decode(latent[:, :, a:b]) for a, b in ((0, 1), (1, 4), (4, 7))], 1)
        assert torch.allclose(parts, codec.decode(latent), atol=1e-5)


def test_cancel_is_asked_before_every_pass():
    model, calls = causal(), []

    def check():
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt

    passes = []
    handle = model.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(KeyboardInterrupt):
        run(model, shot(model), frames=33, seed=1, **SIZE, check=check)
    handle.remove()
    assert len(passes) == 5


REFUSED = {
    "guidance": (dict(guidance=3.0), {}, "guidance is 3, but .* set guidance to 1"),
    "an end picture": ({}, dict(end=picture(), start=picture()), "does not read `end_image`"),
    "a picture held in part": ({}, dict(start=picture(), strength=0.5), "holds its pictures wholly"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_causal_model_cannot_do_is_refused_before_it_begins(name):
    settings, given, said = REFUSED[name]
    model = causal()
    with pytest.raises((ValueError, ControlError), match=said):
        run(model, encode(model, **given), frames=33, seed=1, **SIZE, **settings)


def test_a_bundled_student_refuses_an_end_picture_when_causal():
    model = student()
    with pytest.raises(ValueError, match="end_image lies in the future of every block"):
        run(model, encoded(model, "a red ball", start=picture(), end=picture()), frames=33, seed=1, **SIZE)


def test_a_rollout_may_go_on_for_ever():
    """As live play has it: what a block is conditioned on is known only when it is begun."""
    asked = []

    def denoise(x, sigma, *, block):
        asked.append((block, float(sigma.max())))
        return torch.zeros_like(x)

    endless = (range(i, i + 1) for i in itertools.count())
    rolled = rollout(
        denoise, endless, lambda block: torch.full((1, 1, 1, 2, 2), float(block.start)), [1.0, 0.0], "euler"
    )
    first, _ = next(rolled)
    assert first == range(0, 1) and asked == [(first, 1.0)]
    second, y = next(rolled)
    assert asked[1:] == [(first, 0.0), (second, 1.0)] and float(y.mean()) == 1.0


TOLD = {
    "causal_forcing_framewise_bf16": (1, None),
    "causal-forcing-chunkwise": (3, None),
    "Causal_Forcing_pp_framewise-2step": (1, 2),
    "framewise_1step_causalforcing": (1, 1),
    "self_forcing_dmd_fp16": (3, None),
    "Wan2_1-T2V-1_3B-Self-Forcing-DMD": (3, None),
    "krea-realtime-video-14b": (3, None),
    "realwonder_student": (3, None),
    "wan2.1_t2v_1.3B_fp16": (None, None),
    "Wan2_1-T2V-14B_SelfForcing_lightx2v": (None, None),  # few steps, but all frames at once
    "Wan2.1-T2V-1.3B-Self-Forcing-VACE": (None, None),
    "wan2.1_t2v_14B_causal_looking": (None, None),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_name_says_whether_a_file_is_a_causal_student(name):
    found = told_by(name)
    assert (found.block, found.steps) == TOLD[name]


def test_a_header_says_it_as_comfyui_reads_it():
    assert told_by("x", {"config": '{"transformer": {"causal_ar": true}}'}) == Told(3, "header")
    assert told_by("x", {"config": '{"transformer": {"causal_ar": true, "num_frame_per_block": 1}}'}).block == 1
    for broken in ("{", "[]", '{"transformer": 3}', '{"transformer": {"causal_ar": false}}'):
        assert told_by("x", {"config": broken}) == Told()


def test_inspect_says_what_a_file_is_taken_for(tmp_path):
    state = make.random_state(make.tiny(VARIANTS["t2v-1.3b"]).config)
    named, headed, plain = (
        text(inspect(make.single(tmp_path / f"{name}.safetensors", state, **metadata)))
        for name, metadata in (
            ("causal_forcing-framewise", {}),
            ("a", {"config": '{"transformer": {"causal_ar": true}}'}),
            ("b", {}),
        )
    )
    assert "by its name: VDiT Load Model makes its videos block by block" in named
    assert "by its header:" in headed and "block by block" not in plain


def test_defaults_of_a_causal_student_are_those_that_it_was_distilled_for():
    model = with_causal(world("t2v-1.3b"), Told(1, "name", 2), "auto", 21, 1)
    assert {key: model.defaults[key] for key in ("steps", "guidance", "shift", "solver", "scheduler")} == {
        "steps": 2, "guidance": 1.0, "shift": 5.0, "solver": "lcm", "scheduler": "simple",
    }  # fmt: skip
    assert [round(s, 4) for s in schedule(4, 5.0, "simple")] == [1.0, 0.9375, 0.8333, 0.625, 0.0]


def test_the_user_has_the_last_word_but_against_a_header():
    plain = world("t2v-1.3b")
    assert with_causal(plain, Told(), "auto", 21, 1) is plain
    assert with_causal(plain, Told(3, "name"), "off", 21, 1) is plain
    assert not with_causal(plain, Told(), "blocks of 1", 21, 1).causal.told
    with pytest.raises(CheckpointError, match="its header says that it was trained to make videos block by block"):
        with_causal(plain, Told(3, "header"), "off", 21, 1)


@pytest.mark.parametrize("name", ["t2v-a14b", "vace-1.3b", "fun-control-1.3b", "fun-camera-1.3b", "flf2v-14b"])
def test_models_of_which_no_causal_student_can_be_are_refused_by_name(name):
    with pytest.raises(
        CheckpointError, match=f"{re.escape(VARIANTS[name].title)} .*cannot make a video block by block"
    ):
        with_causal(world(name, with_codec=False), Told(), "blocks of 3", 21, 1)


def test_a_causal_student_is_no_model_for_a_sampler_of_whole_videos():
    refuse_whole(world("t2v-1.3b", with_codec=False))
    with pytest.raises(ValueError, match="KSampler makes all frames at once: use VDiT Sample"):
        refuse_whole(causal(with_codec=False))


def test_a_window_too_small_for_its_blocks_is_refused():
    with pytest.raises(CheckpointError, match="widen the window"):
        with_causal(world("t2v-1.3b", with_codec=False), Told(), "blocks of 3", 3, 1)


def test_the_memory_asked_for_does_not_grow_beyond_the_window():
    model = causal()
    asked = [sampling_bytes(model, ClipSpec(4 * n - 3, 64, 64), False, 2) for n in (3, 9, 30, 240)]
    assert asked[0] < asked[1] == asked[2] == asked[3]
