"""What the commands of this room share."""

from __future__ import annotations

import argparse


class Refused(Exception):  # noqa: N818  in the words of ComfyUI and of our messages, a run is refused
    """A command that cannot be carried out; its message is all the user needs."""


def add_base(parser: argparse.ArgumentParser) -> None:
    """The option that chooses where files are read and written."""
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="folder that holds input, output, temp, user and models (default: VDIT_BASE, else the clone's folder)",
    )
