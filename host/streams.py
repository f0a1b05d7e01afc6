"""What the streams of a video file hold: how many frames their head promises, and the sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import running

if TYPE_CHECKING:
    import av
    from av.container import InputContainer


def promised(stream: av.VideoStream) -> int:
    """Frames that the file's head speaks of; 1 where it says nothing."""
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base and stream.average_rate:
        return max(1, round(stream.duration * stream.time_base * stream.average_rate))
    return 1


def lost(stream: av.VideoStream, there: int, damaged: int) -> list[str]:
    """What is wrong with the frames of a stream that was decoded; there: how many came, damaged: of which so many."""
    found = []
    if stream.frames and there != stream.frames:
        how = "was cut short or is damaged" if there < stream.frames else "holds some twice or is damaged"
        found.append(f"its head promises {stream.frames} frames, {there} are there: it {how}")
    if damaged:
        found.append(f"{damaged} of its {there} frames are damaged, and were guessed by the decoder")
    return found


def sound(container: InputContainer) -> tuple[dict | None, str]:
    """({"waveform" [1, C, S], "sample_rate"} or None, what is wrong with it). What comes before damage is kept."""
    import av
    import numpy as np
    import torch
    from av.error import FFmpegError

    if not container.streams.audio:
        return None, ""
    stream, damage, pieces = container.streams.audio[0], "", []
    if stream.codec_context is None:
        return None, "the codec of its sound is not known here; the sound is left out"
    resampler = av.AudioResampler(format="fltp")
    try:
        container.seek(0)
        for frame in container.decode(stream):
            running.check_interrupted()
            pieces += [piece.to_ndarray() for piece in resampler.resample(frame)]
    except (FFmpegError, ValueError) as reason:  # ValueError: the layout changes midway
        seconds = sum(piece.shape[1] for piece in pieces) / (stream.sample_rate or 1)
        damage = f"its sound is damaged after {seconds:.1f} s ({reason}); what follows is silent"
    if not pieces:
        return None, damage
    waveform = torch.from_numpy(np.concatenate(pieces, axis=1))[None]
    return {"waveform": waveform, "sample_rate": int(stream.sample_rate)}, damage
