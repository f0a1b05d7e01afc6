"""Every door that text comes through, with ten thousand generated cases each. VDIT_FUZZ_CASES: another number."""

import os

import pytest
from figures import keep
from oracle import KINDS, tried
from text_doors import text_doors

CASES = int(os.environ.get("VDIT_FUZZ_CASES", 10_000))


@pytest.mark.parametrize("door", text_doors(), ids=lambda door: door.name)
def test_a_door_answers_ten_thousand_texts(door):
    figures = tried(door, CASES, to_the_end=True)
    keep(f"door {door.name}".replace(" ", "_"), figures.report())
    assert not any(figures.counts[kind] for kind in KINDS), figures.failures
