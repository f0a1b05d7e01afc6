"""One worker: makes blocks in a folder of its own, puts their files into the store, and marks each block last."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..machine.writing import abandoned, owner
from .jobs import Block, Job, Made, digest_of
from .ledger import Mark, put_mark
from .store import Store

SCRATCH = "vdit-farm-"


@dataclass(frozen=True)
class Setup:
    """What every worker of a run is given: the job, where its files go, and on how many threads it may compute."""

    job: Job
    store: Store
    threads: int = 1


@dataclass(frozen=True)
class Report:
    """What a worker says of a block: how many rows are there, why others are not, its seconds and its process."""

    block: str
    made: int
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    process: int = 0


class Worker:
    """A job opened in this process; called with a block, it does all of it and reports."""

    def __init__(self, setup: Setup):
        use_threads(setup.threads)
        os.environ["TQDM_DISABLE"] = "1"  # the farm has one bar, for all rows
        remove_abandoned()
        self.setup = setup
        self.make = setup.job.opened()

    def __call__(self, block: Block) -> Report:
        """Make a block. What a row raises is a reason in the report; a full disk or a lost store is raised."""
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix=SCRATCH, suffix=f"-{owner()}") as folder:
            made = self.make(block, Path(folder))
            self._keep(block, made, Path(folder))
        return Report(block.name, len(made.rows), made.failed, time.perf_counter() - started, os.getpid())

    def _keep(self, block: Block, made: Made, folder: Path) -> None:
        if not made.rows:
            return
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        facts = {name: {"bytes": path.stat().st_size, "sha256": digest_of(path)} for name, path in files.items()}
        for name, path in files.items():
            self.setup.store.put(name, path)
        put_mark(self.setup.store, Mark(block.name, made.rows, facts))


def use_threads(count: int) -> None:
    """Have the libraries of this process compute on at most so many threads: workers share the cores."""
    count = min(count, int(os.environ.get("OMP_NUM_THREADS") or count))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)  # for those that are not imported yet
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def remove_abandoned() -> None:
    """Remove the folders that killed workers of this machine left unfinished."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        try:
            gone = path.is_dir() and abandoned(path.name, path.stat().st_mtime)
        except OSError:  # another worker has removed it
            continue
        if gone:
            shutil.rmtree(path, ignore_errors=True)
