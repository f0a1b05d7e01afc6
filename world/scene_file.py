"""Scenes and actions as JSON text: one file with everything in it, and back to the last bit."""

from __future__ import annotations

import json
from typing import cast

from ..machine.parse import SCENE_FILE, Unreadable, json_value
from .actions import Actions
from .checks import check
from .records import Json, actions_from_json, from_json, nearest, to_json
from .scene import Scene, SceneError

VERSION = 1  # of the layout; a file of a later one is refused
SCENE, ACTIONS = "vdit_scene", "vdit_actions"  # the key of the version, which marks a file
LARGEST_FILE = int(SCENE_FILE.megabytes * 1e6)  # bytes


def dumps(scene: Scene) -> str:
    """The scene as JSON: pictures are PNG inside it, arrays are lists of numbers. `loads` gives the same scene."""
    return _text({SCENE: VERSION, **cast("dict[str, Json]", to_json(scene))})


def loads(text: str, name: str = "scene") -> Scene:
    """A scene from JSON; `name` is what errors call the file.

    Raises SceneError: no JSON, a later version, an unknown or missing field, values of another type, size or range.
    """
    fields = _loaded(text, name, SCENE)
    try:
        scene = from_json(Scene, fields)
        check(scene)
    except SceneError as reason:
        raise SceneError(f"{name}: {reason}") from reason
    return scene


def dumps_actions(actions: Actions) -> str:
    """Actions as JSON; `loads_actions` gives the same."""
    return _text({ACTIONS: VERSION, "actions": to_json(actions)})


def loads_actions(text: str, name: str = "actions") -> Actions:
    """Actions from JSON; `name` is what errors call the file. Raises SceneError as loads does."""
    fields = _loaded(text, name, ACTIONS)
    try:
        if fields.keys() != {"actions"}:
            raise SceneError(f"fields {', '.join(fields) or 'none'}; expected actions")
        return actions_from_json(fields["actions"])
    except SceneError as reason:
        raise SceneError(f"{name}: {reason}") from reason


def _text(fields: dict[str, Json]) -> str:
    return json.dumps(fields, indent=1, allow_nan=False)


def _loaded(text: str, name: str, key: str) -> dict[str, object]:
    """The fields of the JSON object that `key` marks, without it."""
    try:
        found = json_value(text, SCENE_FILE)
    except Unreadable as reason:
        raise SceneError(f"{name}: the text {reason}") from reason
    fields = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    if key not in fields:
        raise SceneError(f'{name}: no "{key}" in it, so it is none of VDiT; {nearest(key, fields)}')
    version = fields.pop(key)
    if version != VERSION:
        raise SceneError(f"{name}: the layout has version {version!r:.40}; this VDiT reads {VERSION}")
    return fields
