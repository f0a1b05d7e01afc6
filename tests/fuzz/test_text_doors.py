"""Every door that text comes through, with some hundred generated cases each, the same ones each time."""

import pytest
from oracle import tried
from text_doors import text_doors

CASES = 50


@pytest.mark.parametrize("door", text_doors(), ids=lambda door: door.name)
def test_a_door_answers_every_text(door):
    assert tried(door, CASES).counts["cases"] > 0
