"""Where the host reads and writes: input, output, temp, user and models folders under one base folder.

Names that come from a graph or the network are resolved and confined here; no other file joins such paths.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..machine.slots import Slot, reserved
from ..machine.writing import created

PACK = Path(__file__).resolve().parent.parent
KINDS = ("input", "output", "temp", "user", "models")
EARLY_TYPES = {".webp": "image/webp", ".mkv": "video/x-matroska", ".webm": "video/webm"}  # not in every system's list
NAME_BYTES = 240  # file systems take 255; the rest is for "name (1)" and for the part that is written first
MODEL_SUFFIXES = (".safetensors", ".sft", ".gguf")


class OutsideFolder(ValueError):  # noqa: N818
    """A name leads out of the folder it has to stay in."""


class BadName(OutsideFolder):
    """A name that no file can have."""


@dataclass(frozen=True)
class Folders:
    """The base folder, and the folders that lie elsewhere, by their kind."""

    base: Path
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def moved(self, **kinds: str | Path | None) -> Folders:
        """With single folders elsewhere: moved(output="renders"). None leaves as it is."""
        for kind in kinds:
            _check(kind)
        chosen = {kind: Path(path).resolve() for kind, path in kinds.items() if path is not None}
        return Folders(self.base, {**self.elsewhere, **chosen})


# Beside the code, as in a clone; an installed wheel's folder is no place for a person's files.
current = Folders(Path(os.environ.get("VDIT_BASE") or (Path.cwd() if "site-packages" in PACK.parts else PACK)))


def use(base: str | Path | None = None, **kinds: str | Path | None) -> None:
    """Choose the base folder, or single folders: use(output="renders"). None leaves as it is."""
    global current
    current = (current if base is None else Folders(Path(base).resolve())).moved(**kinds)


def directory(kind: str) -> Path:
    """The folder, made if it is missing and can be made; else who writes into it says what is wrong.

    Kinds: input, output, temp, user, models.
    """
    _check(kind)
    path = current.elsewhere.get(kind, current.base / kind)
    with suppress(OSError):  # a base folder that may only be read, as in a container
        path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def files_in(kind: str) -> list[Path]:
    """The files directly in a folder; none of a folder that is not there."""
    path = directory(kind)
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise OutsideFolder(f"no folder named {kind!r}; there are {', '.join(KINDS)}")


def confined(folder: Path, name: str) -> Path:
    """folder/name with links and ".." resolved. Raises OutsideFolder when that lies outside the folder."""
    root = os.path.realpath(folder)
    return Path(_inside(root, os.path.realpath(os.path.join(root, _plain(name))), name))


def _named(folder: Path, name: str) -> Path:
    """folder/name by its name alone: links that a person laid in the folder are followed, wherever they lead.

    Raises OutsideFolder when the name leads out of the folder.
    """
    root = os.path.abspath(folder)
    return Path(_inside(root, os.path.abspath(os.path.join(root, _plain(name))), name))


def _plain(name: str) -> str:
    if "\0" in name:
        raise OutsideFolder(f"{name!r} holds a NUL character; give a plain file name")
    longest = max((len(part.encode("utf-8", "replace")) for part in re.split(r"[/\\]", name)), default=0)
    if longest > NAME_BYTES:
        raise BadName(f"'{name[:40]}...' has {longest} bytes in one name, at most {NAME_BYTES}; give a shorter name")
    return name


def _inside(root: str, path: str, name: str) -> str:
    try:
        inside = os.path.commonpath((root, path)) == root
    except ValueError:  # another drive
        inside = False
    if not inside:
        raise OutsideFolder(f"{name!r} leads outside {root}; give a name inside that folder, without '..'")
    return path


def resolve(name: str, kind: str = "input") -> Path:
    """A file as nodes name it: "clip.mp4", "sub/clip.mp4", "clip.mp4 [output]". It need not exist."""
    match = re.fullmatch(r"(.*?) ?\[(input|output|temp)\]", name, re.DOTALL)
    if match:
        name, kind = match.groups()
    return confined(directory(kind), name)


def kept(path: Path, same: Callable[[Path], bool], write: Callable[[Path], object]) -> Path:
    """Have `write` make a file at `path`, or at "name (1).png" and so on where that is another one -> where it is.

    same: whether a file has this content already; it is left as it is. Raises CannotSave.
    """
    candidate, count = path, 0
    while True:
        if not candidate.exists():
            with suppress(FileExistsError):
                with created(candidate) as part:
                    write(part)
                return candidate
        if candidate.is_file() and same(candidate):
            return candidate
        count += 1
        candidate = path.with_name(f"{path.stem} ({count}){path.suffix}")


def listing(kind: str, content: str) -> list[str]:
    """Names of the files directly in a folder whose type is `content`: "image", "video", "audio"."""
    import mimetypes

    def type_of(path: Path) -> str:
        return EARLY_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name, strict=False)[0] or ""

    return sorted(path.name for path in files_in(kind) if type_of(path).startswith(content + "/"))


def save_place(prefix: str, root: Path, width: int = 0, height: int = 0) -> Path:
    """The folder below `root` and the name that a filename_prefix stands for, as folder/name.

    %width%, %height%, %year% ... %second% in it are filled in. Raises OutsideFolder.
    """
    parts = dict(zip(("year", "month", "day", "hour", "minute", "second"), time.localtime(), strict=False))
    values = {"width": str(width), "height": str(height), **{name: f"{part:02}" for name, part in parts.items()}}
    filled = re.sub(r"%(\w+)%", lambda match: values.get(match[1], match[0]), prefix)
    target = confined(root, os.path.normpath(filled))
    if target == root:
        raise OutsideFolder(f"{prefix!r} names no file; give a prefix such as video/VDiT")
    return target


def save_slot(prefix: str, kind: str, width: int, height: int, count: int = 1) -> AbstractContextManager[Slot]:
    """The next `count` numbers of a series, reserved for the block: ComfyUI's `name_00001_.ext`.

    Placeholders in the prefix are filled in as by save_place. Raises OutsideFolder, CannotSave.
    """
    target = save_place(prefix, directory(kind), width, height)
    return reserved(target.parent, target.name, count)


def subfolder(path: Path, kind: str) -> str:
    """The folder of a file, relative to the folder `kind`, as the front end names it: "" for that folder itself."""
    name = path.parent.relative_to(directory(kind)).as_posix()
    return "" if name == "." else name


def model_files(folder: str, suffixes: tuple[str, ...] = MODEL_SUFFIXES) -> list[str]:
    """Files with these endings below models/<folder>, by their path relative to it."""
    return files_below(_named(directory("models"), folder), suffixes)


def files_below(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files with these endings below a folder, by their path relative to it; also behind links, as ComfyUI lists
    them: weights often lie on another disk. A folder that links lead to twice is listed once."""
    found, seen = list[str](), set[str]()
    for place, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        files = (Path(place) / name for name in names if name.lower().endswith(suffixes))
        found += [path.relative_to(root).as_posix() for path in files if path.is_file()]
    return sorted(found)


def model_path(folder: str, name: str) -> Path:
    """The file behind a name from model_files. Raises FileNotFoundError that lists the files, or OutsideFolder."""
    root = _named(directory("models"), folder)
    path = _named(root, name)
    if not path.is_file():
        found = ", ".join(model_files(folder)) or "no model files"
        raise FileNotFoundError(f"{path}: no such file; {root} holds {found}")
    return path
