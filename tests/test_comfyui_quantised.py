"""Weights in every form that a real ComfyUI reads, through its loader and VDiT From Model: the core's own output.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui_quantised.py
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wan_files as make
from comfy_core import COMFYUI, MISSING, Graph, python_of, version_of
from vdit.model.codec.wan import WanCodec
from vdit.model.variants import VARIANTS

pytestmark = pytest.mark.slow

if not COMFYUI:
    pytest.skip(f"{MISSING} to load quantised weights with it", allow_module_level=True)
if version_of(Path(COMFYUI)) < (0, 33):
    pytest.skip("older cores read fewer forms", allow_module_level=True)

FORMS = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "int8_convrot", "mxfp8", "nvfp4", "convrot_w4a4",
         "asym_w4a8_int8")  # fmt: skip
CLOSE, CLOSE_IN_INT8 = 1e-4, 0.01
INT8_ACTIVATIONS = ("int8_tensorwise", "int8_convrot", "asym_w4a8_int8")  # rounded to 8 bits in each product
SIZE = {"width": 64, "height": 64}
# Four steps divide the thousand of the core's table of sigmas; three would be rounded to its entries.
EULER = {"steps": 4, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "seed": 7, "cfg": 3.0}
OURS = {"steps": 4, "solver": "euler", "scheduler": "simple", "seed": 7, "guidance": 3.0, "shift": 5.0}
CLIP = {"seconds": 0.5, "fps": 16.0, **SIZE}  # 9 frames


@pytest.fixture(scope="module")
def files(core, tmp_path_factory):
    """A tiny T2V model in each form, in the core's folder, and what the core says of those that it cannot make."""
    config = replace(make.tiny(VARIANTS["t2v-1.3b"]).config, text_dim=4096)
    source = make.single(tmp_path_factory.mktemp("float") / "t2v.safetensors", make.random_state(config), torch.float32)
    folder = core.base / "models" / "diffusion_models"
    torch.manual_seed(0)
    (folder.parent / "vae").mkdir(exist_ok=True)
    make.single(folder.parent / "vae" / "wan.safetensors", WanCodec("2.1", 8).state_dict(), torch.float32)
    script = Path(__file__).with_name("comfy_quantised.py")
    command = [python_of(Path(COMFYUI)), str(script), COMFYUI, str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMFYUI)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape and b.std() > 1e-3, (a.shape, b.shape, "silence proves nothing")
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def native(g: Graph, form: str) -> str:
    return g.add("ModelSamplingSD3", model=g.add("UNETLoader", unet_name=f"{form}.safetensors"), shift=5.0)


def sampled(g: Graph, form: str, steps: int) -> list[torch.Tensor]:
    """KSampler on the native model, Sample on From Model of it, and of it under Attention Patch."""
    yes, no = (g.add("RandomWords", seed=seed, length=6) for seed in (1, 2))
    empty = g.add("EmptyHunyuanLatentVideo", length=9, **SIZE)
    model = native(g, form)
    told = {"positive": yes, "negative": no}
    g.keep("native", g.add("KSampler", model=model, latent_image=empty, **told, **EULER | {"steps": steps}))
    patched = g.add("VDiTAttentionPatch", model=model, attention="window", window=1.0)  # the whole of a short clip
    for name, one in (("from model", model), ("attention patch", patched)):
        world = g.add("VDiTFromModel", model=one)
        shot = g.add("VDiTEncodeConditioning", model=world, **told)
        g.keep(name, g.add("VDiTSample", model=world, conditioning=shot, **OURS | {"steps": steps}, **CLIP))
    return g.run()


@pytest.mark.parametrize("form", FORMS)
def test_a_quantised_file_gives_the_cores_own_output(core, files, form):
    """In one step nothing but the call itself counts; over four, roundings to 8 bits may fall the other way."""
    assert files[form] == "", "the core makes no such file on this machine"
    theirs, ours, sparse = sampled(Graph(core), form, 1)
    assert apart(ours, theirs) <= 1e-6 and apart(sparse, theirs) <= 1e-6
    theirs, ours, sparse = sampled(Graph(core), form, 4)
    close = CLOSE_IN_INT8 if form in INT8_ACTIVATIONS else CLOSE
    assert apart(ours, theirs) <= close and apart(sparse, theirs) <= close


@pytest.mark.parametrize("form", FORMS)
def test_a_draft_is_followed_as_by_the_cores_own_sampler_and_previewed(core, files, form):
    """Draft Noise and SamplerCustomAdvanced on the native model; the draft at Encode Conditioning on From Model."""
    g = Graph(core)
    yes, no = g.add("RandomWords", seed=1), g.add("RandomWords", seed=2)
    vae, draft = g.add("VAELoader", vae_name="wan.safetensors"), g.add("RandomImages", seed=3, count=9)
    model = native(g, form)
    latent = g.add("VAEEncode", pixels=draft, vae=vae)
    noise = {"seed": 7, "draft_strength": 0.5, "steps": 8, "noise_share": 0.5}
    told = g.add("VDiTDraftNoise", latent=latent, **noise)
    sigmas = g.add("BasicScheduler", model=model, scheduler="simple", steps=8, denoise=1.0)
    drawn = g.add(
        "SamplerCustomAdvanced",
        noise=(told, 0),
        guider=g.add("CFGGuider", model=model, positive=yes, negative=no, cfg=3.0),
        sampler=g.add("KSamplerSelect", sampler_name="euler"),
        sigmas=(g.add("SplitSigmasDenoise", sigmas=sigmas, denoise=(told, 2)), 1),
        latent_image=(told, 1),
    )
    g.keep("theirs", drawn)
    world = g.add("VDiTFromModel", model=model, vae=vae)
    shot = {"model": world, "positive": yes, "negative": no}
    guided = g.add("VDiTEncodeConditioning", draft=draft, draft_strength=0.5, **shot)
    g.keep("ours", g.add("VDiTSample", model=world, conditioning=guided, **OURS, **CLIP))
    plain = g.add("VDiTEncodeConditioning", **shot)
    g.keep("preview", (g.add("VDiTDistillPreview", model=world, conditioning=plain, seed=7, steps=2, **CLIP), 1))
    theirs, ours, preview = g.run()
    assert apart(ours, theirs) <= (CLOSE_IN_INT8 if form in INT8_ACTIVATIONS else CLOSE)
    assert torch.isfinite(preview).all() and preview.shape == ours.shape and preview.std() > 1e-3
