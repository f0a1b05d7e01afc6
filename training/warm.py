"""Begins a training run with what an earlier bundle has learned, where the new model has more words and branches."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

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
    for name in ours.keys() & theirs.keys():
        if model.config.in_channels > old.config.in_channels:
            theirs[name] = _widened(name, theirs[name], ours[name], old.config.in_channels)
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


def _widened(name: str, theirs: Tensor, ours: Tensor, channels: int) -> Tensor:
    """A tensor of a transformer of so many latent channels, with zeros for those that ours has behind them."""
    wide = torch.zeros_like(ours)
    if name == "patch_embedding.weight":
        wide[:, :channels] = theirs
    elif name == "carry_embedding.weight":  # whose last channel says whether a frame is known
        wide[:, :channels], wide[:, -1] = theirs[:, :-1], theirs[:, -1]
    elif name.startswith("head.head."):  # rows: cells of a patch, then channels
        cells = len(theirs) // channels
        wide.unflatten(0, (cells, -1))[:, :channels] = theirs.unflatten(0, (cells, channels))
    else:
        return theirs
    return wide
