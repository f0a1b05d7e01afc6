"""The beginning and the end of a video's encoding: with an ordinary share of the machine, and stopped when asked to."""
# pyright: reportUnknownVariableType=false
# PyAV types its packets only in part.

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream


THREADS = Path("/proc/self/task")


def open_encoder(stream: VideoStream) -> None:
    """Open a stream's encoder; all threads stay as they are scheduled.

    SVT-AV1, where the user is root, as in most containers, makes its threads and the one that opens it real-time at the
    highest priority. They keep it, all processes that they start inherit it, and one that is busy then stops the rest
    of the machine.
    """
    os.environ.setdefault("SVT_LOG", "1")  # errors alone: it prints two dozen lines otherwise
    before = _scheduled()
    usual = before.get(os.getpid(), 0)
    stream.codec_context.open()
    for thread, policy in _scheduled().items():
        if policy != (own := before.get(thread, usual)):
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, own, os.sched_param(os.sched_get_priority_min(own)))


def _scheduled() -> dict[int, int]:
    """The scheduling policy of each of this process's threads, by number; none where the system does not tell."""
    found: dict[int, int] = {}
    for task in THREADS.iterdir() if THREADS.is_dir() else ():
        with suppress(ProcessLookupError):  # it has just ended
            found[int(task.name)] = os.sched_getscheduler(int(task.name))
    return found


def finish(output: OutputContainer, stream: VideoStream, check: Callable[[], None]) -> None:
    """Write what the encoder holds back, packet by packet: x264 keeps some forty frames. check may raise to cancel."""
    for packet in stream.codec_context.encode_lazy(None):
        check()
        packet.stream = stream
        output.mux(packet)
