"""A workflow's graphs opened up as the editor opens them: where each node's inputs come from, what its widgets hold.

Subgraphs are opened once for each instance, so that every instance has values of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import text_replacements
from .repairs import SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS, Ends, links_of
from .stored import fault_of
from .widgets import choices, chosen_options, input_order, specs_of, widget_values, with_value

VIRTUAL = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}  # live in the editor only
MUTED, BYPASSED = 2, 4
NO_VALUE = object()
OWN = "-1"  # stands for the instance itself in `proxyWidgets`


class WorkflowError(ValueError):
    """A workflow that cannot become a prompt; says where and what to do."""


@dataclass(frozen=True)
class Kinds:
    """What the nodes of a workflow may be: object_info by type, and subgraphs by their id."""

    infos: dict[str, dict]
    subgraphs: dict[str, dict]
    saved: dict[int, dict]  # id() of a node's data -> the node of the file, of which that is a mended copy


WidgetName = str | tuple[str, str]  # one of the node's own, or (inner node, its widget): one that an instance promotes


@dataclass(frozen=True)
class Value:
    """A widget's value, and the node that holds it: the widget's own, a primitive, or the instance of a subgraph."""

    value: Any
    holder: Node
    widget: WidgetName


class Graph:
    """The root graph or one instance of a subgraph: its nodes and links, and the instance in the graph around it."""

    def __init__(self, data: dict, kinds: Kinds, instance: Node | None = None):
        self.data, self.kinds, self.instance = data, kinds, instance
        self.promoted: dict[tuple[str, str], Any] = {}  # (node id, widget) -> what the instance around gives it
        self.links, _ = links_of(data)
        self.nodes = {str(node["id"]): Node(node, self) for node in data["nodes"]}

    def executable(self) -> Iterator[Node]:
        """Nodes that go into the prompt, subgraphs opened up.

        The front end leaves out what is inside a muted or bypassed subgraph only where that stands in the root graph.
        """
        for node in self.nodes.values():
            off = node.mode in (MUTED, BYPASSED)
            if node.inner is not None and not (off and self.instance is None):
                yield from node.inner.executable()
            elif node.inner is None and not off and node.type not in VIRTUAL:
                yield node

    def every(self) -> Iterator[Node]:
        """All nodes, those inside subgraphs too."""
        for node in self.nodes.values():
            yield node
            if node.inner is not None:
                yield from node.inner.every()

    def value(self, called: str, name: str) -> object:
        """A widget of the first node with this search name, or else with this title: its value, or None without one.

        Muted nodes, primitives and instances of subgraphs count as well.
        """
        nodes = list(self.every())
        labels = (Node.search_name, lambda node: node.meta()["title"])
        for node in (node for label in labels for node in nodes if label(node) == called):
            value = (node.prompt_inputs() if node.info else node.widgets).get(name)
            return None if isinstance(value, list) else value
        return None

    def promoted_value(self, node_id: str, name: str) -> Value | None:
        """What the instance around gives a node's widget, where it promotes that by its name."""
        key = node_id, name
        return Value(self.promoted[key], self.instance, key) if self.instance and key in self.promoted else None

    @cached_property
    def primitives(self) -> dict[str, Value]:
        """A primitive writes its value into the widgets it is wired to: link -> value."""
        values = {
            key: self.promoted_value(key, "value") or Value(node.widgets["value"], node, "value")
            for key, node in self.nodes.items()
            if node.type == "PrimitiveNode" and node.widgets
        }
        return {number: values[ends[0]] for number, ends in self.links.items() if ends[0] in values}


class Node:
    """One node in its graph: where its inputs really come from, and what its widgets hold."""

    def __init__(self, data: dict, graph: Graph):
        self.data, self.graph, self.id = data, graph, str(data["id"])
        self.type, self.mode = data["type"], data.get("mode", 0)
        around = graph.instance
        self.path: str = f"{around.path}:{self.id}" if around else self.id
        self.info = graph.kinds.infos.get(self.type, {})
        subgraph = graph.kinds.subgraphs.get(self.type)
        self.inner = Graph(subgraph, graph.kinds, self) if subgraph is not None else None
        self.inputs = self._all_inputs()
        self.held = self._held(self.inner) if self.inner is not None else {}
        self.widgets = self._instance_widgets(self.inner) if self.inner is not None else self._own_widgets()

    def _all_inputs(self) -> list[dict]:
        """The inputs in their definition's order: a node may have been saved with fewer, or in another order."""
        saved = [{**entry, "saved_slot": slot} for slot, entry in enumerate(self.data.get("inputs") or [])]
        if self.inner is not None and self.inner.data.get("inputs"):
            declared = [{"type": "*", "link": None, **entry} for entry in self.inner.data["inputs"]]
        else:
            declared = [{"name": name, "type": kind, "link": None} for name, kind in input_order(self.info)]
        by_name = {entry["name"]: entry for entry in saved}
        names = {entry["name"] for entry in declared}
        found = [{**by_name.get(e["name"], {}), "name": e["name"], "type": e["type"]} for e in declared]
        return found if self.inner is not None and names else found + [e for e in saved if e["name"] not in names]

    def _own_widgets(self) -> dict[str, Any]:
        values = self.data.get("widgets_values")
        if self.type == "PrimitiveNode":
            return {"value": values[0]} if values and isinstance(values, list) else {}
        if isinstance(values, list) and (fault := fault_of(self.type, self.info, values)):
            raise WorkflowError(f"has a node, {self.path} ({self.meta()['title']}), that {fault}.")
        return dict(widget_values(values, self.info)) if self.info else {}

    def _instance_widgets(self, inner: Graph) -> dict[str, Any]:
        """Input name -> value of a subgraph's instance, later ones over earlier, as the front end reads them.

        An input has a widget where an inner node that it feeds has one. Stored values come first by the order of these
        inputs, then by that of `proxyWidgets`, which also names widgets of inner nodes: those are put into
        inner.promoted.
        """
        values = self._instance_values()
        widgets = {name: node.widgets[widget] for name, (node, widget) in self.held.items()}
        widgets |= zip(widgets, values, strict=False)
        proxies = self._proxies(inner)
        padded = [*values, *[NO_VALUE] * len(proxies)]  # more proxies than values: those have none
        for widget, value in zip(proxies, padded, strict=False):
            if isinstance(widget, tuple):
                node_id, name = widget
                inner.promoted[widget] = inner.nodes[node_id].widgets[name] if value in (NO_VALUE, None) else value
            elif widget is not None and value is not NO_VALUE:
                widgets[widget] = value
        return widgets

    def _instance_values(self) -> list:
        values = self.data.get("widgets_values")
        return values if isinstance(values, list) else []

    def _held(self, inner: Graph) -> dict[str, tuple[Node, str]]:
        """An instance's inputs that have a widget -> the inner node and widget that it is."""
        sources = {entry["name"]: self._source(inner, slot) for slot, entry in enumerate(self.inputs)}
        return {name: source for name, source in sources.items() if source is not None}

    def _proxies(self, inner: Graph) -> list[WidgetName | None]:
        """The widgets that `proxyWidgets` names, None for an entry that names none. A list with an entry that is no
        pair or triple of texts is not read at all."""
        found: list[WidgetName | None] = []
        for entry in (self.data.get("properties") or {}).get("proxyWidgets") or []:
            if not (isinstance(entry, list) and len(entry) in (2, 3) and all(isinstance(t, str) for t in entry)):
                return []
            node_id, name = entry[:2]
            node = inner.nodes.get(node_id)
            name = name if node is None else node.widget_named(name)
            own = name if node_id == OWN else next((n for n, held in self.held.items() if held == (node, name)), None)
            if own is not None:
                found.append(own if own in self.held else None)
            else:
                found.append((node_id, name) if node is not None and name in node.widgets else None)
        return found

    @property
    def saved(self) -> dict | None:
        """The node of the file; None for a group node and what is inside it, which are subgraphs only once opened."""
        saved = self.graph.kinds.saved.get(id(self.data))
        return saved if saved is not None and saved["type"] == self.type else None

    def store(self, widget: WidgetName, value: object) -> None:
        """Writes another value of a widget that this node holds into the node of the file. The rest stays as read."""
        saved = self.saved
        assert saved is not None
        if self.inner is not None:
            saved["widgets_values"], missing = self._instance_stored(self.inner, widget, value)
            if missing:
                properties = saved["properties"]
                saved["properties"] = {**properties, "proxyWidgets": [*properties["proxyWidgets"], *missing]}
        elif self.type == "PrimitiveNode":
            saved["widgets_values"] = [value, *saved["widgets_values"][1:]]
        else:
            saved["widgets_values"] = with_value(saved.get("widgets_values"), self.info, str(widget), value)

    def _instance_stored(self, inner: Graph, widget: WidgetName, value: object) -> tuple[list, list[list[str]]]:
        """(values that an instance stores so that it holds another one of a widget, entries that `proxyWidgets` needs).

        Values count by the order of inputs and by that of `proxyWidgets`: where these do not say the same of a widget
        that the latter lacks, it is added to them.
        """
        values, proxies, own = self._instance_values(), self._proxies(inner), list(self.widgets)
        now: dict[WidgetName | None, object] = {**self.widgets, **inner.promoted, widget: value}
        named = proxies or [*own[: max(len(values), own.index(str(widget)) + 1)]]
        kept = [*values, *[None] * len(named)]
        stored = [kept[i] if name is None else now[name] for i, name in enumerate(named)] + values[len(named) :]
        read = {**self.widgets, **dict(zip(own, stored, strict=False))} | dict(zip(named, stored, strict=False))
        if all(read[name] == now[name] for name in own):
            return stored, []
        missing = [name for name in own if name not in proxies]
        return stored[: len(named)] + [now[name] for name in missing], [[OWN, name] for name in missing]

    def _source(self, inner: Graph, slot: int) -> tuple[Node, str] | None:
        """The first widget inside that this instance's input feeds: (inner node, its widget)."""
        declared = (inner.data.get("inputs") or [])[slot : slot + 1]
        numbers = [str(number) for entry in declared for number in entry.get("linkIds") or []] or list(inner.links)
        for number in numbers:
            origin, out, target, at = inner.links.get(number, ("", 0, "", 0))
            if (origin, out) == (str(SUBGRAPH_INPUTS), slot) and target in inner.nodes:
                node = inner.nodes[target]
                entry = next((e for e in node.inputs if str(e.get("link")) == number), None)
                names = [] if entry is None else [entry["name"], (entry.get("widget") or {}).get("name")]
                for name in filter(node.widgets.__contains__, names):
                    return node, name
        return None

    def widget_named(self, name: str) -> str:
        """The widget by a name as `proxyWidgets` has it: ids of deeper nodes may stand before it, "5: seed"; an
        instance may be asked by the name of the widget inside."""
        if name not in self.widgets:
            name = re.sub(r"^(\s*\d+\s*:\s*)+", "", name)
        if name in self.widgets:
            return name
        return next((own for own, source in self.held.items() if source[1] == name), name)

    def search_name(self) -> str | None:
        """The node's "Node name for S&R": the editor gives each node of a pack its type, but not those that save."""
        own = self.type if self.info and self.type not in text_replacements.SAVE_NODES else None
        return (self.data.get("properties") or {}).get("Node name for S&R", own)

    def meta(self) -> dict[str, str]:
        """What labels the node in a prompt: its title, and the pack and version it was saved with."""
        properties = self.data.get("properties") or {}
        definition = self.info if self.inner is None else {"display_name": self.inner.data.get("name")}
        title = self.data.get("title") or definition.get("display_name") or self.type
        return {"title": title, **{key: properties[key] for key in ("cnr_id", "aux_id", "ver") if properties.get(key)}}

    def prompt_inputs(self) -> dict[str, Any]:
        """Input name -> a value, or [node id, output slot]."""
        specs, inputs = specs_of(self.info, self.data.get("widgets_values")), {}
        for name, source in self.sources().items():
            if not isinstance(source, Value):
                inputs[name] = [source[0].path, source[1]]
            elif source.holder is self:
                alternatives = _has_alternatives(specs.get(name))
                inputs[name] = _wrapped(text_replacements.chosen(source.value) if alternatives else source.value)
            else:
                value, offered = source.value, choices(specs.get(name) or [""])
                inputs[name] = _wrapped(offered[0] if value is None and offered else value)
        return inputs

    def sources(self) -> dict[str, tuple[Node, int] | Value]:
        """Input name -> the output of a node, or a widget's value, that it takes."""
        found: dict[str, tuple[Node, int] | Value] = {
            name: Value(value, self, name) for name, value in self.widgets.items()
        }
        chosen = chosen_options(self.info, self.widgets)
        for slot, entry in enumerate(self.inputs):
            name = entry["name"]
            source = self._given(slot, entry) if _is_offered(name, chosen) else None
            if source is not None:
                found[name] = source
        return found

    def _given(self, slot: int, entry: dict) -> tuple[Node, int] | Value | None:
        name, link = entry["name"], str(entry.get("link"))
        primitive = self.graph.primitives.get(link) if name in self.widgets else None
        return self.graph.promoted_value(self.id, name) or primitive or self.source(slot)

    def source(self, slot: int, kind: str | None = None) -> tuple[Node, int] | Value | None:
        """What feeds an input: a node's output, a value set on the subgraph around, or nothing."""
        if slot >= len(self.inputs) or self.inputs[slot].get("link") is None:
            return None
        kind = kind or self.inputs[slot].get("type", "*")
        link = self._link(self.inputs[slot])
        if link is None:
            return None
        origin, out, _, _ = link
        if origin == str(SUBGRAPH_INPUTS) and self.graph.instance is not None:
            return self.graph.instance.passed_in(out)
        if origin not in self.graph.nodes:
            raise WorkflowError(
                f"has a link from node {origin}, which is not in the file, to {self.inputs[slot]['name']!r} of "
                f"node {self.path} ({self.type}). Open it in the graph editor and connect that input again."
            )
        return self.graph.nodes[origin].output(out, kind)

    def _link(self, entry: dict) -> Ends | None:
        """The link that an input names, else the one that the table of links leads to its slot."""
        found = self.graph.links.get(str(entry["link"]))
        place = (self.id, entry.get("saved_slot"))
        return found or next((ends for ends in self.graph.links.values() if ends[2:] == place), None)

    def output(self, slot: int, kind: str) -> tuple[Node, int] | Value | None:
        """The node behind an output: this one, or what a reroute, a bypass or a subgraph passes on."""
        if self.mode == MUTED:
            return None
        if self.mode == BYPASSED:
            through = self._bypass_slot(slot, kind)
            return None if through is None else self.source(through)
        if self.inner is not None:
            outputs = self.inner.data.get("outputs")
            if outputs is not None and slot >= len(outputs):
                raise self._no_output(slot, len(outputs))
            for origin, out, target, target_slot in self.inner.links.values():
                if target == str(SUBGRAPH_OUTPUTS) and target_slot == slot:
                    if origin == str(SUBGRAPH_INPUTS):
                        return self.source(out, kind)
                    return self.inner.nodes[origin].output(out, kind)
            return None
        if self.type in VIRTUAL:
            return self.source(slot, kind)
        return self, slot

    def _no_output(self, slot: int, count: int) -> WorkflowError:
        return WorkflowError(
            f"has a link from output {slot} of node {self.path} ({self.type}), which has {count}, counted from 0. "
            "Open it in the graph editor and connect it again."
        )

    def passed_in(self, slot: int) -> tuple[Node, int] | Value | None:
        """What the outside of a subgraph gives its input `slot`: a link, or a widget's value on the instance."""
        if slot >= len(self.inputs):
            return None
        name = self.inputs[slot]["name"]
        if promoted := self.graph.promoted_value(self.id, name):
            return promoted
        if self.inputs[slot].get("link") is not None:
            return self.source(slot)
        return Value(self.widgets[name], self, name) if name in self.widgets else None

    def _bypass_slot(self, slot: int, kind: str) -> int | None:
        """The input that a bypassed node passes to its output: same slot, else same type, else one that fits."""
        if kind in ("*", ""):
            return slot if slot < len(self.inputs) else 0
        outputs = self.data.get("outputs") or []
        if slot >= len(outputs):
            raise self._no_output(slot, len(outputs))
        sent, kinds = outputs[slot].get("type", "*"), [entry.get("type", "*") for entry in self.inputs]
        fits = [_connects(k, sent) and _connects(k, kind) for k in kinds]
        if slot < len(kinds) and fits[slot]:
            return slot
        if kind in kinds:
            return kinds.index(kind)
        return fits.index(True) if True in fits else None


def _has_alternatives(spec: list | tuple | None) -> bool:
    return bool(spec) and len(spec) > 1 and bool(spec[1].get("dynamicPrompts"))


def _is_offered(name: str, chosen: dict[str, set[str]]) -> bool:
    """Whether an input `combo.input` belongs to the combo's chosen option; the editor removes the others."""
    return all(
        name.removeprefix(f"{combo}.").partition(".")[0] in inputs
        for combo, inputs in chosen.items()
        if name.startswith(f"{combo}.")
    )


def _connects(a: str, b: str) -> bool:
    if "*" in (a, b) or "" in (a, b):
        return True
    return bool(set(str(a).lower().split(",")) & set(str(b).lower().split(",")))


def _wrapped(value: object) -> object:
    """A bare list in a prompt would be read as a link."""
    return {"__value__": value} if isinstance(value, list) else value
