"""`vdit train latents --workers N` and `--ray`: the shards of a training set, each of which follows from its number."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..host.command import Refused
from ..training.cli import carry_out as carry_out_recipe
from ..training.options import add_options, plain_values, recipe_from
from ..training.recipes import RECIPES, Recipe
from .driver import add_workers, carry_out, finished, workers_of
from .jobs import Block, FarmError, Json, Made, Row, address_of, digest_of
from .ledger import marks
from .store import LocalFolder, Store, store_of

FARMED = tuple(r for r in RECIPES if {"first", "shards", "out"} <= set(r.__dataclass_fields__))
SHARD = re.compile(r"[a-z]+-([0-9]{5,})\.(?:pt|npy)")
NEEDED = {"codec", "model"}  # options without which no shard can be made
MISSING = "missing"  # in place of a digest: what commands do without
STATE = "state.pt"  # of a training run's folder: what its weights are


@dataclass(frozen=True)
class ShardsJob:
    """Shards of one recipe: the row {"shard": n} becomes the files that `vdit train` makes of number n."""

    recipe: Recipe
    inputs: tuple[tuple[str, str], ...]  # option and digest of what it reads
    rows_per_block: int = 1

    @property
    def name(self) -> str:
        """As the command is called."""
        return f"train {self.recipe.command()}"

    def settings(self) -> dict[str, Json]:
        """The recipe's options, where what it reads counts by its content."""
        read = dict(self.inputs)
        values = {
            key: value for key, value in plain_values(self.recipe).items() if key not in ("out", "first", "shards")
        }
        return {**values, **read}

    def identity(self, row: Row) -> Json:
        """The whole row."""
        return row

    def opened(self) -> Callable[[Block, Path], Made]:
        """The function of a block."""
        return partial(_make, self.recipe)


def job_of(recipe: Recipe) -> ShardsJob:
    """The job of a recipe. Raises FarmError for files that are not there."""
    paths = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe) if f.name != "out"}
    read = {name: path for name, path in paths.items() if isinstance(path, Path)}
    for name in NEEDED & read.keys():
        if _digest(read[name]) == MISSING:
            raise FarmError(f"--{name} {read[name]}: there is no such file or run; train it first, or name a bundle")
    return ShardsJob(recipe, tuple((name, _digest(path)) for name, path in read.items()))


def _digest(path: Path) -> str:
    """Of a file or a run's weights by their content, of a folder by its files' names and sizes."""
    if path.is_file():
        return digest_of(path)
    if (path / STATE).is_file():
        return digest_of(path / STATE)
    if path.is_dir():
        files = sorted((p.name, p.stat().st_size) for p in path.iterdir() if p.is_file())
        return address_of([list(file) for file in files])
    return MISSING


def _make(recipe: Recipe, block: Block, folder: Path) -> Made:
    made, failed = dict[str, Json](), dict[str, str]()
    for row, key in zip(block.rows, block.keys, strict=True):
        try:
            carry_out_recipe(dataclasses.replace(recipe, out=folder, first=row["shard"], shards=1))  # pyright: ignore[reportCallIssue]
        except Exception as reason:
            failed[key] = f"shard {row['shard']}: {type(reason).__name__}: {reason}"
        else:
            made[key] = row["shard"]
    return Made(made, failed)


def parser() -> argparse.ArgumentParser:
    """The options of the commands that make shards, and those that say who makes them."""
    top = argparse.ArgumentParser(prog="vdit train", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="|".join(r.command() for r in FARMED))
    for recipe in FARMED:
        one = commands.add_parser(
            recipe.command(), help=recipe.help(), description=recipe.help(), conflict_handler="resolve"
        )
        one.set_defaults(recipe=recipe)
        add_options(one, recipe)
        default = recipe.__dataclass_fields__["out"].default
        one.add_argument(
            "--out", default=str(default), help=f"a folder, or a URL that fsspec knows; default: {default}"
        )
        add_workers(one)
    return top


def main(argv: list[str]) -> int:
    """Make the shards; returns the exit status. Raises Refused with what was found and what to do."""
    options = parser().parse_args(argv)
    out, options.out = options.out, Path(os.devnull)
    recipe = recipe_from(options, options.recipe)
    try:
        store, job = store_of(out), job_of(recipe)
        there = _without_mark(store)
        numbers = [n for n in range(options.first, options.first + options.shards) if n not in there]
        outcome, _ = carry_out(job, [{"shard": n} for n in numbers], store, workers_of(options))
    except (FarmError, OSError) as reason:
        raise Refused(str(reason)) from None
    if kept := options.shards - len(numbers):
        print(f"{kept} shards are there from runs without --workers or --ray, and are kept", file=sys.stderr)
    return finished(outcome, store)


def _without_mark(store: Store) -> set[int]:
    """Numbers of the whole shards that a run without workers has made. In a local folder only: none other is sure to
    hold whole files.
    """
    if not isinstance(store, LocalFolder):
        return set()
    found = {int(match[1]) for name in store.names("") if (match := SHARD.fullmatch(name))}
    return found - {number for mark in marks(store) for number in mark.rows.values() if isinstance(number, int)}
