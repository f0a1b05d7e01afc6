"""`vdit train ...`: the commands that make the bundled weights, in the order they are run."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex

from ..machine.importing import ended_by_ctrl_c
from .options import add_options, recipe_from
from .recipes import RECIPES, BundleRecipe, Recipe, StudentRecipe, TeacherRecipe, WanRecipe

CARRIED_OUT_BY = {  # command -> module and function that takes its recipe; imported only when called
    "clips": (".data.clips", "write_clips"),
    "codec": (".tasks.codec", "train"),
    "latents": (".data.encoded_clips", "write_encoded_clips"),
    "scenes": (".data.scenes", "write_scenes"),
    "dynamics": (".tasks.perception", "train"),
    "motion": (".tasks.motion", "train"),
    "bodies": (".data.bodies", "write_bodies"),
    "perception": (".tasks.bodies", "train"),
    "pictures": (".data.world_pictures", "write_pictures"),
    "gate": (".tasks.gate", "train"),
    "teacher": (".tasks.teacher", "train"),
    "trajectories": (".data.trajectories", "write_trajectories"),
    "student": (".tasks.student", "train"),
    "videos": (".data.wan_videos", "write_videos"),
    "wan": (".tasks.wan", "train"),
    "bundle": (".bundle", "bundle"),
    "all": (".everything", "train"),
}


def parser() -> argparse.ArgumentParser:
    """The options of all commands."""
    top = argparse.ArgumentParser(prog="vdit train", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="|".join(r.command() for r in RECIPES))
    for recipe in RECIPES:
        one = commands.add_parser(recipe.command(), help=recipe.help(), description=recipe.help())
        one.set_defaults(recipe=recipe)
        add_options(one, recipe)
    return top


def parse(command: str) -> Recipe:
    """The recipe of a command as the log has it (`vdit train teacher --hours 12 ...`)."""
    options = parser().parse_args(shlex.split(command)[2:])
    return recipe_from(options, options.recipe)


def carry_out(recipe: Recipe) -> None:
    """Run a recipe's command, in several processes where it says so."""
    module, function = CARRIED_OUT_BY[recipe.command()]
    with ended_by_ctrl_c():
        command = getattr(importlib.import_module(module, __package__), function)
    if isinstance(recipe, (TeacherRecipe, StudentRecipe)):
        from .launch import launch

        launch(recipe.processes, command, recipe)
    elif isinstance(recipe, WanRecipe):
        from .launch import joined

        with joined() as team:
            command(recipe, team.in_parts(recipe.batch, "--batch"))
    elif isinstance(recipe, BundleRecipe):
        print(json.dumps(command(recipe), indent=2))
    else:
        command(recipe)


def main(argv: list[str] | None = None) -> int:
    """Run one training command; returns the exit status."""
    options = parser().parse_args(argv)
    recipe = recipe_from(options, options.recipe)
    try:
        carry_out(recipe)
    except (FileNotFoundError, ValueError) as e:
        print(f"vdit train {recipe.command()}: {e}")
        return 2
    except KeyboardInterrupt:
        print(f"vdit train {recipe.command()}: stopped; the same command goes on from the last saved state")
        return 130
    return 0
