"""`vdit run WORKFLOW --table SHOTS`: one render for each row of a table, in processes or on Ray."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from ..host import folders, run, workflow
from ..host.catalog import load_nodes, object_infos
from ..host.command import Refused
from .driver import add_workers, carry_out, finished, workers_of
from .jobs import FarmError, Row
from .ledger import marks
from .renders import RendersJob, cells_of, rows_of
from .store import Store, store_of
from .tables import read_table

INDEX = "renders.parquet"
ABOUT = (
    "Runs a workflow once for each row of a table (.csv, .jsonl, .parquet). Columns are named NODE.INPUT as --set has "
    "them, 'Sample.seed' or 'Start picture.image'; an empty cell leaves what the workflow has; the column 'name' names "
    "a row's files; pictures are found from the table's folder. Rows that are there already are not run again, unless "
    "the workflow, a cell or a picture has changed. OUT/renders.parquet lists all."
)


def parser() -> argparse.ArgumentParser:
    """The options of `vdit run`, and those of a table."""
    base = run.parser()
    options = argparse.ArgumentParser(
        prog="vdit run", description=ABOUT, parents=[base], add_help=False, conflict_handler="resolve"
    )
    options.add_argument("--table", type=Path, metavar="FILE", required=True, help="one row a render")
    options.add_argument("--out", metavar="DIR", help="a folder, or a URL that fsspec knows; default: output/renders")
    add_workers(options)
    return options


def main(argv: list[str]) -> int:
    """Run all rows; returns the exit status. Raises Refused with what was found and what to do."""
    options = parser().parse_args(argv)
    if options.gpus != 1:
        raise Refused(
            "--gpus makes one clip on several GPUs; with --table, --gpus-per-worker gives each worker its own"
        )
    folders.use(options.base)
    try:
        store = store_of(options.out or str(folders.directory("output") / "renders"))
        job = RendersJob(_source(options.workflow), str(folders.current.base))
        changes = tuple(_change(change) for change in options.changes)
        rows = rows_of(job, read_table(options.table), changes, options.table)
        outcome, plan = carry_out(job, rows, store, workers_of(options))
        _write_index(store, dict(zip(plan.keys, plan.rows, strict=True)))
    except (FarmError, OSError) as reason:
        raise Refused(str(reason)) from None
    if options.json:
        print(json.dumps({"out": store.place, "rows": outcome.rows, "made": outcome.made, "kept": outcome.kept,
                          "failed": outcome.failed, "seconds": round(outcome.seconds, 3)}, indent=2))  # fmt: skip
        return 1 if outcome.failed else 0
    return finished(outcome, store)


def _change(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _source(name: str) -> str:
    """The workflow, or the prompt of a file that holds only that, as JSON. Raises FarmError."""
    try:
        loaded = workflow.load(run.find(name), object_infos(load_nodes()))
    except workflow.WorkflowError as reason:
        raise FarmError(str(reason)) from None
    return json.dumps(loaded.ui if loaded.from_ui else loaded.prompt)


def _write_index(store: Store, rows: dict[str, Row]) -> None:
    """OUT/renders.parquet: for each row of the table, in its order, its key, name, cells, files, remarks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = {key: notes for mark in marks(store) for key, notes in mark.rows.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column, _ in cells_of(row)))
    table: dict[str, list[object]] = {
        name: [] for name in ("key", "name", "files", "remarks", "seconds", "made", *columns)
    }
    for key, row in rows.items():
        notes, cells = made.get(key), dict(cells_of(row))
        known = notes if isinstance(notes, dict) else {}
        values = {"key": key, "name": row["name"], "made": key in made, "seconds": known.get("seconds")}
        values |= {"files": json.dumps(known.get("files", [])), "remarks": json.dumps(known.get("remarks", []))}
        for column in table:
            table[column].append(values.get(column, cells.get(column)))
    texts = {"key", "name", "files", "remarks", *columns}
    kinds = {name: pa.string() if name in texts else pa.bool_() if name == "made" else pa.float64() for name in table}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / INDEX
        pq.write_table(pa.table({name: pa.array(column, kinds[name]) for name, column in table.items()}), file)
        store.put(INDEX, file)
