"""Run by a ComfyUI's python: claims about memory, checked where its ModelPatcher is. Prints {claim: fault or ""}.

comfy_inside.py /path/to/ComfyUI /folder/with/vdit
"""

from __future__ import annotations

import gc
import json
import sys
import traceback
import weakref
from contextlib import contextmanager

core, packs = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path[:0] = [core, packs]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.lora  # noqa: E402
import comfy.model_management as management  # noqa: E402
import torch  # noqa: E402
from fakes import random_world_model  # noqa: E402
from vdit.model.experts import Experts  # noqa: E402
from vdit.model.files.quantized import LowRank, StoredLinear  # noqa: E402
from vdit.model.memory import activation_bytes  # noqa: E402
from vdit.nodes import comfy as seam  # noqa: E402
from vdit.nodes import comfy_memory as memory  # noqa: E402

native = seam.native("a test")
CPU, AWAY = torch.device("cpu"), torch.device("meta")
CLAIMS = {}


def claim(words):
    def keep(check):
        CLAIMS[words] = check

    return keep


def fresh(seed=0, stored=False):
    world = random_world_model(seed)
    if stored:
        for block in world.transformer.blocks:
            old = block.ffn[0]
            new = StoredLinear((old.out_features, old.in_features), True, "F8_E4M3")
            new.weight = torch.nn.Parameter(old.weight.to(torch.float8_e4m3fn), requires_grad=False)
            new.bias = old.bias
            new.loras.append(LowRank(0.5, torch.randn(old.out_features, 2), torch.randn(2, old.in_features)))
            block.ffn[0] = new
    return world


def inputs(world, sigma=0.5):
    torch.manual_seed(1)
    c = world.config
    return torch.randn(2, c.in_channels, 2, 4, 4), torch.full((2,), sigma), torch.randn(2, 5, c.text_dim)


def velocity(world, sigma=0.5, transformer=None):
    x, *rest = inputs(world, sigma)
    return (transformer or world.transformer)(x.clone(), *rest)


def in_part(module, device, share=0.5):
    """Its patcher, with so much of it loaded."""
    patcher = memory.patcher_of(module, CPU)
    patcher.detach()
    patcher.partially_load(device, extra_memory=int(patcher.model_size() * share))
    return patcher


@contextmanager
def listening():
    """What is asked of load_models_gpu meanwhile."""
    asked, load = [], management.load_models_gpu
    management.load_models_gpu = lambda models, **named: asked.append(models) or load(models, **named)
    try:
        yield asked
    finally:
        management.load_models_gpu = load


@claim("loaded in part, nothing but matrices stays behind")
def _():
    world = fresh(stored=True)
    patcher = in_part(world.transformer, AWAY)
    patcher.load_device = AWAY
    memory.settle(world.transformer)
    behind, there = [], 0
    for name, tensor in world.transformer.state_dict(keep_vars=True).items():
        streamed = isinstance(world.transformer.get_submodule(name.rpartition(".")[0]), (torch.nn.Linear, StoredLinear))
        behind += [name] if tensor.device != AWAY and not streamed else []
        there += tensor.device == AWAY and streamed
    assert not behind, behind
    assert there, "and some of the matrices are on the device"


@claim("loaded in part, the result is the same")
def _():
    world = fresh()
    want = velocity(world)
    for share in (0.1, 0.5, 0.9):
        in_part(world.transformer, CPU, share)
        streamed = sum(getattr(m, "comfy_cast_weights", False) for m in world.transformer.modules())
        assert streamed, share
        assert torch.allclose(velocity(world), want, atol=1e-5)


@claim("fp8 matrices with LoRAs are streamed in fp8")
def _():
    world = fresh(stored=True)
    want = velocity(world)
    matrix = world.transformer.blocks[0].ffn[0]
    patcher = in_part(world.transformer, CPU, 0.001)
    assert any(part is matrix for entry in patcher._load_list() for part in entry), "one that could stay on the device"
    found = matrix.comfy_cast_weights, type(matrix), matrix.weight.dtype
    assert found == (True, memory.StreamedStored, torch.float8_e4m3fn), found
    assert torch.allclose(velocity(world), want, atol=1e-5)
    moved = []
    matrix.copied_to, copied = lambda device: moved.append(device) or copied(device), matrix.copied_to
    velocity(world)
    assert len(moved) >= 1


@claim("a native LoRA finds its tensors, loaded whole or in part")
def _():
    world = fresh()
    plain = velocity(world)
    model = native.as_model(world, 0.0, low_noise=False)
    up, down = torch.randn(256, 4), torch.randn(4, 256)
    name = "diffusion_model.blocks.1.self_attn.q"
    state = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    patches = comfy.lora.load_lora(state, comfy.lora.model_lora_keys_unet(model.model, {}))
    assert model.add_patches(patches, 0.5) == [f"{name}.weight"]
    other = fresh()
    other.transformer.blocks[1].self_attn.q.weight += 0.5 * up @ down
    want = velocity(other)
    assert (want - plain).abs().max() > 1e-3
    for share in (2.0, 0.1):
        model.detach()
        model.partially_load(CPU, extra_memory=int(model.model_size() * share))
        assert torch.allclose(velocity(world), want, atol=1e-4), share
    model.detach()
    assert torch.allclose(velocity(world), plain, atol=1e-5), "and leaves with its clone"


@claim("a native LoRA on stored matrices is refused")
def _():
    world = fresh(stored=True)
    model = native.as_model(world, 0.0, low_noise=False)
    key = "diffusion_model.blocks.0.ffn.0.weight"
    try:
        model.add_patches({key: ("diff", (torch.zeros(256, 256),))})
    except ValueError as e:
        assert "VDiT Load LoRA" in str(e)
    else:
        raise AssertionError("it was not refused")


@claim("moved off by another, a model comes back by itself")
def _():
    world = fresh()
    want = velocity(world)
    seam.use_model(world.transformer, CPU)
    with listening() as asked:
        patcher = memory.patcher_of(world.transformer, CPU)
        velocity(world)
        assert not asked, "it is there"
        patcher.model.device = AWAY  # as ComfyUI notes it when it moves a model off
        assert torch.equal(velocity(world), want) and asked == [[patcher]]


@claim("of two experts one is loaded at a time")
def _():
    world = fresh()
    both = Experts(world.transformer, fresh(1).transformer, 0.5)
    with listening() as asked:
        seam.use_models([both, world.codec], CPU)
        high, low = (memory.patcher_of(expert, CPU) for expert in (both.high, both.low))
        assert high in asked[0] and low not in asked[0] and len(asked[0]) == 2
        low.model.device = AWAY
        velocity(world, 0.9, both)
        assert len(asked) == 1
        velocity(world, 0.1, both)
        assert asked[1:] == [[low]]


@claim("a dropped model leaves nothing behind")
def _():
    world = fresh()
    seam.use_models([world.transformer, world.codec, world.text], CPU)
    model, gone = native.as_model(world, 0.0, low_noise=False), weakref.ref(world.transformer)
    management.load_models_gpu([model])
    management.unload_all_models()
    del world, model
    gc.collect()
    assert gone() is None


@claim("ComfyUI is told what activations take")
def _():
    world = fresh()
    model = native.as_model(world, 0.0, low_noise=False)
    told = model.memory_required([2, 8, 3, 16, 16])
    assert told == activation_bytes(world.config, (3, 16, 16), 2, 4)


@claim("native samplers show the colours of our latents")
def _():
    world = fresh()
    codec, cell = world.codec, torch.randn(1, world.codec.channels, 1, 1, 1)
    codec.preview_map = torch.randn(1 + codec.channels, codec.temporal * (codec.spatial // 2) ** 2 * 3)
    codec.latent_mean += torch.randn(codec.channels)
    codec.latent_std *= 1 + torch.rand(codec.channels)
    shown = native.as_model(world, 0.0, low_noise=False).model.latent_format
    pixels = codec.denormalize(cell).flatten() @ codec.preview_map[1:] + codec.preview_map[0]
    colour = cell.flatten() @ torch.tensor(shown.latent_rgb_factors) + torch.tensor(shown.latent_rgb_factors_bias)
    assert torch.allclose((colour + 1) / 2, pixels.view(-1, 3).mean(0), atol=1e-4)


if __name__ == "__main__":
    found = {}
    with torch.no_grad():
        for words, check in CLAIMS.items():
            try:
                check()
                found[words] = ""
            except Exception:
                found[words] = traceback.format_exc()[-1500:]
    print(json.dumps(found))
