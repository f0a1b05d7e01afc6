"""A node's widgets: which of its inputs they are, in which order their values are stored, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .dynamic import COMBO as DYNAMIC_COMBO
from .validation import UPLOADS

COMBOS = {"COMBO", DYNAMIC_COMBO}
PLAIN = {"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False, "PREVIEW_3D": "", "LOAD_3D": "", "COLOR": "#000000"}
DRAWN = {"BOUNDING_BOX", "BOUNDING_BOXES", "COLORS", "COMPOSITOR", "CURVE"}  # values are objects, edited on a canvas
COMPARED = "IMAGECOMPARE"  # in a prompt, but never stored
WIDGET_TYPES = {*PLAIN, *COMBOS, *DRAWN, COMPARED}

# What the editor's own scripts add to nodes: inputs after the required ones, and buttons whose labels are stored.
ADDED_INPUTS = dict.fromkeys(("Preview3D", "SaveGLB"), {"image": ["PREVIEW_3D"]})
LOAD_3D_BUTTONS = {
    "upload 3d model": "upload3dmodel",
    "upload extra resources": "uploadExtraResources",
    "clear": "clear",
}
OWN_DEFAULTS = {"control_after_generate": "fixed", "upload": "image"}  # of the editor's own slots
NOTHING = object()
OPTION_LIST = "CustomCombo"  # a combo whose options are texts that the user adds to the node


class Widget(NamedTuple):
    """A widget, or a slot among the stored values that is the editor's own."""

    name: str
    spec: list | tuple | None  # as object_info has it; None for the editor's own
    position: int | None  # among the stored values; None for one that is not stored


def widget_values(values: list | dict | None, info: dict) -> Iterator[tuple[str, Any]]:
    """(input name, value) for each widget of a node; stored by position, with slots that are the editor's own:

    one after a seed (what happens to it after a run), one for an upload button after the required inputs.
    """
    kept = _by_widgets(values, info)
    found = {w.name: _kept(kept, w) for w in _widgets(info, kept) if w.spec is not None}
    found = {name: value for name, value in found.items() if value is not NOTHING}
    if info.get("name") == OPTION_LIST and isinstance(kept, list):
        options = [text for name, text in found.items() if name.startswith("option")]
        found["index"] = options.index(found["choice"]) if found["choice"] in options else -1
    yield from found.items()


def with_value(values: list | dict | None, info: dict, name: str, value: object) -> list | dict:
    """The values that a node stores once the widget `name` has another one; what was not stored is as it was read.

    Where that chooses another option of a dynamic combo, the option's widgets take the place of the former one's.
    """
    kept = _by_widgets(values, info)
    if isinstance(kept, dict):
        return {**kept, name: value}
    before = after = _widgets(info, kept)
    read = {w.name: _kept(kept, w) for w in before if w.spec is not None} | {name: value}
    if any(w.name == name and w.spec is not None and w.spec[0] == DYNAMIC_COMBO for w in before):
        after = _widgets(info, read)
    stored = dict(zip(_slots(before), kept, strict=False)) | {(name, ""): value}

    def added(widget: Widget) -> object:
        found = OWN_DEFAULTS.get(widget.name) if widget.spec is None else _kept(read, widget)
        return None if found is NOTHING else found

    return [stored[s] if s in stored else added(w) for s, w in _slots(after).items()] + kept[len(_slots(before)) :]


def _slots(widgets: list[Widget]) -> dict[tuple[str, str], Widget]:
    """The widgets that are stored, in their order, by (name, "") or by (widget before it, name of the editor's own)."""
    found: dict[tuple[str, str], Widget] = {}
    before = ""
    for widget in widgets:
        before = before if widget.spec is None else widget.name
        if widget.position is not None:
            found[(before, widget.name) if widget.spec is None else (widget.name, "")] = widget
    return found


def _by_widgets(values: list | dict | None, info: dict) -> list | dict:
    """Stored values by name, else by the position of the widgets that the node has by now."""
    if isinstance(values, dict) and not any(w.name in values for w in _widgets(info, values)):
        values = list(values.values())
    return values if isinstance(values, dict) else _without_sockets(list(values or []), info)


def _without_sockets(values: list, info: dict) -> list:
    """Drops values of inputs that were widgets when the node was saved and take links alone by now."""
    specs = [spec for group in ("required", "optional") for spec in (info["input"].get(group) or {}).values()]
    sockets: list[bool] = []
    for spec in specs:
        options = spec[1] if len(spec) > 1 else {}
        if is_widget(spec) or options.get("forceInput"):
            sockets += [bool(options.get("forceInput")), *([False] if options.get("control_after_generate") else [])]
    if any(sockets) and len(sockets) == len(values):
        return [value for value, socket in zip(values, sockets, strict=True) if not socket]
    return values


def _kept(values: list | dict, widget: Widget) -> object:
    """What is stored for a widget, else its default, NOTHING for a combo that offers nothing.

    In place of null a combo has its first option, and a text of several lines is empty.
    """
    assert widget.spec is not None
    offered = choices(widget.spec)
    if isinstance(values, dict) and widget.name in values:
        value = values[widget.name]
    elif isinstance(values, list) and widget.position is not None and widget.position < len(values):
        value = values[widget.position]
    else:
        value = default_value(widget.spec)
        return NOTHING if value is None and offered is not None else value
    if value is None and len(widget.spec) > 1 and widget.spec[1].get("multiline"):
        return ""
    return offered[0] if value is None and offered else value


def stored_widgets(info: dict, values: list | dict | None = None) -> Iterator[tuple[str, list | tuple | None]]:
    """(name, spec) of each widget in stored order; spec None for a slot that is the editor's own.

    values: as stored. They say which option of a dynamic combo is chosen, and so which widgets follow it.
    """
    return ((w.name, w.spec) for w in _widgets(info, values or []) if w.position is not None)


def _widgets(info: dict, values: list | dict) -> list[Widget]:
    found: list[Widget] = []
    inputs = dict(info["input"])
    inputs["required"] = {**(inputs.get("required") or {}), **ADDED_INPUTS.get(info.get("name", ""), {})}
    _collect(found, inputs, info.get("input_order") or {}, values, "")
    if info.get("name") == OPTION_LIST:
        _append(found, "index", ["INT"])
        texts = values[2:] if isinstance(values, list) else []
        for number, text in enumerate([*texts, ""], start=1):
            _append(found, f"option{number}", ["STRING"])
            if not text:  # the last option is an empty one, to be filled in
                break
    return found


def _append(found: list[Widget], name: str, spec: list | tuple | None, stored: bool = True) -> None:
    found.append(Widget(name, spec, sum(w.position is not None for w in found) if stored else None))


def _collect(found: list[Widget], inputs: dict, order: dict, values: list | dict, prefix: str) -> None:
    """prefix: the combo's name and a point, where these inputs are of a dynamic combo's chosen option."""
    for group in ("required", "optional"):
        specs = inputs.get(group) or {}
        uploads = False
        for name in dict.fromkeys([*order.get(group, []), *specs]):
            spec = specs[name]
            options = spec[1] if len(spec) > 1 else {}
            if not is_widget(spec):
                continue
            if spec[0] == "LOAD_3D" and name == "image":
                for label, value in LOAD_3D_BUTTONS.items():
                    _append(found, label, ["BUTTON", {"default": value}])
            _append(found, prefix + name, spec, stored=spec[0] != COMPARED)
            if spec[0] == DYNAMIC_COMBO:
                chosen = _kept(values, found[-1])
                _collect(found, _option(spec, chosen), {}, values, f"{prefix}{name}.")
            for own in _own_slots(prefix + name, spec, options):
                _append(found, *own)
            uploads = uploads or (choices(spec) is not None and any(options.get(kind) for kind in UPLOADS))
        if uploads:
            _append(found, "upload", None)


def _own_slots(name: str, spec: list | tuple, options: dict) -> list[tuple[str, list | None]]:
    """What the editor puts after a widget."""
    if spec[0] == "BOUNDING_BOX":
        return [("x", None), ("y", None), ("width", None), ("height", None)]
    remote, slots = options.get("remote") or {}, []
    if remote.get("control_after_refresh"):
        slots.append(("refresh after a run", None))
    if remote.get("refresh_button"):
        slots.append(("refresh", ["BUTTON", {"default": "refresh"}]))
    if options.get("control_after_generate", spec[0] == "INT" and name in ("seed", "noise_seed")):
        slots.append(("control_after_generate", None))
        if spec[0] != "INT":
            slots.append(("control_filter_list", None))
    return slots


def specs_of(info: dict, values: list | dict | None) -> dict[str, list | tuple]:
    """The specification of each widget by name, those of dynamic combos' chosen options among them."""
    return {w.name: w.spec for w in _widgets(info, values or []) if w.spec is not None} if info else {}


def chosen_options(info: dict, widgets: dict[str, Any]) -> dict[str, set[str]]:
    """Dynamic combo -> the inputs that its chosen option brings; none for a value that is no option."""
    return {
        name: {entry for group in ("required", "optional") for entry in _option(spec, widgets[name]).get(group) or {}}
        for name, spec in specs_of(info, widgets).items()
        if spec[0] == DYNAMIC_COMBO
    }


def _option(spec: list | tuple, key: object) -> dict:
    """The inputs of a dynamic combo's option."""
    return next((option.get("inputs") or {} for option in spec[1].get("options") or [] if option["key"] == key), {})


def input_order(info: dict) -> list[tuple[str, str]]:
    """(name, type) of a node's inputs as the editor orders them: sockets first, then widgets.

    Inputs that come and go (autogrow, options of dynamic combos) are not among them.
    """
    found: list[tuple[str, str, bool]] = []
    for group in ("required", "optional"):
        specs = info.get("input", {}).get(group) or {}
        for name in dict.fromkeys([*(info.get("input_order") or {}).get(group, []), *specs]):
            kind, options = specs[name][0], specs[name][1] if len(specs[name]) > 1 else {}
            if not options.get("socketless") and not str(kind).startswith("COMFY_"):
                found.append((name, "COMBO" if isinstance(kind, list) else kind, is_widget(specs[name])))
    return [(name, kind) for name, kind, _ in sorted(found, key=lambda entry: entry[2])]


def widget_position(name: str, info: dict, values: list | None = None) -> int | None:
    """Where in a node's stored values the widget `name` is; None where the options chosen in them do not bring it."""
    names = [widget if spec is not None else None for widget, spec in stored_widgets(info, values)]
    return names.index(name) if name in names else None


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
    return ["", ""] if kind == COMPARED else PLAIN.get(str(kind))


def choices(spec: list | tuple) -> list | None:
    """What a combo offers, in either form; None for another type."""
    kind, *options = spec
    offered = kind if isinstance(kind, list) else (options[0] if options else {}).get("options")
    return [option["key"] for option in offered or []] if kind == DYNAMIC_COMBO else offered
