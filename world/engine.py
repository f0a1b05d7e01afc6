"""MuJoCo's import, 0.2 s, begins on a thread where it is known to be needed soon."""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress


def import_ahead() -> None:
    """Begin to import MuJoCo beside other work. Where that fails, its first use says so."""
    if "mujoco" not in sys.modules:
        threading.Thread(target=_import, name="vdit-mujoco").start()


def _import() -> None:
    with suppress(Exception):  # whatever it is, it is raised again where it is used
        importlib.import_module("mujoco")
