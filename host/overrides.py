"""`--set NODE.INPUT=VALUE`: a widget changed from the command line, in the prompt and in the graph saved with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from . import folders
from .validation import UPLOADS, is_link, title
from .widgets import is_widget, widget_position
from .workflow import Workflow, WorkflowError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def apply(workflow: Workflow, change: str, infos: dict[str, dict]) -> None:
    """Changes the workflow in place. NODE: a title, an id or a type that one node has. Raises WorkflowError."""
    name, equals, text = change.partition("=")
    node_name, dot, input_name = name.rpartition(".")
    if not (equals and dot and node_name and input_name):
        raise WorkflowError(f"--set {change!r}: expected NODE.INPUT=VALUE, for instance 'Sample.seed=7'")
    node_id = find_node(workflow.prompt, node_name)
    node = workflow.prompt[node_id]
    info = infos.get(node["class_type"])
    if info is None:
        raise WorkflowError(f"--set {change!r}: node {node_id} is a {node['class_type']}, which is not installed")
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    widgets = [key for key, spec in specs.items() if is_widget(spec)]
    if input_name not in widgets:
        raise WorkflowError(
            f"--set {change!r}: {title(node)} has no value '{input_name}'; it has {', '.join(widgets) or 'none'}"
        )
    if is_link(node["inputs"].get(input_name)):
        source = workflow.prompt[node["inputs"][input_name][0]]
        raise WorkflowError(f"--set {change!r}: '{input_name}' is wired from {title(source)}; set the value there")
    value = parsed(text, specs[input_name], change)
    node["inputs"][input_name] = value
    write_widget(workflow.ui, node_id, widget_position(input_name, info), input_name, value)


def find_node(prompt: dict, name: str) -> str:
    """The id of the one node of that id, title or type; titles also in any case."""
    if name in prompt:
        return name
    for names_it in (
        lambda node: title(node) == name,
        lambda node: node["class_type"] == name,
        lambda node: title(node).lower() == name.lower(),
    ):
        found = [node_id for node_id, node in prompt.items() if names_it(node)]
        if len(found) == 1:
            return found[0]
        if found:
            raise WorkflowError(
                f"--set: {len(found)} nodes are called '{name}'; say which by its id: {', '.join(found)}"
            )
    nodes = ", ".join(f"'{title(node)}' ({node_id})" for node_id, node in prompt.items())
    raise WorkflowError(f"--set: no node is called '{name}'; there are {nodes}")


def parsed(text: str, spec: list | tuple, change: str) -> object:
    """The text as the input's type. A path to a picture or video is copied into the input folder."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    try:
        if kind == "INT":
            return int(text, 0)
        if kind == "FLOAT":
            return float(text)
    except ValueError:
        raise WorkflowError(f"--set {change!r}: '{text}' is no {'whole ' if kind == 'INT' else ''}number") from None
    if kind == "BOOLEAN":
        if text.lower() not in TRUE + FALSE:
            raise WorkflowError(f"--set {change!r}: '{text}' is neither true nor false")
        return text.lower() in TRUE
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is None:
        return text
    if any(options.get(kind) for kind in UPLOADS) and text not in choices:
        return copied_to_input(text, change)
    match = next((choice for choice in choices if str(choice) == text), None)
    if match is None:
        raise WorkflowError(f"--set {change!r}: '{text}' is not one of {', '.join(map(str, choices))}")
    return match


def copied_to_input(text: str, change: str) -> str:
    """A file from anywhere, copied into the input folder as an upload would be -> its name."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise WorkflowError(
            f"--set {change!r}: there is no file {path.absolute()}, and none of that name in "
            f"{folders.directory('input')}"
        )
    import filecmp
    import shutil

    try:
        target = folders.directory("input") / path.name
        return folders.kept(target, partial(filecmp.cmp, path, shallow=False), partial(shutil.copyfile, path)).name
    except OSError as reason:
        raise WorkflowError(f"--set {change!r}: {path} cannot be copied into the input folder ({reason})") from None


def write_widget(ui: dict | None, node_id: str, position: int, name: str, value: object) -> None:
    """The same value in the graph that is saved with the video; nodes inside subgraphs are shared and stay."""
    for node in (ui or {}).get("nodes", []):
        values = node.get("widgets_values")
        if str(node["id"]) != node_id:
            continue
        if isinstance(values, dict):
            values[name] = value
        elif isinstance(values, list) and position < len(values):
            values[position] = value
