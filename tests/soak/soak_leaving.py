"""Ctrl+C at fifty moments of a command, from its first imports to its sampling: how long until it has ended."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from figures import keep

TRIES, MOST_S, LATEST_S = 50, 1.0, 5.0

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process")


def test_a_command_ends_within_a_second_of_ctrl_c(tmp_path):
    rng, waits, statuses = random.Random(1), [], []
    command = [sys.executable, "-P", "-m", "vdit.host", "run", "text-to-video", "--base", str(tmp_path)]
    for _ in range(TRIES):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.15, LATEST_S))
        pressed = time.perf_counter()
        process.send_signal(signal.SIGINT)
        statuses.append(process.wait(30))
        waits.append(time.perf_counter() - pressed)
    waits.sort()
    figures = {"tries": TRIES, "median_s": waits[TRIES // 2], "p99_s": waits[int(0.99 * TRIES)], "most_s": waits[-1]}
    keep("ctrl+c", {key: round(value, 3) for key, value in figures.items()} | {"statuses": sorted(set(statuses))})
    assert waits[int(0.99 * TRIES)] <= MOST_S
