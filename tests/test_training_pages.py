"""The commands of docs/training.md and docs/training-log.md: each finds what it reads, and the first of them run."""

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vdit.model.files.beside import BODIES, BODIES_GATE, GATE
from vdit.model.files.bundle import BUNDLED, load_world_model
from vdit.training.cli import main, parse
from vdit.training.options import command_line
from vdit.training.recipes import BundleRecipe

ROOT = Path(__file__).parents[1]
# What a clone has or its owner brings: photographs, links to shards (both pages say of what), files of a Wan model.
GIVEN = {
    "docs/training.md": (
        "clips",
        "wan2.1_t2v_1.3B.safetensors",
        "wan_2.1_vae.safetensors",
        "umt5_xxl_fp16.safetensors",
    ),
    "docs/training-log.md": ("runs/scenes-more", "runs/scenes-m"),
}
EVERYWHERE = ("weights", "weights/vdit-small.safetensors", "runs/photographs", "runs/photographs-val")
WRITTEN = ("out", "cache")
FEWER = {"shards": 1, "hours": 0.001, "steps": 2, "batch": 8}  # so that each command takes seconds


def commands(text):
    """The recipes of a page, in its order."""
    return [parse(line) for line in re.findall(r"^(vdit train [^#\n]+)", text, re.MULTILINE) if "--workers" not in line]


def read_by(recipe):
    """Paths that a command reads."""
    if isinstance(recipe, BundleRecipe) and recipe.gate:
        return {recipe.gate}
    if isinstance(recipe, BundleRecipe) and recipe.student:
        return {recipe.student, recipe.out.with_name(BUNDLED.name)}
    paths = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in WRITTEN}
    if paths.get("codec") is not None and paths["codec"].suffix == ".safetensors":
        del paths["clips"]  # of which a run's codec measures its statistics
    return {path for path in paths.values() if isinstance(path, Path)}


BESIDE = {"gate": GATE, "perception": BODIES, "bodies_gate": BODIES_GATE}  # what `vdit train bundle` makes of a run


@pytest.mark.parametrize("page", GIVEN)
def test_every_command_of_a_page_reads_what_those_before_it_make(page):
    there, lacking = {Path(path) for path in (*EVERYWHERE, *GIVEN[page])}, {}
    for recipe in commands((ROOT / page).read_text("utf-8")):
        if missing := read_by(recipe) - there:
            lacking[command_line(recipe)] = missing
        there |= {getattr(recipe, name) for name in WRITTEN if hasattr(recipe, name)}
        there |= {kind.path(recipe.out) for run, kind in BESIDE.items() if getattr(recipe, run, None)}
    assert lacking == {}


@pytest.mark.slow
def test_the_commands_from_nothing_to_a_bundled_model_run_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    """With the shipped weights beside them, as in a clone, and two photographs; less of everything."""
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    block = page[page.index("## From nothing to a bundled model") :].split("```")[1]
    shutil.copytree(BUNDLED.parent, tmp_path / "weights")
    for seed, name in enumerate(("photographs", "photographs-val")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (160, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "runs" / name / "one.png")
    monkeypatch.chdir(tmp_path)
    ran = commands(block)
    for recipe in ran:
        words = shlex.split(command_line(recipe))[2:]
        for field in fields(recipe):
            if field.name in FEWER:
                words += [f"--{field.name}", str(FEWER[field.name])]
        assert main(words) == 0, (words, capsys.readouterr())
    bundled, model = Path("weights") / BUNDLED.name, load_world_model(Path("weights") / BUNDLED.name)
    assert bundled.read_bytes() != BUNDLED.read_bytes() and model.facts["codec_steps"] == FEWER["steps"]
    assert model.facts["teacher_steps"] > 0 and model.facts["dynamics_steps"] > 0
    assert GATE.path(bundled).read_bytes() != GATE.path(BUNDLED).read_bytes() and GATE.load(GATE.path(bundled))
    made = {"clips", "codec", "latents", "scenes", "dynamics", "motion", "pictures", "gate", "teacher", "bundle"}
    assert {recipe.command() for recipe in ran} == made
