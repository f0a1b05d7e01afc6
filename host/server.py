"""The studio's server: ComfyUI's API over our executor, for the real ComfyUI front end in a local browser."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware

from ..machine.importing import ended_by_ctrl_c
from ..machine.parse import Unreadable, check
from ..nodes.live_routes import Playing
from ..nodes.routes import routes as pack_routes
from . import bodies, files, folders, frontend
from .access import TOKEN, new_token, with_token_only
from .catalog import load_nodes, object_infos
from .executor import Executor, NodeTypes, inference_mode
from .jobs import Job, JobQueue
from .previews import PreviewPlayer
from .validation import InvalidPrompt, error, validate

log = logging.getLogger(__name__)

DEFAULT_PORT = 8189  # ComfyUI's is 8188: both may run
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'; object-src 'none'"
)  # no request leaves this machine


class PortTaken(RuntimeError):
    """Another program listens on the port."""


class Studio:
    """The application and what it holds: nodes, queue, open websockets."""

    def __init__(self, nodes: NodeTypes | None = None):
        self.nodes = load_nodes() if nodes is None else nodes
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self.warming: asyncio.Task[None] | None = None  # kept, as the loop itself would drop it
        self.previews = PreviewPlayer(self._send_preview)
        self.queue = JobQueue(Executor(self.nodes), self._on_event, self._queue_changed)
        self.live = Playing(lambda: self.queue.remaining() > 0)

    def app(self, public: bool = False, token: str | None = None) -> web.Application:
        """The aiohttp application. public: answers to this machine's name and to any address too; token: to those who
        have it alone."""
        guards = [same_origin_only(public), *([with_token_only(token)] if token else [])]
        app = web.Application(client_max_size=frontend.MAX_UPLOAD_BYTES, middlewares=guards)
        handlers = [
            web.get("/ws", self._websocket),
            web.get("/prompt", self._get_prompt),
            web.post("/prompt", self._post_prompt),
            web.post("/interrupt", self._interrupt),
            web.get("/object_info", self._object_info),
            web.get("/object_info/{name}", self._object_info),
            web.get("/queue", self._get_queue),
            web.post("/queue", self._remove(self.queue.clear_pending, self.queue.remove)),
            web.get("/history", self._get_history),
            web.get("/history/{id}", self._get_history),
            web.post("/history", self._remove(self.queue.forget_all, self.queue.forget)),
            web.get("/jobs", self._list_jobs),
            web.post("/jobs/cancel", self._cancel_jobs),
            web.get("/jobs/{id}", self._get_job),
            web.post("/jobs/{id}/cancel", self._cancel_jobs),
            web.post("/free", self._free),
            *frontend.routes,
            *frontend.fixed_answers(),
            *files.routes,
            *(web.route(*route) for route in pack_routes(self.live)),
        ]
        for route in handlers:
            app.router.add_route(route.method, route.path, route.handler)
            app.router.add_route(route.method, f"/api{route.path}", route.handler)
        frontend.add_to(app.router, frontend.static_root())
        app.on_startup.append(self._started)
        app.on_shutdown.append(self._stopping)
        return app

    async def _started(self, app: web.Application) -> None:
        self.loop = asyncio.get_running_loop()

    async def _stopping(self, app: web.Application) -> None:
        await self.live.close()
        for ws in list(self.sockets.values()):
            await ws.close()
        self.previews.close()
        await asyncio.to_thread(self.queue.close)

    # From the executor's and the previews' threads to the browsers

    def _on_event(self, event: str, data: dict, job: Job) -> None:
        if event == "preview":
            self.previews.show({**data, "client_id": job.client_id})
            return
        if event in ("executing", "execution_success", "execution_error", "execution_interrupted"):
            self.previews.clear()
        self._post(json.dumps({"type": event, "data": data}), job.client_id or "")

    def _send_preview(self, message: bytes, data: dict) -> None:
        self._post(message, data["client_id"] or "")

    def _queue_changed(self) -> None:
        self._post(json.dumps({"type": "status", "data": {"status": self._status()}}), None)

    def _status(self) -> dict:
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def _post(self, message: str | bytes, client_id: str | None) -> None:
        """To that client if it is connected, or to all (None); from any thread."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: loop.create_task(self._send(message, client_id)))

    async def _send(self, message: str | bytes, client_id: str | None) -> None:
        chosen = [ws for client, ws in self.sockets.items() if client_id in (None, client)]
        for ws in chosen:
            try:
                await (ws.send_bytes(message) if isinstance(message, bytes) else ws.send_str(message))
            except (ConnectionError, RuntimeError):
                log.debug("a browser closed its connection while a message was sent")

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(heartbeat=30)
        await ws.prepare(request)
        self._warm_up()
        sid = request.rel_url.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = ws
        try:
            await ws.send_json({"type": "status", "data": {"status": self._status(), "sid": sid}})
            async for message in ws:
                if message.type is WSMsgType.TEXT and '"feature_flags"' in message.data:
                    await ws.send_json({"type": "feature_flags", "data": frontend.FEATURES})
        finally:
            if self.sockets.get(sid) is ws:
                del self.sockets[sid]
        return ws

    def _warm_up(self) -> None:
        """Imports torch while the person still looks at the graph: two seconds less to wait after Run."""
        if self.warming is None:
            self.warming = asyncio.create_task(_import_torch())

    # Prompts

    async def _get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        try:
            body = await files.json_body(request)
            check(body, bodies.PROMPT)
            targets = body.get("partial_execution_targets")
            checked = await asyncio.to_thread(validate, body.get("prompt") or {}, self.nodes, targets)
        except Unreadable as reason:
            return web.json_response({"error": error("invalid_request", str(reason)), "node_errors": {}}, status=400)
        except InvalidPrompt as refused:
            log.warning("%s", refused)
            return web.json_response({"error": refused.error, "node_errors": refused.node_errors}, status=400)
        job_id = str(body.get("prompt_id") or uuid.uuid4())
        extra, front = body.get("extra_data") or {}, bool(body.get("front"))
        job = self.queue.put(job_id, checked, extra, body.get("client_id"), front, body.get("number"))
        return web.json_response({"prompt_id": job.id, "number": job.number, "node_errors": checked.node_errors})

    async def _interrupt(self, request: web.Request) -> web.Response:
        body = await files.json_body(request, bodies.INTERRUPT)
        self.queue.interrupt(body.get("prompt_id"))
        return web.Response()

    async def _object_info(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        wanted = self.nodes if name is None else {key: self.nodes[key] for key in self.nodes.keys() & {name}}
        return web.json_response(await asyncio.to_thread(object_infos, wanted))

    # Queue, history and jobs: three views of the same list

    async def _get_queue(self, request: web.Request) -> web.Response:
        jobs = self.queue.all()
        states = {"queue_running": "in_progress", "queue_pending": "pending"}
        return web.json_response(
            {name: [job.queue_entry() for job in jobs if job.status == status] for name, status in states.items()}
        )

    async def _get_history(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("id")
        jobs = [job for job in self.queue.all() if job.ended and wanted in (None, job.id)]
        newest = jobs[: _count(request, "max_items", 200)]
        return web.json_response({job.id: job.history_entry() for job in reversed(newest)})

    def _remove(self, clear: Callable[[], object], delete: Callable[[str], object]) -> Handler:
        """Handles {"clear": true} or {"delete": [job ids]}."""

        async def handler(request: web.Request) -> web.StreamResponse:
            body = await files.json_body(request, bodies.REMOVE)
            if body.get("clear"):
                clear()
            for job_id in body.get("delete") or []:
                delete(job_id)
            return web.Response()

        return handler

    async def _list_jobs(self, request: web.Request) -> web.Response:
        query = request.rel_url.query
        statuses = set(filter(None, query.get("status", "").split(",")))
        jobs = [job for job in self.queue.all() if not statuses or job.status in statuses]
        if query.get("workflow_id"):
            jobs = [job for job in jobs if job.summary().get("workflow_id") == query["workflow_id"]]
        if query.get("sort_order") == "asc":
            jobs.reverse()
        offset, limit = _count(request, "offset", 0), _count(request, "limit", 200)
        page, total = [job.summary() for job in jobs[offset : offset + limit]], len(jobs)
        place = {"offset": offset, "limit": limit, "total": total, "has_more": offset + len(page) < total}
        return web.json_response({"jobs": page, "pagination": place})

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self.queue.find(request.match_info["id"])
        if job is None:
            raise files.refuse(404, "no such job")
        return web.json_response(job.details())

    async def _cancel_jobs(self, request: web.Request) -> web.Response:
        one = request.match_info.get("id")
        wanted = [one] if one else (await files.json_body(request, bodies.CANCEL)).get("job_ids") or []
        return web.json_response({"cancelled": [job_id for job_id in wanted if self.queue.cancel(job_id)]})

    async def _free(self, request: web.Request) -> web.Response:
        self.queue.executor.forget()
        return web.Response()


def _count(request: web.Request, name: str, default: int) -> int:
    text = request.rel_url.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def same_origin_only(public: bool) -> Middleware:
    """Refuses pages of other sites (Origin, Sec-Fetch-Site) and foreign names for this server (DNS rebinding)."""
    names = {socket.gethostname().lower()} if public else set()

    @web.middleware
    async def middleware(request: web.Request, handler):
        host = urlsplit(f"//{request.headers.get('Host', '')}")
        if not (is_loopback(host.hostname) or host.hostname in names or public and _is_address(host.hostname)):
            raise files.refuse(403, f"this server is not {host.hostname}; open it by the address it printed")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.netloc.lower():
            raise files.refuse(403, f"pages of {origin} may not use this server")
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not (
            request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"
        ):
            raise files.refuse(403, "pages of other sites may not use this server")
        return await handler(request)

    return middleware


def _is_address(name: str | None) -> bool:
    try:
        return bool(ipaddress.ip_address(name or ""))
    except ValueError:
        return False


def is_loopback(name: str | None) -> bool:
    """Whether that name or address is this machine's own."""
    return name == "localhost" or name is not None and _is_address(name) and ipaddress.ip_address(name).is_loopback


async def _add_safety_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def bind(listen: str, port: int | None) -> socket.socket:
    """A listening socket; without a port given, the default or the next one free. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    wanted = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + 20)
    for number in wanted:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((listen, number))
            sock.listen(128)
            return sock
        except OSError as reason:
            sock.close()
            failure = reason
    raise PortTaken(
        f"{listen}:{wanted[0]} cannot be listened on ({failure.strerror}). "
        "Stop the program that uses it, or choose another: --port NUMBER"
    )


async def _import_torch() -> None:
    with ended_by_ctrl_c():
        await asyncio.to_thread(inference_mode)


def clear_temp(older_than_hours: float = 24) -> None:
    """Deletes previews of earlier days, but not what another studio on the same folder made just now."""
    for path in folders.files_in("temp"):
        if time.time() - path.stat().st_mtime > older_than_hours * 3600:
            path.unlink(missing_ok=True)


async def serve(
    listen: str = "127.0.0.1", port: int | None = None, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serves until cancelled; calls `ready` with the address once a browser may open it. Raises PortTaken."""
    sock = bind(listen, port)
    studio = await asyncio.to_thread(Studio)
    token = None if is_loopback(listen) else new_token()
    app = studio.app(public=token is not None, token=token)
    app.on_response_prepare.append(_add_safety_headers)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, f"[{listen}]" if ":" in listen else listen)
        clear_temp()
        ready(f"http://{name}:{sock.getsockname()[1]}/" + (f"?{TOKEN}={token}" if token else ""))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
