"""How long a person waits: for the import of the pack, Cancel, an answer of the server, and a plan of attention.

    python bench/latency.py [MODEL_FILE ...]    and for what each file is said to be

Aims: import 0.1 s of processor time, cancel 0.5 s, an answer while a model computes 2 s, a plan 0.05 s, a file 2 s.
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
from contextlib import suppress
from pathlib import Path

from vdit.host import api, folders, running, server
from vdit.model.vdit import VDiT
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.load import BUNDLED, VDiTLoadModel
from vdit.nodes.sample import VDiTSample

IMPORT = """
import asyncio, time
start = time.process_time()
import vdit
asyncio.run(asyncio.run(vdit.comfy_entrypoint()).get_node_list())
print(time.process_time() - start)
"""


def import_s() -> float:
    """Processor time of importing the pack and its nodes: the least of five processes."""
    return min(float(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(5))


def sample(stop: threading.Event, steps: int) -> None:
    """Five seconds of video by the bundled model, until `stop` is set."""
    model = VDiTLoadModel.execute(BUNDLED)[0]
    conditioning = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0)[0]
    settings = dict(steps=steps, guidance=1.0, shift=3.0, solver="unipc", seconds=5.0, fps=8.0, width=128, height=128)
    token = running.current.set(running.Running("1", lambda *_: None, stop))
    with suppress(running.Interrupted):
        api.call(VDiTSample, dict(model=model, conditioning=conditioning, seed=1, **settings))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="model files to inspect")
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as base:
        folders.current = folders.Folders(Path(base))
        rows = {"import, processor": import_s(), "cancel": cancel_s(), "answer while a model computes": answer_s()}
    rows["plan of attention"] = plan_s()
    rows |= {f"inspect {path.name}": inspect_s(path) for path in files}
    for name, seconds in rows.items():
        print(f"{seconds:7.3f} s  {name}")


if __name__ == "__main__":
    main()
