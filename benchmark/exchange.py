"""The suite's clips for programs that no graph reaches: start pictures and words in a folder, with a manifest."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Pillow types the pictures it opens only in part.

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from ..machine.parse import Unreadable, check, json_value
from ..machine.pictures import open_picture
from ..machine.writing import written
from ..world.arrays import Bytes, Floats
from .files import claim, read_json, write_bytes, write_json
from .runner import Check, OnDone, Part, Plan, clips
from .scores import SUITE_VERSION
from .selection import Format, Taken, Tally

MANIFEST = "manifest.json"
VERSION = 1  # of the manifest's layout
PICTURES, PROGRESS = "pictures", "progress"  # folders of an export

FIELDS = {
    "vdit_benchmark_export!": int,
    "suite_version!": int,
    "plan!": dict,
    "plan.seed!": int,
    "plan.count!": int,
    "plan.suites!": list,
    "plan.suites[]!": str,
    "plan.splits!": list,
    "plan.splits[]!": str,
    "plan.form!": dict,
    "plan.form.width!": int,
    "plan.form.height!": int,
    "plan.form.fps!": float,
    "plan.form.known!": int,
    "plan.form.frames": int,
    "left_out!": dict,
    "left_out{}{}": int,
    "clips!": list,
    "clips[]!": dict,
    "clips[].name!": str,
    "clips[].suite!": str,
    "clips[].split!": str,
    "clips[].family!": str,
    "clips[].seed!": int,
    "clips[].words!": str,
    "clips[].pictures!": list,
    "clips[].pictures[]!": str,
    "clips[].width!": int,
    "clips[].height!": int,
    "clips[].frames!": int,
    "clips[].fps!": float,
}


class ManifestError(ValueError):
    """A manifest that cannot be read or is of another version; names the file and what to do."""


@dataclass(frozen=True)
class ExportedClip:
    """One clip as a program is given it: a video of `frames` frames at `fps`, that begins with `pictures`."""

    name: str  # of its file, without ending; unique in the export
    suite: str
    split: str
    family: str
    seed: int  # of its scene
    words: str
    pictures: tuple[str, ...]  # its first frames in order, as paths from the manifest's folder
    width: int
    height: int
    frames: int
    fps: float


@dataclass(frozen=True)
class Manifest:
    """What an export holds."""

    folder: Path
    plan: Plan
    clips: tuple[ExportedClip, ...]
    left_out: dict[str, dict[str, int]]  # part -> why candidates were not taken

    def of(self, part: Part) -> tuple[ExportedClip, ...]:
        """The clips of one suite, split and family."""
        return tuple(c for c in self.clips if (c.suite, c.split, c.family) == (part.suite, part.split, part.family))

    def pictures_of(self, clip: ExportedClip) -> Floats:
        """The first frames [known, H, W, 3] in 0..1. Raises ManifestError where a file is missing."""
        frames: list[Bytes] = []
        for name in clip.pictures:
            path = self.folder / name
            if not path.is_file():
                raise ManifestError(f"{path} is missing: copy the whole folder of the export, or export again")
            with open_picture(path) as picture:
                frames.append(np.asarray(picture.convert("RGB")))
        return np.stack(frames).astype(np.float32) / 255


def export(plan: Plan, folder: Path, on_done: OnDone | None = None, check: Check | None = None) -> Manifest:
    """Write the clips of a plan to a folder: pictures/, clips.csv, and manifest.json last of all.

    A second call goes on where one was stopped. Raises OtherRunError for another export's folder, ValueError for
    obedience, which has no start pictures alone.
    """
    if "obedience" in plan.suites:
        raise ValueError("obedience gives a model cameras, depth and flow, not only pictures: leave it out of --suite")
    progress = folder / PROGRESS
    facts = {"export": VERSION, "suite_version": SUITE_VERSION, "plan": asdict(plan)}
    claim(progress, facts)
    found: list[ExportedClip] = []
    left_out: dict[str, dict[str, int]] = {}
    for part in plan.parts():
        tally = Tally()
        for seed, clip_of in clips(progress, part, plan, tally, check or (lambda: None)):
            found.append(_exported(folder, part, seed, clip_of, plan.form))
            if on_done is not None:
                on_done(len(found), plan.clips, part.name)
        left_out[part.name] = dict(tally.left_out)
    write_bytes(folder / "clips.csv", _table(found).encode())
    manifest = {
        "vdit_benchmark_export": VERSION,
        "suite_version": SUITE_VERSION,
        "plan": asdict(plan),
        "left_out": left_out,
        "clips": [asdict(clip) for clip in found],
    }
    write_json(folder / MANIFEST, manifest, indent=1)
    return Manifest(folder, plan, tuple(found), left_out)


def _exported(folder: Path, part: Part, seed: int, clip_of: Callable[[], Taken], form: Format) -> ExportedClip:
    """One clip's pictures, written unless an earlier call has done so."""
    name = f"{part.name}-{seed}"
    done = folder / PROGRESS / f"{name}.json"
    if (known := read_json(done)) is not None:
        return _clip(known)
    clip, labels = clip_of()
    frames, height, width = labels.truth.shape[:3]
    pictures: list[str] = []
    for i, picture in enumerate(labels.truth[: form.known]):
        path = f"{PICTURES}/{name}.png" if form.known == 1 else f"{PICTURES}/{name}-{i:02d}.png"
        _write_picture(folder / path, picture)
        pictures.append(path)
    made = ExportedClip(
        name, part.suite, part.split, part.family, seed, clip.caption, tuple(pictures), width, height, frames, form.fps
    )
    write_json(done, asdict(made))
    return made


def _write_picture(path: Path, picture: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as beside:
        Image.fromarray(np.round(picture.clip(0, 1) * 255).astype(np.uint8)).save(beside, "PNG")


def _table(found: list[ExportedClip]) -> str:
    """The clips as CSV, a row each, as batch tools read them."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "pictures", "words", "width", "height", "frames", "fps"))
    for clip in found:
        rows.writerow(
            (clip.name, " ".join(clip.pictures), clip.words, clip.width, clip.height, clip.frames, f"{clip.fps:g}")
        )
    return text.getvalue()


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, or in manifest.json of a folder. Raises ManifestError, naming file and field."""
    file = path / MANIFEST if path.is_dir() else path
    if not file.is_file():
        raise ManifestError(
            f"{file}: there is no manifest; name the folder of vdit benchmark --export with --manifest DIR"
        )
    try:
        value = json_value(file.read_bytes())
        check(value, {"!": dict})
        check(value, {name: FIELDS[name] for name in ("vdit_benchmark_export!", "suite_version!")})
        facts = cast("dict[str, Any]", value)
        if facts["vdit_benchmark_export"] != VERSION:
            raise Unreadable(f"has layout {facts['vdit_benchmark_export']}, this VDiT reads {VERSION}")
        if facts["suite_version"] != SUITE_VERSION:
            raise Unreadable(
                f"holds clips of suite version {facts['suite_version']}, this VDiT scores version {SUITE_VERSION}: "
                "export again, or use the VDiT that exported"
            )
        check(value, FIELDS)
        plan = facts["plan"]
        form = Format(**{name: plan["form"].get(name) for name in Format.__dataclass_fields__})
        made = Plan(plan["seed"], plan["count"], tuple(plan["suites"]), tuple(plan["splits"]), form)
        found = tuple(_clip(clip) for clip in facts["clips"])
        _check_clips(file.parent, made, found)
    except ValueError as reason:  # Unreadable among them
        raise ManifestError(f"{file} {reason}") from reason
    return Manifest(file.parent, made, found, facts["left_out"])


def _clip(fields: dict[str, Any]) -> ExportedClip:
    given = {name: fields[name] for name in ExportedClip.__dataclass_fields__}
    given["pictures"] = tuple(given["pictures"])
    return ExportedClip(**given)


def _check_clips(folder: Path, plan: Plan, found: tuple[ExportedClip, ...]) -> None:
    """Raise Unreadable where clips are not those of the plan, or have pictures outside of the folder."""
    parts = {(part.suite, part.split, part.family): part for part in plan.parts()}
    if len({clip.name for clip in found}) < len(found) or not found:
        raise Unreadable("names a clip twice" if found else "holds no clips")
    for clip in found:
        part = parts.get((clip.suite, clip.split, clip.family))
        if part is None or clip.name != f"{part.name}-{clip.seed}":
            raise Unreadable(f"has clip {clip.name!r}, which is not of its plan; export again")
        if (clip.width, clip.height, clip.fps) != (plan.form.width, plan.form.height, plan.form.fps):
            raise Unreadable(f"has clip {clip.name!r} of another size or rate than its plan; export again")
        if clip.frames != plan.form.frames_of(clip.suite) or len(clip.pictures) != plan.form.known:
            raise Unreadable(f"has clip {clip.name!r} of another length than its plan; export again")
        for name in clip.pictures:
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise Unreadable(f"has picture {name!r} outside of its folder; export again")
