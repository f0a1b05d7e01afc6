"""Run by a ComfyUI's python: LTX and MiniMax H3 of tiny random weights, sampled by the core's own nodes as
physics-to-ltx and physics-to-h3 wire them. Prints, as JSON, the shapes of what came and what it depends on.

comfy_renders.py /path/to/ComfyUI '{"KSampler": {input: value, ...}, ...}'
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

core, stored = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path.insert(0, core)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.supported_models as models  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402
from comfy_extras import nodes_custom_sampler as custom  # noqa: E402
from comfy_extras import nodes_lt, nodes_lt_audio, nodes_minimax_h3  # noqa: E402

import nodes  # noqa: E402

GIVEN = json.loads(stored)
STEPS = 2
LTX = dict(
    image_model="ltxav", num_layers=2, num_attention_heads=2, attention_head_dim=32, cross_attention_dim=64,
    audio_num_attention_heads=2, audio_attention_head_dim=16, audio_cross_attention_dim=32, caption_channels=64,
    cross_attention_adaln=True, apply_gated_attention=True, caption_proj_before_connector=True,
    connector_num_layers=1, connector_num_attention_heads=2, connector_attention_head_dim=32,
    audio_connector_num_attention_heads=2, audio_connector_attention_head_dim=16,
)  # fmt: skip
H3 = dict(
    image_model="minimax_h3", hidden_size=64, num_layers=2, token_refiner_num_layers=1, num_attention_heads=1,
    attention_head_dim=128, ffn_hidden_size=64, text_dim=64, time_embed_hidden_size=64, time_embed_dim=32,
)  # fmt: skip


def tiny(kind, config):
    """A core's model of these sizes with random weights, in its patcher."""
    described = kind(config)
    described.set_inference_dtype(torch.float32, None)
    model = described.get_model({}, "", device="cpu")
    random = torch.Generator().manual_seed(0)
    for name, tensor in model.diffusion_model.state_dict(keep_vars=True).items():
        with torch.no_grad():
            if name.endswith("inv_freq"):
                tensor.copy_(10000.0 ** -torch.linspace(0, 1, len(tensor)))
            elif tensor.ndim == 1 and "norm" in name:
                tensor.fill_(1.0)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.1)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


class Codec:
    """Latents that depend on the pictures: their colours, averaged over a cell and mixed into channels."""

    def __init__(self, channels, cell, latent_frames):
        self.mix = torch.randn(channels, 3, generator=torch.Generator().manual_seed(1))
        self.cell, self.latent_frames = cell, latent_frames
        self.downscale_index_formula = (8, cell, cell)

    def encode(self, pictures):
        frames, height, width = pictures.shape[:3]
        grid = self.latent_frames(frames), height // self.cell, width // self.cell
        cells = torch.nn.functional.adaptive_avg_pool3d(pictures.permute(3, 0, 1, 2)[None], grid)
        return torch.einsum("cd,bdthw->bcthw", self.mix, cells - 0.5)


class Words:
    """A text encoder of random words."""

    def tokenize(self, prompt, **more):
        return prompt

    def encode_from_tokens_scheduled(self, tokens):
        return words(64)


def words(width, seed=2):
    return [[torch.randn(1, 8, width, generator=torch.Generator().manual_seed(seed)), {"pooled_output": None}]]


def values(node, *names):
    return {name: GIVEN[node][name] for name in names}


def ltx(model, picture, depth):
    """The latent of the video, sampled with its first frame given and its depth as guide, without the guide."""
    codec = Codec(128, 32, lambda frames: (frames - 1) // 8 + 1)
    heard = SimpleNamespace(
        latent_channels=8,
        first_stage_model=SimpleNamespace(latent_frequency_bins=16, num_of_latents_from_frames=lambda frames, rate: 5),
    )
    frames, height, width = depth.shape[:3]
    latent = nodes_lt.EmptyLTXVLatentVideo.execute(width, height, frames).args[0]
    latent = nodes_lt.LTXVImgToVideoInplace.execute(codec, picture, latent, 1.0).args[0]
    rate = (
        values("LTXVConditioning", "frame_rate") if isinstance(GIVEN["LTXVConditioning"]["frame_rate"], float) else {}
    )
    text = nodes_lt.LTXVConditioning.execute(words(96), words(96, 3), **{"frame_rate": 24.0} | rate).args
    span = values("LTXVAddGuide", "frame_idx", "strength")
    shot = nodes_lt.LTXVAddGuide.execute(
        *text, codec, latent, depth, **span, iclora_parameters={"reference_downscale_factor": 2}
    ).args
    silence = nodes_lt_audio.LTXVEmptyLatentAudio.execute(frames, 24.0, 1, heard).args[0]
    both = nodes_lt.LTXVConcatAVLatent.execute(shot[2], silence).args[0]
    how = values("KSampler", "seed", "cfg", "sampler_name", "scheduler", "denoise")
    (sampled,) = nodes.KSampler().sample(
        model, positive=shot[0], negative=shot[1], latent_image=both, steps=STEPS, **how
    )
    video = nodes_lt.LTXVSeparateAVLatent.execute(sampled).args[0]
    return nodes_lt.LTXVCropGuides.execute(shot[0], shot[1], video).args[2]["samples"]


def h3(model, picture, draft):
    """The latent of the video, sampled with picture and draft as references."""
    codec = Codec(24, 16, lambda frames: 1 if frames == 1 else 5 * (frames // 17) + 2)
    frames, height, width = draft.shape[:3]
    pictures = {"ref_images": {"ref_image_0": picture}, "ref_videos": {"ref_video_0": draft}}
    size = {"width": width, "height": height, "length": frames}
    told = values("MiniMaxH3ReferenceToVideo", "prompt", "ref_image_size")
    node = nodes_minimax_h3.MiniMaxH3ReferenceToVideo
    text, latent = node.execute(clip=Words(), vae=codec, audio_vae=None, **size, **told, **pictures).args
    noise = custom.RandomNoise.execute(**values("RandomNoise", "noise_seed")).args[0]
    guider = custom.BasicGuider.execute(model, text).args[0]
    sampler = custom.KSamplerSelect.execute(**values("KSamplerSelect", "sampler_name")).args[0]
    sigmas = custom.BasicScheduler.execute(model, steps=STEPS, **values("BasicScheduler", "scheduler", "denoise")).args[
        0
    ]
    return custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]["samples"].unbind()[0]


def clip(frames, height, width, seed):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


found = {}
with torch.inference_mode():
    for name, kind, config, render, frames, side in (
        ("ltx", models.LTXAV, LTX, ltx, 17, 128),
        ("h3", models.MiniMaxH3, H3, h3, 22, 64),
    ):
        model, picture = tiny(kind, config), clip(1, side, side, 1)
        once, again, other = (render(model, picture, clip(frames, side, side, seed)) for seed in (2, 2, 3))
        found[name] = {
            "latent": list(once.shape),
            "finite": bool(once.isfinite().all()),
            "same again": once.equal(again),
            "of the guide": not once.equal(other),
        }
print(json.dumps(found))
