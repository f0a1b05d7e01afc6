"""Transformers whose weights are all at random: of fresh ones many are zero, and a wrong name or shape would not show."""

import torch
from vdit.model.config import VDiTConfig
from vdit.model.vdit import VDiT, init_weights


def randomised(config: VDiTConfig) -> VDiT:
    model = init_weights(VDiT(config), 0)
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return model.requires_grad_(False).eval()
