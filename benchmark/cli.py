"""`vdit benchmark`: does a model keep objects alive, let them fall, stay coherent, obey? And the scores' controls."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..world.families.scene import OUT_OF_DISTRIBUTION, SPLITS

if TYPE_CHECKING:
    from .contestant import Contestant, PreviewModel
    from .report import Report
    from .runner import ClipResult, OnDone

    # Both know models, which this room does not. (file or None, steps=, guidance=, whole=, ended=) -> the model;
    # (file or None, student files or None, known frames, drafts) -> the teacher and its students.
    Load = Callable[..., Contestant]
    LoadPreview = Callable[[str | None, list[str] | None, int, bool], tuple[PreviewModel, list[PreviewModel]]]

SUITES = ("permanence", "physics", "coherence", "obedience", "speed")
BODIES, FOREIGN = "bodies", "foreign"  # bodies of any shape; clips of another engine and renderer
PREVIEW = "preview"  # on its own: it compares models with each other
COUNT, CONTROLS_COUNT, PREVIEW_PAIRS = 200, 24, 128


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="vdit benchmark",
        description="Scores a model on simulated clips of a seed: A object permanence, B physics accuracy, C 10-s "
        "coherence, D speed, E obedience to camera, depth and flow. Results are kept clip by clip in the out folder: a "
        "run that was stopped goes on where it was.",
    )
    add = p.add_argument
    add("--seed", type=int, default=0, help="picks the clips; the same seed, the same clips")
    add("--model", metavar="FILE", help="a model file; left out, the bundled model")
    add(
        "--count",
        type=int,
        help=f"clips each for A and B; C and E get a fifth (default: {COUNT}; controls {CONTROLS_COUNT})",
    )
    suites = (
        f"of {', '.join(SUITES)} (default: all; obedience where the model takes controls); {BODIES}: A, B and C of "
        f"bodies of any shape; {FOREIGN}: clips of another engine and renderer (extra: vdit[foreign]); or "
        f"{PREVIEW}, alone: how well students predict the renders of --model at 50 steps"
    )
    add("--suite", nargs="+", choices=(*SUITES, BODIES, FOREIGN, PREVIEW), metavar="SUITE", help=suites)
    splits = f"of {', '.join(SPLITS)}; all: test and those out of distribution (default: test)"
    add("--splits", nargs="+", choices=(*SPLITS, "all"), metavar="SPLIT", default=["test"], help=splits)
    add("--known", type=int, help="first frames given to the model, 4k+1 (default: 5; preview 1, or 0: words alone)")
    add("--ended", action="store_true", help="the clips' last frames are given, too: how well are key frames joined?")
    add("--students", nargs="+", metavar="FILE", help="preview: student files (default: the bundled ones)")
    drafts = "preview: no motion is predicted beforehand, so that the transformers alone are compared"
    add("--no-drafts", action="store_true", help=drafts)
    add("--steps", type=int, help="sampling steps (default: the model's)")
    add("--guidance", type=float, help="guidance scale (default: the model's)")
    add("--whole", action="store_true", help="make 10-s clips in one piece, not by extending 5-s ones")
    add("--width", type=int, default=128, help="pixels (default: 128)")
    add("--height", type=int, default=128, help="pixels (default: 128)")
    add("--frames", type=int, help="frames of the clips for A, B and E, 4k+1 (default: 41)")
    controls = "score the benchmark's own controls in place of a model; status 1 if one leaves its band"
    add("--controls", action="store_true", help=controls)
    add("--calibrate", action="store_true", help="print what C's background terms measure on faithful videos")
    add("--out", type=Path, metavar="DIR", help="default: output/benchmark-SEED, -controls appended for those")
    return p


def main(argv: list[str] | None = None, load: Load | None = None, load_preview: LoadPreview | None = None) -> int:
    """Runs one benchmark; the status is 0, or 1 when a control left its band or the run was refused."""
    p = parser()
    a = p.parse_args(argv)
    every = {"all": ("test", *OUT_OF_DISTRIBUTION)}
    a.splits = tuple(dict.fromkeys(split for name in a.splits for split in every.get(name, (name,))))
    if a.width % 2 or a.height % 2 or min(a.width, a.height) < 32:
        p.error(f"size {a.width}x{a.height}: both sides must be even and at least 32 pixels")
    preview = bool(a.suite) and PREVIEW in a.suite
    if preview and (len(a.suite) > 1 or a.controls or a.calibrate or len(a.splits) > 1):
        p.error(f"--suite {PREVIEW} compares models with each other: run it alone, on one split")
    if a.ended and preview:
        p.error(f"--ended is not for --suite {PREVIEW}, whose shots have start pictures alone")
    if a.no_drafts and not preview:
        p.error(f"--no-drafts is for --suite {PREVIEW}; the other suites score a model as it is used")
    import torch

    try:
        with torch.inference_mode():  # as nodes run
            return _preview(a, load_preview) if preview else _run(a, load)
    except ValueError as reason:
        print(f"vdit benchmark: {reason}", file=sys.stderr)
        return 1


@contextmanager
def _progress() -> Generator[OnDone]:
    from tqdm import tqdm

    with tqdm(None, unit="video", file=sys.stderr, dynamic_ncols=True) as bar:

        def on_done(done: int, total: int, doing: str) -> None:
            bar.total = total
            bar.set_description(doing, refresh=False)
            bar.update(done - bar.n)

        yield on_done


def _preview(a: argparse.Namespace, load: LoadPreview | None) -> int:
    from .preview import PreviewPlan, measure, table, write

    plan = PreviewPlan(
        a.seed,
        max(1, (a.count or PREVIEW_PAIRS) // PreviewPlan.seeds),
        split=a.splits[0],
        reference_steps=a.steps or PreviewPlan.reference_steps,
        width=a.width,
        height=a.height,
        frames=a.frames or PreviewPlan.frames,
    )
    if load is None:
        raise ValueError("no models to compare")
    teacher, students = load(a.model, a.students, 1 if a.known is None else a.known, not a.no_drafts)
    out = a.out or Path("output") / f"benchmark-{a.seed}-preview{'-no-drafts' if a.no_drafts else ''}"
    with _progress() as on_done:
        report = measure(plan, teacher, students, out, on_done)
    print(table(report))
    for path in write(report, out):
        print(path)
    return 0


def _run(a: argparse.Namespace, load: Load | None) -> int:
    from . import measure
    from .bodies import BODY_SUITES
    from .foreign import FOREIGN_SUITES
    from .report import table
    from .runner import Plan
    from .selection import Format

    contestant = load(a.model, steps=a.steps, guidance=a.guidance, whole=a.whole, ended=a.ended) if load else None
    obeys = bool(contestant and contestant.controlled)
    if a.suite and "obedience" in a.suite and not obeys and not a.controls:
        raise ValueError(
            "this model takes neither camera, depth nor flow, so obedience cannot be measured: leave it out of --suite"
        )
    parts: dict[str, tuple[str, ...]] = {BODIES: tuple(BODY_SUITES), FOREIGN: tuple(FOREIGN_SUITES)}
    named = [s for s in a.suite or SUITES if s != "speed" and (a.suite or obeys or s != "obedience")]
    suites = tuple(part for s in named for part in parts.get(s, (s,)))
    form = Format(a.width, a.height, known=5 if a.known is None else a.known, frames=a.frames)
    plan = Plan(a.seed, a.count or (CONTROLS_COUNT if a.controls or a.calibrate else COUNT), suites, a.splits, form)
    out = a.out or Path("output") / f"benchmark-{a.seed}{'-controls' if a.controls else ''}"
    roundtrip = contestant.roundtrip if contestant else None
    if a.calibrate:
        with _progress() as on_done:
            found = measure.calibration(plan, roundtrip, on_done)
        print(json.dumps(found, indent=1))
        return 0
    results: list[ClipResult] = []
    with _progress() as on_done:
        if a.controls:
            settings = {"codec": contestant.name if contestant else None}
            report: Report = measure.check_controls(plan, roundtrip, out, settings=settings, on_done=on_done)
        elif contestant is None:
            raise ValueError("no model to measure; use --controls")
        elif not suites:
            report = measure.only_speed(a.seed, form, contestant)
        else:
            speed = a.suite is None or "speed" in a.suite
            report, results = measure.measure(plan, contestant, out, speed=speed, on_done=on_done)
    print(table(report))
    for part, drawn in report.get("drawn", {}).items():
        if drawn["taken"] < drawn["asked"]:
            print(f"{part}: only {drawn['taken']} of {drawn['asked']} clips; too few scenes suit")
    for path in measure.write_report(out, report, results):
        print(path)
    wrong = report.get("out_of_band", [])
    for line in wrong:
        print(f"OUT OF BAND: {line}")
    return 1 if wrong else 0
