"""Puts a trained codec, transformer (a teacher or a student) and word encoder into the one file that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from ..model.defaults import STUDENT_DEFAULTS
from ..model.files.beside import BODIES, BODIES_GATE, GATE, Beside, Network
from ..model.files.bundle import BUNDLED, load_world_model, save_world_model
from ..model.files.checksums import card_renewed
from ..model.world_model import WorldModel
from .finished_runs import (
    TEACHER_DEFAULTS,
    begun_perception,
    hours_of,
    load_codec,
    load_dynamics,
    load_transformer,
    trained_gate,
    trained_perception,
)
from .recipes import BundleRecipe
from .run import last_logged, load_state
from .tasks.student import STEP_COUNTS

# Rise of a student's noise from frame to frame, where its teacher's rises at all: four steps then compute 12 frames,
# where .75 has them compute 14, and predict as well.
STUDENT_RISE = 1.0


def _codec_facts(codec: Path) -> dict:
    """Steps, hours and score of a codec: of a run with those that it began with, or as a bundle has them."""
    if codec.suffix == ".safetensors":
        return _facts_of(load_world_model(codec), "codec_")
    start = json.loads((codec / "log.jsonl").read_text().splitlines()[0])
    before = _codec_facts(Path(start["start_from"])) if start.get("start_from") else {}
    state = load_state(codec) or {}
    return {
        "codec_steps": before.get("codec_steps", 0) + state["step"],
        "codec_hours": round(before.get("codec_hours", 0.0) + state["seconds"] / 3600, 2),
        "codec_held_out_psnr_db": last_logged(codec, "held_out_psnr"),
    }


def _facts_of(model: WorldModel, *parts: str) -> dict:
    """A bundle's facts whose names begin so."""
    return {k: v for k, v in model.facts.items() if k.startswith(parts)}


def _transformer_facts(role: str, state: dict) -> dict:
    facts = {"steps": state["step"], "clips_seen": state["samples"], "hours": round(hours_of(state), 2)}
    return {f"{role}_{name}": value for name, value in facts.items()}


def trained_teacher(recipe: BundleRecipe) -> WorldModel:
    """The recipe's teacher as trained so far, averaged weights, or that of a bundle (.safetensors), with the recipe's
    codec and object dynamics. Raises FileNotFoundError without its parts' states.

    The recipe's clips: where the codec's statistics were not measured yet, they are, on these.
    """
    run, codec = recipe.teacher, load_codec(recipe.codec, recipe.clips)
    dynamics, dynamics_facts = load_dynamics(recipe.dynamics)
    facts = _codec_facts(recipe.codec) | dynamics_facts
    if run.suffix == ".safetensors":
        whole = load_world_model(run)
        return replace(whole, codec=codec, dynamics=dynamics, facts={**whole.facts, **facts})
    transformer, text, state = load_transformer(run)
    facts |= _transformer_facts("teacher", state)
    facts["teacher_held_out_loss"] = last_logged(run, "held_out_loss")
    facts["clips_and_mirror_images"] = last_logged(run, "clips")
    return WorldModel(transformer.config, transformer, codec, text, dict(TEACHER_DEFAULTS), facts, dynamics=dynamics)


def trained_student(run: Path, beside: Path) -> WorldModel:
    """A student as trained so far, averaged weights, or that of a bundle (.safetensors, its own teacher's beside it),
    with the parts of its teacher's bundle. Raises FileNotFoundError."""
    if not beside.is_file():
        raise FileNotFoundError(
            f"no {beside}; bundle the teacher first: a student shares its codec, words and dynamics"
        )
    teacher = load_world_model(beside)
    if run.suffix == ".safetensors":
        student = load_world_model(run)
        facts = {**student.facts, **_facts_of(teacher, "codec_", "dynamics_")}
        parts = dict(codec=teacher.codec, text=teacher.text, dynamics=teacher.dynamics, teacher=teacher)
        return replace(student, facts=facts, **parts)
    transformer, _, state = load_transformer(run)
    facts = {
        **teacher.facts,
        **_transformer_facts("student", state),
        "guidance_baked": state["guidance"],
        "teacher": state["teacher"],
        "trajectories": state["trajectories"],
        "rank": state.get("rank"),
        **{f"student_held_out_error_{n}_steps": last_logged(run, f"error_{n}") for n in STEP_COUNTS},
    }
    defaults = {**STUDENT_DEFAULTS, "rise": STUDENT_RISE if state["rise"] else 0.0}
    return replace(
        teacher, config=transformer.config, transformer=transformer, defaults=defaults, facts=facts, teacher=teacher
    )


def bundle(recipe: BundleRecipe) -> dict:
    """Write the bundle of a teacher's or student's run in 8 bits a weight and return its training facts.

    A student's holds its transformer alone, or what that adds to its teacher's where it was trained in few ranks; the
    rest is read from vdit-small.safetensors beside it. Gates and a perception of bodies are files of their own. The
    card of a file that is replaced gets its SHA-256.
    """
    if recipe.gate is not None:
        return _beside(GATE, *trained_gate(recipe.gate), recipe.out)
    if recipe.bodies_gate is not None:
        return _beside(BODIES_GATE, *trained_gate(recipe.bodies_gate), recipe.out)
    if recipe.perception is not None:
        perception, facts = trained_perception(recipe.perception)
        if recipe.average_with is not None:  # a run and what it began with err in different ways (arXiv 2203.05482)
            other = begun_perception(recipe.average_with).state_dict()
            for name, value in perception.state_dict().items():
                value.lerp_(other[name], 0.5)
        return _beside(BODIES, perception, facts, recipe.out)
    if recipe.student is None:
        model, base, rank = trained_teacher(recipe), None, None
    else:
        model = trained_student(recipe.student, recipe.out.with_name(BUNDLED.name))
        base, rank = BUNDLED.name, model.facts.get("rank")
    with card_renewed(recipe.out):
        path = save_world_model(model, recipe.out, torch.int8, base, rank)
    return {**model.facts, "file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)}


def _beside(kind: Beside[Network], network: Network, facts: dict[str, object], bundle: Path) -> dict:
    path = kind.path(bundle)
    with card_renewed(path):
        kind.save(network, path, facts)
    return {**facts, "file": str(path), "kilobytes": round(path.stat().st_size / 1e3)}
