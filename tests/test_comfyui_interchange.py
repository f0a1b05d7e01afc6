"""Models, latents and conditionings traded with a real ComfyUI's own nodes, both ways.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui_interchange.py
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wan_files as make
from comfy_core import COMFYUI, MISSING, PACK, Graph, python_of, version_of

pytestmark = pytest.mark.slow

if not COMFYUI:
    pytest.skip(f"{MISSING} to trade models with it", allow_module_level=True)

CLOSE = 1e-4
SIZE = {"width": 64, "height": 64}
EULER = {"steps": 4, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "seed": 7, "cfg": 3.0}
OURS = {"steps": 4, "solver": "euler", "scheduler": "simple", "seed": 7, "guidance": 3.0}
CLIP = {"seconds": 0.5, "fps": 16.0, **SIZE}  # 9 frames


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape, (a.shape, b.shape)
    assert b.std() > 1e-3, "silence proves nothing"
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


@pytest.fixture(scope="module")
def files(core):
    """Small models of random weights in ComfyUI's own folders."""
    from fakes import random_world_model
    from vdit.model.codec.wan import WanCodec
    from vdit.model.files.bundle import save_world_model
    from vdit.model.variants import VARIANTS

    models = core.base / "models"
    for folder in ("diffusion_models", "vae", "loras"):
        (models / folder).mkdir(exist_ok=True)
    for name, kind in (("own", {"controls": True}), ("student", {"student": True})):
        path = models / "diffusion_models" / f"{name}.safetensors"
        save_world_model(random_world_model(0, **kind), path, torch.float32)
    for name in ("t2v-1.3b", "vace-1.3b", "i2v-a14b", "ti2v-5b"):
        config = replace(make.tiny(VARIANTS[name]).config, text_dim=4096)
        make.single(models / "diffusion_models" / f"{name}.safetensors", make.random_state(config), torch.float32)
    width = 8 if version_of(Path(COMFYUI)) >= (0, 4) else 96  # older ones know the released width only
    codec = WanCodec("2.1", width)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, p in codec.state_dict().items():
        noise = torch.randn(p.shape, generator=generator)
        state[name] = 1 + 0.3 * noise if "gamma" in name else noise * (0.1 if p.ndim == 1 else p[0].numel() ** -0.5)
    make.single(models / "vae" / "wan21.safetensors", state, torch.float32)
    return models


def words(graph: Graph, seed: int) -> str:
    return graph.add("RandomWords", seed=seed, length=5 + seed)


# --- our model under ComfyUI's samplers


@pytest.mark.parametrize("told", ["words", "start", "start and end", "controls", "let go"])
def test_ksampler_makes_what_our_sampler_makes(core, files, told):
    g = Graph(core)
    model = g.add("VDiTLoadModel", file="own.safetensors")
    inputs = {"prompt": "a red ball falls", "negative_prompt": "blue box rolls to the left"}
    if told != "words":
        inputs["start_image"] = g.add("RandomImages", seed=1, count=1)
    if told == "start and end":
        inputs["end_image"] = g.add("RandomImages", seed=2, count=1)
    if told == "controls":
        inputs["camera"] = g.add("VDiTCameraPath")
        inputs["depth"] = g.add("VDiTDepthControl", images=g.add("RandomImages", count=9, colours=1), strength=0.7)
    if told == "let go":
        inputs["strength"] = 0.4
    shot = g.add("VDiTEncodeConditioning", model=model, **inputs)
    g.keep("ours", g.add("VDiTSample", model=model, conditioning=shot, shift=2.0, **OURS, **CLIP))
    native = g.add("VDiTAsConditioning", model=model, conditioning=shot, **CLIP)
    sampled = g.add(
        "KSampler",
        model=g.add("VDiTAsModel", model=model, shift=2.0),
        positive=(native, 0),
        negative=(native, 1),
        latent_image=(native, 2),
        **EULER,
    )
    g.keep("theirs", sampled)
    ours, theirs = g.run()
    assert apart(theirs, ours) <= CLOSE


def test_a_student_takes_its_own_steps_under_ksampler(core, files):
    g = Graph(core)
    model = g.add("VDiTLoadModel", file="student.safetensors")
    shot = g.add("VDiTEncodeConditioning", model=model, prompt="a red ball falls")
    alike = OURS | CLIP | {"guidance": 1.0, "shift": 1.0}
    g.keep("ours", g.add("VDiTSample", model=model, conditioning=shot, **alike))
    native = g.add("VDiTAsConditioning", model=model, conditioning=shot, **CLIP)
    g.keep(
        "theirs",
        g.add(
            "KSampler",
            model=g.add("VDiTAsModel", model=model, shift=1.0),
            positive=(native, 0),
            negative=(native, 1),
            latent_image=(native, 2),
            **EULER | {"cfg": 1.0},
        ),
    )
    ours, theirs = g.run()
    assert apart(theirs, ours) <= CLOSE


# --- Wan models, native and ours


@pytest.mark.parametrize("name", ["t2v-1.3b", "ti2v-5b"])
def test_a_wan_file_gives_the_same_video_by_all_four_routes(core, files, name):
    """Native loader and sampler; our loader, native sampler; native loader, our sampler; all ours."""
    g = Graph(core)
    yes, no = words(g, 1), words(g, 2)
    cells = 64 // (16 if name == "ti2v-5b" else 8)
    empty = g.add("EmptyHunyuanLatentVideo", length=9, **SIZE)
    if name == "ti2v-5b":
        empty = g.add("Wan22ImageToVideoLatent", length=9, **SIZE, vae=g.add("VDiTAsVAE", model=g.add("VDiTLoadModel")))
    theirs = g.add("ModelSamplingSD3", model=g.add("UNETLoader", unet_name=f"{name}.safetensors"), shift=5.0)
    loaded = g.add("VDiTLoadModel", file=f"{name}.safetensors")
    ours = g.add("VDiTAsModel", model=loaded, shift=5.0)
    for kind, model in (("native", theirs), ("as model", ours)):
        g.keep(kind, g.add("KSampler", model=model, positive=yes, negative=no, latent_image=empty, **EULER))
    for kind, model, shift in (("from model", g.add("VDiTFromModel", model=theirs), 0.0), ("ours", loaded, 5.0)):
        shot = g.add("VDiTEncodeConditioning", model=model, positive=yes, negative=no)
        g.keep(kind, g.add("VDiTSample", model=model, conditioning=shot, shift=shift, **OURS, **CLIP))
    first, *others = g.run()
    assert first.shape[-1] == cells
    for kind, other in zip(("as model", "from model", "ours"), others, strict=True):
        assert apart(other, first) <= CLOSE, kind


@pytest.mark.parametrize("name", ["i2v-a14b", "vace-1.3b"])
def test_native_conditioning_nodes_reach_our_model(core, files, name):
    g = Graph(core)
    yes, no, vae = words(g, 1), words(g, 2), g.add("VAELoader", vae_name="wan21.safetensors")
    if name == "i2v-a14b":
        picture = g.add("RandomImages", seed=3, count=1)
        told = g.add("WanImageToVideo", positive=yes, negative=no, vae=vae, length=9, start_image=picture, **SIZE)
        loaded = g.add("VDiTLoadModel", file=f"{name}.safetensors", low_noise_file=f"{name}.safetensors")
    else:
        video = g.add("RandomImages", seed=3, count=9)
        told = g.add(
            "WanVaceToVideo", positive=yes, negative=no, vae=vae, length=9, control_video=video, strength=0.6, **SIZE
        )
        loaded = g.add("VDiTLoadModel", file=f"{name}.safetensors")
    native = g.add("ModelSamplingSD3", model=g.add("UNETLoader", unet_name=f"{name}.safetensors"), shift=5.0)
    for kind, model in (("native", native), ("ours", g.add("VDiTAsModel", model=loaded, shift=5.0))):
        inputs = {"positive": (told, 0), "negative": (told, 1), "latent_image": (told, 2)}
        g.keep(kind, g.add("KSampler", model=model, **inputs, **EULER))
    theirs, ours = g.run()
    assert apart(ours, theirs) <= CLOSE


def test_our_controls_run_on_a_native_model(core, files):
    """VACE context and key picture of ours, on the MODEL of a native loader and on our own."""
    g = Graph(core)
    yes, no, vae = words(g, 1), words(g, 2), g.add("VAELoader", vae_name="wan21.safetensors")
    native = g.add("VDiTFromModel", model=g.add("UNETLoader", unet_name="vace-1.3b.safetensors"), vae=vae)
    loaded = g.add("VDiTUseVAE", model=g.add("VDiTLoadModel", file="vace-1.3b.safetensors"), vae=vae)
    video, start = g.add("RandomImages", seed=3, count=9), g.add("RandomImages", seed=4, count=1)
    told = {"positive": yes, "negative": no, "control_video": video, "start_image": start}
    for kind, model in (("native", native), ("ours", loaded)):
        shot = g.add("VDiTEncodeConditioning", model=model, **told)
        g.keep(kind, g.add("VDiTSample", model=model, conditioning=shot, shift=5.0, **OURS, **CLIP))
    theirs, ours = g.run()
    assert apart(ours, theirs) <= CLOSE


def test_the_cores_own_sampler_renders_a_draft_as_ours_does(core, files):
    """VDiT Draft Noise and SamplerCustomAdvanced on a native model; the draft at VDiT Encode Conditioning on ours."""
    g = Graph(core)
    yes, no, vae = words(g, 1), words(g, 2), g.add("VAELoader", vae_name="wan21.safetensors")
    draft = g.add("RandomImages", seed=3, count=9)
    native = g.add("ModelSamplingSD3", model=g.add("UNETLoader", unet_name="t2v-1.3b.safetensors"), shift=5.0)
    told = g.add(
        "VDiTDraftNoise",
        latent=g.add("VAEEncode", pixels=draft, vae=vae),
        **{"seed": 7, "draft_strength": 0.5, "steps": 8, "noise_share": 0.5},
    )
    sigmas = g.add("BasicScheduler", model=native, scheduler="simple", steps=8, denoise=1.0)
    sampled = g.add(
        "SamplerCustomAdvanced",
        noise=(told, 0),
        guider=g.add("CFGGuider", model=native, positive=yes, negative=no, cfg=3.0),
        sampler=g.add("KSamplerSelect", sampler_name="euler"),
        sigmas=(g.add("SplitSigmasDenoise", sigmas=sigmas, denoise=(told, 2)), 1),
        latent_image=(told, 1),
    )
    g.keep("theirs", sampled)
    loaded = g.add("VDiTUseVAE", model=g.add("VDiTLoadModel", file="t2v-1.3b.safetensors"), vae=vae)
    shot = g.add("VDiTEncodeConditioning", model=loaded, positive=yes, negative=no, draft=draft, draft_strength=0.5)
    g.keep("ours", g.add("VDiTSample", model=loaded, conditioning=shot, shift=5.0, **OURS, **CLIP))
    theirs, ours = g.run()
    assert apart(ours, theirs) <= CLOSE


def test_two_native_experts_take_turns_under_our_sampler(core, files):
    g = Graph(core)
    yes, no, vae = words(g, 1), words(g, 2), g.add("VAELoader", vae_name="wan21.safetensors")
    one = g.add("UNETLoader", unet_name="i2v-a14b.safetensors")
    two = g.add("VDiTFromModel", model=one, low_noise_model=one, vae=vae, boundary=0.9)
    file = "i2v-a14b.safetensors"
    both = g.add("VDiTLoadModel", file=file, low_noise_file=file, vae="wan21.safetensors")
    start = g.add("RandomImages", seed=4, count=1)
    for kind, model in (("native", two), ("ours", both)):
        shot = g.add("VDiTEncodeConditioning", model=model, positive=yes, negative=no, start_image=start)
        g.keep(kind, g.add("VDiTSample", model=model, conditioning=shot, shift=5.0, **OURS, **CLIP))
    theirs, ours = g.run()
    assert apart(ours, theirs) <= CLOSE


# --- latents and pictures


def test_latents_pass_through_our_codec_as_a_vae(core, files):
    g = Graph(core)
    model = g.add("VDiTLoadModel", file="own.safetensors")
    vae = g.add("VDiTAsVAE", model=model)
    latent = g.add("VAEEncode", vae=vae, pixels=g.add("RandomImages", seed=5, count=9))
    g.keep("latent", latent)
    g.keep("ours", g.add("VDiTDecode", model=model, latent=latent))
    g.keep("theirs", g.add("VAEDecode", vae=vae, samples=latent))
    g.keep("tiled", g.add("VAEDecodeTiled", vae=vae, samples=latent))
    latent, ours, theirs, tiled = g.run()
    assert latent.shape[2:] == (3, 4, 4) and ours.shape == (9, 64, 64, 3)
    assert apart(theirs, ours) <= CLOSE and apart(tiled, ours) <= CLOSE


def test_a_vae_file_gives_the_same_latents_and_pictures_in_both_loaders(core, files):
    """Our codec behind a native interface, the native one, and the native one behind ours."""
    g = Graph(core)
    native = g.add("VAELoader", vae_name="wan21.safetensors")
    model = g.add("VDiTLoadModel", file="t2v-1.3b.safetensors", vae="wan21.safetensors")
    ours = g.add("VDiTAsVAE", model=model)
    pixels = g.add("RandomImages", seed=5, count=9)
    latents = [g.add("VAEEncode", vae=vae, pixels=pixels) for vae in (native, ours)]
    for name, latent in zip(("native latent", "our latent"), latents, strict=True):
        g.keep(name, latent)
    g.keep("native", g.add("VAEDecode", vae=native, samples=latents[0]))
    g.keep("ours", g.add("VAEDecode", vae=ours, samples=latents[0]))
    g.keep("native as ours", g.add("VDiTDecode", model=g.add("VDiTUseVAE", model=model, vae=native), latent=latents[0]))
    a, b, c, d, e = g.run()
    assert apart(b, a) <= CLOSE and apart(d, c) <= CLOSE and apart(e, c) <= CLOSE


# --- refusals


def test_unfitting_inputs_are_refused_by_name(core, files):
    def told(build) -> str:
        g = Graph(core)
        build(g)
        return g.refused()

    def wrong_vae(g):
        vae = g.add("VAELoader", vae_name="wan21.safetensors")
        model = g.add("VDiTUseVAE", model=g.add("VDiTLoadModel", file="ti2v-5b.safetensors"), vae=vae)
        g.keep("x", g.add("VAEEncode", vae=g.add("VDiTAsVAE", model=model), pixels=g.add("RandomImages")))

    def there_and_back(g):
        model = g.add("VDiTFromModel", model=g.add("VDiTAsModel", model=g.add("VDiTLoadModel")))
        g.keep("x", g.add("VAEEncode", vae=g.add("VDiTAsVAE", model=model), pixels=g.add("RandomImages")))

    def no_codec(g):
        vae = g.add("VDiTAsVAE", model=g.add("VDiTLoadModel", file="t2v-1.3b.safetensors"))
        g.keep("x", g.add("VAEEncode", vae=vae, pixels=g.add("RandomImages")))

    def frames(g):
        vae = g.add("VDiTAsVAE", model=g.add("VDiTLoadModel", file="own.safetensors"))
        g.keep("x", g.add("VAEEncode", vae=vae, pixels=g.add("RandomImages", count=8)))

    assert "16 channels" in told(wrong_vae) and "takes 48" in told(wrong_vae)
    assert "comes from VDiT As Model" in told(there_and_back)
    assert "VDiT As VAE needs a VAE" in told(no_codec)
    assert "use 5 or 9" in told(frames)


# --- memory and LoRAs, inside ComfyUI's process


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """What tests/comfy_inside.py finds in a process of ComfyUI's, by claim: "" where it holds."""
    packs = tmp_path_factory.mktemp("packs")
    (packs / "vdit").symlink_to(PACK, target_is_directory=True)
    script = str(Path(__file__).parent / "comfy_inside.py")
    command = [python_of(Path(COMFYUI)), script, COMFYUI, str(packs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMFYUI)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


CLAIMS = (
    "loaded in part, nothing but matrices stays behind",
    "loaded in part, the result is the same",
    "fp8 matrices with LoRAs are streamed in fp8",
    "a native LoRA finds its tensors, loaded whole or in part",
    "a native LoRA on stored matrices is refused",
    "moved off by another, a model comes back by itself",
    "of two experts one is loaded at a time",
    "a dropped model leaves nothing behind",
    "ComfyUI is told what activations take",
    "native samplers show the colours of our latents",
)


@pytest.mark.parametrize("claim", CLAIMS)
def test_memory_is_managed_by_comfyui(inside, claim):
    assert inside[claim] == ""


def test_every_claim_made_inside_is_tested(inside):
    assert set(inside) == set(CLAIMS)
