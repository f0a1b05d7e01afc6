"""Farms under fire and on the clock: 500 clips and 50 renders with workers killed twice, then one worker beside two.

python -m vdit.bench.farm [--ray] [--clips 500] [--renders 50] [--speed 64]

Rows are counted in the files themselves. Times need idle cores; the load is printed beside them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import vdit
from vdit.farm.ledger import marks
from vdit.farm.shards import rows_of
from vdit.farm.store import LocalFolder

ROOT = Path(vdit.__path__[0])
WORKERS = 2
SMALL = "--set Sample.steps=2 --set Sample.seconds=1.0 --set Sample.width=64 --set Sample.height=64".split()


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "vdit.host", *words]


def workers_under(process: int, ray: bool) -> list[int]:
    """Processes that make rows: children of the farm that Python spawned, or Ray's actors of it."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        spawned = parent == process and "spawn_main" in name
        if spawned or (ray and name.startswith("ray::") and "IDLE" not in name and "Map" in name):
            found.append(int(status.parent.name))
    return sorted(found)


def run_and_kill(words: list[str], out: Path, kills: int, ray: bool) -> tuple[int, float]:
    """A farm of which so many workers are killed while it works; (how many were, seconds)."""
    started, killed, seen = time.perf_counter(), 0, 0
    farm = subprocess.Popen(command(*words))
    while farm.poll() is None:
        done = len(list((out / "_done").glob("*.json"))) if (out / "_done").is_dir() else 0
        workers = workers_under(farm.pid, ray)
        if killed < kills and done > seen and workers:
            os.kill(workers[killed % len(workers)], signal.SIGKILL)
            killed, seen = killed + 1, done
        time.sleep(0.1)
    assert farm.returncode == 0, words
    return killed, time.perf_counter() - started


def again(words: list[str]) -> str:
    return subprocess.run(command(*words), capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]


def under_fire(name: str, words: list[str], out: Path, count: int, counted, ray: bool) -> None:
    killed, seconds = run_and_kill(words, out, 2, ray)
    times = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "renders.parquet"
    }
    found = counted(out)
    whole = len(found) == count and set(found.values()) == {1}
    second = again(words)
    untouched = all(path.stat().st_mtime_ns == then for path, then in times.items())
    print(
        f"{name}: {len(found)} rows, each once: {whole}; {killed} workers killed; {seconds:.0f} s; "
        f"second start: {second.partition(': ')[2]}; nothing touched: {untouched}",
        flush=True,
    )
    assert whole and killed == 2 and untouched and " 0 made" in second


def seeds(out: Path) -> Counter[int]:
    return Counter(row["seed"] for table in out.glob("data/*.parquet") for row in rows_of(table))


def names(out: Path) -> Counter[str]:
    """How often each row of the table has a video that is there."""
    files = [Path(name) for mark in marks(LocalFolder(out)) for name in mark.files]
    assert {out / file for file in files} == set(out.rglob("*.mp4"))
    return Counter(file.parts[0].rpartition("-")[0] for file in files)


def core_seconds(count: int, scratch: Path) -> None:
    """Processor seconds and bytes of a clip of 41 frames at 128x128 with all arrays, made in this process."""
    import torch
    from vdit.farm.clips import ClipsJob
    from vdit.farm.ledger import plan

    torch.set_num_threads(1)
    job = ClipsJob(rows_per_block=count)
    make = job.opened()
    (block,) = plan(job, [{"seed": seed} for seed in range(count)], ()).blocks
    (warm := scratch / "warm").mkdir()
    make(plan(job, [{"seed": 10**6}], ()).blocks[0], warm)
    (out := scratch / "core").mkdir()
    started = time.process_time()
    make(block, out)
    taken = (time.process_time() - started) / count
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / count
    print(f"one core: {taken:.3f} processor seconds and {size / 1e3:.0f} kB a clip", flush=True)


def speed(count: int, more: list[str], scratch: Path) -> None:
    """Clips a second of one worker and of two, without the time in which they begin; and processor seconds a clip."""
    rates = {}
    for workers in (1, WORKERS):
        out = scratch / f"speed-{workers}"
        words = ["simulate", "--count", str(count), "--rows", "4", "--out", str(out), "--workers", str(workers), *more]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command(*words), stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times = sorted(path.stat().st_mtime for path in (out / "_done").glob("*.json"))
        rates[workers] = 4 * (len(times) - workers) / (times[-1] - times[workers - 1])
        taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"{workers} workers: {rates[workers]:.3f} clips/s, {taken / count:.2f} processor seconds a clip with the "
            f"start; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"two to one: {rates[WORKERS] / rates[1]:.2f}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ray", action="store_true")
    p.add_argument("--clips", type=int, default=500)
    p.add_argument("--renders", type=int, default=50)
    p.add_argument("--speed", type=int, default=64, help="clips of which the rate is measured; 0: none")
    a = p.parse_args()
    who = ["--workers", str(WORKERS), *["--ray"] * a.ray]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if a.clips:
            out = scratch / "clips"
            size = "--width 64 --height 64 --frames 17 --rows 10".split()
            words = ["simulate", "--count", str(a.clips), *size, "--out", str(out), *who]
            under_fire("clips", words, out, a.clips, seeds, a.ray)
        if a.renders:
            table, out = scratch / "shots.csv", scratch / "renders"
            with open(table, "w", newline="") as file:
                rows = [
                    [f"shot{i:03d}", i, f"a red ball rolls to the {('left', 'right')[i % 2]}"] for i in range(a.renders)
                ]
                csv.writer(file).writerows([["name", "Sample.seed", "What happens.prompt"], *rows])
            workflow = str(ROOT / "workflows" / "first-frame-to-video.json")
            words = [
                "run",
                workflow,
                "--table",
                str(table),
                "--base",
                str(scratch / "base"),
                "--out",
                str(out),
                *SMALL,
                *who,
            ]
            (scratch / "base").mkdir()
            under_fire("renders", words, out, a.renders, names, a.ray)
        if a.speed:
            core_seconds(a.speed // 2, scratch)
            speed(a.speed, ["--ray"] * a.ray, scratch)
    print(json.dumps({"load": os.getloadavg()}))


if __name__ == "__main__":
    main()
