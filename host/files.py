"""The studio's files over HTTP: view, upload, user data (saved workflows) and settings, each confined to its folder."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import mimetypes
from pathlib import Path

from aiohttp import web

from . import folders
from .safe_write import CannotSave, written

routes = web.RouteTableDef()

VIEWABLE = ("input", "output", "temp")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi"}
ACTIVE = {
    "text/html",
    "text/javascript",
    "application/javascript",
    "text/css",
    "image/svg+xml",
    "application/xhtml+xml",
}
USER = "default"  # one user, as in ComfyUI without --multi-user
SETTINGS = "comfy.settings.json"
USUAL_SETTINGS = {  # until the user chooses otherwise
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # titles and values stay readable with the whole graph in the window
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Notification.ShowVersionUpdates": False,  # would ask another host
}


def refuse(status: int, message: str) -> web.HTTPException:
    """An error with its message in the status line, which is what the front end shows, and in the body."""
    line = " ".join(message.split())
    return {
        400: web.HTTPBadRequest,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
        409: web.HTTPConflict,
        415: web.HTTPUnsupportedMediaType,
        507: web.HTTPInsufficientStorage,
    }[status](reason=line, text=line)


def inside(folder: Path, name: str) -> Path:
    try:
        return folders.confined(folder, name)
    except folders.OutsideFolder as reason:
        raise refuse(403, str(reason)) from None


def kind_of(request_or_form: object, default: str) -> str:
    kind = request_or_form.get("type") or default
    if kind not in VIEWABLE:
        raise refuse(400, f"no folder named {kind!r}; there are {', '.join(VIEWABLE)}")
    return kind


@contextlib.contextmanager
def saved(path: Path):
    """safe_write.written, with its failure as an answer."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path) as beside:
            yield beside
    except CannotSave as reason:
        raise refuse(507, reason.strerror) from None
    except OSError as reason:
        raise refuse(400, f"{path.name}: cannot be saved ({reason.strerror}); choose a plain file name") from None


@routes.get("/view")
async def view(request: web.Request) -> web.StreamResponse:
    """A file of input, output or temp; with ranges, so that video can be sought. preview=, channel= as in ComfyUI."""
    query = request.rel_url.query
    name = query.get("filename", "")
    if not name:
        raise refuse(400, "no filename given")
    path = inside(folders.directory(kind_of(query, "output")), f"{query.get('subfolder', '')}/{name}".lstrip("/"))
    if not path.is_file():
        raise refuse(404, f"{name}: no such file")
    if ("preview" in query or query.get("channel") in ("rgb", "a")) and path.suffix.lower() in PICTURES:
        picture, kind = await asyncio.to_thread(redrawn, path, query.get("preview", ""), query.get("channel", ""))
        return web.Response(body=picture, content_type=kind)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind in ACTIVE:  # never run a file from these folders as a page of ours
        kind = "application/octet-stream"
    response = web.FileResponse(path)
    response.content_type = kind
    return response


def redrawn(path: Path, preview: str, channel: str) -> tuple[bytes, str]:
    """The picture smaller in bytes (preview "webp;90") or one channel of it -> (file, content type)."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
    if channel == "a":
        alpha = image.convert("RGBA").getchannel("A")
        image = Image.new("RGBA", image.size)
        image.putalpha(alpha)
    elif channel == "rgb":
        image = image.convert("RGB")
    wanted, _, quality = preview.partition(";")
    kind = {"jpeg": "JPEG", "webp": "WEBP"}.get(wanted, "WEBP" if preview else "PNG")
    if kind == "JPEG":
        image = image.convert("RGB")
    out = io.BytesIO()
    options = {} if kind == "PNG" else {"quality": min(100, int(quality)) if quality.isdigit() else 90}
    image.save(out, format=kind, **options)
    return out.getvalue(), f"image/{kind.lower()}"


@routes.post("/upload/image")
async def upload(request: web.Request) -> web.Response:
    """A picture or video into the input folder. Same name and same content: kept once; other content: numbered."""
    form = await request.post()
    part = form.get("image")
    if not isinstance(part, web.FileField) or not part.filename:
        raise refuse(400, "no file in the field 'image'")
    name = Path(part.filename.replace("\\", "/")).name
    suffix = Path(name).suffix.lower()
    if suffix not in PICTURES | VIDEOS:
        raise refuse(415, f"{name}: not a picture or video; take one of {', '.join(sorted(PICTURES | VIDEOS))}")
    content = await asyncio.to_thread(part.file.read)
    if suffix in PICTURES and not await asyncio.to_thread(is_picture, content):
        raise refuse(415, f"{name}: not a picture that can be read, or a damaged one")
    kind, subfolder = kind_of(form, "input"), str(form.get("subfolder") or "")
    folder = inside(folders.directory(kind), subfolder)
    path = inside(folder, name)
    if form.get("overwrite") not in ("true", "1"):
        path = folders.free_name(path, content)
    if not (path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content):
        with saved(path) as beside:
            beside.write_bytes(content)
    return web.json_response({"name": path.name, "subfolder": subfolder, "type": kind})


def is_picture(content: bytes) -> bool:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
        return True
    except Exception:  # PIL's readers raise many kinds
        return False


@routes.get("/internal/files/{kind}")
async def list_files(request: web.Request) -> web.Response:
    """Names of the files directly in a folder, newest first."""
    kind = kind_of(dict(type=request.match_info["kind"]), "input")
    files = [path for path in folders.directory(kind).iterdir() if path.is_file() and not path.name.startswith(".")]
    return web.json_response([path.name for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)])


def user_folder() -> Path:
    path = folders.directory("user") / USER
    (path / "workflows").mkdir(parents=True, exist_ok=True)
    return path


def user_file(request: web.Request, key: str = "file", must_exist: bool = False) -> Path:
    path = inside(user_folder(), request.match_info[key])
    if must_exist and not path.is_file():
        raise refuse(404, f"{request.match_info[key]}: no such file")
    return path


def file_info(path: Path, root: Path) -> dict:
    facts = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": facts.st_size,
        "modified": int(facts.st_mtime * 1000),
        "created": int(facts.st_ctime * 1000),
    }


@routes.get("/userdata")
async def list_user_files(request: web.Request) -> web.Response:
    query = request.rel_url.query
    if not query.get("dir"):
        raise refuse(400, "no dir given")
    root = inside(user_folder(), query["dir"])
    if not root.is_dir():
        raise refuse(404, f"{query['dir']}: no such folder")
    found = root.rglob("*") if query.get("recurse", "").lower() == "true" else root.glob("*")
    files = sorted(path for path in found if path.is_file())
    if query.get("full_info", "").lower() == "true":
        return web.json_response([file_info(path, root) for path in files])
    names = [path.relative_to(root).as_posix() for path in files]
    if query.get("split", "").lower() == "true":
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


@routes.get("/userdata/{file}")
async def get_user_file(request: web.Request) -> web.StreamResponse:
    response = web.FileResponse(user_file(request, must_exist=True))
    response.content_type = (
        "application/json" if request.match_info["file"].endswith(".json") else "application/octet-stream"
    )
    return response


@routes.post("/userdata/{file}")
async def put_user_file(request: web.Request) -> web.Response:
    path, query = user_file(request), request.rel_url.query
    if query.get("overwrite") == "false" and path.exists():
        raise refuse(409, "File already exists")
    content = await request.read()
    with saved(path) as beside:
        beside.write_bytes(content)
    return described(path, query)


@routes.delete("/userdata/{file}")
async def delete_user_file(request: web.Request) -> web.Response:
    user_file(request, must_exist=True).unlink()
    return web.Response(status=204)


@routes.post("/userdata/{file}/move/{dest}")
async def move_user_file(request: web.Request) -> web.Response:
    source, target, query = user_file(request, must_exist=True), user_file(request, "dest"), request.rel_url.query
    if query.get("overwrite") == "false" and target.exists():
        raise refuse(409, "File already exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    return described(target, query)


def described(path: Path, query: object) -> web.Response:
    info = file_info(path, user_folder().resolve())
    return web.json_response(info if query.get("full_info", "").lower() == "true" else info["path"])


def read_settings() -> dict:
    try:
        return {**USUAL_SETTINGS, **json.loads((user_folder() / SETTINGS).read_text("utf-8"))}
    except (FileNotFoundError, json.JSONDecodeError):
        return dict(USUAL_SETTINGS)


def write_settings(settings: dict) -> web.Response:
    with saved(user_folder() / SETTINGS) as beside:
        beside.write_text(json.dumps(settings, indent=4), "utf-8")
    return web.Response()


@routes.get("/settings")
async def get_settings(request: web.Request) -> web.Response:
    return web.json_response(read_settings())


@routes.get("/settings/{id}")
async def get_setting(request: web.Request) -> web.Response:
    return web.json_response(read_settings().get(request.match_info["id"]))


@routes.post("/settings")
async def put_settings(request: web.Request) -> web.Response:
    return write_settings({**read_settings(), **await request.json()})


@routes.post("/settings/{id}")
async def put_setting(request: web.Request) -> web.Response:
    return write_settings({**read_settings(), request.match_info["id"]: await request.json()})
