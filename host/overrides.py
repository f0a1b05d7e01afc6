"""`--set NODE.INPUT=VALUE`: a value changed from the command line where the workflow stores it; the prompt follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import dynamic, folders
from .graph import Graph, Node, Value, WidgetName
from .validation import UPLOADS, Prompt, is_link, title
from .widgets import COMPARED, choices, default_value, is_widget, specs_of
from .workflow import Workflow, WorkflowError, opened, to_prompt

EXPECTED = "--set {!r}: expected NODE.INPUT=VALUE, for instance 'Sample.seed=7'"
NO_GRAPH = "The graph beside the prompt in this file does not follow --set, so it is not saved with the video."
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Setting:
    """A value that --set may change: its type, how it is written, the inputs that take it and the nodes that hold it.

    Several nodes hold one value where it is stored inside a subgraph that has several instances.
    """

    spec: list
    write: Callable[[object], None]
    users: list[str]
    holders: set[str]
    moves_others: bool  # whether other values may be stored elsewhere once it is written


@dataclass(frozen=True)
class Named:
    """A node that --set may name: its inputs' values, or why they cannot be set."""

    title: str
    type: str
    inputs: dict[str, Setting | str]


def apply(workflow: Workflow, changes: Iterable[str], infos: dict[str, dict]) -> list[str]:
    """Changes the workflow in place; returns remarks on what else these change. Raises WorkflowError.

    A change is NODE.INPUT=VALUE. NODE: a title, an id or a type; of a node, an instance of a subgraph or a primitive.
    """
    remarks, settings = [], None
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise WorkflowError(EXPECTED.format(change))
        settings = settings or Settings(workflow, infos)
        setting = settings.find(name, change)
        settings.write(setting, parsed(text, setting.spec, change))
        remarks += said_of(setting, change)
    if settings is not None and workflow.from_ui:
        workflow.prompt = to_prompt(settings.graph, infos)
    elif settings is not None and workflow.ui is not None:
        workflow.ui = None
        remarks.append(NO_GRAPH)
    return remarks


def said_of(setting: Setting, change: str) -> list[str]:
    """A remark where a value is that of several inputs."""
    return [f"--set {change!r} changes {' and '.join(setting.users)}, which share a value"] * (len(setting.users) > 1)


class Settings:
    """The values of a workflow that --set may change: those of its graph, or of its prompt where that is all it has."""

    def __init__(self, workflow: Workflow, infos: dict[str, dict]):
        self.prompt, self.infos = workflow.prompt, infos
        self.graph: dict = workflow.ui if workflow.from_ui and workflow.ui is not None else {}
        self._read()

    def _read(self) -> None:
        self.idle: set[str] = set()  # what nodes are called whose values nothing takes that runs
        if self.graph:
            root = opened(self.graph, self.infos)
            self.nodes = in_graph(root)
            self.idle = {label for node in root.every() for label in (node.path, node.meta()["title"])}
        else:
            self.nodes = in_prompt(self.prompt, self.infos)

    def write(self, setting: Setting, value: object) -> None:
        """Another value, after which other values may be found elsewhere."""
        setting.write(value)
        if setting.moves_others:
            self._read()

    def find(self, name: str, change: str) -> Setting:
        """What NODE.INPUT names. change: what the error says was asked for. Raises WorkflowError."""
        called, input_name = split(self.nodes, name, change, self.idle)
        ids = [called] if called in self.nodes else matches(self.nodes, called)
        found = {key: entry for key in ids if (entry := input_of(self.nodes[key], input_name)) is not None}
        if not found and len(ids) == 1:
            node = self.nodes[ids[0]]
            if not self.graph and node.type not in self.infos:
                raise WorkflowError(f"--set {change!r}: node {ids[0]} is a {node.type}, which is not installed")
            raise WorkflowError(
                f"--set {change!r}: {node.title} has no value '{input_name}'; it has {', '.join(node.inputs) or 'none'}"
            )
        if len({id(entry) for entry in found.values()}) != 1:
            named = ", ".join(found or ids)
            raise WorkflowError(f"--set: {len(found or ids)} nodes are called '{called}'; say which by its id: {named}")
        setting = next(iter(found.values()))
        if isinstance(setting, str):
            raise WorkflowError(f"--set {change!r}: '{input_name}' {setting}")
        if called in self.nodes and len(setting.holders) > 1:
            raise WorkflowError(
                f"--set {change!r}: {' and '.join(setting.users)} are one value, stored inside a subgraph. Name the "
                "node by its title to change all, or make the value an input of the subgraph in the graph editor"
            )
        return setting


def split(nodes: dict[str, Named], name: str, change: str, idle: set[str]) -> tuple[str, str]:
    """NODE.INPUT -> (NODE, INPUT). Titles hold points, and so do inputs of a dynamic combo's option.

    idle: what nodes are called whose values nothing takes that runs.
    """
    points = [place for place, letter in enumerate(name) if letter == "." and 0 < place < len(name) - 1]
    if not points:
        raise WorkflowError(EXPECTED.format(change))
    for place in reversed(points):
        if name[:place] in nodes or matches(nodes, name[:place]):
            return name[:place], name[place + 1 :]
    called = name[: points[-1]]
    known = ", ".join(f"'{node.title}' ({node_id})" for node_id, node in nodes.items())
    if called in idle:
        raise WorkflowError(
            f"--set: nothing that runs takes a value of '{called}' (muted, bypassed or not wired); there are {known}"
        )
    raise WorkflowError(f"--set: no node is called '{called}'; there are {known}")


def matches(nodes: dict[str, Named], name: str) -> list[str]:
    """The ids of the nodes of that title, else of that type, else of that title in any case."""
    for names_it in (
        lambda node: node.title == name,
        lambda node: node.type == name,
        lambda node: node.title.lower() == name.lower(),
    ):
        if found := [node_id for node_id, node in nodes.items() if names_it(node)]:
            return found
    return []


def input_of(node: Named, name: str) -> Setting | str | None:
    """An input by its name; `codec` is enough for `format.codec`."""
    inner = [path for path in node.inputs if path.endswith(f".{name}")]
    return node.inputs.get(inner[0] if name not in node.inputs and len(inner) == 1 else name)


def in_prompt(prompt: Prompt, infos: dict[str, dict]) -> dict[str, Named]:
    """The nodes of a file that holds a prompt and no graph."""
    known = {key: node for key, node in prompt.items() if node.get("class_type")}  # others are refused by the checks
    found = {key: Named(title(node), node["class_type"], {}) for key, node in known.items()}
    for key, node in known.items():
        inputs, info = node.setdefault("inputs", {}), infos.get(node["class_type"])
        if info is None:
            continue
        for name, spec in shown_widgets(info, inputs).items():
            link = inputs.get(name)
            if is_link(link):
                source = str(link[0]) if link else ""
                found[key].inputs[name] = wired(found[source].title if source in found else f"node {source}")
            else:
                write, moves = partial(write_input, inputs, info, name), spec[0] == dynamic.COMBO
                found[key].inputs[name] = Setting(spec, write, [name], {key}, moves)
    return found


def write_input(inputs: dict, info: dict, name: str, value: object) -> None:
    """An input of a prompt's node; another option of a dynamic combo brings others."""
    inputs[name] = value
    for path, spec in shown_widgets(info, inputs).items():
        inputs.setdefault(path, default_value(spec))


def in_graph(root: Graph) -> dict[str, Named]:
    """The nodes of a graph that run, the instances of subgraphs around them and the primitives that they take from."""
    found: dict[str, Named] = {}
    holders: dict[str, Node] = {}
    settings: dict[tuple[int, WidgetName], Setting | str] = {}  # by where the file stores the value
    takers: dict[tuple[int, WidgetName], tuple[list[str], set[str]]] = {}  # users and holders, as in Setting
    for node in root.executable():
        named = found[node.path] = Named(node.meta()["title"], node.type, {})
        specs = shown(specs_of(node.info, node.widgets))
        for name, source in node.sources().items():
            if isinstance(source, Value):
                holder, place = source.holder, (id(source.holder.data), source.widget)
                users, paths = takers.setdefault(place, ([], set()))
                users.append(f"{named.title}.{name} ({node.path})")
                paths.add(holder.path)
                holders[holder.path] = holder
                if name in specs:
                    spec, write = specs[name], partial(holder.store, source.widget)
                    moves = spec[0] == dynamic.COMBO or holder.inner is not None
                    setting = fault(holder, node, name, spec) or Setting(spec, write, users, paths, moves)
                    named.inputs[name] = settings.setdefault(place, setting)
            elif name in specs:
                named.inputs[name] = wired(source[0].meta()["title"])
        around = node.graph.instance
        while around is not None:
            holders[around.path] = around
            around = around.graph.instance
    held: dict[int, dict[str, Setting | str]] = {}
    for (data, widget), setting in sorted(settings.items(), key=lambda entry: isinstance(entry[0][1], tuple)):
        inputs = held.setdefault(data, {})
        name = widget if isinstance(widget, str) else widget[1]
        inputs[name if name not in inputs else ": ".join(widget)] = setting
    for path, holder in holders.items():
        found.setdefault(path, Named(holder.meta()["title"], holder.type, held.get(id(holder.data), {})))
    return found


def fault(holder: Node, node: Node, name: str, spec: list) -> str | None:
    """Why the value of a node's input cannot be written where it is held, or None."""
    if holder.saved is None:
        return "is stored in a group node; open and save the workflow in the graph editor, which makes a subgraph of it"
    wired_options = any(e["name"].startswith(f"{name}.") and e.get("link") is not None for e in node.inputs)
    if spec[0] == dynamic.COMBO and node.graph.instance is not None and wired_options:
        return "brings inputs that the subgraph around feeds, which moves its values; choose it in the graph editor"
    return None


def wired(source: str) -> str:
    """Why a value that comes from another node cannot be set."""
    return f"is wired from {source}; set the value there"


def shown_widgets(info: dict, inputs: dict) -> dict[str, list]:
    """{input: spec} of the values that a node shows, those of its dynamic combos' chosen options among them."""
    return shown({path: (kind, options) for path, kind, options, _ in dynamic.expanded(info["input"], inputs)})


def shown(specs: Mapping[str, list | tuple]) -> dict[str, list]:
    """Those of the inputs whose values a person may set, each with its options."""
    found = {name: [spec[0], spec[1] if len(spec) > 1 else {}] for name, spec in specs.items()}
    return {
        name: spec
        for name, spec in found.items()
        if is_widget(spec) and spec[0] != COMPARED and not spec[1].get("hidden")
    }


def parsed(text: str, spec: list | tuple, change: str) -> object:
    """The text as the input's type. A path to a picture or video is copied into the input folder."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    try:
        if kind == "INT":
            return int(text, 0)
        if kind == "FLOAT":
            number = float(text)
            if not math.isfinite(number):  # JSON, as which the graph is saved, has no such number
                raise ValueError
            return number
    except ValueError:
        raise WorkflowError(f"--set {change!r}: '{text}' is no {'whole ' if kind == 'INT' else ''}number") from None
    if kind == "BOOLEAN":
        if text.lower() not in TRUE + FALSE:
            raise WorkflowError(f"--set {change!r}: '{text}' is neither true nor false")
        return text.lower() in TRUE
    offered = choices(spec)
    if offered is None:
        return text
    if any(options.get(kind) for kind in UPLOADS) and text not in offered:
        return copied_to_input(text, change)
    match = next((choice for choice in offered if str(choice) == text), None)
    if match is None:
        raise WorkflowError(f"--set {change!r}: '{text}' is not one of {', '.join(map(str, offered))}")
    return match


def copied_to_input(text: str, change: str) -> str:
    """A file from anywhere, copied into the input folder as an upload would be -> its name."""
    path = Path(text)
    try:
        path = path.expanduser()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, ~ without a home, a null character
        there = False
    if not there:
        raise WorkflowError(
            f"--set {change!r}: there is no file {str(path.absolute()):.300}, and none of that name in "
            f"{folders.directory('input')}"
        )
    import filecmp
    import shutil

    try:
        target = folders.directory("input") / path.name
        return folders.kept(target, partial(filecmp.cmp, path, shallow=False), partial(shutil.copyfile, path)).name
    except OSError as reason:
        raise WorkflowError(f"--set {change!r}: {path} cannot be copied into the input folder ({reason})") from None
