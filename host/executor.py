"""Runs a checked prompt in the order of its links, each node once, and caches results by what went into them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from ..machine.importing import imported
from . import api, dynamic
from .running import Interrupted, Running, current
from .validation import Checked, Prompt, accepted, is_link, overrides, title

log = logging.getLogger(__name__)

NodeTypes = dict[str, type[api.ComfyNode]]  # by node id
Listener = Callable[[str, dict], None]  # (event, data): ComfyUI's websocket messages, and "preview" with its picture


class NodeFailed(RuntimeError):
    """A node raised. `report` is ComfyUI's execution_error message: node, exception, traceback, inputs."""

    def __init__(self, report: dict, title: str):
        super().__init__(f"{title} (node {report['node_id']}): {report['exception_message']}")
        self.report = report


class Entries(list):
    """A list on a wire: the values that a node gave one after another. Nodes after it run once for each."""


@dataclass
class NodeResult:
    """What one node gave: values for its output slots, and what it shows (`ui`, as ComfyUI sends it)."""

    outputs: tuple
    ui: dict | None
    seconds: float = 0.0


@dataclass
class RunResult:
    """A finished run: the result of every node, and which of them were remembered rather than run."""

    nodes: dict[str, NodeResult]
    cached: list[str]
    executed: list[str] = field(default_factory=list)

    @property
    def ui(self) -> dict[str, dict]:
        """What nodes show, by their id."""
        return {node_id: result.ui for node_id, result in self.nodes.items() if result.ui}


def saved_in(ui: dict | None) -> list[dict]:
    """Those of the files that a node shows which lie in the output folder: {"filename", "subfolder", "type"}."""
    shown = (item for items in (ui or {}).values() for item in items)
    return [item for item in shown if isinstance(item, dict) and item.get("type") == "output"]


class Executor:
    """Holds the results of the last run, so that the next one re-runs only what a change reaches. One run at a time."""

    def __init__(self, nodes: NodeTypes):
        self.nodes = nodes
        self.remembered: dict[str, NodeResult] = {}
        self.lock = Lock()
        self.forgetting = Event()

    def forget(self) -> None:
        """Drops remembered results, and with them the memory they hold: now, or else when the present run ends."""
        self.forgetting.set()
        self._forget_if_asked()

    def _forget_if_asked(self) -> None:
        if self.forgetting.is_set() and self.lock.acquire(blocking=False):
            try:
                self.remembered.clear()
                self.forgetting.clear()
            finally:
                self.lock.release()

    def forget_saved(self) -> None:
        """Drops the results of nodes that saved files: the next run saves anew, with models still loaded."""
        with self.lock:
            for key in [key for key, result in self.remembered.items() if saved_in(result.ui)]:
                del self.remembered[key]

    def run(
        self,
        checked: Checked,
        *,
        prompt_id: str = "",
        extra_data: dict | None = None,
        listener: Listener = lambda event, data: None,
        stop: Event | None = None,
    ) -> RunResult:
        """Runs the checked outputs and all they need, in the calling thread. Raises NodeFailed or Interrupted;
        what had finished by then stays remembered. `stop`: set it from anywhere to cancel.
        """
        try:
            with self.lock:
                return _Run(self, checked, prompt_id, extra_data or {}, listener, stop or Event()).run()
        finally:
            self._forget_if_asked()


class _Run:
    def __init__(
        self, executor: Executor, checked: Checked, prompt_id: str, extra_data: dict, listener: Listener, stop: Event
    ):
        self.executor, self.prompt, self.prompt_id = executor, checked.prompt, prompt_id
        self.extra_data, self.listener, self.stop = extra_data, listener, stop
        self.order = execution_order(checked.prompt, checked.outputs)
        self.states: dict[str, dict] = {}
        self.result = RunResult({}, [])

    def run(self) -> RunResult:
        self._announce("execution_start")
        self._import_torch()
        keys = cache_keys(self.prompt, self.order, self.executor.nodes)
        remembered = self.executor.remembered
        self.result.cached = [node_id for node_id in self.order if keys[node_id] in remembered]
        self._announce("execution_cached", nodes=self.result.cached)
        try:
            with inference_mode():
                for node_id in self.order:
                    known = remembered.get(keys[node_id])
                    if known is None:
                        known = remembered[keys[node_id]] = self._run_node(node_id)
                    elif known.ui:
                        self._executed(node_id, known.ui)
                    self.result.nodes[node_id] = known
        finally:
            used = set(keys.values())
            for key in [key for key in remembered if key not in used]:
                del remembered[key]
        self.listener("executing", {"node": None, "display_node": None, "prompt_id": self.prompt_id})
        self._announce("execution_success")
        return self.result

    def _import_torch(self) -> None:
        """First of all, as what a node is remembered by may import it too, where nothing asks for Cancel."""
        try:
            imported("torch", self._raise_if_stopped)
        except ImportError:  # what needs it says so
            return
        except Interrupted:
            self._interrupted(self.order[0])
            raise

    def _interrupted(self, node_id: str) -> None:
        kind = self.prompt[node_id]["class_type"]
        self._announce("execution_interrupted", node_id=node_id, node_type=kind, executed=self.result.executed)

    def _run_node(self, node_id: str) -> NodeResult:
        node = self.prompt[node_id]
        cls = self.executor.nodes[node["class_type"]]
        inputs: dict[str, Any] = {}
        token = current.set(Running(node_id, lambda *step: self._progress(node_id, *step), self.stop))
        started = time.perf_counter()
        try:
            self._raise_if_stopped()
            self.listener("executing", {"node": node_id, "display_node": node_id, "prompt_id": self.prompt_id})
            self._progress(node_id, 0, 1)
            inputs = self._inputs(node)
            results: list[tuple] = []
            ran = False  # a node whose input is held back is passed over, and all that follows it
            ui: dict[str, list] = {}
            as_lists = bool(cls.object_info().get("is_input_list"))
            for given in _calls(inputs, as_lists):
                if any(_held_back(value) for value in given.values()):
                    results.append((api.io.ExecutionBlocker(),) * len(cls.object_info()["output"]))
                    continue
                arguments = dynamic.nested(cls.object_info()["input"], given)
                output = api.call(cls, accepted(cls.execute, arguments), self._hidden(node_id))
                results.append(self._outputs(cls, output))
                ran = True
                for key, shown in output.ui_dict().items():
                    ui.setdefault(key, []).extend(shown)
                self._raise_if_stopped()
            mapped = not as_lists and any(isinstance(value, Entries) for value in inputs.values())
            outputs = _merged(results, cls.object_info()["output_is_list"], mapped)
        except Interrupted:
            self._interrupted(node_id)
            raise
        except Exception as reason:
            raise self._failure(node_id, inputs, reason) from reason
        finally:
            current.reset(token)
        total = self.states[node_id]["max"]
        self._progress(node_id, total, total, state="finished")
        if ran:
            self.result.executed.append(node_id)
        if ui:
            self._executed(node_id, ui)
        return NodeResult(outputs, ui or None, time.perf_counter() - started if ran else 0.0)

    def _inputs(self, node: dict) -> dict[str, Any]:
        """Links replaced by what their nodes gave."""
        return {
            name: self.result.nodes[value[0]].outputs[value[1]] if is_link(value) else value
            for name, value in node["inputs"].items()
        }

    def _outputs(self, cls: type[api.ComfyNode], output: api.NodeOutput) -> tuple:
        count = len(cls.object_info()["output"])
        if output.args and len(output.args) != count:
            raise ValueError(f"{cls.__name__} returned {len(output.args)} values, its schema names {count} outputs")
        return output.args or (None,) * count

    def _hidden(self, node_id: str) -> dict[api.io.Hidden, Any]:
        hidden = api.io.Hidden
        return {
            hidden.unique_id: node_id,
            hidden.prompt: self.prompt,
            hidden.extra_pnginfo: self.extra_data.get("extra_pnginfo"),
        }

    def _raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise Interrupted("cancelled")

    def _failure(self, node_id: str, inputs: dict[str, Any], reason: Exception) -> NodeFailed:
        node = self.prompt[node_id]
        log.debug("%s (node %s) failed", title(node), node_id, exc_info=reason)
        kind = type(reason)
        report = {
            "prompt_id": self.prompt_id,
            "timestamp": milliseconds(),
            "node_id": node_id,
            "node_type": node["class_type"],
            "executed": list(self.result.executed),
            "exception_message": str(reason) or kind.__name__,
            "exception_type": kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}",
            "traceback": traceback.format_tb(reason.__traceback__),
            "current_inputs": {name: [brief(value)] for name, value in inputs.items()},
            "current_outputs": [],
        }
        self.listener("execution_error", report)
        return NodeFailed(report, title(node))

    def _progress(self, node_id: str, value: int, total: int, preview: object = None, state: str = "running") -> None:
        ids = {"node_id": node_id, "display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}
        self.states[node_id] = {"value": value, "max": total, "state": state, "prompt_id": self.prompt_id, **ids}
        self.listener("progress_state", {"prompt_id": self.prompt_id, "nodes": dict(self.states)})
        self.listener("progress", {"value": value, "max": total, "prompt_id": self.prompt_id, "node": node_id})
        if preview is not None:
            self.listener("preview", {"prompt_id": self.prompt_id, "image": preview, **ids})

    def _executed(self, node_id: str, ui: dict) -> None:
        self.listener("executed", {"node": node_id, "display_node": node_id, "output": ui, "prompt_id": self.prompt_id})

    def _announce(self, event: str, **data: object) -> None:
        self.listener(event, {"prompt_id": self.prompt_id, "timestamp": milliseconds(), **data})


def _calls(inputs: dict[str, Any], as_lists: bool) -> list[dict[str, Any]]:
    """The inputs of each call: one where no list comes in or the node takes lists, else one for each entry.

    Shorter lists repeat their last entry, as in ComfyUI.
    """
    lists = {name: value for name, value in inputs.items() if isinstance(value, Entries)}
    if as_lists:
        return [{name: list(value) if name in lists else [value] for name, value in inputs.items()}]
    if empty := [name for name, value in lists.items() if not value]:
        raise ValueError(f"{empty[0]} is an empty list: the node before it gave nothing to work on")
    count = max((len(value) for value in lists.values()), default=1)
    return [
        {name: value[min(i, len(value) - 1)] if name in lists else value for name, value in inputs.items()}
        for i in range(count)
    ]


def _held_back(value: object) -> bool:
    entries = value if isinstance(value, list) else [value]
    return any(isinstance(entry, api.io.ExecutionBlocker) for entry in entries)


def _merged(results: list[tuple], is_list: list[bool], mapped: bool) -> tuple:
    """One value for each output: Entries where the output is a list or the node ran for each entry of one."""
    if not mapped and not any(is_list):
        return results[0]
    merged = []
    for slot, listed in enumerate(is_list):
        values = Entries()
        for result in results:
            value = result[slot]
            if listed and not isinstance(value, api.io.ExecutionBlocker):
                values.extend(value)
            else:
                values.append(value)
        merged.append(values if mapped or listed else values[0])
    return tuple(merged)


def execution_order(prompt: Prompt, outputs: list[str]) -> list[str]:
    """Everything the outputs need, sources first; siblings in the order of the inputs. The prompt has no cycle."""
    order: list[str] = []
    done: set[str] = set()
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        node_id, ready = stack.pop()
        if node_id in done:
            continue
        if ready:
            done.add(node_id)
            order.append(node_id)
            continue
        stack.append((node_id, True))
        sources = [value[0] for value in prompt[node_id]["inputs"].values() if is_link(value)]
        stack.extend((source, False) for source in reversed(sources) if source not in done)
    return order


def cache_keys(prompt: Prompt, order: list[str], nodes: NodeTypes) -> dict[str, str]:
    """A key for each node that changes when anything upstream of its result does, and only then.

    Title, prompt and workflow are no part of it: they only label files. Nor is the node's id, unless it asks for it.
    """
    keys: dict[str, str] = {}
    for node_id in order:
        node = prompt[node_id]
        inputs = {
            name: {"link": [keys[value[0]], value[1]]} if is_link(value) else value
            for name, value in node["inputs"].items()
        }
        cls = nodes[node["class_type"]]
        own = node_id if "unique_id" in cls.object_info()["input"].get("hidden", {}) else None  # it may act on its id
        text = json.dumps(
            [node["class_type"], repr(fingerprint(cls, node["inputs"])), own, inputs], sort_keys=True, default=repr
        )
        keys[node_id] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def fingerprint(cls: type[api.ComfyNode], inputs: dict[str, Any]) -> object:
    """What the node's result depends on besides its inputs; NaN, as in ComfyUI, means that it must always run."""
    if not overrides(cls, "fingerprint_inputs"):
        return None
    constants = {name: value for name, value in inputs.items() if not is_link(value)}
    try:
        arguments = dynamic.nested(cls.object_info()["input"], constants)
        mark = cls.fingerprint_inputs(**accepted(cls.fingerprint_inputs, arguments))
    except Exception as reason:
        log.warning("%s: fingerprint_inputs failed (%s); the node runs again", cls.__name__, reason)
        mark = math.nan
    return uuid.uuid4().hex if isinstance(mark, float) and math.isnan(mark) else mark


def inference_mode() -> contextlib.AbstractContextManager:
    """Nodes run without autograd, as in ComfyUI."""
    try:
        import torch
    except ImportError:
        return contextlib.nullcontext()
    return torch.inference_mode()


def brief(value: object) -> object:
    """An input as an error report shows it: plain values whole, the rest by kind and shape."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= 500 else value[:500] + "..."
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {tuple(shape)}" if shape is not None else "")


def milliseconds() -> int:
    """Now, as ComfyUI's messages give it."""
    return int(time.time() * 1000)
