"""What widgets ask the server while nothing runs: outlines of marked objects, confined, capped, refused in words."""

import asyncio
import json
import threading

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from vdit.host import folders
from vdit.host.server import Studio
from vdit.lift import select as selecting
from vdit.lift.camera import camera_over_ground
from vdit.lift.images import painted
from vdit.lift.objects import GroundHint
from vdit.nodes import routes

WIDTH, HEIGHT = 240, 160
CENTRE, RADIUS = (90, 80), 40  # pixels of a dark disc on a light ground


def disc(width=WIDTH, height=HEIGHT):
    y, x = np.mgrid[:height, :width] + 0.5
    noise = np.random.default_rng(0).integers(-6, 6, (height, width, 3))
    light = np.where(
        ((x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 < RADIUS**2)[..., None], (60, 30, 20), (200, 210, 190)
    )
    return Image.fromarray(np.clip(light + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    disc().save(folders.directory("input") / "disc.png")
    return folders.directory("input")


def marked(**marks):
    return {"name": "disc", "box": [0.18, 0.2, 0.57, 0.8], **marks}


def body(*objects, image="disc.png", **more):
    text = json.dumps({"version": 1, "objects": list(objects)})
    return {"image": {"filename": image, "subfolder": "", "type": "input"}, "objects": text, **more}


def post(*bodies, headers=None):
    """(status, answer) of each, sent one after another over one studio."""

    async def go():
        async with TestClient(TestServer(Studio({}).app())) as client:
            found = []
            for each in bodies:
                raw = each if isinstance(each, bytes) else json.dumps(each).encode()
                async with client.post("/api/vdit/select", data=raw, headers=headers) as response:
                    found.append((response.status, await response.text()))
            return found

    return asyncio.run(go())


def answer(*bodies):
    ((status, text),) = post(*bodies)
    return status, json.loads(text)


def test_a_box_is_answered_with_the_outline_of_what_it_holds(pictures):
    status, found = answer(body(marked()))
    assert status == 200
    (outline,) = found["objects"][0]["outlines"]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    truth = (x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 < RADIUS**2
    drawn = painted(np.array(outline) * (WIDTH, HEIGHT), WIDTH, HEIGHT)
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.95


def test_a_photograph_is_turned_as_load_image_turns_it(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise of how it is stored
    disc().transpose(Image.Transpose.ROTATE_90).save(pictures / "turned.png", exif=exif)
    assert answer(body(marked(), image="turned.png")) == answer(body(marked()))


def test_the_horizon_is_the_one_that_the_scene_would_guess(pictures):
    pixels, given = np.asarray(disc()), body(marked())
    mask = selecting.select(pixels, tuple(marked()["box"]), ())
    camera = camera_over_ground(pixels, [mask > 0.5], None)
    assert abs(answer(given)[1]["horizon"] - camera.horizon) < 0.01
    told = camera_over_ground(pixels, [mask > 0.5], GroundHint(horizon=-0.3))
    assert told.horizon == pytest.approx(-0.3)


def test_what_is_not_found_is_said_for_its_object_alone(pictures):
    _, found = answer(body(marked(), marked(name="air", box=[0.7, 0.1, 0.95, 0.6])))
    first, second = found["objects"]
    assert first["outlines"] and first["reason"] == ""
    assert second["outlines"] is None and "no object stands out" in second["reason"]


def test_only_what_has_changed_is_computed_again(pictures, monkeypatch):
    calls = []
    real = selecting.select
    monkeypatch.setattr(selecting, "select", lambda *given: calls.append(given) or real(*given))
    brush = {"points": [[0.3, 0.5], [0.4, 0.5]]}
    post(body(marked()), body(marked(name="cup", material="glass")), body(marked(), marked(name="b", strokes=[brush])))
    assert len(calls) == 2
    disc(WIDTH, HEIGHT + 8).save(pictures / "disc.png")
    post(body(marked()))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        (body(marked(), image="none.png"), 400, "no such file"),
        (body(marked(), image="../../etc/passwd"), 400, "leads outside"),
        (body(marked(), image=""), 400, "no such file"),
        ({**body(marked()), "image": {"filename": "disc.png", "type": "user"}}, 400, "no folder of pictures"),
        ({**body(marked()), "objects": '{"version": 9}'}, 400, "version"),
        ({"objects": 3}, 400, "image must be an object, found null"),
        (b"no json", 400, "is no JSON (line 1, column 1"),
        (b"[1]", 400, "must be an object, found [1]"),
        (b"null", 400, "must be an object, found null"),
        (b" " * (routes.MAX_BODY + 1), 413, "larger than"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(pictures, given, status, says):
    ((found, text),) = post(given)
    assert found == status and says in json.loads(text)["error"]


def test_a_file_that_is_no_picture_is_refused(pictures):
    (pictures / "notes.png").write_text("hello")
    status, found = answer(body(marked(), image="notes.png"))
    assert status == 400 and "no picture" in found["error"]


def test_pages_of_other_sites_get_nothing(pictures):
    assert post(body(marked()), headers={"Origin": "https://elsewhere.example"})[0][0] == 403


def test_the_newest_request_of_a_widget_wins_and_other_widgets_wait_their_turn(pictures, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    real = selecting.select

    def slow(*given):
        begun.set()
        assert go_on.wait(30)
        return real(*given)

    monkeypatch.setattr(selecting, "select", slow)

    async def go():
        handler, app = routes.Selecting(), web.Application()
        app.router.add_post("/vdit/select", handler.answer)
        async with TestClient(TestServer(app)) as client:

            async def ask(who, left):
                given = body(
                    marked(box=[left, 0.2, 0.57, 0.8]), marked(name="b", box=[left, 0.2, 0.6, 0.8]), client=who
                )
                async with client.post("/vdit/select", json=given) as response:
                    return response.status

            first = asyncio.create_task(ask("a", 0.17))
            await asyncio.to_thread(begun.wait, 30)
            second, other = asyncio.create_task(ask("a", 0.18)), asyncio.create_task(ask("b", 0.19))
            while handler.count < 3:
                await asyncio.sleep(0.01)
            go_on.set()
            return await asyncio.gather(first, second, other)

    assert asyncio.run(go()) == [409, 200, 200]
