"""`--set NODE.INPUT=VALUE`: a widget changed from the command line, in the prompt and in the graph saved with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from . import dynamic, folders
from .validation import UPLOADS, is_link, title
from .widgets import choices, default_value, is_widget, widget_position
from .workflow import Workflow, WorkflowError

EXPECTED = "--set {!r}: expected NODE.INPUT=VALUE, for instance 'Sample.seed=7'"
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def apply(workflow: Workflow, change: str, infos: dict[str, dict]) -> None:
    """Changes the workflow in place. NODE: a title, an id or a type that one node has. Raises WorkflowError."""
    name, equals, text = change.partition("=")
    if not equals:
        raise WorkflowError(EXPECTED.format(change))
    node_id, input_name = split(workflow.prompt, name, change)
    node = workflow.prompt[node_id]
    info = infos.get(node["class_type"])
    if info is None:
        raise WorkflowError(f"--set {change!r}: node {node_id} is a {node['class_type']}, which is not installed")
    specs = shown_widgets(info, node["inputs"])
    inner = [path for path in specs if path.endswith(f".{input_name}")]  # `codec` is enough for `format.codec`
    if input_name not in specs and len(inner) == 1:
        (input_name,) = inner
    if input_name not in specs:
        raise WorkflowError(
            f"--set {change!r}: {title(node)} has no value '{input_name}'; it has {', '.join(specs) or 'none'}"
        )
    if is_link(node["inputs"].get(input_name)):
        source = workflow.prompt[node["inputs"][input_name][0]]
        raise WorkflowError(f"--set {change!r}: '{input_name}' is wired from {title(source)}; set the value there")
    value = parsed(text, specs[input_name], change)
    node["inputs"][input_name] = value
    for path, spec in shown_widgets(info, node["inputs"]).items():  # another option brings others
        node["inputs"].setdefault(path, default_value(spec))
    write_widget(workflow.ui, node_id, info, input_name, value)


def split(prompt: dict, name: str, change: str) -> tuple[str, str]:
    """NODE.INPUT -> (node id, input). Titles hold points, and so do inputs of a dynamic combo's option."""
    points = [place for place, letter in enumerate(name) if letter == "." and 0 < place < len(name) - 1]
    if not points:
        raise WorkflowError(EXPECTED.format(change))
    reason: WorkflowError | None = None
    for place in reversed(points):
        try:
            return find_node(prompt, name[:place]), name[place + 1 :]
        except WorkflowError as found:
            reason = reason or found
    assert reason is not None
    raise reason


def shown_widgets(info: dict, inputs: dict) -> dict[str, list]:
    """{input: spec} of the values that a node shows, those of its dynamic combos' chosen options among them."""
    found = {path: [kind, options] for path, kind, options, _ in dynamic.expanded(info["input"], inputs)}
    return {path: spec for path, spec in found.items() if is_widget(spec) and not spec[1].get("hidden")}


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


def write_widget(ui: dict | None, node_id: str, info: dict, name: str, value: object) -> None:
    """The same value in the graph that is saved with the video; nodes inside subgraphs are shared and stay."""
    for node in (ui or {}).get("nodes", []):
        values = node.get("widgets_values")
        if str(node["id"]) != node_id:
            continue
        if isinstance(values, dict):
            values[name] = value
            continue
        position = widget_position(name, info, values)
        if isinstance(values, list) and position is not None and position < len(values):
            values[position] = value
