"""Small untrained models for tests."""

from __future__ import annotations

import torch
from vdit.model.codec.tiny import TinyCodec, TinyCodecConfig
from vdit.model.config import VDiTConfig
from vdit.model.defaults import DEFAULTS, STUDENT_DEFAULTS
from vdit.model.text import WordEncoder
from vdit.model.vdit import VDiT, init_weights
from vdit.model.world_model import WorldModel


def random_world_model(
    seed: int = 0, config: VDiTConfig | None = None, *, controls: bool = False, student: bool = False
) -> WorldModel:
    """An untrained model of small size, for tests: the same seed gives the same weights. `controls`: all of them."""
    branches = dict(camera_rays=2, vace_channels=257, vace_layers=(0,)) if controls else {}
    small = dict(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32, flow_map=student)
    config = config or VDiTConfig(**small, **branches)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = dict(width=16, deep=32, blocks=(1, 1), seen=(16, 32), looks=(1, 1))
        codec = TinyCodec(TinyCodecConfig(channels=config.out_channels, **drawn))
        text = WordEncoder(
            ["a", "red", "blue", "ball", "box", "falls", "rolls", "left", "right", "to", "the"], config.text_dim
        )
        transformer = init_weights(VDiT(config), seed)
        torch.nn.init.normal_(transformer.head.head.weight, std=0.02)
        if controls:
            torch.nn.init.normal_(transformer.control_adapter.conv.weight, std=0.02)
            torch.nn.init.normal_(transformer.vace_blocks[0].after_proj.weight, std=0.02)
    model = WorldModel(config, transformer, codec, text, dict(STUDENT_DEFAULTS if config.flow_map else DEFAULTS))
    for module in model.parts.values():
        module.requires_grad_(False).eval()
    return model
