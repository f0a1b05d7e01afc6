"""Runs suites over clips: draws them, has videos made, scores them; keeps each result, so that a run can go on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from torch import Tensor

from ..world.arrays import Floats
from ..world.families.clip import Clip
from ..world.families.objects import ObjectClip
from .body_controls import BodySource
from .body_labels import BodiesLabels
from .controls import AnySource, MakeVideo, Source
from .files import claim, read_json, write_json, write_video
from .foreign import ForeignClip
from .labels import Labels
from .obedience import obedience
from .scores import ALL_SUITES, score
from .selection import Format, Taken, Tally, draw, take

OnDone = Callable[[int, int, str], None]  # pieces of work done, in all, and the current one; may raise to stop
Check = Callable[[], None]  # called before each piece of work; may raise to stop


class _ClipVideo(TypedDict):
    suite: str
    split: str
    family: str
    seed: int
    who: str  # name of the video: a model or a control


class ClipResult(_ClipVideo, total=False):
    """One video of one clip, as the files hold it: `measures` for obedience, all else for the scores."""

    value: float
    checks: list[dict[str, Any]]  # fields of checks.Check
    path_px: list[list[float | None]]
    true_path_px: list[list[float]]
    radius_px: float
    measures: dict[str, float | None]


@dataclass(frozen=True)
class Plan:
    """What to run: `count` clips for each suite and split, shared evenly among the suite's families."""

    seed: int
    count: int
    suites: tuple[str, ...] = ("permanence", "physics", "coherence")
    splits: tuple[str, ...] = ("test",)
    form: Format = field(default_factory=Format)

    def __post_init__(self):
        if self.count < 1 or self.seed < 0:
            raise ValueError(f"count is {self.count} and seed {self.seed}; expected at least 1 and at least 0")
        for suite in self.suites:
            if suite not in ALL_SUITES:
                raise ValueError(f"suite {suite!r} is unknown; choose from {', '.join(ALL_SUITES)}")

    def parts(self) -> Iterator[Part]:
        """The clips of each suite, split and family."""
        for suite in self.suites:
            families = ALL_SUITES[suite].families
            count = max(1, self.count // ALL_SUITES[suite].cost)
            for split in self.splits:
                for i, family in enumerate(families):
                    if share := (count + len(families) - 1 - i) // len(families):
                        yield Part(suite, split, family, share)

    @property
    def clips(self) -> int:
        """Number of clips asked for."""
        return sum(part.count for part in self.parts())


@dataclass(frozen=True)
class Part:
    """Clips of one kind."""

    suite: str
    split: str
    family: str
    count: int

    @property
    def name(self) -> str:
        """As files have it."""
        return f"{self.suite}-{self.split}-{self.family}"


@dataclass(frozen=True)
class Run:
    """What a run gave."""

    plan: dict[str, Any]
    settings: dict[str, Any]
    results: list[ClipResult]
    drawn: dict[str, dict[str, Any]]  # part name -> clips asked for and taken, and why candidates were left out


def run(
    plan: Plan,
    videos: Mapping[str, MakeVideo],
    out: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    keep: tuple[str, ...] = ("model",),
    on_done: OnDone | None = None,
    check: Check | None = None,
) -> Run:
    """Score every video of every clip; the same arguments give the same results.

    out: results are kept there, one file each, with the frames of the videos named in `keep` as mp4; a second run with
    the same plan and settings takes what is there. Raises OtherRunError when the folder holds another run's.
    """
    facts = json.loads(json.dumps({"plan": asdict(plan), "settings": dict(settings or {})}))
    if out is not None:
        claim(out, facts)
    results: list[ClipResult] = []
    drawn: dict[str, dict[str, Any]] = {}
    done, total = 0, plan.clips * len(videos)
    for part in plan.parts():
        tally = Tally()
        for seed, clip_of in clips(out, part, plan, tally, check or (lambda: None)):
            for who, video in videos.items():
                path = result_path(out, who, part, seed) if out else None
                found = read_json(path) if path else None
                if found is None:
                    if check is not None:
                        check()
                    taken = clip_of()
                    frames = video(_source(taken, plan.form.known, np.random.default_rng([seed, *who.encode()])))
                    found = judged(part, frames, taken, plan.form.known, seed, who, out, video=who in keep)
                results.append(found)
                done += 1
                if on_done is not None:
                    on_done(done, total, f"{part.name} {who}")
        if tally.taken < part.count and on_done is not None:
            done += (part.count - tally.taken) * len(videos)
            on_done(min(done, total), total, f"{part.name}: only {tally.taken} suitable scenes")
        drawn[part.name] = {"asked": part.count, "taken": tally.taken, "left_out": dict(tally.left_out)}
    return Run(**facts, results=results, drawn=drawn)


def _source(taken: Taken, known: int, rng: np.random.Generator) -> AnySource:
    clip, labels = taken
    if isinstance(labels, BodiesLabels):
        assert isinstance(clip, (ObjectClip, ForeignClip))
        return BodySource(clip, labels, known, rng)
    assert isinstance(clip, Clip)
    return Source(clip, labels, known, rng)


def judged(
    part: Part,
    frames: Tensor | Floats,
    taken: Taken,
    known: int,
    seed: int,
    who: str,
    out: Path | None = None,
    *,
    video: bool = True,
) -> ClipResult:
    """The result of one video, kept in the run's folder `out`, with the frames beside it if `video`."""
    found = _judged(part, frames, taken, known, seed, who)
    if out is not None:
        path, labels = result_path(out, who, part, seed), taken[1]
        if video:
            write_video(path.with_suffix(".mp4"), frames, labels.fps)
            write_video(_truth_path(path), labels.truth, labels.fps)
        write_json(path, found)
    return found


def _judged(part: Part, frames: Tensor | Floats, taken: Taken, known: int, seed: int, who: str) -> ClipResult:
    clip, labels = taken
    result: ClipResult = {"suite": part.suite, "split": part.split, "family": part.family, "seed": seed, "who": who}
    if part.suite == "obedience":
        assert isinstance(clip, Clip) and isinstance(labels, Labels)
        result["measures"] = obedience(frames, clip, labels, known)
        return result
    found = score(part.suite, frames, labels, known)
    result["value"] = round(found.value, 4)
    result["checks"] = [asdict(check) for check in found.checks]
    result["path_px"] = [[None if np.isnan(v) else round(float(v), 2) for v in p] for p in found.track.center]
    result["true_path_px"] = [[round(float(v), 2) for v in p] for p in labels.center]
    result["radius_px"] = round(float(labels.radius[0]), 2)
    return result


def noise_seed(labels: Labels | BodiesLabels) -> int:
    """A seed for a model's noise that follows from the clip, so that the order of work does not matter."""
    return zlib.crc32(f"{labels.family}/{labels.split}/{labels.seed}".encode())


def clips(
    out: Path | None, part: Part, plan: Plan, tally: Tally, check: Check
) -> Iterator[tuple[int, Callable[[], Taken]]]:
    """Scene seeds, and clips with labels; on a second run a clip is made only when something of it is missing."""
    path = _drawn_path(out, part) if out else None
    known = read_json(path) if path else None
    if known is not None:
        tally.taken = len(known["seeds"])
        tally.left_out.update(known["left_out"])
        for seed in known["seeds"]:
            yield seed, cache(partial(taken_again, part, plan.form, seed, check))
        return
    seeds: list[int] = []
    for taken in draw(part.suite, part.family, part.split, plan.seed, part.count, plan.form, tally, check):
        seeds.append(taken[1].seed)
        yield taken[1].seed, partial(_same, taken)
    if out is not None:
        note_drawn(out, part, seeds, tally.left_out)


def _drawn_path(out: Path, part: Part) -> Path:
    return out / "clips" / f"{part.name}.json"


def note_drawn(out: Path, part: Part, seeds: Sequence[int], left_out: Mapping[str, int]) -> None:
    """Keep in a run's folder which scenes were taken for a part, and why others were not: they are not drawn again."""
    write_json(_drawn_path(out, part), {"seeds": list(seeds), "left_out": dict(left_out)})


def _same(taken: Taken) -> Taken:
    return taken


def taken_again(part: Part, form: Format, seed: int, check: Check) -> Taken:
    """A clip that was taken before. Raises ValueError where the suite cannot judge it any more."""
    made = take(part.suite, part.family, part.split, seed, form, check)
    if isinstance(made, str):
        raise ValueError(f"scene {seed} of {part.name} cannot be judged any more: {made}")
    return made


def result_path(out: Path, who: str, part: Part, seed: int) -> Path:
    """Where a run keeps the result of one video."""
    slug = "".join(c if c.isalnum() else "-" for c in who)
    return out / "results" / slug / f"{part.name}-{seed}.json"


def _truth_path(result: Path) -> Path:
    """Where the simulator's video of a result is kept."""
    return result.parent.parent / "truth" / result.with_suffix(".mp4").name


def kept_videos(out: Path, result: ClipResult) -> tuple[Path, Path]:
    """Where a run leaves the simulator's video of a clip, and the one that was scored."""
    part = Part(result["suite"], result["split"], result["family"], 1)
    path = result_path(out, result["who"], part, result["seed"])
    return _truth_path(path), path.with_suffix(".mp4")
