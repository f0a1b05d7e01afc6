"""One Parquet file and one mp4 of many clips: a row group and a closed group of pictures each.

Of a million clips, a file each would be too many for most file systems and all object stores. A clip is cut out of the
mp4 without encoding it anew: its first frame is an IDR picture, and no frame refers to another clip.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine.encoding import finish
from .jobs import FarmError, Json

if TYPE_CHECKING:
    import pyarrow as pa

CRF = 12  # of x264: as `vdit simulate` writes single clips
NO_KEYFRAMES = 100_000  # frames between keyframes that x264 places by itself: only those that are asked for
KINDS = ("text", "whole", "number", "numbers", "array")


@dataclass(frozen=True)
class Column:
    """A column of the table: its kind (text, whole, number, numbers: a list; array: a .npy file) and what it holds."""

    kind: str
    about: str


VIDEO_COLUMNS = {
    "key": Column("text", "content address of the row: equal settings and seeds have equal ones"),
    "video": Column("text", "the mp4 that holds the clip, from the folder that data/ and videos/ are in"),
    "first_frame": Column("whole", "number of the clip's first frame in the mp4, which is a keyframe"),
    "frames": Column("whole", "frames of the clip: T"),
    "fps": Column("number", "frames a second"),
    "width": Column("whole", "pixels: W"),
    "height": Column("whole", "pixels: H"),
}


def _schema(columns: Mapping[str, Column], about: Mapping[str, Json]) -> pa.Schema:
    import pyarrow as pa

    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "numbers": pa.list_(pa.float64())}
    kinds["array"] = pa.binary()
    fields = [pa.field(name, kinds[c.kind], metadata={"about": c.about}) for name, c in columns.items()]
    return pa.schema(fields, metadata={"vdit": json.dumps(about)})


class ShardWriter:
    """Writes data/NAME.parquet and videos/NAME.mp4 into a folder, clip by clip: memory holds one at a time.

    A context manager. Readers of Parquet take a folder whole, so the videos have one of their own.
    """

    def __init__(
        self, folder: Path, name: str, columns: Mapping[str, Column], fps: Fraction, about: Mapping[str, Json]
    ):
        import pyarrow.parquet as pq

        self.fps, self.count = fps, 0
        self.table, self.video = folder / "data" / f"{name}.parquet", folder / "videos" / f"{name}.mp4"
        for path in (self.table, self.video):
            path.parent.mkdir(exist_ok=True)
        self.schema = _schema({**VIDEO_COLUMNS, **columns}, about)
        self._parquet = pq.ParquetWriter(self.table, self.schema, compression="zstd")
        self._output: Any = None
        self._stream: Any = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._output is not None:
            finish(self._output, self._stream, lambda: None)
        if self._output is not None:
            self._output.close()
        self._parquet.close()
        if self.count == 0 or kind is not None:
            self.table.unlink(missing_ok=True)
            self.video.unlink(missing_ok=True)

    def add(self, key: str, frames: np.ndarray, values: Mapping[str, object]) -> None:
        """A clip of frames uint8 [T, H, W, 3], with even sides of one size, and its other columns."""
        import pyarrow as pa

        length, height, width = frames.shape[:3]
        own = {"key": key, "video": f"videos/{self.video.name}", "first_frame": self.count, "frames": length}
        own |= {"fps": float(self.fps), "width": width, "height": height}
        row = {name: _plain(value) for name, value in {**own, **values}.items()}
        table = pa.table({f.name: pa.array([row[f.name]], f.type) for f in self.schema}, schema=self.schema)
        self._encode(frames)
        self._parquet.write_table(table)

    def _encode(self, frames: np.ndarray) -> None:
        import av
        from av.video.frame import PictureType

        if self._output is None:
            self._output = av.open(str(self.video), "w", format="mp4")
            options = {"crf": str(CRF), "forced-idr": "1", "g": str(NO_KEYFRAMES), "sc_threshold": "0"}
            self._stream = self._output.add_stream("libx264", rate=self.fps, options=options)
            self._stream.height, self._stream.width, self._stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            self._stream.thread_count = 1  # workers share the cores; and one thread gives the same file anywhere
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.count, 1 / self.fps
            frame.pict_type = PictureType.I if i == 0 else PictureType.NONE
            self._output.mux(self._stream.encode(frame))
            self.count += 1


def _plain(value: object) -> object:
    """A value as the table keeps it: lists of numbers as they are, other arrays as .npy files."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f":
        return value.astype(float)
    if isinstance(value, np.ndarray):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return file.getvalue()
    return value


def array_from(content: bytes) -> np.ndarray:
    """The array of a column of kind "array"."""
    return np.load(io.BytesIO(content), allow_pickle=False)


def rows_of(table: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard's Parquet file, one at a time; arrays are still bytes. Raises FarmError for another file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
    except (pa.ArrowInvalid, OSError) as reason:
        raise FarmError(f"{table}: not a Parquet file that can be read ({reason}); make its rows again") from reason
    with file:
        for i in range(file.num_row_groups):
            yield from file.read_row_group(i).to_pylist()


def cut(video: Path, first_frame: int, frames: int, out: Path) -> None:
    """Write some frames of a shard's mp4 as an mp4 of their own, without encoding them anew.

    They must begin with a keyframe and end before one, as clips do.
    """
    import av

    with av.open(str(video)) as source, av.open(str(out), "w", format="mp4") as output:
        stream = source.streams.video[0]
        assert stream.time_base is not None and stream.average_rate is not None
        ticks = 1 / (stream.average_rate * stream.time_base)  # of a frame
        copy = output.add_stream_from_template(stream)
        begin, end = first_frame * ticks, (first_frame + frames) * ticks
        source.seek(int(begin), stream=stream)
        offset = None
        for packet in source.demux(stream):
            if packet.pts is None or packet.dts is None or packet.pts < begin - ticks / 2:
                continue
            if packet.pts > end - ticks / 2:
                break
            offset = int(packet.pts) if offset is None else offset
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = copy
            output.mux(packet)
