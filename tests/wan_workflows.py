"""Tiny files in the place of those that the wan-* workflows name, so that they run for real on any machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import wan_files as make
from vdit.model.codec.wan import WanCodec
from vdit.model.variants import VARIANTS, Variant

WORDS = 256384  # umt5's table, by which its files are known
TEXT_DIM = 32
IMAGE_DIM = 256  # as wan_files.tiny has it
SENTENCES = ["the camera moves alongside a fox on a snowy ridge", "a red ball rolls to the right and comes to rest"] * 4
VARIANT_OF = {  # workflow -> the model whose file it names
    "wan-t2v": "t2v-1.3b",
    "wan-i2v": "i2v-a14b",
    "wan-vace-depth-flow": "vace-1.3b",
    "camera-render-to-vace": "vace-1.3b",
    "wan-fun-camera": "fun-camera-1.3b",
    "wan-4-step": "t2v-a14b",
    "causal-preview": "t2v-1.3b",
    "lingbot-camera": "lingbot-world-cam",
    "tracks-ati": "i2v-14b",
    "tracks-wanmove": "i2v-14b",
    "physics-to-vace": "vace-1.3b",
    "physics-to-wan-i2v": "i2v-a14b",
    "play-to-render": "vace-1.3b",
    "score-wan": "i2v-a14b",
}
SMALL = {"Sample.width": 64, "Sample.height": 64, "Sample.steps": 2}
WIDE = SMALL | {"Sample.width": 416, "Sample.height": 240}  # the shape of what tracks are drawn on, 832x480
SIMULATED = WIDE | {"Simulate.seconds": 0.5, "Simulate.width": 416, "Simulate.height": 240}


def small(path: Path) -> dict[str, int]:
    """{"Title.widget": value} that makes a run of a workflow short."""
    if path.stem.startswith("physics-to-"):
        sized = {"Flow Control.width": 416, "Flow Control.height": 240} if "VDiTFlowControl" in path.read_text() else {}
        return SIMULATED | sized
    if path.stem.startswith("play-"):  # as long as what was played
        return {name: value for name, value in SIMULATED.items() if name != "Simulate.seconds"}
    return WIDE if path.stem.startswith("tracks-") else SMALL


def named_files(path: Path) -> list[dict]:
    """The `models` entries of a workflow: name, url, directory."""
    nodes = json.loads(path.read_text("utf-8"))["nodes"]
    return [entry for node in nodes for entry in node.get("properties", {}).get("models", [])]


def provide(path: Path, models: Path) -> None:
    """Writes a tiny file for each that the workflow names, into the folders of a `models` directory."""
    variant = tiny_variant(VARIANT_OF[path.stem])
    for i, entry in enumerate(named_files(path)):
        file = models / entry["directory"] / entry["name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            continue
        if entry["directory"] == "vae":
            torch.manual_seed(0)
            make.single(file, WanCodec("2.1", 8, 8).state_dict(), torch.float32)
        elif entry["directory"] == "text_encoders":
            umt5(file)
        elif entry["directory"] == "clip_vision":
            file.touch()  # tests have a stand-in for the core's nodes that read it
        elif entry["directory"] == "loras":
            make.lora(file, make.random_state(variant.config), "down/up")
        elif "fp8" in entry["name"]:
            make.fp8_scaled(file, make.random_state(variant.config, seed=i))
        else:
            make.single(file, make.random_state(variant.config, seed=i))


def seen_by_clip() -> SimpleNamespace:
    """What a stand-in for CLIP Vision Encode gives: features of the tiny models' width."""
    return SimpleNamespace(penultimate_hidden_states=torch.zeros(1, 257, IMAGE_DIM))


def tiny_variant(name: str) -> Variant:
    variant = make.tiny(VARIANTS[name])
    return variant.of(replace(variant.config, text_dim=TEXT_DIM))


def umt5(file: Path) -> None:
    """As ComfyUI's: transformers' names, fp8 scaled matrices, the tokenizer inside. Its words are few."""
    from safetensors.torch import load_file, save_file
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    config = UMT5Config(vocab_size=8, d_model=TEXT_DIM, d_kv=16, d_ff=32, num_layers=1, num_heads=2)
    state = UMT5EncoderModel(config).state_dict()
    make.fp8_scaled(file, {n: v for n, v in state.items() if "embed_tokens" not in n and "shared" not in n})
    table = torch.randn(WORDS, TEXT_DIM, dtype=torch.float16)
    whole = load_file(file) | {
        "shared.weight": table,
        "spiece_model": torch.tensor(list(make.tokenizer(SENTENCES, 60)), dtype=torch.uint8),
    }
    save_file(whole, file)
