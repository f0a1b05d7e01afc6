"""Live play: frames a second, delays, recordings, memory, pages beside each other, and what a killed page leaves.

    python -m vdit.bench live [--quick]
    python -m vdit.bench.live --minutes 10      the same with so many minutes of play for the rows of memory

A studio serves in this process; pages are clients of it, in processes of their own where that matters. Rates and delays
are those of the machine at hand with server and page on it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from vdit.bench.gym import three
from vdit.bench.rows import Row, show
from vdit.bench.wan_step import resident

WIDTH, HEIGHT, FPS = 416, 240, 16.0
MINUTES, QUICK_MINUTES = 2.0, 0.5
SEEN_S = 10.0  # seconds of play over which rates and delays are measured
PAGES = 4
PAINTED, PAINTED_FPS = 128, 24.0
REPLAY = """
import sys, numpy as np
from vdit.pipeline.live import loads
from vdit.world.scene_file import loads as scene_of
from vdit.world.simulate import simulate
scene, take = scene_of(open(sys.argv[1]).read()), loads(open(sys.argv[2]).read())
np.save(sys.argv[3], simulate(scene, take.actions, seconds=take.frames / take.fps, fps=take.fps).poses[-1])
"""
KILLED = """
import asyncio, sys, aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(sys.argv[1], headers={"Origin": sys.argv[2]}) as ws:
            await ws.send_json({"type": "open", "scene": sys.argv[3]})
            await ws.send_json({"type": "play"})
            async for message in ws:
                print(1, flush=True)
asyncio.run(main())
"""


def lit():
    """Three bodies in colours of their own, as a page shows them."""
    from vdit.world.scene import Colored

    colors = ((0.8, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.8))
    scene = three()
    bodies = tuple(replace(b, appearance=Colored(c)) for b, c in zip(scene.bodies, colors, strict=True))
    return replace(scene, bodies=bodies, width=WIDTH * 2, height=HEIGHT * 2)


@asynccontextmanager
async def served(scene, width: int = WIDTH, height: int = HEIGHT):
    """A client of a studio that offers a scene, the studio, and the scene's name."""
    from aiohttp.test_utils import TestClient, TestServer
    from vdit.host.server import Studio
    from vdit.nodes.live_routes import Offer, offers
    from vdit.pipeline.live import Play

    studio = Studio({})
    async with TestClient(TestServer(studio.app())) as client:
        yield client, studio, offers.add(Offer(scene, Play(fps=FPS, width=width, height=height)))


class Page:
    """A page at play: what it sent, and what came when."""

    def __init__(self, socket):
        self.socket, self.sent, self.count = socket, {}, 0
        self.frames: list[tuple[float, int, int, bytes]] = []  # when, frame of the simulation, seen, picture
        self.states: list[dict] = []
        self.recording = ""
        self.reading = asyncio.create_task(self.read())

    @classmethod
    async def opened(cls, client, name: str) -> Page:
        origin = f"http://{client.host}:{client.port}"
        page = cls(await client.ws_connect("/vdit/live", headers={"Origin": origin}, max_msg_size=0))
        await page.say(type="open", scene=name)
        while not page.frames:
            await asyncio.sleep(0.01)
        return page

    async def say(self, **message: object) -> None:
        if message["type"] != "open":
            self.count += 1
            message["n"] = self.count
            self.sent[self.count] = time.perf_counter()
        await self.socket.send_json(message)

    async def read(self) -> None:
        from aiohttp import WSMsgType
        from vdit.pipeline.live import HEADER

        async for message in self.socket:
            if message.type is WSMsgType.BINARY:
                _, _, seconds, seen = HEADER.unpack(message.data[: HEADER.size])
                data = message.data[HEADER.size :]
                self.frames.append((time.perf_counter(), round(seconds * FPS), seen, data))
            elif (fields := json.loads(message.data))["type"] == "state":
                self.states.append(fields)
            elif fields["type"] == "recording":
                self.recording = fields["actions"]
            elif fields["type"] == "error":
                raise SystemExit(fields["message"])

    async def play(self, seconds: float, every: float = 0.1, seed: int = 0) -> None:
        """Drag, throw and push bodies at random, an event each `every` seconds, and fly now and then."""
        import numpy as np

        random, end = np.random.default_rng(seed), time.perf_counter() + seconds
        x, y, k = 0.5, 0.6, 0
        while time.perf_counter() < end:
            if k % 12 == 0:
                x, y = float(random.uniform(0.25, 0.75)), float(random.uniform(0.45, 0.75))
                await self.say(type="grab", x=x, y=y)
            elif k % 12 == 9:
                await self.say(type="drop")
            elif k % 12 == 10:
                await self.say(type="push", **{"from": [x, y], "to": [float(random.uniform(0.2, 0.8)), y]})
            elif k % 12 == 11:
                await self.say(type="keys", held=["d"] if k % 48 == 11 else [])
            else:
                x, y = (float(np.clip(v + random.normal(0, 0.05), 0.1, 0.9)) for v in (x, y))
                await self.say(type="move", x=x, y=y)
            k += 1
            # Events come when a hand moves, not when frames begin.
            await asyncio.sleep(every * float(random.uniform(0.5, 1.5)))

    def delays(self) -> list[float]:
        """Milliseconds from each event to the first frame that shows it."""
        found, at = [], 0
        for when, _, seen, _ in self.frames:
            while at < seen:
                at += 1
                found.append(1000 * (when - self.sent[at]))
        return found

    def rate(self, begin: float) -> float:
        """Frames a second since then."""
        times = [when for when, *_ in self.frames if when >= begin]
        return (len(times) - 1) / (times[-1] - times[0])

    async def close(self) -> None:
        await self.socket.close()
        await self.reading


async def one_page(seconds: float) -> dict[str, float]:
    """Rate and delays of one page that plays and flies."""
    async with served(lit()) as (client, _, name):
        page = await Page.opened(client, name)
        await page.say(type="play")
        await page.play(2.0)
        begin, first = time.perf_counter(), len(page.frames)
        await page.play(seconds)
        await asyncio.sleep(0.5)
        rate, delays = page.rate(begin), page.delays()
        scales = [state["scale"] for state in page.states]
        await page.close()
        return {
            "rate": rate,
            "scale": min(scales[len(scales) // 2 :]),
            "median": median(delays),
            "p95": quantiles(delays, n=20)[-1],
            "lost": page.count - max(seen for *_, seen, _ in page.frames[first:]),
        }


async def recorded(seconds: float, every: float) -> tuple[Any, str, list[tuple[int, bytes]], int]:
    """A scene, a recording of it, frames that were seen with their numbers, and how many events there were."""
    scene = lit()
    async with served(scene) as (client, _, name):
        page = await Page.opened(client, name)
        await page.say(type="play")
        await page.play(seconds, every, seed=1)
        await page.say(type="pause")
        await asyncio.sleep(0.5)
        await page.say(type="record")
        while not page.recording:
            await asyncio.sleep(0.05)
        await page.close()
        return scene, page.recording, [(frame, data) for _, frame, _, data in page.frames], page.count


def replayed(scene, recording: str) -> tuple[float, float]:
    """Whether another process simulates a recording to the same bits as this one (1, 0), and seconds of it."""
    import numpy as np
    from vdit.pipeline.live import loads
    from vdit.world.scene_file import dumps
    from vdit.world.simulate import simulate

    take = loads(recording)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("scene.json", "take.json", "poses.npy")]
        Path(files[0]).write_text(dumps(scene))
        Path(files[1]).write_text(recording)
        subprocess.run([sys.executable, "-P", "-c", REPLAY, *files], check=True)
        here = simulate(scene, take.actions, seconds=take.frames / take.fps, fps=take.fps).poses[-1]
        return float(np.array_equal(np.load(files[2]), here)), take.seconds


def likeness(scene, recording: str, seen: list[tuple[int, bytes]]) -> float:
    """Lowest PSNR in dB of the frames that were seen at their full size against the film of the recording."""
    import numpy as np
    import torch
    from PIL import Image
    from vdit.control.camera import CameraPath
    from vdit.nodes.scenes import cameras_along
    from vdit.pipeline.live import camera_path, loads
    from vdit.world.filming import Filming, filmed

    take = loads(recording)
    relative, _ = camera_path(scene, take)
    path = CameraPath(torch.as_tensor(relative), torch.tensor(40.0))
    filming = Filming(seconds=take.seconds, fps=take.fps, width=WIDTH, height=HEIGHT, seed=take.seed)
    c2w, fov = cameras_along(scene, path if path.moves else None, filming.frames, (WIDTH, HEIGHT))
    rgb = filmed(scene, take.actions, filming, c2w=c2w, fov_deg=fov)[1].rgb.numpy()
    found = []
    for frame, data in seen:
        picture = Image.open(BytesIO(data))
        if picture.size == (WIDTH, HEIGHT) and frame < len(rgb):
            error = np.asarray(picture, float) / 255 - rgb[frame]
            found.append(10 * math.log10(1 / (error**2).mean()))
    return min(found)


async def long(minutes: float) -> dict[str, float]:
    """Memory of the server after the first minute (or sixth of the time) and at the end, and events without a frame."""
    async with served(lit()) as (client, _, name):
        page = await Page.opened(client, name)
        await page.say(type="play")
        await page.play(min(60.0, 10 * minutes), seed=2)
        before = resident("VmRSS")
        page.frames[:] = page.frames[-1:]
        for part in range(6):
            await page.play(10 * minutes, seed=3 + part)
            page.frames[:] = page.frames[-1:]
        await asyncio.sleep(1.0)
        after, lost = resident("VmRSS"), page.count - page.frames[-1][2]
        await page.close()
        return {"growth": 100 * (after / before - 1), "lost": lost}


async def beside(seconds: float) -> dict[str, float]:
    """The slowest to the fastest of several pages, and their scales."""
    async with served(lit()) as (client, _, name):
        pages = [await Page.opened(client, name) for _ in range(PAGES)]
        for page in pages:
            await page.say(type="play")
        await asyncio.gather(*(page.play(8.0, seed=k) for k, page in enumerate(pages)))
        begin = time.perf_counter()
        await asyncio.gather(*(page.play(seconds, seed=k) for k, page in enumerate(pages)))
        rates, scales = [page.rate(begin) for page in pages], [page.states[-1]["scale"] for page in pages]
        for page in pages:
            await page.close()
        return {"rate": min(rates), "even": min(rates) / max(rates), "scale": min(scales), "largest": max(scales)}


def painted(seconds: float) -> dict[str, float]:
    """Frames a second drawn and painted of 128x128 at 24 frames a second, by the bundled student."""
    from vdit.model.files import bundle
    from vdit.model.files.bundle import load_world_model
    from vdit.pipeline.live import Painter, Play, Player, read_message

    model = load_world_model(bundle.BUNDLED.with_stem("vdit-small-student"))

    class Audience:
        def told(self, message: dict[str, object]) -> None:
            if message["type"] == "error":
                raise SystemExit(message["message"])

        def shown(self, frame: bytes) -> None:
            pass

    play = Play(fps=PAINTED_FPS, width=PAINTED, height=PAINTED)
    player = Player(lit(), play, Audience(), paint=lambda: Painter(model, PAINTED, PAINTED))
    player.start()
    for message in ({"type": "view", "show": "painted"}, {"type": "play"}):
        player.put(*read_message(json.dumps(message)))
    time.sleep(3.0)
    begin, before = time.perf_counter(), player.figures
    time.sleep(seconds)
    after, took = player.figures, time.perf_counter() - begin
    player.close()
    player.join(5.0)
    return {"drawn": (after.drawn - before.drawn) / took, "painted": (after.painted - before.painted) / took}


async def killed() -> float:
    """Seconds from a page's kill to the end of its session."""
    async with served(lit()) as (client, studio, name):
        origin = f"http://{client.host}:{client.port}"
        command = [sys.executable, "-c", KILLED, f"{origin}/vdit/live", origin, name]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.readline()
        process.kill()
        begin = time.perf_counter()
        while studio.live.players and time.perf_counter() < begin + 30:
            await asyncio.sleep(0.01)
        await process.wait()
        return time.perf_counter() - begin


def rows(quick: bool, minutes: float | None = None) -> Iterator[Row]:
    minutes = minutes or (QUICK_MINUTES if quick else MINUTES)
    one = asyncio.run(one_page(SEEN_S))
    yield Row(f"frames of {WIDTH}x{HEIGHT}, three bodies, one page", one["rate"], "/s", ">= 15.5")
    yield Row("scale of width and height at it", one["scale"], "", ">= 1")
    yield Row("an event to the frame that shows it, median", one["median"], "ms", "<= 120")
    yield Row("the same, 95 of 100", one["p95"], "ms", "<= 250")
    scene, recording, seen, events = asyncio.run(recorded(20.0 if quick else 60.0, 0.25))
    same, seconds = replayed(scene, recording)
    yield Row(f"{seconds:.0f} s with {events} events, bits the same in another process (1: yes)", same, "", ">= 1")
    yield Row("frames seen to the film of the recording, lowest", likeness(scene, recording, seen), "dB", ">= 30")
    found = painted(SEEN_S)
    yield Row(
        f"drafts of {PAINTED}x{PAINTED} drawn beside the painter, {PAINTED_FPS:g} asked",
        found["drawn"],
        "/s",
        ">= 23.5",
    )
    yield Row("frames painted of them by the bundled student", found["painted"], "/s", ">= 8")
    around = asyncio.run(beside(SEEN_S))
    yield Row(f"{PAGES} pages: frames of each, slowest", around["rate"], "/s")
    yield Row("slowest to fastest", around["even"], target=">= 0.8")
    yield Row("smallest scale", around["scale"], "")
    yield Row("largest scale", around["largest"], "")
    yield Row("a killed page's session ends after", asyncio.run(killed()), "s", "<= 5")
    played = asyncio.run(long(minutes))
    yield Row(f"{minutes:g} minutes: memory grown by", played["growth"], "%", "<= 3")
    yield Row("events that no frame has shown", played["lost"], "", "<= 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of play; default: {MINUTES:g}")
    show(rows(False, parser.parse_args().minutes))


if __name__ == "__main__":
    main()
