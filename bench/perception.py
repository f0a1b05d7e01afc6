"""What a trained perception of bodies reaches: python bench/perception.py runs/perception --out perception.json

Prints its scores over the starts it has seen (from the run's log), the scores by shape of the last validation, and
the processor time of one picture and of five at 128x128, one thread, median of 20.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from vdit.control.flow_from_video import motion_before
from vdit.model.cells import resized
from vdit.model.perceived import KINDS
from vdit.model.perception import BodyPerception
from vdit.model.ways import KNOWN
from vdit.training.finished_runs import trained_perception

CURVE = (
    "iou",
    "iou_single",
    "ap50",
    "recall",
    "center",
    "depth",
    "size",
    "axes",
    "speed",
    "kind",
    "ground",
    "fov",
    "map",
)
BY_SHAPE = ("iou", "recall", "center", "depth", "size", "axes", "speed", "kind")


def curve(run: Path) -> list[dict[str, float]]:
    """Scores of each validation with the starts seen and the seconds trained before it."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{n: r[n] for n in ("samples", "seconds", *CURVE) if n in r} for r in rows if "iou" in r]


def milliseconds(model: BodyPerception, pictures: int) -> float:
    frames, spent = torch.rand(pictures, 128, 128, 3), []
    for _ in range(23):
        begin = time.process_time()
        model.perceive(frames, motion_before(resized(frames), KNOWN))
        spent.append(time.process_time() - begin)
    return round(1000 * float(np.median(spent[3:])), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, facts = trained_perception(options.run)
    rows = [json.loads(line) for line in (options.run / "log.jsonl").read_text().splitlines()]
    last = [row for row in rows if "iou" in row][-1]
    shapes = {k: {n: last[f"{n}_{k}"] for n in BY_SHAPE if f"{n}_{k}" in last} for k in KINDS}
    speed = {str(n): milliseconds(model, n) for n in (1, KNOWN)}
    for row in curve(options.run):
        print({name: round(value, 3) for name, value in row.items()})
    for name, row in shapes.items():
        print(name, row)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters; processor time {speed} ms")
    if options.out is not None:
        table = {"facts": {**facts, "parameters": parameters}, "curve": curve(options.run), "by_shape": shapes}
        options.out.write_text(json.dumps({**table, "processor_ms": speed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
