"""Checks before a run: names to save under, files to read, text widgets, packages, inputs that exclude each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from . import camera as cameras
from . import scene_file
from .comfy import IN_COMFYUI, input_file, native, save_place
from .types import needs
from .wired import Wired

LEAST_FREE_BYTES = 4_000_000  # of a disk that is written to; 5 s of 832x480 in H.264 are about as much
SIMULATED = "VDiTSimulateScene"  # the node whose scenes have a measured truth


def save_prefix(node: Wired) -> None:
    """Raise ValueError or OSError for a prefix that leads out, or to where nothing can be written."""
    prefix = node.text("filename_prefix")
    if prefix is None:
        return
    place = save_place(prefix)
    there = next(one for one in place.parents if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"filename_prefix {prefix!r}: {there} is a file, not a folder; choose another prefix")
    _check_writable(there / place.name)


def _check_writable(path: Path) -> None:
    """Raise CannotSave where no such file can be made, or its disk is full."""
    from ..machine.writing import CannotSave, beside

    with beside(path) as part:
        part.write_bytes(b"\0")
    free = shutil.disk_usage(path.parent).free
    if free < LEAST_FREE_BYTES:
        raise CannotSave(
            None, f"{path.parent}: its disk is full ({free / 1e6:.1f} MB are free); free some space on it, or choose "
            "another output folder"
        )  # fmt: skip


def packages(*modules: str) -> Callable[[Wired], None]:
    """A check that raises ImportError, with what to install, where one of these modules is missing."""
    return lambda node: needs(node.title, *modules)


def comfyui(node: Wired) -> None:
    """Raise ValueError outside ComfyUI."""
    if not IN_COMFYUI:
        native(node.title)


def camera(node: Wired) -> None:
    """Raise ControlError or OSError for keys or a file that give no camera path."""
    path, file, direction = (node.text(name, "") for name in ("path", "file", "direction"))
    frames, fov_deg = node.number("frames"), node.number("fov_deg")
    if path is not None and file is not None and direction is not None and frames and fov_deg:
        cameras.path_of(path, file, direction, fov_deg, int(frames))


def depth(node: Wired) -> None:
    """Raise ControlError or OSError where there is not just one of pictures and a file."""
    from ..control.span import ControlError
    from .depth import check_sources

    file = node.text("file", "")
    if file is None:
        return
    name = file.strip()
    check_sources(node.has("images"), bool(name))
    if name:
        path = input_file(name)
        if path.suffix.lower() not in (".npy", ".npz"):
            raise ControlError(f"{path}: expected an array of depth in metres, .npy or .npz")


def flow(node: Wired) -> None:
    """Raise ControlError for inputs of Flow Control that say nothing, or two things."""
    from .flow import check_sources

    check_sources(node.has("flow"), node.has("camera"), node.has("depth"), node.has("colors"))


def strokes(node: Wired) -> None:
    """Raise ControlError for strokes that are no brush's."""
    from ..control.brush import read_strokes

    if text := node.text("strokes"):
        read_strokes(text)


def objects(node: Wired) -> None:
    """Raise ControlError for objects that are no selection's."""
    from ..lift.objects import read_selection

    if text := node.text("objects"):
        read_selection(text)


def arrows(node: Wired) -> None:
    """Raise SceneError for arrows that are no text of arrows; whose they are is known once there is a scene."""
    from ..world.arrows import read_arrows

    if text := node.text("arrows"):
        read_arrows(text)


def scene(node: Wired) -> None:
    """Raise SceneError or OSError for files that are missing, too large, damaged or of another kind."""
    file, actions = node.text("file"), node.text("actions_file", "")
    if file is not None and actions is not None:
        scene_file.check_files(file.strip(), actions.strip())


def filming(node: Wired) -> None:
    """Raise SceneError for a simulation whose frames would not fit into memory."""
    from ..world.filming import Filming, check_size

    seconds, fps, width, height = (node.number(name) for name in ("seconds", "fps", "width", "height"))
    if seconds and fps and width and height:
        check_size(Filming(seconds=seconds, fps=fps), int(width), int(height))


def simulated(node: Wired) -> None:
    """Raise ValueError for more start frames than frames."""
    from .simulate import check_starts

    first, frames = node.number("start_frames"), node.number("frames")
    if first is not None and frames is not None:
        check_starts(first, frames)


def scored(node: Wired) -> None:
    """Raise ValueError for scenes without a truth, and for videos that are known as a whole."""
    from .score import NO_TRUTH, check_known

    source, known = node.source("scene"), node.number("known_frames")
    if source is None:
        return
    if source.kind in ("VDiTSceneFromPicture", "VDiTSceneFile"):
        raise ValueError(f"the scene of {source.title} {NO_TRUTH}")
    frames = source.number("frames") if source.kind == SIMULATED else None
    if known is not None and frames is not None:
        check_known(known, frames)
