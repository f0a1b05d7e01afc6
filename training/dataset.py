"""Reads encoded clips while their folder grows, and draws batches of one size and length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .latents import FLOW_STEP
from .shards import Shards

ROW = ("video", "last", "depth", "flow", "c2w", "fov_deg", "tracks", "foretold", "drafted")


@dataclass
class Batch:
    """Clips of one size: fields as `latents.encoded` gives them, stacked, depth in 0..1 and flow in pixels a frame."""

    video: Tensor  # [B, C, T', h, w] normalised
    last: Tensor  # [B, C, 1, h, w]
    depth: Tensor  # [B, T, 1, H/4, W/4]
    flow: Tensor  # [B, T-1, 2, H/4, W/4]
    c2w: Tensor  # [B, T, 4, 4]
    fov_deg: Tensor  # [B, T]
    tracks: Tensor  # [B, T, TRACKED, 4], see tracks.ball_tracks
    foretold: Tensor  # [B, C+1, T', h, w] drafts as the transformer reads them
    drafted: Tensor  # [B] known latent frames that it is made of
    captions: list[list[str]]
    size: tuple[int, int]  # width, height in pixels

    def told_draft(self, told: Tensor) -> Tensor:
        """The drafts of clips that are told theirs [B], as the transformer reads them: [B, C+1, T', h, w]."""
        return self.foretold * told.view(-1, 1, 1, 1, 1)

    def first(self, latents: int) -> Batch:
        """The same clips cut to their first latent frames; the last frame's own latent then belongs to a later time."""
        frames = 4 * latents - 3
        return Batch(
            self.video[:, :, :latents], self.last, self.depth[:, :frames], self.flow[:, : frames - 1],
            self.c2w[:, :frames], self.fov_deg[:, :frames], self.tracks[:, :frames], self.foretold[:, :, :latents], self.drafted,
            self.captions, self.size,
        )  # fmt: skip


class Dataset(Shards):
    """Encoded clips, in memory (about 170 kB a clip of 5 s)."""

    name, rows = "latents", "video"

    def open(self, path: Path) -> dict:
        """A shard. Raises ValueError for one of an earlier version."""
        shard = torch.load(path, weights_only=True)
        if lacking := [name for name in ROW if name not in shard]:
            raise ValueError(
                f"{path} holds no {', '.join(lacking)}: an earlier version made it; delete the folder and make it "
                "anew with `vdit train latents`"
            )
        return shard

    def shape(self, name: str) -> tuple:
        return (*self.shards[name]["size"], self.shards[name]["depth"].shape[1])

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A random batch; its size is that of a random shard. Longer clips come in smaller batches: equal tokens."""
        names = list(self.shards)
        shape = self.shape(names[rng.integers(len(names))])
        alike = [n for n in names if self.shape(n) == shape]
        count = max(1, count * 41 // max(41, shape[2]))
        picks = [
            (alike[i], int(rng.integers(len(self.shards[alike[i]]["video"]))))
            for i in rng.integers(len(alike), size=count)
        ]
        return self.batch(picks)

    def batch(self, picks: list[tuple[str, int]]) -> Batch:
        """The clips named by shard and row."""
        stacked = {k: torch.stack([self.shards[n][k][i] for n, i in picks]) for k in ROW}
        return Batch(
            stacked["video"].float(), stacked["last"].float(), stacked["depth"].float() / 255,
            stacked["flow"].float() * FLOW_STEP, stacked["c2w"], stacked["fov_deg"],
            stacked["tracks"], stacked["foretold"].float(), stacked["drafted"],
            [self.shards[n]["captions"][i] for n, i in picks], tuple(self.shards[picks[0][0]]["size"]),
        )  # fmt: skip
