"""Physics Benchmark: scores a model on many simulated clips that no training saw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .comfy import check_interrupted, io, progress, torch_device, use_models, verdict
from .sessions import cancellable
from .simulate import SPLITS
from .types import VDiTModel, needs, node_schema

if TYPE_CHECKING:
    from torch import Tensor

    from ..benchmark.contestant import Frames
    from ..model.world_model import WorldModel
    from ..world.arrays import Bytes
    from ..world.families.clip import Clip

SUITES = ["all three", "permanence", "physics", "coherence"]
TOOLTIPS = {
    "model": "The world model to measure.",
    "suite": "permanence: a ball passes behind a box. physics: it falls and bounces. coherence: ten seconds, made in "
    "windows that start from the last frames of the one before.",
    "count": "Clips each for permanence and physics, 1 to 1000; coherence gets a fifth. Six give a first look; the 95% "
    "interval is within 5 points from about 200.",
    "seed": "Picks the clips, 0 to 2,147,483,647. Use one that nobody tuned on; the same seed, the same clips for "
    "every model.",
    "split": "test: scenes like those of training. ood-...: gravity, speed, size, colours or a camera that no training "
    "saw.",
    "known_frames": "First frames that the model is given, 1 to 21 (4k+1). 5 show how fast things move.",
    "steps": "Sampling steps, 1 to 200; 0: the model's own number. Time grows in proportion.",
    "-> report": "The scores as a table.",
    "-> plot": "Bars with 95% intervals.",
    "-> worst": "Film strips of the worst clips, the truth above.",
    "-> json": "Every number, as JSON.",
}


class VDiTPhysicsBenchmark(io.ComfyNode):
    """Object permanence, physics accuracy and 10-second coherence of a model, with 95% intervals."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            io.Combo.Input("suite", options=SUITES, default="all three"),
            io.Int.Input("count", default=6, min=1, max=1000),
            io.Int.Input("seed", default=0, min=0, max=0x7FFFFFFF),
            io.Combo.Input("split", options=SPLITS[1:], default="test"),
            io.Int.Input("known_frames", default=5, min=1, max=21, step=4),
            io.Int.Input("steps", default=0, min=0, max=200),
        ]
        outputs = {"report": io.String, "plot": io.Image, "worst": io.Image, "json": io.String}
        return node_schema(cls, "VDiT Physics Benchmark", inputs, outputs, TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, count: int | None = None) -> bool | str:
        return verdict(cls, count=count)

    @classmethod
    def execute(
        cls, model: WorldModel, suite: str, count: int, seed: int, split: str, known_frames: int, steps: int
    ) -> io.NodeOutput:
        needs("VDiT Physics Benchmark", "mujoco", "cv2", "matplotlib")
        import json
        import tempfile
        from pathlib import Path

        from ..machine.importing import imported

        imported("..benchmark.measure", check_interrupted)
        from ..benchmark import measure, plots
        from ..benchmark.report import table
        from ..benchmark.runner import Plan
        from ..benchmark.selection import Format
        from ..pipeline import SamplerSettings
        from .benchmark_models import contestant

        device = torch_device()
        made = contestant(model, settings=SamplerSettings(steps or None), device=device, check=check_interrupted)

        def predict(clip: Clip, known_frames: Tensor, seed: int) -> Tensor | Frames:
            use_models([*model.transformers, model.codec, model.text], device)  # others may have moved them meanwhile
            return made.predict(clip, known_frames, seed)

        usual = model.defaults
        form = Format(usual["width"], usual["height"], usual["fps"], known_frames)
        plan = Plan(seed, count, tuple(SUITES[1:]) if suite == SUITES[0] else (suite,), (split,), form)
        bar = progress(plan.clips)
        with tempfile.TemporaryDirectory(prefix="vdit-benchmark-") as folder, cancellable(model):
            report, results = measure.measure(
                plan,
                replace(made, predict=predict),
                Path(folder),
                speed=False,
                on_done=lambda done, total, what: bar(done),
                check=check_interrupted,
            )
            worst = plots.worst_strip(results, Path(folder) / "model")
        text = table(report)
        return io.NodeOutput(
            text,
            _image(plots.pixels(plots.bars(report.get("scores", {})))),
            _image(worst),
            json.dumps(report, indent=1),
            ui={"vdit_line": text.split("\n")},
        )


def _image(pixels: Bytes) -> Tensor:
    """uint8 [H,W,3] -> IMAGE [1,H,W,3]."""
    import torch

    return torch.from_numpy(pixels.copy()).float()[None] / 255
