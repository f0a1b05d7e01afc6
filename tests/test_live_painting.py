"""A scene at play is painted while it is played: in order, in constant memory, and the draft is shown meanwhile."""

import asyncio
import threading
import time

import numpy as np
import pytest
import torch
from fakes import random_world_model, small_config
from live_play import FPS, HEIGHT, WIDTH, heard, live, opened, own_folders, room, visited  # noqa: F401 (a fixture)
from vdit.model.codec.tiny import TinyCodec
from vdit.nodes.live_routes import Offer, offers
from vdit.pipeline.live import Painter, Play
from vdit.pipeline.live.camera import start
from vdit.pipeline.live.painter import fitted
from vdit.pipeline.live.painting import BEHIND, Painting
from vdit.pipeline.live.pictures import Shot
from vdit.world.motion import Moment


def student():
    """A bundled student at random weights."""
    return random_world_model(config=small_config(places=True, draft=True, carry=True, flow_map=True))


def frames(count, seed=0):
    """Draft frames [n, 128, 128, 3]."""
    return np.random.default_rng(seed).random((count, 128, 128, 3)).astype(np.float32)


def test_frames_encode_the_same_as_they_come():
    torch.manual_seed(0)
    codec, video = TinyCodec().eval(), torch.rand(1, 13, 32, 32, 3)
    encode = codec.begin_encoding()
    with torch.no_grad():
        parts = [encode(part) for part in video.split([1, 4, 4, 4], 1)]
        together = codec.encode_fast(video)
    # Some processors round products of other sizes otherwise, in the last bits.
    assert torch.allclose(torch.cat(parts, 2), together, rtol=0, atol=1e-6)


def test_a_painter_paints_block_after_block_in_memory_that_does_not_grow():
    painter, again = Painter(student(), 128, 128), Painter(student(), 128, 128)
    made, sizes = [painter.paint(frames(1))], []
    for k in range(24):
        made.append(painter.paint(frames(4, k)))
        sizes.append(painter.cache_bytes)
    assert [len(part) for part in made] == [1] + [4] * 24 and np.isfinite(np.concatenate(made)).all()
    assert sizes[-1] == sizes[0] > 0
    for part, given in zip(made[:4], (frames(1), *(frames(4, k) for k in range(3))), strict=True):
        assert np.array_equal(again.paint(given), part), "the same draft is painted the same way"


def test_the_shorter_side_is_painted_as_models_were_trained():
    sizes = ((416, 240), (128, 128), (240, 416))
    assert [fitted(*size, 32) for size in sizes] == [(224, 128), (128, 128), (128, 224)]


def test_a_model_that_does_not_paint_live_is_refused_before_the_work(own_folders):  # noqa: F811
    with pytest.raises(ValueError, match="does not paint live"):
        live(model=random_world_model(config=small_config(draft=True)))


class Brush:
    """Paints a frame as its negative, as soon as it may."""

    size, temporal = (32, 16), 4

    def __init__(self):
        self.asked, self.may = [], threading.Event()

    def paint(self, given):
        self.may.wait(10.0)
        self.asked.append(len(given))
        return 1 - given


def shot(number, first):
    return Shot(first, first, start(), 64, 32, "painted", number, number / FPS, number)


def painted(brushes, seen, count):
    """Numbers of what is shown of these (number, first) drawn frames, and the pictures."""
    shown = []
    each = iter(brushes)
    painting = Painting(lambda: next(each), lambda s, pixels: shown.append((s.number, pixels)), 0.001, time.monotonic)
    thread = threading.Thread(target=painting.run)
    thread.start()
    for number, first in seen:
        painting.saw(shot(number, first), np.full((32, 64, 3), number / 100, np.float32))
    for brush in brushes:
        brush.may.set()
    for _ in range(500):
        if len(shown) >= count:
            break
        time.sleep(0.01)
    painting.close()
    thread.join(5.0)
    assert not thread.is_alive()
    return shown


def moment():
    return Moment((), np.zeros((0, 4, 4)), np.zeros(0, bool))


def test_frames_are_painted_in_order_the_first_alone_then_four_at_a_time():
    brush, first = Brush(), moment()
    shown = painted([brush], [(n, first) for n in range(1, 10)], 9)
    assert [n for n, _ in shown] == list(range(1, 10)) and brush.asked == [1, 4, 4]
    assert shown[3][1].shape == (16, 32, 3) and shown[3][1][0, 0, 0] == round((1 - 0.04) * 255)


def test_after_a_reset_another_painter_begins():
    brushes, first, second = [Brush(), Brush()], moment(), moment()
    shown = painted(brushes, [(1, first), *((n, second) for n in range(2, 7))], 6)
    assert [n for n, _ in shown] == [1, 2, 3, 4, 5, 6] and [b.asked for b in brushes] == [[1], [1, 4]]


def test_a_painter_that_is_late_leaves_out_the_oldest_and_the_draft_is_shown():
    brush, first = Brush(), moment()
    painting = Painting(lambda: brush, lambda s, pixels: None, 0.001, time.monotonic)
    assert painting.late
    numbers = [n for n, _ in painted([Brush()], [(n, first) for n in range(1, 41)], 9)]
    assert numbers == sorted(numbers) and numbers[1:] == list(range(numbers[1], numbers[-1] + 1))
    assert numbers[1] >= 41 - BEHIND, "only the first frame was taken before they were too many"


def test_a_page_sees_the_painted_picture_where_there_is_a_painter(own_folders):  # noqa: F811
    async def use(client, studio, name):
        brush = Brush()
        brush.may.set()
        socket = await opened(
            client, offers.add(Offer(room(), Play(fps=FPS, width=WIDTH, height=HEIGHT), lambda: brush))
        )
        about = await heard(socket, "opened")
        await socket.send_json({"type": "view", "show": "painted"})
        await socket.send_json({"type": "play"})
        for _ in range(200):
            _, picture = await heard(socket, "frame")
            if picture.size == brush.size:
                break
        await socket.close()
        await asyncio.sleep(0)
        return about["painter"], picture.size

    assert visited(use) == (True, (32, 16))
