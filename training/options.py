"""Recipes and command lines, both ways: argparse options of a dataclass, and the command that a recipe is."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args, get_type_hints

from .recipes import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def _flag(field: Field) -> str:
    return "--" + (field.metadata["name"] or field.name).replace("_", "-")


def add_options(parser: argparse.ArgumentParser, recipe: type[Recipe]) -> None:
    """One option a field: --its-name, typed by its annotation (`X | None` as X), a switch where that is bool."""
    hints = get_type_hints(recipe)
    for field in fields(recipe):
        add = partial(parser.add_argument, _flag(field), dest=field.name)
        text, choices = field.metadata["help"] or field.metadata["unit"], field.metadata["choices"] or None
        if hints[field.name] is bool:
            add(action="store_true", help=text)
        else:
            kind = (get_args(hints[field.name]) or (hints[field.name],))[0]
            metavar = None if choices else _flag(field)[2:].replace("-", "_").upper()
            add(type=kind, default=field.default, choices=choices, metavar=metavar, help=text)


def recipe_from(options: argparse.Namespace, recipe: type[AnyRecipe]) -> AnyRecipe:
    """The recipe that parsed options stand for."""
    return recipe(**{field.name: getattr(options, field.name) for field in fields(recipe)})


def command_line(recipe: Recipe) -> str:
    """The shell command that parses to this recipe, defaults written out, so that it means the same in later
    versions."""
    words = ["vdit", "train", recipe.command()]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if value is True:
            words.append(_flag(field))
        elif value is not None and value is not False:
            words += [_flag(field), str(value)]
    return shlex.join(words)


def plain_values(recipe: Recipe) -> dict[str, str | int | float | bool | None]:
    """A recipe's fields by name as JSON has them."""
    values = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
