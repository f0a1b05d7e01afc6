"""Prompts as they come in at ComfyUI's server, kept while they are validated, so that nodes can refuse them as a whole.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ComfyUI is not installed where types are checked.
from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache

from comfy_execution.utils import get_executing_context

# Asks, once, what the nodes of the prompt that this task of the server validates have to say, by their ids.
_asked: ContextVar[Callable[[], dict[str, list[str]]] | None] = ContextVar("vdit_prompt", default=None)


def watch(told: Callable[[dict], dict[str, list[str]]]) -> None:
    """Adds a handler to the server: it sees a prompt in the task that validates it a moment later."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)  # none where ComfyUI's nodes are used without its server
    if server is None:
        return

    def seen(body: dict) -> dict:
        prompt = body.get("prompt")
        _asked.set(cache(lambda: told(prompt) if isinstance(prompt, dict) else {}))
        return body

    server.add_on_prompt_handler(seen)


def told_here() -> str:
    """What the node that is being validated has to say against the prompt; empty where that is nothing."""
    told, context = _asked.get(), get_executing_context()
    return "" if told is None or context is None else "\n".join(told().get(context.node_id, ()))
