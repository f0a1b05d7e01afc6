"""The studio's requests with ten thousand generated bodies. VDIT_FUZZ_CASES: another number."""

import os

import pytest
from figures import keep
from http_doors import Server, http_doors
from oracle import KINDS, tried

CASES = int(os.environ.get("VDIT_FUZZ_CASES", 10_000))


@pytest.mark.parametrize("number", [0, 1, 2], ids=["bodies", "uploads", "settings file"])
def test_the_studio_answers_ten_thousand_bodies(tmp_path, number):
    server = Server(tmp_path)
    door = http_doors(lambda: server)[number]
    figures = tried(door, CASES, to_the_end=True)
    server.close()
    keep(f"door {door.name}".replace(" ", "_"), figures.report())
    assert not any(figures.counts[kind] for kind in KINDS), figures.failures
