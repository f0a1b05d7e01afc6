"""Shards as WebDataset: one tar for each, with KEY.mp4, KEY.json and KEY.depth.npy ... of every clip."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .driver import Outcome, Workers, carry_out
from .jobs import Block, Json, Made, Row
from .shards import cut
from .sources import blocks_of, metadata_of, rows_of_source, sources
from .store import LocalFolder, Store

IN_MP4 = ("video", "first_frame")  # columns that mean nothing once a clip is a file of its own


@dataclass(frozen=True)
class WebDatasetJob:
    """Tars of shards: the row is a shard, see sources.py:blocks_of."""

    folder: str
    rows_per_block: int = 1
    name: str = "webdataset"

    def settings(self) -> dict[str, Json]:
        """The version of the layout."""
        return {"version": 1}

    def identity(self, row: Row) -> Json:
        """The shard, which is named by its content, and the number of its tar."""
        return {"block": row["block"], "file": row["file"]}

    def opened(self) -> Callable[[Block, Path], Made]:
        """The function of a block."""
        return partial(_make, Path(self.folder))


def export(source: LocalFolder, target: Store, workers: Workers) -> Outcome:
    """Write shard-000000.tar and on. Raises FarmError."""
    _, shards = sources(source)
    return carry_out(WebDatasetJob(str(source.folder)), blocks_of(shards), target, workers)[0]


def _make(source: Path, block: Block, folder: Path) -> Made:
    (row,), (key,) = block.rows, block.keys
    try:
        with (
            tarfile.open(folder / f"shard-{row['file']:06d}.tar", "w") as tar,
            tempfile.TemporaryDirectory() as scratch,
        ):
            about = metadata_of(source, str(row["table"]))
            for clip in rows_of_source(source, str(row["table"])):
                name, video = clip["key"], Path(scratch) / "clip.mp4"
                cut(source / clip["video"], clip["first_frame"], clip["frames"], video)
                _add(tar, f"{name}.mp4", video.read_bytes())
                _add(tar, f"{name}.json", json.dumps({**_labels(clip), **_names(about)}).encode())
                for column, value in clip.items():
                    if isinstance(value, bytes):
                        _add(tar, f"{name}.{column}.npy", value)
    except Exception as reason:
        return Made({}, {key: f"{row['table']}: {type(reason).__name__}: {reason}"})
    return Made({key: row["file"]}, {})


def _labels(clip: dict[str, object]) -> dict[str, object]:
    """The columns that are no arrays; the labels, which are JSON in a table, as values."""
    plain = {key: value for key, value in clip.items() if not isinstance(value, bytes) and key not in IN_MP4}
    if isinstance(labels := plain.get("labels"), str):
        plain["labels"] = json.loads(labels)
    return plain


def _names(about: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in about.items() if key.endswith("_names")}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # neither time nor owner: equal shards have equal bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
