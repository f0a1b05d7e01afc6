"""Scenes as JSON text: one file with everything in it, and back to the last bit."""

from __future__ import annotations

import json
from typing import NoReturn, cast

from .checks import check
from .records import Json, from_json, nearest, to_json
from .scene import Scene, SceneError

VERSION = 1  # of the layout; a file of a later one is refused
KEY = "vdit_scene"
LARGEST_FILE = 256_000_000  # bytes; a plate of 1920x1080 with its picture and depth is about 20 MB


def dumps(scene: Scene) -> str:
    """The scene as JSON: pictures are PNG inside it, arrays are lists of numbers. `loads` gives the same scene."""
    return json.dumps({KEY: VERSION, **cast("dict[str, Json]", to_json(scene))}, indent=1, allow_nan=False)


def loads(text: str, name: str = "scene") -> Scene:
    """A scene from JSON; `name` is what errors call the file.

    Raises SceneError: no JSON, a later version, an unknown or missing field, values of another type, size or range.
    """
    if len(text) > LARGEST_FILE:
        raise SceneError(f"{name}: {len(text):,} characters; a scene of at most {LARGEST_FILE:,} is read")
    try:
        found = cast(object, json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError) as reason:
        raise SceneError(f"{name}: this is no JSON ({reason})") from reason
    if not isinstance(found, dict) or KEY not in found:
        keys = cast("dict[str, object]", found) if isinstance(found, dict) else {}
        raise SceneError(f'{name}: no "{KEY}" in it, so it is no scene of VDiT; {nearest(KEY, keys)}')
    fields = cast("dict[str, object]", found)
    version = fields.pop(KEY)
    if version != VERSION:
        raise SceneError(f"{name}: the layout has version {version!r:.40}; this VDiT reads {VERSION}")
    try:
        scene = from_json(Scene, fields)
        check(scene)
    except SceneError as reason:
        raise SceneError(f"{name}: {reason}") from reason
    return scene


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
