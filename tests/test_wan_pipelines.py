"""Whole runs equal diffusers' pipelines step by step: same weights, same noise, same schedule, float32."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers")
from diffusers_twins import BASE, anyflow_twin, diffusers_twin, draw, relative
from fakes import random_transformer
from vdit.model.codec.wan import load_codec_file
from vdit.model.codec.wan_latents import STATISTICS
from vdit.model.experts import Experts
from vdit.model.layers import sinusoid
from vdit.model.variants import VARIANTS
from vdit.model.world_model import WorldModel
from vdit.sampling import noise_from_seed, schedule
from vdit.sampling.schedule import model_sigma

from runs import encoded, latent_of

pytestmark = pytest.mark.slow

SEED, STEPS, SHIFT, GUIDANCE = 5, 4, 5.0, 4.0
FRAMES, WIDTH, HEIGHT = 9, 64, 32
TEXT = draw(1, 30, BASE.text_dim, seed=10)
NO_TEXT = draw(1, 12, BASE.text_dim, seed=11)


@pytest.fixture(scope="module")
def vae():
    """diffusers' codec, and ours with its weights."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(3)
    return _both(AutoencoderKLWan(base_dim=8))


@pytest.fixture(scope="module")
def vae22():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(3)
    mean, std = STATISTICS["2.2"]
    return _both(AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2,
        latents_mean=list(mean), latents_std=list(std), scale_factor_spatial=16,
        temperal_downsample=[False, True, True],
    ))  # fmt: skip


def _both(theirs):
    state = theirs.eval().state_dict()
    file = SimpleNamespace(path="vae", shapes={n: tuple(t.shape) for n, t in state.items()}, tensor=state.__getitem__)
    return theirs, load_codec_file(file)


def world(name, codec, transformer, **defaults):
    variant = VARIANTS[name].of(transformer.config)
    defaults = {**variant.defaults, **defaults}
    return WorldModel(
        transformer.config, transformer, codec, None, defaults, {}, variant, family="wan", title=variant.title
    )


def words(tokens):
    return [[F.pad(tokens, (0, 0, 0, 512 - tokens.shape[1])), {"pooled_output": None}]]


def ours(model, solver="unipc", scheduler="wan", guidance=GUIDANCE, **given):
    """x0 after each step and the final latent, in the transformer's scale."""
    told = encoded(model, "", positive=words(TEXT), negative=words(NO_TEXT), **given)
    seen_x0 = []
    last = latent_of(
        model,
        told,
        seed=SEED,
        frames=FRAMES,
        width=WIDTH,
        height=HEIGHT,
        steps=STEPS,
        shift=SHIFT,
        guidance=guidance,
        solver=solver,
        scheduler=scheduler,
        on_step=lambda step: seen_x0.append(step.x0),
    )
    return [model.space.normalize(x) for x in (*seen_x0, last)]


def noise_for(model, references=0):
    """The seed's noise as diffusers lays it out: references' first."""
    space = model.space
    shape = (1, space.channels, (FRAMES - 1) // 4 + 1, HEIGHT // space.spatial, WIDTH // space.spatial)
    noise = noise_from_seed(SEED, shape, extra_frames=references)
    return torch.cat((noise[:, :, shape[2] :], noise[:, :, : shape[2]]), 2)


def scheduler_of(kind, rule):
    """diffusers' solver on our schedule, in double precision."""
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    base, options = {
        "unipc": (
            UniPCMultistepScheduler,
            dict(solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT),
        ),
        "euler": (FlowMatchEulerDiscreteScheduler, dict(shift=SHIFT)),
    }[kind]

    class OnOurSchedule(base):
        def set_timesteps(self, steps, device=None, **more):
            super().set_timesteps(steps, device=device, **more)
            self.sigmas = torch.tensor(schedule(steps, SHIFT, rule), dtype=torch.float64)
            self.timesteps = torch.tensor(
                [1000 * model_sigma(float(s), rule) for s in self.sigmas[:-1]], dtype=torch.float64
            )

        def step(self, v, t, x, **more):
            self.seen_x0 = [*getattr(self, "seen_x0", []), None]
            index = len(self.seen_x0) - 1
            self.seen_x0[index] = x - float(self.sigmas[index]) * v
            return super().step(v, t, x, **more)

    return OnOurSchedule(**options)


class ExactTime(torch.nn.Module):
    """Angles up to 1000 radians in float64, as Wan has them; diffusers' float32 puts 1e-5 into the guided velocity."""

    def forward(self, t):
        return sinusoid(t, BASE.freq_dim)


def theirs(pipeline, guidance=GUIDANCE, drop=0, **named):
    pipeline.set_progress_bar_config(disable=True)
    for transformer in filter(None, (pipeline.transformer, pipeline.transformer_2)):
        transformer.condition_embedder.timesteps_proj = ExactTime()
    last = pipeline(
        prompt_embeds=F.pad(TEXT, (0, 0, 0, 512 - TEXT.shape[1])),
        negative_prompt_embeds=F.pad(NO_TEXT, (0, 0, 0, 512 - NO_TEXT.shape[1])),
        num_frames=FRAMES,
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        output_type="latent",
        **named,
    ).frames
    return [x[:, :, drop:] for x in (*pipeline.scheduler.seen_x0, last)]


def agree(a, b):
    assert len(a) == len(b) == STEPS + 1
    errors = [relative(x, y) for x, y in zip(a, b, strict=True)]
    assert max(errors) <= 1e-5, errors


def chw(picture):
    return picture.permute(0, 3, 1, 2)


PICTURE = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(6))
OTHER = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(("solver", "rule"), [("unipc", "wan"), ("euler", "normal"), ("euler", "simple")])
def test_text_to_video(vae, solver, rule):
    """(diffusers' UniPC cannot start at a sigma of exactly 1, as "simple" does.)"""
    from diffusers import WanPipeline

    transformer = random_transformer(BASE)
    model = world("t2v-1.3b", vae[1], transformer)
    pipeline = WanPipeline(None, None, vae[0], scheduler_of(solver, rule), transformer=diffusers_twin(transformer))
    agree(ours(model, solver, rule), theirs(pipeline, latents=noise_for(model)))


def test_two_experts_each_with_its_guidance(vae):
    from diffusers import WanPipeline

    high, low = random_transformer(BASE), random_transformer(BASE)
    for p in low.parameters():
        p.data.mul_(0.9)
    boundary = 0.875  # of sigmas .9997 .937 .832 .624
    model = world("t2v-a14b", vae[1], Experts(high, low, boundary), guidance=4.0, guidance_low=3.0)
    pipeline = WanPipeline(
        None,
        None,
        vae[0],
        scheduler_of("unipc", "wan"),
        transformer=diffusers_twin(high),
        transformer_2=diffusers_twin(low),
        boundary_ratio=boundary,
    )
    agree(ours(model, guidance=None), theirs(pipeline, 4.0, guidance_scale_2=3.0, latents=noise_for(model)))


@pytest.mark.parametrize("last", [False, True], ids=["first frame", "first and last frame"])
def test_image_to_video(vae, last):
    from diffusers import WanImageToVideoPipeline

    transformer = random_transformer(replace(BASE, in_channels=36, image_dim=48, image_tokens=514 if last else 0))
    model = world("flf2v-14b" if last else "i2v-14b", vae[1], transformer)
    features = draw(1 + last, 257, 48, seed=12)
    clip = [SimpleNamespace(penultimate_hidden_states=f[None]) for f in features]
    given = dict(end=OTHER, clip_vision_end=clip[1]) if last else {}
    pipeline = WanImageToVideoPipeline(
        None, None, vae[0], scheduler_of("unipc", "wan"), transformer=diffusers_twin(transformer)
    )
    pipeline.check_inputs = lambda *_, **__: None  # it refuses features beside the picture that they are of
    agree(
        ours(model, start=PICTURE, clip_vision=clip[0], **given),
        theirs(
            pipeline,
            image=chw(PICTURE),
            image_embeds=features,
            latents=noise_for(model),
            **({"last_image": chw(OTHER)} if last else {}),
        ),
    )


def test_image_to_video_of_two_experts_without_image_branch(vae):
    from diffusers import WanImageToVideoPipeline

    high, low = (random_transformer(replace(BASE, in_channels=36)) for _ in range(2))
    for p in low.parameters():
        p.data.mul_(0.9)
    model = world("i2v-a14b", vae[1], Experts(high, low, 0.9))
    pipeline = WanImageToVideoPipeline(
        None,
        None,
        vae[0],
        scheduler_of("unipc", "wan"),
        transformer=diffusers_twin(high),
        transformer_2=diffusers_twin(low),
        boundary_ratio=0.9,
    )
    agree(ours(model, start=PICTURE), theirs(pipeline, image=chw(PICTURE), latents=noise_for(model)))


def test_first_frame_by_per_token_time(vae22):
    """TI2V-5B. Of the held frame the pipelines agree at the end only: diffusers lets the solver carry on with it."""
    from diffusers import WanImageToVideoPipeline

    transformer = random_transformer(replace(BASE, in_channels=48, out_channels=48))
    model = world("ti2v-5b", vae22[1], transformer)
    twin = diffusers_twin(transformer)
    pipeline = WanImageToVideoPipeline(
        None, None, vae22[0], scheduler_of("unipc", "wan"), transformer=twin, expand_timesteps=True
    )
    a = ours(model, start=PICTURE)
    b = theirs(pipeline, image=chw(PICTURE), latents=noise_for(model))
    agree([*(x[:, :, 1:] for x in a[:-1]), a[-1]], [*(x[:, :, 1:] for x in b[:-1]), b[-1]])


@pytest.mark.parametrize("references", [0, 1])
def test_vace_with_video_mask_and_reference(vae, references):
    from diffusers import WanVACEPipeline
    from PIL import Image

    transformer = random_transformer(replace(BASE, vace_channels=96, vace_layers=(0, 2)))
    model = world("vace-1.3b", vae[1], transformer)
    video = (255 * torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(8))).byte()
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    mask[2:, 8:24, 12:40] = 1.0
    picture = (255 * PICTURE).byte()
    twin = diffusers_twin(transformer)
    pipeline = WanVACEPipeline(None, None, vae[0], scheduler_of("unipc", "wan"), transformer=twin)
    given = {"reference": picture.float() / 255} if references else {}
    images = [Image.fromarray(frame.numpy()) for frame in video]
    masks = [Image.fromarray((255 * m).byte().numpy()) for m in mask]
    agree(
        ours(model, control_video=video.float() / 255, control_mask=mask, **given),
        theirs(
            pipeline,
            drop=references,
            video=images,
            mask=masks,
            latents=noise_for(model, references),
            reference_images=[Image.fromarray(picture[0].numpy())] if references else None,
        ),
    )


@pytest.mark.parametrize("steps", [1, 4])
def test_anyflow_student(vae, steps):
    from diffusers import AnyFlowPipeline, FlowMapEulerDiscreteScheduler

    transformer = random_transformer(replace(BASE, flow_map=True))
    model = world("anyflow-1.3b", vae[1], transformer)
    twin = anyflow_twin(transformer)
    twin.condition_embedder.timesteps_proj = ExactTime()
    scheduler = FlowMapEulerDiscreteScheduler(shift=SHIFT)
    pipeline = AnyFlowPipeline(None, None, vae=vae[0], transformer=twin, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    text = F.pad(TEXT, (0, 0, 0, 512 - TEXT.shape[1]))
    last = pipeline(
        prompt_embeds=text,
        num_frames=FRAMES,
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=steps,
        latents=noise_for(model),
        output_type="latent",
    ).frames
    told = encoded(model, "", positive=words(TEXT), negative=words(NO_TEXT))
    latent = latent_of(model, told, seed=SEED, frames=FRAMES, width=WIDTH, height=HEIGHT, steps=steps)
    assert relative(model.space.normalize(latent), last) <= 1e-5


def test_wan_s_own_rule_is_its_own_schedule():
    """FlowUniPCMultistepScheduler (Wan2.1, wan/utils/fm_solvers_unipc.py): 1000 steps from .999, whole thousandths."""
    sigmas = schedule(10, 5.0, "wan")
    assert math.isclose(sigmas[0], 5 * 0.999 / (1 + 4 * 0.999)) and sigmas[-1] == 0
    assert [1000 * model_sigma(s, "wan") for s in sigmas[:3]] == [999, 978, 952]
    assert round(sigmas[-2], 3) == 0.357 and round(schedule(10, 5.0, "normal")[-2], 3) == 0.024
    four = [round(s, 4) for s in schedule(4, 5.0, "simple")]
    assert four == [1, 0.9375, 0.8333, 0.625, 0], "the times that LightX2V's four-step students learned"
