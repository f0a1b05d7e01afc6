"""Every branch of the Wan transformer equals an independent implementation, at random weights."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers_twins import BASE, diffusers_twin, draw, relative
from fakes import random_transformer
from torch import Tensor
from torch.nn import functional as F
from vdit.model.config import VDiTConfig
from vdit.model.wan import WanTransformer

IMAGE = dict(in_channels=36, image_dim=1280)
GRID = (3, 4, 6)
S = GRID[1] * GRID[2] // 4  # tokens a frame


def inputs(config: VDiTConfig, tokens: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, sigma, a prompt of `tokens` tokens, and the same zero-padded to 512."""
    text = draw(2, tokens, config.text_dim, seed=3)
    return (
        draw(2, config.in_channels, *GRID, seed=2),
        torch.tensor([0.9, 0.3]),
        text,
        F.pad(text, (0, 0, 0, 512 - tokens)),
    )


@pytest.mark.parametrize("tokens", [1, 40, 511, 512])
def test_text_of_any_length_equals_diffusers_padded_to_512(tokens):
    model = random_transformer(BASE)
    x, sigma, text, padded = inputs(BASE, tokens)
    with torch.no_grad():
        theirs = diffusers_twin(model)(x, 1000 * sigma, padded, return_dict=False)[0]
        assert relative(model(x, sigma, text), theirs) <= 1e-5
        assert relative(model(x, sigma, padded), theirs) <= 1e-5


def test_no_text_at_all_is_512_zeros():
    model = random_transformer(BASE)
    x, sigma, *_ = inputs(BASE)
    with torch.no_grad():
        theirs = diffusers_twin(model)(x, 1000 * sigma, torch.zeros(2, 512, 24), return_dict=False)[0]
        assert relative(model(x, sigma, torch.zeros(2, 0, 24)), theirs) <= 1e-5


@pytest.mark.parametrize("pictures", [1, 2], ids=["start image", "first and last frame"])
def test_image_branch_equals_diffusers(pictures):
    config = replace(BASE, **IMAGE, image_tokens=514 if pictures == 2 else 0)
    model = random_transformer(config)
    x, sigma, text, padded = inputs(config)
    image = draw(2, 257 * pictures, 1280, seed=4)
    with torch.no_grad():
        theirs = diffusers_twin(model)(x, 1000 * sigma, padded, image.reshape(-1, 257, 1280), return_dict=False)[0]
        ours = model(x, sigma, text, image=image)
        assert relative(ours, theirs) <= 1e-5
        assert relative(model(x, sigma, text), theirs) > 1e-3, "the image must matter"


@pytest.mark.parametrize("layers", [(0, 2), (0, 1, 2)])
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_vace_branch_equals_diffusers(layers, scale):
    config = replace(BASE, vace_channels=96, vace_layers=layers)
    model = random_transformer(config)
    x, sigma, text, padded = inputs(config)
    vace = draw(2, 96, *GRID, seed=4)
    with torch.no_grad():
        theirs = diffusers_twin(model)(
            x, 1000 * sigma, padded, control_hidden_states=vace,
            control_hidden_states_scale=torch.full((len(layers),), scale), return_dict=False,
        )[0]  # fmt: skip
        assert relative(model(x, sigma, text, vace=vace, vace_scale=scale), theirs) <= 1e-5


def camera_tokens(model: WanTransformer, rays: Tensor) -> Tensor:
    """VideoX-Fun's adapter, written out: every ray of a cell is a channel, then 2x2 cells a token, then a residual."""
    w, n = model.control_adapter.state_dict(), model.config.camera_rays
    b, c, t, h, wide = rays.shape
    x = rays.permute(0, 2, 1, 3, 4).reshape(b * t, c, h // n, n, wide // n, n)
    x = x.permute(0, 1, 3, 5, 2, 4).reshape(b * t, c * n * n, h // n, wide // n)
    x = F.conv2d(x, w["conv.weight"], w["conv.bias"], stride=2)
    block = "residual_blocks.0.conv"
    y = F.conv2d(x, w[block + "1.weight"], w[block + "1.bias"], padding=1).relu()
    x = x + F.conv2d(y, w[block + "2.weight"], w[block + "2.bias"], padding=1)
    return x.unflatten(0, (b, t)).transpose(1, 2)  # [B, D, T, h, w], beside the patch embedding


@pytest.mark.slow
@pytest.mark.parametrize("rays, image", [(8, True), (8, False), (16, False)], ids=["2.1", "2.2", "2.2 5B"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_camera_is_added_to_the_patch_embedding_as_in_videox_fun(rays, image, scale):
    config = replace(BASE, in_channels=32, camera_rays=rays, image_dim=1280 if image else 0)
    model = random_transformer(config)
    x, sigma, text, padded = inputs(config)
    camera = draw(2, 24, GRID[0], GRID[1] * rays, GRID[2] * rays, seed=4)
    clip = draw(2, 257, 1280, seed=5) if image else None
    twin = diffusers_twin(model)
    twin.patch_embedding.register_forward_hook(lambda m, args, y: y + scale * camera_tokens(model, camera))
    with torch.no_grad():
        theirs = twin(x, 1000 * sigma, padded, clip, return_dict=False)[0]
        assert relative(model(x, sigma, text, camera=camera, camera_scale=scale, image=clip), theirs) <= 1e-5
        assert relative(model(x, sigma, text, image=clip), theirs) > 1e-3, "the camera must matter"


@pytest.mark.parametrize("channels, image", [(16, True), (48, False)], ids=["2.1", "2.2 5B"])
@pytest.mark.parametrize("per_frame", [False, True])
def test_a_reference_stands_before_the_first_frame_as_in_videox_fun(channels, image, per_frame):
    """diffusers with one frame more, whose tokens are the reference's and whose output is dropped."""
    config = replace(BASE, in_channels=48, ref_channels=channels, image_dim=1280 if image else 0)
    model = random_transformer(config)
    x, sigma, text, padded = inputs(config)
    reference, clip = draw(2, channels, *GRID[1:], seed=4), draw(2, 257, 1280, seed=5) if image else None
    twin = diffusers_twin(model)

    def first_frame(module, args, y):
        return torch.cat((model.ref_conv(reference)[:, :, None], y[:, :, 1:]), 2)

    twin.patch_embedding.register_forward_hook(first_frame)
    if per_frame:
        sigma = torch.rand(2, GRID[0], generator=torch.Generator().manual_seed(6))
    time = 1000 * sigma
    if per_frame:  # the reference has the last frame's
        time = torch.cat((time[:, -1:], time), 1).repeat_interleave(S, 1)
    with torch.no_grad():
        theirs = twin(torch.cat((x[:, :, :1], x), 2), time, padded, clip, return_dict=False)[0][:, :, 1:]
        assert relative(model(x, sigma, text, reference=reference, image=clip), theirs) <= 1e-5
        assert relative(model(x, sigma, text, image=clip), theirs) > 1e-3, "the reference must matter"


EVERYTHING = replace(BASE, **IMAGE, camera_rays=2, vace_channels=8, vace_layers=(0, 2), layers=3)


def everything(config: VDiTConfig = EVERYTHING) -> dict[str, Tensor]:
    x, sigma, text, _ = inputs(config)
    camera, vace = draw(2, 24, GRID[0], 8, 12, seed=4), draw(2, 8, *GRID, seed=5)
    return dict(x=x, sigma=sigma, context=text, camera=camera, vace=vace, image=draw(2, 257, 1280, seed=6))


@pytest.mark.slow
@pytest.mark.parametrize("per_frame", [False, True])
def test_inference_is_training_without_gradients(per_frame):
    """What it overwrites to save memory is its own: the inputs stay, a second call says the same."""
    model, given = random_transformer(EVERYTHING), everything()
    if per_frame:
        given["sigma"] = torch.rand(2, GRID[0])
    before = {name: value.clone() for name, value in given.items()}
    trained = model(**given)
    with torch.no_grad():
        first, second = model(**given), model(**given)
    with torch.inference_mode():
        third = model(**given)
    assert relative(first, trained) <= 1e-6
    assert torch.equal(first, second) and torch.equal(first, third)
    assert all(torch.equal(value, before[name]) for name, value in given.items())


def test_gradients_reach_every_weight_and_input():
    model, given = random_transformer(EVERYTHING).requires_grad_(True), everything()
    for name in given:
        given[name].requires_grad_(name != "sigma")
    model(**given).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == [] and all(given[name].grad.abs().sum() > 0 for name in given if name != "sigma")


def test_half_precision_keeps_norms_and_modulation_in_float32():
    """Weights as the loader gives them: matrices in bfloat16, the rest not; the sampler's dtype comes back."""
    model, given = random_transformer(EVERYTHING), everything()
    exact = model(**given)
    wide = ("norm", "modulation", "time_")
    for name, p in model.named_parameters():
        p.data = p.data if any(mark in name for mark in wide) else p.data.bfloat16()
    with torch.no_grad():
        half = model(**given)
    assert model.dtype == torch.bfloat16 and half.dtype == torch.float32
    assert relative(half, exact) <= 0.02
    assert relative(model.bfloat16()(**given), exact) <= 0.05  # and all of it in half runs too


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the highest resident memory from /proc")
def test_a_step_takes_less_memory_than_diffusers():
    """Time is for bench/wan_step.py, on a machine that does nothing else; memory is the same on a busy one."""
    bench = runpy.run_path(str(Path(__file__).resolve().parent.parent / "bench" / "wan_step.py"))
    found = bench["compare"](replace(BASE, ffn_dim=1536, layers=2), (9, 256, 256), prompt=30, runs=1)
    assert found["error"] <= 1e-5
    assert found["memory ratio"] <= 0.9, found


@pytest.mark.parametrize(
    "name, shape, says",
    [
        ("image", (2, 257, 1024), r"image has shape \(2, 257, 1024\); expected \(2, 257, 1280\)"),
        ("vace", (2, 96, 3, 4, 6), r"expected \(2, 8, 3, 4, 6\)"),
        ("camera", (2, 24, 3, 4, 6), r"expected \(2, 24, 3, 8, 12\)"),
        ("reference", (2, 16, 4, 6), "no module for `reference`"),
    ],
)
def test_wrong_conditions_are_refused_with_the_numbers(name, shape, says):
    with pytest.raises(ValueError, match=says):
        random_transformer(EVERYTHING)(**{**everything(), name: torch.zeros(shape)})


def test_the_number_of_image_tokens_is_that_of_their_positions():
    config = replace(BASE, **IMAGE, image_tokens=514)
    x, sigma, text, _ = inputs(config)
    with pytest.raises(ValueError, match=r"image has shape \(2, 257, 1280\); expected \(2, 514, 1280\)"):
        random_transformer(config)(x, sigma, text, image=torch.zeros(2, 257, 1280))
    with pytest.raises(ValueError, match="there is no image branch"):
        VDiTConfig(image_tokens=514)
