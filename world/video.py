"""Frames to and from H.264 files, by PyAV."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PyAV types its containers only in part.

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from ..machine.encoding import finish
from .arrays import Bytes


@dataclass(frozen=True)
class Facts:
    """What a video file says of itself."""

    count: int  # frames
    width: int
    height: int
    fps: float | None  # None: it does not say


class Unplayable(ValueError):
    """A file that is no video, or a damaged one."""


def write_h264(
    file: Path | IO[bytes],
    frames: Bytes,
    fps: float | Fraction,
    crf: int,
    threads: int = 0,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Encode frames uint8 [T, H, W, 3] of even sides as MP4 at quality `crf`; threads 0: as many as FFmpeg likes.

    check: called for each frame, may raise to cancel.
    """
    import av

    target = str(file) if isinstance(file, Path) else file
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = threads
        for image in frames:
            check()
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        finish(out, stream, check)


def read_video(file: Path | IO[bytes]) -> Bytes:
    """Frames uint8 [T, H, W, 3]."""
    import av

    with av.open(str(file) if isinstance(file, Path) else file) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def facts_of(file: Path) -> Facts:
    """Size, rate and number of frames, read without decoding. Raises Unplayable."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(file)) as video:
            if not video.streams.video:
                raise Unplayable("it holds no pictures; save it again as mp4")
            stream = video.streams.video[0]
            count = stream.frames or sum(1 for packet in video.demux(stream) if packet.size)
            rate = float(stream.average_rate) if stream.average_rate else None
            return Facts(count, stream.codec_context.width, stream.codec_context.height, rate)
    except (FFmpegError, OSError) as reason:
        raise Unplayable(f"it cannot be read as a video ({reason}); save it again as mp4") from reason


def frames_of(file: Path) -> Iterator[Bytes]:
    """Frames uint8 [H, W, 3], one after another. Raises Unplayable."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(file)) as video:
            for frame in video.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (FFmpegError, OSError) as reason:
        raise Unplayable(f"{file}: it cannot be read as a video ({reason}); save it again as mp4") from reason


def first_frame(file: Path) -> Bytes:
    """The first frame, uint8 [H, W, 3]. Raises Unplayable."""
    for frame in frames_of(file):
        return frame
    raise Unplayable("it has no frames; make it again")
