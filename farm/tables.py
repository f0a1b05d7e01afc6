"""Tables of what to render: CSV, JSON lines or Parquet; a row a render, columns named NODE.INPUT as --set has them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..machine.parse import Unreadable, json_value
from .jobs import FarmError

ENDINGS = (".csv", ".jsonl", ".parquet")
NAME = "name"  # the column that names a row's files
MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Shot:
    """One row: what its files are called ("": by content alone), and (column, text) of the cells that are filled."""

    line: int  # of the table, the first row is 1
    name: str
    cells: tuple[tuple[str, str], ...]


def read_table(path: Path) -> list[Shot]:
    """The rows of a table. An empty cell leaves what the workflow has.

    Raises FarmError that names the file, the row and what was expected: another ending, no rows, cells without a
    column, values that are no text, number or true or false, names that stand twice.
    """
    if path.suffix.lower() not in ENDINGS:
        raise FarmError(f"{path}: a table is one of {', '.join(ENDINGS)}")
    if not path.is_file():
        raise FarmError(f"{path}: there is no such file; name a table with a column for each NODE.INPUT")
    read = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix.lower()]
    shots = [_shot(path, i, cells) for i, cells in enumerate(read(path), 1)]
    if not shots:
        raise FarmError(f"{path}: holds no rows")
    if len(shots) > MOST_ROWS:
        raise FarmError(f"{path}: {len(shots):,} rows; at most {MOST_ROWS:,} are read. Split the table")
    counts = Counter(shot.name for shot in shots if shot.name)
    if counts and (most := counts.most_common(1)[0])[1] > 1:
        raise FarmError(f"{path}: {most[1]} rows are named {most[0]!r}; a name stands once")
    return shots


def _shot(path: Path, line: int, cells: dict[str, object]) -> Shot:
    filled: list[tuple[str, str]] = []
    for column, value in cells.items():
        if value is None or value == "":
            continue
        if not isinstance(value, (str, int, float)):
            raise FarmError(f"{path}, row {line}: {column} is {value!r:.60}; expected text, a number, true or false")
        filled.append((column, value if isinstance(value, str) else json.dumps(value)))
    name = dict(filled).get(NAME, "")
    return Shot(line, name, tuple(cell for cell in filled if cell[0] != NAME))


def _csv(path: Path) -> list[dict[str, object]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restkey="", strict=True))
    except (csv.Error, UnicodeDecodeError) as reason:
        raise FarmError(f"{path}: no CSV in UTF-8 ({reason}); save it as that") from reason
    for i, row in enumerate(rows, 1):
        if "" in row:
            raise FarmError(f"{path}, row {i}: more cells than columns; quote cells that have commas in them")
    return [dict(row) for row in rows]


def _json_lines(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for i, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json_value(line)
        except Unreadable as reason:
            raise FarmError(f"{path}, line {i}: {reason}") from reason
        if not isinstance(value, dict):
            raise FarmError(f"{path}, line {i}: expected an object, {{column: value}}")
        rows.append(value)
    return rows


def _parquet(path: Path) -> list[dict[str, object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as reason:
        raise FarmError(f"{path}: no Parquet file that can be read ({reason})") from reason
