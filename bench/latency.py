"""How long a person waits: for the import of the pack, the studio, Cancel, an answer, and a plan of attention.

    python -m vdit.bench latency
    python -m vdit.bench.latency [MODEL_FILE ...]    and for what each file is said to be

Aims: import 0.1 s of processor time, studio ready 1 s, cancel 0.5 s, an answer while a model computes 2 s, a plan
0.05 s, a file 2 s.
The tests hold what these rest on in counts: modules imported, model calls after a cancel, no tensor read.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vdit.bench.clips import sampler
from vdit.bench.rows import Row, median, runs, show
from vdit.host import folders, running, server
from vdit.model.vdit import VDiT

IMPORT = """
import asyncio, time
start = time.process_time()
import vdit
asyncio.run(asyncio.run(vdit.comfy_entrypoint()).get_node_list())
print(time.process_time() - start)
"""


def import_s() -> float:
    """Processor time of importing the pack and its nodes."""
    return float(subprocess.check_output([sys.executable, "-P", "-c", IMPORT]))


def ready_s() -> float:
    """From the start of `vdit studio` to the moment when a browser may open its address."""
    with tempfile.TemporaryDirectory() as base:
        command = [sys.executable, "-P", "-m", "vdit.host", "studio", "--no-browser", "--port", "0", "--base", base]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio:
            assert studio.stdout
            studio.stdout.readline()
            seconds = time.perf_counter() - start
            studio.terminate()
    return seconds


def sample(stop: threading.Event, steps: int) -> None:
    """Five seconds of video by the bundled model, until `stop` is set."""
    run = sampler(steps, shift=3.0)
    token = running.current.set(running.Running("1", lambda *_: None, stop))
    with suppress(running.Interrupted):
        run(5.0)
    running.current.reset(token)


def cancel_s() -> float:
    """From Cancel, pressed within the third model call, to the end of the run."""
    stop, calls, pressed, forward = threading.Event(), [], [], VDiT.forward

    def press(self: VDiT, *args, **named):
        calls.append(1)
        if len(calls) == 3:
            pressed.append(time.perf_counter())
            stop.set()
        return forward(self, *args, **named)

    VDiT.forward = press
    try:
        sample(stop, 1000)
    finally:
        VDiT.forward = forward
    return time.perf_counter() - pressed[0]


def answer_s() -> float:
    """The slowest of 20 requests to a server in whose process a model computes."""
    urls: list[str] = []
    ready, stop, loop = threading.Event(), threading.Event(), asyncio.new_event_loop()
    task = loop.create_task(server.serve(port=0, ready=lambda url: (urls.append(url), ready.set())))
    serving = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    computing = threading.Thread(target=sample, args=(stop, 1000), daemon=True)
    serving.start()
    computing.start()
    ready.wait()
    times = []
    for _ in range(20):
        time.sleep(0.1)
        start = time.perf_counter()
        urllib.request.urlopen(f"{urls[0]}queue").read()
        times.append(time.perf_counter() - start)
    stop.set()
    computing.join()
    loop.call_soon_threadsafe(task.cancel)
    serving.join(10)
    return max(times)


def plan_s() -> float:
    """The slowest plan of attention for five seconds of 480p by a Wan model: 21 frames of 30 x 52 tokens."""
    from vdit.kernels.grid import Grid
    from vdit.kernels.plan import plan, sliding_tiles, window

    plan.cache_clear()
    plan(Grid(2, 2, 2), window(1, 1, 1))  # PyTorch's own start
    times = []
    for pattern in (window(2, 7, 12), window(1, 2, 1, clamped=True), sliding_tiles(5, 4, 7), sliding_tiles(3, 3, 3)):
        start = time.perf_counter()
        plan(Grid(21, 30, 52), pattern)
        times.append(time.perf_counter() - start)
    return max(times)


def inspect_s(path: Path) -> float:
    """What kind of model a file holds, from its header."""
    from vdit.model.files.inspect import inspect

    start = time.perf_counter()
    inspect(path)
    return time.perf_counter() - start


def rows(quick: bool) -> Iterator[Row]:
    """What a person waits for, with its aim."""
    waits = {
        "import of the pack, processor": (import_s, "<= 0.1"),
        "studio ready for a browser": (ready_s, "<= 1"),
        "cancel": (cancel_s, "<= 0.5"),
        "answer of the server while a model computes, the slowest of 20": (answer_s, "<= 2"),
        "plan of attention, the slowest of 4": (plan_s, "<= 0.05"),
    }
    with tempfile.TemporaryDirectory() as base:
        folders.current = folders.Folders(Path(base))
        for name, (measure, target) in waits.items():
            yield Row(name, median(measure, runs(quick)), "s", target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="model files to inspect")
    files = parser.parse_args().files
    show(rows(quick=True))
    show(Row(f"inspect {path.name}", inspect_s(path), "s", "<= 2") for path in files)


if __name__ == "__main__":
    main()
