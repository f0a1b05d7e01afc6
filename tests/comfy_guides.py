"""Run by a ComfyUI's python: its own nodes of LTX and MiniMax H3 on pictures of given sizes. Prints shapes as JSON.

comfy_guides.py /path/to/ComfyUI '{"LTXVAddGuide": {input: value, ...}, ...}'
"""

from __future__ import annotations

import json
import sys

core, stored = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path.insert(0, core)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import torch  # noqa: E402
from comfy_extras import nodes_lt, nodes_minimax_h3  # noqa: E402

GIVEN = json.loads(stored)
TEXT = [[torch.zeros(1, 1, 8), {}]]


class Codec:
    """A VAE of 1 + 8n frames and cells of 32 pixels (LTX), or 5 + 17n frames and cells of 16 (H3)."""

    def __init__(self, channels, cell, latent_frames):
        self.channels, self.cell, self.latent_frames = channels, cell, latent_frames
        self.downscale_index_formula = (8, cell, cell)
        self.seen = []

    def encode(self, pictures):
        frames, height, width = pictures.shape[:3]
        self.seen.append([frames, height, width])
        return torch.zeros(1, self.channels, self.latent_frames(frames), height // self.cell, width // self.cell)


class Words:
    """A text encoder that notes what references come with the prompt."""

    def tokenize(self, prompt, minimax_ref_items):
        self.kinds = [item["type"] for item in minimax_ref_items]

    def encode_from_tokens_scheduled(self, tokens):
        return TEXT


def values(node, *names):
    return {name: GIVEN[node][name] for name in names}


def ltx(picture, depth):
    """Frames and cells of the latent: empty, with the guide behind it, and with the guide cut off again."""
    codec = Codec(128, 32, lambda frames: (frames - 1) // 8 + 1)
    latent = nodes_lt.EmptyLTXVLatentVideo.execute(**values("EmptyLTXVLatentVideo", "width", "height", "length")).args[
        0
    ]
    empty = latent["samples"].shape
    latent = nodes_lt.LTXVImgToVideoInplace.execute(codec, picture, latent, 1.0).args[0]
    span = values("LTXVAddGuide", "frame_idx", "strength")
    halved = {"reference_downscale_factor": 2}
    guided = nodes_lt.LTXVAddGuide.execute(TEXT, TEXT, codec, latent, depth, **span, iclora_parameters=halved).args
    cut = nodes_lt.LTXVCropGuides.execute(*guided).args[2]
    shapes = [list(shape[2:]) for shape in (empty, guided[2]["samples"].shape, cut["samples"].shape)]
    return {"seen": codec.seen, "latents": shapes}


def h3(picture, draft):
    """What the codec and the words see, and the size of the latent that is sampled."""
    codec, words = Codec(24, 16, lambda frames: max(1, 5 * (frames // 17) + 2)), Words()
    size = values("MiniMaxH3ReferenceToVideo", "prompt", "width", "height", "length", "ref_image_size")
    node = nodes_minimax_h3.MiniMaxH3ReferenceToVideo
    pictures = {"ref_images": {"ref_image_0": picture}, "ref_videos": {"ref_video_0": draft}}
    latent = node.execute(clip=words, vae=codec, audio_vae=None, **size, **pictures).args[1]["samples"].tensors[0]
    return {"seen": codec.seen, "references": words.kinds, "latent": list(latent.shape[2:])}


picture = torch.rand(1, 480, 832, 3)
found = {}
for name, run in (("ltx", ltx), ("h3", h3)):
    frames, height, width = GIVEN[name]
    found[name] = run(picture, torch.rand(1, height, width, 3).expand(frames, -1, -1, -1))
print(json.dumps(found))
