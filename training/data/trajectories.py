"""The teacher's trajectories from noise to video, solved once and kept on disk, for students to learn from.

A trajectory holds the states x at the sigmas of a guided run and the guided velocity at each, so that any pair of
sigmas gives a student's exact target, (x_t - x_r) / (t - r), with no further call of the teacher.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...machine.writing import written
from ...sampling import SampleOptions, guided, sample, schedule
from ...sampling.frame_levels import frame_levels as levels
from ..batches import moved
from ..finished_runs import Teacher, load_teacher
from ..launch import ALONE
from ..random_streams import RandomStreams
from ..recipes import StudentRecipe, TrajectoriesRecipe
from ..run import save_atomic
from .clip_batches import EncodedClips
from .conditioning import BatchKind, ConditionedClips, draw_conditioning, word_ids
from .shards import Shards

# UniPC's ends are 2% from its limit in 16 steps, and those of other seeds 140% (first bundled model).
CLIPS = 16  # of 41 frames in a file: about 30 MB at 16 steps
SHARED = ("sigmas", "rise")  # of all rows of a file
ATTEMPTS = 3  # to solve a file: one CPU gave NaN once in some hundred passes, not repeatably


@torch.no_grad()
def solve(teacher: Teacher, clips: ConditionedClips, generator: torch.Generator, steps: int) -> dict:
    """Guided trajectories of a batch of clips, ready to be stored: states [B, steps+1, C, T, h, w] (float16) at
    `sigmas`, velocities [B, steps, ...] there, known [B, T], the text context and the controls.

    States are those that the solver shows the model, so that each velocity is exact for its state.
    """
    sigmas, device = schedule(steps), teacher.text.position.device
    noise = torch.randn(clips.x0.shape, generator=generator).to(device)  # a seed is the same noise on every device
    clips = moved(clips, device)
    ids = word_ids(teacher.text, [*clips.captions, *[""] * len(clips.captions)])
    words, nothing = teacher.text(ids.to(device)).chunk(2)
    controls = clips.controls
    states, velocities = [], []

    def transformer(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        doubled = {n: torch.cat((v, v)) if len(x) > len(v) else v for n, v in controls.items()}
        return teacher.transformer(x, sigma, context, **doubled)

    denoise = guided(transformer, words, nothing, teacher.guidance)
    level = partial(levels, held=clips.known, lag=teacher.rise)
    mask = clips.known[:, None, :, None, None]

    def recorded(x: Tensor, sigma: Tensor) -> Tensor:
        """As sampling.hold, for clips of which different frames are known."""
        given = clips.x0.where(mask, x)
        velocity = denoise(given, level(float(sigma.max())).masked_fill(clips.known, 0.0))
        v = (noise - clips.x0).where(mask, velocity)
        states.append(x.half())
        velocities.append(v.half())
        return v

    end = sample(recorded, noise, sigmas, "unipc", options=SampleOptions(frame_levels=level))
    states.append(clips.x0.where(mask, end).half())
    made = {
        "sigmas": torch.tensor(sigmas),
        "rise": torch.tensor(teacher.rise),
        "states": torch.stack(states, 1),
        "velocities": torch.stack(velocities, 1),
        "known": clips.known,
        "context": words.half(),
        **{n: v.half() for n, v in controls.items()},
    }
    return {name: value.cpu() for name, value in made.items()}


def write_trajectories(recipe: TrajectoriesRecipe, clips_per_file: int = CLIPS) -> None:
    """Fill a recipe's files number first .. first+files-1; see fill_cache."""
    teacher = load_teacher(recipe.teacher, recipe.guidance).on(ALONE.computes_on(recipe.device))
    numbers = range(recipe.first, recipe.first + recipe.files)
    fill_cache(teacher, recipe, recipe.latents, recipe.cache, numbers, clips_per_file=clips_per_file)


def fill_cache(
    teacher: Teacher,
    recipe: TrajectoriesRecipe | StudentRecipe,
    latents: Path,
    out: Path,
    numbers: range,
    *,
    seed: int = 0,
    clips_per_file: int = CLIPS,
) -> None:
    """Solve those files that are not there, until the folder holds the recipe's limit.

    Raises ValueError when the folder holds another teacher's trajectories, and for a share of drafts that is none.
    """
    from tqdm import tqdm

    if not 0 <= recipe.drafted <= 1:
        raise ValueError(f"the share of clips that are told a draft is {recipe.drafted:g}; expected 0 to 1")
    _claim(out, teacher, recipe)
    paths = [out / f"trajectories-{n:05d}.pt" for n in numbers]
    missing = [(n, path) for n, path in zip(numbers, paths, strict=True) if not path.exists()]
    data, bar = None, tqdm(missing, unit="file", desc="trajectories", disable=not missing)
    for number, path in bar:
        if path.exists():  # by another process meanwhile
            continue
        used = sum(p.stat().st_size for p in trajectory_paths(out)) / 1e9
        bar.set_postfix(GB=f"{used:.2f}")
        if used >= recipe.cache_gb:
            bar.write(f"{out} holds {used:.2f} GB of at most {recipe.cache_gb:g} (--cache-gb); no more are made")
            break
        data = data or EncodedClips.load(latents)
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([seed, number])
            random = RandomStreams(rng, torch.Generator().manual_seed(seed * 1_000_003 + number))
            batch, kind = data.draw(clips_per_file, rng), BatchKind.draw(rng)
            clips = draw_conditioning(batch, teacher.transformer.config, random, kind, recipe.drafted)
            try:
                save_atomic(solve(teacher, clips, random.generator, recipe.teacher_steps), path)
                break
            except FloatingPointError as e:
                if attempt == ATTEMPTS - 1:
                    raise
                bar.write(f"{path.name}: {e}; solved again")


def trajectory_paths(folder: Path) -> list[Path]:
    """The files of a cache."""
    return sorted(Path(folder).glob("trajectories-*.pt"))


def _claim(folder: Path, teacher: Teacher, recipe: TrajectoriesRecipe | StudentRecipe) -> None:
    """Note whose trajectories a folder holds; ValueError when it already holds others."""
    made_by = {
        "teacher": teacher.fingerprint,
        "guidance": teacher.guidance,
        "rise": teacher.rise,
        "steps": recipe.teacher_steps,
        "drafted": recipe.drafted,
        "name": teacher.name,
    }
    note = folder / "made_by.json"
    if note.exists():
        found = json.loads(note.read_text())
        differ = {k: (found.get(k), v) for k, v in made_by.items() if k != "name" and found.get(k) != v}
        if differ:
            what = ", ".join(f"{k} {a} there, {b} now" for k, (a, b) in differ.items())
            raise ValueError(f"{folder} holds other trajectories ({what}); delete the folder or name another one")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with written(note) as partial:
        partial.write_text(json.dumps(made_by))


class Trajectories(Shards):
    """Cached trajectories, mapped from disk."""

    name, rows = "trajectories", "known"

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random rows of a random file, at most `count`: all of one size, given the same kinds of control.

        Longer clips come fewer, so that a batch holds about `count` clips of 11 latent frames.
        """
        names = list(self.shards)
        sizes = np.array([len(self.shards[n]["known"]) for n in names])
        found = self.shards[names[rng.choice(len(names), p=sizes / sizes.sum())]]
        stored, frames = found["known"].shape
        count = min(stored, max(1, count * 11 // max(11, frames - 1)))
        rows = torch.from_numpy(rng.permutation(stored)[:count])
        return {name: value if name in SHARED else value[rows] for name, value in found.items()}


def conditions(found: dict, rows: Tensor) -> dict[str, Tensor]:
    """The context and the controls of cached trajectories, as the transformer takes them."""
    return {n: found[n][rows].float() for n in ("context", "camera", "vace", "draft") if n in found}


def frame_levels(found: dict, rows: Tensor, t: Tensor) -> Tensor:
    """Noise levels [B, T] of the frames of trajectories `rows` when their clips are at sigmas t [B]; known ones: 0."""
    known = found["known"][rows]
    return levels(t[:, None], known, found["rise"]).masked_fill(known, 0.0)


def interpolant(found: dict, rows: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """State x and velocity dx/dlevel [B, C, T, h, w] of trajectories `rows` at sigmas t [B], between the stored ones.

    Cubic Hermite between two stored states; in a frame's last step, at whose end no velocity is known, a parabola. A
    frame whose level stays the same in a step has the velocity that was stored.
    """
    sigmas = found["sigmas"]
    j = (sigmas[None] >= t[:, None] - 1e-9).sum(1).sub(1).clamp(0, len(sigmas) - 2)
    above, here, below = (frame_levels(found, rows, s)[:, None, :, None, None] for s in (sigmas[j], t, sigmas[j + 1]))
    h = above - below
    constant = h <= 0
    h = h.masked_fill(constant, 1.0)
    u = (above - here) / h  # from 0 to 1 through the step
    a, b = found["states"][rows, j].float(), found["states"][rows, j + 1].float()
    ma = -h * found["velocities"][rows, j].float()
    mb = -h * found["velocities"][rows, (j + 1).clamp_max(len(sigmas) - 2)].float()
    mb = torch.where(below == 0, 2 * (b - a) - ma, mb)  # the cubic with this slope is the parabola
    c2, c3 = 3 * (b - a) - 2 * ma - mb, ma + mb - 2 * (b - a)
    x, slope = a + u * (ma + u * (c2 + u * c3)), ma + u * (2 * c2 + 3 * u * c3)
    return x.where(~constant, a), -slope.where(~constant, ma) / h
