"""Puts a trained codec, transformer and word encoder into the one file that ships."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..model.checkpoint import DEFAULTS, WorldModel, save_world_model
from ..model.config import VDiTConfig
from .latents import load_codec
from .run import Run
from .teacher import fresh


def _last(log: Path, key: str) -> float | None:
    """The newest value of `key` in a run's log."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    values = [row[key] for row in found if key in row]
    return values[-1] if values else None


def _lineage(run: Path) -> list[Path]:
    """A run and those whose weights it began with, newest first."""
    start = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    return [run] + (_lineage(Path(start["start_from"])) if start.get("start_from") else [])


def trained_model(codec_run: Path, teacher_run: Path) -> WorldModel:
    """The model as trained so far, with averaged weights. Raises FileNotFoundError without both states."""
    codec = load_codec(codec_run, Path())
    state = Run(teacher_run).load()
    if state is None:
        raise FileNotFoundError(f"no state.pt in {teacher_run}; train it with `vdit train teacher`")
    config = VDiTConfig(**state["config"])
    transformer, text = fresh(config, 0)
    transformer.load_state_dict({n[6:]: v for n, v in state["average"].items() if n.startswith("model.")})
    text.load_state_dict({n[5:]: v for n, v in state["average"].items() if n.startswith("text.")})
    for module in (transformer, text):
        module.eval().requires_grad_(False)
    codec_states = [Run(run).load() for run in _lineage(Path(codec_run))]
    facts = {
        "codec_steps": sum(s["step"] for s in codec_states),
        "codec_hours": round(sum(s["seconds"] for s in codec_states) / 3600, 2),
        "codec_held_out_psnr_db": _last(Path(codec_run) / "log.jsonl", "held_out_psnr"),
        "teacher_steps": state["step"],
        "teacher_clips_seen": state["samples"],
        "teacher_hours": round(state["hours"] + state["seconds"] / 3600, 2),
        "teacher_held_out_loss": _last(Path(teacher_run) / "log.jsonl", "held_out_loss"),
        "clips_and_mirror_images": _last(Path(teacher_run) / "log.jsonl", "clips"),
    }
    return WorldModel(config, transformer, codec, text, dict(DEFAULTS), facts)


def bundle(codec_run: Path, teacher_run: Path, out: Path) -> dict:
    """Write the bundle in half precision and return its training facts."""
    model = trained_model(codec_run, teacher_run)
    path = save_world_model(model, out, torch.float16)
    return {**model.facts, "file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)}
