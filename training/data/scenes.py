"""Starts of clips and where their balls go, for the object dynamics: five drawn frames, then motion alone.

A shard is a pure function of its number, so many machines can fill a folder. Drawing is what a clip costs, so each
gives two starts: its own, and one at a later time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...model.object_dynamics import KNOWN
from ...world.families.caption import caption
from ...world.families.render import FIRST_BALL_ID, render
from ...world.families.scene import Scene, sample_scene
from ...world.families.simulate import Motion, simulate
from ..recipes import ScenesRecipe
from ..run import save_atomic
from .encoded_clips import CAPTIONS
from .shards import missing
from .tracks import TRACKED, background_inverse_depth

FRAMES = 81  # of a start: ten seconds
FPS = 8.0


@dataclass(frozen=True)
class SceneFormat:
    """What a shard holds, and how scenes are chosen (by hand: what the dynamics found hardest)."""

    scenes: int = 64  # a file, of two starts each
    sizes: tuple[tuple[int, int], ...] = ((128, 128), (96, 160), (160, 96), (96, 160))  # width, height, by shard number
    latest: int = 40  # frame at which the later start begins, at most
    favoured: dict[str, float] = field(  # families of every other scene, and their shares
        default_factory=lambda: {"wall": 0.3, "arc": 0.25, "behind": 0.1, "fall": 0.15, "throw": 0.2}
    )


def start_of(scene: Scene, motion: Motion, at: int, size: tuple[int, int]) -> dict:
    """One start: rgb uint8 [KNOWN, H, W, 3], area [KNOWN, TRACKED] of each ball that shows in pixels, centers [FRAMES,
    TRACKED, 3] in metres, the last one repeated after so many `frames`, radius [TRACKED] (0: no ball), c2w and fov_deg,
    ground [2, H/CELL, W/CELL] of the first and the last picture (see background_inverse_depth), light [3]: its
    direction."""
    width, height = size
    rows = np.arange(at, at + FRAMES).clip(max=len(motion.centers) - 1)
    shown = replace(scene, c2w=scene.c2w[rows[:KNOWN]], fov_deg=scene.fov_deg[rows[:KNOWN]])
    drawn = render(shown, Motion(motion.centers[rows[:KNOWN]], motion.box_poses[rows[:KNOWN]]), width, height)
    centers, radius, area = np.zeros((FRAMES, TRACKED, 3)), np.zeros(TRACKED), torch.zeros(KNOWN, TRACKED)
    for i, ball in enumerate(scene.balls):
        centers[:, i], radius[i] = motion.centers[rows, i], ball.radius
        area[:, i] = (drawn.instance == FIRST_BALL_ID + i).flatten(1).sum(1)
    floats = {"centers": centers, "radius": radius, "c2w": scene.c2w[rows], "fov_deg": scene.fov_deg[rows]}
    return {
        "rgb": torch.from_numpy(drawn.rgb_uint8()),
        "area": area,
        **{name: torch.tensor(values, dtype=torch.float32) for name, values in floats.items()},
        "frames": torch.tensor(len(motion.centers) - at),
        "ground": background_inverse_depth(scene, motion, [int(rows[0]), int(rows[KNOWN - 1])], size).half(),
        "light": torch.tensor(scene.light, dtype=torch.float32),
    }


def write_scenes(recipe: ScenesRecipe, form: SceneFormat = SceneFormat()) -> None:
    """Fill shards number first .. first+shards-1 with scenes of seed number*scenes+i; shards that exist are kept.

    Where the recipe names no family, seeds draw every other scene's, and `favoured` the rest.
    """
    torch.set_num_threads(1)
    families, shares = list(form.favoured), list(form.favoured.values())
    for number, path in missing(recipe, "scenes"):
        size = form.sizes[number % len(form.sizes)]
        rows, captions = [], []
        for seed in range(number * form.scenes, (number + 1) * form.scenes):
            rng = np.random.default_rng([seed, 1])
            later = int(rng.integers(1, form.latest + 1))
            favoured = rng.choice(families, p=shares) if seed % 2 else None
            scene = sample_scene(seed, recipe.family or favoured, split=recipe.split, frames=FRAMES, fps=FPS)
            motion = simulate(scene)
            rows += [start_of(scene, motion, at, size) for at in (0, later)]
            captions.append([caption(scene, i) for i in range(CAPTIONS)])
        stacked = {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
        save_atomic({**stacked, "captions": captions, "size": size}, path)
