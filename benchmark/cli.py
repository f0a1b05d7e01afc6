"""`vdit benchmark`: does a model keep objects alive, let them fall, stay coherent, obey? And the scores' controls."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator, Sequence
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
EXPORTED = ("permanence", "physics", "coherence")  # judged by videos alone
PREVIEW = "preview"  # on its own: it compares models with each other
COUNT, CONTROLS_COUNT, PREVIEW_PAIRS = 200, 24, 128


def _frames(text: str) -> int | Path:
    """A number of frames, or a folder of videos to score."""
    return int(text) if text.isdecimal() else Path(text)


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
    frames = (
        "a number: frames of the clips for A, B and E, 4k+1 (default: 41). A folder: score what another program made "
        "of exported clips, a video or a folder of pictures for each, matched by names.json ({file: clip}), else by "
        "the clip's name in the file's, else by the first frame"
    )
    add("--frames", type=_frames, metavar="N|DIR", help=frames)
    controls = "score the benchmark's own controls in place of a model; status 1 if one leaves its band"
    add("--controls", action="store_true", help=controls)
    add("--calibrate", action="store_true", help="print what C's background terms measure on faithful videos")
    export = "write the clips for another program: start pictures and words, with a manifest; --known is 1 if left out"
    add("--export", type=Path, metavar="DIR", help=export)
    manifest = "of --frames DIR: the exported folder (default: DIR itself or the folder around it)"
    add("--manifest", type=Path, metavar="DIR", help=manifest)
    add("--name", help="of --frames DIR: what the system is called in reports (default: the folder's name)")
    add("--rate", type=float, metavar="FPS", help="of --frames DIR: frames a second, whatever the files' headers say")
    compare = "put the systems of report.json files side by side on one page, results.html in the --out folder"
    add("--compare", nargs="+", type=Path, metavar="REPORT", help=compare)
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
    made = isinstance(a.frames, Path)
    if reason := _misplaced(a, made):
        p.error(reason)
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
            if a.compare:
                return _compare(a)
            if a.export or made:
                return _export(a) if a.export else _score_made(a)
            return _preview(a, load_preview) if preview else _run(a, load)
    except ValueError as reason:
        print(f"vdit benchmark: {reason}", file=sys.stderr)
        return 1


def _misplaced(a: argparse.Namespace, made: bool) -> str | None:
    """Why options do not go together, or None."""
    others = {
        "--model": a.model,
        "--students": a.students,
        "--no-drafts": a.no_drafts,
        "--ended": a.ended,
        "--steps": a.steps,
        "--guidance": a.guidance,
        "--whole": a.whole,
        "--controls": a.controls,
        "--calibrate": a.calibrate,
    }
    foreign = [name for name, value in others.items() if value]
    if a.compare and (foreign or a.export or a.frames or a.suite or a.count is not None or a.seed):
        return "--compare reads reports and measures nothing; leave out all but --out"
    if (a.export or made) and foreign:
        return f"{', '.join(foreign)}: no model of this pack is run by --export or --frames DIR; leave it out"
    if a.export and (made or a.out):
        return "--export DIR writes the clips to that folder; leave out " + ("--frames DIR" if made else "--out")
    if a.export and set(a.suite or ()) & {"obedience", "speed", PREVIEW}:
        return (
            f"--export is for {', '.join((*EXPORTED, BODIES, FOREIGN))}: no other suite can be judged by videos alone"
        )
    if made and (a.suite or a.count is not None or a.known is not None or a.seed):
        return "--frames DIR scores the clips of the manifest; leave out --suite, --count, --known and --seed"
    if not made and (a.manifest or a.name or a.rate is not None):
        return "--manifest, --name and --rate go with --frames DIR, a folder of videos"
    return None if a.rate is None or 0 < a.rate < float("inf") else f"--rate is {a.rate:g}; expected above 0"


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


def _suites(named: Sequence[str]) -> tuple[str, ...]:
    from .bodies import BODY_SUITES
    from .foreign import FOREIGN_SUITES

    parts: dict[str, tuple[str, ...]] = {BODIES: tuple(BODY_SUITES), FOREIGN: tuple(FOREIGN_SUITES)}
    return tuple(part for s in named for part in parts.get(s, (s,)))


def _export(a: argparse.Namespace) -> int:
    from .exchange import MANIFEST, export
    from .runner import Plan
    from .selection import Format

    known = 1 if a.known is None else a.known
    form = Format(a.width, a.height, known=known, frames=a.frames)
    plan = Plan(a.seed, a.count or COUNT, _suites(a.suite or EXPORTED), a.splits, form)
    with _progress() as on_done:
        manifest = export(plan, a.export, on_done)
    print(a.export / MANIFEST)
    lengths = sorted({clip.frames for clip in manifest.clips})
    print(
        f"{len(manifest.clips)} clips: make of each one's pictures and words a video of "
        f"{' or '.join(str(n) for n in lengths)} frames (manifest.json and clips.csv say which) at {form.fps:g} frames "
        "a second, or at a whole multiple of that, and of as many seconds. Call it like the clip, in one folder. "
        "Then:\n"
        f"vdit benchmark --frames FOLDER --manifest {a.export}"
    )
    return 0


def _score_made(a: argparse.Namespace) -> int:
    from . import made, measure
    from .exchange import MANIFEST, read_manifest
    from .report import table

    folder: Path = a.frames
    beside = folder if (folder / MANIFEST).is_file() else folder.resolve().parent
    manifest = read_manifest(a.manifest or beside)
    found = made.find(manifest, folder, a.rate)
    name = a.name or folder.resolve().name
    slug = "".join(c if c.isalnum() else "-" for c in name)
    out = a.out or Path("output") / f"benchmark-{manifest.plan.seed}-{slug}"
    with _progress() as on_done:
        report, results = measure.score_made(manifest, found, name, out, on_done=on_done)
    print(table(report))
    for path in measure.write_report(out, report, results):
        print(path)
    return 0


def _compare(a: argparse.Namespace) -> int:
    from .compare import page, read
    from .files import write_bytes

    systems = [read(path) for path in a.compare]
    path = (a.out or Path("output")) / "results.html"
    write_bytes(path, page(systems).encode())
    print(path)
    if (ways := len({system.way for system in systems})) > 1:
        print(f"The systems were measured in {ways} ways, which are not comparable: each has a table of its own.")
    return 0


def _run(a: argparse.Namespace, load: Load | None) -> int:
    from . import measure
    from .report import table
    from .runner import Plan
    from .selection import Format

    contestant = load(a.model, steps=a.steps, guidance=a.guidance, whole=a.whole, ended=a.ended) if load else None
    obeys = bool(contestant and contestant.controlled)
    if a.suite and "obedience" in a.suite and not obeys and not a.controls:
        raise ValueError(
            "this model takes neither camera, depth nor flow, so obedience cannot be measured: leave it out of --suite"
        )
    named = [s for s in a.suite or SUITES if s != "speed" and (a.suite or obeys or s != "obedience")]
    suites = _suites(named)
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
