"""`vdit export DIR --as lerobot|webdataset`: shards of `vdit simulate --workers` in the layouts that trainers read."""

from __future__ import annotations

import argparse

from ..host.command import Refused
from . import lerobot, webdataset
from .driver import add_workers, finished, workers_of
from .jobs import FarmError
from .store import LocalFolder, store_of

KINDS = {"lerobot": lerobot.export, "webdataset": webdataset.export}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="vdit export", description=f"{__doc__} What is in them: docs/datasets.md. Resumes where it was stopped."
    )
    options.add_argument("source", metavar="DIR", help="a local folder that vdit simulate --workers has filled")
    options.add_argument("--as", dest="kind", choices=KINDS, required=True)
    options.add_argument("--out", required=True, metavar="DIR", help="a folder, or a URL that fsspec knows")
    add_workers(options)
    return options


def main(argv: list[str]) -> int:
    """Export a folder; returns the exit status. Raises Refused with what was found and what to do."""
    options = parser().parse_args(argv)
    try:
        source, target = store_of(options.source), store_of(options.out)
        if not isinstance(source, LocalFolder):
            raise FarmError(f"{options.source}: shards are read from a local folder; copy them to one")
        if source == target:
            raise FarmError("--out is the folder of the shards; choose another one")
        outcome = KINDS[options.kind](source, target, workers_of(options))
    except (FarmError, OSError) as reason:
        raise Refused(str(reason)) from None
    return finished(outcome, target)
