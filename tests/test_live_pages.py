"""Who may play a scene live, what goes over the page's connection, and when its session ends."""

import asyncio
import json
import time

import pytest
from aiohttp import WSMsgType
from aiohttp.client_exceptions import WSServerHandshakeError
from live_play import FPS, HEIGHT, WIDTH, heard, opened, own_folders, room, until, visited  # noqa: F401 (a fixture)
from vdit.nodes import live_routes
from vdit.nodes.live_routes import Offer, Offers
from vdit.pipeline.live import MAGIC, Play, loads
from vdit.pipeline.live.pacing import SCALES
from vdit.world.actions import Gravity


def test_a_page_opens_plays_and_records_and_its_session_ends_with_it(own_folders):  # noqa: F811
    async def use(client, studio, name):
        socket = await opened(client, name)
        about = await heard(socket, "opened")
        header, picture = await heard(socket, "frame")
        assert header[0] == MAGIC and picture.size == (WIDTH, HEIGHT) and header[2] == 0.0
        await socket.send_json({"type": "play"})
        await socket.send_json({"type": "set", "gravity": 3.0, "n": 5})
        await heard(socket, "frame", lambda header: header[3] == 5 and header[2] > 0.2)
        assert (await heard(socket, "state", lambda state: not state["paused"]))["scale"] in SCALES
        await socket.send_json({"type": "record"})
        recording = loads((await heard(socket, "recording"))["actions"])
        (player,) = studio.live.players
        await socket.close()
        assert await until(lambda: not studio.live.players) and await asyncio.to_thread(player.join, 5.0)
        return about, recording

    about, recording = visited(use)
    assert about["bodies"] == ["ball", "box", "can"] and about["fps"] == FPS and about["gravity"] == pytest.approx(9.81)
    assert about["materials"]["ball"] == "wood" and about["actuators"] == [] and not about["painter"]
    assert recording.seconds >= 0.2 and isinstance(recording.actions[0], Gravity)


def test_a_foreign_page_and_a_guessed_name_get_nothing(own_folders):  # noqa: F811
    async def use(client, studio, name):
        found = []
        for origin in ("http://evil.example", "null", f"http://{client.host}:1"):
            with pytest.raises(WSServerHandshakeError) as refused:
                await opened(client, name, origin)
            found.append(refused.value.status)
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/vdit/live")
        found.append(refused.value.status)
        socket = await opened(client, name[:-1] + ("A" if name[-1] != "A" else "B"))
        texts = [json.loads(m.data) async for m in socket]
        assert not studio.live.players
        return found, texts

    found, texts = visited(use)
    assert found == [403] * 4
    assert [t["type"] for t in texts] == ["error"] and "run the VDiT Live node again" in texts[0]["message"]


def test_a_server_with_a_token_asks_for_it_here_too(own_folders):  # noqa: F811
    async def use(client, studio, name):
        with pytest.raises(WSServerHandshakeError) as refused:
            await opened(client, name)
        return refused.value.status

    assert visited(use, token="secret") == 401


@pytest.mark.parametrize("message", ["{", '{"type": "play"}', '{"type": "open"}', "[1]"])
def test_a_page_that_does_not_open_a_scene_is_told_so(own_folders, message):  # noqa: F811
    async def use(client, studio, name):
        socket = await client.ws_connect("/vdit/live", headers={"Origin": f"http://{client.host}:{client.port}"})
        await socket.send_str(message)
        return [json.loads(m.data) async for m in socket]

    (told,) = visited(use)
    assert told["type"] == "error" and "first message" in told["message"]


def test_what_a_page_says_wrongly_ends_its_session_with_the_reason(own_folders):  # noqa: F811
    async def use(client, studio, name):
        socket = await opened(client, name)
        await heard(socket, "opened")
        await socket.send_str('{"type": "fly"}')
        last = [json.loads(m.data) async for m in socket if m.type is WSMsgType.TEXT][-1]
        return last, await until(lambda: not studio.live.players)

    last, ended = visited(use)
    assert last["type"] == "error" and "fly" in last["message"] and ended


def test_a_ninth_session_is_refused_until_one_ends(own_folders):  # noqa: F811
    async def use(client, studio, name):
        sockets = [await opened(client, name) for _ in range(8)]
        assert await until(lambda: len(studio.live.players) == 8)
        ninth = await opened(client, name)
        texts = [json.loads(m.data) async for m in ninth]
        code = ninth.close_code
        await sockets[0].close()
        assert await until(lambda: len(studio.live.players) == 7)
        tenth = await opened(client, name)
        await heard(tenth, "opened")
        return texts, code

    texts, code = visited(use)
    assert "played here already" in texts[0]["message"] and code == 1013


def test_the_server_stops_while_a_scene_is_played(own_folders):  # noqa: F811
    async def use(client, studio, name):
        socket = await opened(client, name)
        await heard(socket, "opened")
        (player,) = studio.live.players
        await studio.live.close()
        return await asyncio.to_thread(player.join, 5.0)

    assert visited(use)


def test_the_oldest_scenes_are_forgotten_and_results_that_name_them_count_no_more():
    some, play = Offers(), Offer(room(), Play())
    names = [some.add(play) for _ in range(17)]
    assert some.get(names[0]) is None and some.get(names[-1]) is play and some.forgotten == 1
    assert some.get("") is None and some.get("\udcff") is None
    assert len(set(names)) == 17 and min(map(len, names)) >= 22


def test_a_page_that_answers_no_ping_frees_its_session(own_folders, monkeypatch):  # noqa: F811
    monkeypatch.setattr(live_routes, "HEARTBEAT_S", 0.2)

    async def use(client, studio, name):
        socket = await opened(client, name, autoping=False)
        await heard(socket, "opened")
        return await until(lambda: not studio.live.players)

    assert visited(use)


def test_a_session_lasts_where_the_server_has_no_time_for_its_pages(own_folders):  # noqa: F811
    async def use(client, studio, name):
        socket = await opened(client, name)
        await heard(socket, "opened")
        for _ in range(3):
            await asyncio.sleep(0.55)
            time.sleep(1.5)  # noqa: ASYNC251 (as a computation that holds the loop)
        await asyncio.sleep(0.5)
        return len(studio.live.players), socket.closed

    assert visited(use) == (1, False)
