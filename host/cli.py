"""The `vdit` command: run a workflow, open the studio, train, simulate, benchmark."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from .allocator import keep_freed_memory

OTHER_COMMANDS = {  # command -> (module with main(argv), what it does); imported only when called
    "train": ("..training.cli", "train the codec or the world model: vdit train codec|teacher ..."),
    "simulate": ("..world.cli", "make clips of simulated physics: vdit simulate ..."),
    "inspect": ("..model.files.inspect", "say what files of weights are, and where they fit: vdit inspect FILE ..."),
    "kernels": ("..kernels.report", "compile the attention kernels for every GPU, without one: vdit kernels report"),
}
BENCHMARK = "score a model on simulated physics, or the scores themselves: vdit benchmark [--controls] ..."
INTERRUPTED = 130  # the shell's code for Ctrl+C


class Refused(Exception):
    """A command that cannot be carried out; its message is all the user needs."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit status is 0, 1 for a failure that was explained, 2 for wrong usage, 130 for Ctrl+C."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    keep_freed_memory()
    try:
        if argv and argv[0] == "benchmark":
            return benchmark(argv[1:])
        if argv and argv[0] in OTHER_COMMANDS:
            return importlib.import_module(OTHER_COMMANDS[argv[0]][0], __package__).main(argv[1:]) or 0
        options = parser().parse_args(argv)
        return options.command(options) or 0
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return INTERRUPTED
    except Refused as reason:
        print(f"vdit: {reason}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as reason:
        if (reason.name or "").split(".")[0] in ("vdit", __package__.split(".")[0]):
            raise
        print(
            f"vdit: the Python package '{reason.name}' is not installed. Run the command as `python start.py ...`, "
            f"which installs what is needed, or: pip install 'vdit[{extra_for(argv)}]'",
            file=sys.stderr,
        )
        return 1


def extra_for(argv: list[str]) -> str:
    extras = {"train": "train", "simulate": "world", "benchmark": "world", "kernels": "kernels"}
    return extras.get(argv[0] if argv else "", "standalone")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vdit", description="A video world model in a node graph.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="run a workflow and save what it makes",
        description="Runs a workflow without a browser: progress to stderr, one line per output file to stdout.",
    )
    run.add_argument("workflow", metavar="WORKFLOW", help="a workflow .json, as saved or as exported for the API")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="changes",
        help="set a widget; NODE is a title, id or type: --set 'Sample.seed=7'. A picture may be given as a path",
    )
    run.add_argument("--out", metavar="DIR", help="where files go (default: output/ in the base folder)")
    run.add_argument(
        "--json", action="store_true", help="print one JSON object: files, frames, fps, seconds per node, peak memory"
    )
    add_base(run)
    run.set_defaults(command=lambda options: importlib.import_module(".run", __package__).command(options))

    studio = commands.add_parser(
        "studio",
        help="open the node graph in the browser",
        description="Serves the ComfyUI front end with VDiT's nodes and workflows on this machine.",
    )
    studio.add_argument("--port", type=int, metavar="NUMBER", help="default: 8189, or the next one free")
    studio.add_argument(
        "--listen",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default: 127.0.0.1, this machine only. Any other lets everyone on that network run graphs here",
    )
    studio.add_argument("--no-browser", action="store_true", help="only print the address")
    studio.add_argument("--verbose", action="store_true", help="log every run")
    add_base(studio)
    studio.set_defaults(command=open_studio)

    for name, (_, text) in {**OTHER_COMMANDS, "benchmark": (None, BENCHMARK)}.items():
        commands.add_parser(name, help=text, add_help=False)
    return top


def benchmark(argv: list[str]) -> int:
    """The benchmark knows no models and no sampler: they are handed in here."""
    import hashlib
    from pathlib import Path

    from ..benchmark import cli
    from ..benchmark.contestant import Contestant, PreviewModel
    from ..model.files import bundle
    from ..nodes.benchmark_models import contestant, preview_model

    def load(file: str | None, **settings: object) -> Contestant:
        path = Path(file or bundle.BUNDLED)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return contestant(bundle.load_world_model(path), f"{path.name} {digest}", **settings)

    def load_preview(
        file: str | None, students: list[str] | None, known: int, drafts: bool
    ) -> tuple[PreviewModel, list[PreviewModel]]:
        bundled = Path(bundle.BUNDLED)
        paths = [Path(s) for s in students or sorted(bundled.parent.glob("vdit-small-student*.safetensors"))]
        if not paths:
            raise ValueError(f"there are no students in {bundled.parent}; name some: --students FILE ...")
        made = lambda path, name: preview_model(bundle.load_world_model(path), name, known, drafts)  # noqa: E731
        return made(Path(file or bundled), "teacher"), [made(path, path.stem) for path in paths]

    return cli.main(argv, load, load_preview)


def add_base(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--base",
        metavar="DIR",
        help="folder that holds input, output, temp, user and models (default: VDIT_BASE, else the clone's folder)",
    )


def open_studio(options: argparse.Namespace) -> int:
    import asyncio
    import threading
    import webbrowser

    from . import folders, server
    from .frontend import FrontEndMissing

    folders.use(options.base)
    logging.getLogger(__package__).setLevel(logging.INFO if options.verbose else logging.WARNING)
    if not server.is_loopback(options.listen):
        print(
            f"vdit: anyone who reaches {options.listen} can run graphs and read output/ here; there is no password.",
            file=sys.stderr,
        )

    def ready(url: str) -> None:
        print(f"VDiT studio: {url}  (Ctrl+C stops it)", flush=True)
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    try:
        asyncio.run(server.serve(options.listen, options.port, ready))
    except (server.PortTaken, FrontEndMissing) as reason:
        raise Refused(reason.strerror if isinstance(reason, OSError) else str(reason)) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 0
