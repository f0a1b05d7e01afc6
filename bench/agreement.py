"""Five seconds of video by each way in: vdit run, the studio, the speed score, and ComfyUI if COMFYUI_PATH names one.

    COMFYUI_PATH=/path/to/ComfyUI python -m vdit.bench agreement

Each is a process of its own, started as plain `python`, and its time is what it reports itself: the studio and ComfyUI
that of workflows/text-to-video.json after a first run, with another seed, so that the model is loaded and all after it
is made anew; vdit run that of the same nodes in its only run; the speed score its median, of first frames in place of
words, without the scaling and saving of the file; the nodes that make the same of the same five pictures stand beside
it. The servers' processor time says what they take where other programs make the clock useless. COMFYUI_PYTHON names
ComfyUI's python, where it is not in a .venv of its own.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdit.bench.rows import Row, apart, median, runs, show

WORKFLOW = "text-to-video"
BEFORE = ("VDiTLoadModel", "VDiTEncodeConditioning")  # nodes that a second run does not repeat
VDIT = [sys.executable, "-P", "-m", "vdit.host"]


@dataclass(frozen=True)
class Taken:
    """Seconds of one clip: on the clock, and of the processor where a process that lives on can be asked."""

    clock: float
    processor: float | None


def by_run(count: int) -> Taken:
    """vdit run: seconds of the nodes after the model."""

    def once() -> float:
        with tempfile.TemporaryDirectory() as out:
            said = subprocess.check_output([*VDIT, "run", WORKFLOW, "--out", out, "--json"], text=True)
        return sum(n["seconds"] for n in json.loads(said)["nodes"].values() if n["type"] not in BEFORE)

    return Taken(median(once, count), None)


def by_score(count: int) -> float:
    """vdit benchmark --suite speed: its seconds."""

    def once() -> float:
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([*VDIT, "benchmark", "--suite", "speed", "--out", out], check=True, stdout=sys.stderr)
            return json.loads(next(Path(out).rglob("report.json")).read_text())["speed"]["seconds"]

    return median(once, count)


def by_nodes(count: int) -> float:
    """Seconds of VDiT Sample and VDiT Decode for a clip as the speed score's: of five first frames."""
    from vdit.host import api
    from vdit.nodes.decode import VDiTDecode
    from vdit.nodes.encode import VDiTEncodeConditioning
    from vdit.nodes.load import BUNDLED, VDiTLoadModel
    from vdit.nodes.sample import VDiTSample
    from vdit.nodes.simulate import VDiTSimulateScene

    size = dict(fps=8.0, width=128, height=128)
    scene = dict(family="fall", seed=0, split="test", frames=41, start_frames=5, camera_move="still")
    made = api.call(VDiTSimulateScene, scene | size)
    model = VDiTLoadModel.execute(BUNDLED)[0]
    shot = dict(model=model, prompt=made[6], negative_prompt="", strength=1.0, start_image=made[1])
    settings = dict(steps=20, guidance=1.0, shift=1.0, solver="unipc", seconds=5.0)
    seeds = iter(range(count + 1))

    def once() -> float:
        conditioning = api.call(VDiTEncodeConditioning, shot)[0]
        start = time.perf_counter()
        asked = dict(model=model, conditioning=conditioning, seed=next(seeds))
        latent = api.call(VDiTSample, asked | settings | size)[0]
        api.call(VDiTDecode, dict(model=model, latent=latent))
        return time.perf_counter() - start

    once()
    return median(once, count)


def by_studio(count: int) -> Taken:
    """The studio's server, by its own clock."""
    with tempfile.TemporaryDirectory() as base:
        command = [*VDIT, "studio", "--no-browser", "--port", "0", "--base", base]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio:
            try:
                assert studio.stdout
                url = re.search(r"http://[^\s/]+", studio.stdout.readline())
                assert url
                return by_server(url[0], studio.pid, count)
            finally:
                studio.terminate()


def by_comfyui(count: int) -> Taken:
    """A real ComfyUI on this machine's processor, by its own clock."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from comfy_core import started

    with tempfile.TemporaryDirectory() as base, started(Path(base)) as core:
        return by_server(core.url, core.pid, count)


def by_server(url: str, pid: int, count: int) -> Taken:
    """Medians of `count` runs with different seeds on a server, by its messages' times, after a first run."""
    from vdit.host import workflow
    from vdit.host.catalog import load_nodes, object_infos
    from vdit.host.run import find

    prompt = workflow.load(find(WORKFLOW), object_infos(load_nodes())).prompt
    seeds = iter(range(count + 1))

    def once() -> tuple[float, float]:
        seed, before = next(seeds), processor_of(pid)
        for node in prompt.values():
            if node["class_type"] == "VDiTSample":
                node["inputs"]["seed"] = seed
        body = json.dumps({"prompt": prompt}).encode()
        asked = urllib.request.Request(f"{url}/prompt", body, {"Content-Type": "application/json"})
        number = json.loads(urllib.request.urlopen(asked).read())["prompt_id"]
        while not (history := json.loads(urllib.request.urlopen(f"{url}/history/{number}").read())):
            time.sleep(0.1)
        status = history[number]["status"]
        if status["status_str"] != "success":
            raise RuntimeError(f"{url} could not run {WORKFLOW}: {status['messages'][-1]}")
        times: dict[str, Any] = {event: data["timestamp"] for event, data in status["messages"]}
        return (times["execution_success"] - times["execution_start"]) / 1e3, processor_of(pid) - before

    once()
    clock, processor = zip(*(once() for _ in range(count)), strict=True)
    return Taken(statistics.median(clock), statistics.median(processor))


def processor_of(pid: int) -> float:
    """Seconds of the processor that a process has had, of all its threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(quick: bool) -> Iterator[Row]:
    """Seconds of each way in, and the slowest to the fastest of those that make the same graph."""
    ways = {"vdit run": by_run, "studio": by_studio}
    if os.environ.get("COMFYUI_PATH"):
        ways["ComfyUI"] = by_comfyui
    found: dict[str, Taken] = {}
    for name, measure in ways.items():
        found[name] = measure(runs(quick))
        yield Row(f"5-s clip, {name}", found[name].clock, "s")
        if (processor := found[name].processor) is not None:
            yield Row(f"5-s clip, {name}, processor", processor, "s")
    score, nodes = by_score(runs(quick)), apart(by_nodes, runs(quick))
    yield Row("5-s clip of five pictures, vdit benchmark --suite speed", score, "s")
    yield Row("5-s clip of five pictures, Sample and Decode", nodes, "s")
    yield Row("the slower to the faster of these two", max(score, nodes) / min(score, nodes), target="<= 1.3")
    clocks = [taken.clock for taken in found.values()]
    yield Row(f"the slowest to the fastest of {', '.join(found)}", max(clocks) / min(clocks), target="<= 1.3")
    processors = {name: taken.processor for name, taken in found.items() if taken.processor is not None}
    if len(processors) > 1:
        ratio = max(processors.values()) / min(processors.values())
        yield Row(f"processor time, the same of {', '.join(processors)}", ratio)


if __name__ == "__main__":
    show(rows(quick=True))
