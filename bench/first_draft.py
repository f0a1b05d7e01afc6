"""How long a person waits for the first moving draft of a picture: Scene From Picture, Actions and Simulate, cold.

    python bench/first_draft.py          each picture in a process of its own, five times
    python bench/first_draft.py --busy   the same beside a process that keeps one core busy

Photographs of scikit-image, 832 pixels wide, with one object masked, drawn at 416x240, five seconds. A process has
torch, scipy.stats and the pack's nodes imported, as ComfyUI has; all else, other imports included, is in the times:
until the scene is there, until the node shows its first moving preview, until the draft is done. Python keeps compiled
modules, as it does after a first start. Medians, the worst in brackets, and the medians of processor time, which mean
the same on a machine that does other things too. Aim on two cores: the first moving draft within 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

RUNS = 5
PICTURES = {  # file, and the outline (x, y in shares) of what is masked in it
    "coffee": (
        "coffee.png",
        "0.29,0.2 0.33,0.08 0.48,0.03 0.62,0.1 0.66,0.25 0.62,0.5 0.5,0.6 0.42,0.77 0.34,0.74 0.35,0.6",
    ),
    "rocket": ("rocket.jpg", "0.505,0.28 0.515,0.35 0.52,0.95 0.485,0.95 0.487,0.35 0.497,0.28"),
    "motorcycle": (
        "motorcycle_left.png",
        "0.13,0.4 0.2,0.3 0.35,0.35 0.47,0.28 0.62,0.15 0.73,0.22 0.74,0.45 0.86,0.53 0.92,0.72 0.86,0.92 0.74,0.85 "
        "0.7,0.65 0.6,0.73 0.45,0.85 0.35,0.78 0.2,0.72 0.16,0.55",
    ),
    "chelsea": (
        "chelsea.png",
        "0.17,0.5 0.2,0.2 0.3,0.08 0.4,0.2 0.55,0.2 0.64,0.05 0.75,0.2 0.78,0.45 0.72,0.7 0.5,0.85 0.3,0.8",
    ),
}


def measure(name: str) -> None:
    """Run the nodes once, as their first use in this process, and print seconds as JSON."""
    import scipy.stats  # noqa: F401  ComfyUI imports it, and a server has torch
    import torch
    from pictured import photograph
    from vdit.host import running
    from vdit.lift.images import painted
    from vdit.nodes.physics import VDiTActions, VDiTSimulate
    from vdit.nodes.picture import VDiTSceneFromPicture

    file, outline = PICTURES[name]
    picture = torch.from_numpy(photograph(file, 832, 480).astype(np.float32) / 255)[None]
    corners = np.array([[float(v) for v in corner.split(",")] for corner in outline.split()])
    mask = torch.from_numpy(painted(corners * (832, 480), 832, 480).astype(np.float32))[None]
    seen: list[tuple[float, float]] = []

    def update(step: int, total: int, preview: object) -> None:
        if preview and len(preview) > 1:
            seen.append((time.perf_counter() - start, time.process_time() - cpu))

    running.current.set(running.Running("1", update))
    start, cpu = time.perf_counter(), time.process_time()
    scene = VDiTSceneFromPicture.execute(picture, "", "thing", "brighter is nearer", 0.0, masks=mask)[0]
    lifted = time.perf_counter() - start, time.process_time() - cpu
    actions = VDiTActions.execute(scene, "the thing is pushed to the right", "")[0]
    VDiTSimulate.execute(scene, 5.0, 16.0, 416, 240, 0, "", actions)
    done = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps([lifted, seen[0], done]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--picture", choices=PICTURES)
    options = parser.parse_args()
    if options.picture:
        measure(options.picture)
        return
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        for name in PICTURES:
            command = [sys.executable, "-P", __file__, "--picture", name]
            answers = [subprocess.check_output(command, env=environment) for _ in range(RUNS + 1)][1:]
            times = np.array([json.loads(answer.splitlines()[-1]) for answer in answers])
            for what, runs in zip(("scene", "first moving draft", "all 81 frames"), times.swapaxes(0, 1), strict=True):
                middle, worst = np.median(runs, axis=0), runs.max(0)
                print(
                    f"{name:12}{what:20}{middle[0]:6.2f} s ({worst[0]:.2f}), {middle[1]:.2f} s of processor", flush=True
                )
    finally:
        if busy:
            busy.kill()


if __name__ == "__main__":
    main()
