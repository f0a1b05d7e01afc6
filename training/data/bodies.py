"""Shards of varied scenes with their labels, for the perception of bodies: `vdit train bodies`.

A shard is a pure function of its number and the photographs that lend it textures, so many processes can fill a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...world.arrays import Bytes
from ...world.families.clip import Clip, make_clip
from ...world.families.objects import OBJECT_FAMILIES, stage
from ...world.families.varied import as_varied, balls_as_varied, varied
from ...world.motion import Motion
from ...world.scene import SceneError
from ...world.simulate import simulate
from ..recipes import BodiesRecipe
from ..run import save_atomic
from .body_labels import FINE, KNOWN, seen
from .other_pictures import OtherPictures, procedural
from .shards import Shards, missing

ALIKE_M = 0.02  # metres by which a ball of a clip may be elsewhere than its scene, simulated anew, has it
SPLIT_SEEDS = {"train": 0, "validation": 10**8, "test": 2 * 10**8}  # first seed of each


@dataclass(frozen=True)
class BodiesFormat:
    """What a shard holds."""

    starts: int = 128  # five-frame starts a file
    each: int = 3  # starts of one scene
    of_objects: float = 0.3  # share of scenes from the families of objects that the benchmark draws from
    of_balls: float = 0.05  # the same of the families of balls; all others are varied
    latest: int = 14  # frame of a scene at which a start may begin, at most
    sizes: tuple[tuple[int, int], ...] = ((96, 96), (128, 96), (96, 128), (96, 96))  # width, height, by number
    textures: int = 24  # a shard's own pool: photographs' parts and procedural pictures


class Bodies(Shards):
    """Starts, mapped from disk."""

    name, rows = "bodies", "rgb"


def texture_pool(photographs: Path | None, count: int, rng: np.random.Generator) -> list[Bytes]:
    """Pictures uint8 [128, 128, 3]: half parts of a folder's photographs, where there is one, else procedural."""
    photos = OtherPictures(photographs) if photographs is not None and photographs.is_dir() else None
    made = [photos.photograph(rng) if photos is not None and i % 2 else procedural(rng) for i in range(count)]
    return [np.round(p * 255).clip(0, 255).astype(np.uint8) for p in made]


def starts_of(seed: int, textures: list[Bytes], size: tuple[int, int], form: BodiesFormat) -> list[dict]:
    """The starts of one scene: often its first frames, where what a person sets up is still untouched."""
    rng = np.random.default_rng([seed, 33])
    frames = form.latest + KNOWN + 1
    kind, clip = rng.random(), None
    if kind < form.of_objects:
        family = OBJECT_FAMILIES[int(rng.integers(len(OBJECT_FAMILIES)))]
        made = as_varied(stage(seed, family, width=size[0], height=size[1], frames=frames))
    elif kind < form.of_objects + form.of_balls:
        clip = make_clip(seed, width=size[0], height=size[1], frames=frames)
        made = balls_as_varied(clip)
    else:
        made = varied(seed, textures, width=size[0], height=size[1], frames=frames)
    first = 0 if rng.random() < 0.3 else int(rng.integers(1, 6))
    begins = [first, *sorted(int(b) for b in rng.integers(first + 1, form.latest + 1, form.each - 1))]
    last = begins[-1] + KNOWN
    motion = simulate(made.scene, seconds=(last * FINE + 1) / (made.fps * FINE), fps=made.fps * FINE)
    found = [seen(made, motion, b, None if clip is None else rendered(clip, motion, b)) for b in begins]
    return [row for row in found if row is not None]


def rendered(clip: Clip, motion: Motion, start: int) -> Tensor | None:
    """A clip's own pictures [KNOWN, H, W, 3] of a start; None where its balls are not where the scene's are."""
    frames = slice(start, start + KNOWN)
    count = clip.centers.shape[1]
    apart = motion.poses[::FINE][frames, :count, :3, 3] - clip.centers[frames]
    return clip.rgb[frames] if np.linalg.norm(apart, axis=-1).max(initial=0.0) <= ALIKE_M else None


def write_bodies(recipe: BodiesRecipe, form: BodiesFormat = BodiesFormat()) -> None:
    """Fill shards number first .. first+shards-1; shards that exist are kept."""
    torch.set_num_threads(1)
    photographs = recipe.photographs if recipe.photographs.is_dir() else None
    for number, path in missing(recipe, "bodies"):
        base = SPLIT_SEEDS[recipe.split] + number * form.starts
        textures = texture_pool(photographs, form.textures, np.random.default_rng([base, 34]))
        size, rows, seed = form.sizes[number % len(form.sizes)], [], base
        while len(rows) < form.starts and seed < base + form.starts:
            try:
                rows += starts_of(seed, textures, size, form)
            except SceneError:  # a scene that comes apart is left out
                pass
            seed += 1
        rows = rows[: form.starts]
        save_atomic({name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}, path)
