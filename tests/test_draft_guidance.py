"""Draft guidance of models that read no draft: how far, where, and with which others it is followed."""

import pytest
import torch
from test_wan_sampling import FRAMES, SIZE, encode, flow, picture, world
from vdit.control import ControlError
from vdit.pipeline.external_sampler import ExternalShot
from vdit.sampling import DraftGuidance, SampleOptions, noise_from_seed, sample, schedule
from vdit.sampling.sample import noise_after_seed

from runs import latent_of, long_video, run, run_of

SHAPE = (1, 4, 3, 8, 8)
SOLVERS = ("euler", "heun", "unipc", "lcm")


def away(x, sigma):
    """A model whose clean sample is -1 everywhere: velocity = (x - x0) / sigma."""
    return (x + 1.0) / sigma[:, None, :, None, None]


def sampled(solver, first, hold=None, draft=None, steps=6):
    noise, draft = noise_from_seed(1, SHAPE), noise_from_seed(2, SHAPE) if draft is None else draft
    options = SampleOptions(
        fresh_noise=noise_after_seed(3, SHAPE), draft=None if first is None else DraftGuidance(draft, first, hold)
    )
    sigmas = schedule(steps, 5.0, first=1.0 if first is None else first)
    return sample(away, noise, sigmas, solver, options=options), draft


@pytest.mark.parametrize("solver", SOLVERS)
def test_at_0_the_draft_comes_back_and_at_1_it_has_no_influence(solver):
    video, draft = sampled(solver, 0.0)
    assert torch.equal(video, draft)
    assert torch.equal(sampled(solver, 1.0, torch.ones(1, 1, 3, 8, 8))[0], sampled(solver, None)[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_held_cells_are_the_drafts_and_free_ones_the_models(solver):
    hold = torch.zeros(1, 1, 3, 8, 8)
    hold[..., :4] = 1.0
    video, draft = sampled(solver, 0.7, hold)
    torch.testing.assert_close(video[..., :4], draft[..., :4], atol=1e-5, rtol=0)
    torch.testing.assert_close(video[..., 4:], torch.full_like(video[..., 4:], -1.0), atol=1e-5, rtol=0)


def test_a_cell_is_released_after_its_share_of_the_steps():
    seen = []

    def still(x, sigma):
        seen.append(x.clone())
        return torch.zeros_like(x)  # a free cell stays as it is

    hold = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 1, 1, 1, 4).contiguous()
    noise, draft = torch.ones(1, 1, 1, 1, 4), torch.zeros(1, 1, 1, 1, 4)
    sigmas = schedule(8, 3.0, first=0.8)
    x = sample(still, noise, sigmas, "euler", options=SampleOptions(draft=DraftGuidance(draft, 0.8, hold)))
    moved = torch.stack(seen).diff(dim=0).flatten(1).ne(0).sum(0)  # of the seven steps between evaluations
    assert moved.tolist() == [0, 2, 4, 7] and x.flatten()[3] == 0
    assert torch.allclose(seen[0], torch.tensor(sigmas[0])), "noised to the first level"


def test_the_schedule_of_a_share_ends_the_whole_one():
    whole, half = schedule(20, 5.0), schedule(10, 5.0, first=0.5)
    assert half == pytest.approx(whole[10:])
    assert schedule(4, 5.0, "wan", 1.0) == schedule(4, 5.0, "wan")


@pytest.mark.parametrize("first", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(first):
    with pytest.raises(ValueError, match="expected 0 .the draft itself. to 1"):
        DraftGuidance(torch.zeros(SHAPE), first)


# With Wan models


def drafted(name, strength, mask=None, **more):
    model = world(name)
    given = dict(draft=picture(FRAMES), draft_strength=strength, draft_mask=mask)
    return model, encode(model, **given, **more)


@pytest.mark.parametrize("name", ["t2v-1.3b", "i2v-a14b", "ti2v-5b", "vace-1.3b", "fun-control-1.3b", "t2v-a14b"])
def test_every_wan_model_follows_a_draft_the_more_the_stronger(name):
    apart = []
    for strength in (0.0, 0.4, 0.9):
        model, shot = drafted(name, strength, start=None if name.startswith("t2v") else picture(FRAMES)[:1])
        video = latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=3)
        draft = model.codec.encode(picture(FRAMES)[None])
        apart.append((video - draft).square().mean().item())
    assert apart[0] > apart[1] > apart[2] > 0


def test_what_the_mask_holds_is_the_draft_and_bodies_are_free():
    mask = torch.ones(FRAMES, 64, 64)
    mask[:, :, 40:] = 0
    mask[3, :, 25] = 0  # one free pixel in one frame frees its cell in that latent frame
    model, shot = drafted("t2v-1.3b", 0.3, mask)
    video = latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=3)
    same = (video - model.codec.encode(picture(FRAMES)[None])).abs().amax((0, 1, 3)) < 1e-4  # [T', columns]
    assert same[:, :3].all() and same[:, 4].all() and not same[:, 5:].any()
    assert same[:, 3].tolist() == [True, False, True]


def test_a_draft_gives_the_start_picture_that_a_model_needs():
    model, shot = drafted("i2v-a14b", 0.5)
    assert torch.equal(shot.start, picture(FRAMES)[:1])


def test_references_stand_before_the_draft():
    mask = torch.ones(1, 64, 64)
    model, shot = drafted("vace-1.3b", 0.5, mask, reference=picture(2))
    video = latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=2)
    torch.testing.assert_close(video, model.codec.encode(picture(FRAMES)[None]), atol=1e-4, rtol=0)


def test_warped_noise_and_a_draft_act_together():
    model, shot = drafted("t2v-1.3b", 0.5)
    plain = latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=1)
    model, shot = drafted("t2v-1.3b", 0.5, flow=flow(how="warped noise"))
    assert not torch.equal(plain, latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=1))


def test_a_draft_that_leaves_nothing_to_do_is_refused_before_sampling():
    with pytest.raises(ControlError, match="would give the draft back as it is. Set it to 0.2"):
        drafted("t2v-1.3b", 1.0)


def test_the_decoded_video_is_used_and_not_the_draft():
    model, shot = drafted("t2v-1.3b", 0.5)
    made = run(model, shot, seed=1, frames=FRAMES, **SIZE, steps=1)
    assert made.draft is not None and made.expected is None


def test_windows_of_a_long_video_follow_their_part_of_the_draft():
    model = world("t2v-1.3b")
    shot = encode(model, draft=picture(17), draft_strength=0.6, draft_mask=torch.ones(1, 64, 64))
    video = long_video(model, shot, window=9, frames=17, **SIZE, seed=1, steps=1)
    ideal = model.codec.decode(model.codec.encode(picture(17)[None, :9]))[0]
    torch.testing.assert_close(video[:9], ideal.clamp(0, 1), atol=1e-3, rtol=0)


def test_a_sampler_that_is_not_ours_refuses_a_draft():
    model, shot = drafted("t2v-1.3b", 0.5)
    with pytest.raises(ValueError, match="which this sampler decides: use VDiT Sample"):
        ExternalShot(run_of(model, shot, FRAMES, **SIZE))
