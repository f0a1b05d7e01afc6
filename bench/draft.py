"""How fast a motion is drawn with all outputs, in how much memory, and where the time goes.

    python bench/draft.py            81 frames: three bodies lifted from a photograph, three fine meshes, 60 shards
    python bench/draft.py --node     simulated and drawn, as VDiT Simulate does: three bodies thrown up, sixty shards
    python bench/draft.py --busy     the same beside a process that keeps one core busy
    python bench/draft.py --profile  the functions that take the time

Aims on two cores: 13.2 frames a second (RealWonder, 2603.05449, on an H200), peak memory 1.5 GB with torch imported,
the draft at 416x240 within 1 s, sixty shards at most twice as slow as three bodies. Each case runs in a process of
its own, and is drawn twice: memory that a machine has not given to a process yet can cost as much as the drawing.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

FRAMES = 81
BODIES = ((300, 200, 90, 70), (560, 230, 80, 100), (420, 350, 70, 60))  # x, y and radii in pixels of 832x480
BREAKING = ((250, 170, 68, 54), (420, 150, 68, 54), (580, 200, 68, 54), (330, 330, 68, 54), (520, 350, 68, 54))
CASES = {
    "three lifted bodies, 832x480": dict(width=832, height=480, lifted=True),
    "three lifted bodies, 416x240": dict(width=416, height=240, lifted=True),
    "three lifted bodies, 832x480, moving camera": dict(width=832, height=480, lifted=True, orbit=True),
    "three fine meshes, 832x480": dict(width=832, height=480),
    "three fine meshes, 416x240": dict(width=416, height=240),
    "sixty shards of lifted bodies, 832x480": dict(width=832, height=480, lifted=True, broken=True),
}


def staged(lifted: bool = False, broken: bool = False):
    """Three bodies, or five of together the same area, in a photograph or before a plate."""
    from pictured import ellipse, photograph, picture_scene
    from vdit.lift.objects import PictureObject
    from vdit.lift.scene import scene_from_picture

    bodies = BREAKING if broken else BODIES
    scene = picture_scene(bodies=bodies)
    if lifted:
        masks = [ellipse(832, 480, *body, 1.5).astype(np.float32) / 255 for body in bodies]
        picture = photograph("coffee.png", 832, 480).astype(np.float32) / 255
        objects = [PictureObject(name=f"{i}", mask=m, material="ceramic") for i, m in enumerate(masks)]
        scene = scene_from_picture(picture, objects).scene
    return scene


def motion(lifted: bool = False, broken: bool = False):
    """The bodies rise and tumble in view, or are broken at once into 12 shards each."""
    from pictured import moved, translation, turned
    from vdit.world.actions import Break
    from vdit.world.simulate import simulate

    scene = staged(lifted, broken)
    if broken:
        breaks = tuple(Break(body=b.name, time=0.1) for b in scene.bodies)
        return simulate(scene, breaks, seconds=FRAMES / 16.0, fps=16.0)
    axes = ((0, 1, 0), (0, 0, 1), (1, 0, 0))
    sizes = [float(np.ptp(b.surface.vertices, axis=0).max()) for b in scene.bodies]
    steps = [
        [
            translation(z=0.5 * sizes[i] * np.sin(np.pi * s)) @ turned(axes[i], 1.8 * s, b.position)
            for i, b in enumerate(scene.bodies)
        ]
        for s in np.linspace(0, 1, FRAMES)
    ]
    return moved(scene, steps)


def measure(name: str, profile: bool) -> None:
    """Draw one case twice and print its figures."""
    import torch  # noqa: F401  a user's process has it
    from pictured import orbit
    from vdit.world.drawing.film import film

    case = dict(CASES[name])
    size = {"width": case["width"], "height": case["height"]}
    start = time.process_time()
    made = motion(case.get("lifted", False), case.get("broken", False))
    made_s = time.process_time() - start
    c2w = orbit(made.scene, FRAMES, 10.0) if case.get("orbit") else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    profiler = cProfile.Profile(time.process_time)
    said: list[str] = []
    for _ in range(2):
        start, cpu, first = time.perf_counter(), time.process_time(), []
        if profile and said:
            profiler.enable()
        frames = film(made, **size, c2w=c2w, on_frame=lambda _, start=start, first=first: first.append(_since(start)))
        profiler.disable()
        seconds, cpu = _since(start), time.process_time() - cpu
        said.append(
            f"{FRAMES / seconds:.1f} frames/s ({seconds:.2f} s, {cpu:.2f} s of processor, first frame {first[0]:.2f} s)"
        )
        covered = float((frames.instance > 0).float().mean()) * size["width"] * size["height"]
        del frames
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    triangles = sum(len(p.surface.faces) for p in made.parts)
    print(
        f"{name}: {said[0]}; again {said[1]}; {len(made.parts)} parts, {triangles} triangles, {covered:.0f} pixels "
        f"covered, peak {peak:.2f} GB ({before:.2f} GB before); scene and motion {made_s:.1f} s of processor",
        flush=True,
    )
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats("drawing", 24)


def whole(broken: bool) -> None:
    """Simulate and draw 81 frames of lifted bodies at 832x480 twice, and print seconds."""
    import torch  # noqa: F401  a user's process has it
    from vdit.world.actions import Break, Throw
    from vdit.world.filming import Filming, filmed

    scene = staged(True, broken)
    actions = tuple(
        Break(body=b.name, time=0.1) if broken else Throw(body=b.name, velocity=(0, 0, 2)) for b in scene.bodies
    )
    filming = Filming(width=832, height=480)
    times = []
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        parts = len(filmed(scene, actions, filming)[0].parts)
        times.append(f"{_since(start):.2f} s, {time.process_time() - cpu:.2f} s of processor")
    print(f"{parts} parts, simulated and drawn: {times[0]}; again {times[1]}", flush=True)


def _since(start: float) -> float:
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--node", nargs="?", const="all", choices=("all", "three", "shards"))
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.case:
        measure(options.case, options.profile)
        return
    if options.node in ("three", "shards"):
        whole(options.node == "shards")
        return
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        for name in ("three", "shards") if options.node else ():
            subprocess.run([sys.executable, "-P", __file__, "--node", name], check=True)
        for name in () if options.node else CASES:
            more = ["--profile"] if options.profile else []
            subprocess.run([sys.executable, "-P", __file__, "--case", name, *more], check=True)
    finally:
        if busy:
            busy.kill()


if __name__ == "__main__":
    main()
