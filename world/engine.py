"""MuJoCo's import, 0.2 s, begins on a thread where it is known to be needed soon."""

from __future__ import annotations

import importlib
import sys
import threading


def import_ahead() -> None:
    """Begin to import MuJoCo beside other work. Where that fails, its first use says so."""
    if "mujoco" not in sys.modules:
        threading.Thread(target=_import, name="vdit-mujoco").start()


def _import() -> None:
    try:
        importlib.import_module("mujoco")
    except Exception:  # noqa: BLE001, S110  whatever it is, it is raised again where it is used
        pass
