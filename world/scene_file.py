"""Scenes and actions as JSON text: one file with everything in it, and back to the last bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from ..machine.fields import read_text
from ..machine.parse import SCENE_FILE
from .actions import Actions
from .checks import check
from .records import NAMES, Json, to_json
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
    scene = read_text(Scene, text, name, SceneError, bounds=SCENE_FILE, names=NAMES, mark=(SCENE, VERSION))
    try:
        check(scene)
    except SceneError as reason:
        raise SceneError(f"{name}: {reason}") from reason
    return scene


def dumps_actions(actions: Actions) -> str:
    """Actions as JSON; `loads_actions` gives the same."""
    return _text({ACTIONS: VERSION, "actions": to_json(actions)})


def loads_actions(text: str, name: str = "actions") -> Actions:
    """Actions from JSON; `name` is what errors call the file. Raises SceneError as loads does."""
    mark = (ACTIONS, VERSION)
    return read_text(_Stored, text, name, SceneError, bounds=SCENE_FILE, names=NAMES, mark=mark).actions


@dataclass(frozen=True)
class _Stored:
    """What a file of actions holds."""

    actions: Actions


def _text(fields: dict[str, Json]) -> str:
    return json.dumps(fields, indent=1, allow_nan=False)
