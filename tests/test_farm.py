"""Farms of rows: every output is there once, whatever dies meanwhile, and a second start does nothing."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from farm_jobs import Numbers
from vdit.farm.driver import Workers, carry_out, rows_per_block
from vdit.farm.jobs import FarmError, address_of, keys_of
from vdit.farm.ledger import ABOUT, MARKS, marks, plan
from vdit.farm.processes import gpus_of
from vdit.farm.store import LocalFolder, RemoteFolder, store_of

POSIX = pytest.mark.skipif(os.name == "nt", reason="kills processes")


def numbers(count):
    return [{"number": n} for n in range(count)]


def held(folder):
    """How often each number is in the files of whole blocks."""
    names = [name for mark in marks(LocalFolder(folder)) for name in mark.files]
    return Counter(int((folder / name).read_text()) for name in names)


def times_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_address_of_a_value_is_that_of_an_equal_one():
    assert address_of({"a": 1, "b": [2, None]}) == address_of({"b": [2, None], "a": 1})
    assert address_of({"a": 1}) != address_of({"a": 1.5})
    one, other = Numbers(), Numbers(colour="blue")
    row = [{"number": 1}]
    assert keys_of(one, row) != keys_of(other, row) and keys_of(one, row) == keys_of(Numbers(rows_per_block=9), row)


def test_rows_that_are_done_are_planned_no_more_and_equal_ones_once():
    job = Numbers(rows_per_block=2)
    first = plan(job, numbers(5), ())
    assert [len(block.rows) for block in first.blocks] == [2, 2, 1] and first.done == 0
    again = plan(job, [*numbers(7), {"number": 3}], first.keys)
    assert [row["number"] for block in again.blocks for row in block.rows] == [5, 6]
    assert (again.done, again.repeated) == (5, 1)


@POSIX
def test_every_row_is_there_once_although_workers_die_and_a_second_start_does_nothing(tmp_path):
    (killed := tmp_path / "killed").mkdir()
    job, out = Numbers(str(killed), killers=(2, 9)), tmp_path / "out"
    outcome, _ = carry_out(job, numbers(22), LocalFolder(out), Workers(2))
    assert (outcome.rows, outcome.made, outcome.kept, outcome.failed) == (22, 22, 0, {})
    assert sorted(path.name for path in killed.iterdir()) == ["2", "9"]
    assert held(out) == Counter(range(22)) and not list(out.rglob("half*"))
    before = times_of(out)
    outcome, _ = carry_out(job, numbers(22), LocalFolder(out), Workers(2))
    assert (outcome.made, outcome.kept) == (0, 22) and times_of(out) == before
    outcome, _ = carry_out(job, numbers(30), LocalFolder(out), Workers(1))
    assert (outcome.made, outcome.kept) == (8, 22) and held(out) == Counter(range(30))


@POSIX
def test_a_block_that_kills_each_worker_fails_and_the_others_are_made(tmp_path):
    outcome, _ = carry_out(Numbers(deadly=(5,)), numbers(12), LocalFolder(tmp_path), Workers(2))
    assert outcome.made == 8 and len(outcome.failed) == 4
    assert all("died 3 times" in reason and "memory" in reason for reason in outcome.failed.values())
    assert held(tmp_path) == Counter([0, 1, 2, 3, 8, 9, 10, 11])


def test_a_row_that_cannot_be_made_leaves_its_block_and_is_tried_again(tmp_path):
    outcome, _ = carry_out(Numbers(wrong=(5,)), numbers(8), LocalFolder(tmp_path), Workers(1))
    assert outcome.made == 7 and list(outcome.failed.values()) == ["5 is wrong"]
    outcome, _ = carry_out(Numbers(), numbers(8), LocalFolder(tmp_path), Workers(1))
    assert (outcome.made, outcome.kept) == (1, 7) and held(tmp_path) == Counter(range(8))


def test_each_worker_has_its_share_of_rows_and_gpus():
    assert rows_per_block(64, 500, Workers(2)) == 63 and rows_per_block(64, 4, Workers(2)) == 1
    assert rows_per_block(64, 4, Workers(1)) == 64 and rows_per_block(64, 10**6, Workers(8)) == 64
    assert [list(gpus_of(place, 2)) for place in range(2)] == [[0, 1], [2, 3]]
    assert [list(gpus_of(place, 0.5)) for place in range(4)] == [[0], [0], [1], [1]]


def test_half_a_mark_counts_as_none(tmp_path):
    carry_out(Numbers(), numbers(8), LocalFolder(tmp_path), Workers(1))
    mark = next((tmp_path / MARKS).iterdir())
    mark.write_bytes(mark.read_bytes()[:-9])
    outcome, _ = carry_out(Numbers(), numbers(8), LocalFolder(tmp_path), Workers(1))
    assert (outcome.made, outcome.kept) == (4, 4) and held(tmp_path) == Counter(range(8))


def test_what_was_deleted_or_cut_is_made_again(tmp_path):
    carry_out(Numbers(), numbers(12), LocalFolder(tmp_path), Workers(1))
    first, second, *_ = sorted({next(iter(mark.files)) for mark in marks(LocalFolder(tmp_path))})
    (tmp_path / first).unlink()
    (tmp_path / second).write_text("")
    outcome, _ = carry_out(Numbers(), numbers(12), LocalFolder(tmp_path), Workers(1))
    assert (outcome.made, outcome.kept) == (8, 4) and held(tmp_path) == Counter(range(12))


def test_a_folder_of_other_settings_is_refused_and_says_which(tmp_path):
    carry_out(Numbers(), numbers(1), LocalFolder(tmp_path), Workers(1))
    with pytest.raises(FarmError, match='colour: "red", now "blue".*another --out'):
        carry_out(Numbers(colour="blue"), numbers(1), LocalFolder(tmp_path), Workers(1))
    (tmp_path / ABOUT).write_text("{")
    with pytest.raises(FarmError, match="delete it"):
        carry_out(Numbers(), numbers(1), LocalFolder(tmp_path), Workers(1))


def test_a_file_system_of_fsspec_holds_the_same_files(tmp_path):
    pytest.importorskip("fsspec")
    store = store_of(f"file://{tmp_path}/far")
    assert isinstance(store, RemoteFolder) and marks(store) == []
    carry_out(Numbers(), numbers(6), store, Workers(1))
    assert held(tmp_path / "far") == Counter(range(6))
    outcome, _ = carry_out(Numbers(), numbers(6), store, Workers(1))
    assert (outcome.made, outcome.kept) == (0, 6)
    with pytest.raises(FarmError, match="nosuch://"):
        store_of("nosuch://bucket/x")


@POSIX
def test_a_killed_farm_leaves_no_worker_behind(tmp_path):
    code = (
        "import sys; from farm_jobs import Sleepy; from vdit.farm.driver import *; from vdit.farm.store import *;"
        "carry_out(Sleepy(sys.argv[1]), [{'number': 1}], LocalFolder(Path(sys.argv[1])), Workers(1))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    farm = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    worker, deadline = tmp_path / "worker.pid", time.monotonic() + 60
    while not worker.exists() or not worker.read_text():
        assert time.monotonic() < deadline and farm.poll() is None
        time.sleep(0.05)
    farm.kill()
    farm.wait()
    pid = int(worker.read_text())
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)


def test_the_note_of_a_folder_is_json_that_says_what_is_in_it(tmp_path):
    carry_out(Numbers(), numbers(1), LocalFolder(tmp_path), Workers(1))
    note = json.loads((tmp_path / ABOUT).read_text())
    assert note == {"vdit_farm": 1, "job": "numbers", "settings": {"colour": "red"}}
