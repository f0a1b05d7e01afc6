"""Does a preview predict its render? Students against their teacher, pair by pair: the same shot, the same noise.

The reference is the teacher at many steps. Controls: the teacher itself at the preview's few steps, the render of
another seed, and the teacher with another solver, which says how alike two faithful renders are.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np

from ..world.clip import Clip, make_clip
from .contestant import PreviewModel, PreviewVideo
from .fidelity import psnr, ssim
from .labels import Labels, label
from .scores import impacts
from .select import candidates
from .speed import hardware
from .stats import share
from .track import fitted, follow

FAMILIES = ("fall", "throw", "roll", "behind")
LOST = 6.0  # radii: what a frame costs where only one of two videos shows the ball, and the most a frame may cost
TIE = 0.1  # radii: takes that differ less from the truth are equally good picks
OF = 4  # takes to pick from
TARGETS = {"retrieval": 95.0, "ssim": 0.90, "events": 90.0, "best_of_4": 85.0}  # at 4 steps


@dataclass(frozen=True)
class Plan:
    seed: int
    shots: int = 8
    seeds: int = 16  # takes of each shot; a preview must find its own among them
    reference_steps: int = 50
    steps: tuple[int, ...] = (1, 2, 4, 8)
    split: str = "test"
    width: int = 128
    height: int = 128
    frames: int = 41
    other_solver: str = "euler"

    def __post_init__(self):
        if self.shots < 1 or self.seeds < OF or self.seeds % OF or self.seed < 0:
            raise ValueError(
                f"{self.shots} shots of {self.seeds} seeds from seed {self.seed}: expected at least 1 shot, seeds in "
                f"multiples of {OF}, and no negative seed"
            )


def shots(plan: Plan) -> Iterator[tuple[Clip, Labels, str]]:
    """Clips of a still camera that show one ball from the start, the families in turn; the same for the same plan."""
    rows = {family: candidates(plan.seed, "preview", family, plan.split) for family in FAMILIES}
    for i in range(plan.shots):
        family = FAMILIES[i % len(FAMILIES)]
        for seed in rows[family]:
            clip = make_clip(seed, family, split=plan.split, width=plan.width, height=plan.height, frames=plan.frames)
            if not clip.scene.balls:
                continue
            labels = label(clip)
            if labels.still and labels.in_view[0] and labels.in_view.mean() > 0.3 and len(labels.shades):
                yield clip, labels, f"{family}-{seed}"
                break


def systems(teacher: PreviewModel, students: list[PreviewModel], plan: Plan) -> list[tuple[str, PreviewModel, int, str | None]]:
    """(name, maker, steps, solver) of everything that is compared with the reference."""
    found = [(f"teacher@{k}", teacher, k, None) for k in plan.steps]
    found += [(f"{s.name}@{k}", s, k, None) for s in students for k in plan.steps]
    return [*found, (f"other solver@{plan.reference_steps}", teacher, plan.reference_steps, plan.other_solver)]


def measure(
    plan: Plan,
    teacher: PreviewModel,
    students: list[PreviewModel],
    out: Path | None = None,
    on_done: Callable[[int, int, str], None] | None = None,
) -> dict:
    """The report. Latents are kept in `out`, so that a run goes on where it was stopped; on_done may raise to stop."""
    if out is not None:
        told = {"known": teacher.known, "drafts": teacher.drafts}
        _claim(out, {"plan": asdict(plan), "models": [teacher.name, *(s.name for s in students)], **told})
    compared = systems(teacher, students, plan)
    total, done = plan.shots * plan.seeds * (1 + len(compared)), 0
    found: dict[str, list[dict]] = {}
    for clip, labels, shot in shots(plan):

        def videos(name: str, maker: PreviewModel, steps: int, solver: str | None) -> list[PreviewVideo]:
            nonlocal done
            made = []
            for i in range(plan.seeds):
                seed = plan.seed * 1000 + i
                path = None if out is None else out / "latents" / name.replace(" ", "-") / f"{shot}-{seed}.npz"
                made.append(_kept(path, maker, clip, seed) or _keep(path, maker.render(clip, seed, steps, solver)))
                done += 1
                if on_done is not None:
                    on_done(done, total, f"{shot} {name}")
            return made

        render = Seen(videos("reference", teacher, plan.reference_steps, None), labels, teacher.known)
        for name, maker, steps, solver in compared:
            seen = Seen(videos(name, maker, steps, solver), labels, teacher.known)
            found.setdefault(name, []).extend(pairs(seen, render))
        found.setdefault("wrong seed", []).extend(pairs(render.turned(), render, shifted=True))
        found.setdefault("reference", []).extend(pairs(render, render))
    length = (plan.frames - 1) / clip.scene.fps
    report = {name: summary(rows, length) for name, rows in found.items()}
    for name, _, steps, _ in compared:
        report[name]["steps"] = steps
    return {
        "suite": "preview", "plan": asdict(plan), "targets_at_4_steps": TARGETS, "systems": report,
        "models": {"teacher": teacher.name, "students": [s.name for s in students]}, "known": teacher.known,
        "drafts": teacher.drafts, "hardware": hardware(teacher.device),
    }  # fmt: skip


class Seen:
    """The takes of one shot by one system, looked at: where the ball is, what happens to it, how far from the truth."""

    def __init__(self, made: list[PreviewVideo], labels: Labels, known: int):
        self.made, self.labels, self.known = made, labels, known
        held = 1 + (known - 1) // 4
        self.latents = np.stack([m.latent[:, held:] for m in made]).reshape(len(made), -1).astype(np.float64)
        self.centers = [follow(fitted(m.frames, labels), labels).center for m in made]
        self.events = [events(c, labels.radius, known) for c in self.centers]
        self.from_truth = [apart(c, labels.center, labels.radius, known, labels.in_view) for c in self.centers]

    def turned(self) -> Seen:
        """Every take in the place of the one before it."""
        other = object.__new__(Seen)
        other.__dict__.update(self.__dict__)
        turn = lambda v: [*v[1:], v[0]]  # noqa: E731
        other.made, other.centers, other.events = turn(self.made), turn(self.centers), turn(self.events)
        other.from_truth, other.latents = turn(self.from_truth), np.roll(self.latents, -1, 0)
        return other


def apart(a: np.ndarray, b: np.ndarray, radius: np.ndarray, known: int, judged: np.ndarray | None = None) -> float:
    """RMS distance of two paths [T,2] px in ball radii after the known frames; NaN is a ball that was not found.

    A frame in which only one shows the ball costs LOST, one in which neither does is left out. 0 without frames.
    """
    there = ~np.isnan(a[:, 0]), ~np.isnan(b[:, 0])
    distance = np.minimum(np.linalg.norm(a - b, axis=-1) / radius, LOST)
    distance[there[0] != there[1]] = LOST
    asked = (there[0] | there[1]) & (np.arange(len(a)) >= known)
    if judged is not None:
        asked &= judged
    return float(np.sqrt((distance[asked] ** 2).mean())) if asked.any() else 0.0


def events(center: np.ndarray, radius: np.ndarray, known: int) -> tuple[int | None, bool]:
    """(frame of the first bounce or None, whether the ball comes back: seen twice, not seen twice, seen twice)."""
    hits = impacts(center[:, 1], radius, known)
    seen = "".join("x" if there else "." for there in ~np.isnan(center[:, 0]))
    return (hits[0] if hits else None), re.search(r"xx\.{2,}(?=xx)", seen) is not None


def asked(labels: Labels, known: int) -> tuple[bool, bool]:
    """Whether the true ball bounces, and whether it is hidden for a while: only then a video is asked about it."""
    return bool(impacts(labels.center[:, 1], labels.radius, known)), int(labels.hidden.sum()) >= 2


def same_events(a: tuple[int | None, bool], b: tuple[int | None, bool], asks: tuple[bool, bool]) -> bool | None:
    """Bounces within a frame of each other, or none in both; both come back, or neither. None: nothing is asked."""
    if not any(asks):
        return None
    bounces = a[0] == b[0] if None in (a[0], b[0]) else abs(a[0] - b[0]) <= 1
    return (bounces or not asks[0]) and (a[1] == b[1] or not asks[1])


def pairs(seen: Seen, render: Seen, shifted: bool = False) -> list[dict]:
    """The measures of every take against the render of its seed."""
    distance = np.linalg.norm(seen.latents[:, None] - render.latents[None], axis=-1)  # [take, render]
    size = np.sqrt((render.latents**2).mean(1))
    rows = []
    for i, (mine, other) in enumerate(zip(seen.made, render.made)):
        others = np.delete(distance[i], [i, (i + 1) % len(distance)] if shifted else [i])
        frames, known = slice(render.known, None), render.known
        rows.append({
            "latent_rmse": float(distance[i, i] / np.sqrt(seen.latents.shape[1]) / size[i]),
            "psnr_db": psnr(mine.frames[frames], other.frames[frames]),
            "ssim": ssim(mine.frames[frames], other.frames[frames]),
            "retrieval": float(distance[i].argmin() == i),
            "own_to_other": float(distance[i, i] / others.mean()),
            "path_radii": apart(seen.centers[i], render.centers[i], render.labels.radius, known),
            "seconds": mine.seconds, "first_s": mine.first_frame_s,
        })  # fmt: skip
        same = same_events(seen.events[i], render.events[i], asked(render.labels, known))
        if same is not None:
            rows[-1]["events"] = float(same)
    for first in range(0, len(rows), OF):
        group = slice(first, first + OF)
        truth = np.array(render.from_truth[group])
        picked = int(np.argmin(seen.from_truth[group]))
        rows[first]["best_of_4"] = float(truth[picked] <= truth.min() + TIE)
    return rows


def summary(rows: list[dict], length: float) -> dict:
    """Means over pairs, shares in per cent with their 95% intervals; `length` of a clip in seconds."""
    mean = lambda key: round(statistics.fmean(r[key] for r in rows), 4)  # noqa: E731
    seconds = statistics.median(r["seconds"] for r in rows)
    return {
        "pairs": len(rows),
        **{key: mean(key) for key in ("latent_rmse", "psnr_db", "ssim", "own_to_other", "path_radii")},
        **{key: share([r[key] for r in rows if key in r]) for key in ("retrieval", "events", "best_of_4")},
        "seconds": round(seconds, 3), "first_frame_s": round(statistics.median(r["first_s"] for r in rows), 3),
        "times_real_time": round(length / max(seconds, 1e-6), 2),
    }  # fmt: skip


def table(report: dict) -> str:
    """The report for a terminal."""
    head = ("", "own seed", "SSIM", "PSNR", "latent", "own/other", "path", "events", "best of 4", "seconds")
    lines = [head, ("", "%", "", "dB", "rel. RMSE", "", "radii", "%", "%", "")]
    for name, s in report["systems"].items():
        lines.append((
            name, *("-" if v is None else f"{v:.4g}" for v in (
                s["retrieval"]["percent"], s["ssim"], s["psnr_db"], s["latent_rmse"], s["own_to_other"],
                s["path_radii"], s["events"]["percent"], s["best_of_4"]["percent"], s["seconds"])),
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = [[line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:]))] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def write(report: dict, out: Path) -> list[Path]:
    """preview.json and preview.png."""
    from PIL import Image

    from .plots import pixels
    from .preview_plot import against_steps

    out.mkdir(parents=True, exist_ok=True)
    _write(out / "preview.json", json.dumps(report, indent=1).encode())
    Image.fromarray(pixels(against_steps(report))).save(out / "preview.png")
    return [out / "preview.json", out / "preview.png"]


def _claim(out: Path, facts: dict) -> None:
    """Raises ValueError when the folder holds another run's latents."""
    out.mkdir(parents=True, exist_ok=True)
    path, text = out / "run.json", json.dumps(facts, indent=1)
    if path.exists() and json.loads(path.read_text("utf-8")) != json.loads(text):
        raise ValueError(f"{out} holds a run with other settings ({path.name} says which); give another --out")
    _write(path, text.encode())


def _kept(path: Path | None, maker: PreviewModel, clip: Clip, seed: int) -> PreviewVideo | None:
    if path is None or not path.exists():
        return None
    with np.load(path) as kept:
        opening = kept.get("opening")
        frames = maker.decode(clip, seed, kept["latent"], opening)
        return PreviewVideo(kept["latent"], frames, float(kept["seconds"]), float(kept["first"]), opening)


def _keep(path: Path | None, made: PreviewVideo) -> PreviewVideo:
    if path is not None:
        import io

        file = io.BytesIO()
        opening = {} if made.first_picture is None else {"opening": made.first_picture}
        np.savez(file, latent=made.latent.astype(np.float32), seconds=made.seconds, first=made.first_frame_s, **opening)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, file.getvalue())
    return made


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


def command(
    load: Callable[..., tuple[PreviewModel, list[PreviewModel]]], *, model: Any, students: list[str] | None, seed: int, pairs: int,
    known: int, drafts: bool, reference_steps: int | None, split: str, width: int, height: int, frames: int | None,
    out: Path | None,
) -> int:  # fmt: skip
    """`vdit benchmark --suite preview`. load(model file, student files, known, drafts) -> teacher and students."""
    import sys

    from tqdm import tqdm

    plan = Plan(
        seed, max(1, pairs // Plan.seeds), split=split, reference_steps=reference_steps or Plan.reference_steps,
        width=width, height=height, frames=frames or Plan.frames,
    )  # fmt: skip
    teacher, found = load(model, students, known, drafts)
    out = out or Path("output") / f"benchmark-{seed}-preview{'' if drafts else '-no-drafts'}"
    with tqdm(unit="video", file=sys.stderr, dynamic_ncols=True) as bar:

        def on_done(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description(what, refresh=False)
            bar.update(done - bar.n)

        report = measure(plan, teacher, found, out, on_done)
    print(table(report))
    for path in write(report, out):
        print(path)
    return 0
