"""Runs suites over clips: draws them, has videos made, scores them; keeps each result, so that a run can go on."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np

from ..world.clip import Clip
from .labels import Labels
from .obedience import obedience
from .scores import score
from .select import SUITES, Format, Tally, draw, take

Video = Callable[[Clip, Labels, np.random.Generator], Any]  # -> frames [T,H,W,3]
FEWER = {"coherence": 5, "obedience": 5}  # these suites cost more a clip and get one clip for so many of the others


class OtherRun(ValueError):
    """The out folder holds results of other settings."""


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
            if suite not in SUITES:
                raise ValueError(f"suite {suite!r} is unknown; choose from {', '.join(SUITES)}")

    def parts(self) -> Iterator[tuple[str, str, str, int]]:
        """Suite, split, family and the number of clips."""
        for suite in self.suites:
            families = SUITES[suite].families
            count = max(1, self.count // FEWER.get(suite, 1))
            for split in self.splits:
                for i, family in enumerate(families):
                    if share := (count + len(families) - 1 - i) // len(families):
                        yield suite, split, family, share

    @property
    def clips(self) -> int:
        return sum(count for *_, count in self.parts())


def run(
    plan: Plan,
    videos: dict[str, Video],
    out: Path | None = None,
    *,
    settings: dict | None = None,
    keep: tuple[str, ...] = ("model",),
    on_done: Callable[[int, int, str], None] | None = None,
    check: Callable[[], None] | None = None,
) -> dict:
    """Score every video of every clip: {"results": [one a clip and video], "drawn": {part: tally}, "plan", "settings"}.

    out: results are kept there, one file each, with the frames of the videos named in `keep` as mp4; a second run with
    the same plan and settings takes what is there. on_done(done, total, what) and `check` may raise to stop. The same
    arguments give the same results. Raises OtherRun when the folder holds another run's.
    """
    facts = json.loads(json.dumps({"plan": asdict(plan), "settings": settings or {}}))
    if out is not None:
        _claim(out, facts)
    results, drawn, done, total = [], {}, 0, plan.clips * len(videos)
    for suite, split, family, count in plan.parts():
        part, tally = f"{suite}-{split}-{family}", Tally()
        for clip, labels, seed in _clips(out, part, suite, split, family, plan, count, tally):
            for who, video in videos.items():
                path = out / "results" / _slug(who) / f"{part}-{seed}.json" if out is not None else None
                found = _read(path)
                if found is None:
                    if check is not None:
                        check()
                    if callable(clip):
                        clip, labels = clip()
                    rng = np.random.default_rng([seed, *who.encode()])
                    frames = video(clip, labels, rng)
                    found = judged(suite, frames, clip, labels, plan.form.known) | {
                        "suite": suite, "split": split, "family": family, "seed": seed, "who": who}  # fmt: skip
                    if path is not None:
                        if who in keep:
                            write_video(path.with_suffix(".mp4"), frames, labels.fps)
                            write_video(out / "results" / "truth" / f"{part}-{seed}.mp4", labels.truth, labels.fps)
                        _write(path, found)
                results.append(found)
                done += 1
                if on_done is not None:
                    on_done(done, total, f"{part} {who}")
        short = count - tally.taken
        if short and on_done is not None:
            done += short * len(videos)
            on_done(min(done, total), total, f"{part}: only {tally.taken} suitable scenes")
        drawn[part] = {"asked": count, "taken": tally.taken, "left_out": dict(tally.left_out)}
    return facts | {"results": results, "drawn": drawn}


def judged(suite: str, frames, clip: Clip, labels: Labels, known: int) -> dict:
    """One video's result on one clip, as JSON."""
    if suite == "obedience":
        return {"measures": obedience(frames, clip, labels, known)}
    true = [[round(float(v), 2) for v in p] for p in labels.center]
    return score(suite, frames, labels, known).as_json() | {
        "true_path_px": true,
        "radius_px": round(float(labels.radius[0]), 2),
    }


def seed_of(*words: Any) -> int:
    """A seed for noise that follows from what is made, so that the order of work does not matter."""
    return zlib.crc32("/".join(map(str, words)).encode())


def _clips(out, part, suite, split, family, plan: Plan, count: int, tally: Tally):
    """Clips with labels and seed; on a second run a clip is a callable, made only when something is missing."""
    path = out / "clips" / f"{part}.json" if out is not None else None
    known = _read(path)
    if known is not None:
        tally.taken = len(known["seeds"])
        tally.left_out.update(known["left_out"])
        for seed in known["seeds"]:
            yield (lambda seed=seed: take(suite, family, split, seed, plan.form)), None, seed
        return
    seeds = []
    for clip, labels in draw(suite, family, split, plan.seed, count, plan.form, tally):
        seeds.append(labels.seed)
        yield clip, labels, labels.seed
    if path is not None:
        _write(path, {"seeds": seeds, "left_out": dict(tally.left_out)})


def _claim(out: Path, facts: dict) -> None:
    path = out / "run.json"
    there = _read(path)
    if there is not None and there != facts:
        differs = [f"{group}.{k}" for group in facts for k in {**there.get(group, {}), **facts[group]}
                   if there.get(group, {}).get(k) != facts[group].get(k)]  # fmt: skip
        raise OtherRun(
            f"{out} holds the results of another run (it differs in {', '.join(sorted(differs))}): name another "
            "folder, or delete this one"
        )
    _write(path, facts)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _read(path: Path | None):
    return json.loads(path.read_text("utf-8")) if path is not None and path.is_file() else None


def _write(path: Path, value) -> None:
    """Beside, then renamed: an interrupted run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(value), "utf-8")
    beside.replace(path)


def write_video(path: Path, frames, fps: float) -> None:
    """Frames [T,H,W,3] in 0..1 as H.264; sides must be even."""
    import av

    pixels = (np.asarray(frames, np.float32).clip(0, 1) * 255).round().astype(np.uint8)
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    with av.open(str(beside), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=max(1, round(fps)), options={"crf": "16"})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
        for image in pixels:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    beside.replace(path)


def read_video(path: Path) -> np.ndarray:
    """uint8 [T,H,W,3]."""
    import av

    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
