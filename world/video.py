"""Frames to and from H.264 files, by PyAV."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PyAV types its containers only in part.

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from ..machine.encoding import finish
from .arrays import Bytes


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
