"""Spends so many minutes on perception, transformer and student, from data to bundles: `vdit train all`.

Parts come one after the other, each with its share of the time; those that are done are left out when the same command
runs again, and with more minutes each goes on. Codec, object dynamics and words are those of the bundle that it begins
with.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from ..machine.writing import written
from ..model.files.beside import BODIES, BODIES_GATE, GATE
from ..model.files.bundle import BUNDLED
from ..model.perception import PerceptionConfig
from .batches import available_cores
from .bundle import bundle
from .data.bodies import BodiesFormat, write_bodies
from .data.encoded_clips import LatentFormat, write_encoded_clips
from .data.trajectories import CLIPS, trajectory_paths, write_trajectories
from .finished_runs import load_bundle, load_teacher
from .launch import ALONE, Team, launch, under_torchrun
from .recipes import (
    AllRecipe,
    BodiesRecipe,
    BundleRecipe,
    LatentsRecipe,
    PerceptionRecipe,
    StudentRecipe,
    TeacherRecipe,
    TrajectoriesRecipe,
)
from .run import load_state
from .tasks import student, teacher
from .tasks.bodies import CONFIG as PERCEPTION_CONFIG
from .tasks.bodies import train as train_perception

SHARES = {  # of the minutes; chosen by hand
    **{"bodies": 0.12, "perception": 0.28, "latents": 0.12},
    **{"transformer": 0.26, "trajectories": 0.08, "student": 0.14},
}
COOLDOWN = 0.3  # share of the transformer's time over which its rate falls to zero
PART = 4  # clips of a batch that are enough for a process of its own
BATCH, STUDENT_BATCH, RANK, DRAFTED = 24, 16, 24, 0.3  # as the bundled files were trained, see docs/training-log.md


@dataclass(frozen=True)
class Sizes:
    """What is made and trained, apart from the transformer, whose sizes are its bundle's."""

    bodies: BodiesFormat = field(default_factory=BodiesFormat)
    latents: LatentFormat = field(default_factory=LatentFormat)
    perception: PerceptionConfig = PERCEPTION_CONFIG
    clips_per_file: int = CLIPS
    files: int = 10**6  # of trajectories and shards, at most
    batch: int = BATCH


class Everything:
    """One run: its folders, and how much of each part's time is spent."""

    def __init__(self, recipe: AllRecipe, sizes: Sizes):
        self.recipe, self.sizes, self.out = recipe, sizes, recipe.out
        self.note = self.out / "spent.json"  # seconds, of parts that have no training's state to tell
        self.begun = recipe.start_from / BUNDLED.name
        if not self.begun.is_file():
            raise FileNotFoundError(f"no {self.begun}; --start-from names a folder with {BUNDLED.name}, as weights/ is")
        self.bundles = self.out / "bundles"
        self.teacher = self.bundles / BUNDLED.name
        self.cores = recipe.processes or available_cores()  # processes that make data
        self.processes = max(1, min(self.cores, sizes.batch // PART)) if recipe.device == "cpu" else 1  # that train

    def seconds(self, part: str) -> float:
        """A part's share of the time."""
        return 60 * self.recipe.minutes * SHARES[part.partition("-")[0]]

    def spent(self) -> dict[str, float]:
        """Seconds, by part."""
        return json.loads(self.note.read_text("utf-8")) if self.note.is_file() else {}

    def filled(self, part: str, make: Callable[[int], None], team: Team) -> None:
        """make(n) of this member's numbers n until the part's time is over, at least once in all; a killed run goes on
        with what is left of it."""
        from tqdm import tqdm

        total = round(self.seconds(part))
        before, begun = self.spent().get(part, 0.0), time.monotonic()
        with tqdm(total=total, initial=min(total, round(before)), desc=part, unit="s", disable=not team.leads) as bar:
            for number in range(team.rank, self.sizes.files, team.size):
                now = before + time.monotonic() - begun
                bar.update(min(total, round(now)) - bar.n)
                if team.leads:
                    with written(self.note) as partial_note:
                        partial_note.write_text(json.dumps({**self.spent(), part: now}), "utf-8")
                if now >= self.seconds(part) and (number >= team.size or before):
                    break
                make(number)

    def run(self) -> None:
        """All parts."""
        self.bundles.mkdir(parents=True, exist_ok=True)
        parts = (self.draw_bodies, self.perceive, self.encode, self.transform, self.solve, self.distil)
        left, threads = self.recipe.minutes, torch.get_num_threads()
        for number, (name, part) in enumerate(zip(SHARES, parts, strict=True), 1):
            own = self.seconds(name) / 60
            left -= own
            print(f"{name}, {number} of {len(SHARES)}: {own:.3g} min; about {max(0.0, left):.3g} min for the rest")
            torch.set_num_threads(threads)  # what draws data takes one
            part()
        print(f"{self.bundles}: carry on elsewhere with vdit train all --start-from {self.bundles}")

    def draw_bodies(self) -> None:
        """Shards of bodies."""
        launch(self.cores, _draw_bodies, self.recipe, sizes=self.sizes)

    def encode(self) -> None:
        """Shards of latents. On a GPU one process encodes what others draw."""
        launch(self.processes, _encode, self.recipe, sizes=self.sizes)

    def perceive(self) -> None:
        """The perception, and its file."""
        recipe = PerceptionRecipe(
            bodies=self.out / "bodies",
            held_out=self.out / "bodies-val",
            out=self.out / "perception",
            minutes=self.seconds("perception") / 60,
            batch=min(PerceptionRecipe.batch, self.sizes.batch),
            peak=1.5e-3,
            device=self.recipe.device,
            seed=self.recipe.seed,
            start_from=BODIES.found(self.begun),
        )
        if not _done(recipe.out, self.seconds("perception")):
            train_perception(recipe, self.sizes.perception)
        bundle(BundleRecipe(perception=recipe.out, out=self.teacher))

    def transform(self) -> None:
        """The transformer, and its bundle with the parts of the one it began with."""
        hours = self.seconds("transformer") / 3600
        recipe = TeacherRecipe(
            latents=self.out / "latents",
            held_out=self.out / "latents-val",
            out=self.out / "transformer",
            hours=hours,
            batch=self.sizes.batch,
            muon=True,
            cooldown_hours=COOLDOWN * hours,
            start_from=self.begun,
            seed=self.recipe.seed,
            processes=self.processes,
            device=self.recipe.device,
        )
        if not _done(recipe.out, self.seconds("transformer")):
            launch(self.processes, teacher.train, recipe, config=load_bundle(self.begun)[2].config)
        bundle(BundleRecipe(codec=self.begun, teacher=recipe.out, dynamics=self.begun, out=self.teacher))
        for kind in (GATE, BODIES_GATE):
            if gate := kind.found(self.begun):
                with written(kind.path(self.teacher)) as partial_gate:
                    shutil.copyfile(gate, partial_gate)

    def solve(self) -> None:
        """The transformer's trajectories."""
        launch(self.processes, _solve, self.recipe, sizes=self.sizes)

    def distil(self) -> None:
        """The student of the bundled transformer, and its bundle beside it."""
        cache = self.cache()
        recipe = StudentRecipe(
            teacher=self.teacher,
            latents=self.out / "latents",
            held_out=self.out / "latents-val",
            cache=cache,
            out=cache.with_name(cache.name.replace("trajectories", "student")),
            hours=self.seconds("student") / 3600,
            files=len(trajectory_paths(cache)),
            drafted=DRAFTED,
            rank=RANK,
            batch=min(STUDENT_BATCH, self.sizes.batch),
            peak=1.5e-3,
            muon=True,
            seed=self.recipe.seed,
            processes=self.processes,
            device=self.recipe.device,
        )
        if not _done(recipe.out, self.seconds("student")):
            launch(self.processes, student.train, recipe)
        bundle(BundleRecipe(student=recipe.out, out=self.bundles / "vdit-small-student.safetensors"))

    def cache(self) -> Path:
        """The folder of the present transformer's trajectories."""
        return self.out / f"trajectories-{load_teacher(self.teacher).fingerprint}"


def _done(run: Path, seconds: float) -> bool:
    """Whether a run has trained for so long."""
    state = load_state(run)
    return state is not None and state["seconds"] >= seconds


def _draw_bodies(recipe: AllRecipe, team: Team, *, sizes: Sizes) -> None:
    run = Everything(recipe, sizes)
    held_out = BodiesRecipe(run.out / "bodies-val", shards=1, split="validation")
    write = partial(write_bodies, form=sizes.bodies)
    if team.leads:
        write(held_out)
    one = BodiesRecipe(run.out / "bodies", shards=1)
    run.filled("bodies", lambda number: write(replace(one, first=number)), team)


def _encode(recipe: AllRecipe, team: Team, *, sizes: Sizes) -> None:
    run = Everything(recipe, sizes)
    one = LatentsRecipe(run.begun, out=run.out / "latents", shards=1, device=recipe.device)
    write = partial(write_encoded_clips, form=sizes.latents)
    if team.leads:
        write(replace(one, out=run.out / "latents-val", split="validation"))
    run.filled("latents", lambda number: write(replace(one, first=number)), team)


def _solve(recipe: AllRecipe, team: Team, *, sizes: Sizes) -> None:
    run = Everything(recipe, sizes)
    cache = run.cache()
    one = TrajectoriesRecipe(
        run.teacher, run.out / "latents", cache, files=1, drafted=DRAFTED, cache_gb=float("inf"), device=recipe.device
    )
    write = partial(write_trajectories, clips_per_file=sizes.clips_per_file)
    run.filled(cache.name, lambda number: write(replace(one, first=number)), team)


def train(recipe: AllRecipe, sizes: Sizes = Sizes()) -> None:
    """Carry out a recipe, resuming where its folder stands. Raises FileNotFoundError without bundles to begin with."""
    if under_torchrun():
        raise ValueError("vdit train all starts its own processes (--processes); start it without torchrun")
    if recipe.minutes <= 0 or (recipe.processes or 1) < 1:
        raise ValueError(f"--minutes {recipe.minutes:g} --processes {recipe.processes}; expected more than 0 of each")
    ALONE.computes_on(recipe.device)
    Everything(recipe, sizes).run()
