"""A server that others can reach answers those who have its token, and serves no file that a browser would run."""

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer
from vdit.host import folders
from vdit.host.server import Studio

TOKEN = "a-token"


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    return tmp_path


def asked(use, token=TOKEN):
    async def run():
        async with TestClient(TestServer(Studio({}).app(public=True, token=token))) as client:
            return await use(client)

    return asyncio.run(run())


def test_without_the_token_nothing_is_answered():
    async def use(client):
        statuses = []
        for method, path in [("GET", "/"), ("GET", "/queue"), ("POST", "/prompt"), ("GET", "/ws"), ("GET", "/view")]:
            statuses.append((await client.request(method, path)).status)
        statuses.append((await client.get("/queue", params={"token": "another"})).status)
        statuses.append(
            (await client.get("/queue", cookies={"vdit_token": "a-toke\N{LATIN SMALL LETTER E WITH ACUTE}"})).status
        )
        return statuses

    assert asked(use) == [401] * 7


def test_the_printed_address_gives_a_cookie_that_opens_everything_and_leaves_the_address_bar():
    async def use(client):
        first = await client.get("/", params={"token": TOKEN}, allow_redirects=False)
        cookie = first.cookies["vdit_token"]
        second = await client.get("/queue")
        socket = await client.ws_connect("/ws")
        await socket.close()
        return first.status, first.headers["Location"], cookie["httponly"], second.status

    assert asked(use) == (302, "/", True, 200)


def test_on_this_machine_alone_no_token_is_asked_for():
    async def use(client):
        return (await client.get("/queue")).status

    assert asked(use, token=None) == 200


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.mp4", "video/mp4"),
        ("a.json", "application/json"),
        ("a.txt", "text/plain"),
        ("a.svg", "application/octet-stream"),
        ("a.html", "application/octet-stream"),
        ("a.xml", "application/octet-stream"),
        ("a.rdf", "application/octet-stream"),
        ("a.xsl", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_only_kinds_that_no_browser_runs_are_served_as_what_they_are(base, name, kind):
    (base / "output").mkdir()
    (base / "output" / name).write_bytes(b"<a/>")

    async def use(client):
        return (await client.get("/view", params={"filename": name})).content_type

    assert asked(use, token=None) == kind
