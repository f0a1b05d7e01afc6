"""Warm start: a run begins with an earlier bundle's weights, where its model has more words and branches."""

from __future__ import annotations

from pathlib import Path

import torch

from ..model.text import WordEncoder
from ..model.vdit import VDiT
from .finished_runs import load_bundle


@torch.no_grad()
def warm_start(bundle: Path, model: VDiT, text: WordEncoder) -> dict:
    """Copy the bundle's tensors by name, and its words by spelling. A control branch that it lacks begins as a copy of
    the blocks it serves (as VACE's does), the embedding of drafts as that of known frames that are carried on. Returns
    the bundle's training facts. Raises ValueError for a student, or when a tensor has another shape."""
    transformer, words, old = load_bundle(bundle)
    if old.config.flow_map and not model.config.flow_map:
        raise ValueError(f"{bundle} holds a student; a teacher begins with a teacher's bundle")
    theirs, ours = transformer.state_dict(), model.state_dict()
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            raise ValueError(
                f"{bundle}: {name} has shape {tuple(theirs[name].shape)}, this model's is {tuple(ours[name].shape)}; "
                "a run can only go on from a bundle of the same width and depth"
            )
        ours[name].copy_(theirs[name])
    if (
        model.config.draft and not old.config.draft
    ):  # both show where things are: a draft in this frame, a carried frame earlier
        model.draft_embedding.weight[:, :-1] = model.carry_embedding.weight[:, :-1]
    if model.config.vace_layers and not old.config.vace_layers:
        for layer, block in zip(model.config.vace_layers, model.vace_blocks, strict=True):
            block.load_state_dict(model.blocks[layer].state_dict(), strict=False)
    for part in ("position", "neighbours.weight", "neighbours.bias"):
        text.state_dict()[part].copy_(words.state_dict()[part])
    text.embedding.weight[0] = words.embedding.weight[0]
    for word in text._index.keys() & words._index.keys():
        text.embedding.weight[text._index[word]] = words.embedding.weight[words._index[word]]
    return old.facts
