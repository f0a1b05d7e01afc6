"""machine/threads.py: the calling thread's torch runs on as many threads as pay; nobody else's is changed.

The suite's own processes have one thread, so what needs two runs in a process that is started as ComfyUI starts us.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from vdit.machine import threads
from vdit.pipeline import decode

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))} | {"OMP_NUM_THREADS": "2"}


def said_by_a_process_of_two_threads(code: str) -> str:
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, env=PLAIN, capture_output=True, text=True, check=True).stdout


SCOPE = """
import threading, torch
from vdit.machine import threads
threads.fitting, threads.processors = lambda most: 1, lambda: 2
found, go = {}, threading.Event()
def early():
    torch.get_num_threads()
    go.wait()
    found["early"] = torch.get_num_threads()
def late():
    found["late"] = torch.get_num_threads()
thread = threading.Thread(target=early)
thread.start()
with threads.team() as team:
    found["ours"] = torch.get_num_threads()
    with threads.team() as inner:
        assert inner is None
    go.set()
    thread.join()
    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
found["after"] = torch.get_num_threads()
with threads.team(active=False):
    found["inactive"] = torch.get_num_threads()
print(sorted(found.items()))
"""


def test_only_the_calling_thread_has_another_number_and_only_within():
    assert "[('after', 2), ('early', 2), ('inactive', 2), ('late', 2), ('ours', 1)]" in (
        said_by_a_process_of_two_threads(SCOPE)
    )


STREAM = """
import torch
from vdit.machine import threads
measured, seen = [], []
threads.fitting, threads.processors = lambda most: measured.append(most) or 1, lambda: 2
def parts():
    for i in range(3):
        seen.append(torch.get_num_threads())
        yield i
for part in threads.each_by_team(parts()):
    seen.append((part, torch.get_num_threads()))
print(measured, seen, [*threads.each_by_team(iter("ab"), active=False)], torch.get_num_threads())
"""


def test_each_part_of_a_stream_has_a_team_that_is_measured_once_and_not_left_to_whoever_uses_the_parts():
    said = said_by_a_process_of_two_threads(STREAM)
    assert "[2] [1, (0, 2), 1, (1, 2), 1, (2, 2)] ['a', 'b'] 2" in said


def test_a_streamed_video_is_decoded_by_a_team(monkeypatch):
    given = []
    monkeypatch.setattr(decode, "each_by_team", lambda parts, active: given.append(active) or parts)
    small, large = (SimpleNamespace(small_products=small) for small in (True, False))
    for codec, device in ((small, "cpu"), (small, "cuda"), (large, "cpu")):
        decode.decode_stream(codec, None, device=device)
    assert given == [True, False, False]


BITS = """
import torch
from vdit.bench.clips import sampler
from vdit.machine import threads
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.load import BUNDLED, VDiTLoadModel
threads.processors, model = lambda: 2, VDiTLoadModel.execute(BUNDLED)[0]
run, made = sampler(steps=4), []
for count in (1, 2):
    threads.fitting = lambda most: count
    latent = run(2.0)[0]
    made.append((latent["samples"], VDiTDecode.execute(model, latent)[0]))
print(all(map(torch.equal, *made)))
"""


@pytest.mark.slow
def test_a_video_has_the_same_bits_on_one_and_on_two_threads():
    assert "True" in said_by_a_process_of_two_threads(BITS)


@pytest.fixture
def team_of(monkeypatch):
    """Makes a team of so many threads, whose watched call takes a second and so much of the processor."""
    given: list[int] = []
    monkeypatch.setattr(threads, "_set", lambda count: given.append(count) or 0)
    monkeypatch.setattr(threads, "fitting", lambda most: most)
    monkeypatch.setattr(threads, "_product", lambda: lambda: None)

    def make(count: int, processor: float) -> threads.Team:
        team = threads.Team(count)
        clocks = SimpleNamespace(perf_counter=iter((0.0, 1.0)).__next__, process_time=iter((0.0, processor)).__next__)
        monkeypatch.setattr(threads, "time", clocks)
        assert team.watched(lambda: "result")() == "result"
        assert given[-1] == team.count
        if team.holder:
            team.holder.end()
        return team

    return make


@pytest.mark.parametrize(
    ("threads_had", "got", "left", "sleeps"),
    [(2, 1.95, 2, False), (2, 1.45, 2, True), (2, 1.0, 1, False), (2, 0.3, 1, False), (8, 4.0, 4, True)],
)
def test_a_team_has_no_more_threads_than_got_a_core(team_of, threads_had, got, left, sleeps):
    team = team_of(threads_had, got)
    assert (team.count, team.holder is not None) == (left, sleeps)


def test_doublings_that_do_not_pay_are_not_taken(monkeypatch):
    taken = {1: 1.0, 2: 0.6, 4: 0.5, 8: 0.49}
    monkeypatch.setattr(threads, "_product", lambda: None)
    monkeypatch.setattr(threads, "_seconds", lambda product, count: taken[count])
    assert threads.fitting(8) == 4
    assert threads.fitting(1) == 1


def test_a_process_counts_the_processors_of_its_affinity():
    assert 1 <= threads.processors() <= len(os.sched_getaffinity(0))
