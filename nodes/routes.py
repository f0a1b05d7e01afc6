"""What the pack's widgets ask the server beside its queue: the outlines of objects marked on a picture, live play."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

from . import live_routes
from .comfy import file_marks, picture, picture_path
from .types import needs

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from aiohttp import web

    from ..lift.objects import GroundHint, Marked
    from ..machine.parse import Kinds
    from ..world.arrays import Bools, Bytes, Floats
    from .live_routes import Playing

log = logging.getLogger("vdit")

MAX_BODY = 2**20  # bytes of a request: some 60 long brush strokes for each of 64 objects take less
BODY: dict[str, Kinds] = {"image!": dict, "objects!": str, "client": str}
BODY |= {f"image.{key}": str for key in ("filename", "subfolder", "type")}
MAX_SIDE = 1280  # pixels: larger pictures are reduced, because the answer is only looked at
TOLERANCE = 0.6  # pixels between a mask's edge and its polygon: less than is seen at the mask's own size
CLIENTS, ANSWERS, PICTURES = 256, 512, 4  # of the newest that are remembered: widgets, outlines of objects, pictures


class Outline(TypedDict):
    """outlines: polygons [[x, y], ...] in shares of the picture, holes by the even-odd rule; None: reason says why."""

    outlines: list[list[list[float]]] | None
    reason: str


Key = tuple[object, ...]
K = TypeVar("K")
V = TypeVar("V")


class Refused(ValueError):
    """A request that gets no answer, with its HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def _one_thread() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "vdit-select")


@dataclass
class Selecting:
    """POST /vdit/select: {"image": {filename, subfolder, type}, "objects": the widget's JSON, "client": whose widget}.

    Answers {"objects": [{"outlines", "reason"}, ...], "horizon": the guess}, or {"error": a sentence}. One request is
    worked on at a time, beside the server's own loop; a newer one of the same client replaces those that wait.
    """

    newest: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    found: OrderedDict[Key, Outline] = field(default_factory=OrderedDict[Key, Outline])
    pictures: OrderedDict[Key, Bytes] = field(default_factory=OrderedDict[Key, "Bytes"])
    horizons: OrderedDict[Key, float] = field(default_factory=OrderedDict[Key, float])
    thread: ThreadPoolExecutor = field(default_factory=_one_thread)
    count: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Handles one request."""
        import asyncio

        from aiohttp import web

        try:
            body = await _body(request)
            client = str(body.get("client", ""))
            self.count += 1
            number = self.count
            _keep(self.newest, client, number, CLIENTS)

            def replaced() -> bool:
                return self.newest.get(client, number) != number

            run = asyncio.get_running_loop().run_in_executor
            return web.json_response(await run(self.thread, self._select, body, replaced))
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=refused.status)
        except Exception:
            log.exception("Selecting objects failed")
            return web.json_response({"error": "Selecting failed; the server's log says why"}, status=500)

    def _select(self, body: dict[str, object], replaced: Callable[[], bool]) -> dict[str, object]:
        from ..control.span import ControlError
        from ..lift.objects import GroundHint, read_selection

        image, text = cast("dict[str, str]", body["image"]), cast(str, body["objects"])
        try:
            needs("Selecting objects", "cv2")
            selection = read_selection(text)
            path = picture_path(*(image.get(key) or "" for key in ("filename", "subfolder", "type")))
        except (ControlError, OSError, ValueError, ImportError) as reason:
            raise Refused(400, str(reason)) from None
        mark = file_marks(lambda: [path])
        pixels = cache(lambda: _kept(self.pictures, (path, mark), lambda: _pixels(path), PICTURES))
        keys: list[Key] = [(path, mark, marked.box, marked.strokes) for marked in selection.objects]
        answers: list[Outline] = []
        for key, marked in zip(keys, selection.objects, strict=True):
            if replaced():
                raise Refused(409, "a newer request of this widget has replaced this one")
            answers.append(_kept(self.found, key, partial(_outline, pixels, marked)))
        ground = replace(selection.ground or GroundHint(), horizon=None)
        horizon = _kept(self.horizons, (*keys, ground), lambda: _horizon(pixels(), answers, ground)) if keys else None
        return {"objects": answers, "horizon": horizon}


def _kept(kept: OrderedDict[K, V], key: K, make: Callable[[], V], most: int = ANSWERS) -> V:
    value = kept[key] if key in kept else make()
    _keep(kept, key, value, most)
    return value


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


async def _body(request: web.Request) -> dict[str, object]:
    from ..machine.parse import Unreadable, check, json_value

    raw = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        raw += chunk
        if len(raw) > MAX_BODY:
            raise Refused(413, f"the request is larger than {MAX_BODY} bytes: clear some of the brush strokes")
    body = None
    try:
        body = json_value(bytes(raw))
        check(body, {"!": dict, **BODY})
    except Unreadable as reason:
        raise Refused(400, f"the request {reason}" if body is None else str(reason)) from None
    return cast("dict[str, object]", body)


def _pixels(path: Path) -> Bytes:
    """uint8 [H, W, 3], reduced where it is large."""
    import numpy as np

    from ..lift.images import resized_bytes

    try:
        pixels = np.round(picture(path).numpy() * 255).astype(np.uint8)
    except ValueError as reason:
        raise Refused(400, str(reason)) from None
    height, width = pixels.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    return resized_bytes(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


def _outline(pixels: Callable[[], Bytes], marked: Marked) -> Outline:
    from ..control.span import ControlError
    from ..lift.select import select

    try:
        mask = select(pixels(), marked.box, marked.strokes)
    except ControlError as reason:
        return {"outlines": None, "reason": str(reason)}
    return {"outlines": polygons(mask), "reason": ""}


def polygons(mask: Floats) -> list[list[list[float]]]:
    """Outlines of a mask [H, W] in 0..1, as Outline has them."""
    from ..lift.images import outlines

    found = [polygon / (mask.shape[1], mask.shape[0]) for polygon in outlines(mask > 0.5, TOLERANCE)]
    return [polygon.round(5).tolist() for polygon in found if len(polygon) > 2]


def _horizon(pixels: Bytes, answers: list[Outline], ground: GroundHint) -> float:
    """What VDiT Scene From Picture would guess: a share of the picture's height."""
    import numpy as np

    from ..lift.camera import camera_over_ground
    from ..lift.images import painted

    height, width = pixels.shape[:2]
    masks: list[Bools] = []
    for answer in answers:
        if found := answer["outlines"]:
            filled = [painted(np.array(polygon) * (width, height), width, height) for polygon in found]
            masks.append(np.logical_xor.reduce(filled))
    return round(camera_over_ground(pixels, masks, ground).horizon, 4)


Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


def routes(playing: Playing) -> list[tuple[str, str, Handler]]:
    """(method, path, handler) of each route that the pack adds to the server. playing: its live sessions."""
    return [("POST", "/vdit/select", Selecting().answer), ("GET", live_routes.PATH, playing.answer)]
