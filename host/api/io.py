"""Schema, node and node output, under the names of ComfyUI's V3 API (`from comfy_api.latest import io`).

Only what this project's nodes use; `object_info` is what ComfyUI (0.3.64 to 0.33) answers for the
same schema, in the fields that both have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .types import *  # noqa: F403  io.Int, io.Image ... are this module's public face, as in ComfyUI
from .types import SocketInput, SocketOutput, grouped


class Hidden(str, Enum):
    """What a node may ask for besides its inputs; read as `cls.hidden.<name>` in execute."""

    unique_id = "UNIQUE_ID"  # the node's id in the prompt
    prompt = "PROMPT"  # the whole prompt
    extra_pnginfo = "EXTRA_PNGINFO"  # {"workflow": ...} as the front end sent it
    dynprompt = "DYNPROMPT"


class HiddenHolder:
    """The hidden values of one call; what was not asked for reads as None."""

    def __init__(self, values: dict[Hidden | str, Any] | None = None):
        for key, value in (values or {}).items():
            setattr(self, Hidden(key).name, value)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


@dataclass
class Schema:
    """A node's definition. Raises ValueError when two inputs or two outputs share an id."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: Sequence[SocketInput] = field(default_factory=list)
    outputs: Sequence[SocketOutput] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False  # takes every input as a list, and runs once

    def finalize(self) -> Schema:
        """Fills in what ComfyUI fills in: output nodes get the prompt, outputs without an id get one."""
        for name, ids in (("inputs", [i.id for i in self.inputs]), ("outputs", [o.id for o in self.outputs if o.id])):
            twice = [item for item, count in Counter(ids).items() if count > 1]
            if twice:
                raise ValueError(f"node {self.node_id}: {name} share the id {', '.join(twice)}; ids must be unique")
        if self.is_output_node:
            self.hidden += [h for h in (Hidden.prompt, Hidden.extra_pnginfo) if h not in self.hidden]
        for i, output in enumerate(self.outputs):
            output.id = output.id or f"_{i}_{output.io_type}_"
        return self

    def object_info(self, python_module: str) -> dict:
        """The node's entry in ComfyUI's GET /object_info (its V1 form, which the front end reads)."""
        inputs = grouped(self.inputs)
        for h in self.hidden:
            inputs.setdefault("hidden", {})[h.name] = (h.value,)
        found_by = {"search_aliases": self.search_aliases} if self.search_aliases else {}
        return {
            "input": inputs,
            "input_order": {group: list(entries) for group, entries in inputs.items()},
            "output": [o.io_type for o in self.outputs],
            "output_is_list": [o.is_output_list for o in self.outputs],
            "is_input_list": self.is_input_list,
            "output_name": [o.display_name or o.io_type for o in self.outputs],
            "output_tooltips": [o.tooltip or None for o in self.outputs],
            "output_matchtypes": None,
            "name": self.node_id,
            "display_name": self.display_name,
            "description": self.description,
            "python_module": python_module,
            "category": self.category,
            "output_node": self.is_output_node,
            "deprecated": self.is_deprecated,
            "experimental": self.is_experimental,
            "api_node": False,
            **found_by,
        }


class ExecutionBlocker:
    """Takes the place of an output's value: nodes wired to it do not run, and no error is shown."""

    def __init__(self, message: str | None = None):
        self.message = message


class NodeOutput:
    """Values for the outputs, in order, and what the front end shows (`ui`)."""

    def __init__(self, *args: Any, ui: Mapping[str, Iterable] | None = None):  # noqa: ANN401  as the schema says
        self.args, self.ui = args, ui

    @property
    def result(self) -> tuple | None:
        """The values, as ComfyUI's own NodeOutput gives them."""
        return self.args or None

    def __getitem__(self, index: int):
        return self.args[index]

    def ui_dict(self) -> dict[str, list]:
        """`ui` as the "executed" message carries it: every value a list."""
        return {key: list(value) for key, value in (self.ui or {}).items()}


class ComfyNode:
    """Base of all nodes: stateless classmethods. See host/api/__init__.py for how a host calls them."""

    RELATIVE_PYTHON_MODULE = "custom_nodes.vdit"  # shown as the node's source, and where its help is looked up
    hidden: HiddenHolder = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        """The node's schema; a subclass must define it."""
        raise NotImplementedError(f"{cls.__name__} defines no schema")

    @classmethod
    def execute(cls, **inputs: Any) -> NodeOutput:  # noqa: ANN401  whatever the schema says
        """Runs the node on the inputs of its schema, by name; a subclass must define it."""
        raise NotImplementedError(f"{cls.__name__} has no execute")

    @classmethod
    def validate_inputs(cls, **inputs: Any) -> bool | str:  # noqa: ANN401
        """Constant inputs only; True, or what is wrong. Inputs named here skip the host's own checks."""
        return True

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:  # noqa: ANN401
        """A value that changes when the node must run again although its inputs did not."""
        return None

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802  ComfyUI's name
        """The finalized schema, built anew: options such as file lists are those of now."""
        return cls.define_schema().finalize()

    @classmethod
    def object_info(cls) -> dict:
        """The node's entry in /object_info, with the file lists of now."""
        return cls.GET_SCHEMA().object_info(cls.RELATIVE_PYTHON_MODULE)

    GET_NODE_INFO_V1 = object_info
