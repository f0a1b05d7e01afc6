"""What every bench gives: rows of a name, a value, its unit and its target. And how it measures: medians, processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
RUNS = 5  # whose median is taken
BUSY = "import signal, time\nsignal.alarm(600)\nwhile True: pass"  # ends by itself if the bench is killed


@dataclass(frozen=True)
class Row:
    """One figure. unit: "ratio" of two times or sizes, or its own. target: "<= 1.3", ">= 13.2", or ""."""

    name: str
    value: float
    unit: str = "ratio"
    target: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value reaches its target; None where there is none."""
        if not self.target:
            return None
        way, number = self.target.split()
        return self.value <= float(number) if way == "<=" else self.value >= float(number)

    def __str__(self) -> str:
        said = {None: "", True: f"  {self.target}: met", False: f"  {self.target}: NOT MET"}[self.met]
        return f"{self.value:10.4g} {self.unit:12} {self.name}{said}"


def runs(quick: bool) -> int:
    """How often a bench repeats what it measures: five times, or once."""
    return 1 if quick else RUNS


def median(measure: Callable[[], float], count: int) -> float:
    """Median of `count` calls that return what they measured."""
    return statistics.median(measure() for _ in range(count))


def apart(function: Callable[..., T], *args: float | str) -> T:
    """What a function of a bench returns in a process of its own, started as plain `python`. JSON in and out."""
    module = f"vdit.bench.{Path(function.__code__.co_filename).stem}"
    code = (
        f"import json, sys; from {module} import {function.__name__} as f; given = json.loads(sys.argv[1]);"
        "print(json.dumps(f(*given)))"
    )
    command = [sys.executable, "-P", "-c", code, json.dumps(args)]
    return json.loads(subprocess.check_output(command, text=True).splitlines()[-1])


class beside:  # noqa: N801  reads as a statement: with beside(2): ...
    """Within it, so many other processes keep a core busy each."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        self.processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(self.count)]

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def show(rows: Iterable[Row]) -> list[Row]:
    """Print rows as they come."""
    shown = []
    for row in rows:
        print(row, flush=True)
        shown.append(row)
    return shown


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as JSON takes them, with whether each met its target."""
    return [{**asdict(row), "met": row.met} for row in rows]
