"""Begins a training run with what an earlier bundle has learned, where the new model has more words and branches."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.checkpoint import load_world_model
from ..model.text import WordEncoder
from ..model.vdit import VDiT


@torch.no_grad()
def begin_with(bundle: Path, model: VDiT, text: WordEncoder) -> dict:
    """Copy the bundle's tensors by name, and its words by spelling. A control branch that it lacks begins as a copy of
    the blocks it serves (as VACE's does), latent channels that it lacks (the state's) with weights of zero. Returns the
    bundle's training facts. Raises ValueError for a student, or when a tensor has another shape."""
    old = load_world_model(bundle)
    if old.config.flow_map and not model.config.flow_map:
        raise ValueError(f"{bundle} holds a student; a teacher begins with a teacher's bundle")
    theirs, ours = old.transformer.state_dict(), model.state_dict()
    more = max(0, model.config.in_channels - old.config.in_channels)
    for name in ours.keys() & theirs.keys():
        theirs[name] = _widened(name, theirs[name], old.config.in_channels, more)
        if ours[name].shape != theirs[name].shape:
            raise ValueError(
                f"{bundle}: {name} has shape {tuple(theirs[name].shape)}, this model's is {tuple(ours[name].shape)}; "
                "only a bundle of the same width and depth can be gone on from"
            )
        ours[name].copy_(theirs[name])
    if model.config.vace_layers and not old.config.vace_layers:
        for layer, block in zip(model.config.vace_layers, model.vace_blocks):
            block.load_state_dict(model.blocks[layer].state_dict(), strict=False)
    for part in ("position", "neighbours.weight", "neighbours.bias"):
        text.state_dict()[part].copy_(old.text.state_dict()[part])
    text.embedding.weight[0] = old.text.embedding.weight[0]
    for word in text._index.keys() & old.text._index.keys():
        text.embedding.weight[text._index[word]] = old.text.embedding.weight[old.text._index[word]]
    return old.facts


def _widened(name: str, theirs: Tensor, channels: int, more: int) -> Tensor:
    """A tensor of a transformer of so many latent channels, with weights of zero for some more behind them."""
    zeros = (0, 0) * (theirs.ndim - 2) + (0, more)
    if name == "patch_embedding.weight":
        return F.pad(theirs, zeros)
    if name == "carry_embedding.weight":  # whose last channel says whether a frame is known
        return torch.cat((F.pad(theirs[:, :-1], zeros), theirs[:, -1:]), 1)
    if name.startswith("head.head."):  # rows: cells of a patch, then channels
        return F.pad(theirs.unflatten(0, (-1, channels)), (0, 0) * (theirs.ndim - 1) + (0, more)).flatten(0, 1)
    return theirs
