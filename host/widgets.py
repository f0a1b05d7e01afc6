"""A node's widgets: which of its inputs they are, in which order their values are stored, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .validation import UPLOADS

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"  # each option brings inputs of its own, named combo.input in a prompt
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO}


def widget_values(values: list | dict | None, info: dict) -> Iterator[tuple[str, Any]]:
    """(input name, value) for each widget of a node; stored by position, with slots that are the editor's own:

    one after a seed (what happens to it after a run), one for an upload button after the required inputs.
    """
    kept = values if isinstance(values, dict) else list(values or [])
    for position, (name, spec) in enumerate(stored_widgets(info, kept)):
        if spec is not None:
            yield name, _kept(kept, position, name, spec)


def _kept(values: list | dict, position: int, name: str, spec: list | tuple) -> object:
    if isinstance(values, dict):
        return values.get(name, default_value(spec))
    return values[position] if position < len(values) else default_value(spec)


def stored_widgets(info: dict, values: list | dict | None = None) -> Iterator[tuple[str, list | None]]:
    """(name, spec) of each widget in stored order; spec None for a slot that is the editor's own.

    values: as stored. They say which option of a dynamic combo is chosen, and so which widgets follow it.
    """
    return iter(_stored(info["input"], info.get("input_order", {}), values or [], "", 0))


def _stored(inputs: dict, order: dict, values: list | dict, prefix: str, start: int) -> list[tuple[str, list | None]]:
    """start: the position of the first; prefix: the combo's name and a point, where these are of a chosen option."""
    found: list[tuple[str, list | None]] = []
    for group in ("required", "optional"):
        specs = inputs.get(group) or {}
        uploads = False
        for name in order.get(group, specs):
            spec = specs[name]
            options = spec[1] if len(spec) > 1 else {}
            if not is_widget(spec):
                continue
            found.append((prefix + name, spec))
            if spec[0] == DYNAMIC_COMBO:
                chosen = _kept(values, start + len(found) - 1, prefix + name, spec)
                option = next((o for o in options.get("options") or [] if o["key"] == chosen), {"inputs": {}})
                found += _stored(option.get("inputs") or {}, {}, values, f"{prefix}{name}.", start + len(found))
            if options.get("control_after_generate", spec[0] == "INT" and name in ("seed", "noise_seed")):
                found.append(("control_after_generate", None))
                if spec[0] != "INT":
                    found.append(("control_filter_list", None))
            uploads = uploads or any(options.get(kind) for kind in UPLOADS)
        if uploads:
            found.append(("upload", None))
    return found


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
    kind, *options = spec
    offered = kind if isinstance(kind, list) else (options[0] if options else {}).get("options")
    return [option["key"] for option in offered or []] if kind == DYNAMIC_COMBO else offered
