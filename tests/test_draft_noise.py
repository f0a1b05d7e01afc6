"""Draft Noise: what samplers of other models get of a draft, for latents of any codec."""

import pytest
import torch
from vdit.control import ControlError
from vdit.control.flow import FlowField
from vdit.nodes.draft_noise import VDiTDraftNoise
from vdit.pipeline.draft_noise import draft_noise, free_cells


def field(frames, right=8.0, size=64):
    flow = torch.zeros(frames - 1, size, size, 2)
    flow[..., 0] = right
    return FlowField(flow)


def noised(samples, **given):
    defaults = dict(seed=5, draft_strength=0.3, steps=20, noise_share=1.0)
    return VDiTDraftNoise.execute({"samples": samples}, **defaults | given).result


@pytest.mark.parametrize(
    ("shape", "frames"),
    [
        ((1, 16, 3, 8, 8), 9),  # Wan 2.1, Hunyuan: 4 frames and 8 pixels
        ((1, 48, 3, 4, 4), 9),  # Wan 2.2: 4 and 16
        ((1, 128, 2, 2, 2), 9),  # LTX: 8 and 32
        ((9, 4, 8, 8), 9),  # AnimateDiff: frames as a batch
    ],
)
def test_noise_moves_along_the_flow_in_latents_of_every_kind(shape, frames):
    cell = 64 // shape[-1]
    steps = (frames - 1) // ((shape[2] if len(shape) == 5 else shape[0]) - 1)
    noise = draft_noise(torch.zeros(shape), 5, field(frames, cell / steps), 1.0)  # one cell a latent frame
    video = noise if len(shape) == 5 else noise.movedim(0, 1)[None]
    assert noise.shape == shape
    torch.testing.assert_close(video[:, :, 1, :, 1:], video[:, :, 0, :, :-1], atol=1e-5, rtol=0)


def test_without_flow_it_is_the_noise_of_comfyuis_samplers():
    samples = torch.zeros(1, 16, 3, 8, 8)
    ideal = torch.randn(samples.shape, generator=torch.Generator().manual_seed(5))
    for given in ({}, {"flow": field(9), "noise_share": 0.0}):
        assert torch.equal(noised(samples, **given)[0].generate_noise({"samples": samples}), ideal)


def test_mixed_noise_is_still_standard_normal_and_half_of_it_moves():
    samples = torch.zeros(1, 16, 5, 32, 32)
    noise = noised(samples, flow=field(17, 2.0, 256), noise_share=0.5)[0].generate_noise({"samples": samples})
    assert abs(noise.mean()) < 0.01 and abs(noise.var() - 1) < 0.02
    moved = (noise[:, :, 1, :, 1:] * noise[:, :, 0, :, :-1]).mean()
    assert abs(moved - 0.5) < 0.03


def test_where_to_begin_is_told_in_both_ways_of_the_core():
    latent = torch.zeros(1, 16, 3, 8, 8)
    _, given, denoise, start = noised(latent, draft_strength=0.3, steps=20)
    assert given["samples"] is latent and "noise_mask" not in given
    assert (round(denoise, 6), start) == (0.7, 6)


def test_a_cell_is_free_where_any_of_its_pixels_is():
    masks = torch.zeros(9, 64, 64)
    masks[6, 17, 40] = 1.0
    mask = free_cells(torch.zeros(1, 16, 3, 8, 8), masks)
    assert mask.shape == (1, 1, 3, 8, 8) and mask.nonzero().tolist() == [[0, 0, 2, 2, 5]]
    mask = free_cells(torch.zeros(9, 4, 8, 8), masks)
    assert mask.shape == (9, 1, 8, 8) and mask.nonzero().tolist() == [[6, 0, 2, 5]]
    assert free_cells(torch.zeros(1, 16, 3, 8, 8), torch.ones(1, 64, 64)).eq(1).all()


@pytest.mark.parametrize(
    ("samples", "given", "said"),
    [
        ((1, 16, 4, 8, 8), {"flow": field(9)}, "9 frames were simulated and the latent has 4, which are 4, 13, 19"),
        ((1, 16, 3, 8, 8), {"masks": torch.ones(5, 64, 64)}, "5 frames were simulated and the latent has 3"),
        ((1, 16, 3, 8, 16), {"flow": field(9)}, "the flow is 64x64 pixels and the latent 16x8 cells"),
    ],
)
def test_what_is_of_another_video_is_refused(samples, given, said):
    with pytest.raises(ControlError, match=said):
        noised(torch.zeros(samples), **given)
