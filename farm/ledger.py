"""Which rows are done: one small file for each block that is whole, written last, and what the folder holds.

A block's files have names that follow from its rows alone, so a block that was made twice (a worker that died after
its work, two machines at once) is there once. A mark names its files; it is read back as JSON, so that half a mark, on
a file system that can leave one, counts as none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..machine.parse import Unreadable, json_value
from .jobs import Block, FarmError, Job, Json, Row, keys_of
from .store import Store

MARKS = "_done"  # readers of Parquet folders leave out names that begin so
ABOUT = "farm.json"
VERSION = 1


@dataclass(frozen=True)
class Mark:
    """One whole block: notes on its rows by key, and size and SHA-256 of its files by name."""

    block: str
    rows: Mapping[str, Json]
    files: Mapping[str, Mapping[str, Json]]


@dataclass(frozen=True)
class Plan:
    """What is left to do of so many rows. repeated: rows that are equal to one before, which are made once."""

    blocks: tuple[Block, ...]
    rows: tuple[Row, ...]  # all of them in their order, without repetitions
    keys: tuple[str, ...]  # theirs
    done: int
    repeated: int


def claim(store: Store, job: Job) -> None:
    """Note in the folder what it holds. Raises FarmError where it holds something else, and says what differs."""
    wanted: dict[str, Json] = {"vdit_farm": VERSION, "job": job.name, "settings": job.settings()}
    found = about(store)
    if found is None:
        put_json(store, ABOUT, wanted)
        return
    if found == json.loads(json.dumps(wanted)):
        return
    theirs, ours = found.get("settings"), job.settings()
    held = theirs if isinstance(theirs, dict) else {}
    differ = [
        f"{k}: {_brief(held.get(k))}, now {_brief(ours.get(k))}" for k in {*held, *ours} if held.get(k) != ours.get(k)
    ]
    if found.get("job") != job.name:
        differ = [f"job: {found.get('job')}, now {job.name}"]
    raise FarmError(
        f"{store.place} holds the output of other settings ({'; '.join(sorted(differ)) or 'another version'}). "
        "Choose another --out, or the settings that it was begun with"
    )


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def about(store: Store) -> dict[str, Json] | None:
    """What the folder holds, as `claim` noted it; None: nothing yet. Raises FarmError for a damaged note."""
    content = store.read([ABOUT]).get(ABOUT)
    if content is None:
        return None
    try:
        value = json_value(content)
    except Unreadable as reason:
        raise FarmError(f"{store.place}/{ABOUT} {reason}; delete it if the folder is to be begun anew") from reason
    if not isinstance(value, dict) or value.get("vdit_farm") != VERSION:
        raise FarmError(f"{store.place}/{ABOUT} is none of this version; choose another --out")
    return cast("dict[str, Json]", value)


def put_json(store: Store, name: str, value: Json) -> None:
    """Write a JSON value as a file of the store."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "value.json"
        file.write_text(json.dumps(value), "utf-8")
        store.put(name, file)


def put_mark(store: Store, mark: Mark) -> None:
    """Say that a block's files are all there."""
    put_json(store, f"{MARKS}/{mark.block}.json", {"rows": mark.rows, "files": mark.files})


def marks(store: Store) -> list[Mark]:
    """All whole blocks of the folder, by name; those whose files somebody has deleted since are none."""
    names = [name for name in store.names(MARKS) if name.endswith(".json")]
    contents = store.read([f"{MARKS}/{name}" for name in names])
    found: list[Mark] = []
    for name in names:
        try:
            value = json_value(contents.get(f"{MARKS}/{name}", b""))
        except Unreadable:  # a process died while the mark was on its way; its block is made again
            continue
        if isinstance(value, dict) and isinstance(value.get("rows"), dict) and isinstance(value.get("files"), dict):
            mark = Mark(name.removesuffix(".json"), value["rows"], value["files"])
            sizes = {file: facts["bytes"] for file, facts in mark.files.items()}
            if not store.lost(cast("dict[str, int]", sizes)):
                found.append(mark)
    return found


def plan(job: Job, rows: Sequence[Row], done: Iterable[str]) -> Plan:
    """The rows that are not done, in blocks, in their order."""
    there = frozenset(done)
    keys: dict[str, Row] = {}
    for key, row in zip(keys_of(job, rows), rows, strict=True):
        keys.setdefault(key, row)
    left = [key for key in keys if key not in there]
    size = job.rows_per_block
    parts = [tuple(left[i : i + size]) for i in range(0, len(left), size)]
    blocks = tuple(Block(tuple(keys[key] for key in part), part) for part in parts)
    return Plan(blocks, tuple(keys.values()), tuple(keys), len(keys) - len(left), len(rows) - len(keys))
