"""The time that all trials share, and one file of their figures: output/soak/all.json.

Trials of a fixed size come first, and begin within the first two thirds. The rest is shared among those that generate
cases (their argument is called `door`): they stop when VDIT_SOAK_UNTIL, in seconds of time.monotonic(), has come. What
finds no time is said.
"""

import json
import os
import time

import figures
import pytest

STARTED = time.monotonic()
FIXED = 2 / 3  # of the time; on two idle cores they take about half of half an hour


def pytest_addoption(parser):
    parser.addoption("--soak-minutes", type=float, default=30.0, help="of all trials together")


def minutes_of(config) -> float | None:
    """None in the ordinary suite, which only walks through this folder."""
    return config.getoption("--soak-minutes", None)


def is_generated(item) -> bool:
    return "door" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(config, items):
    if minutes_of(config) is not None:
        items.sort(key=is_generated)


def pytest_runtest_setup(item):
    minutes = minutes_of(item.config)
    waiting = [one for one in item.session.items[item.session.items.index(item) :] if is_generated(one)]
    share = FIXED if waiting and not is_generated(item) else 1.0
    left = STARTED + 60 * minutes * share - time.monotonic()
    if left <= 0:
        pytest.skip(f"NOT RUN: its part of the {minutes:g} minutes is over; give more by --soak-minutes")
    os.environ["VDIT_SOAK_UNTIL"] = str(time.monotonic() + left / max(1, len(waiting)))


def pytest_terminal_summary(terminalreporter, config):
    if minutes_of(config) is None:
        return
    said = {"passed": "passed", "failed": "FAILED", "skipped": "not run", "error": "FAILED"}
    rows = {
        report.nodeid.rsplit("::", 1)[-1]: {"outcome": word, "seconds": round(report.duration, 1)}
        for outcome, word in said.items()
        for report in terminalreporter.stats.get(outcome, ())
        if report.when == "call" or outcome != "passed"
    }
    whole = {"minutes": round((time.monotonic() - STARTED) / 60, 2), "trials": rows, "figures": figures.KEPT}
    figures.FOLDER.mkdir(parents=True, exist_ok=True)
    path = figures.FOLDER / "all.json"
    path.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    terminalreporter.section("soak")
    for name, row in rows.items():
        terminalreporter.line(f"{row['outcome']:8} {row['seconds']:7.1f} s  {name}")
    terminalreporter.line(f"figures: {path}")
