"""The workflow that a picture, a video or a sound holds, as the editor finds it in a file that is dropped on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..machine.limits import check_pixels
from ..machine.parse import Unreadable, json_value
from ..machine.pictures import open_picture

PICTURES = {".png", ".apng", ".webp", ".jpg", ".jpeg", ".avif", ".gif"}
MEDIA = PICTURES | {".mp4", ".mov", ".m4v", ".webm", ".mkv", ".flac", ".mp3", ".ogg", ".opus"}
KEYS = ("workflow", "prompt")  # the first that is there is opened


def graph(path: Path) -> dict | None:
    """The workflow inside, else the prompt, else None. Raises ValueError where the file cannot be read."""
    texts = dict(_tags(path))
    for comment in ("comment", "description"):  # Video Helper Suite keeps both in one tag
        both = _object(texts.get(comment, ""))
        texts |= {
            key: json.dumps(both[key]) if isinstance(both[key], dict) else both[key] for key in KEYS if key in both
        }
    return next((found for key in KEYS if (found := _object(texts.get(key, "")))), None)


def _object(text: object) -> dict:
    try:
        value = json_value(text, nan_is_null=True) if isinstance(text, str) else None
        value = json_value(value, nan_is_null=True) if isinstance(value, str) else value
    except Unreadable:
        return {}
    return value if isinstance(value, dict) else {}


def _tags(path: Path) -> Iterator[tuple[str, str]]:
    """(name in lower case, text) of everything that the file's head says."""
    if path.suffix.lower() in PICTURES:
        yield from _picture_tags(path)
        return
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for tags in (*(stream.metadata for stream in container.streams), container.metadata):
                yield from ((key.lower(), value) for key, value in tags.items())
    except FFmpegError as reason:
        raise ValueError(reason.strerror) from None


def _picture_tags(path: Path) -> Iterator[tuple[str, str]]:
    from PIL import ExifTags

    try:
        with open_picture(path) as picture:
            check_pixels(path.name, *picture.size)
            picture.load()  # text may follow the pixels
            exif = picture.getexif()
            entries = [*exif.values(), *exif.get_ifd(ExifTags.IFD.Exif).values()]
            yield from ((str(key).lower(), value) for key, value in picture.info.items() if isinstance(value, str))
    except Exception as reason:  # Pillow's readers raise whatever their parsers meet
        raise ValueError(reason) from None
    for entry in entries:  # ComfyUI writes "workflow:{...}" into WebP
        text = entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry)
        text = text.removeprefix("UNICODE\0").removeprefix("ASCII\0\0\0")
        name, colon, rest = text.partition(":")
        if colon and name.lower() in KEYS:
            yield name.lower(), rest.rstrip("\0")
