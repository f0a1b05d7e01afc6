"""The benchmark of one model, or of the controls, from end to end, and the files of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..world.arrays import Floats
from ..world.families.clip import Clip
from . import plots
from .bodies import BODY_SUITES
from .coherence import background_terms
from .contestant import Contestant, Predictor
from .controls import CODEC, FAITHFUL, AnySource, MakeVideo, Roundtrip, Source, control_video, control_videos
from .exchange import Manifest, ManifestError
from .files import write_bytes, write_json
from .foreign import FOREIGN_SUITES
from .labels import Labels
from .made import Made, digest, frames
from .report import Report, out_of_band, summary, table
from .runner import Check, ClipResult, OnDone, Plan, noise_seed, note_drawn, run
from .scores import ALL_SCORED, SUITE_VERSION
from .selection import Format, draw
from .speed import hardware, time_clip
from .tracking import validated_frames

SAME_PICTURE = 0.01  # mean difference, 0..1, of a picture in 8 bits to itself drawn again on another machine
BESIDE = ("simulator", "static")  # controls that are printed beside a model's scores and those of its parts


def predicted(predict: Predictor) -> MakeVideo:
    """The videos of a model, each from noise of a seed that follows from the clip."""

    def make(source: AnySource) -> Tensor | Floats:
        return predict(source.clip, source.clip.rgb[: source.known], noise_seed(source.labels))

    return make


def check_controls(
    plan: Plan,
    roundtrip: Roundtrip | None,
    out: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    on_done: OnDone | None = None,
) -> Report:
    """The control table: a report whose "out_of_band" names what left its band (empty: the benchmark measures)."""
    results: list[ClipResult] = []
    drawn: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    asked = [s for s in plan.suites if s in ALL_SCORED]
    for kind, folder in (("balls", "controls"), ("bodies", "body-controls"), ("foreign", "foreign-controls")):
        suites = tuple(s for s in asked if _kind(s) == kind)
        if not suites and (kind != "balls" or asked):
            continue
        videos, where = control_videos(roundtrip, kind), out / folder if out else None
        found = run(replace(plan, suites=suites), videos, where, keep=(), settings=settings, on_done=on_done)
        results += found.results
        drawn |= found.drawn
        facts = {"plan": {**found.plan, "suites": asked}, "settings": found.settings}
    report = summary(results)
    report |= {"suite_version": SUITE_VERSION, "plan": facts["plan"], "settings": facts["settings"], "drawn": drawn}
    report["out_of_band"] = out_of_band(report.get("scores", {}))
    return report


def _kind(suite: str) -> str:
    return "bodies" if suite in BODY_SUITES else "foreign" if suite in FOREIGN_SUITES else "balls"


def measure(
    plan: Plan,
    contestant: Contestant,
    out: Path,
    *,
    speed: bool = True,
    on_done: OnDone | None = None,
    check: Check | None = None,
) -> tuple[Report, list[ClipResult]]:
    """Scores of one model: the report and the results clip by clip, which stay in `out`."""
    settings = {"model": contestant.name, **contestant.settings}
    model = predicted(contestant.predict)
    floor = control_videos(contestant.roundtrip)  # no model with this codec can obey better than these
    obeying = {name: floor[name] for name in ("simulator", CODEC) if name in floor} | {"uncontrolled": model}
    obeying |= {name: predicted(predict) for name, predict in contestant.controlled.items()}
    parts: list[tuple[str, Plan, dict[str, MakeVideo]]] = []
    shown = {"model": model, **{name: predicted(predict) for name, predict in contestant.parts.items()}}
    shown |= {name: control_video(name) for name in BESIDE} if contestant.parts else {}
    if scored := tuple(s for s in plan.suites if s in ALL_SCORED):
        parts.append(("model", replace(plan, suites=scored), shown))
    if "obedience" in plan.suites:
        parts.append(("obedience", replace(plan, suites=("obedience",)), obeying))
    total, begin = sum(part.clips * len(videos) for _, part, videos in parts), 0
    results: list[ClipResult] = []
    drawn: dict[str, Any] = {}
    plan_facts: dict[str, Any] = {}
    for folder, part, videos in parts:

        def tell(done: int, _: int, doing: str, begin: int = begin) -> None:
            if on_done is not None:
                on_done(begin + done, total, doing)

        found = run(part, videos, out / folder, settings=settings, on_done=tell, check=check)
        results += found.results
        drawn |= found.drawn
        plan_facts = found.plan
        begin += part.clips * len(videos)
    report = summary(results)
    report |= {"suite_version": SUITE_VERSION, "plan": {**plan_facts, "suites": list(plan.suites)}}
    report |= {"settings": settings, "drawn": drawn}
    report["hardware"] = hardware(contestant.device)
    if speed:
        report["speed"] = _speed(plan.seed, plan.form, contestant, check)
    return report, results


def score_made(
    manifest: Manifest,
    found: Mapping[str, Made],
    name: str,
    out: Path,
    *,
    on_done: OnDone | None = None,
    check: Check | None = None,
) -> tuple[Report, list[ClipResult]]:
    """Scores of what another program made of exported clips; the results stay in `out`, so that a run goes on.

    Raises ManifestError where a start picture of the export is not what this version draws.
    """
    by_clip = {(c.family, c.split, c.seed, c.frames): c for c in manifest.clips}
    for part in manifest.plan.parts():
        seeds = [clip.seed for clip in manifest.of(part)]
        note_drawn(out / "model", part, seeds, manifest.left_out.get(part.name, {}))

    def read(source: AnySource) -> Floats:
        labels = source.labels
        clip = by_clip[labels.family, labels.split, labels.seed, labels.frames]
        pictures = manifest.pictures_of(clip)
        drawn = labels.truth[: source.known]
        if pictures.shape != drawn.shape or float(np.abs(pictures - drawn).mean()) > SAME_PICTURE:
            raise ManifestError(
                f"{manifest.folder / clip.pictures[0]} is not what this version of VDiT draws for {clip.name}: score "
                "with the version that exported it, or export again"
            )
        return frames(found[clip.name])

    steps = Counter(f"every {one.step}" if one.step > 1 else "all" for one in found.values())
    settings = {
        "model": name,
        "videos": digest(found),
        "matched_by": dict(Counter(one.by for one in found.values())),
        "frames_judged": dict(steps),
    }
    run_ = run(manifest.plan, {"model": read}, out / "model", settings=settings, on_done=on_done, check=check)
    report = summary(run_.results)
    report |= {"suite_version": SUITE_VERSION, "plan": run_.plan, "settings": settings, "drawn": run_.drawn}
    return report, run_.results


def only_speed(seed: int, form: Format, contestant: Contestant) -> Report:
    """D alone."""
    speed = _speed(seed, form, contestant, None)
    settings = {"model": contestant.name, **contestant.settings}
    return {"scores": {}, "settings": settings, "hardware": hardware(contestant.device), "speed": speed}


def _speed(seed: int, form: Format, contestant: Contestant, check: Check | None) -> dict[str, Any]:
    clip, _ = next(draw("physics", "fall", "test", seed, 1, replace(form, frames=None)))
    assert isinstance(clip, Clip), "of a family of balls"
    return time_clip(contestant.predict, clip, form.known, check=check)


def write_report(out: Path, report: Report, results: list[ClipResult]) -> list[Path]:
    """report.json, report.txt and, by matplotlib, scores.png, paths.png and worst.png in `out`."""
    scores = report.get("scores", {})
    pictures = {"scores.png": plots.pixels(plots.bars(scores))} if scores else {}
    if "model" in scores:
        pictures["paths.png"] = plots.pixels(plots.paths(results))
        pictures["worst.png"] = plots.worst_strip(results, out / "model")
    write_json(out / "report.json", report, indent=1)
    write_bytes(out / "report.txt", (table(report) + "\n").encode())
    for name, picture in pictures.items():
        plots.save(picture, out / name)
    return [out / name for name in ("report.json", "report.txt", *pictures)]


def calibration(
    plan: Plan, roundtrip: Roundtrip | None, on_done: OnDone | None = None
) -> dict[str, dict[str, float | int]]:
    """What the background terms of score C measure on faithful videos: the limits of CoherenceRules lie above it.

    {video: {"change": 99th percentile, "away": largest drift, "clips"}}, over the plan's splits.
    """
    faithful = {name: video for name, video in control_videos(roundtrip).items() if name in FAITHFUL}
    found: dict[str, list[tuple[Floats, float]]] = {name: [] for name in faithful}
    plan, done = replace(plan, suites=("coherence",)), 0
    for part in plan.parts():
        for clip, labels in draw(part.suite, part.family, part.split, plan.seed, part.count, plan.form):
            assert isinstance(clip, Clip) and isinstance(labels, Labels), "of families of balls"
            for name, video in faithful.items():
                source = Source(clip, labels, plan.form.known, np.random.default_rng(labels.seed))
                found[name].append(background_terms(validated_frames(video(source), labels), labels))
            done += 1
            if on_done is not None:
                on_done(done, plan.clips, part.name)
    return {
        name: {
            "change": round(float(np.percentile(np.concatenate([change for change, _ in terms]), 99)), 4),
            "away": round(max(drift for _, drift in terms), 4),
            "clips": len(terms),
        }
        for name, terms in found.items()
        if terms
    }
