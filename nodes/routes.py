"""What the pack's widgets ask the server while nothing runs: the outlines of objects marked on a picture."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .comfy import file_marks, picture, picture_path
from .types import needs

if TYPE_CHECKING:
    from aiohttp import web

    from ..lift.objects import Marked
    from ..world.arrays import Bytes

log = logging.getLogger("vdit")

MAX_BODY = 2**20  # bytes of a request: some 60 long brush strokes for each of 64 objects take less
MAX_SIDE = 1280  # pixels: larger pictures are reduced, because the answer is only looked at
TOLERANCE = 0.6  # pixels between a mask's edge and its polygon: less than is seen at the mask's own size
CLIENTS, ANSWERS = 256, 512  # of the newest that are remembered: widgets, and outlines of single objects

Outline = dict[str, object]  # {"outlines": [[[x, y], ...], ...] or None, "reason": why there are none}
Key = tuple[object, ...]
K = TypeVar("K")
V = TypeVar("V")


class Refused(ValueError):
    """A request that gets no answer, with its HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class Selecting:
    """POST /vdit/select: {"image": {filename, subfolder, type}, "objects": the widget's JSON, "client": whose widget}.

    Answers {"objects": [{"outlines", "reason"}, ...]} in the order of the objects, or {"error": a sentence}. One
    request is worked on at a time, beside the server's own loop; a newer one of the same client replaces those that
    wait.
    """

    newest: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    found: OrderedDict[Key, Outline] = field(default_factory=OrderedDict[Key, Outline])
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "vdit-select"))
    count: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Handles one request."""
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
            found = await run(self.thread, self._select, body, replaced)
            return web.json_response({"objects": found})
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=refused.status)
        except Exception:
            log.exception("Selecting objects failed")
            return web.json_response({"error": "Selecting failed; the server's log says why"}, status=500)

    def _select(self, body: dict[str, object], replaced: Callable[[], bool]) -> list[Outline]:
        from ..control.span import ControlError
        from ..lift.objects import read_selection

        image, text = body.get("image"), body.get("objects")
        if not isinstance(image, dict) or not isinstance(text, str):
            raise Refused(400, 'expected {"image": {filename, subfolder, type}, "objects": the JSON of the widget}')
        try:
            needs("Selecting objects", "cv2")
            selection = read_selection(text)
            path = picture_path(*(str(image.get(key) or "") for key in ("filename", "subfolder", "type")))
        except (ControlError, OSError, ValueError, ImportError) as reason:
            raise Refused(400, str(reason)) from None
        mark = file_marks(lambda: [path])
        pixels: Bytes | None = None
        answers: list[Outline] = []
        for marked in selection.objects:
            if replaced():
                raise Refused(409, "a newer request of this widget has replaced this one")
            key: Key = (path, mark, marked.box, marked.strokes)
            if key not in self.found:
                pixels = _pixels(path) if pixels is None else pixels
                self.found[key] = _outline(pixels, marked)
            _keep(self.found, key, self.found[key], ANSWERS)
            answers.append(self.found[key])
        return answers


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


async def _body(request: web.Request) -> dict[str, object]:
    raw = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        raw += chunk
        if len(raw) > MAX_BODY:
            raise Refused(413, f"the request is larger than {MAX_BODY} bytes: clear some of the brush strokes")
    try:
        body = json.loads(raw)
    except ValueError:  # not UTF-8, or not JSON
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "expected a JSON object")
    return body


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


def _outline(pixels: Bytes, marked: Marked) -> Outline:
    from ..control.span import ControlError
    from ..lift.images import outlines
    from ..lift.select import select

    try:
        mask = select(pixels, marked.box, marked.strokes)
    except ControlError as reason:
        return {"outlines": None, "reason": str(reason)}
    polygons = [polygon / (mask.shape[1], mask.shape[0]) for polygon in outlines(mask > 0.5, TOLERANCE)]
    return {"outlines": [polygon.round(5).tolist() for polygon in polygons if len(polygon) > 2], "reason": ""}


Handler = Callable[["web.Request"], Awaitable["web.Response"]]


def routes() -> list[tuple[str, str, Handler]]:
    """(method, path, handler) of each route that the pack adds to the server."""
    return [("POST", "/vdit/select", Selecting().answer)]
