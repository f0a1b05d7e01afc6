"""Begins a training run with what an earlier bundle has learned, where the new model has more words and branches."""

from __future__ import annotations

from pathlib import Path

import torch

from ..model.files.bundle import load_world_model
from ..model.text import WordEncoder
from ..model.vdit import VDiT


@torch.no_grad()
def begin_with(bundle: Path, model: VDiT, text: WordEncoder) -> dict:
    """Copy the bundle's tensors by name, and its words by spelling. A control branch that it lacks begins as a copy of
    the blocks it serves (as VACE's does), the embedding of drafts as that of frames that are carried on. Returns the
    bundle's training facts. Raises ValueError for a student, or when a tensor has another shape."""
    old = load_world_model(bundle)
    if old.config.flow_map and not model.config.flow_map:
        raise ValueError(f"{bundle} holds a student; a teacher begins with a teacher's bundle")
    theirs, ours = old.transformer.state_dict(), model.state_dict()
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            raise ValueError(
                f"{bundle}: {name} has shape {tuple(theirs[name].shape)}, this model's is {tuple(ours[name].shape)}; "
                "only a bundle of the same width and depth can be gone on from"
            )
        ours[name].copy_(theirs[name])
    if model.config.draft and not old.config.draft:  # a draft of a frame is worth more than the latest known one
        model.draft_embedding.weight[:, :-1] = model.carry_embedding.weight[:, :-1]
    if model.config.vace_layers and not old.config.vace_layers:
        for layer, block in zip(model.config.vace_layers, model.vace_blocks):
            block.load_state_dict(model.blocks[layer].state_dict(), strict=False)
    for part in ("position", "neighbours.weight", "neighbours.bias"):
        text.state_dict()[part].copy_(old.text.state_dict()[part])
    text.embedding.weight[0] = old.text.embedding.weight[0]
    for word in text._index.keys() & old.text._index.keys():
        text.embedding.weight[text._index[word]] = old.text.embedding.weight[old.text._index[word]]
    return old.facts
