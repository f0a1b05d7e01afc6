"""The studio's files over HTTP: view, upload, user data (saved workflows) and settings, each confined to its folder."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import mimetypes
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from aiohttp import web

from ..machine.limits import TooLarge, check_pixels
from ..machine.parse import BODY, Bounds, Unreadable, check, json_value
from ..machine.pictures import open_picture
from ..machine.writing import CannotSave, claim, created, written
from . import bodies, folders, pixels

log = logging.getLogger(__name__)
routes = web.RouteTableDef()

BYTES = "application/octet-stream"
VIEWABLE = ("input", "output", "temp")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi"}
SCRIPTS = {"text/javascript", "application/javascript"}
SHOWN = {"text/plain", "application/json"}  # served as what they are, beside pictures, video and sound
REFUSALS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    409: web.HTTPConflict,
    415: web.HTTPUnsupportedMediaType,
    507: web.HTTPInsufficientStorage,
}
USER = "default"  # one user, as in ComfyUI without --multi-user
SETTINGS = "comfy.settings.json"
LARGEST_SETTINGS = Bounds(megabytes=1, values=200_000)  # a tenth is much; every page reads it
USUAL_SETTINGS = {  # until the user chooses otherwise
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # titles and values stay readable with the whole graph in the window
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Notification.ShowVersionUpdates": False,  # would ask another host
}


def refuse(status: int, message: str) -> web.HTTPException:
    """An error with its message in the status line, which is what the front end shows, and in the body."""
    line = " ".join(message.split())
    return REFUSALS[status](reason=line, text=line)


async def _json(request: web.Request, bounds: Bounds = BODY) -> object:
    content = await request.read()
    try:
        return json_value(content, bounds) if content.strip() else {}
    except Unreadable as reason:
        raise refuse(400, f"the request {reason}") from None


async def json_body(request: web.Request, fields: bodies.Fields | None = None, bounds: Bounds = BODY) -> dict:
    """The request's JSON object; {} for an empty body. fields: their types, see bodies.py."""
    body = await _json(request, bounds)
    if not isinstance(body, dict):
        raise refuse(400, "the request is not a JSON object")
    try:
        check(body, fields or {})
    except Unreadable as reason:
        raise refuse(400, str(reason)) from None
    return body


def _inside(folder: Path, name: str) -> Path:
    try:
        return folders.confined(folder, name)
    except folders.BadName as reason:
        raise refuse(400, str(reason)) from None
    except folders.OutsideFolder as reason:
        raise refuse(403, str(reason)) from None


def _kind_of(given: Mapping[str, object], default: str) -> str:
    kind = given.get("type") or default
    if not isinstance(kind, str) or kind not in VIEWABLE:
        raise refuse(400, f"no folder named {kind!r}; there are {', '.join(VIEWABLE)}")
    return kind


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[None]:
    """A failure to write the file as an answer. Makes its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except FileExistsError:
        raise refuse(409, "File already exists") from None
    except CannotSave as reason:
        raise refuse(507, str(reason)) from None
    except OSError as reason:
        raise refuse(400, f"{path.name}: cannot be saved ({reason.strerror}); choose a plain file name") from None


@routes.get("/view")
async def _view(request: web.Request) -> web.StreamResponse:
    """A file of input, output or temp; with ranges, so that video can be sought. preview=, channel= as in ComfyUI."""
    query = request.rel_url.query
    name = query.get("filename", "")
    if not name:
        raise refuse(400, "no filename given")
    path = _inside(folders.directory(_kind_of(query, "output")), f"{query.get('subfolder', '')}/{name}".lstrip("/"))
    if not path.is_file():
        raise refuse(404, f"{name}: no such file")
    if ("preview" in query or query.get("channel") in ("rgb", "a")) and path.suffix.lower() in PICTURES:
        try:
            picture, kind = await asyncio.to_thread(_redrawn, path, query.get("preview", ""), query.get("channel", ""))
        except TooLarge as reason:
            raise refuse(400, str(reason)) from None
        except Exception as reason:  # Pillow's readers raise whatever their parsers meet
            raise refuse(415, f"{name}: the picture cannot be read ({reason})") from None
        return web.Response(body=picture, content_type=kind)
    kind = mimetypes.guess_type(path.name)[0] or BYTES
    safe = kind in SHOWN or kind.startswith(("image/", "video/", "audio/")) and not kind.endswith("+xml")
    return _file(path, kind if safe else BYTES)  # never run a file from these folders as a page of ours


def _file(path: Path, kind: str) -> web.FileResponse:
    response = web.FileResponse(path)
    response.content_type = kind
    return response


def _redrawn(path: Path, preview: str, channel: str) -> tuple[bytes, str]:
    """The picture smaller in bytes (preview "webp;90") or one channel of it -> (file, content type)."""
    from PIL import Image

    with open_picture(path) as image:
        check_pixels(path.name, *image.size)
        image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        image = pixels.viewable(image)
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
    options = (
        {} if kind == "PNG" else {"quality": min(100, int(quality)) if re.fullmatch("[0-9]{1,3}", quality) else 90}
    )
    image.save(out, format=kind, **options)
    return out.getvalue(), f"image/{kind.lower()}"


@routes.post("/upload/image")
async def _upload(request: web.Request) -> web.Response:
    """Saves a picture or video in the input folder: the same content once, other content of that name numbered."""
    form = await _form(request)
    given = form.get("image")
    if not isinstance(given, web.FileField) or not given.filename:
        raise refuse(400, "no file in the field 'image'")
    name = Path(given.filename.replace("\\", "/")).name
    suffix = Path(name).suffix.lower()
    if suffix not in PICTURES | VIDEOS:
        raise refuse(415, f"{name}: not a picture or video; take one of {', '.join(sorted(PICTURES | VIDEOS))}")
    content = await asyncio.to_thread(given.file.read)
    if suffix in PICTURES and not await asyncio.to_thread(_is_picture, content):
        raise refuse(415, f"{name}: not a picture that can be read, or a damaged one")
    kind, subfolder = _kind_of(form, "input"), form.get("subfolder") or ""
    if not isinstance(subfolder, str):
        raise refuse(400, "the field 'subfolder' is a file; expected the name of a folder")
    folder = _inside(folders.directory(kind), subfolder)
    path = _inside(folder, name)

    def same(there: Path) -> bool:
        return there.is_file() and there.stat().st_size == len(content) and there.read_bytes() == content

    with _saving(path):
        if form.get("overwrite") not in ("true", "1"):
            path = folders.kept(path, same, lambda part: part.write_bytes(content))
        elif not same(path):
            with written(path) as part:
                part.write_bytes(content)
    return web.json_response({"name": path.name, "subfolder": subfolder, "type": kind})


async def _form(request: web.Request) -> Mapping[str, object]:
    """The fields of a form; a field that comes twice is read once."""
    try:
        return await request.post()
    except (web.HTTPException, ConnectionError):
        raise
    except Exception as reason:  # aiohttp's readers raise many kinds
        raise refuse(
            400,
            f"the request is no form that can be read ({type(reason).__name__}: {str(reason):.200}); send it as "
            "multipart/form-data, with the file in the field 'image'",
        ) from None


def _is_picture(content: bytes) -> bool:

    try:
        with open_picture(content) as image:
            image.verify()
        return True
    except Exception:  # PIL's readers raise many kinds
        return False


@routes.get("/internal/files/{kind}")
async def _list_files(request: web.Request) -> web.Response:
    """Names of the files directly in a folder, newest first."""
    kind = _kind_of({"type": request.match_info["kind"]}, "input")
    files = [path for path in folders.files_in(kind) if not path.name.startswith(".")]
    return web.json_response([path.name for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)])


def user_folder() -> Path:
    """Where the one user's workflows, settings and styles are."""
    path = folders.directory("user") / USER
    with contextlib.suppress(OSError):  # a folder that may only be read; who writes says what is wrong
        (path / "workflows").mkdir(parents=True, exist_ok=True)
    return path


def _user_file(request: web.Request, key: str = "file", must_exist: bool = False) -> Path:
    path = _inside(user_folder(), request.match_info[key])
    if must_exist and not path.is_file():
        raise refuse(404, f"{request.match_info[key]}: no such file")
    return path


def _is_on(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == "true"


def _file_info(path: Path, root: Path) -> dict:
    facts = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": facts.st_size,
        "modified": int(facts.st_mtime * 1000),
        "created": int(facts.st_ctime * 1000),
    }


@routes.get("/userdata")
async def _list_user_files(request: web.Request) -> web.Response:
    query = request.rel_url.query
    if not query.get("dir"):
        raise refuse(400, "no dir given")
    root = _inside(user_folder(), query["dir"])
    if not root.is_dir():
        raise refuse(404, f"{query['dir']}: no such folder")
    found = root.rglob("*") if _is_on(query, "recurse") else root.glob("*")
    files = sorted(path for path in found if path.is_file())
    if _is_on(query, "full_info"):
        return web.json_response([_file_info(path, root) for path in files])
    names = [path.relative_to(root).as_posix() for path in files]
    if _is_on(query, "split"):
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


@routes.get("/userdata/{file}")
async def _get_user_file(request: web.Request) -> web.StreamResponse:
    path = _user_file(request, must_exist=True)
    return _file(path, "application/json" if path.name.endswith(".json") else BYTES)


@routes.post("/userdata/{file}")
async def _put_user_file(request: web.Request) -> web.Response:
    path, query = _user_file(request), request.rel_url.query
    content = await request.read()
    with _saving(path), (created if query.get("overwrite") == "false" else written)(path) as part:
        part.write_bytes(content)
    return _described(path, query)


@routes.delete("/userdata/{file}")
async def _delete_user_file(request: web.Request) -> web.Response:
    _user_file(request, must_exist=True).unlink()
    return web.Response(status=204)


@routes.post("/userdata/{file}/move/{dest}")
async def _move_user_file(request: web.Request) -> web.Response:
    source, target, query = _user_file(request, must_exist=True), _user_file(request, "dest"), request.rel_url.query
    with _saving(target):
        if query.get("overwrite") == "false":
            claim(source, target)
            source.unlink(missing_ok=True)
        else:
            source.replace(target)
    return _described(target, query)


def _described(path: Path, query: Mapping[str, str]) -> web.Response:
    info = _file_info(path, user_folder().resolve())
    return web.json_response(info if _is_on(query, "full_info") else info["path"])


def _read_settings() -> dict:
    """The user's settings over the usual ones. A file that is none is set aside and said: the next one is whole."""
    path = user_folder() / SETTINGS
    try:
        chosen = json_value(path.read_bytes(), LARGEST_SETTINGS)
        check(chosen, {"!": dict})
    except FileNotFoundError:
        chosen = {}
    except Unreadable as reason:
        aside = path.with_name(f"{SETTINGS}.broken")
        with contextlib.suppress(FileNotFoundError):  # another studio on this folder was first
            path.replace(aside)
        log.warning("The settings in %s: it %s. Set aside as %s; the usual settings hold", path.name, reason, aside)
        chosen = {}
    return {**USUAL_SETTINGS, **cast("dict[str, object]", chosen)}


def write_settings(settings: dict) -> web.Response:
    """Keep the one user's settings. Raises 400 for more than are read."""
    path, text, most = user_folder() / SETTINGS, json.dumps(settings, indent=4), LARGEST_SETTINGS.megabytes
    if len(text) > most * 1e6:
        raise refuse(400, f"the settings would have {len(text) / 1e6:.1f} MB; at most {most:g} is kept")
    with _saving(path), written(path) as part:
        part.write_text(text, "utf-8")
    return web.Response()


@routes.get("/settings")
async def _get_settings(request: web.Request) -> web.Response:
    return web.json_response(_read_settings())


@routes.get("/settings/{id}")
async def _get_setting(request: web.Request) -> web.Response:
    return web.json_response(_read_settings().get(request.match_info["id"]))


@routes.post("/settings")
async def _put_settings(request: web.Request) -> web.Response:
    return write_settings({**_read_settings(), **await json_body(request, bounds=LARGEST_SETTINGS)})


@routes.post("/settings/{id}")
async def _put_setting(request: web.Request) -> web.Response:
    return write_settings({**_read_settings(), request.match_info["id"]: await _json(request, LARGEST_SETTINGS)})
