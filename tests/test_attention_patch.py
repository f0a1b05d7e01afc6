"""Attention Patch and Load Model's attention: the model obeys a plan, a native MODEL is patched and chained."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fakes import random_world_model, small_config
from torch.nn import functional as F
from vdit.kernels.grid import Grid
from vdit.kernels.patterns import NAMES, named_plan, pattern_named
from vdit.model.native import SparseAttention
from vdit.nodes.attention import VDiTAttentionPatch


def forward(model, **more):
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 8, 5, 12, 16, generator=generator), torch.randn(1, 4, 32, generator=generator)
    return model.transformer(x, torch.tensor([0.6]), context, **more)


def test_the_model_obeys_its_attention_and_full_windows_change_nothing():
    model = random_world_model(0)
    with torch.no_grad():
        full = forward(model)
        for attention in (("window", 1.0), ("full", 0.3)):
            model.transformer.attention = attention
            assert torch.equal(forward(model), full)
        model.transformer.attention = ("frame-causal", 1.0)
        causal = forward(model)
    assert not torch.allclose(causal[:, :, :4], full[:, :, :4]) and torch.isfinite(causal).all()


def test_frames_to_come_do_not_change_a_frame_causal_model():
    model = random_world_model(0)
    model.transformer.attention = ("frame-causal", 1.0)
    x, context = torch.randn(1, 8, 4, 8, 8), torch.randn(1, 4, 32)
    with torch.no_grad():
        short, long = (model.transformer(x[:, :, :n], torch.tensor([0.6]), context) for n in (3, 4))
    torch.testing.assert_close(short, long[:, :, :3], atol=1e-5, rtol=1e-5)


def test_windows_train():
    model = random_world_model(0, controls=False)
    model.transformer.requires_grad_(True)
    model.transformer.attention = ("window", 0.5)
    forward(model).square().mean().backward()
    grads = [p.grad for p in model.transformer.blocks[0].self_attn.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads) and grads[0].abs().sum() > 0


def test_named_patterns_fit_every_grid_and_refuse_by_name():
    for sides in ((21, 30, 52), (11, 8, 8), (1, 1, 1), (3, 5, 7)):
        for name in NAMES:
            found = named_plan(name, 0.4, sides)
            assert found is None or 0 < found.density < 1
    assert 0.1 < named_plan("window", 0.5, (21, 30, 52)).density < 0.2
    with pytest.raises(ValueError, match="expected one of full, window"):
        pattern_named("flash", 0.5, Grid(3, 5, 7))
    with pytest.raises(ValueError, match="more than 0, at most 1"):
        pattern_named("window", 0.0, Grid(3, 5, 7))


# --- a native MODEL, as far as the node sees one


class WanModel:
    patch_size = (1, 2, 2)
    blocks = [SimpleNamespace(self_attn=None)]


class Patcher:
    """ComfyUI's ModelPatcher, the part of it that counts."""

    def __init__(self, transformer=None):
        sampling = SimpleNamespace(percent_to_sigma=lambda share: 1 - share)
        self.objects = {"diffusion_model": transformer or WanModel(), "model_sampling": sampling}
        self.model_options, self.wrappers = {"transformer_options": {}}, {}

    def clone(self):
        new = copy.copy(self)
        new.model_options, new.wrappers = copy.deepcopy(self.model_options), copy.deepcopy(self.wrappers)
        return new

    def get_model_object(self, name):
        return self.objects[name]

    def remove_wrappers_with_key(self, kind, key):
        self.wrappers.get(kind, {}).pop(key, None)

    def add_wrapper_with_key(self, kind, key, wrapper):
        self.wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)


def patched(model=None, attention="window", window=0.5, full_start=0.0):
    return VDiTAttentionPatch.execute(model or Patcher(), attention, window, full_start).args[0]


def native(model, tokens=(4, 16, 16), sigma=0.5, heads=2, length=None, mask=None, split=False):
    """One self-attention call as ComfyUI's Wan makes it; returns (result, calls that went to plain attention)."""
    plain = []

    def attend(q, k, v, heads, mask=None, skip_reshape=False, skip_output_reshape=False, **kwargs):
        plain.append(q)
        if not skip_reshape:
            q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return y if skip_output_reshape else y.transpose(1, 2).flatten(-2)

    t, h, w = tokens
    options = {"sigmas": torch.tensor([sigma]), **model.model_options["transformer_options"]}
    generator = torch.Generator().manual_seed(0)
    qkv = [torch.randn(1, length or t * h * w, heads * 16, generator=generator) for _ in range(3)]
    if split:
        qkv = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in qkv]

    def run(x, timestep, context, transformer_options):
        more = dict(skip_reshape=True, skip_output_reshape=True) if split else {}
        return options["optimized_attention_override"](
            attend, *qkv, heads, mask=mask, transformer_options=transformer_options, **more
        )

    (around,) = model.wrappers["diffusion_model"]["vdit_attention"]
    result = around(run, torch.zeros(1, 16, t, 2 * h, 2 * w), None, None, options)
    dense = attend(*qkv, heads, mask=mask, skip_reshape=split, skip_output_reshape=split)
    return result, dense, len(plain) - 1


def test_a_native_models_self_attention_obeys_the_plan_in_both_layouts():
    model = patched()
    result, dense, plain = native(model)
    assert plain == 0 and result.shape == dense.shape and not torch.allclose(result, dense)
    split, _, plain = native(model, split=True)
    assert plain == 0
    torch.testing.assert_close(split.transpose(1, 2).flatten(-2), result)
    result, dense, plain = native(patched(window=0.99))  # all but everything
    assert result.shape == dense.shape


@pytest.mark.parametrize(
    "call, says",
    [
        (dict(tokens=(2, 8, 8)), "too few"),
        (dict(mask=torch.zeros(1024, 1024)), "mask of its own"),
        (dict(length=1025), "whole frames"),
        (dict(sigma=0.9), ""),
    ],
)
def test_unsupported_calls_stay_dense_and_the_log_says_why(call, says, caplog):
    model = patched(full_start=0.25)
    call.setdefault("tokens", (4, 16, 16))
    result, dense, plain = native(model, **call)
    assert plain == 1 and torch.equal(result, dense)
    assert (says in caplog.text and "stays as it was" in caplog.text) if says else not caplog.text
    native(model, **call)
    assert caplog.text.count("stays as it was") == bool(says)  # once, not once a layer


def test_a_reference_frame_before_the_video_counts_as_a_frame():
    result, _, plain = native(patched(), length=5 * 256)
    assert plain == 0 and result.shape[1] == 5 * 256


def test_an_override_that_was_there_keeps_every_call_that_is_not_sparse():
    seen = []
    model = Patcher()
    model.model_options["transformer_options"]["optimized_attention_override"] = lambda attend, *args, **kwargs: (
        seen.append(args[0]) or attend(*args, **kwargs)
    )
    twice = patched(patched(model), "axial")  # the second patch replaces the first
    native(twice)
    assert not seen
    native(twice, mask=torch.zeros(1024, 1024))
    assert len(seen) == 1
    override = twice.model_options["transformer_options"]["optimized_attention_override"]
    assert isinstance(override, SparseAttention) and not isinstance(override.previous, SparseAttention)
    assert len(twice.wrappers["diffusion_model"]["vdit_attention"]) == 1
    cross = override(lambda q, k, v, heads, **kw: q, torch.zeros(1, 2048, 32), torch.zeros(1, 512, 32), None, 2)
    assert cross.shape == (1, 2048, 32) and len(seen) == 2


def test_the_given_model_is_not_changed_and_full_start_may_cover_everything():
    model = Patcher()
    new = patched(model, full_start=1.0)
    assert not model.model_options["transformer_options"] and not model.wrappers
    assert native(new, sigma=0.001)[2] == 1


def test_other_models_are_refused_kindly():
    with pytest.raises(ValueError, match="found str, expected a native ComfyUI MODEL.*VDiT Load Model"):
        VDiTAttentionPatch.execute("model", "window", 0.5, 0.25)
    with pytest.raises(ValueError, match="this MODEL is a UNetModel"):
        patched(Patcher(type("UNetModel", (), {})()))


def test_a_call_without_a_known_grid_stays_dense(caplog):
    override = patched().model_options["transformer_options"]["optimized_attention_override"]
    q = torch.zeros(1, 2048, 32)
    assert override(lambda q, *rest, **kw: q, q, q, q, 2, transformer_options={}) is q
    assert "did not say" in caplog.text


REAL = """
import sys, logging; sys.argv = ["main.py", "--cpu"]; sys.path.insert(0, {core!r})
import comfy.options; comfy.options.enable_args_parsing()
import torch, comfy.ops, comfy.ldm.wan.model as wan
sys.path.insert(0, {packs!r})
from vdit.model.native import SparseAttention
torch.manual_seed(0)
net = wan.WanModel(model_type="t2v", patch_size=(1, 2, 2), text_len=8, in_dim=4, dim=256, ffn_dim=64, freq_dim=32,
                   text_dim=16, out_dim=4, num_heads=2, num_layers=2, image_model="wan2.1",
                   operations=comfy.ops.disable_weight_init)
for p in net.parameters(): torch.nn.init.normal_(p, std=0.05)
x, t, c = torch.randn(1, 4, 5, 32, 32), torch.tensor([500.0]), torch.randn(1, 8, 16)
def run(name, share):
    o = SparseAttention(name, share, net.patch_size)
    plans = []
    real = o.plan
    o.plan = lambda *a: plans.append(real(*a)) or plans[-1]
    options = {{"optimized_attention_override": o, "sigmas": torch.tensor([0.5]),
               "wrappers": {{"diffusion_model": {{"vdit": [o.around]}}}}}}
    return net(x, t, c, transformer_options=options), [p for p, _ in plans]
with torch.no_grad():
    plain = net(x, t, c)
    same, plans = run("window", 1.0)
    assert plans == [None, None] and torch.equal(plain, same)
    sparse, plans = run("window", 0.5)
    assert len(plans) == 2 and all(plans) and sparse.shape == plain.shape and not torch.allclose(sparse, plain)
print("patched", plans[0].density)
"""


def test_a_real_wan_model_of_comfyuis_takes_the_patch(tmp_path):
    core = os.environ.get("COMFYUI_PATH")
    if not core:
        pytest.skip("set COMFYUI_PATH (and COMFYUI_PYTHON) to check the patch on ComfyUI's own Wan model")
    (tmp_path / "vdit").symlink_to(Path(__file__).resolve().parent.parent)
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    code = REAL.format(core=core, packs=str(tmp_path))
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=core)
    assert run.returncode == 0 and "patched" in run.stdout, run.stderr


def test_load_model_sets_the_attention_and_auto_is_what_the_file_says(tmp_path, monkeypatch):
    from vdit.model.files import bundle
    from vdit.nodes.load import BUNDLED, VDiTLoadModel

    config = small_config(layers=1, attention=("window", 0.6))
    path = bundle.save_world_model(random_world_model(0, config), tmp_path / "m.safetensors")
    monkeypatch.setattr(bundle, "BUNDLED", path)
    load = lambda *args: VDiTLoadModel.execute(BUNDLED, *args).args[0].transformer.attention  # noqa: E731
    assert load() == load("auto", 0.2) == ("window", 0.6)
    assert load("window", 0.2) == ("window", 0.2) and load("full")[0] == "full"
    inputs = VDiTLoadModel.GET_SCHEMA().inputs
    assert [i.id for i in inputs][:3] == ["file", "attention", "window"]  # by position: what was there comes first
    options = VDiTLoadModel.object_info()["input"]["optional"]["attention"][1]["options"]
    assert set(options) == {"auto", *NAMES}
