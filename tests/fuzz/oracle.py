"""What a door must do with any input: a right result, or an error of ours that names the place, soon, in little memory.

A door is tried with generated cases. In the suite a few run, and the first that fails is made smaller by hypothesis;
in the soak thousands run to the end, and every kind of failure is counted with its smallest case.
"""

import contextlib
import gc
import os
import re
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

SECONDS, MEGABYTES = 2.0, 200.0  # of processor time and of memory over what was held before; the figures
HANGS_SECONDS = 20  # of the clock, after which a case is given up
SPARE_BYTES = 3 << 30  # address space that a case may take before it gets MemoryError: a bomb must not end the machine
SHOWN = 600  # letters of a case in a report

KINDS = ("raw errors", "over time", "over memory", "other values", "place not named")


@dataclass(frozen=True)
class Door:
    """One place where text or bytes from outside become values.

    enter: reads one case. refusals: the error classes it may raise. wrong: how the result of an accepted case differs
    from what was stored, "" where it is right. place: what the text of every refusal must hold (a regular expression).
    """

    name: str
    cases: SearchStrategy[Any]
    enter: Callable[[Any], Any]
    refusals: tuple[type[BaseException], ...]
    wrong: Callable[[Any, Any], str] = lambda case, result: ""
    place: str = "."


@dataclass
class Figures:
    """What came of the cases of one door. failures: kind and place of the failure -> its smallest case."""

    counts: Counter = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    largest_megabytes: float = 0.0

    def report(self) -> dict:
        return {
            **{name: self.counts[name] for name in ("cases", "accepted", "refused", *KINDS)},
            "slowest, s of processor": round(self.slowest_seconds, 3),
            "largest, MB": round(self.largest_megabytes, 1),
            "failures": self.failures,
        }


class Hangs(BaseException):
    """A case that takes longer than HANGS_SECONDS; no `except Exception` behind a door may swallow it."""


class TimeOver(BaseException):
    """Ends the cases of a door; no Exception, which hypothesis would take for a failure and make smaller."""


def judged(door: Door, case: object, figures: Figures) -> list[tuple[str, str]]:
    """(kind, what happened) of everything that is wrong with how the door took this case."""
    found: list[tuple[str, str]] = []
    held = _peak_bytes(afresh=True)
    started = time.process_time()
    try:
        with _bounded():
            result = door.enter(case)
        seconds = time.process_time() - started
        figures.counts["accepted"] += 1
        if wrong := door.wrong(case, result):
            found.append(("other values", wrong))
    except door.refusals as reason:
        seconds = time.process_time() - started
        figures.counts["refused"] += 1
        if not re.search(door.place, str(reason)):
            found.append(("place not named", f"{type(reason).__name__}: {reason}"[:SHOWN]))
    except Hangs:
        seconds = HANGS_SECONDS
    except MemoryError as reason:
        seconds = time.process_time() - started
        found.append(("over memory", f"MemoryError at {_place(reason)}"))
    except Exception as reason:
        seconds = time.process_time() - started
        found.append(("raw errors", f"{type(reason).__name__} at {_place(reason)}: {reason}"[:SHOWN]))
    megabytes = (_peak_bytes() - held) / 1e6
    if seconds > SECONDS:
        found.append(("over time", f"{seconds:.1f} s"))
    if megabytes > MEGABYTES:
        found.append(("over memory", f"{megabytes:.0f} MB"))
    figures.counts["cases"] += 1
    figures.slowest_seconds = max(figures.slowest_seconds, seconds)
    figures.largest_megabytes = max(figures.largest_megabytes, megabytes)
    for kind, what in found:
        figures.counts[kind] += 1
        name, text = f"{kind}: {re.sub(r'[0-9.]+ (s|MB)$', '', what.partition(': ')[0])}", repr(case)
        if name not in figures.failures or len(text) < len(figures.failures[name]):
            figures.failures[name] = f"{text[:SHOWN]} -> {what}"
    return found


def tried(door: Door, cases: int, to_the_end: bool = False) -> Figures:
    """The figures of that many cases, the same ones each time. Fails at the first bad one, or at the end.

    Where VDIT_SOAK_UNTIL is set (tests/soak/conftest.py), the cases after that moment are left out.
    """
    figures, until = Figures(), float(os.environ.get("VDIT_SOAK_UNTIL", "inf"))
    quiet = settings(
        max_examples=cases, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )

    @quiet
    @given(door.cases)
    def each(case: object) -> None:
        if time.monotonic() > until:
            raise TimeOver
        found = judged(door, case, figures)
        assert to_the_end or not found, found

    gc.freeze()  # else Python looks through all modules and seeds again in each case that makes many objects
    try:
        each()
    except TimeOver:
        pass
    finally:
        gc.unfreeze()
    return figures


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raises Hangs in a case that never ends, MemoryError in one that takes more than SPARE_BYTES."""

    def hangs(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, hangs)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPARE_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, HANGS_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _peak_bytes(afresh: bool = False) -> int:
    """The most memory that this process held, since it was last asked afresh."""
    if afresh:
        with contextlib.suppress(OSError):  # Linux forgets the peak when 5 is written there
            Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _place(reason: BaseException) -> str:
    """The innermost line of this project that the error came through: file:function:line."""
    frames = traceback.extract_tb(reason.__traceback__)
    ours = [f for f in frames if f"{os.sep}site-packages{os.sep}" not in f.filename and f.filename != __file__]
    inner = [f for f in ours if not f.filename.startswith(os.path.dirname(os.__file__))] or list(frames)
    return f"{Path(inner[-1].filename).name}:{inner[-1].name}:{inner[-1].lineno}"
