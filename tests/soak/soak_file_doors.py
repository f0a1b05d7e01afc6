"""Every door that files come through, with ten thousand generated cases each. VDIT_FUZZ_CASES: another number."""

import logging
import os

import pytest
from figures import keep
from file_doors import DOORS
from oracle import KINDS, tried

CASES = int(os.environ.get("VDIT_FUZZ_CASES", 10_000))


@pytest.mark.parametrize("door", DOORS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_a_door_answers_ten_thousand_files(door):
    logging.disable(logging.WARNING)
    try:
        figures = tried(door(), CASES, to_the_end=True)
    finally:
        logging.disable(logging.NOTSET)
    keep(f"door {door.__name__}", figures.report())
    assert not any(figures.counts[kind] for kind in KINDS), figures.failures
