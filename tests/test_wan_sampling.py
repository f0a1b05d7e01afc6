"""Inputs of each Wan model, controls that it refuses by name, and its released settings."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import wan_files as make
from vdit.control import ControlError, PictureError
from vdit.control.camera import CameraPath
from vdit.control.depth import DepthMaps
from vdit.control.flow import FlowField
from vdit.control.native import text_tokens
from vdit.model.codec.autoencoder import WanCodec
from vdit.model.errors import CheckpointError
from vdit.model.experts import Experts
from vdit.model.variants import VARIANTS
from vdit.model.world_model import WorldModel
from vdit.model.worlds import transformer_of
from vdit.pipeline import ClipSpec, Run, SamplerSettings, clip_of, family_of, resolve
from vdit.pipeline.wan_inputs import depth_pictures, flow_pictures, folded_mask
from vdit.sampling import SampleOptions, sample, schedule

from runs import encoded, latent_of

FRAMES, SIZE = 9, dict(width=64, height=64)
CODECS: dict = {}


def codec_of(kind):
    if kind not in CODECS:
        torch.manual_seed(0)
        CODECS[kind] = WanCodec(kind, 8, 8).requires_grad_(False).eval()
    return CODECS[kind]


def world(name, with_codec=True, **sizes):
    """The variant at tiny width, random weights, no text encoder."""
    variant = make.tiny(VARIANTS[name])
    variant = variant.of(replace(variant.config, text_dim=16, **sizes))
    transformers = []
    for seed in range(1 + variant.experts):
        model = transformer_of(variant.config)
        model.load_state_dict(make.random_state(variant.config, seed))
        transformers.append(model.requires_grad_(False).eval())
    transformer = Experts(*transformers, variant.defaults["boundary"]) if variant.experts else transformers[0]
    codec = codec_of(variant.codec[-3:]) if with_codec else None
    return WorldModel(
        variant.config, transformer, codec, None, dict(variant.defaults), {}, variant, family=variant.family,
        title=variant.title,
    )  # fmt: skip


def words(seed=0, length=6, width=16):
    tokens = torch.randn(1, length, width, generator=torch.Generator().manual_seed(seed))
    return [[torch.nn.functional.pad(tokens, (0, 0, 0, 512 - length)), {"pooled_output": None}]]


def picture(count=1, seed=3):
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def clip(width=256):
    return SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, width))


def encode(model, **given):
    return encoded(model, "", **{"positive": words(1), "negative": words(2), **given})


def controls(model, **given):
    return family_of(model).inputs(Run(model, encode(model, **given), ClipSpec(FRAMES, 64, 64)))


def camera():
    c2w = torch.eye(4).repeat(FRAMES, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 1, FRAMES)
    return CameraPath(c2w, 40.0)


def zoom():
    return CameraPath(torch.eye(4).repeat(FRAMES, 1, 1), torch.linspace(30, 60, FRAMES))


def depth(**span):
    return DepthMaps(torch.rand(FRAMES, 64, 64, generator=torch.Generator().manual_seed(4)), **span)


def flow(**span):
    return FlowField(torch.randn(FRAMES - 1, 64, 64, 2, generator=torch.Generator().manual_seed(5)), **span)


EVERYTHING = {
    "start_image": ("start", picture), "end_image": ("end", picture), "camera": ("camera", camera),
    "depth": ("depth", depth), "flow": ("flow", flow), "clip_vision_output": ("clip_vision", clip),
    "control_video": ("control_video", lambda: picture(FRAMES)), "reference_image": ("reference", picture),
}  # fmt: skip
READ = {
    "t2v-1.3b": set(), "anyflow-1.3b": set(), "t2v-a14b": set(), "ti2v-5b": {"start_image"},
    "i2v-14b": {"start_image", "end_image", "clip_vision_output"}, "i2v-a14b": {"start_image", "end_image"},
    "flf2v-14b": {"start_image", "end_image", "clip_vision_output"},
    "vace-1.3b": {"start_image", "end_image", "depth", "flow", "control_video", "reference_image"},
    "fun-control-1.3b": {"start_image", "depth", "control_video", "reference_image", "clip_vision_output"},
    "fun-control-a14b": {"start_image", "depth", "control_video", "reference_image"},
    "fun-camera-1.3b": {"start_image", "camera", "clip_vision_output"}, "fun-camera-a14b": {"start_image", "camera"},
    "lingbot-world-cam": {"start_image", "camera"}, "dreamx-world-5b-cam": {"start_image", "camera"},
    "skyreels-v2-df-1.3b": {"start_image"},
}  # fmt: skip
NEEDED = {
    "i2v-14b": dict(start=picture(), clip_vision=clip()),
    "i2v-a14b": dict(start=picture()),
    "lingbot-world-cam": dict(start=picture()),
    "dreamx-world-5b-cam": dict(start=picture(), camera=camera()),
    "flf2v-14b": dict(start=picture(), end=picture(), clip_vision=clip(), clip_vision_end=clip()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_unsupported_controls_are_refused_by_name_and_the_rest_runs(name):
    model = world(name)
    for given, (argument, build) in EVERYTHING.items():
        if given not in READ[name]:
            with pytest.raises(ControlError, match=f"{model.variant.title[:8]}.* does not read `{given}`: load "):
                encode(model, **NEEDED.get(name, {}), **{argument: build()})
    told = encode(model, **NEEDED.get(name, {}))
    latent = latent_of(model, told, seed=1, frames=FRAMES, **SIZE, steps=2)
    assert torch.isfinite(latent).all() and latent.shape[1] == model.codec.channels
    for given in READ[name] - {"end_image"}:
        argument, build = EVERYTHING[given]
        if argument in NEEDED.get(name, {}):
            continue
        told = encode(model, **NEEDED.get(name, {}), **{argument: build()})
        other = latent_of(model, told, seed=1, frames=FRAMES, **SIZE, steps=2)
        assert not torch.equal(other, latent), f"{given} has no influence"


@pytest.mark.parametrize(
    ("name", "without", "said"),
    [
        ("i2v-a14b", {}, "cannot do without `start_image`"),
        ("i2v-14b", dict(start=picture()), "cannot do without `clip_vision_output`.*clip_vision_h"),
        ("lingbot-world-cam", {}, "cannot do without `start_image`"),
        ("lingbot-world-cam", dict(start=picture(), strength=0.5), "strength is 0.5.*set it to 1"),
        ("lingbot-world-cam", dict(start=picture(), camera=zoom()), "zooms, from 30 to 60 degrees.*Fun-Camera"),
        ("dreamx-world-5b-cam", dict(camera=camera()), "cannot do without `start_image`"),
        ("dreamx-world-5b-cam", dict(start=picture()), "cannot do without `camera`.*from VDiT Camera Path"),
        ("dreamx-world-5b-cam", dict(start=picture(), camera=zoom()), "DreamX-World-5B-Cam.* knows one lens"),
        ("flf2v-14b", dict(start=picture(), clip_vision=clip()), "cannot do without `end_image`"),
        ("flf2v-14b", dict(start=picture(), end=picture(), clip_vision=clip()), "without `clip_vision_output_end`"),
        ("vace-1.3b", dict(control_mask=torch.ones(1, 64, 64)), "wire the video to `control_video`"),
        ("fun-control-1.3b", dict(control_video=picture(FRAMES), depth=depth()), "not both"),
        ("fun-control-1.3b", dict(depth=depth(strength=0.5)), "strength of depth is 0.5.*set it to 1"),
        ("i2v-a14b", dict(start=picture(), strength=0.5), "strength is 0.5.*set it to 1"),
        ("i2v-a14b", dict(start=picture(), strength=0.0), "cannot do without `start_image`"),
        ("i2v-14b", dict(start=picture(), clip_vision=clip(1024)), r"holds \[1, 257, 1024\]; .* reads \[1, 257, 256\]"),
    ],
)
def test_missing_or_unfitting_inputs_are_refused(name, without, said):
    with pytest.raises(ControlError, match=said):
        encode(world(name), **without)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("vace-1.3b", dict(control_video=picture(5)), "control_video has 5 frames and the video 9"),
        ("vace-1.3b", dict(control_video=picture(9), control_mask=torch.ones(3, 64, 64)), "control_mask has 3 frames"),
        ("i2v-a14b", dict(start=picture(3)), "start_image has 3 pictures"),
        ("ti2v-5b", dict(start=picture(9)), "start_image has 9 pictures"),
        ("fun-control-1.3b", dict(reference=picture(2)), "reference_image has 2 pictures; this model reads 1"),
        ("vace-1.3b", dict(depth=DepthMaps(torch.rand(13, 64, 64))), "the depth is for 13 frames"),
    ],
)
def test_inputs_that_do_not_fit_the_clip_are_refused_before_the_first_step(name, given, said):
    with pytest.raises((ControlError, PictureError), match=said):
        latent_of(world(name), encode(world(name), **given), seed=1, frames=FRAMES, **SIZE, steps=1)


def test_pictures_need_a_codec_and_words_do_not():
    model = world("t2v-1.3b", with_codec=False)
    latent = latent_of(model, encode(model), seed=1, frames=FRAMES, **SIZE, steps=1)
    assert torch.equal(latent, latent_of(world("t2v-1.3b"), encode(model), seed=1, frames=FRAMES, **SIZE, steps=1))
    model = world("i2v-a14b", with_codec=False)
    with pytest.raises(CheckpointError, match="a picture or control video needs a VAE"):
        latent_of(model, encode(model, start=picture()), seed=1, frames=FRAMES, **SIZE, steps=1)


def calls_of(transformer):
    """A list of (x, sigma) of every call that will be made."""
    calls, forward = [], transformer.forward

    def noted(x, sigma, *rest, **named):
        calls.append((x, sigma))
        return forward(x, sigma, *rest, **named)

    transformer.forward = noted
    return calls


def test_every_model_takes_flow_as_warped_noise():
    model = world("t2v-1.3b")
    plain = latent_of(model, encode(model), seed=1, frames=FRAMES, **SIZE, steps=1)
    moved = latent_of(model, encode(model, flow=flow(how="warped noise")), seed=1, frames=FRAMES, **SIZE, steps=1)
    assert not torch.equal(plain, moved)


# Layouts


def test_fun_control_reads_control_mask_and_start_in_this_order():
    model = world("fun-control-a14b")
    told = controls(model, control_video=picture(FRAMES), start=picture())
    beside = told.at(0.0, "cpu")["beside"]
    encoded = model.codec.normalize(model.codec.encode(picture(FRAMES)[None]))
    assert beside.shape == (1, 36, 3, 8, 8) and torch.equal(beside[:, :16], encoded)
    assert beside[:, 16:20, 0].eq(1).all() and beside[:, 16:20, 1:].eq(0).all(), "1 where a frame is known"
    gray = torch.full((FRAMES, 64, 64, 3), 0.5)
    gray[:1] = picture()
    assert torch.equal(beside[:, 20:], model.codec.normalize(model.codec.encode(gray[None])))
    empty = controls(model).at(0.0, "cpu")
    assert not empty["beside"].any() and not empty["reference"].any(), "nothing told is zeros, as it was trained"


def test_fun_control_v1_1_has_no_mask_and_the_start_picture_alone():
    model = world("fun-control-1.3b")
    beside = controls(model, start=picture()).at(0.0, "cpu")["beside"]
    first = model.codec.normalize(model.codec.encode(picture()[None]))
    assert beside.shape[1] == 32 and not beside[:, :16].any()
    assert torch.equal(beside[:, 16:, :1], first) and not beside[:, 16:, 1:].any()
    assert controls(model, reference=picture()).at(0.0, "cpu")["reference"].shape == (1, 16, 8, 8)


def test_fun_camera_reads_24_channels_of_rays_at_pixel_size():
    for name, rays in (("fun-camera-1.3b", 8), ("fun-camera-5b", 16)):
        model = world(name)
        named = controls(model, camera=camera(), **(dict(start=picture()) if "5b" in name else {})).at(0.0, "cpu")
        assert model.config.camera_rays == rays and named["camera"].shape == (1, 24, 3, 64, 64)
        direction = named["camera"][0].view(6, 4, 3, 64, 64)[3:]
        assert torch.allclose(direction.norm(dim=0), torch.ones(4, 3, 64, 64), atol=1e-5), "channel*4 + subframe"


def test_vace_lays_references_in_front_and_marks_what_is_made_anew():
    model = world("vace-1.3b")
    mask = torch.zeros(FRAMES, 64, 64)
    mask[4:, :32] = 1
    pictures = dict(reference=picture(2, seed=8), start=picture())
    told = controls(model, control_video=picture(FRAMES), control_mask=mask, **pictures)
    (context,) = told.at(0.0, "cpu")["vace"]
    assert told.before == 2 and context.shape == (1, 96, 5, 8, 8)
    assert not context[:, 16:, :2].any(), "references have no reactive part and a mask of zeros"
    first = model.codec.normalize(model.codec.encode(picture(2, seed=8)[None, :1]))
    assert torch.equal(context[:, :16, :1], first), "in the order that they were given"
    assert not context[:, 32:, 2].any() and context[0, 32:, 4, :4].eq(1).all() and not context[0, 32:, 4, 4:].any()


def test_depth_and_flow_act_side_by_side_each_in_its_own_steps():
    model = world("vace-1.3b")
    told = controls(model, depth=depth(strength=0.5), flow=flow(end=0.5))
    early, late = told.at(0.0, "cpu"), told.at(0.6, "cpu")
    assert len(early["vace"]) == 2 and early["vace_scale"] == (0.5, 1.0)
    assert len(late["vace"]) == 1 and late["vace_scale"] == (0.5,)
    assert controls(model).at(0.0, "cpu")["vace_scale"] == (1.0,), "without controls all frames are free"


def test_depth_leads_what_is_made_anew_and_the_video_stays_elsewhere():
    """As VACE was trained: one video, of the control where the mask is 1 and of what is kept where it is 0."""
    model, video, maps = world("vace-1.3b"), picture(FRAMES), depth()
    mask = torch.zeros(FRAMES, 64, 64)
    mask[4:, :32] = 1
    composed = torch.where(mask[..., None] > 0.5, depth_pictures(maps), video)
    guided, kept = controls(model, control_video=video, control_mask=mask, depth=maps).at(0.0, "cpu")["vace"]
    (expected,) = controls(model, control_video=composed, control_mask=mask).at(0.0, "cpu")["vace"]
    (alone,) = controls(model, control_video=video, control_mask=mask).at(0.0, "cpu")["vace"]
    assert torch.equal(guided, expected) and torch.equal(kept, alone)


@pytest.mark.parametrize("name", ["depth", "flow"])
def test_a_mask_without_a_video_says_where_a_control_leads(name):
    model, given = world("vace-1.3b"), {"depth": depth(), "flow": flow()}[name]
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48] = 1
    pictures = depth_pictures(given) if name == "depth" else flow_pictures(given)
    (context,) = controls(model, control_mask=mask, **{name: given}).at(0.0, "cpu")["vace"]
    (expected,) = controls(model, control_video=torch.where(mask[..., None] > 0.5, pictures, 0.5)).at(0.0, "cpu")[
        "vace"
    ]
    assert torch.equal(context, expected), "nothing is kept where there is nothing to keep"


def test_two_contexts_add_up():
    model, x = world("vace-1.3b").transformer, torch.randn(1, 16, 2, 4, 4)
    context, text = torch.randn(1, 96, 2, 4, 4), torch.randn(1, 3, 16)
    with torch.no_grad():
        one = model(x, torch.tensor([0.5]), text, vace=context, vace_scale=1.0)
        two = model(x, torch.tensor([0.5]), text, vace=(context, context), vace_scale=(0.3, 0.7))
    assert torch.allclose(one, two, atol=1e-5)


def test_flow_is_drawn_as_raft_draws_it_each_frame_to_its_own_fastest():
    field = torch.zeros(2, 8, 8, 2)
    field[0, ..., 0], field[1, ..., 0] = 1.0, 4.0
    shown = flow_pictures(FlowField(field))
    assert shown.shape == (3, 8, 8, 3)
    assert torch.equal(shown[0], shown[1]) and torch.allclose(shown[1], shown[2], atol=1e-5)


def test_a_mask_is_folded_by_pixels_of_a_cell_and_nearest_frames():
    mask = torch.zeros(9, 16, 16)
    mask[4, 3, 10] = 1
    folded = folded_mask(mask, (3, 2, 2))
    assert folded.shape == (1, 64, 3, 2, 2) and folded.sum() == 1
    assert folded[0, 3 * 8 + 2, 1, 0, 1] == 1, "row 3 and column 10 - 8 of cell (0, 1); frame 4 of 9 is in cell 1 of 3"


def test_ti2v_holds_its_first_frame_at_no_noise():
    model = world("ti2v-5b")
    seen = calls_of(model.transformer)
    latent = latent_of(model, encode(model, start=picture()), seed=1, frames=FRAMES, **SIZE, steps=2)
    first = model.codec.normalize(model.codec.encode(picture()[None]))
    for x, sigma in seen:
        assert not sigma[:, 0].any() and (sigma[:, 1:] > 0).all() and torch.equal(x[:1, :, :1], first)
    assert torch.allclose(latent[:, :, :1], model.codec.denormalize(first), atol=1e-5)
    seen.clear()
    latent_of(model, encode(model), seed=1, frames=FRAMES, **SIZE, steps=1)
    assert seen[0][1].ndim == 1, "without a picture all frames have one noise level"


# CONDITIONING


def test_conditioning_loses_its_padding_and_says_what_it_does_not_use():
    remarks: list[str] = []
    given = words(1)
    given[0][1]["concat_latent_image"] = torch.ones(1)
    tokens = text_tokens(given, "prompt", 16, 512, remarks)
    assert tokens.shape == (1, 6, 16) and "concat_latent_image" in remarks[0]
    long = [[torch.ones(1, 600, 16), {}]]
    assert text_tokens(long, "prompt", 16, 512, remarks).shape[1] == 512 and "88 tokens longer" in remarks[1]
    assert text_tokens([[torch.zeros(1, 512, 16), {}]], "prompt", 16, 512, []).shape == (1, 1, 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (words(1) + words(2), "holds 2 prompts; expected one"),
        ([[torch.ones(1, 77, 768), {}]], r"holds \[1, 77, 768\].*CLIPLoader's type to wan"),
        ([[torch.full((1, 5, 16), float("nan")), {}]], "NaN"),
        ("text", "the CONDITIONING holds"),
    ],
)
def test_conditioning_of_another_kind_is_refused(given, said):
    with pytest.raises(ControlError, match=said):
        encode(world("t2v-1.3b"), positive=given)


def test_guidance_without_a_negative_prompt_is_refused_and_1_needs_none():
    model = world("t2v-1.3b")
    told = encode(model, negative=None)
    with pytest.raises(ValueError, match="guidance is 5, which needs a negative prompt"):
        latent_of(model, told, seed=1, frames=FRAMES, **SIZE, steps=1)
    assert latent_of(model, told, seed=1, frames=FRAMES, **SIZE, steps=1, guidance=1.0).isfinite().all()
    with pytest.raises(CheckpointError, match="text encoder.*CLIPLoader and CLIPTextEncode"):
        encode(model, positive=None)


# Settings


def test_released_settings_fill_in_and_what_is_given_stays():
    model = world("t2v-a14b")
    use = resolve(model, SamplerSettings())
    assert (use.steps, use.shift, use.solver, use.scheduler) == (40, 12.0, "unipc", "wan")
    assert (use.guidance, use.guidance_low) == (4.0, 3.0)
    assert resolve(model, SamplerSettings(guidance=2.0)).guidance_low == 2.0
    assert resolve(model, SamplerSettings(guidance_low=2.5)).guidance == 4.0
    assert resolve(world("anyflow-1.3b"), SamplerSettings()).scheduler == "simple"
    assert clip_of(model) == ClipSpec(81, 1280, 720, 16.0)
    assert clip_of(world("ti2v-5b")) == ClipSpec(121, 1280, 704, 24.0)
    assert clip_of(model, 2.5, 0, 832, 480) == ClipSpec(41, 832, 480, 16.0)


def test_renoising_draws_new_noise_and_keeps_what_is_known():
    noise = torch.randn(1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    drawn = iter(torch.randn(4, 1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(1)))
    sigmas, states = schedule(4, 5.0), []

    def velocity(x, sigma):
        states.append(x)
        return x - 0.25  # x0 = x - s * v

    sample(velocity, noise, sigmas, "lcm", options=SampleOptions(fresh_noise=lambda: next(drawn)))
    fresh = torch.randn(4, 1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    for i, (x, nxt) in enumerate(pairwise(states)):
        x0, t = x - sigmas[i] * (x - 0.25), sigmas[i + 1]
        assert torch.allclose(nxt, (1 - t) * x0 + t * fresh[i], atol=1e-6)
    with pytest.raises(ValueError, match="adds noise between steps"):
        sample(velocity, noise, sigmas, "lcm")
    model = world("ti2v-5b")
    latent = latent_of(model, encode(model, start=picture()), seed=1, frames=FRAMES, **SIZE, steps=3, solver="lcm")
    first = model.codec.encode(picture()[None])
    assert torch.allclose(latent[:, :, :1], first, atol=1e-4)
    again = latent_of(model, encode(model, start=picture()), seed=1, frames=FRAMES, **SIZE, steps=3, solver="lcm")
    assert torch.equal(latent, again), "the same seed gives the same video"


def test_large_videos_ask_for_both_prompts_one_after_another(monkeypatch):
    from vdit.sampling import guidance

    model = world("t2v-1.3b")
    calls = calls_of(model.transformer)
    together = latent_of(model, encode(model), seed=1, frames=FRAMES, **SIZE, steps=1)
    monkeypatch.setattr(guidance, "MAX_CELLS_IN_ONE_BATCH", 10)
    apart = latent_of(model, encode(model), seed=1, frames=FRAMES, **SIZE, steps=1)
    assert [len(x) for x, _ in calls] == [2, 1, 1] and torch.allclose(together, apart, atol=1e-4)
