"""Rendered clips on disk, in shards that several processes can fill and a training run can read while they grow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...machine.writing import written
from ...world.families.clip import make_clip
from ..recipes import ClipsRecipe
from .shards import missing


@dataclass(frozen=True)
class ClipFormat:
    """What a shard holds."""

    clips: int = 32  # a file: about 64 MB of 41 frames at 128x128
    frames: int = 41
    fps: float = 8.0


def clip_files(folder: Path) -> list[Path]:
    """The shards of a folder. Raises FileNotFoundError where there is none."""
    if not (paths := sorted(Path(folder).glob("clips-*.npy"))):
        raise FileNotFoundError(f"no clips-*.npy in {folder}; make them with `vdit train clips`")
    return paths


def as_frames(clip: np.ndarray) -> Tensor:
    """One stored clip uint8 [T, H, W, 3] -> [1, T, H, W, 3] in 0..1."""
    return torch.from_numpy(clip.astype(np.float32))[None] / 255


def write_clips(recipe: ClipsRecipe, form: ClipFormat = ClipFormat()) -> None:
    """Fill shards number first .. first+shards-1: uint8 frames [clips, T, H, W, 3] and captions beside them.

    Clip i of shard k has seed k*clips+i. Shards that exist are kept, so an interrupted run goes on where it stopped.
    """
    torch.set_num_threads(1)
    make = partial(make_clip, family=recipe.family, split=recipe.split, width=recipe.size, height=recipe.size)
    for k, path in missing(recipe, "clips", ".npy"):
        seeds = range(k * form.clips, (k + 1) * form.clips)
        made = [make(seed, frames=form.frames, fps=form.fps) for seed in seeds]
        rgb = np.stack([c.render.rgb_uint8() for c in made])
        notes = [{"seed": c.scene.seed, "family": c.scene.family, "caption": c.caption} for c in made]
        with written(path.with_suffix(".json")) as beside:
            beside.write_text(json.dumps(notes))
        with written(path) as beside, open(beside, "wb") as file:  # last: a shard that is there has its captions
            np.save(file, rgb)
