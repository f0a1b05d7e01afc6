"""Ctrl+C ends a command in time, also while it imports or is inside one long library call."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NoReturn

INTERRUPTED = 130  # the shell's code for Ctrl+C
PATIENCE_S = 0.5  # seconds that a command has to end by itself


def leave(status: int = INTERRUPTED) -> NoReturn:
    """End this process now: no thread that is still inside a library is waited for. What it has said is shown."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


@contextmanager
def leaving_within(seconds: float = PATIENCE_S) -> Generator[threading.Event]:
    """In the block, a process that goes on for so long after Ctrl+C is ended by a thread that hears the signal at once.

    The event is set from Ctrl+C on: an exception that follows is its doing, as imports make ImportError of it.
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
                        os.write(2, b"Cancelled.\n")
                        os._exit(INTERRUPTED)

    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="vdit-leaving", daemon=True)
    watcher.start()
    try:
        yield heard
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        tells.close()
        watcher.join(1)
        hears.close()
