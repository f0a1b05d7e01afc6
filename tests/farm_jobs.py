"""Work for farms in tests: rows that are made at once, that fail, or that kill the process that makes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vdit.farm.jobs import Block, Json, Made, Row


@dataclass(frozen=True)
class Numbers:
    """The row {"number": n} becomes a file that holds n.

    killers: numbers whose worker is killed the first time (a file in `killed` says that it was); deadly: each time.
    """

    killed: str = ""
    killers: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    colour: str = "red"
    rows_per_block: int = 4
    name: str = "numbers"

    def settings(self) -> dict[str, Json]:
        return {"colour": self.colour}

    def identity(self, row: Row) -> Json:
        return row

    def opened(self) -> Callable[[Block, Path], Made]:
        return partial(_make, self)


def _make(job: Numbers, block: Block, folder: Path) -> Made:
    made, failed = {}, {}
    for row, key in zip(block.rows, block.keys, strict=True):
        number = row["number"]
        if number in job.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in job.killers:
            mark = Path(job.killed) / f"{number}"
            if not mark.exists():
                mark.touch()
                (folder / "half.txt").write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        if number in job.wrong:
            failed[key] = f"{number} is wrong"
        else:
            (folder / f"{key}.txt").write_text(str(number))
            made[key] = number
    return Made(made, failed)


@dataclass(frozen=True)
class Sleepy(Numbers):
    """Its worker notes its process in the folder `killed`, and sleeps."""

    def opened(self) -> Callable[[Block, Path], Made]:
        import time

        (Path(self.killed) / "worker.pid").write_text(str(os.getpid()))
        time.sleep(600)
        raise AssertionError
