"""Checks before a run: names to save under, files to read, text widgets, packages, inputs that exclude each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from . import camera as cameras
from . import camera_render, camera_sources, scene_file
from . import tracks as point_tracks
from .benchmark_rounds import FOLDER as RESULTS
from .comfy import IN_COMFYUI, input_file, native, save_place
from .types import needs
from .wired import Wired

LEAST_FREE_BYTES = 4_000_000  # of a disk that is written to; 5 s of 832x480 in H.264 are about as much
STRETCHING = ("VDiTCameraPath", "VDiTCameraFrom3D")  # their paths take any length, without a file of poses
SIMULATED = "VDiTSimulateScene"  # the node whose scenes have a measured truth


def save_prefix(node: Wired) -> None:
    """Raise ValueError or OSError for a prefix that leads out, or to where nothing can be written."""
    prefix = node.text("filename_prefix")
    if prefix is not None:
        _check_place(save_place(prefix), f"filename_prefix {prefix!r}", "prefix")


def results(node: Wired) -> None:
    """Raise ValueError or OSError for a name under which no results can be kept."""
    name = node.text("name")
    if name is not None:
        _check_place(save_place(f"{RESULTS}/{name.strip()}/report.json"), f"name {name!r}", "name")


def _check_place(place: Path, given: str, what: str) -> None:
    there = next(one for one in place.parents if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{given}: {there} is a file, not a folder; choose another {what}")
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
    path, file, direction, axes = (node.text(name, "") for name in ("path", "file", "direction", "axes"))
    frames, fov_deg = node.number("frames"), node.number("fov_deg")
    if None not in (path, file, direction, axes) and frames and fov_deg:
        cameras.path_of(path or "", file or "", direction or "", fov_deg, int(frames), axes or "")


def path_frames(node: Wired) -> int | None:
    """Poses of the path that a node makes; None where it stretches, or is only known in a run. Raises ControlError."""
    if node.kind == "VDiTWalk":
        return _walked(node)
    if node.kind != "VDiTCameraPath" or node.has("camera"):
        return None
    path, file, direction = (node.text(name, "") for name in ("path", "file", "direction"))
    if not file or path is None or direction is None:
        return None
    made = cameras.path_of(path, file, direction, 40.0, 2)
    return None if made is None or made.stretch else made.frames


def walk(node: Wired) -> None:
    """Raise ControlError for keys that are none."""
    _walked(node)


def _walked(node: Wired) -> int | None:
    from ..control.walk import frames_of, read_walk

    keys, unit, moves = (node.text(name) for name in ("keys", "unit", "moves"))
    each, metres, degrees, fps = (node.number(name) for name in ("each", "metres", "degrees", "fps"))
    if keys is None or unit is None or moves is None or not each or not fps:
        return None
    return frames_of(read_walk(keys, camera_sources.pace_of(unit, each, metres or 0.0, degrees or 0.0, moves, fps)))


def embedding(node: Wired) -> None:
    """Raise ControlError for a move beside a camera path, for neither, and for a path of another length."""
    from ..control.fit import check_length

    move, length, source = node.text("move"), node.number("length"), node.source("camera")
    if move is not None:
        camera_sources.check_move(move, node.has("camera"))
    frames = None if source is None else path_frames(source)
    if frames is not None and length:
        check_length("the camera path", frames, int(length), "give a path with a pose for every frame")


def render(node: Wired) -> None:
    """Raise ControlError for sources that are missing, and for lengths and sizes that a model does not take."""
    from ..control.render_targets import check_target

    camera_render.check_sources(node.has("images"), node.has("depth"), node.has("scene"))
    made_for, source = node.text("made_for"), node.source("camera")
    width, height, frames = (node.number(name) for name in ("width", "height", "frames"))
    fixed = None if source is None else path_frames(source)
    if fixed is None and (source is None or source.kind not in STRETCHING or source.text("file", "")):
        frames = 0.0  # it is known in a run
    count = fixed or frames
    if made_for is not None and width is not None and height is not None:
        check_target(made_for, int(count) if count else None, int(width), int(height))


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


def tracks(node: Wired) -> None:
    """Raise ControlError or OSError for a text or a file that holds no tracks, and for inputs that say nothing."""
    points, file, background = (node.text(name, "") for name in ("points", "file", "background"))
    frames, width, height = (node.number(name) for name in ("frames", "width", "height"))
    there = True  # as far as is known
    if points is not None and file is not None and frames and width and height:
        read = point_tracks.read_points(points, file, int(frames), int(width), int(height))
        there = read is not None or node.has("tracks")
    if background is not None:
        point_tracks.check_sources(there, background, node.has("camera"), node.has("depth"))


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
    """Raise SceneError for a simulation of one frame, or whose frames would not fit into memory."""
    from ..world.filming import Filming, check_length, check_size

    seconds, fps, width, height = (node.number(name) for name in ("seconds", "fps", "width", "height"))
    if seconds and fps:
        check_length(Filming(seconds=seconds, fps=fps))
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
