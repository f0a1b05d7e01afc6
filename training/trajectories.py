"""The teacher's own ways from noise to video, solved once and kept on disk, for students to learn from.

A trajectory holds the states x at the sigmas of a guided run and the guided velocity at each, so that any pair of sigmas
gives a student's exact target, (x_t - x_r) / (t - r), with no further call of the teacher.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.config import VDiTConfig
from ..model.files.bundle import load_world_model
from ..model.text import WordEncoder
from ..model.vdit import VDiT
from ..sampling import guided, sample, schedule
from ..sampling import SampleOptions
from ..sampling.frame_levels import frame_levels as levels
from ..pipeline import SamplerSettings, resolve
from ..world.caption import vocabulary
from .dataset import Dataset
from .launch import Team
from .lowrank import add_ranks, merged
from .run import Run, save_atomic
from .shards import Shards
from .teacher import CONTROLLED, DRAFT, SAMPLED, SHORT, Shots, draw_shots, encode_words

BATCH = 16  # clips of 41 frames in a file: about 30 MB at 16 steps
STEPS = 16  # UniPC's ends are then 2% from its limit, and other seeds 140% (first bundled model)


@dataclass
class Teacher:
    transformer: VDiT
    text: WordEncoder
    guidance: float
    rise: float  # of its noise along a clip, see sampling.rising
    name: str
    facts: dict
    fingerprint: str  # of all weights


def load_teacher(source: Path, guidance: float | None = None) -> Teacher:
    """A teacher from a bundle (.safetensors) or a training run's folder, its averaged weights.

    guidance None: the bundle's default. Raises FileNotFoundError without a state, ValueError for a student.
    """
    source = Path(source)
    if source.is_dir():
        transformer, text, state = averaged(source)
        usual, hours = SAMPLED, round(state["hours"] + state["seconds"] / 3600, 2)
        facts = {"teacher_steps": state["step"], "teacher_clips_seen": state["samples"], "teacher_hours": hours}
    else:
        model = load_world_model(source)
        transformer, text, usual, facts = model.transformer, model.text, resolve(model, SamplerSettings()).as_report(), model.facts
    if transformer.config.flow_map:
        raise ValueError(
            f"{source} is a student; students are distilled from a teacher: give the teacher's file or run"
        )
    digest = hashlib.sha256()
    for module in (transformer, text):
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.half().numpy().tobytes())
    guidance = usual["guidance"] if guidance is None else guidance
    return Teacher(transformer, text, guidance, usual["rise"], source.name, facts, digest.hexdigest()[:16])


def averaged(run: Path) -> tuple[VDiT, WordEncoder, dict]:
    """Transformer and words of a training run with their averaged weights, and its whole state."""
    state = Run(run).load() if Path(run).is_dir() else None
    if state is None or "average" not in state:
        raise FileNotFoundError(f"no transformer's state.pt in {run}; train it with `vdit train teacher`")
    config = VDiTConfig(**state["config"])
    transformer = VDiT(config)
    text = WordEncoder(state.get("vocabulary") or vocabulary(), config.text_dim, config.text_len)
    if state.get("rank") is not None:
        add_ranks(transformer, state["rank"])
    weights = {**state["average"], **state.get("frozen", {})}
    transformer.load_state_dict({n[6:]: v for n, v in weights.items() if n.startswith("model.")})
    merged(transformer)
    text.load_state_dict({n[5:]: v for n, v in state["average"].items() if n.startswith("text.")})
    for module in (transformer, text):
        module.eval().requires_grad_(False)
    return transformer, text, state


@torch.no_grad()
def solve(teacher: Teacher, shots: Shots, generator: torch.Generator, steps: int) -> dict:
    """Guided trajectories of a batch of shots, ready to be stored: states [B, steps+1, C, T, h, w] (float16) at `sigmas`,
    velocities [B, steps, ...] there, known [B, T], the text context and the controls.

    States are those that the solver shows the model, so that each velocity is exact for its state.
    """
    sigmas = schedule(steps)
    noise = torch.randn(shots.x0.shape, generator=generator)
    context = encode_words(teacher.text, [*shots.words, *[""] * len(shots.words)])
    named = shots.told
    states, velocities = [], []

    def transformer(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        double = {n: torch.cat((v, v)) if len(x) > len(v) else v for n, v in named.items()}
        return teacher.transformer(x, sigma, context, **double)

    denoise = guided(transformer, *context.chunk(2), teacher.guidance)
    level = partial(levels, held=shots.known, lag=teacher.rise)
    mask = shots.known[:, None, :, None, None]

    def held(x: Tensor, sigma: Tensor) -> Tensor:
        """As sampling.hold, for clips of which different frames are known."""
        seen = shots.x0.where(mask, x)
        v = (noise - shots.x0).where(mask, denoise(seen, level(float(sigma.max())).masked_fill(shots.known, 0.0)))
        states.append(x.half())
        velocities.append(v.half())
        return v

    end = sample(held, noise, sigmas, "unipc", options=SampleOptions(frame_levels=level))
    states.append(shots.x0.where(mask, end).half())
    kept = {n: v.half() for n, v in named.items()}
    return {
        "sigmas": torch.tensor(sigmas), "rise": torch.tensor(teacher.rise),
        "states": torch.stack(states, 1), "velocities": torch.stack(velocities, 1),
        "known": shots.known, "context": context[: len(noise)].half(), **kept,
    }  # fmt: skip


def write_trajectories(
    teacher: Teacher, latents: Path, out: Path, first: int, count: int, *, steps: int = STEPS, limit_gb: float = 4.0,
    seed: int = 0, batch: int = BATCH, drafted: float = DRAFT, team: Team = Team(),
) -> int:  # fmt: skip
    """Fill files number first .. first+count-1 of the cache, each member of a team its part; those that exist are kept.
    Returns how many there are then. drafted: share of clips that are told a draft, of those that could be.

    Stops at `limit_gb` of the whole folder. Raises ValueError when the folder holds another teacher's trajectories, and for a
    share that is none.
    """
    from tqdm import tqdm

    if not 0 <= drafted <= 1:
        raise ValueError(f"the share of clips that are told a draft is {drafted:g}; expected 0 to 1")

    out, data = Path(out), None
    made_by = {
        "guidance": teacher.guidance,
        "rise": teacher.rise,
        "steps": steps,
        "drafted": drafted,
        "name": teacher.name,
    }
    _claim(out, {"teacher": teacher.fingerprint, **made_by})
    numbers = range(first + team.rank, first + count, team.size)
    missing = [n for n in numbers if not (out / f"trajectories-{n:05d}.pt").exists()]
    bar = tqdm(missing, unit="file", desc="trajectories", disable=not missing)
    for number in bar:
        path = out / f"trajectories-{number:05d}.pt"
        if path.exists():  # by another process meanwhile
            continue
        used = sum(p.stat().st_size for p in trajectory_paths(out)) / 1e9
        bar.set_postfix(GB=f"{used:.2f}")
        if used >= limit_gb:
            bar.write(f"{out} holds {used:.2f} GB of at most {limit_gb:g} (--cache-gb); no more are made")
            break
        data = data or Dataset.load(latents)
        for attempt in range(3):  # one CPU gave NaN once in some hundred passes, not repeatably
            rng = np.random.default_rng([seed, number])
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            c, clips = teacher.transformer.config, data.draw(batch, rng)
            controlled, short = rng.random(2) < (CONTROLLED, SHORT)
            shots = draw_shots(clips, c, rng, generator, controlled=controlled, short=short, drafted=drafted)
            try:
                save_atomic(solve(teacher, shots, generator, steps), path)
                break
            except FloatingPointError as e:
                if attempt == 2:
                    raise
                bar.write(f"{path.name}: {e}; solved again")
    return len(trajectory_paths(out))


def trajectory_paths(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob("trajectories-*.pt"))


def _claim(folder: Path, made_by: dict) -> None:
    """Note whose trajectories a folder holds; ValueError when it already holds others."""
    note = folder / "made_by.json"
    if note.exists():
        found = json.loads(note.read_text())
        differ = {k: (found.get(k), v) for k, v in made_by.items() if k != "name" and found.get(k) != v}
        if differ:
            what = ", ".join(f"{k} {a} there, {b} now" for k, (a, b) in differ.items())
            raise ValueError(f"{folder} holds other trajectories ({what}); delete the folder or name another one")
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = note.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(made_by))
    partial.replace(note)


class Trajectories(Shards):
    """Cached trajectories, read from disk a few rows at a time."""

    name, rows = "trajectories", "known"

    def draw(self, count: int, rng: np.random.Generator) -> tuple[dict, Tensor]:
        """A random file and rows of it [count at most]: all of one size, told the same kinds of control.

        Longer clips come fewer, so that a batch holds about `count` clips of 11 latent frames.
        """
        names = list(self.shards)
        sizes = np.array([len(self.shards[n]["known"]) for n in names])
        found = self.shards[names[rng.choice(len(names), p=sizes / sizes.sum())]]
        have, frames = found["known"].shape
        count = min(have, max(1, count * 11 // max(11, frames - 1)))
        return found, torch.from_numpy(rng.permutation(have)[:count])


def frame_levels(found: dict, rows: Tensor, t: Tensor) -> Tensor:
    """Noise levels [B, T] of the frames of trajectories `rows` when their clips are at sigmas t [B]; known ones: 0."""
    known = found["known"][rows]
    return levels(t[:, None], known, found["rise"]).masked_fill(known, 0.0)


def on_the_way(found: dict, rows: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """State x and velocity dx/dlevel [B, C, T, h, w] of trajectories `rows` at sigmas t [B], between the stored ones.

    Cubic Hermite between two stored states; in a frame's last step, at whose end no velocity is known, a parabola. What
    does not move in a step has the velocity that was stored.
    """
    sigmas = found["sigmas"]
    j = (sigmas[None] >= t[:, None] - 1e-9).sum(1).sub(1).clamp(0, len(sigmas) - 2)
    above, here, below = (frame_levels(found, rows, s)[:, None, :, None, None] for s in (sigmas[j], t, sigmas[j + 1]))
    h = above - below
    rests = h <= 0
    h = h.masked_fill(rests, 1.0)
    u = (above - here) / h  # from 0 to 1 through the step
    a, b = found["states"][rows, j].float(), found["states"][rows, j + 1].float()
    ma = -h * found["velocities"][rows, j].float()
    mb = -h * found["velocities"][rows, (j + 1).clamp_max(len(sigmas) - 2)].float()
    mb = torch.where(below == 0, 2 * (b - a) - ma, mb)  # the cubic with this slope is the parabola
    c2, c3 = 3 * (b - a) - 2 * ma - mb, ma + mb - 2 * (b - a)
    x, slope = a + u * (ma + u * (c2 + u * c3)), ma + u * (2 * c2 + 3 * u * c3)
    return x.where(~rests, a), -slope.where(~rests, ma) / h
