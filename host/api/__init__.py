"""The subset of ComfyUI's V3 node API (`comfy_api.latest`) that this project's nodes use.

How a host calls a node:
    cls.object_info()                        its entry in /object_info
    call(cls, inputs, hidden) -> NodeOutput  run it; hidden = {Hidden.prompt: ..., ...}
Progress and cancel: host/running.py.
"""

from __future__ import annotations

import inspect

from . import io, ui
from .io import ComfyNode, HiddenHolder, NodeOutput


class ComfyExtension:
    """A pack of nodes: `comfy_entrypoint()` returns one, the host asks it for its nodes."""

    async def on_load(self) -> None:
        """Called once before get_node_list."""

    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The pack's nodes; a pack must define it."""
        raise NotImplementedError


def prepare(cls: type[ComfyNode], hidden: dict | None = None) -> type[ComfyNode]:
    """A throw-away subclass that carries the hidden values of one call, so that the node itself stays stateless."""
    return type(cls.__name__, (cls,), {"hidden": HiddenHolder(hidden)})


def call(cls: type[ComfyNode], inputs: dict, hidden: dict | None = None) -> NodeOutput:
    """Run the node on this thread, awaiting it if it is async. Raises whatever the node raises."""
    output = prepare(cls, hidden).execute(**inputs)
    if inspect.iscoroutine(output):
        import asyncio  # 40 ms to import, and none of our nodes is async

        output = asyncio.run(output)
    if output is None:
        return NodeOutput()
    if isinstance(output, tuple):
        return NodeOutput(*output)
    if isinstance(output, dict):
        return NodeOutput(*output.get("result", ()), ui=output.get("ui"))
    if not isinstance(output, NodeOutput):
        raise TypeError(f"{cls.__name__}.execute returned {type(output).__name__}, expected io.NodeOutput or a tuple")
    return output


__all__ = ["ComfyExtension", "ComfyNode", "NodeOutput", "call", "io", "prepare", "ui"]
