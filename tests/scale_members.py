"""What two processes send and hold in one training step of a small Wan transformer, counted where it is sent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from fakes import random_transformer
from torch import distributed
from vdit.model.variants import VARIANTS
from vdit.training.launch import Team
from vdit.training.parallel import Sharding, local_bytes, shard

DIM, FFN, LAYERS = 512, 1536, 4


def config():
    wan = VARIANTS["t2v-1.3b"].config
    return replace(wan, dim=DIM, ffn_dim=FFN, layers=LAYERS, text_dim=64, freq_dim=64)


def step(folder: Path, team: Team) -> None:
    """One step; writes what this process sent, in bytes, and what it holds of weights and of gradients."""
    sent = {"gathered": 0, "scattered": 0}
    gather, scatter = distributed.all_gather_single, distributed.reduce_scatter_single

    def gathered(output, input, *rest, **named):
        sent["gathered"] += input.numel() * input.element_size() * (team.size - 1)
        return gather(output, input, *rest, **named)

    def scattered(output, input, *rest, **named):
        sent["scattered"] += output.numel() * output.element_size() * (team.size - 1)
        return scatter(output, input, *rest, **named)

    distributed.all_gather_single, distributed.reduce_scatter_single = gathered, scattered
    model = random_transformer(config()).requires_grad_(True).train()
    count = sum(p.numel() for p in model.parameters())
    shard(model, replace(team, shards=True), Sharding(bfloat16=True, recompute=True))
    given = torch.randn(1, 16, 2, 8, 8), torch.tensor([0.5]), torch.randn(1, 3, 64)
    model(*given).square().mean().backward()
    held = local_bytes(model.parameters()), local_bytes(p.grad for p in model.parameters() if p.grad is not None)
    found = {**sent, "weights": held[0], "gradients": held[1], "count": count}
    (folder / f"found-{team.rank}.json").write_text(json.dumps(found))
