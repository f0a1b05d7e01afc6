"""The studio's requests, with some generated bodies each, the same ones each time."""

import pytest
from http_doors import Server, http_doors
from oracle import tried
from vdit.host import folders

CASES = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "current", folders.current)
        made = Server(tmp_path_factory.mktemp("studio"))
        yield made
        made.close()


@pytest.mark.parametrize("number", [0, 1, 2], ids=["bodies", "uploads", "settings file"])
def test_the_studio_answers_every_body(server, number):
    assert tried(http_doors(lambda: server)[number], CASES).counts["cases"] > 0
