"""What a farm is given: rows, and a job that makes files of them. Rows travel to workers in blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Row: TypeAlias = "Mapping[str, Json]"

ADDRESS_DIGITS = 32  # hexadecimal: 128 bits, so that of 10^9 rows no two share one by chance (10^-21)
READ_BYTES = 1 << 20


class FarmError(ValueError):
    """Rows, a table, a folder or an option cannot be used as they are; says what was found and what to do."""


def address_of(value: Json) -> str:
    """The content address of a JSON value: equal values have equal ones, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ADDRESS_DIGITS]


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class Block:
    """Rows that one worker makes together, into files of their own, and the content address of each."""

    rows: tuple[Row, ...]
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its own content address, which its files carry."""
        return address_of(list(self.keys))


@dataclass(frozen=True)
class Made:
    """What became of a block: by key, notes on the rows whose output is there, and why the others have none."""

    rows: dict[str, Json]
    failed: dict[str, str]


Make: TypeAlias = "Callable[[Block, Path], Made]"  # fills an empty folder with a block's files


class Job(Protocol):
    """One kind of work: a value that pickles. The same job makes the same files of the same row, on any machine."""

    @property
    def name(self) -> str:
        """What it makes, in a word."""
        ...

    @property
    def rows_per_block(self) -> int:
        """How many rows share files."""
        ...

    def settings(self) -> dict[str, Json]:
        """All that the outputs of all rows depend on."""
        ...

    def identity(self, row: Row) -> Json:
        """All of a row that its output depends on."""
        ...

    def opened(self) -> Make:
        """The function of a block, with packages imported and models loaded: asked once in each worker."""
        ...


def keys_of(job: Job, rows: Iterable[Row]) -> list[str]:
    """The content addresses of rows' outputs."""
    shared = {"job": job.name, "settings": job.settings()}
    return [address_of({**shared, "row": job.identity(row)}) for row in rows]
