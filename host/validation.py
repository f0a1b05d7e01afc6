"""Is a prompt fit to run? The checks ComfyUI makes, with errors of the same shape, so the front end marks the node."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..machine.parse import Unreadable, check
from . import bodies, dynamic, preflight

Prompt = dict[str, dict[str, Any]]  # node id -> {"class_type", "inputs": {name: value | [node id, output slot]}}
UNLISTED = "value_not_in_list"
UPLOADS = ("image_upload", "video_upload", "audio_upload")
IoType = str | list  # an input's type by name, or the choices of a combo in its older form

MISSING_NODE_HELP = (
    "Not one of the nodes that run here (VDiT's own, and ComfyUI's for loading and saving pictures and video). "
    "Install the pack that brings it into ComfyUI and run this workflow there, or delete the node."
)


class InvalidPrompt(ValueError):
    """No output of the prompt can run. `error` and `node_errors` are what ComfyUI's POST /prompt answers."""

    def __init__(self, error: dict, node_errors: dict[str, dict] | None = None):
        node_errors = node_errors or {}
        lines = [error["message"] if not node_errors else "The workflow cannot run:"]
        for node_id, entry in node_errors.items():
            for reason in entry["errors"]:
                details = f": {reason['details']}" if reason["details"] else ""
                lines.append(f"  {entry['title']} (node {node_id}): {reason['message']}{details}")
        super().__init__("\n".join(lines))
        self.error, self.node_errors = error, node_errors


@dataclass
class Checked:
    """What may run: the prompt with values converted to their types and without inputs that a node does not know,
    its good outputs, and the bad nodes' errors."""

    prompt: Prompt
    outputs: list[str]
    node_errors: dict[str, dict] = field(default_factory=dict)


class ListValue(list):
    """A list that is a value and no link."""


def is_link(value: object) -> bool:
    """ComfyUI's rule: a list is a link; list values travel as {"__value__": [...]}, and are ListValues once checked."""
    return isinstance(value, list) and not isinstance(value, ListValue)


def title(node: dict) -> str:
    """What a person calls a node of a prompt."""
    return (node.get("_meta") or {}).get("title") or node["class_type"]


def error(kind: str, message: str, details: str = "", **extra: object) -> dict:
    """An error as ComfyUI's POST /prompt answers it."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def types_fit(sent: str, wanted: str) -> bool:
    """A union is written "A,B"; "*" fits anything. One type in common suffices."""
    if sent == wanted or "*" in (sent, wanted):
        return True
    return bool({part.strip() for part in sent.split(",")} & {part.strip() for part in wanted.split(",")})


def accepted(function: Callable, values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that the function takes by name, or all when it takes **kwargs."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(values)
    return {name: value for name, value in values.items() if name in parameters}


def overrides(cls: type, name: str) -> bool:
    """Whether a node class, not the schema's base class, defines `name`."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    return owner is not None and ".api" not in owner.__module__ and owner.__module__ != "comfy_api.latest._io"


def validate(prompt: Prompt, nodes: dict[str, type], targets: list[str] | None = None) -> Checked:
    """Checks every node that an output needs. `targets`: run only these output nodes (partial execution).

    Outputs whose branch is bad are left out and reported; raises InvalidPrompt when none is left.
    """
    if not isinstance(prompt, dict) or not prompt:
        raise InvalidPrompt(error("no_prompt", "No prompt provided", "The prompt holds no node."))
    try:
        check(prompt, bodies.PROMPT_NODES)
    except Unreadable as reason:
        raise InvalidPrompt(error("invalid_prompt", f"Node {reason}")) from None
    return _Validation(prompt, nodes, targets).check()


class _Validation:
    def __init__(self, prompt: Prompt, nodes: dict[str, type], targets: list[str] | None):
        self.prompt = {
            node_id: dict(node, inputs=dict(node.get("inputs") or {})) if node else {}
            for node_id, node in prompt.items()
        }
        self.nodes, self.targets = nodes, targets
        self.infos: dict[str, dict] = {}
        self.reasons: dict[str, list[dict]] = {}  # node id -> its own errors, once checked

    def check(self) -> Checked:
        outputs = self._outputs()
        if not outputs:
            advice = "Add a node that saves or shows something, such as Save Video."
            raise InvalidPrompt(error("prompt_no_outputs", "Prompt has no outputs", advice))
        needed = {node_id for output in outputs for node_id in self._needed_by(output)}
        first = [reason["type"] for node_id in needed for reason in self.reasons[node_id]]
        if set(first) <= {
            UNLISTED
        }:  # else those come first; a file that is not listed may be there and of another kind
            for fault in preflight.faults(self.prompt, needed):
                # Of the types that the front end knows, the one whose details it shows at once.
                reason = error("exception_during_validation", "The node cannot run", fault.message)
                self.reasons[fault.node_id].append(reason)
        node_errors: dict[str, dict] = {}
        good = []
        for output in outputs:
            bad = [node_id for node_id in self._needed_by(output) if self.reasons[node_id]]
            for node_id in bad:
                entry = node_errors.setdefault(node_id, self._entry(node_id, self.reasons[node_id]))
                entry["dependent_outputs"].append(output)
            if not bad:
                good.append(output)
        if not good:
            details = "\n".join(f"{r['message']}: {r['details']}" for e in node_errors.values() for r in e["errors"])
            kind = "prompt_outputs_failed_validation"
            raise InvalidPrompt(error(kind, "Prompt outputs failed validation", details), node_errors)
        return Checked(self.prompt, good, node_errors)

    def _outputs(self) -> list[str]:
        found = []
        missing: dict[str, dict] = {}
        for node_id, node in self.prompt.items():
            kind = node.get("class_type")
            if kind is None:
                message = "Cannot execute because a node is missing the class_type property."
                raise InvalidPrompt(error("invalid_prompt", message, f"Node ID '#{node_id}'"))
            if kind not in self.nodes:
                reason = error("missing_node_type", f"Node '{kind}' is not installed", MISSING_NODE_HELP)
                missing[node_id] = self._entry(node_id, [reason])
                continue
            if kind not in self.infos:
                self.infos[kind] = self.nodes[kind].object_info()
            if self.infos[kind].get("output_node") and (self.targets is None or node_id in self.targets):
                found.append(node_id)
        if missing:
            names = ", ".join(sorted({entry["class_type"] for entry in missing.values()}))
            first, entry = next(iter(missing.items()))
            message = f"This workflow needs nodes that are not installed: {names}"
            where = {"node_id": first, "class_type": entry["class_type"], "node_title": entry["title"]}
            raise InvalidPrompt(error("missing_node_type", message, MISSING_NODE_HELP, **where), missing)
        return found

    def _title(self, node_id: str) -> str:
        return title(self.prompt[node_id])

    def _entry(self, node_id: str, errors: list[dict]) -> dict:
        return {
            "errors": errors,
            "class_type": self.prompt[node_id]["class_type"],
            "title": self._title(node_id),
            "dependent_outputs": [],
        }

    def _needed_by(self, output: str) -> list[str]:
        """The output and everything upstream of it, each node checked once; a cycle is its closing node's error."""
        order: list[str] = []
        state: dict[str, int] = {}  # 1: being walked, 2: done
        stack = [(output, False)]
        while stack:
            node_id, leaving = stack.pop()
            if leaving:
                state[node_id] = 2
                order.append(node_id)
                continue
            if state.get(node_id) == 2:
                continue
            state[node_id] = 1
            stack.append((node_id, True))
            if node_id not in self.reasons:
                self.reasons[node_id] = self._check_node(node_id)
            for name, value in self.prompt[node_id]["inputs"].items():
                if not (is_link(value) and len(value) == 2 and isinstance(value[0], str) and value[0] in self.prompt):
                    continue
                if state.get(value[0]) == 1:
                    self._add_cycle(node_id, name, value)
                elif state.get(value[0]) is None:
                    stack.append((value[0], False))
        return order

    def _add_cycle(self, node_id: str, name: str, link: list) -> None:
        if not any(reason["type"] == "dependency_cycle" for reason in self.reasons[node_id]):
            source = f"{self._title(link[0])} (node {link[0]})"
            loop = f"{name} comes from {source}, which needs this node's result. Cut one link."
            self.reasons[node_id].append(error("dependency_cycle", "The nodes form a loop", loop, input_name=name))

    def _check_node(self, node_id: str) -> list[dict]:
        node = self.prompt[node_id]
        cls, groups = self.nodes[node["class_type"]], self.infos[node["class_type"]]["input"]
        specs = list(dynamic.expanded(groups, node["inputs"]))
        known = {path for path, *_ in specs}
        inputs: dict = {name: value for name, value in node["inputs"].items() if name in known}
        node["inputs"] = inputs  # without the front end's own widgets, which it sends along
        errors: list[dict] = []
        own_checks = inspect.signature(cls.validate_inputs).parameters if overrides(cls, "validate_inputs") else {}
        for name, kind, options, required in specs:
            if name not in inputs:
                if required:
                    errors.append(error("required_input_missing", "Required input is missing", name, input_name=name))
                continue
            value = inputs[name]
            if is_link(value):
                errors += self._check_link(name, value, kind, options)
                continue
            if not takes_constants(kind, options) and (required or value is not None):
                message, details = f"Needs a link from a node that gives {kind}", f"{name}: {value!r} is no link"
                errors.append(error("invalid_input_type", message, details, input_name=name, received_value=value))
                continue
            if not isinstance(value, str) and any(options.get(upload) for upload in UPLOADS):
                errors.append(not_converted(name, value, "file name", "expected a string", input_name=name))
                continue
            try:
                value = inputs[name] = convert(value, kind)
            except (TypeError, ValueError, OverflowError) as reason:
                where = {"input_name": name, "input_config": [kind, options], "received_value": value}
                errors.append(not_converted(name, value, kind, str(reason), **where, exception_message=str(reason)))
                continue
            if name not in own_checks or kind in ("INT", "FLOAT"):
                errors += check_range(name, value, kind, options)
        if own_checks and not errors:
            constants = {name: value for name, value in inputs.items() if not is_link(value)}
            verdict = cls.validate_inputs(**accepted(cls.validate_inputs, dynamic.nested(groups, constants)))
            if verdict is not True:
                details = "" if verdict is False else str(verdict)
                errors.append(error("custom_validation_failed", "Custom validation failed for node", details))
        return errors

    def _check_link(self, name: str, link: list, kind: IoType, options: dict) -> list[dict]:
        where = {"input_name": name, "input_config": [kind, options]}

        def bad(message: str, details: str) -> list[dict]:
            return [error("bad_linked_input", message, details, received_value=link, **where)]

        if len(link) != 2 or not isinstance(link[0], str) or not isinstance(link[1], int):
            return bad("Bad linked input, must be a length-2 list of [node_id, slot_index]", name)
        source, slot = link
        if source not in self.prompt:
            return bad("Linked to a node that is not in the prompt", f"{name}: node {source}")
        outputs = self.infos[self.prompt[source]["class_type"]]["output"]
        if not 0 <= slot < len(outputs):
            found = f"{name}: output {slot} of {self._title(source)} (node {source}), which has {len(outputs)}"
            return bad("Linked to an output that does not exist", found)
        sent = outputs[slot] if isinstance(outputs[slot], str) else "COMBO"
        wanted = kind if isinstance(kind, str) else "COMBO"
        if types_fit(sent, wanted):
            return []
        message, details = "Return type mismatch between linked nodes", f"{name}, received_type({sent}) mismatch"
        details += f" input_type({wanted})"
        return [error("return_type_mismatch", message, details, received_type=sent, linked_node=link, **where)]


CONVERTERS: dict[str, Callable[[Any], object]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
EXPECTED = {"INT": "a whole number", "FLOAT": "a number", "STRING": "text", "BOOLEAN": "true or false"}
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.IGNORECASE)

TYPED = {*CONVERTERS, "COMBO", dynamic.COMBO, "*"}


def takes_constants(kind: IoType, options: dict) -> bool:
    """Whether an input may hold a plain value; the others are fed by a link alone."""
    return (
        not isinstance(kind, str)
        or kind in {*CONVERTERS, "COMBO", dynamic.COMBO, "*"}
        or "," in kind
        or "widgetType" in options
    )


def convert(value: object, kind: IoType) -> object:
    """A widget's value as its type, equal to what was given; raises ValueError, TypeError or OverflowError otherwise.

    Stricter than ComfyUI, which takes "false" as true, 2.7 as 2 and 7 as a text: such values stand for others that
    were lost. A number may be written as a text.
    """
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    if isinstance(value, list):
        value = ListValue(value)
    if not isinstance(kind, str) or kind not in CONVERTERS:
        return value
    made = CONVERTERS[kind](value)
    number = isinstance(value, str) and bool(NUMBER.fullmatch(value)) and math.isfinite(float(value))
    plain = isinstance(value, int | float) and made == value
    fits = {
        "STRING": isinstance(value, str),
        "BOOLEAN": plain,
        "INT": number or plain and not isinstance(value, bool),
        "FLOAT": number or plain and not isinstance(value, bool),
    }
    if not fits[kind] and value == value:  # NaN is refused by its range
        raise ValueError(f"expected {EXPECTED[kind]}")
    return made


def not_converted(name: str, value: object, kind: IoType, reason: str, **extra: object) -> dict:
    """The error for a value that is not of its input's type."""
    message = f"Failed to convert an input value to a {kind} value"
    return error("invalid_input_type", message, f"{name}, {value}, {reason}", **extra)


def check_range(name: str, value: Any, kind: IoType, options: dict) -> list[dict]:  # noqa: ANN401  JSON
    """The error of a value outside its input's bounds or choices, in a list; empty where it is inside."""
    where = {"input_name": name, "input_config": [kind, options], "received_value": value}
    if kind in ("INT", "FLOAT"):
        if not value == value:
            return [not_converted(name, value, kind, "not a number", **where)]
        if "min" in options and value < options["min"]:
            return [
                error("value_smaller_than_min", f"Value {value} smaller than min of {options['min']}", name, **where)
            ]
        if "max" in options and value > options["max"]:
            return [error("value_bigger_than_max", f"Value {value} bigger than max of {options['max']}", name, **where)]
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if kind == dynamic.COMBO:
        choices = [option["key"] for option in options["options"]]
    if choices is not None and not options.get("multiselect") and not options.get("remote") and value not in choices:
        shown = str(choices) if len(choices) <= 20 else f"(list of length {len(choices)})"
        return [error(UNLISTED, "Value not in list", f"{name}: '{value}' not in {shown}", **where)]
    return []
