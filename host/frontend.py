"""Serves the ComfyUI front end: its own pages, the pack's templates, help and widgets, else a fixed answer."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from . import files, folders
from .catalog import PACK_NAME

WEB = folders.PACK / "web"
WORKFLOWS = folders.PACK / "workflows"
BLUEPRINTS = folders.PACK / "subgraphs"
LOCALES = folders.PACK / "locales"
NO_CACHE = {"Cache-Control": "no-cache"}
MAX_UPLOAD_BYTES = 512 * 1024 * 1024
FEATURES = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD_BYTES}

FIXED: dict[str, object] = {  # path -> answer; empty where this host has none of what is asked for
    "/features": FEATURES,
    "/users": {"storage": "server", "migrated": True},
    "/embeddings": [],
    "/models": [],
    "/experiment/models": [],
    "/node_replacements": {},
    "/internal/logs/raw": {"entries": [], "size": {"cols": 80, "rows": 24}},
    "/internal/logs": "",
    "/assets": {"assets": [], "total": 0, "has_more": False},
    "/templates/index_logo.json": {},
    r"/templates/{name:index[^/]*\.json}": [],
}

routes = web.RouteTableDef()


class FrontEndMissing(RuntimeError):
    """The package with the graph editor is not installed."""


def static_root() -> Path:
    """Where comfyui-frontend-package keeps its pages. Raises FrontEndMissing."""
    spec = importlib.util.find_spec("comfyui_frontend_package")
    root = Path(spec.submodule_search_locations[0]) / "static" if spec and spec.submodule_search_locations else None
    if root is None or not (root / "index.html").is_file():
        raise FrontEndMissing(
            "The graph editor (comfyui-frontend-package) is not installed. Run `python start.py studio`, "
            "which installs it, or: pip install 'vdit[standalone]'"
        )
    return root


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@routes.get("/extensions")
async def _list_extensions(request: web.Request) -> web.Response:
    """Scripts the front end loads at its start: its own, then the pack's."""
    root = static_root()
    own = [f"/{path.relative_to(root).as_posix()}" for path in sorted((root / "extensions").rglob("*.js"))]
    ours = [f"/extensions/{PACK_NAME}/{path.relative_to(WEB).as_posix()}" for path in sorted(WEB.rglob("*.js"))]
    return web.json_response(own + ours)


@routes.get("/workflow_templates")
async def _list_templates(request: web.Request) -> web.Response:
    return web.json_response({PACK_NAME: [path.stem for path in sorted(WORKFLOWS.glob("*.json"))]})


@routes.get("/global_subgraphs")
async def _list_blueprints(request: web.Request) -> web.Response:
    return web.json_response({path.stem: _blueprint(path) for path in sorted(BLUEPRINTS.glob("*.json"))})


@routes.get("/global_subgraphs/{id}")
async def _read_blueprint(request: web.Request) -> web.Response:
    """Answer with a blueprint and its text in `data`, or with null for an unknown name, as ComfyUI does."""
    found = {path.stem: path for path in BLUEPRINTS.glob("*.json")}.get(request.match_info["id"])
    return web.json_response(found and {**_blueprint(found), "data": found.read_text("utf-8")})


def _blueprint(path: Path) -> dict:
    return {"source": "custom_node", "name": path.stem, "info": {"node_pack": f"custom_nodes.{PACK_NAME}"}}


@routes.get("/i18n")
async def _translations(request: web.Request) -> web.Response:
    """{language: the content of its main.json, with that of nodeDefs.json under this name}, as ComfyUI merges them."""
    answer = {}
    for folder in sorted(path for path in LOCALES.glob("*/") if path.is_dir()):
        texts = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
        answer[folder.name] = texts.pop("main", {}) | texts
    return web.json_response(answer)


@routes.get("/user.css")
@routes.get("/userdata/user.css")
async def _user_css(request: web.Request) -> web.StreamResponse:
    """The user's own styles, if there are any."""
    path = files.user_folder() / "user.css"
    if path.is_file():
        return web.FileResponse(path)
    return web.Response(content_type="text/css")


@routes.get("/internal/folder_paths")
async def _folder_paths(request: web.Request) -> web.Response:
    return web.json_response({kind: [str(folders.directory(kind))] for kind in folders.KINDS})


@routes.patch("/internal/logs/subscribe")
async def _subscribe_logs(request: web.Request) -> web.Response:
    return web.Response()


@routes.get("/system_stats")
async def _system_stats(request: web.Request) -> web.Response:
    total, free = _memory_bytes()
    return web.json_response(
        {
            "system": {
                "os": platform.system().lower(),
                "python_version": sys.version,
                "embedded_python": False,
                "comfyui_version": f"none, vdit {_installed('vdit')}",
                "pytorch_version": _installed("torch"),
                "required_frontend_version": None,
                "installed_templates_version": None,
                "required_templates_version": None,
                "argv": sys.argv[:1],
                "ram_total": total,
                "ram_free": free,
            },
            "devices": _devices(total, free),
        }
    )


def _memory_bytes() -> tuple[int, int]:
    """(total, free) of this machine; zeros where the standard library cannot say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):
        return 0, 0


def _devices(ram_total: int, ram_free: int) -> list[dict]:
    """The device models run on, as far as torch is loaded already: asking must not import it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name, kind = torch.cuda.get_device_name(), "cuda"
    else:
        total, free, name, kind = ram_total, ram_free, "cpu", "cpu"
    memory = {"vram_total": total, "vram_free": free, "torch_vram_total": total, "torch_vram_free": free}
    return [{"name": name, "type": kind, "index": 0, **memory}]


def add_to(router: web.UrlDispatcher, root: Path) -> None:
    """Pages and folders, after all other routes: the front end's own files take every path that is left."""

    async def index(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(root / "index.html", headers=NO_CACHE)

    router.add_get("/", index)
    if WEB.is_dir():
        router.add_static(f"/extensions/{PACK_NAME}", WEB)
    for prefix in ("", "/api"):
        router.add_static(f"{prefix}/workflow_templates/{PACK_NAME}", WORKFLOWS)
    router.add_static("/", root)


def fixed_answers() -> list[web.RouteDef]:
    """Routes for FIXED."""

    def answering(value: object):
        async def answer(request: web.Request) -> web.Response:
            return web.json_response(value)

        return answer

    return [web.get(path, answering(value)) for path, value in FIXED.items()]
