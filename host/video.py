"""Video values on VIDEO wires: frames in memory or a file, saved with the graph embedded (H.264 mp4 by default).

The same names and methods as ComfyUI's VideoInput family, so that nodes of either kind take either.
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..machine.encoding import finish, open_encoder
from ..machine.limits import check_pixels
from ..machine.writing import written
from . import frames, pixels, running, streams

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer, OutputContainer
    from torch import Tensor


CHECKED_EVERY = 32  # frames, between two looks at the limits and the free memory

log = logging.getLogger(__name__)


class VideoContainer(str, Enum):
    """File formats that are written."""

    AUTO = "auto"  # mp4
    MP4 = "mp4"
    MKV = "mkv"
    WEBM = "webm"


class VideoCodec(str, Enum):
    """Codecs that are written."""

    AUTO = "auto"  # AV1 in a webm, else H.264
    H264 = "h264"
    AV1 = "av1"


@dataclass(frozen=True)
class Encoding:
    """How a video is written: "mp4", "matroska" or "webm"; "h264" or "av1"; its quality; BT.709 colours or BT.601's."""

    muxer: str = "mp4"
    codec: str = "h264"
    crf: float = 18  # 37 dB on smooth 128x128 frames in 30 kB for 5 s; H.264's default 23 shows blocks at this size
    bt709: bool = False


MUXERS = {"auto": "mp4", "mp4": "mp4", "mkv": "matroska", "webm": "webm"}
ENCODERS = {"h264": "h264", "av1": "libsvtav1"}
AV1_CRF = 30  # ComfyUI's default


def encoding(format: str, codec: str, crf: float | None = None, color_space: str | None = None) -> Encoding:
    """What a format and codec, by ComfyUI's names, stand for. Raises ValueError for what does not go together."""
    container, kind = VideoContainer(format).value, VideoCodec(codec).value  # ValueError names the unknown one
    if container == "webm" and kind == "h264":
        raise ValueError("a webm file cannot hold H.264: choose the codec av1 (or auto), or the format mp4")
    if kind == "auto":
        kind = "av1" if container == "webm" else "h264"
    if color_space not in (None, "auto", "sRGB"):
        raise ValueError(f"the color space {color_space!r} is not written here: choose auto or sRGB")
    quality = crf if crf is not None else AV1_CRF if kind == "av1" else Encoding.crf
    return Encoding(MUXERS[container], kind, quality, color_space == "sRGB")


@dataclass
class VideoComponents:
    """images: Tensor [T, H, W, 3] in 0..1; frame_rate in frames/s; audio: {"waveform" [1, C, S], "sample_rate"}."""

    images: Tensor
    frame_rate: Fraction
    audio: dict | None = None
    metadata: dict | None = None
    remarks: tuple[str, ...] = ()  # what was changed in reading a file
    bit_depth: int = 8  # of the colours in a saved file: 8 or 10


class VideoInput:
    """What travels on a VIDEO wire."""

    def get_components(self) -> VideoComponents:
        """All frames and the sound, decoded."""
        raise NotImplementedError

    def save_to(
        self,
        path: str | Path,
        format: str = VideoContainer.AUTO,
        codec: str = VideoCodec.AUTO,
        metadata: Mapping[str, Any] | None = None,
        crf: float | None = None,
        color_space: str | None = None,
    ) -> None:
        """Write the video to a path, whole or not at all, with `metadata` (str, or JSON-able) as the file's tags."""
        raise NotImplementedError

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height)"""
        images = self.get_components().images
        return images.shape[2], images.shape[1]

    def get_frame_count(self) -> int:
        """Number of frames."""
        return int(self.get_components().images.shape[0])

    def get_frame_rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.get_components().frame_rate)

    def get_duration(self) -> float:
        """Seconds."""
        return float(self.get_frame_count() / self.get_frame_rate())


class VideoFromComponents(VideoInput):
    """Frames in memory."""

    def __init__(self, components: VideoComponents):
        self._components = components

    def get_components(self) -> VideoComponents:
        """As given."""
        return self._components

    def save_to(
        self, path, format=VideoContainer.AUTO, codec=VideoCodec.AUTO, metadata=None, crf=None, color_space=None
    ):
        """Encodes the frames."""
        how = encoding(format, codec, crf, color_space)
        with written(Path(path)) as part:
            encode(part, self._components, metadata or {}, how)


class VideoFromFile(VideoInput):
    """A video file. Raises ValueError, naming the file, where it holds no readable video."""

    def __init__(self, file: str | Path | io.BytesIO):
        self._file = file

    def __str__(self):
        return "the video in memory" if isinstance(self._file, io.BytesIO) else str(self._file)

    def _open(self) -> InputContainer:
        import av
        from av.error import FFmpegError

        if isinstance(self._file, io.BytesIO):
            self._file.seek(0)
        try:
            container = av.open(
                self._file if isinstance(self._file, io.BytesIO) else str(self._file), "r", metadata_errors="replace"
            )
        except FileNotFoundError:
            raise
        except FFmpegError as reason:
            message = f"{self}: not a video that can be read ({reason.strerror}); re-export it as mp4"
            raise ValueError(message) from reason
        if not container.streams.video:
            container.close()
            raise ValueError(f"{self}: holds no video stream")
        if container.streams.video[0].codec_context is None:
            container.close()
            raise ValueError(f"{self}: its codec is not known here; re-export it as mp4 (H.264)")
        return container

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height) of the upright picture, from the file's first frame, or its head where that is broken."""
        from av.error import FFmpegError

        with self._open() as container:
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
            try:
                frame = next(container.decode(stream))
                # A damaged head may have another size than the frames.
                width, height, turned = frame.width, frame.height, frames.turns(frame)[0]
            except (FFmpegError, StopIteration):  # decoding all of it says what is wrong
                turned = False
            return (height, width) if turned else (width, height)

    def get_frame_rate(self) -> Fraction:
        """Frames per second from the file's head."""
        with self._open() as container:
            return Fraction(container.streams.video[0].average_rate or 1)

    def get_frame_count(self) -> int:
        """From the file's head, or counted where that does not say."""
        from av.error import FFmpegError

        with self._open() as container:
            if promised := container.streams.video[0].frames:
                return promised
            count = 0
            try:
                for _ in container.decode(video=0):
                    running.check_interrupted()
                    count += 1
            except FFmpegError as reason:
                raise ValueError(f"{self}: broken after {count} frames ({reason.strerror}); re-export it") from reason
            return count

    def get_components(self) -> VideoComponents:
        """All frames, upright and at a constant rate, and the sound."""
        import numpy as np
        import torch
        from av.error import FFmpegError

        pictures: list[np.ndarray] = []
        times, damaged = [], 0
        with self._open() as container:
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or 1)
            check_pixels(str(self), stream.width, stream.height, streams.promised(stream), "video")
            try:
                for frame in container.decode(stream):
                    running.check_interrupted()
                    pictures.append(frames.upright(frame.to_ndarray(format="rgb24"), frames.turns(frame)))
                    times.append(frame.time)
                    damaged += frame.is_corrupt
                    self._check_size(pictures)
            except FFmpegError as reason:
                message = f"{self}: broken after {len(pictures)} frames ({reason.strerror}); re-export it"
                raise ValueError(message) from reason
            if not pictures:
                raise ValueError(f"{self}: holds no frames")
            remarks = tuple(f"{self}: {what}" for what in streams.lost(stream, len(pictures), damaged))
            if frames.uneven(times, rate):
                shown = frames.at_constant_rate(times, rate)
                remarks += (
                    f"{self}: the frames have uneven times; {len(shown)} frames at {float(rate):.4g} frames/s "
                    f"were taken from its {len(pictures)}",
                )
                pictures = [pictures[index] for index in shown]
            images = torch.from_numpy(pixels.from_bytes(np.stack(pictures)))
            metadata = dict(container.metadata)
            audio, damage = streams.sound(container)
        if damage:
            remarks += (f"{self}: {damage}",)
        for remark in remarks:
            log.warning("%s", remark)
        return VideoComponents(images, rate, audio, metadata, remarks)

    def _check_size(self, pictures: list[np.ndarray]) -> None:
        """Raises ValueError where the newest frame is of another size, TooLarge where there are too many."""
        first, last = pictures[0].shape, pictures[-1].shape
        if last != first:
            raise ValueError(
                f"{self}: frame {len(pictures)} is {last[1]}x{last[0]}, those before {first[1]}x{first[0]}: the size "
                "changes midway. Re-export it at one size"
            )
        if len(pictures) % CHECKED_EVERY == 0:  # the head may say less than there is
            check_pixels(str(self), first[1], first[0], len(pictures), "video")

    def save_to(
        self, path, format=VideoContainer.AUTO, codec=VideoCodec.AUTO, metadata=None, crf=None, color_space=None
    ):
        """Copies packet by packet what is already in that format and codec; anything else is encoded anew."""
        how = encoding(format, codec, crf, color_space)
        with self._open() as source:
            same = (
                how.muxer in source.format.name.split(",") and source.streams.video[0].codec.canonical_name == how.codec
            )
            # a webm takes fewer kinds of sound than the Matroska file that it may come from
            if same and how.muxer != "webm" and crf is None and not how.bt709:
                with written(Path(path)) as part:
                    _remux(source, part, {**source.metadata, **(metadata or {})}, how.muxer)
                return
        components = self.get_components()
        VideoFromComponents(components).save_to(
            path, format, codec, {**(components.metadata or {}), **(metadata or {})}, crf, color_space
        )


def _create(path: Path, muxer: str) -> OutputContainer:
    """A file for writing. Of mp4: free-named tags (where ComfyUI's front end looks for the graph), index first."""
    import av

    # faststart: editors and browsers read only the file's beginning
    options = {"movflags": "use_metadata_tags+faststart"} if muxer == "mp4" else {}
    return av.open(str(path), "w", format=muxer, options=options)


def _tag(output: OutputContainer, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        output.metadata[key] = value if isinstance(value, str) else json.dumps(value)


def check_frame(width: int, height: int) -> None:
    """Raises ValueError, with a size that would do, for frames that no video can hold."""
    if width % 2 or height % 2 or min(width, height) < 16:
        fit = [max(16, side - side % 2) for side in (width, height)]
        raise ValueError(
            f"the frames are {width}x{height}; H.264 video needs even sides of at least 16 pixels. "
            f"Scale or crop them (Upscale Image), for example to {fit[0]}x{fit[1]}"
        )


def encode(path: Path, video: VideoComponents, metadata: Mapping[str, Any], how: Encoding) -> None:
    """4:2:0 colours of 8 or 10 bits, sound as AAC (Opus in a webm) if there is any.

    Raises ValueError for frames that the codec cannot hold, OSError when the disk is full.
    """
    from av.error import FFmpegError

    images = video.images
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[-1] not in (3, 4):
        raise ValueError(f"the frames have the shape {tuple(images.shape)}, expected [frames >= 1, height, width, 3]")
    height, width = images.shape[1:3]
    check_frame(width, height)
    rate = Fraction(round(Fraction(video.frame_rate) * 1000), 1000)
    if not 0 < rate <= 1000:
        raise ValueError(f"the frame rate is {float(video.frame_rate)} frames/s, expected more than 0 and at most 1000")
    try:
        with _create(path, how.muxer) as output:
            _tag(output, metadata)
            stream = output.add_stream(ENCODERS[how.codec], rate=rate, options={"crf": f"{how.crf:g}"})
            stream.width, stream.height = width, height
            stream.pix_fmt = pixel_format = "yuv420p10le" if video.bit_depth > 8 else "yuv420p"
            # set in the file, since players guess BT.709 for large pictures and libswscale converts with BT.601
            matrix = BT709 if how.bt709 else BT601
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1
            sound = None
            if video.audio:
                sound_codec, sound_rate = _sound_of(how, int(video.audio["sample_rate"]))
                sound = output.add_stream(sound_codec, rate=sound_rate)
            open_encoder(stream)
            for image in images:
                running.check_interrupted()
                frame = _frame(image, video.bit_depth).reformat(
                    format=pixel_format, dst_colorspace=matrix if how.bt709 else None
                )
                output.mux(stream.encode(frame))
            finish(output, stream, running.check_interrupted)
            if video.audio and sound:
                _encode_sound(output, sound, video.audio, len(images) / rate)
    except FFmpegError as reason:
        if isinstance(reason, OSError) and reason.errno:
            raise OSError(reason.errno, reason.strerror, str(path)) from reason
        raise


BT709, BT601 = 1, 6  # ffmpeg's numbers of the two colour matrices


def _frame(image: Tensor, bit_depth: int) -> av.VideoFrame:
    """[H, W, 3] in 0..1 -> RGB of 8 bits, or of 16 for more than 8."""
    import av
    import numpy as np

    values = image[..., :3].detach().float().cpu().clamp(0, 1).nan_to_num(0)
    if bit_depth > 8:
        return av.VideoFrame.from_ndarray((values * 65535).round().numpy().astype(np.uint16), format="rgb48le")
    return av.VideoFrame.from_ndarray((values * 255).round().byte().numpy(), format="rgb24")


def _sound_of(how: Encoding, rate: int) -> tuple[str, int]:
    """Codec and sample rate of the sound; Opus allows only some sample rates."""
    return ("libopus", 48_000) if how.muxer == "webm" else ("aac", rate)


def _encode_sound(output: OutputContainer, stream: av.AudioStream, audio: dict, seconds: Fraction) -> None:
    import av
    import numpy as np

    waveform = audio["waveform"][0, :2, : math.ceil(audio["sample_rate"] * seconds)].float().cpu().numpy()
    layout = "stereo" if len(waveform) > 1 else "mono"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), "fltp", layout)
    frame.sample_rate, frame.pts = int(audio["sample_rate"]), 0
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=stream.rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        running.check_interrupted()
        output.mux(stream.encode(piece))


def _remux(source: InputContainer, path: Path, metadata: Mapping[str, Any], muxer: str) -> None:
    """Copies picture and sound packet by packet."""
    with _create(path, muxer) as output:
        _tag(output, metadata)
        kept = (stream for stream in source.streams if stream.type in ("video", "audio"))
        copies = {stream: output.add_stream_from_template(stream) for stream in kept}
        for packet in source.demux(*copies):
            running.check_interrupted()
            if packet.dts is not None:
                packet.stream = copies[packet.stream]
                output.mux(packet)
