"""How long a stage goes on after Cancel, pressed in the studio's queue at random moments of it.

    python -P tests/soak/soak_cancel.py                     every stage, fifty tries each, training among them: about
                                                            fifteen minutes on two idle cores; figures in output/soak/
    python -P tests/soak/soak_cancel.py --stage brush --tries 20
    python -P tests/soak/soak_cancel.py --gaps              one whole run of each stage: the longest times between two
                                                            questions whether it was cancelled, and where they lie

The figure of --gaps bounds what Cancel can take without waiting for a lucky moment; its processor time means the same
beside other work. A try is a job of its own; what comes before the stage is remembered from the job before.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pytest
import soak_leaving
from figures import keep
from vdit.host import folders
from vdit.host.api import io
from vdit.host.catalog import load_nodes
from vdit.host.executor import Executor
from vdit.host.jobs import JobQueue
from vdit.host.validation import validate

TRIES, IN_SUITE, MOST_S = 50, 10, 0.5
COLD, COLD_S = "the first job of a server", 2.5  # seconds within which Cancel comes
TRAINING = "training"  # ended by Ctrl+C: the command has no other Cancel
LATEST_S = 4.0  # Cancel comes at a random moment up to here: a stage that takes minutes asks all along as at first
EARLY = 3  # power of the random share of that time: most tries fall among the preparations, which ask least often
SHOWN = 4  # of the longest gaps

MODEL = {"class_type": "VDiTLoadModel", "inputs": {"file": "vdit-small (bundled)"}}
SPACE = ("model", 0)
STROKES = ",".join(
    f'{{"points":[[0.1,{0.1 * n:.2f}],[0.9,{0.9 - 0.05 * n:.2f}]],"radius":0.15,"falloff":0.3,"start":0,"end":1}}'
    for n in range(8)
)
OUTLINE = '"box":[0.28,0.035,0.69,0.775]'
OBJECTS = f'{{"version":1,"objects":[{{"name":"cup","material":"ceramic",{OUTLINE}}}]}}'


def node(kind: str, **inputs: object) -> dict:
    """A node of a prompt; links are pairs (node, slot)."""
    return {
        "class_type": kind,
        "inputs": {name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()},
    }


def scaled(width: int, height: int, method: str = "bilinear", source: str = "picture") -> dict:
    return node("ImageScale", image=(source, 0), upscale_method=method, width=width, height=height, crop="disabled")


PICTURE = node("LoadImage", image="vdit-coffee.jpg")
WORDS = "a yellow ball falls and bounces on the floor, on a green floor, static camera"
SHOT = node("VDiTEncodeConditioning", model=SPACE, prompt=WORDS, negative_prompt="", strength=1.0)
SHOWN_SHOT = node(
    "VDiTEncodeConditioning",
    model=SPACE,
    prompt=WORDS,
    negative_prompt="",
    strength=1.0,
    start_image=("picture", 0),
    draft=("many", 0),
)


def sampled(side: int, seconds: float, steps: int, shot: str = "shot") -> dict:
    return node(
        "VDiTSample", model=SPACE, conditioning=(shot, 0), seed=2, steps=steps, guidance=1.0, shift=1.0,
        solver="unipc", seconds=seconds, fps=8.0, width=side, height=side,
    )  # fmt: skip


def many(of: str, count: int) -> dict:
    return node("Repeated", image=(of, 0), amount=count)


def simulated(actions: bool) -> dict:
    more = {"actions": ("actions", 0)} if actions else {}
    return node(
        "VDiTSimulate", scene=("scene", 0), seconds=12.5, fps=16.0, width=512, height=512, seed=0, mask_of="", **more
    )


SCENE = node("VDiTSceneFromPicture", image=("picture", 0), objects=OBJECTS, names="", depth_kind="brighter is nearer",
             fov_deg=0.0)  # fmt: skip
BREAKS = node("VDiTActions", scene=("scene", 0), words="the cup falls and breaks", arrows="")
CLIP = node(
    "VDiTSimulateScene", family="arc", seed=5, split="test", frames=41, fps=8, width=512, height=512, start_frames=5,
    camera_move="still",
)  # fmt: skip
# Each stage: the nodes before it, and the node that is cancelled ("stage"), with all that it needs.
STAGES: dict[str, dict[str, dict]] = {
    "load": {"stage": MODEL},
    "load a picture": {"stage": PICTURE},
    "encode": {"model": MODEL, "picture": PICTURE, "many": many("picture", 41), "stage": SHOWN_SHOT},
    "brush": {
        "picture": PICTURE,
        "stage": node(
            "VDiTMotionBrush", strokes=f'{{"version":1,"strokes":[{STROKES}]}}', frames=401, width=512, height=512,
            background="still", start_image=("picture", 0),
        ),
    },
    "lift": {"picture": PICTURE, "stage": SCENE},
    "simulate": {"picture": PICTURE, "scene": SCENE, "stage": simulated(False)},
    "simulate breaking": {"picture": PICTURE, "scene": SCENE, "actions": BREAKS, "stage": simulated(True)},
    "simulate a family": {"stage": CLIP},
    "sample": {"model": MODEL, "shot": SHOT, "stage": sampled(512, 5.0, 4)},
    "sample after a draft": {
        "model": MODEL, "picture": PICTURE, "many": many("picture", 41), "shot": SHOWN_SHOT,
        "stage": sampled(512, 5.0, 2),
    },
    "decode": {"model": MODEL, "shot": SHOT, "latent": sampled(512, 5.0, 1),
               "stage": node("VDiTDecode", model=SPACE, latent=("latent", 0))},
    "decode and save": {
        "model": MODEL, "shot": SHOT, "latent": sampled(512, 5.0, 1),
        "video": node("VDiTDecodeVideo", model=SPACE, latent=("latent", 0), fps=8.0),
        "stage": node("SaveVideo", video=("video", 0), filename_prefix="clip", format="auto", codec="auto"),
    },
    "upscale lanczos": {"picture": PICTURE, "many": many("picture", 24),
                        "stage": scaled(2048, 2048, "lanczos", "many")},
    "upscale bicubic": {"picture": PICTURE, "many": many("picture", 24),
                        "stage": scaled(2048, 2048, "bicubic", "many")},
    "save video": {
        "picture": PICTURE, "large": scaled(1536, 1536), "many": many("large", 24),
        "video": node("CreateVideo", images=("many", 0), fps=8.0),
        "stage": node("SaveVideo", video=("video", 0), filename_prefix="clip", format="auto", codec="auto"),
    },
    "save pictures": {"picture": PICTURE, "large": scaled(1536, 1536), "many": many("large", 8),
                      "stage": node("SaveImage", images=("many", 0), filename_prefix="picture")},
    "flow from video": {"picture": PICTURE, "large": scaled(512, 512), "many": many("large", 41),
                        "stage": node("VDiTFlowFromVideo", images=("many", 0), frames=0, quality="medium",
                                      check=True, width=512, height=512)},
    "score": {"scene": CLIP, "stage": node("VDiTScoreVideo", scene=("scene", 8), images=("scene", 0),
                                           measure="all that fit", known_frames=5)},
    "benchmark": {"model": MODEL, "stage": node("VDiTPhysicsBenchmark", model=SPACE, suite="physics", count=1, seed=0,
                                                split="test", known_frames=5, steps=2)},
}  # fmt: skip


class Repeated(io.ComfyNode):
    """A picture as a video, which no node here makes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            "Repeated", inputs=[io.Image.Input("image"), io.Int.Input("amount")], outputs=[io.Image.Output()]
        )

    @classmethod
    def execute(cls, image, amount) -> io.NodeOutput:
        return io.NodeOutput(image.expand(amount, -1, -1, -1))


class Asked(threading.Event):
    """An Event that notes how long nobody asked for it: wall time, processor time, and where the asking came from."""

    def __init__(self):
        super().__init__()
        self.gaps: list[tuple[float, float, str]] = []
        self.last, self.place = (time.perf_counter(), time.process_time()), "the start"

    def is_set(self) -> bool:
        """As Event's."""
        now = (time.perf_counter(), time.process_time())
        stack = [line for line in traceback.extract_stack(limit=12)[:-1] if line.name not in ASKING]
        place = " < ".join(f"{Path(line.filename).name}:{line.lineno}" for line in reversed(stack[-3:]))
        self.gaps.append((now[0] - self.last[0], now[1] - self.last[1], f"{self.place}  ...  {place}"))
        self.last, self.place = (time.perf_counter(), time.process_time()), place
        return super().is_set()


ASKING = (
    "check_interrupted",
    "_raise_if_stopped",
    "is_set",
    "ask",
    "inner",
    "_call_impl",
    "_wrapped_call_impl",
    "update",
)


class Studio:
    """The studio's queue, as a person uses it: jobs are put, and cancelled."""

    def __init__(self, folder: Path):
        folders.current = folders.Folders(folder)
        self.nodes = load_nodes() | {"Repeated": Repeated}
        self.ended = threading.Event()
        self.started = threading.Event()
        self.queue = JobQueue(Executor(self.nodes), self._hears, lambda: None)
        self.number = 0

    def _hears(self, event: str, data: dict, job: object) -> None:
        if event == "executing" and data["node"] == "stage":
            self.started.set()

    def job(self, prompt: dict[str, dict], outputs: list[str], stop: threading.Event | None = None):
        """Puts a job; returns it."""
        checked = validate(prompt | SINK(prompt, outputs), self.nodes)
        assert not checked.node_errors, checked.node_errors
        checked.outputs[:] = outputs
        self.started.clear()
        self.number += 1
        with self.queue.changes:
            job = self.queue.put(str(self.number), checked, {}, None, False)
            if stop is not None:
                job.stop = stop
                stop.last = (time.perf_counter(), time.process_time())
        return job

    def wait(self, job: object, seconds: float = 900) -> None:
        """Until the job has ended."""
        end = time.perf_counter() + seconds
        while job.ended is None and time.perf_counter() < end:
            time.sleep(0.002)
        assert job.ended is not None, "the job has not ended"

    def prepared(self, stage: dict[str, dict]) -> None:
        """What comes before the stage is remembered, and the stage itself is forgotten."""
        before = {name: one for name, one in stage.items() if name != "stage"} or {
            "other": node("LoadImage", image="vdit-falling-ball.png")
        }
        job = self.job(before, list(before))
        self.wait(job)
        assert job.status == "completed", job.error

    def whole(self, stage: dict[str, dict]) -> tuple[float, Asked]:
        """Runs the stage to its end: seconds, and the gaps in asking."""
        self.prepared(stage)
        asked = Asked()
        job = self.job(stage, ["stage"], asked)
        self.started.wait(60)
        started = time.perf_counter()
        self.wait(job)
        assert job.status == "completed", job.error
        return time.perf_counter() - started, asked

    def cancelled(self, stage: dict[str, dict], after_s: float) -> float | None:
        """Seconds from Cancel to the job's end; None where it had ended before."""
        self.prepared(stage)
        job = self.job(stage, ["stage"])
        self.started.wait(60)
        time.sleep(after_s)
        pressed = time.perf_counter()
        if not self.queue.cancel(job.id):
            self.wait(job)
            return None
        self.wait(job)
        return time.perf_counter() - pressed if job.status == "cancelled" else None


def SINK(prompt: dict[str, dict], outputs: list[str]) -> dict[str, dict]:  # noqa: N802
    """A node that shows something, so that the prompt is one; it is not run."""
    return {"sink": PICTURE, "shown": node("PreviewImage", images=("sink", 0))}


def cold(after_s: float, folder: Path) -> None:
    """In a fresh process: prints the seconds from Cancel to the end of its first job."""
    studio = Studio(folder)
    job = studio.job({"stage": MODEL}, ["stage"])
    time.sleep(after_s)
    pressed = time.perf_counter()
    studio.queue.cancel(job.id)
    studio.wait(job)
    print(time.perf_counter() - pressed if job.status == "cancelled" else "")


def tried_cold(tries: int) -> list[float]:
    """Waits after Cancel of the first job of as many servers."""
    rng, waits = random.Random(0), []
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # pytest's own, where it started this
    for _ in range(tries):
        command = [sys.executable, "-P", __file__, "--cold-after", str(rng.uniform(0, COLD_S))]
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=paths).stdout.strip()
        waits += [float(said)] if said else []
    return sorted(waits)


def gaps(studio: Studio, name: str) -> dict:
    """The longest times between two questions in one whole run."""
    whole_s, asked = studio.whole(STAGES[name])
    longest = sorted(asked.gaps, reverse=True)[:SHOWN]
    for wall, cpu, place in longest:
        print(f"  {wall:6.3f} s, processor {cpu:6.3f} s: {place}")
    return {
        "whole_s": round(whole_s, 2),
        "gap_s": round(longest[0][0], 3),
        "gap_processor_s": round(max(cpu for _, cpu, _ in asked.gaps), 3),
        "asked": len(asked.gaps),
    }


def tried(studio: Studio, name: str, tries: int) -> dict:
    """Waits after Cancel at random moments."""
    if name == COLD:
        return summary(tried_cold(tries), COLD_S)
    if name == TRAINING:
        with tempfile.TemporaryDirectory() as folder:
            return soak_leaving.tried("train", tries, Path(folder))
    rng, latest = random.Random(0), LATEST_S
    waits: list[float] = []
    for _ in range(2 * tries):
        after = latest * rng.random() ** EARLY
        wait = studio.cancelled(STAGES[name], after)
        if wait is not None:
            waits.append(wait)
        else:  # the stage had ended before: it is that short
            latest = after
        if len(waits) == tries:
            break
    return summary(sorted(waits), latest)


def summary(waits: list[float], latest_s: float) -> dict:
    """Figures of sorted waits; latest_s: the latest moment at which Cancel came."""
    if not waits:
        return {"tries": 0, "latest_s": round(latest_s, 3)}
    p99 = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
    figures = {"median_s": waits[len(waits) // 2], "p99_s": p99, "worst_s": waits[-1], "latest_s": latest_s}
    return {"tries": len(waits), **{key: round(value, 3) for key, value in figures.items()}}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.mark.parametrize("name", [COLD, *STAGES])
def test_a_stage_ends_within_half_a_second_of_cancel(studio, name):
    figures = tried(studio, name, IN_SUITE)
    keep("cancel " + name, figures)
    assert not figures["tries"] or figures["p99_s"] <= MOST_S


def main() -> None:
    """Measures the stages that are named."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--stage", choices=[COLD, *STAGES, TRAINING], action="append")
    options.add_argument("--tries", type=int, default=TRIES)
    options.add_argument("--cold-after", type=float, help=argparse.SUPPRESS)
    options.add_argument("--gaps", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.cold_after is not None:
            cold(given.cold_after, Path(folder))
            sys.stdout.flush()
            os._exit(0)
        studio = Studio(Path(folder))
        started, all_figures = time.perf_counter(), dict[str, dict]()
        for name in given.stage or (list(STAGES) if given.gaps else [COLD, *STAGES, TRAINING]):
            try:
                figures = gaps(studio, name) if given.gaps else tried(studio, name, given.tries)
                keep(("gaps " if given.gaps else "cancel ") + name, figures)
                all_figures[name] = figures
            except AssertionError as reason:
                print(name, "failed:", reason)
        minutes = round((time.perf_counter() - started) / 60, 2)
        keep("gaps" if given.gaps else "cancel", {"minutes": minutes, "stages": all_figures})
        sys.stdout.flush()
        os._exit(0)  # an executor's thread may still be inside a library


if __name__ == "__main__":
    main()
