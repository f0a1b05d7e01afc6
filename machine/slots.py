"""Numbered series, `name_00001_.png` and on: numbers are reserved before the first file is written.

So the frames of one video keep consecutive numbers, whatever other processes save under the same name meanwhile.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .writing import SLOT, beside, claim, explained, flush, owner, sweep

MOST_WAIT_S = 0.02  # seconds; about ten times as long as reserving takes on a local disk


@dataclass(frozen=True)
class Slot:
    """The numbers first, first + 1 ... of the series `name` in a folder."""

    folder: Path
    name: str
    first: int

    def save(self, suffix: str, write: Callable[[Path], object], index: int = 0, name: str | None = None) -> Path:
        """Have `write` make the file of number first + index, as name_00001_suffix -> its path.

        name: another name with the same number. A file that a stranger made meanwhile is never replaced: the next free
        number is taken. Raises CannotSave as `written` does, and what `write` raises.
        """
        name, number = name or self.name, self.first + index
        with beside(self.folder / name) as part:
            write(part)
            flush(part)
            while True:
                path = self.folder / file_name(name, number, suffix)
                try:
                    claim(part, path)
                    return path
                except FileExistsError:
                    number = max(number, _highest(self.folder, name)) + 1


def file_name(name: str, number: int, suffix: str) -> str:
    """As ComfyUI numbers files."""
    return f"{name}_{number:05}_{suffix}"


@contextmanager
def reserved(folder: Path, name: str, count: int = 1) -> Generator[Slot]:
    """The next `count` numbers of a series, for the time of the block. Makes the folder. Raises CannotSave."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        first, mark = _highest(folder, name) + 1, None
        while mark is None:
            wanted = folder / f".{file_name(name, first, SLOT)}"
            if not _marked(wanted, count):
                first = max(first, _highest(folder, name)) + 1
            # Once the mark is there, others see it. One made before it, or its files, is seen now and goes first.
            elif (highest := _highest(folder, name, besides=wanted.name)) >= first:
                wanted.unlink(missing_ok=True)
                time.sleep(random.random() * MOST_WAIT_S)  # two that gave way to each other try again apart
                first = highest + 1
            else:
                mark = wanted
    except OSError as reason:
        raise explained(folder / file_name(name, 1, ""), reason) from reason
    try:
        yield Slot(folder, name, first)
    finally:
        with suppress(OSError):
            mark.unlink()


def _marked(path: Path, count: int) -> bool:
    """Whether the reservation was made; not where another save has made it first."""
    try:
        with beside(path) as part:
            part.write_text(f"{count} {owner()}", "utf-8")
            claim(part, path)
    except FileExistsError:
        return False
    return True


def _highest(folder: Path, name: str, besides: str = "") -> int:
    """The highest number of the series that a file has, or that another save has reserved; 0 without any.

    besides: the name of a mark that does not count.
    """
    numbered = re.compile(r"\.?" + re.escape(name) + r"_(\d+)_?", re.IGNORECASE if os.name == "nt" else 0)
    highest = 0
    for entry in os.scandir(folder):
        match = numbered.match(entry.name)
        if match is None or entry.name == besides:
            continue
        last = int(match[1])
        if entry.name.endswith(SLOT):
            try:
                last += int(Path(entry.path).read_text("utf-8").split()[0]) - 1
            except (ValueError, IndexError):  # without hard links it is empty for a moment
                pass
            except OSError:  # given back meanwhile: its files are there by now
                return _highest(folder, name, besides)
        highest = max(highest, last)
    return highest
