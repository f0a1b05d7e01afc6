"""A scene from a file, by the ending of its name: JSON of this project, or an MJCF file of MuJoCo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .scene import SceneError
from .scene_file import LARGEST_FILE, loads

if TYPE_CHECKING:
    from pathlib import Path

    from .scene import Scene

ENDINGS = (".xml", ".json")


def read_scene(path: Path, name: str = "") -> Scene:
    """The scene of a .json or .xml file; `name` is what errors call it ("": its path).

    Raises SceneError for another ending, a missing file, and for what `loads` and `read_mjcf` refuse.
    """
    name = name or str(path)
    check_ending(path, name)
    if not path.is_file():
        raise SceneError(f"{name}: there is no such file; name a scene (.json) or an MJCF file of MuJoCo (.xml)")
    if path.suffix.lower() == ".json":
        return loads(read_text(path), name)
    from .mjcf import read_mjcf

    return read_mjcf(path)


def check_ending(path: Path, name: str) -> None:
    """Raise SceneError unless the name ends as that of a scene or of an MJCF file."""
    if path.suffix.lower() not in ENDINGS:
        raise SceneError(f"{name}: expected a scene (.json) or an MJCF file of MuJoCo (.xml)")


def read_text(path: Path) -> str:
    """The text of a file of scenes or actions. Raises SceneError where it is too large, or no text."""
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise SceneError(f"{path}: {size:,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise SceneError(f"{path}: this is no text file ({reason}); expected JSON") from reason
