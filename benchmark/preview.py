"""Does a preview predict its render? Students against their teacher, pair by pair: the same shot, the same noise.

The reference is the teacher at many steps. Controls: the teacher itself at the preview's few steps, the render of
another seed, and the teacher with another solver, which says how similar two faithful renders are.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from ..world.arrays import Bools, Floats
from ..world.families.clip import Clip, make_clip
from . import plots
from .contestant import PreviewModel, PreviewVideo
from .fidelity import psnr, ssim
from .files import claim, write_bytes, write_json
from .labels import Labels, label
from .physics import impacts
from .report import share
from .runner import OnDone
from .selection import candidates
from .speed import hardware
from .tracking import track_ball, validated_frames

FAMILIES = ("fall", "throw", "roll", "behind")
MIN_IN_VIEW = 0.3  # share of a shot's frames that show the whole ball
MAX_DISTANCE = 6.0  # radii: the most a frame may cost, and what it costs where only one of two videos shows the ball
TIE = 0.1  # radii: takes that differ less in their distance from the truth are equally good picks
PICK_OF = 4  # takes to pick from
TARGETS = {"retrieval": 95.0, "ssim": 0.90, "events": 90.0, "best_of_4": 85.0}  # at 4 steps


@dataclass(frozen=True)
class PreviewPlan:
    """What is compared."""

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
        if self.shots < 1 or self.seeds < PICK_OF or self.seeds % PICK_OF or self.seed < 0:
            raise ValueError(
                f"{self.shots} shots of {self.seeds} seeds from seed {self.seed}: expected at least 1 shot, seeds in "
                f"multiples of {PICK_OF}, and no negative seed"
            )


class PreviewReport(TypedDict):
    """preview.json."""

    suite: str
    plan: dict[str, Any]
    targets_at_4_steps: dict[str, float]
    systems: dict[str, dict[str, Any]]  # see summary()
    models: dict[str, Any]
    known: int
    drafts: bool
    hardware: dict[str, Any]


class Shot(NamedTuple):
    """A clip of a static camera that shows one ball from the start."""

    clip: Clip
    labels: Labels
    name: str


class System(NamedTuple):
    """What is compared with the reference."""

    name: str
    model: PreviewModel
    steps: int
    solver: str | None = None


class Events(NamedTuple):
    """What happens to the ball."""

    bounce: int | None  # frame of the first bounce
    returns: bool  # it is seen twice, not seen twice, and seen twice again


class Take(NamedTuple):
    """One video of a shot, analysed."""

    video: PreviewVideo
    latent: Floats  # [D], of the frames after the known ones
    center: Floats  # [T, 2] px, NaN where no ball was found
    events: Events
    error: float  # path distance from the simulator's, radii


def shots(plan: PreviewPlan) -> Iterator[Shot]:
    """The families in turn; the same for the same plan."""
    rows = {family: candidates(plan.seed, "preview", family, plan.split) for family in FAMILIES}
    for i in range(plan.shots):
        family = FAMILIES[i % len(FAMILIES)]
        for seed in rows[family]:
            clip = make_clip(seed, family, split=plan.split, width=plan.width, height=plan.height, frames=plan.frames)
            if not clip.scene.balls:
                continue
            labels = label(clip)
            in_view = labels.in_view[0] and labels.in_view.mean() > MIN_IN_VIEW
            if labels.static_camera and in_view and len(labels.shades):
                yield Shot(clip, labels, f"{family}-{seed}")
                break


def systems(teacher: PreviewModel, students: Sequence[PreviewModel], plan: PreviewPlan) -> list[System]:
    """The teacher and the students at few steps, and the teacher with another solver."""
    few = [System(f"{model.name}@{k}", model, k) for model in (teacher, *students) for k in plan.steps]
    other = f"other solver@{plan.reference_steps}"
    return [*few, System(other, teacher, plan.reference_steps, plan.other_solver)]


def measure(
    plan: PreviewPlan,
    teacher: PreviewModel,
    students: Sequence[PreviewModel],
    out: Path | None = None,
    on_done: OnDone | None = None,
) -> PreviewReport:
    """The report. Latents are kept in `out`, so that a run goes on where it was stopped. Raises OtherRunError."""
    if out is not None:
        models = [teacher.name, *(s.name for s in students)]
        claim(out, {"plan": asdict(plan), "models": models, "known": teacher.known, "drafts": teacher.drafts})
    reference, compared = System("reference", teacher, plan.reference_steps), systems(teacher, students, plan)
    total, done = plan.shots * plan.seeds * (1 + len(compared)), 0
    rows: dict[str, list[dict[str, float]]] = {}
    seconds = 0.0
    for shot in shots(plan):
        render: list[Take] = []
        for system in (reference, *compared):
            takes: list[Take] = []
            for i in range(plan.seeds):
                takes.append(_analysed(_video(out, system, shot, plan.seed * 1000 + i), shot.labels, teacher.known))
                done += 1
                if on_done is not None:
                    on_done(done, total, f"{shot.name} {system.name}")
            if system is reference:
                render = takes
            else:
                rows.setdefault(system.name, []).extend(pairs(takes, render, shot.labels, teacher.known))
        wrong = [*render[1:], render[0]]
        rows.setdefault("wrong seed", []).extend(pairs(wrong, render, shot.labels, teacher.known, shifted=True))
        rows.setdefault("reference", []).extend(pairs(render, render, shot.labels, teacher.known))
        seconds = (plan.frames - 1) / shot.clip.scene.fps
    found = {name: summary(of_system, seconds) for name, of_system in rows.items()}
    for system in compared:
        found[system.name]["steps"] = system.steps
    return {
        "suite": "preview",
        "plan": asdict(plan),
        "targets_at_4_steps": TARGETS,
        "systems": found,
        "models": {"teacher": teacher.name, "students": [s.name for s in students]},
        "known": teacher.known,
        "drafts": teacher.drafts,
        "hardware": hardware(teacher.device),
    }


def _analysed(video: PreviewVideo, labels: Labels, known: int) -> Take:
    held = 1 + (known - 1) // 4  # latent frames of the known ones
    center = track_ball(validated_frames(video.frames, labels), labels).center
    error = path_distance(center, labels.center, labels.radius, known, labels.in_view)
    latent = np.ravel(video.latent[:, held:]).astype(np.float64)
    return Take(video, latent, center, events(center, labels.radius, known), error)


def path_distance(a: Floats, b: Floats, radius: Floats, known: int, judged: Bools | None = None) -> float:
    """RMS distance of two paths [T, 2] px in ball radii after the known frames; NaN is a ball that was not found.

    A frame in which only one shows the ball costs MAX_DISTANCE, one in which neither does is left out. 0 without
    frames.
    """
    in_a, in_b = ~np.isnan(a[:, 0]), ~np.isnan(b[:, 0])
    distance = np.minimum(np.linalg.norm(a - b, axis=-1) / radius, MAX_DISTANCE)
    distance[in_a != in_b] = MAX_DISTANCE
    asked = (in_a | in_b) & (np.arange(len(a)) >= known)
    if judged is not None:
        asked &= judged
    return float(np.sqrt((distance[asked] ** 2).mean())) if asked.any() else 0.0


def events(center: Floats, radius: Floats, known: int) -> Events:
    """What happens to a ball on a path [T, 2] px."""
    hits = impacts(center[:, 1], radius, known)
    found = "".join(".x"[int(x)] for x in ~np.isnan(center[:, 0]))
    return Events(hits[0] if hits else None, re.search(r"xx\.{2,}(?=xx)", found) is not None)


def events_asked(labels: Labels, known: int) -> tuple[bool, bool]:
    """Whether the true ball bounces, and whether it is hidden for a while: only then a video is asked about it."""
    return bool(impacts(labels.center[:, 1], labels.radius, known)), int(labels.hidden.sum()) >= 2


def same_events(a: Events, b: Events, asked: tuple[bool, bool]) -> bool | None:
    """Bounces within a frame of each other, or none in both; both come back, or neither. None: nothing is asked."""
    if not any(asked):
        return None
    bounces = a.bounce == b.bounce if a.bounce is None or b.bounce is None else abs(a.bounce - b.bounce) <= 1
    return (bounces or not asked[0]) and (a.returns == b.returns or not asked[1])


def pairs(
    takes: Sequence[Take], render: Sequence[Take], labels: Labels, known: int, shifted: bool = False
) -> list[dict[str, float]]:
    """The measures of every take against the render of its seed; shifted: takes are the renders of the next seeds."""
    latents, reference = np.stack([t.latent for t in takes]), np.stack([t.latent for t in render])
    distance: Floats = np.linalg.norm(latents[:, None] - reference[None], axis=-1)  # [take, render]
    size = np.sqrt((reference**2).mean(1))
    rows: list[dict[str, float]] = []
    for i, (mine, other) in enumerate(zip(takes, render, strict=True)):
        others = np.delete(distance[i], [i, (i + 1) % len(distance)] if shifted else [i])
        frames, reference_frames = mine.video.frames[known:], other.video.frames[known:]
        row = {
            "latent_rmse": float(distance[i, i] / np.sqrt(latents.shape[1]) / size[i]),
            "psnr_db": psnr(frames, reference_frames),
            "ssim": ssim(frames, reference_frames),
            "retrieval": float(np.argmin(distance[i]) == i),
            "own_to_other": float(distance[i, i] / np.mean(others)),
            "path_radii": path_distance(mine.center, other.center, labels.radius, known),
            "seconds": mine.video.seconds,
            "first_s": mine.video.first_frame_s,
        }
        same = same_events(mine.events, other.events, events_asked(labels, known))
        rows.append(row if same is None else {**row, "events": float(same)})
    for first in range(0, len(rows), PICK_OF):
        group = slice(first, first + PICK_OF)
        picked = int(np.argmin([t.error for t in takes[group]]))
        errors = [t.error for t in render[group]]
        rows[first]["best_of_4"] = float(errors[picked] <= min(errors) + TIE)
    return rows


def summary(rows: Sequence[dict[str, float]], seconds: float) -> dict[str, Any]:
    """Means over pairs, shares in per cent with their 95% intervals; `seconds` is the length of a clip."""
    made_in = statistics.median(r["seconds"] for r in rows)
    means = ("latent_rmse", "psnr_db", "ssim", "own_to_other", "path_radii")
    return {
        "pairs": len(rows),
        **{key: round(statistics.fmean(r[key] for r in rows), 4) for key in means},
        **{key: share([r[key] for r in rows if key in r]) for key in ("retrieval", "events", "best_of_4")},
        "seconds": round(made_in, 3),
        "first_frame_s": round(statistics.median(r["first_s"] for r in rows), 3),
        "times_real_time": round(seconds / max(made_in, 1e-6), 2),
    }


TABLE = (  # heading, unit, measure
    ("own seed", "%", "retrieval"),
    ("SSIM", "", "ssim"),
    ("PSNR", "dB", "psnr_db"),
    ("latent", "rel. RMSE", "latent_rmse"),
    ("own/other", "", "own_to_other"),
    ("path", "radii", "path_radii"),
    ("events", "%", "events"),
    ("best of 4", "%", "best_of_4"),
    ("seconds", "", "seconds"),
)


def table(report: PreviewReport) -> str:
    """The report for a terminal."""
    lines = [["", *(heading for heading, *_ in TABLE)], ["", *(unit for _, unit, _ in TABLE)]]
    for name, found in report["systems"].items():
        values = [found[key]["percent"] if isinstance(found[key], dict) else found[key] for *_, key in TABLE]
        lines.append([name, *("-" if v is None else f"{v:.4g}" for v in values)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True))] for line in lines
    ]
    return "\n".join("  ".join(line) for line in padded)


def write(report: PreviewReport, out: Path) -> list[Path]:
    """preview.json and preview.png."""
    write_json(out / "preview.json", report, indent=1)
    figure = plots.previews(report["systems"], report["targets_at_4_steps"], report["plan"]["reference_steps"])
    plots.save(plots.pixels(figure), out / "preview.png")
    return [out / "preview.json", out / "preview.png"]


def _video(out: Path | None, system: System, shot: Shot, seed: int) -> PreviewVideo:
    """Sampled, or decoded from the latent that an earlier run left in `out`."""
    path = out and out / "latents" / system.name.replace(" ", "-") / f"{shot.name}-{seed}.npz"
    if path and path.exists():
        with np.load(path) as kept:
            opening = kept.get("opening")
            frames = system.model.decode(shot.clip, seed, kept["latent"], opening)
            return PreviewVideo(kept["latent"], frames, float(kept["seconds"]), float(kept["first"]), opening)
    made = system.model.render(shot.clip, seed, system.steps, system.solver)
    if path:
        file = io.BytesIO()
        arrays: dict[str, Any] = {"latent": made.latent.astype(np.float32), "seconds": made.seconds}
        arrays["first"] = made.first_frame_s
        if made.first_picture is not None:
            arrays["opening"] = made.first_picture
        np.savez(file, **arrays)
        write_bytes(path, file.getvalue())
    return made
