"""The end of a video's encoding, which takes as long as forty frames and can be stopped all the same."""
# pyright: reportUnknownVariableType=false
# PyAV types its packets only in part.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream


def finish(output: OutputContainer, stream: VideoStream, check: Callable[[], None]) -> None:
    """Write what the encoder holds back, packet by packet: x264 keeps some forty frames. check may raise to cancel."""
    for packet in stream.codec_context.encode_lazy(None):
        check()
        packet.stream = stream
        output.mux(packet)
