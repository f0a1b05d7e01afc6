"""`vdit studio`: the node graph in the browser."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import threading
import webbrowser

from . import folders
from .command import Refused, add_base


def port(text: str) -> int:
    """A port's number; 0: any that is free."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no port; expected 0 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="vdit studio", description="Serves the ComfyUI front end with VDiT's nodes and workflows on this machine."
    )
    options.add_argument("--port", type=port, metavar="NUMBER", help="default: 8189, or the next one free")
    options.add_argument(
        "--listen",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default: 127.0.0.1, this machine only. Others on that network need the token that is printed",
    )
    options.add_argument("--no-browser", action="store_true", help="only print the address")
    options.add_argument("--verbose", action="store_true", help="log every run")
    add_base(options)
    return options


def main(argv: list[str]) -> int:
    """Serves until Ctrl+C. Raises Refused where the port is taken or the front end is not installed."""
    options = parser().parse_args(argv)
    from . import server  # after the help, which needs nothing but Python
    from .frontend import FrontEndMissing

    folders.use(options.base)
    logging.getLogger(__package__).setLevel(logging.INFO if options.verbose else logging.WARNING)
    if not server.is_loopback(options.listen):
        print(
            f"vdit: who reaches {options.listen} and has the token below can run graphs, upload, and read and change "
            "what is in input/, output/, temp/ and user/ here. The connection is not encrypted.",
            file=sys.stderr,
        )

    def ready(url: str) -> None:
        print(f"VDiT studio: {url}  (Ctrl+C stops it)", flush=True)
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    try:
        asyncio.run(server.serve(options.listen, options.port, ready))
    except (server.PortTaken, FrontEndMissing) as reason:
        raise Refused(str(reason)) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 0
