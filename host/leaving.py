"""Ctrl+C ends a command in time, also while it imports or is inside one long library call."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the shell's code for Ctrl+C
PATIENCE_S = 0.5  # seconds that a command has to end by itself
IMPORTS = "<frozen importlib._bootstrap>"  # where the code of Python's own imports lies


def leave(status: int = INTERRUPTED) -> NoReturn:
    """End this process now: no thread that is still inside a library is waited for. What it has said is shown."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def at_ctrl_c(_: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt; while something is imported, ends this process.

    A library whose start is broken off may end the process with words of its own, or make ImportError of it.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            cancelled()
        frame = frame.f_back
    raise KeyboardInterrupt


def cancelled() -> NoReturn:
    """Say so and end this process, whatever its threads are doing."""
    os.write(2, b"Cancelled.\n")
    os._exit(INTERRUPTED)


@contextmanager
def leaving_within(seconds: float = PATIENCE_S) -> Generator[threading.Event]:
    """In the block, a process that goes on for so long after Ctrl+C is ended by a thread that hears the signal at once;
    at_ctrl_c stands in for Python's own handler. The event is set from Ctrl+C on.

    Nothing is torn by that: files get their names when they are whole (machine/writing.py), and the next start removes
    what is left unfinished.
    """
    if threading.current_thread() is not threading.main_thread():
        yield threading.Event()
        return
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    heard, over = threading.Event(), threading.Event()

    def watch() -> None:
        with suppress(OSError):
            while signals := hears.recv(16):
                if signal.SIGINT in signals:
                    heard.set()
                    if not over.wait(seconds):
                        cancelled()

    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="vdit-leaving", daemon=True)
    watcher.start()
    pythons_own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if pythons_own:
        signal.signal(signal.SIGINT, at_ctrl_c)
    try:
        yield heard
    finally:
        if pythons_own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        over.set()
        signal.set_wakeup_fd(before)
        tells.close()
        watcher.join(1)
        hears.close()
