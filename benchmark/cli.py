"""`vdit benchmark`: does a model keep objects alive, let them fall, stay coherent, obey? And the scores' controls."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Callable

from ..world.scene import SPLITS
from .select import SUITES, Format

SUITE_NAMES = (*SUITES, "speed")
PREVIEW = "preview"  # on its own: it compares models with each other


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="vdit benchmark",
        description="Scores a model on simulated clips of a seed: A object permanence, B physics accuracy, C 10-s coherence, "
        "D speed, E obedience to camera, depth and flow. Results are kept clip by clip in the out folder: a run that was "
        "stopped goes on where it was.",
    )
    p.add_argument("--seed", type=int, required=False, default=0, help="picks the clips; the same seed, the same clips")
    p.add_argument("--model", metavar="FILE", help="a model file; left out, the bundled model")
    p.add_argument("--count", type=int, help="clips each for A and B; C and E get a fifth (default: 200; controls 24)")
    p.add_argument("--suite", nargs="+", choices=(*SUITE_NAMES, PREVIEW), metavar="SUITE",
                   help=f"of {', '.join(SUITE_NAMES)} (default: all; obedience where the model takes controls); or {PREVIEW}, "
                   "alone: how well students predict the renders of --model at 50 steps")  # fmt: skip
    p.add_argument("--splits", nargs="+", choices=(*SPLITS, "all"), metavar="SPLIT", default=["test"],
                   help=f"of {', '.join(SPLITS)}; all: test and those out of distribution (default: test)")  # fmt: skip
    p.add_argument(
        "--known", type=int, help="first frames given to the model, 4k+1 (default: 5; preview 1, or 0: words alone)"
    )
    p.add_argument(
        "--ended", action="store_true", help="the clips' last frames are told, too: how well are key frames joined?"
    )
    p.add_argument("--students", nargs="+", metavar="FILE", help="preview: student files (default: the bundled ones)")
    p.add_argument("--no-drafts", action="store_true",
                   help="preview: nothing is foretold, as where a control counts only in part: the transformers alone predict")  # fmt: skip
    p.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    p.add_argument("--guidance", type=float, help="guidance scale (default: the model's)")
    p.add_argument("--whole", action="store_true", help="make 10-s clips in one piece, not by extending 5-s ones")
    p.add_argument("--width", type=int, default=128, help="pixels (default: 128)")
    p.add_argument("--height", type=int, default=128, help="pixels (default: 128)")
    p.add_argument("--frames", type=int, help="frames of the clips for A, B and E, 4k+1 (default: 41)")
    p.add_argument("--controls", action="store_true",
                   help="score the benchmark's own controls in place of a model; status 1 if one leaves its band")  # fmt: skip
    p.add_argument(
        "--calibrate", action="store_true", help="print what C's background terms measure on faithful videos"
    )
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="default: output/benchmark-SEED, -controls appended for those"
    )
    return p


def main(
    argv: list[str] | None = None,
    load: Callable[..., object] | None = None,
    load_preview: Callable[..., tuple] | None = None,
) -> int:
    """Runs one benchmark; the status is 0, 1 when a control left its band or the run was refused.

    load(file or None, steps, guidance, whole, ended) -> measure.Contestant: the caller knows models, this room does not.
    load_preview(file or None, student files or None, known, drafts) -> (preview.Maker, [preview.Maker, ...]).
    """
    p = parser()
    a = p.parse_args(argv)
    splits = tuple(dict.fromkeys(s for name in a.splits for s in (_every() if name == "all" else (name,))))
    if a.width % 2 or a.height % 2 or min(a.width, a.height) < 32:
        p.error(f"size {a.width}x{a.height}: both sides must be even and at least 32 pixels")
    preview = a.suite and PREVIEW in a.suite
    if preview and (len(a.suite) > 1 or a.controls or a.calibrate or len(splits) > 1):
        p.error(f"--suite {PREVIEW} compares models with each other: run it alone, on one split")
    if a.ended and preview:
        p.error(f"--ended is not for --suite {PREVIEW}, whose shots have start pictures alone")
    if a.no_drafts and not preview:
        p.error(f"--no-drafts is for --suite {PREVIEW}; the other suites score a model as it is used")
    import torch

    try:
        with torch.inference_mode():  # as nodes run
            return _preview(a, splits[0], load_preview) if preview else _run(a, splits, load)
    except ValueError as reason:
        print(f"vdit benchmark: {reason}", file=sys.stderr)
        return 1


def _preview(a: argparse.Namespace, split: str, load_preview) -> int:
    from .preview import command

    return command(
        load_preview, model=a.model, students=a.students, seed=a.seed, pairs=a.count or 128,
        known=1 if a.known is None else a.known, drafts=not a.no_drafts, reference_steps=a.steps, split=split,
        width=a.width, height=a.height, frames=a.frames, out=a.out,
    )  # fmt: skip


def _every() -> tuple[str, ...]:
    from .measure import every_split

    return every_split()


def _run(a: argparse.Namespace, splits: tuple[str, ...], load) -> int:
    from tqdm import tqdm

    from ..benchmark import measure
    from .report import table
    from .runner import Plan

    a.known = 5 if a.known is None else a.known
    out = a.out or Path("output") / f"benchmark-{a.seed}{'-controls' if a.controls else ''}"
    contestant = load(a.model, steps=a.steps, guidance=a.guidance, whole=a.whole, ended=a.ended) if load else None
    suites = tuple(s for s in (a.suite or SUITE_NAMES) if s != "speed")
    obeys = bool(contestant and contestant.controlled)
    if a.suite is None and not obeys:
        suites = tuple(s for s in suites if s != "obedience")
    if a.suite and "obedience" in a.suite and not obeys and not a.controls:
        raise ValueError(
            "this model takes neither camera, depth nor flow, so obedience cannot be measured: leave it out of --suite"
        )
    form = Format(a.width, a.height, known=a.known, frames=a.frames)
    count = a.count or (24 if a.controls or a.calibrate else 200)
    plan = Plan(a.seed, count, suites, splits, form)

    with tqdm(unit="video", file=sys.stderr, dynamic_ncols=True) as bar:

        def on_done(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description(what, refresh=False)
            bar.update(done - bar.n)

        roundtrip = contestant.roundtrip if contestant else None
        if a.calibrate:
            found = measure.calibration(plan, roundtrip, on_done)
            bar.close()
            print(json.dumps(found, indent=1))
            return 0
        if a.controls:
            settings = {"codec": contestant.name if contestant else None}
            report = measure.check_controls(plan, roundtrip, out, settings=settings, on_done=on_done)
            results: list[dict] = []
        else:
            if contestant is None:
                raise ValueError("no model to measure; use --controls")
            speed = a.suite is None or "speed" in a.suite
            if not suites:
                report, results = measure.only_speed(a.seed, form, contestant), []
            else:
                report, results = measure.measure(plan, contestant, out, speed=speed, on_done=on_done)
    out.mkdir(parents=True, exist_ok=True)
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
