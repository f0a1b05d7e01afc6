"""Rendered clips on disk, in shards that several processes can fill and a training run can read while they grow."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..world.clip import make_clip
from .shards import missing

SHARD = 32  # clips a file: about 64 MB of 41 frames at 128x128


def shard_paths(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob("clips-*.npy"))


def as_frames(clip: np.ndarray) -> Tensor:
    """One stored clip uint8 [T, H, W, 3] -> [1, T, H, W, 3] in 0..1."""
    return torch.from_numpy(clip.astype(np.float32))[None] / 255


def write_shards(
    folder: Path, first: int, count: int, *, split: str = "train", family: str | None = None, size: int = 128,
    frames: int = 41, fps: float = 8.0,
) -> None:  # fmt: skip
    """Fill shards number first .. first+count-1: uint8 frames [SHARD, T, H, W, 3] and captions beside them.

    Clip i of shard k has seed k*SHARD+i; family: of all clips (seeds draw it otherwise). Shards that exist are kept, so an
    interrupted run goes on where it stopped.
    """
    torch.set_num_threads(1)
    for k, path in missing(folder, "clips", first, count, split, ".npy"):
        seeds = range(k * SHARD, (k + 1) * SHARD)
        made = [make_clip(seed, family, split=split, width=size, height=size, frames=frames, fps=fps) for seed in seeds]
        rgb = np.stack([c.render.rgb_uint8() for c in made])
        notes = [{"seed": c.scene.seed, "family": c.scene.family, "caption": c.caption} for c in made]
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        with open(partial, "wb") as f:
            np.save(f, rgb)
        path.with_suffix(".json").write_text(json.dumps(notes))
        partial.rename(path)
