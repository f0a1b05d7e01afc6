"""Reads encoded clips while their folder grows, and draws batches of one size and length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .encoded_clips import FLOW_STEP
from .shards import Shards

TENSORS = ("video", "last", "depth", "flow", "c2w", "fov_deg", "tracks", "foretold", "drafted")  # of a shard


@dataclass(frozen=True)
class Batch:
    """Clips of one size: fields as encoded_clips.py gives them, stacked, depth in 0..1 and flow in pixels a frame."""

    video: Tensor  # [B, C, T', h, w] normalised
    last: Tensor  # [B, C, 1, h, w]
    depth: Tensor  # [B, T, 1, H/4, W/4]
    flow: Tensor  # [B, T-1, 2, H/4, W/4]
    c2w: Tensor  # [B, T, 4, 4]
    fov_deg: Tensor  # [B, T]
    tracks: Tensor  # [B, T, TRACKED, 4], see tracks.ball_tracks
    draft: Tensor  # [B, C+1, T', h, w] as the transformer reads it
    draft_known: Tensor  # [B] known latent frames from which the draft is predicted
    captions: list[list[str]]
    size: tuple[int, int]  # width, height in pixels

    def drafts_of(self, clips: Tensor) -> Tensor:
        """The drafts of the chosen clips [B], nothing of the others, as the transformer reads them: [B, C+1, T', h,
        w]."""
        return self.draft * clips.view(-1, 1, 1, 1, 1)

    def first(self, latents: int) -> Batch:
        """The same clips cut to their first latent frames; the last frame's own latent then belongs to a later time."""
        frames = 4 * latents - 3
        return replace(
            self,
            **{name: getattr(self, name)[:, :, :latents] for name in ("video", "draft")},
            **{name: getattr(self, name)[:, :frames] for name in ("depth", "c2w", "fov_deg", "tracks")},
            flow=self.flow[:, : frames - 1],
        )


class EncodedClips(Shards):
    """Encoded clips, in memory (about 170 kB a clip of 5 s)."""

    name, rows = "latents", "video"

    def open(self, path: Path) -> dict:
        """A shard. Raises ValueError for one of an earlier version."""
        shard = torch.load(path, weights_only=True)
        if lacking := [name for name in TENSORS if name not in shard]:
            raise ValueError(
                f"{path} holds no {', '.join(lacking)}: an earlier version made it; delete the folder and make it "
                "anew with `vdit train latents`"
            )
        return shard

    def shape(self, name: str) -> tuple[int, int, int]:
        """Width, height and frames of a shard's clips."""
        return (*self.shards[name]["size"], self.shards[name]["depth"].shape[1])

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A random batch; its size is that of a random shard. Longer clips come in smaller batches: equal tokens."""
        names = list(self.shards)
        shape = self.shape(names[rng.integers(len(names))])
        alike = [n for n in names if self.shape(n) == shape]
        count = max(1, count * 41 // max(41, shape[2]))
        chosen = [alike[i] for i in rng.integers(len(alike), size=count)]
        return self.batch([(n, int(rng.integers(len(self.shards[n]["video"])))) for n in chosen])

    def batch(self, picks: list[tuple[str, int]]) -> Batch:
        """The clips named by shard and row."""
        stacked = {k: torch.stack([self.shards[n][k][i] for n, i in picks]) for k in TENSORS}
        floats = {k: stacked.pop(k).float() for k in ("video", "last")}
        return Batch(
            **floats,
            depth=stacked.pop("depth").float() / 255,
            flow=stacked.pop("flow").float() * FLOW_STEP,
            draft=stacked.pop("foretold").float(),
            draft_known=stacked.pop("drafted"),
            **stacked,
            captions=[self.shards[n]["captions"][i] for n, i in picks],
            size=tuple(self.shards[picks[0][0]]["size"]),
        )
