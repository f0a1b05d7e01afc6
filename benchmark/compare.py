"""One page that puts systems side by side: made of report.json files, as people share them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..machine.parse import Bounds, Unreadable, check, json_value
from .scores import ALL_SCORED, ALL_SUITES

WHO = "model"  # whose scores of a report are shown; others in it are controls and parts
REPORT = Bounds(megabytes=16)
FIELDS = {
    "suite_version!": int,
    "plan!": dict,
    "plan.seed!": int,
    "plan.count!": int,
    "plan.form!": dict,
    "plan.form.width!": int,
    "plan.form.height!": int,
    "plan.form.fps!": float,
    "plan.form.known!": int,
    "plan.form.frames": int,
    "settings!": dict,
    "settings.model!": str,
    "scores!": dict,
    "scores{}!": dict,
    f"scores.{WHO}!": dict,
    f"scores.{WHO}{{}}!": dict,
    f"scores.{WHO}{{}}{{}}!": dict,
    f"scores.{WHO}{{}}{{}}.all!": dict,
    f"scores.{WHO}{{}}{{}}.all.clips!": int,
    f"scores.{WHO}{{}}{{}}.all.percent": float,
    f"scores.{WHO}{{}}{{}}.all.low": float,
    f"scores.{WHO}{{}}{{}}.all.high": float,
}
NOTE = (
    "Every number is of simulated clips that were scored by one program. Systems share a table only where suite, seed, "
    "count, size, rate and known frames are the same, and a column only where as many clips were scored. Numbers that "
    "were published of these systems elsewhere were measured otherwise: they do not belong beside these."
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 0 0 2rem } th, td { padding: .4rem .8rem; text-align: left }
thead th { border-bottom: 2px solid #888; vertical-align: bottom } tbody tr + tr > * { border-top: 1px solid #ddd }
small { color: #666; display: block; font-weight: normal } svg { display: block }
"""
BAR_PX = (120, 10)  # of the drawing in a cell: 0 to 100 per cent


@dataclass(frozen=True)
class Way:
    """How a system was measured. Scores of two ways are not comparable."""

    suite_version: int
    seed: int
    count: int
    width: int
    height: int
    fps: float
    known: int
    frames: int | None

    def __str__(self):
        length = f"{self.frames} frames" if self.frames else "the suites' own lengths"
        given = "first frame" if self.known == 1 else f"first {self.known} frames"
        return (
            f"suite version {self.suite_version}, seed {self.seed}, count {self.count}, {self.width}x{self.height} at "
            f"{self.fps:g} fps, {length}, {given} given"
        )


@dataclass(frozen=True)
class Column:
    """What stands below each other."""

    suite: str
    split: str
    clips: int


@dataclass(frozen=True)
class Cell:
    """A share in per cent, with its 95% interval."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class System:
    """One report."""

    name: str
    file: str
    way: Way
    cells: dict[Column, Cell]
    settings: dict[str, Any]


def read(path: Path) -> System:
    """A report.json. Raises ValueError that names the file, the field and what to do."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; name the report.json of a run")
    try:
        value = json_value(path.read_bytes(), REPORT)
        check(value, {"!": dict})
        facts = cast("dict[str, Any]", value)
        if facts.get("suite_version") is None:
            raise Unreadable("says no suite_version: it is no report.json of a model, or of an older VDiT; score anew")
        check(value, FIELDS)
        return System(
            facts["settings"]["model"], f"{path.parent.name}/{path.name}", _way(facts), _cells(facts), facts["settings"]
        )
    except ValueError as reason:
        raise ValueError(f"{path} {reason}") from reason


def _way(facts: dict[str, Any]) -> Way:
    plan, form = facts["plan"], facts["plan"]["form"]
    size = (form["width"], form["height"], form["fps"], form["known"], form.get("frames"))
    return Way(facts["suite_version"], plan["seed"], plan["count"], *size)


def _cells(facts: dict[str, Any]) -> dict[Column, Cell]:
    cells: dict[Column, Cell] = {}
    for suite, splits in facts["scores"][WHO].items():
        if suite not in ALL_SCORED:
            raise Unreadable(f"has scores of {suite!r}, which this VDiT does not know")
        for split, families in splits.items():
            share = families["all"]
            if share["clips"] < 1:
                continue
            found = [share["low"], share["percent"], share["high"]]
            if None in found or not 0 <= found[0] <= found[1] <= found[2] <= 100:
                raise Unreadable(
                    f"has for {suite}, {split} the share {found}; expected low, per cent, high in 0 to 100"
                )
            cells[Column(suite, split, share["clips"])] = Cell(share["percent"], share["low"], share["high"])
    if not cells:
        raise Unreadable("holds no scored clips; run the benchmark on")
    return cells


def page(systems: Sequence[System]) -> str:
    """The page as HTML: a table for each way of measuring."""
    ways: dict[Way, list[System]] = {}
    for system in systems:
        ways.setdefault(system.way, []).append(system)
    body = "".join(f"<h2>{html.escape(str(way))}</h2>\n{_table(rows)}" for way, rows in ways.items())
    title = "VDiT physics benchmark"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f"<h1>{title}</h1>\n<p>{NOTE}</p>\n{body}</html>\n"
    )


def _table(systems: Sequence[System]) -> str:
    order = {suite: i for i, suite in enumerate(ALL_SCORED)}
    columns = sorted(
        {column for system in systems for column in system.cells}, key=lambda c: (order[c.suite], c.split, -c.clips)
    )
    head = "".join(
        f"<th>{html.escape(ALL_SUITES[c.suite].title)}<small>{html.escape(c.split)}, {c.clips} clips</small></th>"
        for c in columns
    )
    rows = "".join(
        f"<tr><th>{html.escape(system.name)}<small>{html.escape(_how(system))}</small></th>"
        + "".join(f"<td>{_drawn(system.cells.get(column))}</td>" for column in columns)
        + "</tr>\n"
        for system in systems
    )
    return f"<table>\n<thead><tr><th>System</th>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _how(system: System) -> str:
    """The file, and what plain settings its run had."""
    shown = (
        f"{name} {value}"
        for name, value in system.settings.items()
        if name not in ("model", "videos") and isinstance(value, (str, int, float))
    )
    return ", ".join((system.file, *shown))


def _drawn(cell: Cell | None) -> str:
    """The number, its interval, and both as a bar."""
    if cell is None:
        return "-"
    width, height = BAR_PX
    x, low, high = (round(value * width / 100, 1) for value in (cell.percent, cell.low, cell.high))
    bar = (
        f'<svg width="{width}" height="{height}"><rect width="{width}" height="{height}" fill="#eee"/>'
        f'<rect width="{x}" height="{height}" fill="#3b6ea8"/>'
        f'<path d="M{low} {height / 2}H{high}" stroke="#222" stroke-width="2"/></svg>'
    )
    return f"{cell.percent:.1f}% <small>95%: {cell.low:.1f} to {cell.high:.1f}</small>{bar}"
