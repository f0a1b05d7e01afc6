"""The studio's requests with generated bodies: an answer below 500 that says what is wrong; the lists stay."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from hypothesis import strategies as st
from mutations import Case, mutated
from oracle import Door
from uploads import Upload, uploads
from vdit.host import files, folders
from vdit.host.server import Studio

PREVIEW = {"1": {"class_type": "PreviewAny", "inputs": {"source": "hello"}, "_meta": {"title": "Show"}}}
DATA = {"extra_pnginfo": {"workflow": {"id": "a", "nodes": []}}}
SEEDS: dict[str, object] = {
    "/prompt": {"prompt": PREVIEW, "client_id": "a", "prompt_id": "b", "number": 1, "front": False, "extra_data": DATA},
    "/interrupt": {"prompt_id": "b"},
    "/queue": {"clear": True, "delete": ["b"]},
    "/history": {"clear": False, "delete": ["b"]},
    "/jobs/cancel": {"job_ids": ["b"]},
    "/settings": {"Comfy.Locale": "en", "Comfy.ColorPalette": {"a": [1]}},
    "/settings/Comfy.Locale": "en",
    "/userdata/a.json?overwrite=true": {"nodes": []},
    "/upload/image": {"image": "a"},
    "/vdit/select": {"image": {"filename": "a.png", "type": "input"}, "objects": "", "client": "c"},
}
LISTS = ("/jobs", "/history", "/queue", "/settings", "/prompt")


class Refused(Exception):
    """An answer from 400 to 499, with its text."""


class Server:
    """A studio in this process, asked one request after another."""

    def __init__(self, base: Path):
        folders.current = folders.Folders(base)
        self.base = base
        self.loop = asyncio.new_event_loop()
        studio = Studio()  # it asks the nodes in a loop of its own
        self.client = self.loop.run_until_complete(self._started(studio))

    async def _started(self, studio: Studio) -> TestClient:
        client = TestClient(TestServer(studio.app()))
        await client.start_server()
        return client

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())
        self.loop.close()

    def ask(self, method: str, path: str, **options: object) -> tuple[int, bytes]:
        async def go() -> tuple[int, bytes]:
            async with self.client.request(method, path, **options) as answer:
                return answer.status, await answer.read()

        return self.loop.run_until_complete(go())

    def enter(self, case: Case) -> None:
        """Posts the body. Raises Refused; RuntimeError for 500 and above, also of the lists that follow."""
        data = case.content.encode("utf-8", "surrogatepass") if isinstance(case.content, str) else case.content
        self.posted(case.name, data, "application/json")

    def posted(self, path: str, data: bytes, kind: str) -> bytes:
        """What is answered. Raises as enter."""
        status, said = self.ask("POST", path, data=data, headers={"Content-Type": kind})
        self.check_lists()
        if status >= 500:
            raise RuntimeError(f"{path} answers {status}: {said[:200]!r}")
        if status >= 400:
            raise Refused(said.decode())
        return said

    def check_lists(self) -> None:
        """RuntimeError unless all lists are answered."""
        for path in LISTS:
            after, text = self.ask("GET", path)
            if after != 200:
                raise RuntimeError(f"{path} answers {after} afterwards: {text[:200]!r}")
            json.loads(text)

    def enter_upload(self, case: Upload) -> tuple[dict, dict[str, bytes]]:
        """The answer, and the files that are there after it by their places under the base folder."""
        folder = self.base / "input"
        shutil.rmtree(folder, ignore_errors=True)  # ten thousand files would be compared with each other
        folder.mkdir()
        said = json.loads(self.posted("/upload/image", case.body, case.kind))
        there = [path for path in self.base.rglob("*") if path.is_file() and "user" not in path.parts]
        return said, {path.relative_to(self.base).as_posix(): path.read_bytes() for path in there}

    def enter_settings_file(self, case: Case) -> dict:
        """What /settings answers with these bytes as the file of settings."""
        data = case.content.encode("utf-8", "surrogatepass") if isinstance(case.content, str) else case.content
        (files.user_folder() / files.SETTINGS).write_bytes(data)
        status, said = self.ask("GET", "/settings")
        if status != 200:
            raise RuntimeError(f"{status}: {said[:200]!r}")
        return json.loads(said)


def wrong_settings(case: Case, settings: dict) -> str:
    """All that a whole file holds is answered; a broken one gives the usual settings."""
    try:
        told = json.loads(case.content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict) or settings == files.USUAL_SETTINGS:
        return ""
    return "" if {**files.USUAL_SETTINGS, **told} == settings else f"{settings!r:.200}"


def wrong_upload(case: Upload, result: tuple[dict, dict[str, bytes]]) -> str:
    """One file is there, where the answer says, and its bytes stand in the body."""
    said, there = result
    if said["type"] not in ("input", "output", "temp") or len(there) < 1:
        return f"{said}, {list(there)}"
    place = "/".join(part for part in (said["type"], said["subfolder"].strip("/"), said["name"]) if part)
    if place not in there:
        return f"{place} is not among {list(there)}"
    if said["subfolder"].encode() not in case.body:
        return f"the subfolder {said['subfolder']!r:.80} was not sent"
    encoded = b"ransfer-" in case.body or b"gzip" in case.body
    return "" if encoded or there[place] in case.body else f"{place} has bytes that were not sent"


def http_doors(server: Callable[[], Server]) -> list[Door]:
    """server: gives the running one when the first case comes."""
    seeds = {"settings": SEEDS["/settings"]}
    bodies: st.SearchStrategy[Case] = mutated(SEEDS)
    return [
        Door("HTTP bodies", bodies, lambda case: server().enter(case), (Refused,), place=r"\w{3}"),
        Door("uploads", uploads(), lambda case: server().enter_upload(case), (Refused,), wrong_upload, r"\w{3}"),
        Door("settings file", mutated(seeds), lambda case: server().enter_settings_file(case), (), wrong_settings),
    ]
