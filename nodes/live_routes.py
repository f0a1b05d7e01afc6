"""The WebSocket over which a page plays a scene: who may open it, what goes over it, when it ends."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from ..machine.parse import Kinds
    from ..pipeline.live import FramePainter, Play, Player
    from ..world.scene import Scene

log = logging.getLogger("vdit")

PATH = "/vdit/live"
SESSIONS = 8  # at most that are open at a time
OFFERED, KEPT = 16, 8  # scenes of the nodes that ran last, which pages may open; so many stay when they are more
# Between two pings; a page that does not answer for half as long is gone. A closed tab ends its connection at once, so
# this is for networks that fail silently; while nodes compute, server or browser may have no core for seconds.
HEARTBEAT_S = 20.0
CLOSING_S = 2.0  # in which what is left to send to a page is sent
OPENING_S = 10.0  # in which a page says which scene it opens
LARGEST_MESSAGE = 64_000  # bytes
WAITING = 256  # messages to a page that reads none: then it is gone
_OPEN: dict[str, Kinds] = {"!": dict, "type!": str, "scene!": str}


@dataclass(frozen=True, eq=False)
class Offer:
    """A scene that a node has shown, and how it is played; paint: makes a painter of it, None: there is none."""

    scene: Scene
    play: Play
    paint: Callable[[], FramePainter] | None = None


@dataclass
class Offers:
    """Scenes that pages may open, by names that cannot be guessed; the oldest are forgotten."""

    found: OrderedDict[str, Offer] = field(default_factory=OrderedDict[str, Offer])
    lock: threading.Lock = field(default_factory=threading.Lock)
    forgotten: int = 0  # how often scenes were: results that name them count no more

    def add(self, offer: Offer) -> str:
        """Offer a scene; its name."""
        name = secrets.token_urlsafe(16)
        with self.lock:
            self.found[name] = offer
            if len(self.found) > OFFERED:
                self.forgotten += 1
                while len(self.found) > KEPT:
                    self.found.popitem(last=False)
        return name

    def get(self, name: str) -> Offer | None:
        """The scene of that name. Names are compared in a time that does not tell how much of one is right."""
        with self.lock:
            given = name.encode("utf-8", "surrogateescape")
            return next((o for n, o in self.found.items() if hmac.compare_digest(n.encode(), given)), None)


offers = Offers()  # what VDiT Live has shown, as nodes/sessions.py keeps caches: a node has no other way to the server


@dataclass(eq=False)
class Page:
    """The page at the other end: what the session's threads tell it is sent by the server's own loop."""

    socket: web.WebSocketResponse
    loop: asyncio.AbstractEventLoop
    texts: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    frame: bytes | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        import asyncio

        self._woken = asyncio.Event()

    def told(self, message: dict[str, object]) -> None:
        """From any thread: a message; none is left out, unless the page reads none of them."""
        self._call(lambda: self.texts.append(message))

    def shown(self, frame: bytes) -> None:
        """From any thread: a picture, in place of one that waits."""

        def replace() -> None:
            self.frame = frame

        self._call(replace)

    def end(self) -> None:
        """Sends nothing more."""
        self.ended = True
        self._woken.set()

    async def send(self) -> None:
        """Sends what there is until the session has failed, the page is gone or `end` is called."""
        while not self.ended:
            await self._woken.wait()
            self._woken.clear()
            texts, self.texts, frame, self.frame = self.texts, [], self.frame, None
            if len(texts) > WAITING:
                return
            for text in texts:
                await self.socket.send_json(text)
                if text["type"] == "error":
                    return
            if frame is not None and not self.ended:
                await self.socket.send_bytes(frame)

    def _call(self, change: Callable[[], None]) -> None:
        def go() -> None:
            change()
            self._woken.set()

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(go)


@dataclass(eq=False)
class Playing:
    """GET /vdit/live, a WebSocket; one session for each. busy: whether a prompt runs, to which sessions yield.

    From the page, JSON: {"type": "open", "scene": what the node shows}, then what pipeline/live/events.py reads. To it:
    opened, state, recording, error as JSON, and pictures: a header of 16 bytes (pipeline/live/player.py), then JPEG.
    """

    busy: Callable[[], bool]
    players: set[Player] = field(default_factory=set["Player"])
    sockets: set[web.WebSocketResponse] = field(default_factory=set["web.WebSocketResponse"])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One page, from its first message to its end."""
        from aiohttp import web

        if not _own_page(request):
            raise web.HTTPForbidden(text="only pages of this server may play its scenes")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=LARGEST_MESSAGE, compress=False)
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            await self._serve(socket)
        finally:
            self.sockets.discard(socket)
            await socket.close()
        return socket

    async def close(self) -> None:
        """End all sessions: the server stops."""
        for player in list(self.players):
            player.close()
        for socket in list(self.sockets):
            await socket.close()

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        import asyncio

        from aiohttp import WSCloseCode

        offer, refused = await _opened(socket)
        code = WSCloseCode.OK
        if offer is not None and len(self.players) >= SESSIONS:
            code = WSCloseCode.TRY_AGAIN_LATER
            offer, refused = None, f"{SESSIONS} scenes are played here already; close one of their pages"
        if offer is None:
            if not socket.closed:
                await socket.send_json({"type": "error", "message": refused})
                await socket.close(code=code)
            return
        page = Page(socket, asyncio.get_running_loop())
        player = await asyncio.to_thread(_player, offer, page, self.busy)
        self.players.add(player)
        sending = asyncio.create_task(_sent(page))
        try:
            player.start()
            listening = asyncio.create_task(self._listen(socket, player, page))
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
        finally:
            player.close()
            self.players.discard(player)
            page.end()
            await asyncio.wait((sending,), timeout=CLOSING_S)
            sending.cancel()

    async def _listen(self, socket: web.WebSocketResponse, player: Player, page: Page) -> None:
        """Hands on what the page says, until it is gone or says what cannot be read."""
        from ..machine.parse import Unreadable
        from ..pipeline.live import read_message
        from ..world.scene import SceneError

        async for message in socket:
            text = _text_of(message)
            try:
                if text is None:
                    raise Unreadable("only texts are read")
                player.put(*read_message(text))
            except (Unreadable, SceneError) as reason:
                page.told({"type": "error", "message": f"a message of the page: {reason}"})
                await socket.receive()  # until the page has closed, or the error has been sent and this is cancelled
                return


def _player(offer: Offer, page: Page, busy: Callable[[], bool]) -> Player:
    """A player; its modules are imported beside the server's loop."""
    from ..pipeline.live import Player

    return Player(offer.scene, offer.play, page, busy, paint=offer.paint)


async def _sent(page: Page) -> None:
    """Sends until the end; a page that is gone ends it."""
    try:
        await page.send()
    except (ConnectionError, RuntimeError):
        log.debug("a page that plays a scene closed its connection while it was sent to")


async def _opened(socket: web.WebSocketResponse) -> tuple[Offer | None, str]:
    """The scene that the first message names, or why there is none."""
    import asyncio

    from ..machine.parse import Unreadable, check, json_value

    try:
        text = _text_of(await socket.receive(timeout=OPENING_S))
        if text is None:
            return None, "the first message must open a scene"
        body = json_value(text)
        check(body, _OPEN)
        fields = cast("dict[str, str]", body)
        if fields["type"] != "open":
            return None, "the first message must open a scene"
        offer = offers.get(fields["scene"])
        return offer, "this scene is not at hand any more: run the VDiT Live node again"
    except Unreadable as reason:
        return None, f"the first message {reason}"
    except asyncio.TimeoutError:
        return None, "no message has opened a scene"


def _text_of(message: object) -> str | None:
    """The text of a WebSocket's message; None: it is something else."""
    from aiohttp import WSMessage, WSMsgType

    known = isinstance(message, WSMessage) and message.type is WSMsgType.TEXT
    return cast("str", message.data) if known else None  # pyright: ignore[reportAttributeAccessIssue]


def _own_page(request: web.Request) -> bool:
    """Whether a page of this very server asks: browsers say so of every WebSocket, and programs must too."""
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    return origin is not None and urlsplit(origin).netloc.lower() == host.lower() != ""
