"""The `vdit` command: starts the command of a room by the name of its module."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
from typing import NamedTuple

from ..machine.importing import ended_by_ctrl_c
from .allocator import keep_freed_memory
from .command import Refused
from .leaving import INTERRUPTED, leave, leaving_within


class Command(NamedTuple):
    """A module with main(argv), imported only when called; the extra of pyproject.toml that it needs.

    farm: the module that carries it out where one of FARMED is among the options.
    """

    module: str
    help: str
    extra: str = "standalone"
    farm: str = ""


FARMED = ("--workers", "--ray", "--table", "--policy", "--scene")  # many rows at once: the room `farm`


COMMANDS = {
    "run": Command(".run", "run a workflow and save what it makes", farm="..farm.run"),
    "studio": Command(".studio", "open the node graph in the browser"),
    "train": Command(
        "..training.cli",
        "train the codec or the world model: vdit train codec|teacher ...",
        "train",
        farm="..farm.train",
    ),
    "simulate": Command(
        "..world.families.cli", "make clips of simulated physics: vdit simulate ...", "world", farm="..farm.simulate"
    ),
    "export": Command(
        "..farm.export", "simulated shards as a LeRobot dataset or WebDataset: vdit export DIR --as lerobot", "farm"
    ),
    "inspect": Command(
        "..model.files.inspect", "say what files of weights are, and where they fit: vdit inspect FILE ..."
    ),
    "kernels": Command(
        "..kernels.report", "compile the attention kernels for every GPU, without one: vdit kernels report", "kernels"
    ),
    "benchmark": Command(
        "..nodes.benchmark_command",
        "score a model on simulated physics, or the scores themselves: vdit benchmark [--controls] ...",
        "world",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit status is 0, 1 for a failure that was explained, 2 for wrong usage, 130 for Ctrl+C."""
    argv = sys.argv[1:] if argv is None else argv
    command = COMMANDS.get(argv[0]) if argv else None
    if command is None:
        parser().parse_args(argv)  # help, or wrong usage: it exits
        return 2
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may have letters that a console lacks
    keep_freed_memory()
    farmed = bool(command.farm) and any(word.partition("=")[0] in FARMED for word in argv[1:])
    try:
        with ended_by_ctrl_c():
            module = importlib.import_module(command.farm if farmed else command.module, __package__)
        return module.main(argv[1:]) or 0
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return INTERRUPTED
    except Refused as reason:
        print(f"vdit: {reason}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as reason:
        if (reason.name or "").split(".")[0] in ("vdit", __name__.split(".")[0]):
            raise
        print(
            f"vdit: the Python package '{reason.name}' is not installed. Run the command as `python start.py ...`, "
            f"which installs what is needed, or: pip install 'vdit[{'farm' if farmed else command.extra}]'",
            file=sys.stderr,
        )
        return 1


def entry() -> int:
    """Run the command as the whole process, which Ctrl+C ends within a second."""
    with leaving_within() as heard:
        status = main()
        # The thread that hears may not have had its turn; Python's own end takes seconds where torch is imported.
        if status == INTERRUPTED or heard.is_set():
            leave(status)
    return status


def parser() -> argparse.ArgumentParser:
    """Lists the commands; each has a parser of its own."""
    top = argparse.ArgumentParser(prog="vdit", description="A video world model in a node graph.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    return top
