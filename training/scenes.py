"""Starts of clips and where their balls go, for training the object dynamics: five frames are drawn, the rest is motion.

A shard is a pure function of its number, so many machines can fill a folder. Drawing is what a clip costs, so each gives
two starts: its own, and one at a later time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..model.object_dynamics import KNOWN
from ..world.caption import caption
from ..world.simulate import Motion, simulate
from ..world.render import FIRST_BALL_ID, render
from ..world.scene import Scene, sample_scene
from .latents import WORDINGS
from .run import save_atomic
from .shards import missing
from .tracks import TRACKED, ground_of

SHARD = 64  # clips a file, of two starts each
FRAMES = 81  # ten seconds
FPS = 8.0
SIZES = (128, 128), (96, 160), (160, 96), (96, 160)  # width and height, by shard number
LATEST = 40  # frame at which the later start begins, at most
FAVOURED = {"wall": 0.3, "arc": 0.25, "behind": 0.1, "fall": 0.15, "throw": 0.2}  # families of every other scene


def start_of(scene: Scene, motion: Motion, at: int, size: tuple[int, int]) -> dict:
    """One start: rgb uint8 [KNOWN, H, W, 3], area [KNOWN, TRACKED] of each ball that shows in pixels, centers [FRAMES,
    TRACKED, 3] in metres, the last one repeated behind so many `frames`, radius [TRACKED] (0: no ball), c2w and fov_deg,
    ground [2, H/CELL, W/CELL] of the first and the last picture: see tracks.ground_of; light [3]: the way to it."""
    width, height = size
    rows = np.arange(at, at + FRAMES).clip(max=len(motion.centers) - 1)
    shown = replace(scene, c2w=scene.c2w[rows[:KNOWN]], fov_deg=scene.fov_deg[rows[:KNOWN]])
    drawn = render(shown, Motion(motion.centers[rows[:KNOWN]], motion.box_poses[rows[:KNOWN]]), width, height)
    centers, radius, area = np.zeros((FRAMES, TRACKED, 3)), np.zeros(TRACKED), torch.zeros(KNOWN, TRACKED)
    for i, ball in enumerate(scene.balls):
        centers[:, i], radius[i] = motion.centers[rows, i], ball.radius
        area[:, i] = (drawn.instance == FIRST_BALL_ID + i).flatten(1).sum(1)
    return {
        "rgb": torch.from_numpy(drawn.rgb_uint8()), "area": area, "centers": torch.tensor(centers, dtype=torch.float32),
        "radius": torch.tensor(radius, dtype=torch.float32), "c2w": torch.tensor(scene.c2w[rows], dtype=torch.float32),
        "fov_deg": torch.tensor(scene.fov_deg[rows], dtype=torch.float32), "frames": torch.tensor(len(motion.centers) - at),
        "ground": ground_of(scene, motion, rows[[0, KNOWN - 1]], size).half(),
        "light": torch.tensor(scene.light, dtype=torch.float32),
    }  # fmt: skip


def write_shards(folder: Path, first: int, count: int, *, split: str = "train", family: str | None = None) -> None:
    """Fill shards number first .. first+count-1 with scenes of seed number*SHARD+i; shards that exist are kept.

    family: of all scenes; without it seeds draw every other one's, and FAVOURED the rest.
    """
    torch.set_num_threads(1)
    for number, path in missing(folder, "scenes", first, count, split):
        width, height = SIZES[number % len(SIZES)]
        rows, captions = [], []
        for seed in range(number * SHARD, (number + 1) * SHARD):
            rng = np.random.default_rng([seed, 1])
            later = int(rng.integers(1, LATEST + 1))
            favoured = rng.choice(list(FAVOURED), p=list(FAVOURED.values())) if seed % 2 else None
            scene = sample_scene(seed, family or favoured, split=split, frames=FRAMES, fps=FPS)
            motion = simulate(scene)
            rows += [start_of(scene, motion, at, (width, height)) for at in (0, later)]
            captions.append([caption(scene, i) for i in range(WORDINGS)])
        stacked = {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
        save_atomic({**stacked, "captions": captions, "size": (width, height)}, path)
