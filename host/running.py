"""What a node may say and ask while it runs: progress, a preview picture, and whether someone pressed Cancel.

The executor sets `current` around each node; without it (a node called from a script) everything here is silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field


class Interrupted(Exception):
    """The run was cancelled. Nodes let it pass: it is no error."""


@dataclass
class Running:
    """One node in execution. `report(value, total, preview)` is called from the node's own thread."""

    node_id: str
    report: Callable[[int, int, object], None]
    stop: threading.Event = field(default_factory=threading.Event)


current: ContextVar[Running | None] = ContextVar("vdit_running_node", default=None)


def check_interrupted() -> None:
    """Raises Interrupted once the run was cancelled; call it between any two pieces of long work."""
    running = current.get()
    if running is not None and running.stop.is_set():
        raise Interrupted("cancelled")


def progress(total: int) -> Callable[..., None]:
    """A bar of `total` steps for the running node: call `update(step, preview=None)` after each.

    preview: a PIL image, or a list of them that is shown as a moving picture. Raises Interrupted when cancelled.
    """
    running = current.get()

    def update(step: int, preview: object = None) -> None:
        if running is not None:
            running.report(min(int(step), total), total, preview)
        check_interrupted()

    check_interrupted()
    return update
