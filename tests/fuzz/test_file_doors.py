"""Every door that files of numbers come through, with generated cases, the same ones each time."""

import logging

import pytest
from file_doors import DOORS
from oracle import tried

CASES = 60


@pytest.mark.parametrize("door", DOORS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_a_door_answers_every_file(door):
    logging.disable(logging.WARNING)
    try:
        assert tried(door(), CASES).counts["cases"] > 0
    finally:
        logging.disable(logging.NOTSET)
