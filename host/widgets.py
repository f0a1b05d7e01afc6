"""A node's widgets: which of its inputs they are, in which order their values are stored, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .validation import UPLOADS

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def widget_values(values: list | dict | None, info: dict) -> Iterator[tuple[str, Any]]:
    """(input name, value) for each widget of a node; stored by position, with slots that are the editor's own:

    one after a seed (what happens to it after a run), one for an upload button after the required inputs.
    """
    if isinstance(values, dict):
        for name, spec in stored_widgets(info):
            if spec is not None:
                yield name, values.get(name, default_value(spec))
        return
    values = list(values or [])
    for position, (name, spec) in enumerate(stored_widgets(info)):
        if spec is not None:
            yield name, values[position] if position < len(values) else default_value(spec)


def stored_widgets(info: dict) -> Iterator[tuple[str, list | None]]:
    """(name, spec) of each widget in stored order; spec None for a slot that is the editor's own."""
    for group in ("required", "optional"):
        specs = info["input"].get(group, {})
        uploads = False
        for name in info.get("input_order", {}).get(group, specs):
            spec = specs[name]
            options = spec[1] if len(spec) > 1 else {}
            if not is_widget(spec):
                continue
            yield name, spec
            if options.get("control_after_generate", spec[0] == "INT" and name in ("seed", "noise_seed")):
                yield "control_after_generate", None
                if spec[0] != "INT":
                    yield "control_filter_list", None
            uploads = uploads or any(options.get(kind) for kind in UPLOADS)
        if uploads:
            yield "upload", None


def widget_position(name: str, info: dict) -> int:
    """Where in a node's stored values the widget `name` is."""
    return next(
        position for position, (widget, spec) in enumerate(stored_widgets(info)) if widget == name and spec is not None
    )


def is_widget(spec: list | tuple) -> bool:
    """Whether a person may type or choose the value, so that it is stored with the node."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, list) or kind in WIDGET_TYPES or "widgetType" in options) and not options.get("forceInput")


def default_value(spec: list | tuple) -> object:
    """What a new widget holds."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    offered = choices(spec)
    if offered is not None:
        return offered[0] if offered else None
    return {"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False}.get(str(kind))


def choices(spec: list | tuple) -> list | None:
    """What a combo offers, in either form; None for another type."""
    return spec[0] if isinstance(spec[0], list) else (spec[1] if len(spec) > 1 else {}).get("options")
