"""A workflow as the graph editor saves it (UI format, 0.4) -> the prompt that an executor runs.

Gives what the front end's app.graphToPrompt() gives: muted and bypassed nodes, reroutes, primitives, subgraphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bodies, embedded, text_replacements
from .repairs import SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS, links_of, without_groups
from .validation import MISSING_NODE_HELP, Prompt
from .widgets import choices, stored_widgets, widget_values

VIRTUAL = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}  # live in the editor only
MUTED, BYPASSED = 2, 4
MOST_NODES = 100_000  # subgraphs opened up; the largest that people share have some thousands
NO_VALUE = object()


class WorkflowError(ValueError):
    """A workflow that cannot become a prompt; says where and what to do."""


@dataclass
class Workflow:
    """A prompt, and the workflow it came from (None for a file that held a prompt already)."""

    prompt: Prompt
    ui: dict | None


def load(path: str | Path, infos: dict[str, dict]) -> Workflow:
    """Reads a workflow or prompt from JSON, or from a picture or video that holds one. Raises WorkflowError.

    infos: object_info by node type.
    """
    path = Path(path)
    try:
        data = _in_media(path) if path.suffix.lower() in embedded.MEDIA else json.loads(path.read_text("utf-8-sig"))
    except OSError as reason:
        raise WorkflowError(
            f"{path}: cannot be read ({reason.strerror}). Give the path of a workflow .json file."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as reason:
        raise WorkflowError(f"{path}: is not JSON ({reason}). Save the workflow again from the graph editor.") from None
    except RecursionError:
        raise WorkflowError(f"{path}: is nested too deeply to be a workflow.") from None
    try:
        return read(data, infos)
    except WorkflowError as reason:
        raise WorkflowError(f"{path}: {reason}") from None


def _in_media(path: Path) -> dict:
    path.open("rb").close()  # a missing file is said as such
    try:
        found = embedded.graph(path)
    except ValueError as reason:
        raise WorkflowError(f"{path}: cannot be read ({reason}). Give the file as it was saved.") from None
    if found is None:
        raise WorkflowError(
            f"{path}: holds no workflow. It was saved without one, or lost it when another program saved it."
        )
    return found


def read(data: object, infos: dict[str, dict]) -> Workflow:
    """Reads a workflow, a prompt, or the body of POST /prompt, by its shape."""
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        return Workflow(to_prompt(data, infos), data)
    if isinstance(data, dict) and isinstance(data.get("prompt"), dict):
        _check_shape(data, bodies.PROMPT)
        _check_nodes(data["prompt"])
        pnginfo = (data.get("extra_data") or {}).get("extra_pnginfo") or {}
        return Workflow(data["prompt"], pnginfo.get("workflow"))
    if isinstance(data, dict) and data and all(isinstance(n, dict) and "class_type" in n for n in data.values()):
        _check_nodes(data)
        return Workflow(data, None)
    raise WorkflowError(
        "holds neither a workflow (it has no list 'nodes') nor a prompt (nodes with 'class_type'). "
        "Save it with Workflow > Save or Export (API)."
    )


def _check_nodes(prompt: dict) -> None:
    for node_id, node in prompt.items():
        _check_shape({"node": node}, {"node": dict}, f"node {node_id}: ")
        _check_shape(node, bodies.NODE, f"node {node_id}: ")


def _check_shape(value: dict, fields: Mapping[str, bodies.Kinds], where: str = "") -> None:
    try:
        bodies.check(value, fields)
    except bodies.BadBody as reason:
        raise WorkflowError(f"{where}{reason}. Export it again from the graph editor.") from None


def to_prompt(workflow: dict, infos: dict[str, dict]) -> Prompt:
    """UI workflow -> {node id: {"class_type", "inputs", "_meta"}}. Raises WorkflowError naming missing node types."""
    try:
        workflow, definitions = _opened(workflow, infos)
        root = _Graph(workflow, definitions)
        nodes = list(root.executable())
        missing = [node for node in nodes if node.type not in infos]
        if missing:
            raise WorkflowError(_missing_message(missing))
        prompt = {
            node.path: {
                "inputs": node.prompt_inputs(infos[node.type]),
                "class_type": node.type,
                "_meta": node.meta(infos),
            }
            for node in nodes
        }
    except (KeyError, IndexError, TypeError, AttributeError) as reason:
        raise WorkflowError(
            f"is damaged: {type(reason).__name__} {reason}. Open it in the graph editor and save it again."
        ) from reason
    except RecursionError:
        raise WorkflowError(
            "has links that go round in a circle through reroutes or bypassed nodes. Cut one of them."
        ) from None
    for node in prompt.values():
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not (isinstance(value, list) and value[0] not in prompt)
        }
    for node in prompt.values():
        prefix = node["inputs"].get("filename_prefix")
        if node["class_type"] in text_replacements.SAVE_NODES and isinstance(prefix, str):
            node["inputs"]["filename_prefix"] = text_replacements.filled(
                prefix, lambda title, name: root.value(title, name, infos)
            )
    return prompt


def _opened(workflow: dict, infos: dict[str, dict]) -> tuple[dict, dict[str, dict]]:
    """(the root graph, subgraphs by their id) with group nodes as subgraphs. Raises WorkflowError if they hold no end
    of nodes."""

    def slots(kind: str) -> int | None:
        return sum(1 for _ in stored_widgets(infos[kind])) if kind in infos else None

    groups = (workflow.get("extra") or {}).get("groupNodes") or {}
    workflow, definitions = without_groups(workflow, groups, slots)
    for definition in (workflow.get("definitions") or {}).get("subgraphs") or []:
        definitions[definition["id"]], more = without_groups(definition, groups, slots)
        definitions |= more
    sizes: dict[str, int] = {}

    def size(graph: dict, around: tuple[str, ...]) -> int:
        return sum(1 + inner(node, around) for node in graph["nodes"])

    def inner(node: dict, around: tuple[str, ...]) -> int:
        kind = node["type"]
        if kind in around:
            where = f"node {node['id']}"
            raise WorkflowError(f"has a subgraph that holds itself ({where}). Take one of them out.")
        if kind in definitions and kind not in sizes:
            sizes[kind] = size(definitions[kind], (*around, kind))
        return sizes.get(kind, 0)

    count = size(workflow, ())
    if count > MOST_NODES:
        raise WorkflowError(f"holds {count} nodes once its subgraphs are opened, at most {MOST_NODES} are read.")
    return workflow, definitions


def _missing_message(missing: list[_Node]) -> str:
    places: dict[str, list[str]] = {}
    for node in missing:
        pack = node.data.get("properties", {}).get("cnr_id")
        places.setdefault(f"{node.type} (pack {pack})" if pack else node.type, []).append(node.path)
    lines = [f"  {name}: node {', '.join(ids)}" for name, ids in sorted(places.items())]
    return "needs nodes that are not installed:\n" + "\n".join(lines) + f"\n{MISSING_NODE_HELP}"


class _Graph:
    """The root graph or one instance of a subgraph: its nodes and links, and the instance in the graph around it."""

    def __init__(self, data: dict, definitions: dict[str, dict], instance: _Node | None = None):
        self.data, self.definitions, self.instance = data, definitions, instance
        self.overrides: dict[tuple[str, str], Any] = {}  # (node id, widget) -> what the instance around gives it
        self.links = links_of(data)
        self.nodes = {str(node["id"]): _Node(node, self) for node in data["nodes"]}
        self.primitives = dict(self._primitive_values())

    def executable(self) -> Iterator[_Node]:
        """Nodes that go into the prompt, subgraphs opened up."""
        for node in self.nodes.values():
            if node.type in VIRTUAL or node.mode in (MUTED, BYPASSED):
                continue
            if node.inner is not None:
                yield from node.inner.executable()
            else:
                yield node

    def every(self) -> Iterator[_Node]:
        for node in self.nodes.values():
            yield node
            if node.inner is not None:
                yield from node.inner.every()

    def value(self, title: str, name: str, infos: dict[str, dict]) -> object:
        """A widget's value by its node's title, whether that node runs or not; None where there is none."""
        for node in self.every():
            if node.type in infos and node.meta(infos)["title"] == title:
                value = node.prompt_inputs(infos[node.type]).get(name)
                return None if isinstance(value, list) else value
        return None

    def _primitive_values(self) -> Iterator[tuple[tuple[str, int], Any]]:
        """A primitive writes its value into the widgets it is wired to: ((node id, input slot), value)."""
        for node in self.nodes.values():
            values = node.data.get("widgets_values")
            if node.type == "PrimitiveNode" and values:
                for _, _, target, slot in (link for link in self.links.values() if link[0] == str(node.data["id"])):
                    yield (target, slot), values[0]


class _Node:
    """One node in its graph: where its inputs really come from, and what its widgets hold."""

    def __init__(self, data: dict, graph: _Graph):
        self.data, self.graph = data, graph
        self.type, self.mode = data["type"], data.get("mode", 0)
        self.inputs, self.outputs = data.get("inputs") or [], data.get("outputs") or []
        around = graph.instance
        self.path: str = f"{around.path}:{data['id']}" if around else str(data["id"])
        definition = graph.definitions.get(self.type)
        self.inner = _Graph(definition, graph.definitions, self) if definition is not None else None
        if self.inner is not None:
            self.inputs = self._declared_inputs(self.inner)
        self.promoted_values = dict(self._promoted_values(self.inner)) if self.inner is not None else {}

    def _declared_inputs(self, inner: _Graph) -> list[dict]:
        """The inputs in the subgraph's own order: an instance may have been saved with fewer, or in another order."""
        if not inner.data.get("inputs"):
            return self.inputs
        saved = {entry["name"]: entry for entry in self.inputs}
        declared = []
        for slot, entry in enumerate(inner.data["inputs"]):
            fed = [ends[2:] for ends in inner.links.values() if ends[:2] == (str(SUBGRAPH_INPUTS), slot)]
            targets = [inner.nodes[node].inputs[at] for node, at in fed if at < len(inner.nodes[node].inputs)]
            widget = {"widget": {"name": entry["name"]}} if any(target.get("widget") for target in targets) else {}
            declared.append({"type": "*", "link": None, **widget, **entry, **saved.get(entry["name"], {})})
        return declared

    def _promoted_values(self, inner: _Graph) -> Iterator[tuple[int, Any]]:
        """(input slot, value) of a subgraph's instance, later ones over earlier, as the front end reads them.

        First by the order of the inputs, then by that of `proxyWidgets`, which also names widgets of inner nodes:
        those are put into inner.overrides. A list with an entry that is no pair of texts is not read at all.
        """
        values = self.data.get("widgets_values")
        if not isinstance(values, list):
            return
        yield from zip((slot for slot, entry in enumerate(self.inputs) if entry.get("widget")), values, strict=False)
        proxies = (self.data.get("properties") or {}).get("proxyWidgets") or []
        if not all(
            isinstance(p, list) and len(p) >= 2 and all(isinstance(part, str) for part in p[:2]) for p in proxies
        ):
            return
        for (node_id, name, *_), value in zip(proxies, values, strict=False):
            slot = self._promoted_slot(inner, node_id, name)
            if slot is not None:
                yield slot, value
            else:
                inner.overrides[node_id, name] = value

    def _promoted_slot(self, inner: _Graph, node_id: str, name: str) -> int | None:
        """The input of this instance that holds that widget; -1 stands for the instance itself."""
        if node_id == "-1":
            return next((slot for slot, entry in enumerate(self.inputs) if entry["name"] == name), None)
        entries = inner.nodes[node_id].inputs if node_id in inner.nodes else []
        link = next((inner.links.get(str(entry.get("link"))) for entry in entries if entry["name"] == name), None)
        return link[1] if link is not None and link[0] == str(SUBGRAPH_INPUTS) else None

    def meta(self, infos: dict[str, dict]) -> dict[str, str]:
        """What labels the node in a prompt: its title, and the pack and version it was saved with."""
        properties = self.data.get("properties") or {}
        title = self.data.get("title") or infos[self.type].get("display_name") or self.type
        return {"title": title, **{key: properties[key] for key in ("cnr_id", "aux_id", "ver") if properties.get(key)}}

    def prompt_inputs(self, info: dict) -> dict[str, Any]:
        specs = {name: spec for name, spec in stored_widgets(info, self.data.get("widgets_values")) if spec is not None}
        inputs = {
            name: _wrapped(self._override(name, value))
            for name, value in widget_values(self.data.get("widgets_values"), info)
        }
        for slot, entry in enumerate(self.inputs):
            primitive = self.graph.primitives.get((str(self.data["id"]), slot), NO_VALUE)
            if primitive is not NO_VALUE:
                inputs[entry["name"]] = _wrapped(primitive)
                continue
            source = self.source(slot)
            if isinstance(source, _Value):
                value, offered = source.value, choices(specs.get(entry["name"], [""]))
                if value is None and offered:  # the editor chooses the first
                    value = offered[0]
                inputs[entry["name"]] = _wrapped(value)
            elif source is not None:
                inputs[entry["name"]] = [source[0].path, source[1]]
        return inputs

    def _override(self, name: str, value: object) -> object:
        return self.graph.overrides.get((str(self.data["id"]), name), value)

    def source(self, slot: int, kind: str | None = None) -> tuple[_Node, int] | _Value | None:
        """What feeds an input: a node's output, a value set on the subgraph around, or nothing."""
        if slot >= len(self.inputs) or self.inputs[slot].get("link") is None:
            return None
        kind = kind or self.inputs[slot].get("type", "*")
        link = self.graph.links.get(str(self.inputs[slot]["link"]))
        if link is None:
            return None
        origin, out, _, _ = link
        if origin == str(SUBGRAPH_INPUTS) and self.graph.instance is not None:
            return self.graph.instance.promoted(out)
        return self.graph.nodes[origin].output(out, kind)

    def output(self, slot: int, kind: str) -> tuple[_Node, int] | _Value | None:
        """The node behind an output: this one, or what a reroute, a bypass or a subgraph passes on."""
        if self.mode == MUTED:
            return None
        if self.mode == BYPASSED:
            through = self._bypass_slot(slot, kind)
            return None if through is None else self.source(through)
        if self.inner is not None:
            for origin, out, target, target_slot in self.inner.links.values():
                if target == str(SUBGRAPH_OUTPUTS) and target_slot == slot:
                    if origin == str(SUBGRAPH_INPUTS):
                        return self.source(out, kind)
                    return self.inner.nodes[origin].output(out, kind)
            return None
        if self.type in VIRTUAL:
            return self.source(slot, kind)
        return self, slot

    def promoted(self, slot: int) -> tuple[_Node, int] | _Value | None:
        """What the outside of a subgraph gives its input `slot`: a link, or a widget's value on the instance."""
        if slot >= len(self.inputs):
            return None
        if self.inputs[slot].get("link") is not None:
            return self.source(slot)
        value = self._override(self.inputs[slot]["name"], self.promoted_values.get(slot, NO_VALUE))
        return None if value is NO_VALUE else _Value(value)

    def _bypass_slot(self, slot: int, kind: str) -> int | None:
        """The input that a bypassed node passes to its output: same slot, else same type, else one that fits."""
        if kind in ("*", ""):
            return slot if slot < len(self.inputs) else 0
        sent, kinds = self.outputs[slot].get("type", "*"), [entry.get("type", "*") for entry in self.inputs]
        fits = [_connects(k, sent) and _connects(k, kind) for k in kinds]
        if slot < len(kinds) and fits[slot]:
            return slot
        if kind in kinds:
            return kinds.index(kind)
        return fits.index(True) if True in fits else None


@dataclass
class _Value:
    value: Any


def _connects(a: str, b: str) -> bool:
    if "*" in (a, b) or "" in (a, b):
        return True
    return bool(set(str(a).lower().split(",")) & set(str(b).lower().split(",")))


def _wrapped(value: object) -> object:
    """A bare list in a prompt would be read as a link."""
    return {"__value__": value} if isinstance(value, list) else value
