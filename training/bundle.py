"""Puts a trained codec, transformer (a teacher or a student) and word encoder into the one file that ships."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..model.checkpoint import STUDENT_DEFAULTS, WorldModel, load_world_model, save_world_model
from .latents import load_codec
from .reader import load_reader, with_reader
from .run import Run
from .student import STEP_COUNTS
from .teacher import SAMPLED
from .trajectories import averaged


def _last(log: Path, key: str) -> float | None:
    """The newest value of `key` in a run's log."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    values = [row[key] for row in found if key in row]
    return values[-1] if values else None


def _codec_facts(codec: Path) -> dict:
    """Steps, hours and score of a codec: of a run with those that it began with, or as a bundle tells them."""
    if codec.suffix == ".safetensors":
        return {k: v for k, v in load_world_model(codec).facts.items() if k.startswith("codec_")}
    start = json.loads((codec / "log.jsonl").read_text().splitlines()[0])
    before = _codec_facts(Path(start["start_from"])) if start.get("start_from") else {}
    state = Run(codec).load()
    return {
        "codec_steps": before.get("codec_steps", 0) + state["step"],
        "codec_hours": round(before.get("codec_hours", 0.0) + state["seconds"] / 3600, 2),
        "codec_held_out_psnr_db": _last(codec / "log.jsonl", "held_out_psnr"),
    }


def trained_model(codec_run: Path, reader: Path | None, run: Path, clips: Path) -> WorldModel:
    """The teacher or student as trained so far, averaged weights. Raises FileNotFoundError without both states.

    reader: a reader's run, or None for that of the codec's bundle. clips: what the codec's statistics are measured on,
    where that was not done yet.
    """
    codec = with_reader(load_codec(codec_run, clips), load_reader(Path(reader or codec_run)))
    transformer, text, state = averaged(run)
    facts = _codec_facts(Path(codec_run))
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
    defaults = {**STUDENT_DEFAULTS, "rise": state["rise"]} if who == "student" else dict(SAMPLED)
    return WorldModel(transformer.config, transformer, codec, text, defaults, facts)


def bundle(codec_run: Path, reader: Path | None, run: Path, out: Path, clips: Path) -> dict:
    """Write the bundle of a teacher's or student's run in 8 bits a weight and return its training facts."""
    model = trained_model(codec_run, reader, run, clips)
    path = save_world_model(model, out, torch.int8)
    return {**model.facts, "file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)}
