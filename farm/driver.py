"""All rows of a job: what is left of them is planned, made by workers with one progress bar, and counted."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..machine.threads import processors
from .jobs import Block, FarmError, Job, Row
from .ledger import Plan, claim, marks, plan
from .store import Store
from .work import Report, Setup

log = logging.getLogger(__name__)

RAY_MISSING = "Ray is not installed (pip install 'vdit[farm]'): the same rows are made by processes of this machine"
BLOCKS_EACH = 4  # blocks of a worker at least: at the end of a farm the others wait for a quarter of one's work at most
MOST_NAMED = 5  # failed rows whose reasons are printed; all are in the result


@dataclass(frozen=True)
class Workers:
    """Who makes the rows: `count` processes of this machine, or of the Ray cluster at an address ("": a local one).

    gpus: of each worker. count 0: as many as Ray's cluster has cores.
    """

    count: int = 1
    ray: str | None = None
    gpus: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """A farm's result: rows in all, made now, there before, those that failed with reasons, repeated ones."""

    rows: int
    made: int
    kept: int
    failed: dict[str, str]
    repeated: int
    seconds: float

    def __str__(self) -> str:
        said = [f"{self.rows} rows: {self.made} made in {self.seconds:.1f} s, {self.kept} were there"]
        if self.repeated:
            said.append(f"{self.repeated} repeat another and are made once")
        if self.failed:
            said.append(f"{len(self.failed)} FAILED")
        return ", ".join(said)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The options that say who makes the rows."""
    parser.add_argument(
        "--workers", type=int, default=None, metavar="N", help="processes; default: 1, with Ray all cores"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="on Ray: a cluster at ADDRESS, at RAY_ADDRESS, or a local one; progress is on its dashboard",
    )
    parser.add_argument(
        "--gpus-per-worker", type=float, default=0.0, metavar="N", help="GPUs that each worker sees alone; default: 0"
    )


def workers_of(options: argparse.Namespace) -> Workers:
    """Who is to make the rows. Raises FarmError for counts below 1."""
    count = options.workers
    if count is not None and count < 1:
        raise FarmError(f"--workers is {count}; expected at least 1")
    if options.gpus_per_worker < 0:
        raise FarmError(f"--gpus-per-worker is {options.gpus_per_worker:g}; expected 0 or more")
    default = 1 if options.ray is None else 0
    return Workers(default if count is None else count, options.ray, options.gpus_per_worker)


def rows_per_block(most: int, count: int, workers: Workers) -> int:
    """How many rows share files where nobody says: fewer than `most` where some workers would have nothing to do."""
    if workers.count < 2:
        return most
    return max(1, min(most, math.ceil(count / (workers.count * BLOCKS_EACH))))


def carry_out(job: Job, rows: Sequence[Row], store: Store, workers: Workers) -> tuple[Outcome, Plan]:
    """Make all rows that are not there. Raises FarmError where the folder holds something else, or cannot be used."""
    claim(store, job)
    todo = plan(job, rows, (key for mark in marks(store) for key in mark.rows))
    made, failed, started = 0, dict[str, str](), time.perf_counter()
    for report in _with_bar(_reports(job, store, todo.blocks, workers), todo):
        made += report.made
        failed |= report.failed
    seconds = time.perf_counter() - started
    return Outcome(len(rows), made, todo.done, failed, todo.repeated, seconds), todo


def _reports(job: Job, store: Store, blocks: Sequence[Block], workers: Workers) -> Iterator[Report]:
    """The reports of all blocks by whoever is to make them."""
    if not blocks:
        return iter(())
    count, on_ray = workers.count, workers.ray is not None
    if on_ray:
        try:
            import ray  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError:
            log.warning(RAY_MISSING)
            on_ray, count = False, count or processors()
    if on_ray:
        from .on_ray import on_ray as made_on_ray

        return made_on_ray(Setup(job, store), blocks, count, workers.gpus, workers.ray or "")
    from .processes import in_processes

    threads = max(1, processors() // count)
    return in_processes(Setup(job, store, threads), blocks, min(count, len(blocks)), workers.gpus)


def _with_bar(reports: Iterator[Report], todo: Plan) -> Iterator[Report]:
    from tqdm import tqdm

    total = sum(len(block.rows) for block in todo.blocks)
    with tqdm(total=total, unit="row", file=sys.stderr, disable=not total) as bar:
        for report in reports:
            bar.update(report.made + len(report.failed))
            yield report


def finished(outcome: Outcome, store: Store) -> int:
    """Print what was done, and why rows failed; the exit status."""
    for key, reason in list(outcome.failed.items())[:MOST_NAMED]:
        print(f"{key}: {reason}", file=sys.stderr)
    if len(outcome.failed) > MOST_NAMED:
        print(f"... and {len(outcome.failed) - MOST_NAMED} more", file=sys.stderr)
    print(f"{store.place}: {outcome}")
    return 1 if outcome.failed else 0
