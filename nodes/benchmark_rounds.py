"""Benchmark Clips and Benchmark Scores: any graph is scored on the suite by running it, a few clips at a time."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .benchmark import SUITES
from .benchmark import TOOLTIPS as BENCHMARK
from .comfy import check_interrupted, held_back, io, main_room, progress, save_place, verdict
from .simulate import SPLITS
from .types import VDiTClip, needs, node_schema

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..benchmark.rounds import Round, Ticket

RATES = ("8", "16", "24")  # frames a second; the clips have 8
FOLDER = "benchmark"  # in ComfyUI's output folder

CLIPS_TOOLTIPS = {
    **{name: BENCHMARK[name] for name in ("suite", "seed", "split")},
    "name": "What the model is called in reports. Its scores are kept in the output folder, in benchmark/NAME; another "
    "setting needs another name.",
    "count": "Clips each for permanence and physics, 1 to 1000; coherence gets a fifth.",
    "known_frames": "First frames that the graph is given, 1 to 21 (4k+1). Most models take one picture.",
    "width": "Pixels, 64 to 2048, a multiple of 16: what the model makes.",
    "height": "Pixels, 64 to 2048, a multiple of 16: what the model makes.",
    "fps": "Frames a second that the model makes. Of 16 every second frame is judged, of 24 every third.",
    "length": "Frames at 8 a second of the clips for permanence and physics, 9 to 81; 0: 41, five seconds.",
    "clips_at_once": "Clips for each run of the graph, 1 to 100. Run it again for the next ones; a run that was "
    "stopped loses only its own.",
    "-> pictures": "Each clip's first frames. A list: nodes after it run once for each clip.",
    "-> words": "What happens in each clip.",
    "-> seeds": "A seed for the noise of each clip.",
    "-> clips": "Which clips these are, for VDiT Benchmark Scores.",
    "-> width": "Width of the frames that the model makes.",
    "-> height": "Height of the frames that the model makes.",
    "-> frames": "How many frames each video must have.",
    "-> fps": "Frames a second.",
}
SCORES_TOOLTIPS = {
    "images": "The videos that the graph made, one for each clip.",
    "clips": "Which clips they are, from VDiT Benchmark Clips.",
    "-> report": BENCHMARK["-> report"],
    "-> json": BENCHMARK["-> json"],
}


class VDiTBenchmarkClips(io.ComfyNode):
    """Hands out the clips of the physics benchmark that have no score yet, for a graph with any video model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.String.Input("name", default="my-model"),
            io.Combo.Input("suite", options=SUITES, default="all three"),
            io.Int.Input("count", default=24, min=1, max=1000),
            io.Int.Input("seed", default=0, min=0, max=0x7FFFFFFF),
            io.Combo.Input("split", options=SPLITS[1:], default="test"),
            io.Int.Input("known_frames", default=1, min=1, max=21, step=4),
            io.Int.Input("width", default=832, min=64, max=2048, step=16),
            io.Int.Input("height", default=480, min=64, max=2048, step=16),
            io.Combo.Input("fps", options=list(RATES), default="16"),
            io.Int.Input("length", default=0, min=0, max=81),
            io.Int.Input("clips_at_once", default=1, min=1, max=100),
        ]
        outputs = {
            "pictures": io.Image,
            "words": io.String,
            "seeds": io.Int,
            "clips": VDiTClip,
            "width": io.Int,
            "height": io.Int,
            "frames": io.Int,
            "fps": io.Float,
        }
        lists = ("pictures", "words", "seeds", "clips", "frames")
        return node_schema(cls, "VDiT Benchmark Clips", inputs, outputs, CLIPS_TOOLTIPS, lists=lists)

    @classmethod
    def validate_inputs(cls, name: str | None = None, length: int | None = None) -> bool | str:
        if name is not None and not name.strip(" ./\\"):
            return "name is empty; type what the model is called, such as wan-2.2-14b"
        if name is not None:
            try:
                _folder(name)
            except ValueError as reason:
                return f"name: {reason}"
        if length is not None and length != 0 and not 9 <= length <= 81:
            return f"length is {length}; expected 0, or 9 to 81"
        return verdict(cls, name=name)

    @classmethod
    def fingerprint_inputs(cls, name: str = "", **_others: object) -> object:
        """How many clips are scored: the next run hands out others."""
        try:
            return sum(1 for _ in _folder(name).glob("model/results/model/*.json"))
        except ValueError:  # execute says why
            return 0

    @classmethod
    def execute(
        cls,
        name: str,
        suite: str,
        count: int,
        seed: int,
        split: str,
        known_frames: int,
        width: int,
        height: int,
        fps: str,
        length: int,
        clips_at_once: int,
    ) -> io.NodeOutput:
        needs("VDiT Benchmark Clips", "mujoco", "cv2")
        from ..machine.importing import imported

        imported("..benchmark.rounds", check_interrupted)
        from ..benchmark import rounds
        from ..benchmark.report import table

        asked = round_of(name, suite, count, seed, split, known_frames, width, height, fps, length)
        check_room(asked, clips_at_once)
        plan = asked.plan
        handed = rounds.hand_out(asked, clips_at_once, progress(plan.clips), check_interrupted)
        if not handed:
            report, _ = rounds.report(asked)
            lines = [f"All clips of {asked.system} are scored.", *table(report).split("\n")]
            blocked = held_back()
            return io.NodeOutput(
                *([blocked] for _ in range(4)), blocked, blocked, [blocked], blocked, ui={"vdit_line": lines}
            )
        return io.NodeOutput(
            [clip.pictures for clip in handed],
            [clip.words for clip in handed],
            [clip.noise_seed for clip in handed],
            [clip.ticket for clip in handed],
            width,
            height,
            [clip.frames for clip in handed],
            float(fps),
            ui={"vdit_line": [f"{clip.ticket.part.name}, scene {clip.ticket.seed}" for clip in handed]},
        )


class VDiTBenchmarkScores(io.ComfyNode):
    """Scores the videos that a graph made of VDiT Benchmark Clips, and adds them to those of its earlier runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Image.Input("images"), VDiTClip.Input("clips")]
        outputs = {"report": io.String, "json": io.String}
        return node_schema(
            cls, "VDiT Benchmark Scores", inputs, outputs, SCORES_TOOLTIPS, is_output_node=True, takes_lists=True
        )

    @classmethod
    def execute(cls, images: list[Tensor], clips: list[Ticket]) -> io.NodeOutput:
        needs("VDiT Benchmark Scores", "mujoco", "cv2", "matplotlib")
        import json

        from ..benchmark import rounds
        from ..benchmark.measure import write_report
        from ..benchmark.report import table

        if len(images) != len(clips):
            raise ValueError(
                f"{len(images)} videos came for {len(clips)} clips: wire the graph so that it runs once for each clip, "
                "from the pictures of VDiT Benchmark Clips"
            )
        update = progress(len(clips))
        for done, (video, clip) in enumerate(zip(images, clips, strict=True), 1):
            rounds.take_back(clip, video, check_interrupted)
            update(done)
        asked = clips[0].round
        report, results = rounds.report(asked)
        write_report(asked.folder, report, results)
        left = rounds.missing(report, results)
        state = f"{left} clips are left: run the graph again" if left else "All clips are scored"
        text = f"{asked.system}: {len(results)} clips scored. {state}.\n{table(report)}"
        return io.NodeOutput(text, json.dumps(report, indent=1), ui={"vdit_line": text.split("\n")})


def round_of(
    name: str,
    suite: str,
    count: int,
    seed: int,
    split: str,
    known_frames: int,
    width: int,
    height: int,
    fps: str,
    length: int,
) -> Round:
    """What the widgets of VDiT Benchmark Clips ask for. Raises ValueError for values that they cannot hold."""
    from ..benchmark.rounds import Round
    from ..benchmark.runner import Plan
    from ..benchmark.selection import Format

    form = Format(width, height, known=known_frames, frames=length or None)
    plan = Plan(seed, count, tuple(SUITES[1:]) if suite == SUITES[0] else (suite,), (split,), form)
    return Round(name.strip(), plan, _folder(name), round(int(fps) / form.fps))


def check_room(asked: Round, at_once: int) -> None:
    """Raise TooLarge, with what fits, where so many videos do not fit into memory, or the whole run onto the disk."""
    there = next(one for one in (asked.folder, *asked.folder.parents) if one.exists())
    asked.check_room(at_once, main_room(), shutil.disk_usage(there).free)


def _folder(name: str) -> Path:
    """Where a model's results are kept. Raises ValueError for a name that leads out of the output folder."""
    return save_place(f"{FOLDER}/{name.strip()}")
