"""Eight clients send 5,000 small prompts to one studio: all answered, each to its own client, memory level.

VDIT_SOAK_PROMPTS: another number. Of ten prompts seven show a text, one saves a picture of its client's colour, one is
refused, and one fails in the run; texts, colours and errors tell whose they are.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from figures import keep
from PIL import Image

CLIENTS, PROMPTS = 8, int(os.environ.get("VDIT_SOAK_PROMPTS", 5000))
WARM = 0.2  # of the prompts come before memory is taken as the level: by then the history is full
MOST_GROWTH = 0.03
ENDS = ("execution_success", "execution_error", "execution_interrupted")

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def prompt(client: int, number: int) -> tuple[str, dict]:
    """(what is to come of it, the graph)."""
    whose = f"client {client} prompt {number}"
    picture = {"class_type": "LoadImage", "inputs": {"image": f"{client}.png"}}
    size = {"upscale_method": "bilinear", "crop": "disabled", "width": 33, "height": 33}
    if number % 10 == 7:
        save = {"images": ["picture", 0], "filename_prefix": f"{client}/{number}"}
        return "saves", {"picture": picture, "save": {"class_type": "SaveImage", "inputs": save}}
    if number % 10 == 8:
        wrong = {"class_type": "LoadImage", "inputs": {"image": f"nothing of {whose}"}}
        shown = {"class_type": "PreviewImage", "inputs": {"images": ["picture", 0]}}
        return "refused", {"picture": wrong, "show": shown}
    if number % 10 == 9:  # a video of odd sides, which is known when it is saved
        return "fails", {
            "picture": picture,
            "scaled": {"class_type": "ImageScale", "inputs": {"image": ["picture", 0], **size}},
            "one": {"class_type": "ImageFromBatch", "inputs": {"image": ["scaled", 0], "batch_index": 0, "length": 1}},
            "clip": {"class_type": "CreateVideo", "inputs": {"images": ["one", 0], "fps": 8.0}},
            "save": {
                "class_type": "SaveVideo",
                "inputs": {"video": ["clip", 0], "filename_prefix": f"{client}/bad", "format": "auto", "codec": "auto"},
                "_meta": {"title": whose},
            },
        }
    return "shows", {"show": {"class_type": "PreviewAny", "inputs": {"source": whose}}}


def memory(pid: int) -> int:
    """Bytes of main memory that the server holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


class Client:
    """One client: sends a prompt, waits for its end, and checks that all it hears is its own."""

    def __init__(self, url: str, number: int, base: Path, counts: Counter):
        self.url, self.number, self.base, self.counts = url, number, base, counts
        self.mine: set[str] = set()

    async def send(self, session: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse, number: int) -> None:
        meant, graph = prompt(self.number, number)
        prompt_id = f"{self.number}-{number}"
        self.mine.add(prompt_id)
        body = {"prompt": graph, "client_id": f"client{self.number}", "prompt_id": prompt_id}
        async with session.post(f"{self.url}prompt", json=body) as answer:
            said = await answer.text()
        if meant == "refused":
            self.right("refused", answer.status == 400 and f"client {self.number} prompt {number}" in said)
            return
        self.counts["answered otherwise"] += answer.status != 200
        end = await self.end_of(ws, prompt_id)
        entry = None
        for _ in range(200):  # it is written a moment after the last message
            async with session.get(f"{self.url}history/{prompt_id}") as answer:
                if entry := (await answer.json()).get(prompt_id):
                    break
            await asyncio.sleep(0.01)
        self.right(meant, self.is_right(meant, number, end, entry))

    def is_right(self, meant: str, number: int, end: dict, entry: dict | None) -> bool:
        if entry is None:
            return False
        whose = f"client {self.number} prompt {number}"
        if meant == "shows":
            return end["type"] == ENDS[0] and entry["outputs"]["show"]["text"] == [whose]
        if meant == "fails":
            return end["type"] == ENDS[1] and "even sides" in end["data"]["exception_message"]
        (file,) = entry["outputs"]["save"]["images"]
        with Image.open(self.base / "output" / file["subfolder"] / file["filename"]) as saved:
            return file["subfolder"] == str(self.number) and saved.getpixel((0, 0)) == colour(self.number)

    def right(self, meant: str, so: bool) -> None:
        self.counts[meant if so else f"{meant}, wrongly"] += 1

    async def end_of(self, ws: aiohttp.ClientWebSocketResponse, prompt_id: str) -> dict:
        while True:
            message = json.loads((await ws.receive(timeout=60)).data)
            about = message["data"].get("prompt_id")
            self.counts["messages"] += 1
            self.counts["messages of others"] += about is not None and about not in self.mine
            if message["type"] in ENDS and about == prompt_id:
                return message


def colour(client: int) -> tuple[int, int, int]:
    return (30 * client, 255 - 30 * client, 7)


async def all_clients(url: str, pid: int, base: Path, counts: Counter) -> list[int]:
    """Memory of the server, each hundredth of the way."""
    levels: list[int] = []
    clients = [Client(url, number, base, counts) for number in range(CLIENTS)]

    async def one(client: Client) -> None:
        name = f"client{client.number}"
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}ws?clientId={name}") as ws:
            for number in range(client.number, PROMPTS, CLIENTS):
                await client.send(session, ws, number // CLIENTS)
                if counts["sent"] % max(1, PROMPTS // 100) == 0:
                    levels.append(memory(pid))
                counts["sent"] += 1

    await asyncio.gather(*(one(client) for client in clients))
    return levels


def test_what_eight_clients_ask_is_answered_to_each_alone_in_level_memory(tmp_path):
    (tmp_path / "input").mkdir()
    for client in range(CLIENTS):
        pixels = np.full((32, 32, 3), colour(client), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "input" / f"{client}.png")
    command = [sys.executable, "-P", "-m", "vdit.host", "studio", "--no-browser", "--port", "0"]
    command += ["--base", str(tmp_path)]
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as studio,
    ):
        try:
            url = studio.stdout.readline().split()[2]
            counts, started = Counter(), time.perf_counter()
            levels = asyncio.run(all_clients(url, studio.pid, tmp_path, counts))
            seconds = time.perf_counter() - started
        finally:
            studio.terminate()
    warm = levels[int(WARM * len(levels)) :]
    level, last = max(warm[: len(warm) // 4]), max(warm[-len(warm) // 4 :])
    wrong = {name: count for name, count in counts.items() if "wrongly" in name or "other" in name}
    figures = {
        **{"clients": CLIENTS, "prompts": PROMPTS, "seconds": round(seconds, 1)},
        **dict(counts),
        **{"MB when warm": round(level / 1e6, 1), "MB at the end": round(last / 1e6, 1)},
        "growth": round(last / level - 1, 4),
    }
    keep("clients", figures)
    assert counts["sent"] == PROMPTS and not any(wrong.values()), wrong
    assert sum(counts[name] for name in ("shows", "saves", "refused", "fails")) == PROMPTS
    assert last <= level * (1 + MOST_GROWTH)
