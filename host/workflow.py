"""A workflow as the graph editor saves it (UI format, 0.4) -> the prompt that an executor runs.

Gives what the front end's app.graphToPrompt() gives: muted and bypassed nodes, reroutes, primitives, subgraphs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..machine.parse import Unreadable, check, json_value
from . import bodies, embedded, text_replacements
from .graph import Graph, Kinds, Node, WorkflowError
from .repairs import first_of, links_of, with_unique_ids, without_groups
from .validation import MISSING_NODE_HELP, Prompt
from .widgets import stored_widgets

log = logging.getLogger(__name__)

MOST_NODES = 100_000  # subgraphs opened up; the largest that people share have some thousands


@dataclass
class Workflow:
    """A prompt, and the graph that is saved with its videos (None for a file that held a prompt alone)."""

    prompt: Prompt
    ui: dict | None
    from_ui: bool = False  # whether to_prompt made the prompt of the graph; a request to the server holds both


def load(path: str | Path, infos: dict[str, dict]) -> Workflow:
    """Reads a workflow or prompt from JSON, or from a picture or video that holds one. Raises WorkflowError.

    infos: object_info by node type.
    """
    path = Path(path)
    try:
        data = _in_media(path) if path.suffix.lower() in embedded.MEDIA else _in_file(path)
    except OSError as reason:
        raise WorkflowError(
            f"{path}: cannot be read ({reason.strerror}). Give the path of a workflow .json file."
        ) from None
    except Unreadable as reason:
        raise WorkflowError(f"{path}: {reason}. Save the workflow again from the graph editor.") from None
    try:
        return read(data, infos)
    except WorkflowError as reason:
        raise WorkflowError(f"{path}: {reason}") from None


def _in_file(path: Path) -> object:
    if path.stat().st_size > bodies.LARGEST_FILE:
        raise Unreadable(f"has {path.stat().st_size:,} bytes; at most {bodies.LARGEST_FILE:,} are read")
    return json_value(path.read_bytes(), nan_is_null=True)


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
    """Reads a workflow, a prompt, or the body of POST /prompt, by its shape. What was mended in it is said."""
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        prompt = to_prompt(data, infos)
        _say_repairs(data)
        return Workflow(prompt, data, from_ui=True)
    if isinstance(data, dict) and isinstance(data.get("prompt"), dict):
        _check(data, bodies.PROMPT)
        pnginfo = (data.get("extra_data") or {}).get("extra_pnginfo") or {}
        return Workflow(data["prompt"], pnginfo.get("workflow"))
    if isinstance(data, dict) and data and all(isinstance(n, dict) and "class_type" in n for n in data.values()):
        _check(data, bodies.PROMPT_NODES, "node ")
        return Workflow(data, None)
    raise WorkflowError(
        "holds neither a workflow (it has no list 'nodes') nor a prompt (nodes with 'class_type'). "
        "Save it with Workflow > Save or Export (API)."
    )


def _say_repairs(workflow: dict) -> None:
    mended, doubles = with_unique_ids(workflow)
    if doubles:
        log.warning("Nodes with the id of another one got a new one: %s", first_of(doubles))
    dropped = [number for graph in (mended, *mended["definitions"]["subgraphs"]) for number in links_of(graph)[1]]
    if dropped:
        log.warning("Links that lead to nothing were dropped: %s", first_of(dropped))


def _check(value: object, fields: bodies.Fields, before: str = "") -> None:
    try:
        check(value, fields)
    except Unreadable as reason:
        raise WorkflowError(f"{before}{reason}. Open it in the graph editor and save or export it again.") from None


def to_prompt(workflow: dict, infos: dict[str, dict]) -> Prompt:
    """UI workflow -> {node id: {"class_type", "inputs", "_meta"}}. Raises WorkflowError naming missing node types."""
    _check(workflow, bodies.WORKFLOW)
    try:
        root = opened(workflow, infos)
        nodes = list(root.executable())
        missing = [node for node in nodes if node.type not in infos]
        if missing:
            raise WorkflowError(_missing_message(missing))
        prompt = {
            node.path: {"inputs": node.prompt_inputs(), "class_type": node.type, "_meta": node.meta()} for node in nodes
        }
    except Unreadable as reason:
        raise WorkflowError(f"{reason}. Open it in the graph editor and save it again.") from None
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
            node["inputs"]["filename_prefix"] = text_replacements.filled(prefix, root.value)
    return prompt


def opened(workflow: dict, infos: dict[str, dict]) -> Graph:
    """The root graph, mended, with its subgraphs opened up and group nodes as subgraphs. Raises WorkflowError if they
    hold no end of nodes."""

    def slots(kind: str) -> int | None:
        return sum(1 for _ in stored_widgets(infos[kind])) if kind in infos else None

    saved = (workflow["nodes"], *(s["nodes"] for s in (workflow.get("definitions") or {}).get("subgraphs") or []))
    workflow, _ = with_unique_ids(workflow)
    groups = (workflow.get("extra") or {}).get("groupNodes") or {}
    workflow, definitions = without_groups(workflow, groups, slots)
    graphs = [workflow]
    for definition in workflow["definitions"]["subgraphs"]:
        definitions[definition["id"]], more = without_groups(definition, groups, slots)
        graphs.append(definitions[definition["id"]])
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
    originals = {
        id(mended): node
        for nodes, graph in zip(saved, graphs, strict=True)
        for node, mended in zip(nodes, graph["nodes"], strict=True)
    }
    return Graph(workflow, Kinds(infos, definitions, originals))


def _missing_message(missing: list[Node]) -> str:
    places: dict[str, list[str]] = {}
    for node in missing:
        pack = node.data.get("properties", {}).get("cnr_id")
        places.setdefault(f"{node.type} (pack {pack})" if pack else node.type, []).append(node.path)
    lines = [f"  {name}: node {', '.join(ids)}" for name, ids in sorted(places.items())]
    return "needs nodes that are not installed:\n" + "\n".join(lines) + f"\n{MISSING_NODE_HELP}"
