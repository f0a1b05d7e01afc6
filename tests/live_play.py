"""A scene that is played live, the page of a studio that plays it, and the node that offers it."""

import asyncio
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from test_simulation import SHAPES, body, scene
from vdit.geometry.camera_numpy import look_at
from vdit.host import folders
from vdit.host.api import call
from vdit.host.server import Studio
from vdit.nodes.live import VDiTLive
from vdit.nodes.live_routes import Offer, offers
from vdit.pipeline.live import HEADER, Play
from vdit.world.scene import Colored, View

FPS, WIDTH, HEIGHT = 16.0, 208, 120
VIEW = View(look_at(np.array((0.0, -3.0, 1.2)), np.array((0.0, 0.0, 0.4))), 40.0)


def room(**changes):
    """A ball, a box and a can on the ground, 3 metres away."""
    things = (
        body(SHAPES[0], (-0.7, 0.0, 0.1), name="ball", appearance=Colored((0.8, 0.2, 0.2))),
        body(SHAPES[1], (0.0, 0.0, 0.15), name="box", appearance=Colored((0.2, 0.6, 0.2))),
        body(SHAPES[2], (0.7, 0.0, 0.12), name="can", appearance=Colored((0.2, 0.2, 0.8))),
    )
    return replace(scene(*things), view=VIEW, **changes)


def live(**changes):
    given = {"scene": room(), "fps": FPS, "width": WIDTH, "height": HEIGHT, "recorded": "", **changes}
    return call(VDiTLive, given)


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))


def visited(use, token=None):
    """What `use` gives of a studio's client, its studio and a scene that is offered there."""

    async def run():
        studio = Studio({})
        async with TestClient(TestServer(studio.app(token=token))) as client:
            name = offers.add(Offer(room(), Play(fps=FPS, width=WIDTH, height=HEIGHT)))
            return await use(client, studio, name)

    return asyncio.run(run())


async def opened(client, name, origin=None, **options):
    origin = origin or f"http://{client.host}:{client.port}"
    socket = await client.ws_connect("/api/vdit/live", headers={"Origin": origin}, **options)
    await socket.send_json({"type": "open", "scene": name})
    return socket


async def heard(socket, kind, wanted=lambda found: True):
    """The first message of a kind: a text's fields, or (header, picture)."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            fields = json.loads(message.data)
            if fields["type"] == kind and wanted(fields):
                return fields
            assert fields["type"] != "error", fields
        elif kind == "frame":
            header = HEADER.unpack(message.data[: HEADER.size])
            if wanted(header):
                return header, Image.open(BytesIO(message.data[HEADER.size :]))
    raise AssertionError(f"closed before {kind} came")


async def until(true):
    for _ in range(500):
        if true():
            return True
        await asyncio.sleep(0.01)
    return False
