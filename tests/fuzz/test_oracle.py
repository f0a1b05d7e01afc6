"""The oracle of the fuzzers can fail: each kind of failure is seen, counted and shown with its smallest case."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from oracle import KINDS, Door, tried


class Refused(ValueError):
    pass


def enter(case: int) -> int:
    if case > 90:
        raise Refused(f"number {case} is too large" if case < 95 else "no")
    if case > 80:
        raise KeyError(case)
    if case > 78:
        assert len(b"x" * 300_000_000)
    if case > 70:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    return case + (case == 5)


DOOR = Door("numbers", st.integers(0, 100), enter, (Refused,), lambda a, b: "" if a == b else f"{b}", "number")


def test_every_kind_of_failure_is_counted_with_its_smallest_case(monkeypatch):
    monkeypatch.setattr("oracle.SECONDS", 0.01)
    figures = tried(DOOR, 300, to_the_end=True)
    found = figures.report()
    assert found["cases"] == found["accepted"] + found["refused"] + found["raw errors"]
    assert all(found[kind] > 0 for kind in KINDS)
    assert any(re.match(r"8\d -> KeyError at test_oracle.py:enter", text) for text in found["failures"].values())


def test_in_the_suite_the_first_failure_fails():
    with pytest.raises(AssertionError, match="KeyError"):
        tried(replace(DOOR, cases=st.integers(81, 89)), 20)
    assert tried(replace(DOOR, cases=st.integers(6, 60)), 20).report()["failures"] == {}
