"""Ctrl+C at random moments of each command, from its first imports on: how long until it has ended.

python -P tests/soak/soak_leaving.py                            every command, fifty tries each
python -P tests/soak/soak_leaving.py --command train --tries 5
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from figures import keep

TRIES, IN_SUITE, MOST_S, LATEST_S = 50, 15, 1.0, 5.0
COMMANDS = {  # {folder}: one of its own
    "run": ["run", "text-to-video", "--base", "{folder}"],
    "studio": ["studio", "--no-browser", "--port", "0", "--base", "{folder}"],
    "simulate": ["simulate", "--count", "10000", "--out", "{folder}"],
    "train clips": ["train", "clips", "--shards", "100", "--out", "{folder}/clips"],
    "train": ["train", "codec", "--clips", "{folder}/clips", "--held-out", "{folder}/clips", "--out", "{folder}/codec"],
    "benchmark": ["benchmark", "--out", "{folder}"],
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process")


def begun(name: str, folder: Path) -> subprocess.Popen:
    """A command, just started."""
    words = [word.replace("{folder}", str(folder)) for word in COMMANDS[name]]
    command = [sys.executable, "-P", "-m", "vdit.host", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def torn(folder: Path) -> list[str]:
    """Files under final names that hold nothing."""
    return [str(p) for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and not p.stat().st_size]


def tried(name: str, tries: int, folder: Path) -> dict:
    """Figures of so many tries of one command."""
    if name == "train":
        clips = [sys.executable, "-P", "-m", "vdit.host", "train", "clips", "--shards", "1", "--size", "64"]
        subprocess.run([*clips, "--out", str(folder / "clips")], check=True, capture_output=True)
    # A shell has its background jobs ignore Ctrl+C, and their children after them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng, waits, statuses = random.Random(1), [], set()
    for _ in range(tries):
        process = begun(name, folder)
        time.sleep(rng.uniform(0.15, LATEST_S))
        if process.poll() is not None:
            statuses.add(f"ended before: {process.returncode}")
            continue
        pressed = time.perf_counter()
        process.send_signal(signal.SIGINT)
        statuses.add(process.wait(30))
        waits.append(time.perf_counter() - pressed)
    waits.sort()
    assert not torn(folder), torn(folder)
    figures = {"median_s": waits[len(waits) // 2], "p99_s": waits[int(0.99 * len(waits))], "worst_s": waits[-1]}
    return {
        "tries": len(waits),
        **{key: round(value, 3) for key, value in figures.items()},
        "statuses": sorted(map(str, statuses)),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_within_a_second_of_ctrl_c(name, tmp_path):
    figures = tried(name, IN_SUITE, tmp_path)
    keep("ctrl+c " + name, figures)
    assert figures["p99_s"] <= MOST_S


def main() -> None:
    """Measures the commands that are named."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--command", choices=COMMANDS, action="append")
    options.add_argument("--tries", type=int, default=TRIES)
    given = options.parse_args()
    for name in given.command or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            keep("ctrl+c " + name, tried(name, given.tries, Path(folder)))


if __name__ == "__main__":
    main()
