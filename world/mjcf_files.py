"""An MJCF file with everything it names, as one text and its assets: read from its own folder and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .scene import Mechanism, SceneError

MOST_BYTES = 300_000_000  # of all files together
MOST_TEXT = 20_000_000  # bytes of XML, includes and all
MOST_GEOMS = 5_000  # with those that replicate, composite and flexcomp make
MOST_VERTICES = 2_000_000  # of all meshes together
MOST_CELLS = 2**26  # pixels of a texture made from numbers, cells of a height field
MOST_OF_A_SIZE = 10_000_000  # of numbers in <size>
MOST_INCLUDES = 200
FOLDERS = {"mesh": "meshdir", "hfield": "meshdir", "skin": "meshdir", "flexcomp": "meshdir", "texture": "texturedir"}
NAMED_BY_FILE = ("mesh", "hfield", "skin", "texture")  # MuJoCo names these as their file, unless they have a name


@dataclass
class _Reading:
    """One MJCF file being read: the folder it may not leave, and what was found."""

    root: Path
    assets: dict[str, bytes]
    names: dict[Path, str] = field(default_factory=dict[Path, str])  # of assets, by their file
    included: set[Path] = field(default_factory=set[Path])
    bytes_read: int = 0

    def read(self, path: Path, said: str) -> bytes:
        """A file of the folder. Raises SceneError where it leads out, is missing, or is too much."""
        real = confined(self.root, path, said)
        if not real.is_file():
            raise SceneError(f"{said}: no such file as {path}; put it there, in or below {self.root}")
        self.bytes_read += real.stat().st_size
        if self.bytes_read > MOST_BYTES:
            raise SceneError(
                f"{said}: with it the model's files have {self.bytes_read:,} bytes; at most {MOST_BYTES:,}"
            )
        return real.read_bytes()


def read_mechanism(path: Path) -> Mechanism:
    """The model with its includes put in place and each file it names as an asset of a plain name.

    Raises SceneError: no MJCF, a file that is missing or outside the model's folder, a plugin, or too much of anything.
    """
    path = Path(path)
    reading = _Reading(Path(os.path.realpath(path.parent)), {})
    root = _flat(path, reading)
    mechanism = Mechanism(ElementTree.tostring(root, "unicode"), reading.assets)
    check_closed(mechanism, path.name)
    return mechanism


def files_of(path: Path) -> list[Path]:
    """All files that an MJCF file needs, itself the first. Raises SceneError as read_mechanism does."""
    reading = _Reading(Path(os.path.realpath(path.parent)), {})
    _flat(path, reading)
    return [path, *reading.included, *reading.names]


def confined(root: Path, path: Path, said: str) -> Path:
    """The real path, links followed. Raises SceneError where it is not in or below `root`."""
    real = Path(os.path.realpath(path))
    if os.path.commonpath((root, real)) != str(root):
        raise SceneError(
            f"{said} leads to {real}, outside of the model's folder {root}; put all its files into that one"
        )
    return real


def check_closed(mechanism: Mechanism, name: str = "mechanism") -> None:
    """Raise SceneError unless the XML names only its own assets, no plugin, and sizes that MuJoCo can hold."""
    root = _parsed(mechanism.xml.encode(), name)
    if root.tag != "mujoco":
        raise SceneError(f"{name}: the XML starts with <{root.tag}>; expected <mujoco>")
    lowered = {asset.lower() for asset in mechanism.assets}
    for element in root.iter():
        if element.tag in ("plugin", "extension", "include"):
            raise SceneError(f"{name}: {_refused(element)}")
        for key, value in element.attrib.items():
            if key.startswith("file") and value.lower() not in lowered:
                raise SceneError(f"{name}: <{element.tag}> names {value!r}, which is not among the mechanism's assets")
            if key.endswith("dir") and key != "dir":
                raise SceneError(f"{name}: {key}={value!r}; the assets of a mechanism have no folders")
    _check_sizes(root, mechanism.assets, name)


def _refused(element: Element) -> str:
    if element.tag == "include":
        return f"<include file={element.get('file')!r}> in a mechanism; expected its content in its place"
    found = next((e.get("plugin") for e in element.iter() if e.get("plugin")), element.get("plugin") or "one")
    return f"the model needs a plugin ({found}), which is compiled code; remove its <{element.tag}> to use the model"


def _parsed(data: bytes, name: str) -> Element:
    if len(data) > MOST_TEXT:
        raise SceneError(f"{name}: {len(data):,} bytes of XML; at most {MOST_TEXT:,} are read")
    if re.search(rb"<!(DOCTYPE|ENTITY)", data, re.IGNORECASE):
        raise SceneError(f"{name}: it declares a DOCTYPE; MJCF has none")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as reason:
        raise SceneError(f"{name}: this is no XML ({reason}); expected an MJCF file, <mujoco> ...") from reason
    if root.tag == "robot":
        raise SceneError(
            f'{name}: this is a URDF file; make it MJCF first: python -c "import mujoco; '
            f"m = mujoco.MjSpec.from_file('{name}'); m.compile(); m.to_file('robot.xml')\""
        )
    return root


def _flat(path: Path, reading: _Reading) -> Element:
    """The root element, includes in place, files as assets, folders gone."""
    name = path.name
    root = _parsed(reading.read(path, name), name)
    if root.tag != "mujoco":
        raise SceneError(f"{name}: the XML starts with <{root.tag}>; expected an MJCF file, <mujoco> ...")
    base = path.parent
    _include(root, (base,), reading)
    folders: dict[str, str] = {}
    strip = False
    for compiler in root.iter("compiler"):
        if both := compiler.attrib.pop("assetdir", None):
            folders |= {"meshdir": both, "texturedir": both}
        folders |= {key: compiler.attrib.pop(key) for key in ("meshdir", "texturedir") if key in compiler.attrib}
        strip = compiler.attrib.pop("strippath", "true" if strip else "false") == "true"
    for element in root.iter():
        for key in [k for k in element.attrib if k.startswith("file")]:
            file = element.attrib[key]
            if not file.strip():
                del element.attrib[key]
                continue
            if element.tag in NAMED_BY_FILE and key == "file" and "name" not in element.attrib:
                element.set("name", PurePosixPath(file.replace("\\", "/")).stem)
            element.set(key, _asset(element, file, strip, base, folders, reading))
    return root


def _include(element: Element, bases: tuple[Path, ...], reading: _Reading) -> None:
    """Put each included file's elements in the place of its <include>, as MuJoCo does."""
    for i in reversed(range(len(element))):
        child = element[i]
        if child.tag != "include":
            _include(child, bases, reading)
            continue
        file = child.get("file") or ""
        said = f"<include file={file!r}>"
        found = [base / file for base in bases]
        path = next((p for p in found if confined(reading.root, p, said).is_file()), found[0])
        if path in reading.included or len(reading.included) >= MOST_INCLUDES:
            raise SceneError(f"{said}: included twice, or more than {MOST_INCLUDES} files are; MJCF allows neither")
        reading.included.add(path)
        inner = _parsed(reading.read(path, said), said)
        _include(inner, (path.parent, bases[-1]), reading)
        element[i : i + 1] = list(inner)


def _asset(element: Element, file: str, strip: bool, base: Path, folders: dict[str, str], reading: _Reading) -> str:
    """The name of the asset that a file becomes: its own, with a number before it where another has it already."""
    said = f"<{element.tag} file={file!r}>"
    if element.tag == "model":
        raise SceneError(
            f'{said}: the model is made of other models; save it as one first: python -c "import mujoco; '
            f"m = mujoco.MjSpec.from_file('model.xml'); m.compile(); m.to_file('whole.xml')\""
        )
    relative = file.replace("\\", "/")
    relative = PurePosixPath(relative).name if strip else relative
    folder = folders.get(FOLDERS.get(element.tag, ""), "").replace("\\", "/")
    tried = [base / folder / relative, base / relative]
    path = next((p for p in tried if confined(reading.root, p, said).is_file()), tried[0])
    real = confined(reading.root, path, said)
    if real not in reading.names:
        name, number = path.name, 1
        while name.lower() in {used.lower() for used in reading.assets}:
            number += 1
            name = f"{number}-{path.name}"
        reading.assets[name], reading.names[real] = reading.read(path, said), name
    return reading.names[real]


def _check_sizes(root: Element, assets: dict[str, bytes], name: str) -> None:
    geoms = sum(times for element, times in _with_copies(root, 1) if element.tag in ("geom", "composite", "flexcomp"))
    if geoms > MOST_GEOMS:
        raise SceneError(f"{name}: {geoms:,} geoms with all copies; at most {MOST_GEOMS:,} are read")
    vertices = sum(_vertices(file, data) for file, data in assets.items())
    if vertices > MOST_VERTICES:
        raise SceneError(f"{name}: {vertices:,} vertices of meshes; at most {MOST_VERTICES:,} are read")
    for element in root.iter():
        pairs = {"hfield": ("nrow", "ncol"), "texture": ("width", "height")}.get(element.tag, ())
        sides = [_whole(element.get(key, "0")) for key in pairs]
        if sides and sides[0] * max(1, sides[1]) > MOST_CELLS:
            raise SceneError(f"{name}: <{element.tag}> of {sides[0]:,} x {sides[1]:,}; at most {MOST_CELLS:,} in all")
        if element.tag == "size":
            for key, value in element.attrib.items():
                if _whole(value) > MOST_OF_A_SIZE and key != "memory" or _memory(value) > MOST_BYTES * 4:
                    raise SceneError(f"{name}: <size {key}={value!r}> is more than is given to a model here")


def _with_copies(element: Element, times: int) -> Iterator[tuple[Element, int]]:
    """Each element with how many copies of it MuJoCo makes."""
    if element.tag in ("replicate", "composite", "flexcomp"):
        for count in element.get("count", "1").split():
            times *= max(1, _whole(count))
    yield element, times
    for child in element:
        yield from _with_copies(child, times)


def _whole(text: str) -> int:
    found = re.match(r"\s*\+?(\d{1,12})", text)
    return int(found[1]) if found else 0


def _memory(text: str) -> int:
    unit = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50, "e": 2**60}
    return _whole(text) * unit.get(text.strip()[-1:].lower(), 1)


def _vertices(file: str, data: bytes) -> int:
    """How many vertices a mesh file has, by its format."""
    ending = file.lower().rpartition(".")[2]
    if ending == "obj":
        return data.count(b"\nv ") + data.startswith(b"v ")
    if ending == "stl":
        return 3 * (len(data) // 50)
    return len(data) // 12 if ending == "msh" else 0
