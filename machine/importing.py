"""Imports of large packages, which hold Python up to a second long: Cancel need not wait for one, nor Ctrl+C."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

ASK_S = 0.05  # seconds between two calls of `check`


def imported(name: str, check: Callable[[], None]) -> None:
    """Import a package in a thread of its own and wait for that; check may raise to cancel the waiting.

    name: of one of our own rooms with two points before it, as a neighbour of this one is imported ("..benchmark").
    Raises what the import raises. Python's import locks keep a package from being imported twice at once.
    """
    reasons: list[BaseException] = []

    def run() -> None:
        try:
            importlib.import_module(name, __package__)
        except BaseException as reason:  # for whoever waits, whatever it is
            reasons.append(reason)

    thread = threading.Thread(target=run, name=f"vdit-import-{name}", daemon=True)
    thread.start()
    while thread.is_alive():
        check()
        thread.join(ASK_S)
    if reasons:
        raise reasons[0]


@contextmanager
def ended_by_ctrl_c() -> Generator[None]:
    """In the block, the system itself ends this process at Ctrl+C, as no handler can while an import holds Python.

    For blocks that write nothing. Only a main thread with Python's or another handler in Python changes anything.
    """
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
