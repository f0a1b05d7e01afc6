"""Inputs that come and go with what a prompt holds: those of a dynamic combo's option, and those of a growing list.

A prompt names them by their path, `format.codec` or `images.image0`; a node gets them as one dict per input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

COMBO = "COMFY_DYNAMICCOMBO_V3"  # options {"key", "inputs"}: the chosen one adds its inputs to the node
GROWING = "COMFY_AUTOGROW_V3"  # a template, repeated as often as links come in
Groups = Mapping[str, Any]  # {"required": {name: [type, options]}, "optional": ...}, as object_info's "input"


class Input(NamedTuple):
    """One input of a node as the prompt at hand has it."""

    path: str
    kind: str | list  # its type; a list is an older combo's choices
    options: dict
    required: bool


def expanded(groups: Groups, given: Mapping[str, Any], prefix: str = "") -> Iterator[Input]:
    """The inputs of a node whose prompt holds `given`: those of chosen options and of growing lists among them.

    As in ComfyUI, an inner dynamic combo that is not given chooses nothing and is not missed.
    """
    for name, kind, options, required in _inputs(groups):
        path = prefix + name
        if kind == GROWING:
            yield from _grown(options["template"], path)
            continue
        yield Input(path, kind, options, required and not (kind == COMBO and prefix))
        if kind == COMBO:
            yield from expanded(_chosen(options, given.get(path)), given, f"{path}.")


def nested(groups: Groups, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by path -> as a node's execute takes them.

    {"format": "mp4", "format.codec": "auto"} -> {"format": {"format": "mp4", "codec": {"codec": "auto"}}}. An input of
    a chosen option that is not given is None; a growing list without links is an empty dict.
    """
    found: dict[str, Any] = {}
    for name, kind, options, _ in _inputs(groups):
        path = prefix + name
        if kind == GROWING:
            paths = (entry.path for entry in _grown(options["template"], path))
            found[name] = {each.removeprefix(f"{path}."): values[each] for each in paths if each in values}
        elif kind == COMBO:
            if path in values:
                found[name] = {name: values[path], **nested(_chosen(options, values[path]), values, f"{path}.")}
        elif path in values or prefix:
            found[name] = values.get(path)
    return found


def _inputs(groups: Groups) -> Iterator[Input]:
    for group in ("required", "optional"):
        for name, (kind, *rest) in (groups.get(group) or {}).items():
            yield Input(name, kind, rest[0] if rest else {}, group == "required")


def _chosen(options: Mapping[str, Any], key: object) -> Groups:
    return next((option["inputs"] for option in options["options"] if option["key"] == key), {})


def _grown(template: Mapping[str, Any], path: str) -> Iterator[Input]:
    entry = next(_inputs(template["input"]))
    for number, name in enumerate(
        template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])]
    ):
        yield entry._replace(path=f"{path}.{name}", required=entry.required and number < template["min"])
