"""Videos that another program made of exported clips: found, checked before anything is scored, read."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Pillow types its pictures' sizes only in part.

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import UnidentifiedImageError

from ..machine.limits import check_pixels
from ..machine.parse import check, json_value
from ..machine.pictures import open_picture
from ..world.arrays import Floats
from ..world.video import Facts, Unplayable, facts_of, first_frame, frames_of
from . import opencv
from .exchange import MANIFEST, PICTURES, PROGRESS, ExportedClip, Manifest
from .tracking import MAX_ASPECT_ERROR, FramesError

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif")
STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
NAMES = "names.json"  # {file or folder: clip}, where files have names of their own
RATE_ERROR = 0.01  # relative: 23.976 frames a second count as 24
# Likeness of a first frame to a start picture: mean difference of thumbnails, 0..1. H.264 changes them by 0.005.
THUMBNAIL_PX = 16
ALIKE = 0.06  # at most, to be taken for the picture's video,
APART = 2.0  # and the next likest picture must be so many times further off
SHOWN = 12  # faults that a refusal lists


@dataclass(frozen=True)
class Made:
    """The video of one clip: of its frames every `step`-th is judged."""

    clip: ExportedClip
    path: Path  # a video, or a folder of pictures
    step: int
    by: str  # how its clip was identified: one of BY


BY = TABLE, NAME, LIKENESS = (NAMES, "name", "first frame")


def find(manifest: Manifest, folder: Path, rate: float | None = None) -> dict[str, Made]:
    """The video of each clip, by the clip's name. rate: frames a second, whatever the files say.

    A file is matched by names.json where there is one, else by the clip's name in its own, else by the likeness of its
    first frame to the start picture. Raises FramesError that lists all that is missing or of a wrong count, size, rate.
    """
    if not folder.is_dir():
        raise FramesError(
            f"{folder} is not a folder; name the one with the videos, or with a folder of frames for each"
        )
    files = sorted(path for path in folder.iterdir() if _is_video(path, folder == manifest.folder))
    if not files:
        raise FramesError(
            f"{folder} holds neither videos ({', '.join(VIDEOS)}) nor folders of pictures ({', '.join(STILLS)})"
        )
    matched, faults = _matched(manifest, folder, files)
    found: dict[str, Made] = {}
    for clip in manifest.clips:
        if (path := matched.get(clip.name)) is None:
            words = clip.words if len(clip.words) <= 60 else f"{clip.words[:60]}..."
            faults.append(
                f"{clip.name} is missing: make it of {clip.pictures[0]} and its words ({words}), and save it as "
                f"{clip.name}.mp4"
            )
            continue
        try:
            found[clip.name] = Made(clip, path[0], _step(path[0], clip, rate), path[1])
        except (FramesError, Unplayable) as reason:
            faults.append(f"{path[0].name}: {reason}")
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise FramesError("\n  ".join([f"{folder} cannot be scored yet:", *faults[:SHOWN], *more]))
    return found


def _is_video(path: Path, exported: bool) -> bool:
    """A file, or a folder of pictures that is not one of the export's own."""
    if path.name.startswith(".") or (exported and path.name in (PICTURES, PROGRESS)):
        return False
    return bool(_stills(path)) if path.is_dir() else path.suffix.lower() in VIDEOS


def _stills(folder: Path) -> list[Path]:
    """Its pictures, in the order of the numbers in their names."""

    def order(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.stem)
        return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in STILLS and p.name[0] != "."), key=order)


def _matched(manifest: Manifest, folder: Path, files: Sequence[Path]) -> tuple[dict[str, tuple[Path, str]], list[str]]:
    """Clip name -> its file and how that was identified, and what is wrong with the names."""
    names = [clip.name for clip in manifest.clips]
    table = _table(folder)
    matched: dict[str, tuple[Path, str]] = {}
    faults: list[str] = []
    rest: list[Path] = []
    for path in files:
        given = table.get(path.name)
        if given is not None and given not in names:
            faults.append(f"{NAMES}: {path.name} is said to be {given!r}, which is no clip of {MANIFEST}")
            continue
        stem = path.name if path.is_dir() else path.stem
        inside = [n for n in names if re.search(rf"(?<![A-Za-z0-9]){re.escape(n)}(?![A-Za-z0-9])", stem)]
        name = given or (max(inside, key=len) if inside else None)
        if name is None:
            rest.append(path)
        elif name in matched:
            faults.append(f"{matched[name][0].name} and {path.name} both are {name}: move one of them away")
        else:
            matched[name] = (path, TABLE if given else NAME)
    for name in sorted(table.keys() - {path.name for path in files}):
        faults.append(f"{NAMES}: there is no video {name!r} in {folder}")
    left = [clip for clip in manifest.clips if clip.name not in matched]
    if rest and left:
        alike, unlike = _alike(manifest, left, rest)
        matched |= {name: (path, LIKENESS) for name, path in alike.items()}
        faults += unlike
    elif rest:
        faults += [f"{path.name} is a video too many: every clip has one; move it away" for path in rest]
    return matched, faults


def _table(folder: Path) -> Mapping[str, str]:
    path = folder / NAMES
    if not path.is_file():
        return {}
    try:
        value = json_value(path.read_bytes())
        check(value, {"!": dict, "{}!": str})
    except ValueError as reason:
        raise FramesError(f"{path} {reason}; expected {{file: clip, ...}}") from reason
    return cast("dict[str, str]", value)


def _alike(manifest: Manifest, left: Sequence[ExportedClip], rest: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """Files matched by their first frames: each to the one start picture that it is like, and those like none."""
    pictures = np.stack([_thumbnail(manifest.pictures_of(clip)[0]) for clip in left])
    matched: dict[str, Path] = {}
    faults: list[str] = []
    do = f"rename it after its clip, or write {NAMES}: {{file: clip, ...}}"
    for path in rest:
        try:
            first = _first(path)
        except Unplayable as reason:
            faults.append(f"{path.name}: {reason}")
            continue
        distance = np.abs(pictures - _thumbnail(first)).mean((1, 2, 3))
        order = np.argsort(distance, kind="stable")
        nearest = float(distance[order[0]])
        name = left[int(order[0])].name
        if nearest > ALIKE or (len(order) > 1 and float(distance[order[1]]) < APART * nearest):
            faults.append(
                f"{path.name} has no clip's name, and its first frame is not like one start picture alone: {do}"
            )
        elif name in matched:
            faults.append(f"{matched[name].name} and {path.name} both begin as {name}: move one of them away")
        else:
            matched[name] = path
    return matched, faults


def _thumbnail(picture: Floats) -> Floats:
    return opencv.resized(picture[None], THUMBNAIL_PX, THUMBNAIL_PX, opencv.AREA)[0]


def _first(path: Path) -> Floats:
    """The first frame [H, W, 3], 0..1."""
    return _still(_stills(path)[0]) if path.is_dir() else first_frame(path).astype(np.float32) / 255


def _still(path: Path) -> Floats:
    try:
        with open_picture(path) as picture:
            return np.asarray(picture.convert("RGB"), np.float32) / 255
    except (UnidentifiedImageError, OSError) as reason:
        raise Unplayable(f"{path.name} cannot be read as a picture ({reason}); make it again") from reason


def _facts(path: Path) -> Facts:
    """Count, size and rate of a video or of a folder of pictures, which has no rate."""
    if not path.is_dir():
        return facts_of(path)
    stills = _stills(path)
    sizes: dict[tuple[int, int], str] = {}
    for still in stills:
        try:
            with open_picture(still) as picture:
                sizes.setdefault(picture.size, still.name)
        except (UnidentifiedImageError, OSError) as reason:
            raise Unplayable(f"{still.name} cannot be read as a picture ({reason}); make it again") from reason
    if len(sizes) > 1:
        found = ", ".join(f"{name} {width}x{height}" for (width, height), name in sizes.items())
        raise Unplayable(f"its pictures have several sizes ({found}); make them of one")
    (width, height) = next(iter(sizes))
    return Facts(len(stills), width, height, None)


def _step(path: Path, clip: ExportedClip, rate: float | None) -> int:
    """Of a video that fits its clip, every how many frames are judged. Raises FramesError with what would do."""
    found = _facts(path)
    if abs(found.width / found.height / (clip.width / clip.height) - 1) > MAX_ASPECT_ERROR:
        raise FramesError(
            f"it is {found.width}x{found.height} pixels, the clip is {clip.width}x{clip.height}: crop it to that "
            f"aspect, or export again with --width {found.width} --height {found.height}"
        )
    fps = rate or found.fps or clip.fps
    step = round(fps / clip.fps)
    length = f"the clip is {clip.frames} frames at {clip.fps:g}, {clip.frames / clip.fps:.3g} s"
    if step < 1 or abs(fps / (step * clip.fps) - 1) > RATE_ERROR:
        raise FramesError(
            f"it has {fps:.4g} frames a second, and {length}: make it at {clip.fps:g} or a whole multiple of that "
            f"(ffmpeg -i {path.name} -vf fps={clip.fps:g} OUT.mp4). If its header is wrong and its frames are "
            f"1/{clip.fps:g} s apart, say --rate {clip.fps:g}"
        )
    need = (clip.frames - 1) * step + 1
    if not need <= found.count < need + step:
        other = f", or export again with --frames {(found.count - 1) // step + 1}" if clip.suite != "coherence" else ""
        wrong = f" If its header is wrong, say --rate {clip.fps:g}." if found.count == clip.frames else ""
        raise FramesError(
            f"it has {found.count} frames at {fps:.4g} a second, and {length}: make {need} frames{other}.{wrong}"
        )
    check_pixels(path.name, found.width, found.height, found.count, "video")
    return step


def _pictures(path: Path) -> Iterator[Floats]:
    if path.is_dir():
        yield from map(_still, _stills(path))
    else:
        for frame in frames_of(path):
            yield frame.astype(np.float32) / 255


def frames(made: Made) -> Floats:
    """The judged frames [T, H, W, 3] in 0..1; larger ones are reduced to the clip's size as they are read."""
    clip = made.clip
    kept: list[Floats] = []
    for i, picture in enumerate(_pictures(made.path)):
        if i % made.step or len(kept) == clip.frames:
            continue
        if picture.shape[0] > clip.height:
            picture = opencv.resized(picture[None], clip.width, clip.height, opencv.AREA)[0]
        kept.append(picture)
    if len(kept) != clip.frames:
        raise FramesError(f"{made.path}: {len(kept)} of {clip.frames} frames could be read; make it again")
    return np.stack(kept)


def digest(found: Mapping[str, Made]) -> str:
    """Of all the files that are scored and how they are read: other files, another run."""
    total = hashlib.sha256()
    for name, made in sorted(found.items()):
        total.update(f"{name}/{made.step}\n".encode())
        for path in _stills(made.path) if made.path.is_dir() else [made.path]:
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]
