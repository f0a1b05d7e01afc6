"""What an export reads: the whole shards of a folder, in the order of their seeds, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .jobs import FarmError, Json
from .ledger import about, marks
from .shards import rows_of
from .store import LocalFolder

EXPORTED = ("clips", "episodes")


@dataclass(frozen=True)
class Source:
    """A shard: the name of its block, its files' names, and the seeds of its rows."""

    block: str
    table: str
    video: str
    keys: tuple[str, ...]


def sources(folder: LocalFolder) -> tuple[str, list[Source]]:
    """Which job made a folder, and its shards by their first seeds. Raises FarmError where there is none to export."""
    held = about(folder)
    if held is None or held.get("job") not in EXPORTED:
        raise FarmError(
            f"{folder.place}: holds no shards of clips or episodes; make some with vdit simulate --workers 2 --out DIR"
        )
    found: list[tuple[int, Source]] = []
    for mark in marks(folder):
        tables = [name for name in mark.files if name.endswith(".parquet")]
        videos = [name for name in mark.files if name.endswith(".mp4")]
        seeds = [seed for seed in mark.rows.values() if isinstance(seed, int)]
        if len(tables) == len(videos) == 1 and seeds:
            found.append((min(seeds), Source(mark.block, tables[0], videos[0], tuple(mark.rows))))
    if not found:
        raise FarmError(f"{folder.place}: no shard is whole yet; let vdit simulate finish one")
    return str(held["job"]), [source for _, source in sorted(found, key=lambda one: one[0])]


def rows_of_source(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a shard with their arrays, in the order of the mp4."""
    return sorted(rows_of(folder / table), key=lambda row: row["first_frame"])


def metadata_of(folder: Path, table: str) -> dict[str, Json]:
    """What a shard says of itself: fps, sizes, names of states and actions."""
    import json

    import pyarrow.parquet as pq

    content = (pq.read_schema(folder / table).metadata or {}).get(b"vdit", b"{}")
    return json.loads(content)


def blocks_of(shards: Sequence[Source]) -> list[dict[str, Json]]:
    """Rows of an export's farm: each shard, with the number of its file and of its first clip."""
    rows, first = list[dict[str, Json]](), 0
    for number, shard in enumerate(shards):
        rows.append({"block": shard.block, "table": shard.table, "video": shard.video, "file": number, "first": first})
        first += len(shard.keys)
    return rows
