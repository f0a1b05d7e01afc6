"""Puts a trained codec, transformer (a teacher or a student) and word encoder into the one file that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from ..model.defaults import STUDENT_DEFAULTS
from ..model.files.bundle import BUNDLED, load_world_model, save_world_model
from ..model.world_model import WorldModel
from .dynamics import load_dynamics
from .latents import load_codec
from .run import Run
from .student import STEP_COUNTS
from .teacher import SAMPLED
from .trajectories import averaged

RISE = 1.0  # of a student's noise where its teacher's rises at all: four steps then move 12 frames, at .75 14, and predict as well


def _last(log: Path, key: str) -> float | None:
    """The newest value of `key` in a run's log."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    values = [row[key] for row in found if key in row]
    return values[-1] if values else None


def _codec_facts(codec: Path) -> dict:
    """Steps, hours and score of a codec: of a run with those that it began with, or as a bundle tells them."""
    if codec.suffix == ".safetensors":
        return _parts(load_world_model(codec), "codec_")
    start = json.loads((codec / "log.jsonl").read_text().splitlines()[0])
    before = _codec_facts(Path(start["start_from"])) if start.get("start_from") else {}
    state = Run(codec).load()
    return {
        "codec_steps": before.get("codec_steps", 0) + state["step"],
        "codec_hours": round(before.get("codec_hours", 0.0) + state["seconds"] / 3600, 2),
        "codec_held_out_psnr_db": _last(codec / "log.jsonl", "held_out_psnr"),
    }


def trained_teacher(codec_run: Path, dynamics: Path, run: Path, clips: Path) -> WorldModel:
    """The teacher as trained so far, averaged weights, or that of a bundle (.safetensors) with this codec and these dynamics.
    Raises FileNotFoundError without its parts' states.

    clips: what the codec's statistics are measured on, where that was not done yet.
    """
    codec = load_codec(codec_run, clips)
    objects, moved = load_dynamics(Path(dynamics))
    if run.suffix == ".safetensors":
        whole = load_world_model(run)
        return replace(
            whole, codec=codec, dynamics=objects, facts={**whole.facts, **_codec_facts(Path(codec_run)), **moved}
        )
    transformer, text, state = averaged(run)
    log = Path(run) / "log.jsonl"
    facts = _codec_facts(Path(codec_run)) | moved | _facts("teacher", state)
    facts["teacher_held_out_loss"] = _last(log, "held_out_loss")
    facts["clips_and_mirror_images"] = _last(log, "clips")
    return WorldModel(transformer.config, transformer, codec, text, dict(SAMPLED), facts, dynamics=objects)


def trained_student(run: Path, beside: Path) -> WorldModel:
    """A student as trained so far, averaged weights, or that of a bundle (.safetensors, its own teacher's beside it), with
    the parts of its teacher's bundle. Raises FileNotFoundError."""
    if not beside.is_file():
        raise FileNotFoundError(
            f"no {beside}; bundle the teacher first: a student shares its codec, words and dynamics"
        )
    theirs = load_world_model(beside)
    if run.suffix == ".safetensors":
        mine = load_world_model(run)
        facts = {**mine.facts, **_parts(theirs, "codec_", "dynamics_")}
        return replace(
            mine, codec=theirs.codec, text=theirs.text, dynamics=theirs.dynamics, facts=facts, teacher=theirs
        )
    transformer, _, state = averaged(run)
    facts = {
        **theirs.facts,
        **_facts("student", state),
        "guidance_baked": state["guidance"],
        "teacher": state["teacher"],
    }
    facts |= {"trajectories": state["trajectories"], "rank": state.get("rank")}
    facts |= {f"student_held_out_error_{n}_steps": _last(Path(run) / "log.jsonl", f"error_{n}") for n in STEP_COUNTS}
    defaults = {**STUDENT_DEFAULTS, "rise": RISE if state["rise"] else 0.0}
    shared = dict(dynamics=theirs.dynamics, teacher=theirs)
    return WorldModel(transformer.config, transformer, theirs.codec, theirs.text, defaults, facts, **shared)


def _parts(model: WorldModel, *parts: str) -> dict:
    """A bundle's facts of parts whose names begin so."""
    return {k: v for k, v in model.facts.items() if k.startswith(parts)}


def _facts(who: str, state: dict) -> dict:
    hours = round(state["hours"] + state["seconds"] / 3600, 2)
    return {f"{who}_steps": state["step"], f"{who}_clips_seen": state["samples"], f"{who}_hours": hours}


def bundle(codec_run: Path, dynamics: Path, run: Path, out: Path, clips: Path, *, student: bool = False) -> dict:
    """Write the bundle of a teacher's or student's run in 8 bits a weight and return its training facts.

    A student's holds its transformer alone, or what that adds to its teacher's where it was trained in few ranks; the rest is
    read from vdit-small.safetensors beside it.
    """
    beside = BUNDLED.name if student else None
    model = trained_student(run, out.with_name(beside)) if student else trained_teacher(codec_run, dynamics, run, clips)
    path = save_world_model(model, out, torch.int8, beside, model.facts.get("rank") if student else None)
    return {**model.facts, "file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)}
