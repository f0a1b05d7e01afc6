"""Five seconds of video by each way in: vdit run, the studio, the speed score, and ComfyUI if COMFYUI_PATH names one.

    COMFYUI_PATH=/path/to/ComfyUI python -m vdit.bench agreement

Each is a process of its own, started as plain `python`, and its time is what it reports itself: the studio and ComfyUI
that of a second run of workflows/text-to-video.json with another seed, in which the model is loaded and all after it
is made anew; vdit run that of the same nodes in its only run; the speed score its median, of first frames in place of
words, without the scaling and saving of the file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vdit.bench.rows import Row, median, runs, show

WORKFLOW = "text-to-video"
BEFORE = ("VDiTLoadModel", "VDiTEncodeConditioning")  # nodes that a second run does not repeat
VDIT = [sys.executable, "-P", "-m", "vdit.host"]


def by_run() -> float:
    """vdit run: seconds of the nodes after the model."""
    with tempfile.TemporaryDirectory() as out:
        said = subprocess.check_output([*VDIT, "run", WORKFLOW, "--out", out, "--json"], text=True)
    return sum(n["seconds"] for n in json.loads(said)["nodes"].values() if n["type"] not in BEFORE)


def by_score() -> float:
    """vdit benchmark --suite speed: its seconds."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([*VDIT, "benchmark", "--suite", "speed", "--out", out], check=True, stdout=sys.stderr)
        return json.loads(next(Path(out).rglob("report.json")).read_text())["speed"]["seconds"]


def by_studio() -> float:
    """The studio's server, by its own clock."""
    with tempfile.TemporaryDirectory() as base:
        command = [*VDIT, "studio", "--no-browser", "--port", "0", "--base", base]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio:
            try:
                assert studio.stdout
                url = re.search(r"http://[^\s/]+", studio.stdout.readline())
                assert url
                return second_run(url[0])
            finally:
                studio.terminate()


def by_comfyui() -> float:
    """A real ComfyUI on this machine's processor, by its own clock."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from comfy_core import started

    with tempfile.TemporaryDirectory() as base, started(Path(base)) as core:
        return second_run(core.url)


def second_run(url: str) -> float:
    """Seconds of the second of two runs with different seeds on a server, by its messages' times."""
    from vdit.host import workflow
    from vdit.host.catalog import load_nodes, object_infos
    from vdit.host.run import find

    prompt = workflow.load(find(WORKFLOW), object_infos(load_nodes())).prompt
    taken = 0.0
    for seed in (1, 2):
        for node in prompt.values():
            if node["class_type"] == "VDiTSample":
                node["inputs"]["seed"] = seed
        body = json.dumps({"prompt": prompt}).encode()
        asked = urllib.request.Request(f"{url}/prompt", body, {"Content-Type": "application/json"})
        number = json.loads(urllib.request.urlopen(asked).read())["prompt_id"]
        while not (history := json.loads(urllib.request.urlopen(f"{url}/history/{number}").read())):
            time.sleep(0.1)
        times: dict[str, Any] = {event: data["timestamp"] for event, data in history[number]["status"]["messages"]}
        taken = (times["execution_success"] - times["execution_start"]) / 1e3
    return taken


def rows(quick: bool) -> Iterator[Row]:
    """Seconds of each way in, and the slowest to the fastest of those that make the same graph."""
    ways = {"vdit run": by_run, "studio": by_studio}
    if os.environ.get("COMFYUI_PATH"):
        ways["ComfyUI"] = by_comfyui
    found = {}
    for name, measure in ways.items():
        found[name] = median(measure, runs(quick))
        yield Row(f"5-s clip, {name}", found[name], "s")
    yield Row("5-s clip, vdit benchmark --suite speed", median(by_score, runs(quick)), "s")
    slowest = max(found.values()) / min(found.values())
    yield Row(f"the slowest to the fastest of {', '.join(found)}", slowest, target="<= 1.3")


if __name__ == "__main__":
    show(rows(quick=True))
