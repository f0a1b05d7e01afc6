"""The benchmark of one model from end to end: what is run, with which videos, and the files of its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Callable

import numpy as np

from ..world.scene import OUT_OF_DISTRIBUTION
from .contestant import Contestant, Predictor
from .controls import CODEC, CONTROLS
from .report import out_of_band, summary, table
from .runner import Plan, Video, run, seed_of
from .select import Format, draw
from .speed import hardware, time_clip

SCORED = ("permanence", "physics", "coherence")


def predicted(predict: Predictor, known: int) -> Video:
    return lambda clip, labels, rng: predict(
        clip, clip.render.rgb[:known], seed_of(labels.family, labels.split, labels.seed)
    )


def control_videos(known: int, roundtrip: Callable | None = None) -> dict[str, Video]:
    """Every control of the benchmark, and the codec's round trip where there is one."""
    videos: dict[str, Video] = {
        name: (lambda clip, labels, rng, make=control.make: make(clip, labels, known, rng))
        for name, control in CONTROLS.items()
    }
    if roundtrip is not None:
        videos[CODEC] = lambda clip, labels, rng: roundtrip(clip.render.rgb)
    return videos


def check_controls(plan: Plan, roundtrip: Callable | None, out: Path | None = None, **more) -> dict:
    """The control table: a report whose "out_of_band" names what left its band (empty: the benchmark measures)."""
    plan = replace(plan, suites=tuple(s for s in plan.suites if s in SCORED))
    found = run(plan, control_videos(plan.form.known, roundtrip), out and out / "controls", keep=(), **more)
    report = summary(found) | {k: found[k] for k in ("plan", "settings", "drawn")}
    report["out_of_band"] = out_of_band(report["scores"])
    return report


def measure(
    plan: Plan,
    contestant: Contestant,
    out: Path,
    *,
    speed: bool = True,
    on_done: Callable[[int, int, str], None] | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[dict, list[dict]]:
    """Scores of one model: the report and the results clip by clip, which stay in `out`."""
    known = plan.form.known
    settings = {"model": contestant.name, **contestant.settings}
    scored = replace(plan, suites=tuple(s for s in plan.suites if s in SCORED))
    obeyed = replace(plan, suites=("obedience",)) if "obedience" in plan.suites else None
    videos = {"model": predicted(contestant.predict, known)}
    floor = control_videos(known, contestant.roundtrip)  # what no model with this codec can be better than
    extra = {name: floor[name] for name in ("simulator", CODEC) if name in floor} | {"uncontrolled": videos["model"]}
    extra |= {name: predicted(predict, known) for name, predict in contestant.controlled.items()}
    totals = [scored.clips if scored.suites else 0, obeyed.clips * len(extra) if obeyed else 0]
    results, drawn = [], {}
    for begin, part, made, folder in ((0, scored, videos, "model"), (totals[0], obeyed, extra, "obedience")):
        if part is None or not part.suites:
            continue
        tell = on_done and (lambda done, _, what, begin=begin: on_done(begin + done, sum(totals), what))
        found = run(part, made, out / folder, settings=settings, on_done=tell, check=check)
        results += found["results"]
        drawn |= found["drawn"]
    report = summary({"results": results}) | {
        "plan": json.loads(json.dumps(found["plan"])),
        "settings": settings,
        "drawn": drawn,
    }
    report["plan"]["suites"] = list(plan.suites)
    report["hardware"] = hardware(contestant.device)
    if speed:
        report["speed"] = _speed(plan.seed, plan.form, contestant, check)
    return report, results


def only_speed(seed: int, form: Format, contestant: Contestant) -> dict:
    """D alone."""
    report = {"scores": {}, "settings": {"model": contestant.name, **contestant.settings}}
    return report | {"hardware": hardware(contestant.device), "speed": _speed(seed, form, contestant, None)}


def _speed(seed: int, form: Format, contestant: Contestant, check) -> dict:
    clip, _ = next(draw("physics", "fall", "test", seed, 1, replace(form, frames=None)))
    return time_clip(contestant.predict, clip, form.known, check=check)


def write_report(out: Path, report: dict, results: list[dict]) -> list[Path]:
    """report.json, report.txt and, by matplotlib, scores.png, paths.png and worst.png in `out`."""
    from PIL import Image

    from ..benchmark import plots

    files = {"report.json": json.dumps(report, indent=1), "report.txt": table(report) + "\n"}
    for name, text in files.items():
        (out / name).write_text(text, "utf-8")
    pictures = {}
    if report["scores"]:
        pictures["scores.png"] = plots.pixels(plots.bars(report))
        if "model" in report["scores"]:
            pictures["paths.png"] = plots.pixels(plots.paths(results))
            pictures["worst.png"] = plots.worst_strip(results, out / "model")
    for name, picture in pictures.items():
        Image.fromarray(picture).save(out / name)
    return [out / name for name in (*files, *pictures)]


def calibration(plan: Plan, roundtrip: Callable | None, on_done=None, check=None) -> dict:
    """What C's background terms measure on faithful videos: {video: {"change": 99th percentile, "away": largest}}.

    Draws from the plan's splits; STILLNESS and DRIFT in scores.py must lie above these.
    """
    from .scores import background_terms
    from .track import fitted

    faithful = {n: v for n, v in control_videos(plan.form.known, roundtrip).items()
                if n in ("simulator", "h264 crf 23", "h264 crf 35", "blur + noise", CODEC, "flicker 6%")}  # fmt: skip
    found: dict[str, list] = {name: [] for name in faithful}
    plan, done = replace(plan, suites=("coherence",)), 0
    for suite, split, family, count in plan.parts():
        for clip, labels in draw(suite, family, split, plan.seed, count, plan.form):
            for name, video in faithful.items():
                if check is not None:
                    check()
                frames = fitted(video(clip, labels, np.random.default_rng(labels.seed)), labels)
                found[name].append(background_terms(frames, labels))
            done += 1
            if on_done is not None:
                on_done(done, plan.clips, name)
    return {
        name: {
            "change": round(float(np.percentile(np.concatenate([c for c, _ in terms]), 99)), 4),
            "away": round(max(a for _, a in terms), 4), "clips": len(terms),
        }
        for name, terms in found.items()
        if terms
    }  # fmt: skip


def every_split() -> tuple[str, ...]:
    return ("test", *OUT_OF_DISTRIBUTION)
