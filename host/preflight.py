"""What is wrong with a prompt and can be known before any node runs: the pack's own checks, and those of the core's
nodes that this host brings."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..machine.pictures import open_picture
from ..nodes.preflight import Fault, faults_of
from ..nodes.wired import Prompt, Wired
from . import folders

# Nodes whose pictures are as large as these widgets of theirs say.
SIZED = ("ImageScale", "VDiTSimulate", "VDiTSimulateScene")


def faults(prompt: Prompt, wanted: Collection[str]) -> list[Fault]:
    """What can be known to go wrong in these nodes of a prompt. Runs nothing, and reads headers only."""
    return faults_of(prompt, wanted, {"SaveVideo": encoder, "LoadImage": picture, "LoadVideo": video})


def encoder(node: Wired) -> None:
    """Raise ValueError for a codec that this machine's PyAV lacks, and for sizes that it cannot hold."""
    import av

    from .video import ENCODERS, check_frame, encoding

    codec, kind = (node.text(name, "auto") for name in ("format.codec", "format"))
    how = encoding(kind or "auto", codec or node.text("codec", "auto") or "auto")
    name = ENCODERS[how.codec]
    if name not in av.codecs_available:
        raise ValueError(f"PyAV {av.__version__} here has no encoder {name}; choose another codec, or install PyAV")
    clip = node.source("video")
    made = None if clip is None or clip.kind != "CreateVideo" else clip.source("images")
    if made is not None and made.kind in SIZED:
        width, height = made.number("width"), made.number("height")
        if width and height:
            check_frame(int(width), int(height))


def picture(node: Wired) -> None:
    """Raise ValueError for a file that is no picture, or that promises too many pixels."""
    name = node.text("image")
    if name is not None:
        from PIL import UnidentifiedImageError

        from ..machine.limits import check_pixels

        path = folders.resolve(name)
        try:
            with open_picture(path) as found:
                check_pixels(str(path), *found.size)
        except UnidentifiedImageError:
            raise ValueError(f"{path}: {found_in(path)} no picture; save it again as PNG") from None


def video(node: Wired) -> None:
    """Raise ValueError for a file that holds no video."""
    name = node.text("file")
    if name is not None:
        import av
        from av.error import FFmpegError

        path = folders.resolve(name)
        try:
            with av.open(str(path), metadata_errors="replace") as container:
                if not container.streams.video:
                    raise ValueError(f"{path}: holds no video stream; choose a video")
        except FFmpegError as reason:
            raise ValueError(f"{path}: {found_in(path)} no video ({reason}); save it again as mp4") from None


def found_in(path: Path) -> str:
    """How a sentence about a file that is something else begins."""
    size = path.stat().st_size
    return f"its {size:,} bytes are" if size else "it is empty and so"
