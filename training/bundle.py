"""Puts a trained codec, transformer (a teacher or a student) and word encoder into the one file that ships."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..model.checkpoint import DEFAULTS, STUDENT_DEFAULTS, WorldModel, save_world_model
from .latents import load_codec
from .run import Run
from .student import STEP_COUNTS
from .trajectories import averaged


def _last(log: Path, key: str) -> float | None:
    """The newest value of `key` in a run's log."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    values = [row[key] for row in found if key in row]
    return values[-1] if values else None


def _lineage(run: Path) -> list[Path]:
    """A run and those whose weights it began with, newest first."""
    start = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    return [run] + (_lineage(Path(start["start_from"])) if start.get("start_from") else [])


def trained_model(codec_run: Path, run: Path) -> WorldModel:
    """The teacher or student as trained so far, averaged weights. Raises FileNotFoundError without both states."""
    codec = load_codec(codec_run, Path())
    transformer, text, state = averaged(run)
    codec_states = [Run(r).load() for r in _lineage(Path(codec_run))]
    facts = {
        "codec_steps": sum(s["step"] for s in codec_states),
        "codec_hours": round(sum(s["seconds"] for s in codec_states) / 3600, 2),
        "codec_held_out_psnr_db": _last(Path(codec_run) / "log.jsonl", "held_out_psnr"),
    }
    who = "student" if transformer.config.flow_map else "teacher"
    facts |= {
        f"{who}_steps": state["step"],
        f"{who}_clips_seen": state["samples"],
        f"{who}_hours": round(state["hours"] + state["seconds"] / 3600, 2),
    }
    log = Path(run) / "log.jsonl"
    if who == "student":
        facts = {**state["teacher_facts"], **facts, "guidance_baked": state["guidance"], "teacher": state["teacher"]}
        facts["trajectories"] = state["trajectories"]
        facts |= {f"{who}_held_out_error_{n}_steps": _last(log, f"error_{n}") for n in STEP_COUNTS}
    else:
        facts["teacher_held_out_loss"] = _last(log, "held_out_loss")
        facts["clips_and_mirror_images"] = _last(log, "clips")
    defaults = STUDENT_DEFAULTS if who == "student" else DEFAULTS
    return WorldModel(transformer.config, transformer, codec, text, dict(defaults), facts)


def bundle(codec_run: Path, run: Path, out: Path) -> dict:
    """Write the bundle of a teacher's or student's run in half precision and return its training facts."""
    model = trained_model(codec_run, run)
    path = save_world_model(model, out, torch.float16)
    return {**model.facts, "file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)}
